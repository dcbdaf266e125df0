package oidc_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/central-ops/central-ops/e2e/local/moto"
	"github.com/central-ops/central-ops/e2e/local/motoenv"
	"github.com/central-ops/central-ops/e2e/local/oidc"
)

// cognito calls the emulator's Cognito in the account of the pools.
func cognito[T any](t *testing.T, endpoint, operation string, in map[string]any) T {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint+"/", strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Amz-Target", "AWSCognitoIdentityProviderService."+operation)
	req.Header.Set("X-Moto-Account-Id", "111111111111")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var out T
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", operation, resp.Status, err)
	}
	return out
}

type object = map[string]any

// The emulator's own tokens pass by the keys that the front publishes, and its app clients get machine tokens.
func TestFrontOverMoto(t *testing.T) {
	t.Parallel()
	server, err := moto.Start(t.Context(), moto.Config{Python: motoenv.Python(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	pool := cognito[struct{ UserPool struct{ ID string } }](t, server.URL, "CreateUserPool", object{"PoolName": "people"}).UserPool.ID
	type client struct {
		UserPoolClient struct{ ClientID, ClientSecret string }
	}
	people := cognito[client](t, server.URL, "CreateUserPoolClient", object{
		"UserPoolId": pool, "ClientName": "people", "ExplicitAuthFlows": []string{"ALLOW_USER_PASSWORD_AUTH"},
	}).UserPoolClient
	machine := cognito[client](t, server.URL, "CreateUserPoolClient", object{
		"UserPoolId": pool, "ClientName": "machine", "GenerateSecret": true,
		"AllowedOAuthFlows": []string{"client_credentials"}, "AllowedOAuthScopes": []string{"ops/query"}, "AllowedOAuthFlowsUserPoolClient": true,
	}).UserPoolClient
	cognito[object](t, server.URL, "AdminCreateUser", object{"UserPoolId": pool, "Username": "ann"})
	cognito[object](t, server.URL, "AdminSetUserPassword", object{"UserPoolId": pool, "Username": "ann", "Password": "Passw0rd!", "Permanent": true})
	token := cognito[struct {
		AuthenticationResult struct{ AccessToken string }
	}](t, server.URL, "InitiateAuth", object{
		"ClientId": people.ClientID, "AuthFlow": "USER_PASSWORD_AUTH", "AuthParameters": object{"USERNAME": "ann", "PASSWORD": "Passw0rd!"},
	}).AuthenticationResult.AccessToken

	front, err := oidc.StartFront(oidc.FrontConfig{
		Upstream: server.URL,
		Clients:  oidc.MotoClients{URL: server.URL, Account: "111111111111", Region: "us-east-1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = front.Close() }) // nothing is left that it could tell
	a := authorizer(t, oidc.CustomJWT{DiscoveryURL: front.DiscoveryURL(pool), AllowedClients: []string{people.ClientID, machine.ClientID}}, http.DefaultClient)
	if got, err := a.Check(t.Context(), token); err != nil || got.Claims["username"] != "ann" {
		t.Errorf("a token of the emulator: %+v, %v", got.Claims, err)
	}

	for _, tt := range []struct {
		name, id, secret string
		status           int
	}{
		{"machine client", machine.ClientID, machine.ClientSecret, http.StatusOK},
		{"wrong secret", machine.ClientID, "x", http.StatusBadRequest},
		{"unknown client", "x", "x", http.StatusBadRequest},
		{"client without a secret", people.ClientID, "", http.StatusBadRequest},
	} {
		resp, err := http.PostForm(front.TokenURL(pool), url.Values{"grant_type": {"client_credentials"}, "client_id": {tt.id}, "client_secret": {tt.secret}})
		if err != nil {
			t.Fatal(err)
		}
		var out struct {
			AccessToken string `json:"access_token"`
		}
		if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
			t.Error(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
		if resp.StatusCode != tt.status {
			t.Errorf("%s: %s", tt.name, resp.Status)
		}
		if tt.status != http.StatusOK {
			continue
		}
		if got, err := a.Check(t.Context(), out.AccessToken); err != nil || got.Subject != machine.ClientID {
			t.Errorf("%s: %+v, %v", tt.name, got, err)
		}
	}
}
