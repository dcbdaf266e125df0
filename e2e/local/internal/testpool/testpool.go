// Package testpool gives tests a user pool: the Cognito front over an upstream without keys of its own.
package testpool

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/central-ops/central-ops/e2e/local/oidc"
)

// The pool and the app client of its tokens.
const (
	ID     = "us-east-1_Test"
	Client = "app-client"
)

// Start runs a front until the test ends.
func Start(t *testing.T, clients oidc.ClientSource) *oidc.Front {
	t.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/"+ID+"/.well-known/jwks.json" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(`{"keys":[]}`)) // the front sees a cut answer
	}))
	t.Cleanup(upstream.Close)
	front, err := oidc.StartFront(oidc.FrontConfig{Upstream: upstream.URL, Clients: clients})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := front.Close(); err != nil {
			t.Errorf("close the front: %v", err)
		}
	})
	return front
}

// Claims are those of an access token of Cognito, with changes; a nil value takes a claim away.
func Claims(changes map[string]any) map[string]any {
	now := time.Now()
	claims := map[string]any{
		"iss": oidc.Issuer(ID), "sub": "5d3a", "client_id": Client, "token_use": "access", "username": "ann",
		"scope": "aws.cognito.signin.user.admin", "cognito:groups": []string{"ops"},
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
	maps.Copy(claims, changes)
	maps.DeleteFunc(claims, func(_ string, value any) bool { return value == nil })
	return claims
}

// Token signs Claims(changes).
func Token(t *testing.T, front *oidc.Front, changes map[string]any) string {
	t.Helper()
	token, err := front.Sign(Claims(changes))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// Authorizer is the configuration that lets the app client in.
func Authorizer(front *oidc.Front) *oidc.CustomJWT {
	return &oidc.CustomJWT{DiscoveryURL: front.DiscoveryURL(ID), AllowedClients: []string{Client}}
}
