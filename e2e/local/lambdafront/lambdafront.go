// Package lambdafront is the local platform's AWS Lambda: the Invoke API in front, real bootstrap binaries behind.
//
//	POST /2015-03-31/functions/{name or ARN}/invocations
//	     Authorization: AWS4-HMAC-SHA256 ... (service lambda)
//	     X-Amz-Client-Context: <base64 of a JSON object, at most 3,583 bytes>
//	     body: the event, JSON, at most 6 MB
//	200  body: what the function answered, at most 6 MB
//	     X-Amz-Function-Error: Unhandled   if the function failed, was killed or ran out of time; then the body is
//	                                       {"errorType","errorMessage",...}
//	4xx  X-Amzn-ErrorType: the service refused the request
//
// Each execution environment is one process with a Runtime API listener of its own; see environment.go. It runs one
// event at a time, is kept for later events, and there are at most as many as the function's concurrency.
// https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
package lambdafront

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/central-ops/central-ops/e2e/local/assumed"
	"github.com/central-ops/central-ops/e2e/local/internal/loopback"
	"github.com/central-ops/central-ops/e2e/local/issued"
	"github.com/central-ops/central-ops/e2e/local/sigv4"
)

// Limits of the service.
// https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
const (
	MaxRequestBytes       = 6_291_456
	MaxResponseBytes      = 6_291_556 // as the error message of the service has it
	MaxClientContextBytes = 3583      // base64
	MaxEnvironmentBytes   = 4096      // names and values together
	MaxTimeout            = 15 * time.Minute
)

// Assumptions are the rows of this package.
var Assumptions = []assumed.Row{
	{
		ID:     "lambda-answer-after-next",
		Where:  "lambdafront",
		Assume: "the caller gets the answer when the runtime has asked for the next event, so that calls made one after the other meet one environment",
		Source: "inferred: AWS documents that an invocation ends with the next call of the runtime",
		Check:  "not observable but for cold starts",
	},
	{
		ID:     "lambda-init-timeout",
		Where:  "lambdafront",
		Assume: "an environment whose init takes longer than 10 s is killed and the call fails with Sandbox.Timedout",
		Source: "documented limit of 10 s; AWS then repeats the init within the function's timeout, which is not imitated",
		Check:  "deploy a function that sleeps before lambda.Start",
	},
	{
		ID:     "lambda-empty-payload",
		Where:  "lambdafront",
		Assume: "a call without a body reaches the function as {}",
		Source: "observed by users; not documented",
		Check:  "aws lambda invoke without --payload on an echo function",
	},
}

// Config says what the service knows. All but Functions is required.
type Config struct {
	Account string
	Region  string
	// Credentials is what the platform's AWS has issued; calls must be signed by one of them.
	Credentials *issued.Store
	// Authorize tells whether the principal, arn:aws:sts::...:assumed-role/... for a role's session, may invoke
	// the function. Its ARN carries the alias if the call does, as IAM sees it.
	Authorize func(principalARN, functionARN string) bool
	// Now is the clock that signatures are checked against; nil means time.Now.
	Now func() time.Time
	// Functions are deployed at the start; Deploy adds others.
	Functions []Function
}

// Function is a function on the runtime provided.al2023.
type Function struct {
	Name      string
	Aliases   []string          // names under which it may be called too: <name>:<alias>
	Bootstrap string            // path of the binary
	Env       map[string]string // the configured variables; names that Lambda sets itself are refused
	Timeout   time.Duration     // 0 means 3 s, as on AWS
	MemoryMB  int               // 0 means 128, as on AWS; told to the function, not enforced
	// Concurrency is the reserved concurrency: how many environments there may be at once. 0 means 10.
	Concurrency int
	// Role returns the credentials that a new environment gets in its variables; nil means that it gets none.
	Role func() (issued.Credential, error)
	// Freeze stops the environment's process whenever no event is in flight, as Lambda does.
	Freeze bool
	// Log gets what the environments print and Lambda's own START, END and REPORT lines. Writes are serialized. Nil discards.
	Log io.Writer
}

// Server is the running service. All methods may be called concurrently.
type Server struct {
	*loopback.Server

	config Config

	mu        sync.Mutex
	functions map[string]*function
	closed    bool
}

// Start deploys the functions and serves on a free port. No environment is started before the first call.
func Start(config Config) (*Server, error) {
	if config.Now == nil {
		config.Now = time.Now
	}
	s := &Server{config: config, functions: make(map[string]*function)}
	for _, f := range config.Functions {
		if err := s.Deploy(f); err != nil {
			return nil, err
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /2015-03-31/functions/{function}/invocations", s.invoke)
	server, err := loopback.Serve(mux)
	if err != nil {
		return nil, err
	}
	s.Server = server
	return s, nil
}

// Close ends every environment and the service.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	functions := slices.Collect(maps.Values(s.functions))
	s.mu.Unlock()
	for _, f := range functions {
		f.retire()
	}
	return s.Server.Close()
}

// FunctionARN is the unqualified ARN of a function of that name.
func (s *Server) FunctionARN(name string) string {
	return fmt.Sprintf("arn:aws:lambda:%s:%s:function:%s", s.config.Region, s.config.Account, name)
}

// Deploy creates the function, or replaces it: running events finish on the old code, later ones start on the new.
func (s *Server) Deploy(f Function) error {
	f.Timeout = cmp.Or(f.Timeout, 3*time.Second)
	f.MemoryMB = cmp.Or(f.MemoryMB, 128)
	f.Concurrency = cmp.Or(f.Concurrency, 10)
	f.Env = maps.Clone(f.Env)
	if err := f.validate(); err != nil {
		return fmt.Errorf("function %s: %w", f.Name, err)
	}
	next := newFunction(f, s.FunctionARN(f.Name), s.config.Region)
	s.mu.Lock()
	previous := s.functions[f.Name]
	s.functions[f.Name] = next
	s.mu.Unlock()
	if previous != nil {
		previous.retireIdle()
	}
	return nil
}

func (f Function) validate() error {
	var faults []error
	if f.Name == "" {
		faults = append(faults, errors.New("has no name"))
	}
	if info, err := os.Stat(f.Bootstrap); err != nil {
		faults = append(faults, fmt.Errorf("bootstrap: %w", err))
	} else if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		faults = append(faults, fmt.Errorf("bootstrap: %s is not executable", f.Bootstrap))
	}
	if f.Timeout < time.Second || f.Timeout > MaxTimeout {
		faults = append(faults, fmt.Errorf("timeout %s is not between 1s and %s", f.Timeout, MaxTimeout))
	}
	size := 0
	for name, value := range f.Env {
		size += len(name) + len(value)
		if slices.Contains(reserved, name) {
			faults = append(faults, fmt.Errorf("environment variable %s is reserved: Lambda sets it", name))
		}
	}
	if size > MaxEnvironmentBytes {
		faults = append(faults, fmt.Errorf("environment variables take %d bytes, more than %d", size, MaxEnvironmentBytes))
	}
	return errors.Join(faults...)
}

// reserved are the names that a function's configuration may not use.
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
var reserved = []string{
	"_HANDLER", "_X_AMZN_TRACE_ID", "AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_DEFAULT_REGION", "AWS_EXECUTION_ENV",
	"AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION",
	"AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME",
	"AWS_LAMBDA_RUNTIME_API", "AWS_REGION", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "LAMBDA_RUNTIME_DIR",
	"LAMBDA_TASK_ROOT",
}

// ErrNoFunction is returned for a name that was not deployed.
var ErrNoFunction = errors.New("no such function")

// SetConcurrency changes how many environments the function may have; 0 throttles every call.
func (s *Server) SetConcurrency(name string, n int) error {
	f, err := s.lookup(name)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.Concurrency = n
	return nil
}

// FreezeIdle stops the processes that wait for an event until one comes, whatever Function.Freeze says. What the world
// does meanwhile to their connections, sessions and credentials is up to the caller.
func (s *Server) FreezeIdle(name string) error {
	f, err := s.lookup(name)
	if err != nil {
		return err
	}
	f.freezeIdle()
	return nil
}

// RetireIdle ends the environments that wait for an event, so that the next call is a cold start.
func (s *Server) RetireIdle(name string) error {
	f, err := s.lookup(name)
	if err != nil {
		return err
	}
	f.retireIdle()
	return nil
}

// Stats counts a function's environments.
type Stats struct {
	Started int // ever
	Live    int // now
}

// Stats returns the counts of a function since it was last deployed.
func (s *Server) Stats(name string) (Stats, error) {
	f, err := s.lookup(name)
	if err != nil {
		return Stats{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return Stats{Started: f.started, Live: len(f.live)}, nil
}

func (s *Server) lookup(name string) (*function, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f, ok := s.functions[name]; ok && !s.closed {
		return f, nil
	}
	return nil, fmt.Errorf("%s: %w", name, ErrNoFunction)
}

// refusal is an error of the service, as opposed to one of the function.
type refusal struct {
	status  int
	code    string
	message string
	reason  string // only for TooManyRequestsException
}

func (s *Server) invoke(w http.ResponseWriter, r *http.Request) {
	requestID := newRequestID()
	w.Header().Set("X-Amzn-Requestid", requestID)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxRequestBytes))
	if err != nil {
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			refuse(w, refusal{http.StatusRequestEntityTooLarge, "RequestTooLargeException",
				fmt.Sprintf("Request must be smaller than %d bytes for the InvokeFunction operation", MaxRequestBytes), ""})
		}
		return
	}
	cred, err := sigv4.Verify(r, body, "lambda", s.config.Region, s.config.Credentials, s.config.Now())
	if refused := (*sigv4.Error)(nil); errors.As(err, &refused) {
		refuse(w, refusal{refused.HTTPStatus(), refused.Code, refused.Message, ""})
		return
	}
	name, qualifier, refused := s.functionName(r)
	if refused != nil {
		refuse(w, *refused)
		return
	}
	arn := s.FunctionARN(name)
	if qualifier != "" {
		arn += ":" + qualifier
	}
	if !s.config.Authorize(cred.PrincipalARN, arn) {
		refuse(w, refusal{http.StatusForbidden, "AccessDeniedException", fmt.Sprintf(
			"User: %s is not authorized to perform: lambda:InvokeFunction on resource: %s because no identity-based policy allows the lambda:InvokeFunction action",
			cred.PrincipalARN, arn), ""})
		return
	}
	f, err := s.lookup(name)
	if err != nil || qualifier != "" && qualifier != "$LATEST" && !slices.Contains(f.Aliases, qualifier) {
		refuse(w, refusal{http.StatusNotFound, "ResourceNotFoundException", "Function not found: " + arn, ""})
		return
	}
	event, refused := readEvent(r, body, requestID)
	if refused != nil {
		refuse(w, *refused)
		return
	}
	switch kind := r.Header.Get("X-Amz-Invocation-Type"); kind {
	case "", "RequestResponse":
	case "DryRun":
		w.WriteHeader(http.StatusNoContent)
		return
	default:
		refuse(w, refusal{http.StatusBadRequest, "InvalidParameterValueException",
			"invocation type " + kind + " is not served here: use RequestResponse or DryRun", ""})
		return
	}
	out, err := f.run(event)
	if errors.Is(err, errThrottled) {
		refuse(w, refusal{http.StatusTooManyRequests, "TooManyRequestsException", "Rate Exceeded.", "ReservedFunctionConcurrentInvocationLimitExceeded"})
		return
	}
	if err != nil {
		refuse(w, refusal{http.StatusInternalServerError, "ServiceException", err.Error(), ""})
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Amz-Executed-Version", "$LATEST")
	h.Set("X-Amzn-Trace-Id", event.traceID)
	if out.failed {
		h.Set("X-Amz-Function-Error", "Unhandled")
	}
	_, _ = w.Write(out.payload) // the caller may be gone
}

// functionName takes name and qualifier out of a name, a partial ARN (account:function:name) or a whole one, each with or
// without a qualifier at its end.
func (s *Server) functionName(r *http.Request) (name, qualifier string, refused *refusal) {
	given, err := url.PathUnescape(r.PathValue("function"))
	if err != nil {
		given = r.PathValue("function")
	}
	name, qualifier = given, r.URL.Query().Get("Qualifier")
	if parts := strings.Split(given, ":"); len(parts) == 2 && parts[0] != "function" {
		name, qualifier = parts[0], parts[1]
	} else if len(parts) > 1 {
		i := slices.Index(parts, "function")
		if i < 0 || i+1 >= len(parts) || i > 0 && parts[i-1] != s.config.Account || i > 1 && parts[i-2] != s.config.Region {
			return "", "", &refusal{http.StatusNotFound, "ResourceNotFoundException", "Function not found: " + given, ""}
		}
		name = parts[i+1]
		if i+2 < len(parts) {
			qualifier = parts[i+2]
		}
	}
	return name, qualifier, nil
}

func readEvent(r *http.Request, body []byte, requestID string) (*event, *refusal) {
	if len(body) == 0 {
		body = []byte("{}")
	}
	if !json.Valid(body) {
		return nil, &refusal{http.StatusBadRequest, "InvalidRequestContentException", "Could not parse request body into json", ""}
	}
	encoded := r.Header.Get("X-Amz-Client-Context")
	if len(encoded) > MaxClientContextBytes {
		return nil, &refusal{http.StatusBadRequest, "InvalidRequestContentException",
			fmt.Sprintf("Client context has %d bytes: at most %d bytes are allowed", len(encoded), MaxClientContextBytes), ""}
	}
	clientContext, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(clientContext) > 0 && !json.Valid(clientContext) {
		return nil, &refusal{http.StatusBadRequest, "InvalidRequestContentException", "Client context must be a valid Base64-encoded JSON object.", ""}
	}
	return &event{
		id:            requestID,
		payload:       body,
		clientContext: string(clientContext),
		traceID:       cmp.Or(r.Header.Get("X-Amzn-Trace-Id"), newTraceID()),
		outcome:       make(chan outcome, 1),
	}, nil
}

func refuse(w http.ResponseWriter, e refusal) {
	body := map[string]string{"Type": "User", "Message": e.message}
	if e.reason != "" {
		body["Reason"] = e.reason
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amzn-Errortype", e.code)
	w.WriteHeader(e.status)
	_ = json.NewEncoder(w).Encode(body) // the caller may be gone
}

// newRequestID is a random UUID, version 4.
func newRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

func newTraceID() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return fmt.Sprintf("Root=1-%08x-%x;Sampled=0", time.Now().Unix(), b)
}
