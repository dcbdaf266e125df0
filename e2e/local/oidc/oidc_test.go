package oidc_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/central-ops/central-ops/e2e/local/internal/testpool"
	"github.com/central-ops/central-ops/e2e/local/oidc"
)

func authorizer(t *testing.T, rules oidc.CustomJWT, client *http.Client) *oidc.Authorizer {
	t.Helper()
	a, err := oidc.NewAuthorizer(rules, client, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

func reason(err error) oidc.Reason {
	var refused *oidc.Error
	if errors.As(err, &refused) {
		return refused.Reason
	}
	return ""
}

func TestAuthorizerRefusals(t *testing.T) {
	t.Parallel()
	front := testpool.Start(t, nil)
	groups := oidc.CustomClaim{Name: "cognito:groups", Type: "STRING_ARRAY"}
	groups.Match.Operator = "CONTAINS_ANY"
	groups.Match.Value.StringList = []string{"ops", "sre"}
	use := oidc.CustomClaim{Name: "token_use", Type: "STRING"}
	use.Match.Operator = "EQUALS"
	use.Match.Value.String = "access"
	clients := []string{testpool.Client}
	idToken := map[string]any{"client_id": nil, "aud": testpool.Client, "token_use": "id"}
	tests := []struct {
		name   string
		rules  oidc.CustomJWT
		claims map[string]any
		want   oidc.Reason
	}{
		{"access token, client allowed", oidc.CustomJWT{AllowedClients: clients}, nil, ""},
		{"ID token has no client_id", oidc.CustomJWT{AllowedClients: clients}, idToken, oidc.WrongClient},
		{"ID token, audience allowed", oidc.CustomJWT{AllowedAudience: clients}, idToken, ""},
		{"access token has no aud", oidc.CustomJWT{AllowedAudience: clients}, nil, oidc.WrongAudience},
		{"audience and client both set refuse an access token", oidc.CustomJWT{AllowedAudience: clients, AllowedClients: clients}, nil, oidc.WrongAudience},
		{"audience and client both set refuse an ID token", oidc.CustomJWT{AllowedAudience: clients, AllowedClients: clients}, idToken, oidc.WrongClient},
		{"other client", oidc.CustomJWT{AllowedClients: []string{"x"}}, nil, oidc.WrongClient},
		{"one of two scopes", oidc.CustomJWT{AllowedScopes: []string{"x", "aws.cognito.signin.user.admin"}}, nil, ""},
		{"no scope", oidc.CustomJWT{AllowedScopes: []string{"x"}}, nil, oidc.InsufficientScope},
		{"custom claims hold", oidc.CustomJWT{CustomClaims: []oidc.CustomClaim{groups, use}}, nil, ""},
		{"group missing", oidc.CustomJWT{CustomClaims: []oidc.CustomClaim{groups}}, map[string]any{"cognito:groups": []string{"dev"}}, oidc.WrongClaim},
		{"no groups at all", oidc.CustomJWT{CustomClaims: []oidc.CustomClaim{groups}}, map[string]any{"cognito:groups": nil}, oidc.WrongClaim},
		{"token_use id", oidc.CustomJWT{CustomClaims: []oidc.CustomClaim{use}}, map[string]any{"token_use": "id"}, oidc.WrongClaim},
		{"expired", oidc.CustomJWT{AllowedClients: clients}, map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}, oidc.Expired},
		{"without expiry", oidc.CustomJWT{AllowedClients: clients}, map[string]any{"exp": nil}, oidc.Malformed},
		{"not yet valid", oidc.CustomJWT{AllowedClients: clients}, map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}, oidc.NotYetValid},
		{"other pool", oidc.CustomJWT{AllowedClients: clients}, map[string]any{"iss": oidc.Issuer("us-east-1_Other")}, oidc.WrongIssuer},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.rules.DiscoveryURL = front.DiscoveryURL(testpool.ID)
			_, err := authorizer(t, tt.rules, http.DefaultClient).Check(t.Context(), testpool.Token(t, front, tt.claims))
			if got := reason(err); got != tt.want || (err == nil) != (tt.want == "") {
				t.Errorf("Check: %v, want reason %q", err, tt.want)
			}
		})
	}
}

func TestAuthorizerReturnsTheToken(t *testing.T) {
	t.Parallel()
	front := testpool.Start(t, nil)
	expires := time.Now().Add(time.Hour).Truncate(time.Second)
	token, err := authorizer(t, *testpool.Authorizer(front), http.DefaultClient).Check(t.Context(), testpool.Token(t, front, map[string]any{"exp": expires.Unix()}))
	if err != nil {
		t.Fatal(err)
	}
	if token.Subject != "5d3a" || token.ClientID != testpool.Client || token.Issuer != oidc.Issuer(testpool.ID) || !token.Expires.Equal(expires) {
		t.Errorf("token %+v", token)
	}
	if diff := cmp.Diff([]any{"ops"}, token.Claims["cognito:groups"]); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}
}

func TestAuthorizerRefusesForgeries(t *testing.T) {
	t.Parallel()
	front := testpool.Start(t, nil)
	a := authorizer(t, *testpool.Authorizer(front), http.DefaultClient)
	good := testpool.Token(t, front, nil)
	parsed, _, err := jwt.NewParser().ParseUnverified(good, jwt.MapClaims{})
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(method jwt.SigningMethod, kid string, key any) string {
		token := jwt.NewWithClaims(method, jwt.MapClaims(testpool.Claims(nil)))
		token.Header["kid"] = kid
		signed, err := token.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	kid := parsed.Header["kid"].(string)
	parts := strings.Split(good, ".")
	tests := []struct {
		name, token string
		want        oidc.Reason
	}{
		{"not a JWT", "opaque", oidc.Malformed},
		{"claims of another token", parts[0] + "." + strings.Split(testpool.Token(t, front, map[string]any{"sub": "other"}), ".")[1] + "." + parts[2], oidc.BadSignature},
		{"stranger's key under the pool's key id", sign(jwt.SigningMethodRS256, kid, stranger), oidc.BadSignature},
		{"key id that the pool does not have", sign(jwt.SigningMethodRS256, "x", stranger), oidc.BadSignature},
		{"shared secret instead of a key", sign(jwt.SigningMethodHS256, kid, []byte("secret")), oidc.BadSignature},
		{"no signature", sign(jwt.SigningMethodNone, kid, jwt.UnsafeAllowNoneSignatureType), oidc.BadSignature},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, err := a.Check(t.Context(), tt.token); reason(err) != tt.want {
				t.Errorf("Check: %v, want reason %q", err, tt.want)
			}
		})
	}
}

func TestKeyRotationAndOutage(t *testing.T) {
	t.Parallel()
	front := testpool.Start(t, nil)
	a := authorizer(t, *testpool.Authorizer(front), http.DefaultClient)
	old := testpool.Token(t, front, nil)

	front.SetOutage(true)
	if _, err := a.Check(t.Context(), old); reason(err) != oidc.Unavailable {
		t.Errorf("before the keys were ever fetched: %v, want %q", err, oidc.Unavailable)
	}
	front.SetOutage(false)
	if _, err := a.Check(t.Context(), old); err != nil {
		t.Errorf("after the outage: %v", err)
	}
	front.SetOutage(true)
	if _, err := a.Check(t.Context(), old); err != nil {
		t.Errorf("in an outage, with kept keys: %v", err)
	}
	front.SetOutage(false)

	if err := front.Rotate(); err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{"old": old, "new": testpool.Token(t, front, nil)} {
		if _, err := a.Check(t.Context(), token); err != nil {
			t.Errorf("%s key after the rotation: %v", name, err)
		}
	}
	front.RetireOldKeys()
	fresh := authorizer(t, *testpool.Authorizer(front), http.DefaultClient)
	if _, err := fresh.Check(t.Context(), old); reason(err) != oidc.BadSignature {
		t.Errorf("retired key: %v, want %q", err, oidc.BadSignature)
	}
}

func TestTransportServesCognitosOwnAddresses(t *testing.T) {
	t.Parallel()
	front := testpool.Start(t, nil)
	client := &http.Client{Transport: front.Transport()}
	rules := *testpool.Authorizer(front)
	rules.DiscoveryURL = oidc.Issuer(testpool.ID) + "/.well-known/openid-configuration"
	if _, err := authorizer(t, rules, client).Check(t.Context(), testpool.Token(t, front, nil)); err != nil {
		t.Error(err)
	}
	if resp, err := client.Get("https://example.com/"); err == nil {
		_ = resp.Body.Close() // the test has failed anyway
		t.Error("the transport left the machine")
	}
}

func TestValidateReportsEveryFault(t *testing.T) {
	t.Parallel()
	claim := oidc.CustomClaim{Name: "c", Type: "STRING"}
	claim.Match.Operator = "CONTAINS"
	err := oidc.CustomJWT{DiscoveryURL: "https://x", CustomClaims: []oidc.CustomClaim{claim}}.Validate()
	for _, part := range []string{"discoveryUrl", "CONTAINS"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("Validate: %v lacks %q", err, part)
		}
	}
	if err := (oidc.CustomJWT{DiscoveryURL: "https://x/.well-known/openid-configuration"}).Validate(); err == nil {
		t.Error("an authorizer that checks nothing was accepted")
	}
}

func TestTokenEndpoint(t *testing.T) {
	t.Parallel()
	front := testpool.Start(t, oidc.Clients{
		{PoolID: testpool.ID, ID: "machine", Secret: "s3cret", Scopes: []string{"ops/query"}, Flows: []string{"client_credentials"}},
		{PoolID: testpool.ID, ID: "people", Secret: "s3cret", Scopes: []string{"ops/query"}, Flows: []string{"code"}},
	})
	post := func(id, secret, grant, scope string) (int, map[string]any) {
		t.Helper()
		form := url.Values{"grant_type": {grant}, "scope": {scope}, "client_id": {id}, "client_secret": {secret}}
		resp, err := http.PostForm(front.TokenURL(testpool.ID), form)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var out map[string]any
		if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, out
	}
	for _, tt := range []struct{ name, id, secret, grant, scope, want string }{
		{"unknown client", "x", "s3cret", "client_credentials", "ops/query", "invalid_client"},
		{"wrong secret", "machine", "x", "client_credentials", "ops/query", "invalid_client"},
		{"client of another flow", "people", "s3cret", "client_credentials", "ops/query", "unauthorized_client"},
		{"other scope", "machine", "s3cret", "client_credentials", "ops/write", "invalid_scope"},
		{"other grant", "machine", "s3cret", "password", "ops/query", "unsupported_grant_type"},
	} {
		if status, out := post(tt.id, tt.secret, tt.grant, tt.scope); status != http.StatusBadRequest || out["error"] != tt.want {
			t.Errorf("%s: %d %v, want %s", tt.name, status, out, tt.want)
		}
	}
	status, out := post("machine", "s3cret", "client_credentials", "ops/query")
	raw, ok := out["access_token"].(string)
	if status != http.StatusOK || !ok {
		t.Fatalf("%d %v", status, out)
	}
	rules := oidc.CustomJWT{DiscoveryURL: front.DiscoveryURL(testpool.ID), AllowedClients: []string{"machine"}, AllowedScopes: []string{"ops/query"}}
	token, err := authorizer(t, rules, http.DefaultClient).Check(t.Context(), raw)
	if err != nil || token.Subject != "machine" {
		t.Errorf("machine token: %+v, %v", token, err)
	}
}
