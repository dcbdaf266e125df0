// Package runtimefront is the local platform's AgentCore Runtime: the front door for callers with a JWT, and one
// process of the real agent binary per session behind it.
//
//	POST /runtimes/{escaped ARN}/invocations?qualifier=DEFAULT         or {id} with accountId=<12 digits>
//	     Authorization: Bearer <JWT>
//	     X-Amzn-Bedrock-AgentCore-Runtime-Session-Id: 33-256 characters; made up if there is none
//	     body: at most 100 MB; goes to the agent's POST /invocations as it is
//	200  the agent's answer, streamed if it is text/event-stream
//	401  UnauthorizedException, WWW-Authenticate: Bearer resource_metadata="..."
//	402, 404, 409, 424, 429, 500   X-Amzn-ErrorType names the error; body {"message":"..."}
//	POST /runtimes/{escaped ARN}/stopruntimesession                    200, or 404 if there is no such session
//	GET  /runtimes/{escaped ARN}/invocations/.well-known/oauth-protected-resource
//
// The agent gets the caller's request with these headers and no others: Content-Type, Accept, the session id, a
// request id, a workload access token for the caller's (iss, sub), trace context, and what requestHeaderAllowlist names.
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-http-protocol-contract.html
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-oauth.html
package runtimefront

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/central-ops/central-ops/e2e/local/assumed"
	"github.com/central-ops/central-ops/e2e/local/internal/loopback"
	"github.com/central-ops/central-ops/e2e/local/internal/process"
	"github.com/central-ops/central-ops/e2e/local/issued"
	"github.com/central-ops/central-ops/e2e/local/oidc"
)

// MaxPayloadBytes bounds the body of an invocation.
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/bedrock-agentcore-limits.html
const MaxPayloadBytes = 100_000_000

// Headers of the service.
const (
	SessionHeader      = "X-Amzn-Bedrock-Agentcore-Runtime-Session-Id"
	requestHeader      = "X-Amzn-Bedrock-Agentcore-Runtime-Request-Id"
	workloadHeader     = "Workloadaccesstoken"
	identityWATHeader  = "X-Amz-Bedrock-Agentcore-Identity-Wat"
	customHeaderPrefix = "x-amzn-bedrock-agentcore-runtime-custom-"
)

// Assumptions are the rows of this package.
var Assumptions = []assumed.Row{
	{
		ID:     "runtime-bad-token-status",
		Where:  "runtimefront, Config.BadTokenStatus",
		Assume: "a token that is there but does not pass is refused with 403 AccessDeniedException, a missing one with 401",
		Source: "401 without a token is documented; 403 was observed by users, 401 is as likely",
		Check:  "invoke with an expired token",
	},
	{
		ID:     "runtime-wat-headers",
		Where:  "runtimefront",
		Assume: "the workload access token is sent under both of its header names",
		Source: "AWS's Python SDK reads the newer name first, then the older one",
		Check:  "log the names of the headers in the container",
	},
	{
		ID:     "runtime-region",
		Where:  "runtimefront",
		Assume: "the container gets no AWS_REGION but what the runtime's environment variables set",
		Source: "no page says that there is one; the stack sets it",
		Check:  "none needed: right in either case",
	},
	{
		ID:     "runtime-credentials",
		Where:  "runtimefront",
		Assume: "the container's role credentials come by environment variables",
		Source: "on AWS a metadata service (MMDSv2) serves them, which the SDK's default chain reads as well",
		Check:  "none needed: documented",
	},
	{
		ID:     "runtime-client-gone",
		Where:  "runtimefront",
		Assume: "a caller that hangs up cancels the container's request",
		Source: "unknown",
		Check:  "cut a streaming invocation and watch the container's log",
	},
	{
		ID:     "runtime-idle-while-busy",
		Where:  "runtimefront",
		Assume: "the idle timer counts from the last request's start; when it fires, /ping decides: HealthyBusy keeps the session, Healthy ends it even with a request in flight",
		Source: "documented for HealthyBusy; that a long request under Healthy is killed was observed by a user",
		Check:  "a request longer than idleRuntimeSessionTimeout with either ping status",
	},
	{
		ID:     "runtime-max-sessions",
		Where:  "runtimefront, Config.MaxSessions",
		Assume: "a new session beyond the quota gets 402 ServiceQuotaExceededException",
		Source: "error code documented; that this quota gives it is inferred",
		Check:  "not worth 2,500 sessions",
	},
}

// Record is a runtime as the control plane's GetAgentRuntime has it; members that change nothing here are left out.
// https://docs.aws.amazon.com/bedrock-agentcore-control/latest/APIReference/API_GetAgentRuntime.html
type Record struct {
	ID                      string                     `json:"agentRuntimeId"`
	ARN                     string                     `json:"agentRuntimeArn"`
	Version                 string                     `json:"agentRuntimeVersion"`
	RoleARN                 string                     `json:"roleArn"` // whose credentials the container has
	AuthorizerConfiguration AuthorizerConfiguration    `json:"authorizerConfiguration"`
	RequestHeaders          RequestHeaderConfiguration `json:"requestHeaderConfiguration"`
	Lifecycle               LifecycleConfiguration     `json:"lifecycleConfiguration"`
	Metadata                MetadataConfiguration      `json:"metadataConfiguration"`
	Environment             map[string]string          `json:"environmentVariables,omitempty"` // at most 50, names of 100, values of 5,000 characters
}

// AuthorizerConfiguration is a union of one member; a runtime without it takes SigV4, which is not served here.
type AuthorizerConfiguration struct {
	CustomJWT *oidc.CustomJWT `json:"customJWTAuthorizer,omitempty"`
}

// RequestHeaderConfiguration names the headers of the caller that reach the container.
type RequestHeaderConfiguration struct {
	Allowlist []string `json:"requestHeaderAllowlist,omitempty"`
}

// LifecycleConfiguration bounds a session; seconds, 60-28800.
type LifecycleConfiguration struct {
	IdleSeconds int `json:"idleRuntimeSessionTimeout"` // 0 means 900
	MaxSeconds  int `json:"maxLifetime"`               // 0 means 28800
}

// MetadataConfiguration must require MMDSv2, or every invocation is refused.
type MetadataConfiguration struct {
	RequireMMDSV2 bool `json:"requireMMDSV2"`
}

// Config says what the runtime is. All but the fields with a stated zero value is required.
type Config struct {
	Account string
	Region  string
	Record  Record
	// Endpoints are the qualifiers that exist beside DEFAULT.
	Endpoints []string
	// Binary is the agent; it must listen on $PORT.
	Binary string
	// Env is added to the record's variables: what makes the agent use the local platform.
	Env map[string]string
	// Role returns the credentials that a new session's process gets in its variables; nil means none.
	Role func() (issued.Credential, error)
	// Identity fetches discovery documents and keys; nil means http.DefaultClient.
	Identity *http.Client
	// Now is the clock that tokens are checked against; nil means time.Now.
	Now func() time.Time
	// Log gets what the agents print. Writes are serialized. Nil discards.
	Log io.Writer
	// MaxSessions bounds the sessions at any time; 0 means 20.
	MaxSessions int
	// MakeRoom ends the session that was used longest ago, where AWS would refuse one too many: here the bound is memory, and
	// a person who asks question after question starts a session with each.
	MakeRoom bool
	// StartTimeout bounds the wait for the first healthy /ping; 0 means 30 s.
	StartTimeout time.Duration
	// InvocationTimeout bounds a request that is not streamed; 0 means 15 min, the service's limit.
	InvocationTimeout time.Duration
	// BadTokenStatus is the status for a token that does not pass, 401 or 403; 0 means 403.
	BadTokenStatus int
}

// Workload is whom a workload access token stands for.
type Workload struct {
	RuntimeARN string
	Issuer     string
	Subject    string
}

// Server is the running front door. All methods may be called concurrently.
type Server struct {
	*loopback.Server

	config     Config
	authorizer *oidc.Authorizer
	log        *process.Log
	client     *http.Client // to the agents

	mu        sync.Mutex
	sessions  map[string]*session
	workloads map[string]Workload // by token
	faults    []*Fault
	closed    bool
}

// Start serves on a free port. No agent is started before the first invocation.
func Start(config Config) (*Server, error) {
	config.Identity = cmp.Or(config.Identity, http.DefaultClient)
	config.MaxSessions = cmp.Or(config.MaxSessions, 20)
	config.StartTimeout = cmp.Or(config.StartTimeout, 30*time.Second)
	config.InvocationTimeout = cmp.Or(config.InvocationTimeout, 15*time.Minute)
	config.BadTokenStatus = cmp.Or(config.BadTokenStatus, http.StatusForbidden)
	if config.Now == nil {
		config.Now = time.Now
	}
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("runtime %s: %w", config.Record.ID, err)
	}
	authorizer, err := oidc.NewAuthorizer(*config.Record.AuthorizerConfiguration.CustomJWT, config.Identity, config.Now)
	if err != nil {
		return nil, fmt.Errorf("runtime %s: authorizer: %w", config.Record.ID, err)
	}
	s := &Server{
		config:     config,
		authorizer: authorizer,
		log:        process.NewLog(config.Log),
		client:     &http.Client{Transport: &http.Transport{DisableCompression: true}},
		sessions:   make(map[string]*session),
		workloads:  make(map[string]Workload),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /runtimes/{runtime}/invocations", s.invoke)
	mux.HandleFunc("POST /runtimes/{runtime}/stopruntimesession", s.stop)
	mux.HandleFunc("GET /runtimes/{runtime}/invocations/.well-known/oauth-protected-resource", s.metadata)
	server, err := loopback.Serve(mux)
	if err != nil {
		authorizer.Close()
		return nil, err
	}
	s.Server = server
	return s, nil
}

// Close ends every session and the front door.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	var ids []string
	for id := range s.sessions {
		ids = append(ids, id)
	}
	s.mu.Unlock()
	var wg sync.WaitGroup
	for _, id := range ids {
		wg.Go(func() { s.EndSession(id) })
	}
	wg.Wait()
	s.authorizer.Close()
	return s.Server.Close()
}

// InvocationURL is where callers POST to, with the DEFAULT qualifier.
func (s *Server) InvocationURL() string {
	return s.URL + "/runtimes/" + url.QueryEscape(s.config.Record.ARN) + "/invocations?qualifier=DEFAULT"
}

// Workload returns whom a workload access token was issued for.
func (s *Server) Workload(token string) (Workload, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok := s.workloads[token]
	return w, ok
}

var headerPattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,255}$`)

// validate refuses what CreateAgentRuntime refuses, and what is not served here.
func (c Config) validate() error {
	var faults []error
	if info, err := os.Stat(c.Binary); err != nil {
		faults = append(faults, fmt.Errorf("binary: %w", err))
	} else if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		faults = append(faults, fmt.Errorf("binary: %s is not executable", c.Binary))
	}
	if c.Record.AuthorizerConfiguration.CustomJWT == nil {
		faults = append(faults, errors.New("authorizerConfiguration: only a customJWTAuthorizer is served here"))
	}
	if len(c.Record.RequestHeaders.Allowlist) > 20 {
		faults = append(faults, errors.New("requestHeaderAllowlist: at most 20 names"))
	}
	for _, name := range c.Record.RequestHeaders.Allowlist {
		if !headerPattern.MatchString(name) || restricted(name) {
			faults = append(faults, fmt.Errorf("requestHeaderAllowlist: %q may not be allowed", name))
		}
	}
	for _, bound := range []struct {
		name    string
		seconds int
	}{{"idleRuntimeSessionTimeout", c.Record.Lifecycle.IdleSeconds}, {"maxLifetime", c.Record.Lifecycle.MaxSeconds}} {
		if bound.seconds != 0 && (bound.seconds < 60 || bound.seconds > 28800) {
			faults = append(faults, fmt.Errorf("%s %d is not between 60 and 28800", bound.name, bound.seconds))
		}
	}
	if len(c.Record.Environment) > 50 {
		faults = append(faults, errors.New("environmentVariables: at most 50"))
	}
	for name, value := range c.Record.Environment {
		if len(name) > 100 || len(value) > 5000 {
			faults = append(faults, fmt.Errorf("environmentVariables: %s: a name has at most 100 and a value 5000 characters", name))
		}
	}
	return errors.Join(faults...)
}

// restricted tells which headers never reach a container, allow-listed or not.
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-header-allowlist.html
func restricted(name string) bool {
	lower := strings.ToLower(name)
	if strings.HasPrefix(lower, customHeaderPrefix) {
		return false
	}
	for _, prefix := range []string{"x-amz-", "x-amzn-", "accept", "content-", "x-forwarded-"} {
		if strings.HasPrefix(lower, prefix) {
			return true
		}
	}
	return slices.Contains([]string{"cookie", "host", "user-agent", "via", "forwarded", "connection", "transfer-encoding", "upgrade", "te", "trailer"}, lower)
}

// serviceError is an answer in the service's words.
type serviceError struct {
	code    string
	message string
}

func (e *serviceError) Error() string { return e.code + ": " + e.message }

// statuses are the codes and their HTTP statuses.
// https://docs.aws.amazon.com/bedrock-agentcore/latest/APIReference/API_InvokeAgentRuntime.html
var statuses = map[string]int{
	"ValidationException":           http.StatusBadRequest,
	"UnauthorizedException":         http.StatusUnauthorized,
	"ServiceQuotaExceededException": http.StatusPaymentRequired,
	"AccessDeniedException":         http.StatusForbidden,
	"ResourceNotFoundException":     http.StatusNotFound,
	"ConflictException":             http.StatusConflict,
	"RetryableConflictException":    http.StatusConflict,
	"RuntimeClientError":            http.StatusFailedDependency,
	"ThrottlingException":           http.StatusTooManyRequests,
	"InternalServerException":       http.StatusInternalServerError,
	"GatewayTimeoutException":       http.StatusGatewayTimeout,
}

// Fault makes invocations fail with an error of the service before they reach a session.
type Fault struct {
	Code  string // e.g. ThrottlingException
	Times int
}

// Inject adds a fault; it refuses a code that the service does not have.
func (s *Server) Inject(f Fault) error {
	if statuses[f.Code] == 0 {
		return fmt.Errorf("the Runtime has no error %q", f.Code)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
	return nil
}

func (s *Server) takeFault() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		if f.Times > 0 {
			f.Times--
			return &serviceError{f.Code, "injected by the local platform"}
		}
	}
	return nil
}

func (s *Server) invoke(w http.ResponseWriter, r *http.Request) {
	if err := s.serve(w, r); err != nil {
		writeError(w, err)
	}
}

// serve passes the invocation on. An error has not been written yet.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) error {
	token, err := s.admit(w, r)
	if err != nil {
		return err
	}
	if !s.config.Record.Metadata.RequireMMDSV2 {
		return &serviceError{"ValidationException", "The agent runtime must require MMDSv2: set metadataConfiguration.requireMMDSV2 to true by UpdateAgentRuntime"}
	}
	if err := s.takeFault(); err != nil {
		return err
	}
	id := cmp.Or(r.Header.Get(SessionHeader), newSessionID())
	if err := checkHeaders(r.Header, id); err != nil {
		return err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxPayloadBytes))
	if err != nil {
		return &serviceError{"ValidationException", fmt.Sprintf("The payload could not be read: it may have at most %d bytes", MaxPayloadBytes)}
	}
	sess, err := s.session(r.Context(), id)
	if err != nil {
		return err
	}
	defer sess.release()
	return s.forward(w, r, sess, token, body)
}

// admit finds the runtime and checks the caller.
func (s *Server) admit(w http.ResponseWriter, r *http.Request) (oidc.Token, error) {
	if err := s.resolve(r); err != nil {
		return oidc.Token{}, err
	}
	raw, err := oidc.Bearer(r.Header)
	if err == nil {
		var token oidc.Token
		if token, err = s.authorizer.Check(r.Context(), raw); err == nil {
			return token, nil
		}
	}
	var refused *oidc.Error
	if !errors.As(err, &refused) || refused.Reason == oidc.Unavailable {
		return oidc.Token{}, &serviceError{"InternalServerException", "The token could not be checked."}
	}
	if refused.Reason != oidc.Missing && s.config.BadTokenStatus == http.StatusForbidden {
		return oidc.Token{}, &serviceError{"AccessDeniedException", "The token does not authorize this call: " + string(refused.Reason)}
	}
	w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer resource_metadata="%s/runtimes/%s/invocations/.well-known/oauth-protected-resource?qualifier=%s"`,
		s.URL, url.QueryEscape(s.config.Record.ARN), cmp.Or(r.URL.Query().Get("qualifier"), "DEFAULT")))
	return oidc.Token{}, &serviceError{"UnauthorizedException", "Authentication failed: " + string(refused.Reason)}
}

// resolve takes the runtime's ARN, or its id with the account.
func (s *Server) resolve(r *http.Request) error {
	given, account := r.PathValue("runtime"), r.URL.Query().Get("accountId")
	byID := !strings.HasPrefix(given, "arn:")
	if byID && account == "" {
		return &serviceError{"ValidationException", "accountId is required with an agent runtime id"}
	}
	qualifier := cmp.Or(r.URL.Query().Get("qualifier"), "DEFAULT")
	switch {
	case byID && (given != s.config.Record.ID || account != s.config.Account), !byID && given != s.config.Record.ARN:
		return &serviceError{"ResourceNotFoundException", "No agent runtime found with ARN or id " + given}
	case qualifier != "DEFAULT" && !slices.Contains(s.config.Endpoints, qualifier):
		return &serviceError{"ResourceNotFoundException", "No endpoint or agent found with qualifier " + qualifier + " for agent runtime " + given}
	}
	return nil
}

func (s *Server) metadata(w http.ResponseWriter, r *http.Request) {
	if err := s.resolve(r); err != nil {
		writeError(w, err)
		return
	}
	rules := s.config.Record.AuthorizerConfiguration.CustomJWT
	writeJSON(w, http.StatusOK, map[string]any{
		"resource":                 s.URL + "/runtimes/" + url.QueryEscape(s.config.Record.ARN) + "/invocations",
		"authorization_servers":    []string{rules.DiscoveryURL},
		"bearer_methods_supported": []string{"header"},
		"scopes_supported":         append([]string{}, rules.AllowedScopes...),
	})
}

// lengths bound the headers that the service itself reads.
var lengths = map[string]int{"Traceparent": 128, "Tracestate": 512, "Baggage": 8192, "X-Amzn-Trace-Id": 128}

func checkHeaders(h http.Header, sessionID string) error {
	if len(sessionID) < 33 || len(sessionID) > 256 {
		return &serviceError{"ValidationException", fmt.Sprintf("runtimeSessionId has %d characters: at least 33 and at most 256 are allowed", len(sessionID))}
	}
	for name, limit := range lengths {
		if len(h.Get(name)) > limit {
			return &serviceError{"ValidationException", fmt.Sprintf("%s has more than %d characters", name, limit)}
		}
	}
	return nil
}

// forward sends the invocation to the session's agent and its answer to the caller.
func (s *Server) forward(w http.ResponseWriter, r *http.Request, sess *session, token oidc.Token, body []byte) error {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	limit := time.AfterFunc(s.config.InvocationTimeout, func() { cancel(errTooLong) })
	defer limit.Stop()

	out, err := http.NewRequestWithContext(ctx, http.MethodPost, sess.url+"/invocations", bytes.NewReader(body))
	if err != nil {
		return err
	}
	out.Header = s.containerHeaders(r.Header, sess.id, token)
	w.Header().Set(SessionHeader, sess.id)
	resp, err := s.client.Do(out)
	if context.Cause(ctx) == errTooLong {
		return &serviceError{"GatewayTimeoutException", "The agent did not answer in time."}
	}
	if err != nil {
		s.awaitEnd(sess)
		return &serviceError{"RuntimeClientError", "The connection to the runtime was lost. Please check your CloudWatch logs for more information."}
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 400 {
		return &serviceError{"RuntimeClientError", fmt.Sprintf("Received error (%d) from runtime. Please check your CloudWatch logs for more information.", resp.StatusCode)}
	}
	contentType := resp.Header.Get("Content-Type")
	if strings.HasPrefix(contentType, "text/event-stream") {
		limit.Reset(time.Hour) // the service's limit of a stream
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(resp.StatusCode)
	if err := stream(w, resp.Body); err != nil {
		s.awaitEnd(sess)
		panic(http.ErrAbortHandler) // the caller must see that the answer is not whole
	}
	return nil
}

var errTooLong = errors.New("invocation took too long")

// stream copies without holding anything back.
func stream(w http.ResponseWriter, from io.Reader) error {
	flush := http.NewResponseController(w)
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if _, err := w.Write(buffer[:n]); err != nil {
				return err
			}
			if err := flush.Flush(); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// containerHeaders are all that the agent sees.
func (s *Server) containerHeaders(in http.Header, sessionID string, token oidc.Token) http.Header {
	out := make(http.Header)
	pass := slices.Concat([]string{"Content-Type", "Accept", "Traceparent", "Tracestate", "Baggage", "X-Amzn-Trace-Id"}, s.config.Record.RequestHeaders.Allowlist)
	for _, name := range pass {
		if value := in.Get(name); value != "" {
			out.Set(name, value)
		}
	}
	if out.Get("X-Amzn-Trace-Id") == "" {
		out.Set("X-Amzn-Trace-Id", fmt.Sprintf("Root=1-%08x-%x", time.Now().Unix(), randomBytes(12)))
	}
	wat := s.issue(token)
	out.Set(SessionHeader, sessionID)
	out.Set(requestHeader, newUUID())
	out.Set(workloadHeader, wat)
	out.Set(identityWATHeader, wat)
	return out
}

// issue makes a workload access token for the caller.
func (s *Server) issue(token oidc.Token) string {
	wat := rand.Text() + rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.workloads[wat] = Workload{RuntimeARN: s.config.Record.ARN, Issuer: token.Issuer, Subject: token.Subject}
	return wat
}

func (s *Server) stop(w http.ResponseWriter, r *http.Request) {
	if _, err := s.admit(w, r); err != nil {
		writeError(w, err)
		return
	}
	id := r.Header.Get(SessionHeader)
	if err := checkHeaders(r.Header, id); err != nil {
		writeError(w, err)
		return
	}
	if !s.EndSession(id) {
		writeError(w, &serviceError{"ResourceNotFoundException", "No session " + id})
		return
	}
	w.Header().Set(SessionHeader, id)
	w.WriteHeader(http.StatusOK)
}

func writeError(w http.ResponseWriter, err error) {
	var known *serviceError
	if !errors.As(err, &known) {
		known = &serviceError{"InternalServerException", err.Error()}
	}
	w.Header().Set("X-Amzn-Errortype", known.code)
	writeJSON(w, statuses[known.code], map[string]string{"message": known.message})
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the caller may be gone
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// newUUID is a random UUID, version 4.
func newUUID() string {
	b := randomBytes(16)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// newSessionID is what the service makes up: a UUID, which has 36 characters.
func newSessionID() string { return newUUID() }
