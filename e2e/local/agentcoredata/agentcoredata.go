// Package agentcoredata is the local platform's AgentCore Identity data plane: it trades a workload access token for
// a machine token of a credential provider.
//
//	POST /identities/oauth2/token    Authorization: AWS4-HMAC-SHA256 ... (service bedrock-agentcore)
//	     {"workloadIdentityToken","resourceCredentialProviderName","scopes":[...],"oauth2Flow":"M2M"}
//	200  {"accessToken":"..."}
//	4xx  X-Amzn-ErrorType; {"message":"..."}
//
// https://docs.aws.amazon.com/bedrock-agentcore/latest/APIReference/API_GetResourceOauth2Token.html
package agentcoredata

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/central-ops/central-ops/e2e/local/assumed"
	"github.com/central-ops/central-ops/e2e/local/internal/loopback"
	"github.com/central-ops/central-ops/e2e/local/issued"
	"github.com/central-ops/central-ops/e2e/local/sigv4"
)

// Assumptions are the rows of this package.
var Assumptions = []assumed.Row{
	{
		ID:     "oauth2-token-unknown-wat",
		Where:  "agentcoredata",
		Assume: "a workload access token that was not issued gives 401 UnauthorizedException",
		Source: "the error is in the service's model; which one is given here is inferred",
		Check:  "call GetResourceOauth2Token with a made-up token",
	},
	{
		ID:     "oauth2-token-provider-refuses",
		Where:  "agentcoredata",
		Assume: "a refusal by the provider's token endpoint gives 400 ValidationException with the provider's error code",
		Source: "inferred",
		Check:  "ask for a scope that the app client does not have",
	},
}

// Provider is an OAuth2 credential provider: a confidential client and where its tokens come from.
type Provider struct {
	TokenURL     string
	ClientID     string
	ClientSecret string
}

// Config says what the service knows. All but Authorize and Now is required.
type Config struct {
	Region string
	// Credentials is what the platform's AWS has issued; calls must be signed by one of them.
	Credentials *issued.Store
	// Authorize tells whether the principal may use the provider; nil means that all may.
	Authorize func(principalARN, provider string) bool
	// Issued tells whether the Runtime has issued the workload access token.
	Issued func(workloadAccessToken string) bool
	// Provider returns the credential provider of that name.
	Provider func(name string) (Provider, bool)
	// Now is the clock that signatures and kept tokens are checked against; nil means time.Now.
	Now func() time.Time
}

// Server is the running service. All methods may be called concurrently.
type Server struct {
	*loopback.Server

	config Config
	client *http.Client

	mu   sync.Mutex
	kept map[string]kept // machine tokens by provider and scopes, as the token vault keeps them
}

type kept struct {
	token   string
	expires time.Time
}

// Start serves on a free port.
func Start(config Config) (*Server, error) {
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Authorize == nil {
		config.Authorize = func(string, string) bool { return true }
	}
	s := &Server{config: config, client: &http.Client{Timeout: 10 * time.Second}, kept: make(map[string]kept)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /identities/oauth2/token", s.token)
	server, err := loopback.Serve(mux)
	if err != nil {
		return nil, err
	}
	s.Server = server
	return s, nil
}

// request is GetResourceOauth2Token's; the members of other flows are left out.
type request struct {
	WorkloadIdentityToken string   `json:"workloadIdentityToken"`
	ProviderName          string   `json:"resourceCredentialProviderName"`
	Scopes                []string `json:"scopes"`
	Flow                  string   `json:"oauth2Flow"`
	Force                 bool     `json:"forceAuthentication"`
}

// serviceError is an answer in the service's words.
type serviceError struct {
	status  int
	code    string
	message string
}

func (e *serviceError) Error() string { return e.code + ": " + e.message }

const maxRequestBytes = 1 << 20

func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	token, err := s.answer(r)
	if err == nil {
		writeJSON(w, http.StatusOK, map[string]string{"accessToken": token})
		return
	}
	var known *serviceError
	if refused := (*sigv4.Error)(nil); errors.As(err, &refused) {
		known = &serviceError{refused.HTTPStatus(), refused.Code, refused.Message}
	} else if !errors.As(err, &known) {
		known = &serviceError{http.StatusInternalServerError, "InternalServerException", err.Error()}
	}
	w.Header().Set("X-Amzn-Errortype", known.code)
	writeJSON(w, known.status, map[string]string{"message": known.message})
}

func (s *Server) answer(r *http.Request) (string, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequestBytes))
	if err != nil {
		return "", err
	}
	caller, err := sigv4.Verify(r, body, "bedrock-agentcore", s.config.Region, s.config.Credentials, s.config.Now())
	if err != nil {
		return "", err
	}
	var in request
	if err := json.Unmarshal(body, &in); err != nil {
		return "", &serviceError{http.StatusBadRequest, "ValidationException", "the body is not JSON: " + err.Error()}
	}
	switch {
	case in.WorkloadIdentityToken == "" || in.ProviderName == "" || in.Scopes == nil:
		return "", &serviceError{http.StatusBadRequest, "ValidationException", "workloadIdentityToken, resourceCredentialProviderName, scopes and oauth2Flow are required"}
	case in.Flow != "M2M":
		return "", &serviceError{http.StatusBadRequest, "ValidationException", fmt.Sprintf("oauth2Flow %q: only M2M is served here", in.Flow)}
	case !s.config.Authorize(caller.PrincipalARN, in.ProviderName):
		return "", &serviceError{http.StatusForbidden, "AccessDeniedException", fmt.Sprintf("User: %s is not authorized to perform: bedrock-agentcore:GetResourceOauth2Token on resource: %s", caller.PrincipalARN, in.ProviderName)}
	case !s.config.Issued(in.WorkloadIdentityToken):
		return "", &serviceError{http.StatusUnauthorized, "UnauthorizedException", "The workload access token is not valid."}
	}
	provider, ok := s.config.Provider(in.ProviderName)
	if !ok {
		return "", &serviceError{http.StatusNotFound, "ResourceNotFoundException", "Credential provider not found: " + in.ProviderName}
	}
	return s.machineToken(r.Context(), in, provider)
}

// machineToken asks the provider, unless a token for the same scopes is kept that has a minute left.
func (s *Server) machineToken(ctx context.Context, in request, provider Provider) (string, error) {
	key := strings.Join(append([]string{in.ProviderName}, in.Scopes...), " ")
	now := s.config.Now()
	s.mu.Lock()
	have, ok := s.kept[key]
	s.mu.Unlock()
	if ok && !in.Force && now.Add(time.Minute).Before(have.expires) {
		return have.token, nil
	}
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {strings.Join(in.Scopes, " ")}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, provider.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(provider.ClientID), url.QueryEscape(provider.ClientSecret)) // RFC 6749, 2.3.1
	resp, err := s.client.Do(req)
	if err != nil {
		return "", fmt.Errorf("token endpoint of %s: %w", in.ProviderName, err)
	}
	defer resp.Body.Close()
	var out struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"` // seconds
		Error       string `json:"error"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxRequestBytes)).Decode(&out); err != nil {
		return "", fmt.Errorf("token endpoint of %s: %w", in.ProviderName, err)
	}
	if resp.StatusCode != http.StatusOK || out.AccessToken == "" {
		return "", &serviceError{http.StatusBadRequest, "ValidationException", fmt.Sprintf("Credential provider %s refused: %s", in.ProviderName, cmp.Or(out.Error, resp.Status))}
	}
	s.mu.Lock()
	s.kept[key] = kept{out.AccessToken, now.Add(time.Duration(out.ExpiresIn) * time.Second)}
	s.mu.Unlock()
	return out.AccessToken, nil
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	var body bytes.Buffer
	if err := json.NewEncoder(&body).Encode(value); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // the caller may be gone
}
