// Package lambdaapi is the bridge as AgentCore Gateway invokes it: a Lambda target.
//
// # The contract
//
// The event is the arguments of tools/call, a bare JSON object. The client context's custom map
// holds bedrockAgentCoreToolName, "<gateway target>___<tool>", and bedrockAgentCorePropagatedHeaders,
// a JSON object of the headers that the target lets through, among them the user token's:
//
//	X-Amzn-Bedrock-AgentCore-Runtime-Custom-User-Token: <JWT>
//
// and, so that the caller's trace goes on here, traceparent and tracestate.
//
// The answer is always a JSON object: {"ok":true, …}, or
//
//	{"ok":false,"error":{"code":"…","message":"…","hint":"…"}}
//
// because the Gateway shows a model nothing of a Lambda error but "internal error". Only a bug of
// the bridge's own is one.
//
// Source: https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/gateway-add-target-lambda.html.
package lambdaapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"
	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/central-ops/central-ops/services/bridge"
)

const (
	toolNameKey = "bedrockAgentCoreToolName"
	headersKey  = "bedrockAgentCorePropagatedHeaders"

	// UserTokenHeader carries the person's access token; names are compared without case.
	UserTokenHeader = "X-Amzn-Bedrock-AgentCore-Runtime-Custom-User-Token"

	// separator stands between the gateway target's name and the tool's
	// (https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/gateway-tool-naming.html).
	separator = "___"

	// maxEvent and maxDepth bound the arguments. A query of 1,000 selectors has 50 KB.
	maxEvent = 256 << 10
	maxDepth = bridge.MaxJSONDepth + 4

	// maxAnswer bounds an answer: Lambda takes 6 MB and makes an error of more
	// (https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html). Only a list of accounts has no bound of its own.
	maxAnswer = 6 << 20

	// longest and spare make the deadline of a call: the Gateway gives up on a Lambda after a time
	// that is not published (about 40 s have been seen), and the answer must get out before Lambda
	// ends the invocation.
	longest = 28 * time.Second
	spare   = 2 * time.Second
)

// Verifier verifies user tokens; its error carries a code.
type Verifier interface {
	Verify(ctx context.Context, token string) (bridge.Person, error)
}

// Bridge answers about accounts.
type Bridge interface {
	ListAccounts(ctx context.Context, person bridge.Person, filter string) ([]bridge.Account, error)
	Query(ctx context.Context, person bridge.Person, query bridge.Query) (*bridge.Answer, error)
}

// Knowledge passes calls of documentation tools on; its result is JSON.
type Knowledge interface {
	Call(ctx context.Context, tool string, arguments json.RawMessage) (json.RawMessage, error)
}

// Handler handles invocations. It is safe for concurrent use.
type Handler struct {
	verifier  Verifier
	bridge    Bridge
	knowledge Knowledge
	logger    *slog.Logger
	encode    func(v any) ([]byte, error)
	maxBytes  int
}

// New returns a handler that writes answers by encode; maxBytes is the size over which a documentation answer is refused.
func New(verifier Verifier, b Bridge, knowledge Knowledge, logger *slog.Logger, encode func(v any) ([]byte, error), maxBytes int) *Handler {
	return &Handler{verifier, b, knowledge, logger, encode, maxBytes}
}

// Outcome is how a tool call ended.
type Outcome struct {
	Tool string      // "" if there is no tool of the name asked for
	Code bridge.Code // "" if the call was answered; why it was refused otherwise
}

// Handle answers one tool call. Its error is a bug: a refused call is an answer, too.
func (h *Handler) Handle(ctx context.Context, event []byte) ([]byte, Outcome, error) {
	start := time.Now()
	ctx, cancel := context.WithDeadline(ctx, cutoff(ctx, start))
	defer cancel()

	tool, answer, err := h.answer(ctx, event)
	level, outcome := slog.LevelInfo, Outcome{Tool: tool}
	if err != nil {
		answer = refusal{Error: bridge.FailureOf(err)}
		outcome.Code = bridge.CodeOf(err)
		if outcome.Code == bridge.Internal {
			level = slog.LevelError
		}
	}
	encoded, encodeErr := h.encode(answer)
	if len(encoded) > maxAnswer {
		err = &bridge.Error{Op: tool, Code: bridge.Invalid, Err: fmt.Errorf("the answer has %d bytes, at most %d can be sent", len(encoded), maxAnswer), Hint: "ask for less, with a filter"}
		outcome.Code = bridge.CodeOf(err)
		encoded, encodeErr = h.encode(refusal{Error: bridge.FailureOf(err)})
	}
	if encodeErr != nil {
		outcome.Code = bridge.Internal
		return nil, outcome, fmt.Errorf("write answer of %s: %w", tool, encodeErr)
	}
	attrs := []slog.Attr{slog.String("tool", tool), slog.String("code", string(outcome.Code)),
		slog.Int("bytes", len(encoded)), slog.Int64("duration_ms", time.Since(start).Milliseconds())}
	if level == slog.LevelError { // internal errors are ours: their text holds no arguments
		attrs = append(attrs, slog.String("error", err.Error()))
	}
	h.logger.LogAttrs(ctx, level, "tool call finished", attrs...)
	return encoded, outcome, nil
}

type refusal struct {
	OK    bool            `json:"ok"`
	Error *bridge.Failure `json:"error"`
}

// cutoff is when the answer must be ready: after 28 s, or 2 s before Lambda's own deadline, or
// halfway to it if less than 4 s are left.
func cutoff(ctx context.Context, now time.Time) time.Time {
	end := now.Add(longest)
	if deadline, ok := ctx.Deadline(); ok {
		left := deadline.Sub(now)
		if before := now.Add(max(left-spare, left/2)); before.Before(end) {
			end = before
		}
	}
	return end
}

// answer runs the tool that the client context names. The tool's name is returned if there is one
// of that name, "" otherwise.
func (h *Handler) answer(ctx context.Context, event []byte) (string, any, error) {
	name, token := fromContext(ctx)
	if name == "" {
		return "", nil, &bridge.Error{Op: "read client context", Code: bridge.Invalid, Err: errors.New(toolNameKey + " is missing"),
			Hint: "invoke the bridge through a gateway target; a direct invocation must set the client context as the Gateway does"}
	}
	tool, err := bridge.FindTool(name)
	if err != nil {
		return "", nil, err
	}
	person, err := h.verifier.Verify(ctx, token)
	if err != nil {
		return name, nil, err
	}
	arguments, raw, err := Decode(tool, event)
	if err != nil {
		return name, nil, err
	}
	switch name {
	case "list_accounts":
		accounts, err := h.bridge.ListAccounts(ctx, person, arguments.Filter)
		if err != nil {
			return name, nil, err
		}
		return name, struct {
			OK       bool             `json:"ok"`
			Accounts []bridge.Account `json:"accounts"`
		}{true, accounts}, nil
	case "query":
		answer, err := h.bridge.Query(ctx, person, arguments.query())
		return name, answer, err
	default:
		result, err := h.knowledge.Call(ctx, name, raw)
		if err != nil {
			return name, nil, err
		}
		if len(result) > h.maxBytes {
			return name, nil, &bridge.Error{Op: name, Code: bridge.Invalid, Err: fmt.Errorf("the answer has %d bytes, at most %d are passed on", len(result), h.maxBytes),
				Hint: "ask for less: a smaller limit, max_length or list"}
		}
		return name, struct {
			OK     bool            `json:"ok"`
			Result json.RawMessage `json:"result"`
		}{true, result}, nil
	}
}

// arguments are those of all tools that the bridge answers itself.
type arguments struct {
	Filter    string          `json:"filter"`
	Accounts  []string        `json:"accounts"`
	Regions   []string        `json:"regions"`
	Service   string          `json:"service"`
	Operation string          `json:"operation"`
	Params    json.RawMessage `json:"params"`
	Select    string          `json:"select"`
	GroupBy   string          `json:"group_by"`
	Limit     *float64        `json:"limit"` // whole, as the schema was checked; 5.0 and 5e0 are 5
}

func (a arguments) query() bridge.Query {
	query := bridge.Query{Accounts: a.Accounts, Regions: a.Regions, Service: a.Service, Operation: a.Operation,
		Select: strings.TrimSpace(a.Select), GroupBy: strings.TrimSpace(a.GroupBy)}
	if string(a.Params) != "null" {
		query.Params = a.Params
	}
	if a.Limit != nil {
		query.Limit = int(*a.Limit)
		if query.Limit == 0 {
			query.Limit = -1 // asked for, and refused with the others below 1
		}
	}
	return query
}

// lenient reads what encoding/json does: of a name that stands twice the last counts, and what is not UTF-8 becomes U+FFFD.
var lenient = jsonv2.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

// Decode reads the arguments of tool and checks them against its schema. raw is the event, compact; for a tool that is passed on, as it
// was checked: each name once, and none with null, which the check takes for left out.
func Decode(tool bridge.Tool, event []byte) (a arguments, raw json.RawMessage, err error) {
	refuse := func(hint, format string, args ...any) error {
		return &bridge.Error{Op: "read arguments of " + tool.Name, Code: bridge.Invalid, Err: fmt.Errorf(format, args...), Hint: hint}
	}
	if len(event) > maxEvent {
		return a, nil, refuse(`use "all" or "env:<environment>" instead of long lists`, "the arguments have %d bytes, at most %d are taken", len(event), maxEvent)
	}
	if len(bytes.TrimSpace(event)) == 0 {
		event = []byte("{}")
	}
	if depth := bridge.JSONDepth(event); depth > maxDepth { // first: encoding/json takes 10,000 levels for a syntax error
		return a, nil, refuse("no AWS operation takes parameters that deep", "the arguments are nested %d levels deep, at most %d are taken", depth, maxDepth)
	}
	var document any
	if err := jsonv2.Unmarshal(event, &document, lenient); err != nil {
		return a, nil, refuse("send a JSON object", "the arguments are not JSON")
	}
	if err := tool.Check(document); err != nil {
		return a, nil, err
	}
	if tool.Name == "query" || tool.Name == "list_accounts" {
		compact := jsontext.Value(event).Clone()
		if err = compact.Compact(lenient); err == nil {
			err = jsonv2.Unmarshal(compact, &a, lenient)
		}
		raw = json.RawMessage(compact)
	} else {
		dropNulls(document)
		raw, err = jsonv2.Marshal(document, jsonv2.Deterministic(true))
	}
	if err != nil {
		return a, nil, refuse("send a JSON object", "the arguments cannot be read: %v", err)
	}
	return a, raw, nil
}

// dropNulls takes the members that are null out of the objects in value.
func dropNulls(value any) {
	switch value := value.(type) {
	case map[string]any:
		for name, member := range value {
			if member == nil {
				delete(value, name)
			}
			dropNulls(member)
		}
	case []any:
		for _, item := range value {
			dropNulls(item)
		}
	}
}

// fromContext returns the tool's own name and the user token, "" for what isn't there.
func fromContext(ctx context.Context) (tool, token string) {
	lambda, ok := lambdacontext.FromContext(ctx)
	if !ok {
		return "", ""
	}
	custom := lambda.ClientContext.Custom
	tool = custom[toolNameKey]
	if _, name, ok := strings.Cut(tool, separator); ok {
		tool = name
	}
	return tool, UserToken(custom[headersKey])
}

// Trace is the trace context that an invocation comes with; "" for what isn't there.
type Trace struct {
	Parent string // header traceparent (https://www.w3.org/TR/trace-context/)
	State  string // header tracestate
	XRay   string // Lambda's own: Root=1-<8 hex>-<24 hex>;Parent=<16 hex>;Sampled=<0|1>
}

// TraceOf returns the trace context of the invocation that ctx belongs to.
func TraceOf(ctx context.Context) Trace {
	var trace Trace
	if lambda, ok := lambdacontext.FromContext(ctx); ok {
		headers := lambda.ClientContext.Custom[headersKey]
		trace.Parent, trace.State = header(headers, "traceparent"), header(headers, "tracestate")
	}
	trace.XRay, _ = ctx.Value("x-amzn-trace-id").(string) // aws-lambda-go has no function for it
	return trace
}

// UserToken returns the user token in headers, a JSON object of header values (a string or a list of
// strings each); "" if there is none.
func UserToken(headers string) string {
	token := header(headers, UserTokenHeader)
	if scheme, rest, ok := strings.Cut(token, " "); ok && strings.EqualFold(scheme, "bearer") {
		token = rest
	}
	return strings.TrimSpace(token)
}

// header returns the value of the header wanted, whatever the case of its name; "" if there is none, or
// two that differ: two tokens are two persons, and neither of them is asking.
func header(headers, wanted string) string {
	var object map[string]jsontext.Value
	if jsonv2.Unmarshal([]byte(headers), &object, lenient) != nil {
		return ""
	}
	found, some := "", false
	for name, raw := range object {
		if !strings.EqualFold(name, wanted) {
			continue
		}
		var value string
		var values []string
		if jsonv2.Unmarshal(raw, &value, lenient) != nil && jsonv2.Unmarshal(raw, &values, lenient) == nil && len(values) == 1 {
			value = values[0]
		}
		if some && found != value {
			return ""
		}
		found, some = value, true
	}
	return found
}
