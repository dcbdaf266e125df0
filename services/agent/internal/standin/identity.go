package standin

import (
	"encoding/json"
	"net/http"
	"sync"
)

// TokenRequest is a GetResourceOauth2Token request.
type TokenRequest struct {
	WorkloadIdentityToken          string
	ResourceCredentialProviderName string
	Scopes                         []string
	Oauth2Flow                     string
	ForceAuthentication            bool
}

// Identity stands in for AgentCore Identity's data plane.
type Identity struct {
	record

	// OnToken returns the access token for the n-th request, counted from 0; "" refuses it.
	OnToken func(n int, request TokenRequest) string

	mu       sync.Mutex
	requests []TokenRequest
}

// Requests returns what was asked, in order.
func (i *Identity) Requests() []TokenRequest {
	i.mu.Lock()
	defer i.mu.Unlock()
	return append([]TokenRequest(nil), i.requests...)
}

// ServeHTTP implements http.Handler.
func (i *Identity) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || r.URL.Path != "/identities/oauth2/token" {
		awsError(w, http.StatusNotFound, "UnknownOperationException", i.violate("identity: %s %s", r.Method, r.URL.Path))
		return
	}
	if !signed(r, "bedrock-agentcore") {
		awsError(w, http.StatusForbidden, "AccessDeniedException", i.violate("identity: not signed"))
		return
	}
	var request TokenRequest
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil || request.Oauth2Flow != "M2M" ||
		request.WorkloadIdentityToken == "" || request.ResourceCredentialProviderName == "" || request.Scopes == nil {
		awsError(w, http.StatusBadRequest, "ValidationException", i.violate("identity: incomplete request"))
		return
	}
	i.mu.Lock()
	n := len(i.requests)
	i.requests = append(i.requests, request)
	i.mu.Unlock()
	token := i.OnToken(n, request)
	if token == "" {
		awsError(w, http.StatusUnauthorized, "UnauthorizedException", "workload access token refused")
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"accessToken": token})
}
