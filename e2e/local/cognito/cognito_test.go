package cognito_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/central-ops/central-ops/e2e/local/cognito"
)

func TestRevokedTokenIsRefusedAndTheRestPassedOn(t *testing.T) {
	t.Parallel()
	moto := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(w, "moto got "+string(body))
	}))
	t.Cleanup(moto.Close)
	front, err := cognito.New(moto.URL)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(front)
	t.Cleanup(server.Close)

	const renew = `{"AuthFlow":"REFRESH_TOKEN_AUTH","ClientId":"c","AuthParameters":{"REFRESH_TOKEN":"secret"}}`
	for _, step := range []struct {
		operation, body, want string
		status                int
	}{
		{"InitiateAuth", renew, "moto got " + renew, http.StatusOK},
		{"RevokeToken", `{"Token":"secret"}`, "InvalidParameterException", http.StatusBadRequest},
		{"RevokeToken", `{"Token":"secret","ClientId":"c"}`, "{}", http.StatusOK},
		{"InitiateAuth", renew, "NotAuthorizedException", http.StatusBadRequest},
		{"GetUser", `{}`, "moto got {}", http.StatusOK},
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, strings.NewReader(step.body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-Amz-Target", "AWSCognitoIdentityProviderService."+step.operation)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != step.status || !strings.Contains(string(got), step.want) {
			t.Errorf("%s %s: %d %s, want %d with %q", step.operation, step.body, response.StatusCode, got, step.status, step.want)
		}
	}
}
