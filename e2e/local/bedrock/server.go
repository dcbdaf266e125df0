// Package bedrock stands in for the Bedrock runtime: Converse and ConverseStream.
//
//	POST /model/{modelId}/converse          JSON in, JSON out
//	POST /model/{modelId}/converse-stream   JSON in, application/vnd.amazon.eventstream out
//
// Every request must be signed for service "bedrock" by credentials that the platform has issued. The conversation is held to
// the service's rules (roles, tool results, names, cache points; see validate.go), so that a client which AWS would refuse
// is refused here. What is answered comes from a Model: Planner, a small set of rules, or OpenAI, which forwards
// the conversation to a server with OpenAI's chat API.
//
// A stream is the events messageStart, then per block contentBlockStart (tool uses only), contentBlockDelta and
// contentBlockStop, then messageStop and metadata; an error after the first event is an exception event. Texts come in small
// pieces, tool inputs cut anywhere in their JSON.
// Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html
package bedrock

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/central-ops/central-ops/e2e/local/issued"
	"github.com/central-ops/central-ops/e2e/local/sigv4"
)

// maxBody is the largest request body that is read. Bedrock's own limit is in this order.
const maxBody = 25 << 20

// Config is all that a Server needs.
type Config struct {
	Model  Model         // required; what answers
	Issued *issued.Store // required; whose signatures count
	Region string        // required; the Region that signatures must name
	// Authorize tells whether the principal may do the action, bedrock:InvokeModel or bedrock:InvokeModelWithResponseStream,
	// with the model or inference profile; nil lets everybody.
	Authorize func(principalARN, action, modelID string) bool

	// Reasoning makes answers with tool calls start with a signed reasoning block, as a model with adaptive thinking does, and refuses
	// conversations in which it doesn't come back unchanged. A request can switch it off by
	// {"thinking":{"type":"disabled"}} in additionalModelRequestFields. Only for models that call Answer.Reasoning.
	Reasoning bool

	Now    func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: nothing is logged. Conversations never are.
}

// Server is the stand-in, an http.Handler that is safe for concurrent use.
type Server struct {
	config Config
	key    []byte // signs reasoning
	cache  promptCache

	mu     sync.Mutex
	faults []Fault
	stats  Stats
}

// Stats counts what a Server has done since it was made.
type Stats struct {
	Requests int // all that arrived
	Refused  int // of these, answered by an error that a fault did not ask for
}

// New returns a Server. It panics if a required member of c is missing, since only the platform's own code sets them.
func New(c Config) *Server {
	if c.Model == nil || c.Issued == nil || c.Region == "" {
		panic("bedrock: Config needs Model, Issued and Region")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // never fails, says its documentation
	return &Server{config: c, key: key}
}

// Stats returns the counts so far.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

func (s *Server) count(change func(*Stats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.stats)
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := s.config.Now()
	s.count(func(st *Stats) { st.Requests++ })

	// Read first: until then net/http doesn't notice that a client has left.
	body, readErr := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	fault := s.nextFault()
	if !wait(r.Context(), fault.Delay) {
		return
	}
	streaming := strings.HasSuffix(r.URL.Path, "/converse-stream")
	if fault.AfterEvents == 0 || !streaming {
		if fault.Abort {
			panic(http.ErrAbortHandler)
		}
		if fault.Exception != "" {
			(&Exception{Type: fault.Exception, Message: "Injected fault."}).write(w)
			return
		}
	}

	req, exception := s.accept(r, body, readErr)
	if exception == nil {
		if streaming {
			exception = s.converseStream(w, r, req, fault, start)
		} else {
			exception = s.converse(w, r, req, fault, start)
		}
	}
	if exception != nil {
		s.count(func(st *Stats) { st.Refused++ })
		s.config.Logger.WarnContext(r.Context(), "model request refused", "code", exception.Type, "error", exception.Message)
		exception.write(w)
	}
}

// accept authenticates and validates the request; readErr is why its body could not be read, or nil.
func (s *Server) accept(r *http.Request, body []byte, readErr error) (*Request, *Exception) {
	if readErr != nil {
		return nil, invalid("The request body could not be read: %v", readErr)
	}
	caller, err := sigv4.Verify(r, body, "bedrock", s.config.Region, s.config.Issued, s.config.Now())
	if err != nil {
		var refused *sigv4.Error
		if errors.As(err, &refused) {
			return nil, &Exception{Type: refused.Code, Message: refused.Message}
		}
		return nil, &Exception{Type: "InternalServerException", Message: err.Error()}
	}
	model, exception := modelID(r)
	if exception != nil {
		return nil, exception
	}
	action := "bedrock:InvokeModel"
	if strings.HasSuffix(r.URL.Path, "/converse-stream") {
		action = "bedrock:InvokeModelWithResponseStream"
	}
	if s.config.Authorize != nil && !s.config.Authorize(caller.PrincipalARN, action, model) {
		return nil, &Exception{Type: "AccessDeniedException", Message: "User: " + caller.PrincipalARN + " is not authorized to perform: " + action + " on resource: " + model + " because no identity-based policy allows the " + action + " action"}
	}
	req := &Request{ModelID: model}
	if err := json.Unmarshal(body, req); err != nil {
		return nil, &Exception{Type: "ValidationException", Message: "The request body is not valid: " + err.Error()}
	}
	if exception := validate(req); exception != nil {
		return nil, exception
	}
	if exception := s.validateReasoning(req); exception != nil {
		return nil, exception
	}
	return req, nil
}

var modelIDPattern = regexp.MustCompile(`^[a-zA-Z0-9_.:/-]+$`)

// profileOnly matches base models that can't be invoked without an inference profile
// (model cards at https://docs.aws.amazon.com/bedrock/latest/userguide/models-supported.html, read 2026-11-24).
var profileOnly = regexp.MustCompile(`^anthropic\.claude-`)

// modelID reads the model from the path, in which an ARN's slashes are escaped.
func modelID(r *http.Request) (string, *Exception) {
	parts := strings.Split(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
	if r.Method != http.MethodPost || len(parts) != 3 || parts[0] != "model" || (parts[2] != "converse" && parts[2] != "converse-stream") {
		return "", &Exception{Type: "ResourceNotFoundException", Message: "Unknown operation: " + r.Method + " " + r.URL.Path}
	}
	id, err := url.PathUnescape(parts[1])
	switch {
	case err != nil || len(id) > 2048 || !modelIDPattern.MatchString(id):
		return "", invalid("The provided model identifier is invalid.")
	case profileOnly.MatchString(id):
		return "", invalid("Invocation of model ID %s with on-demand throughput isn’t supported. Retry your request with the ID or ARN of an inference profile that contains this model.", id)
	}
	return id, nil
}

// reasons tells whether answers to req carry reasoning.
func (s *Server) reasons(req *Request) bool {
	return s.config.Reasoning && req.Additional.Thinking.Type != "disabled"
}

func (s *Server) sign(text string) string {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// validateReasoning holds signatures to their texts, and the tool loop that is under way to starting with reasoning.
func (s *Server) validateReasoning(req *Request) *Exception {
	if !s.reasons(req) {
		return nil
	}
	loop := 0 // the last message that asks something, where the tool loop under way begins
	for i, m := range req.Messages {
		asks := m.Role == "user"
		for j, b := range m.Content {
			if b.ToolResult != nil {
				asks = false
			}
			if b.Reasoning != nil && b.Reasoning.Text != nil &&
				!hmac.Equal([]byte(b.Reasoning.Text.Signature), []byte(s.sign(b.Reasoning.Text.Text))) {
				return invalid("messages.%d.content.%d: Invalid `signature` in `thinking` block", i, j)
			}
		}
		if asks {
			loop = i
		}
	}
	for i, m := range req.Messages[loop:] {
		if m.Role == "assistant" && usesTools(m) && m.Content[0].Reasoning == nil {
			return invalid("messages.%d.content.0.type: Expected `thinking` or `redacted_thinking`, but found `%s`. When `thinking` is enabled, a final `assistant` message must start with a thinking block.", loop+i, m.Content[0].keys[0])
		}
	}
	return nil
}

func usesTools(m Message) bool {
	for _, b := range m.Content {
		if b.ToolUse != nil {
			return true
		}
	}
	return false
}

// reply has the model answer into a, and settles the usage.
func (s *Server) reply(ctx context.Context, req *Request, a *Answer) (Usage, error) {
	a.sign, a.reasons = s.sign, s.reasons(req)
	usage := s.cache.usage(req, s.config.Now())
	if err := s.config.Model.Reply(ctx, req, a); err != nil && !errors.Is(err, errCut) {
		return Usage{}, err
	}
	if err := a.finish(); err != nil {
		return Usage{}, err
	}
	usage.OutputTokens = a.outputTokens()
	usage.TotalTokens = usage.InputTokens + usage.CacheReadInputTokens + usage.CacheWriteInputTokens + usage.OutputTokens
	if a.usage != nil {
		usage = *a.usage
	}
	return usage, nil
}

func (s *Server) converse(w http.ResponseWriter, r *http.Request, req *Request, fault Fault, start time.Time) *Exception {
	answer := &Answer{cutShort: fault.StopReason}
	usage, err := s.reply(r.Context(), req, answer)
	if err != nil {
		return asException(err)
	}
	var resp Response
	resp.Output.Message = Message{Role: "assistant", Content: answer.blocks}
	resp.StopReason = answer.stopReason
	resp.Usage = usage
	resp.Metrics.LatencyMs = s.config.Now().Sub(start).Milliseconds()
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(resp); err != nil {
		s.config.Logger.WarnContext(r.Context(), "model answer not sent", "error", err)
	}
	return nil
}

// asException turns a model's error into what the caller sees.
func asException(err error) *Exception {
	var e *Exception
	if errors.As(err, &e) {
		return e
	}
	return &Exception{Type: "InternalServerException", Message: err.Error()}
}
