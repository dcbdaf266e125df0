// Package gateway is the agent's Toolbox on an AgentCore Gateway: MCP over Streamable HTTP.
//
// One Toolbox is one session's MCP connection:
//
//	POST {GATEWAY_URL}   Authorization: Bearer …   Accept: application/json, text/event-stream
//	initialize (2025-06-18), notifications/initialized      once, and again when the session is lost
//	tools/list, following nextCursor                         kept for toolsTTL
//	tools/call                                               any number at once
//
// The Gateway answers a call only when the tool has ended, and may hang, so each attempt has a deadline
// of its own. Every tool reads, so a call is repeated once when the attempt failed for a transient reason:
// no connection, deadline, 429 (after Retry-After), 5xx, a lost session (404, or 400 for a missing
// session id), and, with an Authorizer that can renew its token, 401. Terminal: 401 otherwise
// (unauthenticated), 403 (forbidden), a JSON-RPC error (the model's arguments or tool name).
//
// The SDK's client tears down its connection at the first refused request, which ends the other calls on
// it too; each of them counts that as its transient failure and goes on with the new connection.
//
// Redirects are not followed: they would carry the person's token to wherever they point.
//
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/gateway-using-mcp.html and
// .../gateway-sessions.html (read 2026-10).
package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	agent "github.com/central-ops/central-ops/services/agent"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

const (
	// protocolVersion is pinned: with a newer one the SDK probes server/discover first, which a Gateway
	// made for the versions up to 2025-11-25 refuses.
	protocolVersion = "2025-06-18"
	// toolsTTL is how long a session's tool list is used. Longer saves calls; shorter shows a new tool earlier.
	toolsTTL = 5 * time.Minute
	// maxPages bounds tools/list; the Gateway's limit is 1,000 tools a target and 100 targets.
	maxPages = 200
	// maxAnswerBytes bounds one HTTP answer. The Gateway's own limit is 6 MB
	// (https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/bedrock-agentcore-limits.html, read 2026-10).
	maxAnswerBytes = 8 << 20
	// maxAttempts: the first and one retry.
	maxAttempts = 2
	// maxBackoff bounds the wait before the retry, whatever Retry-After says.
	maxBackoff = 5 * time.Second
	// searchTool is the Gateway's own tool finder. The tools are few and all known, so it is left out.
	searchTool = "x_amz_bedrock_agentcore_search"
)

// Authorizer gives a request its credentials.
type Authorizer interface {
	// Authorize returns the headers that authenticate a request for caller. refused are headers that it gave
	// before and that the Gateway did not accept; nil for none. If it has no others, it returns the same.
	// Errors are *agent.Error.
	Authorize(ctx context.Context, caller agent.Caller, refused http.Header) (http.Header, error)
}

// UserToken is the Authorizer that sends the person's own token on.
type UserToken struct{}

// Authorize implements Authorizer. There is never another token: the person must sign in again.
func (UserToken) Authorize(_ context.Context, caller agent.Caller, refused http.Header) (http.Header, error) {
	if refused != nil && !caller.Expires.IsZero() && !time.Now().Before(caller.Expires) {
		return nil, &agent.Error{
			Op: "call the Gateway", Code: agent.CodeUnauthenticated,
			Message: "your token has expired: the Gateway did not accept it (401)",
			Hint:    "sign in again, then ask again",
		}
	}
	return http.Header{"Authorization": {"Bearer " + caller.Token}}, nil
}

// Config says how to reach the Gateway.
type Config struct {
	URL         string            // the MCP endpoint, with /mcp
	ToolTimeout time.Duration     // of one attempt at a call
	Version     string            // of the agent, told to the Gateway
	Transport   http.RoundTripper // shared by all sessions
}

// Toolbox is an agent.Toolbox. The headers of the newest call are used for all, so its calls must be
// for one person at a time, as a session's are.
type Toolbox struct {
	config     Config
	authorizer Authorizer
	headers    atomic.Pointer[http.Header]

	connecting chan struct{} // holds one token; taken while a connection is made

	mu      sync.Mutex
	session *mcp.ClientSession // nil when there is none, or it broke
	tools   []agent.Tool
	listed  time.Time
}

var _ agent.Toolbox = (*Toolbox)(nil)

// New returns a Toolbox. It connects with the first call.
func New(config Config, authorizer Authorizer) *Toolbox {
	t := &Toolbox{config: config, authorizer: authorizer, connecting: make(chan struct{}, 1)}
	t.connecting <- struct{}{}
	return t
}

// Tools implements agent.Toolbox.
func (t *Toolbox) Tools(ctx context.Context, caller agent.Caller) ([]agent.Tool, error) {
	t.mu.Lock()
	tools, fresh := t.tools, t.tools != nil && time.Since(t.listed) < toolsTTL
	t.mu.Unlock()
	if fresh {
		return tools, nil
	}
	err := t.attempt(ctx, caller, "list tools", "", func(ctx context.Context, session *mcp.ClientSession) error {
		var err error
		tools, err = listTools(ctx, session)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(tools) == 0 {
		return nil, &agent.Error{
			Op: "list tools", Code: agent.CodeForbidden,
			Message: "the Gateway offers you no tools",
			Hint:    "ask the operator for access; the operator: check the gateway target and the Gateway's policy",
		}
	}
	t.mu.Lock()
	t.tools, t.listed = tools, time.Now()
	t.mu.Unlock()
	return tools, nil
}

// listTools reads every page. The order is by name, so that it stays the same and a cached prompt stays valid.
func listTools(ctx context.Context, session *mcp.ClientSession) ([]agent.Tool, error) {
	tools := []agent.Tool{}
	seen := make(map[string]bool)
	cursor := ""
	for range maxPages {
		page, err := session.ListTools(ctx, &mcp.ListToolsParams{Cursor: cursor})
		if err != nil {
			return nil, err
		}
		for _, tool := range page.Tools {
			if tool.Name == "" || tool.Name == searchTool || seen[tool.Name] {
				continue
			}
			seen[tool.Name] = true
			tools = append(tools, agent.Tool{Name: tool.Name, Description: tool.Description, InputSchema: schemaOf(tool)})
		}
		if page.NextCursor == "" || page.NextCursor == cursor {
			slices.SortFunc(tools, func(a, b agent.Tool) int { return cmp.Compare(a.Name, b.Name) })
			return tools, nil
		}
		cursor = page.NextCursor
	}
	return nil, &agent.Error{
		Op: "list tools", Code: agent.CodeUnavailable,
		Message: fmt.Sprintf("the Gateway's tool list has more than %d pages", maxPages),
		Hint:    "the operator: check the Gateway's targets",
	}
}

// schemaOf returns the tool's input schema, which for Bedrock must be of type object: it refuses the whole request for one
// that is not, and the other tools with it. A schema that is of no type becomes one; any other accepts any object.
func schemaOf(tool *mcp.Tool) json.RawMessage {
	anything := json.RawMessage(`{"type":"object"}`)
	members, ok := tool.InputSchema.(map[string]any)
	if !ok {
		return anything
	}
	switch members["type"] {
	case "object":
	case nil:
		members = maps.Clone(members)
		members["type"] = "object"
	default:
		return anything
	}
	schema, err := json.Marshal(members)
	if err != nil {
		return anything
	}
	return schema
}

// Call implements agent.Toolbox.
func (t *Toolbox) Call(ctx context.Context, caller agent.Caller, call agent.ToolCall) (agent.ToolOutput, error) {
	var output agent.ToolOutput
	err := t.attempt(ctx, caller, "call tool", call.Name, func(ctx context.Context, session *mcp.ClientSession) error {
		result, err := session.CallTool(ctx, &mcp.CallToolParams{Name: call.Name, Arguments: call.Input})
		if err != nil {
			return err
		}
		output, err = readResult(result)
		return err
	})
	if err == nil && output.IsError && strings.HasPrefix(output.Text, policyDenial) {
		return agent.ToolOutput{}, &agent.Error{
			Op: "call tool", Subject: call.Name, Code: agent.CodeForbidden,
			Message: "the Gateway's policy does not allow you this call",
			Hint:    "do not repeat it; the operator decides who may do what",
		}
	}
	return output, err
}

// policyDenial begins the text of a result when the Gateway's policy engine refused the call
// (https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/use-gateway-with-policy.html, read 2026-10).
const policyDenial = "AuthorizeActionException"

// kindOf names content that is no text.
func kindOf(content mcp.Content) string {
	switch content.(type) {
	case *mcp.ImageContent:
		return "an image"
	case *mcp.AudioContent:
		return "a sound"
	case *mcp.ResourceLink:
		return "a link to a resource"
	}
	return "content of another kind"
}

// readResult takes the text out of an MCP result. What is no text is named, not passed on.
func readResult(result *mcp.CallToolResult) (agent.ToolOutput, error) {
	var texts []string
	for _, content := range result.Content {
		switch content := content.(type) {
		case *mcp.TextContent:
			texts = append(texts, content.Text)
		case *mcp.EmbeddedResource:
			if content.Resource != nil && content.Resource.Text != "" {
				texts = append(texts, content.Resource.Text)
			}
		default:
			texts = append(texts, "("+kindOf(content)+" is left out: only text is read)")
		}
	}
	output := agent.ToolOutput{Text: strings.Join(texts, "\n"), IsError: result.IsError}
	if len(texts) > 1 {
		output.Blocks = texts
	}
	if result.StructuredContent != nil {
		structured, err := json.Marshal(result.StructuredContent)
		if err != nil {
			return agent.ToolOutput{}, err
		}
		output.Structured = structured
	}
	return output, nil
}

// Close implements agent.Toolbox.
func (t *Toolbox) Close() {
	t.mu.Lock()
	session := t.session
	t.session = nil
	t.mu.Unlock()
	if session != nil {
		_ = session.Close() // tells the Gateway that the MCP session is over; it ends by itself otherwise
	}
}

// attempt runs do on a connected session, with one retry.
func (t *Toolbox) attempt(ctx context.Context, caller agent.Caller, op, subject string, do func(context.Context, *mcp.ClientSession) error) error {
	var refused http.Header
	for try := 1; ; try++ {
		header, err := t.authorize(ctx, caller, refused)
		if err != nil {
			return err
		}
		if refused != nil && header.Get("Authorization") == refused.Get("Authorization") {
			return refusedToken(op, subject)
		}
		t.headers.Store(&header)

		failure := t.once(ctx, op, subject, do)
		if failure == nil {
			return nil
		}
		if ctx.Err() != nil || try == maxAttempts || !failure.retry {
			return failure.err
		}
		if failure.renew {
			refused = header
		}
		if !wait(ctx, failure.after) {
			return failure.err
		}
	}
}

// authorize asks for credentials, within the tool timeout.
func (t *Toolbox) authorize(ctx context.Context, caller agent.Caller, refused http.Header) (http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, t.config.ToolTimeout)
	defer cancel()
	return t.authorizer.Authorize(ctx, caller, refused)
}

func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// failure is a failed attempt.
type failure struct {
	err   *agent.Error
	retry bool
	renew bool          // with fresh credentials
	after time.Duration // before the retry
}

// once is one attempt, within the tool timeout.
func (t *Toolbox) once(ctx context.Context, op, subject string, do func(context.Context, *mcp.ClientSession) error) *failure {
	seen := new(sighting)
	attemptCtx, cancel := context.WithTimeout(context.WithValue(ctx, sightingKey{}, seen), t.config.ToolTimeout)
	defer cancel()

	session, err := t.connect(attemptCtx)
	if err == nil {
		if err = do(attemptCtx, session); err == nil {
			return nil
		}
	}
	result := classify(err, seen, op, subject, session != nil && subject != "")
	if attemptCtx.Err() != nil && ctx.Err() == nil && !seen.tooLarge.Load() {
		result = &failure{retry: true, err: &agent.Error{
			Op: op, Subject: subject, Code: agent.CodeTimeout, Err: err,
			Message: fmt.Sprintf("the Gateway gave no answer within %s", t.config.ToolTimeout),
			Hint:    "narrow the query to fewer accounts or Regions, or try again later",
		}}
	}
	if ctx.Err() != nil {
		result = &failure{err: agent.AsError(ctx.Err())}
	}
	if session != nil && !answered(err, seen) {
		t.drop(session)
	}
	return result
}

// connect returns the MCP session, made if need be. Only one caller at a time makes it.
func (t *Toolbox) connect(ctx context.Context) (*mcp.ClientSession, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-t.connecting:
	}
	defer func() { t.connecting <- struct{}{} }()

	t.mu.Lock()
	session := t.session
	t.mu.Unlock()
	if session != nil {
		return session, nil
	}
	client := mcp.NewClient(
		&mcp.Implementation{Name: "central-ops-agent", Version: t.config.Version},
		&mcp.ClientOptions{Capabilities: &mcp.ClientCapabilities{}},
	)
	session, err := client.Connect(ctx, &mcp.StreamableClientTransport{
		Endpoint:             t.config.URL,
		HTTPClient:           t.httpClient(),
		DisableStandaloneSSE: true,
		MaxRetries:           -1, // attempt decides what is repeated
	}, &mcp.ClientSessionOptions{ProtocolVersion: protocolVersion})
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	t.session = session
	t.mu.Unlock()
	return session, nil
}

// drop gives up a session that failed, so that the next attempt makes a new one.
func (t *Toolbox) drop(session *mcp.ClientSession) {
	t.mu.Lock()
	mine := t.session == session
	if mine {
		t.session = nil
	}
	t.mu.Unlock()
	if mine {
		go session.Close() //nolint:errcheck // it is broken; closing it only frees what it holds
	}
}

func (t *Toolbox) httpClient() *http.Client {
	return &http.Client{
		Transport:     &transport{base: t.config.Transport, headers: &t.headers},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// sighting is what an attempt saw of the HTTP exchange below the SDK, which keeps little of it.
type sighting struct {
	status     atomic.Int64 // of the last answer; 0 when there was none
	session    atomic.Bool  // whether the last request named an MCP session
	tooLarge   atomic.Bool
	retryAfter atomic.Int64 // seconds
}

type sightingKey struct{}

// answered reports whether the Gateway answered with a JSON-RPC error, which leaves the connection in
// order. After anything else the SDK's client may have given it up.
func answered(err error, seen *sighting) bool {
	var rpc *jsonrpc.Error
	return seen.status.Load() == http.StatusOK && errors.As(err, &rpc)
}

// transport adds the credentials to each request and notes what came back.
type transport struct {
	base    http.RoundTripper
	headers *atomic.Pointer[http.Header]
}

func (t *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	if headers := t.headers.Load(); headers != nil {
		for name, values := range *headers {
			request.Header[name] = values
		}
	}
	seen, _ := request.Context().Value(sightingKey{}).(*sighting)
	if seen == nil {
		seen = new(sighting) // a notification, or the farewell of a closed session
	}
	seen.status.Store(0)
	seen.session.Store(request.Header.Get("Mcp-Session-Id") != "")
	response, err := t.base.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	seen.status.Store(int64(response.StatusCode))
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
		seen.retryAfter.Store(int64(seconds))
	}
	response.Body = &limitedBody{ReadCloser: response.Body, left: maxAnswerBytes, seen: seen}
	return response, nil
}

var errTooLarge = errors.New("answer too large")

// limitedBody fails once more than left bytes have been read.
type limitedBody struct {
	io.ReadCloser
	left int64
	seen *sighting
}

func (b *limitedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		b.seen.tooLarge.Store(true)
		return n, errTooLarge
	}
	return n, err
}

func refusedToken(op, subject string) *agent.Error {
	return &agent.Error{
		Op: op, Subject: subject, Code: agent.CodeUnauthenticated,
		Message: "the Gateway did not accept the token (401): it has expired or is not meant for this system",
		Hint:    "sign in again, then ask again",
	}
}

// classify turns a failed attempt into an agent.Error. The HTTP status decides where there is one. called says that it was
// a tool's call that was refused, which the model can correct.
func classify(err error, seen *sighting, op, subject string, called bool) *failure {
	var classified *agent.Error
	if errors.As(err, &classified) {
		return &failure{err: classified}
	}
	result := &failure{err: &agent.Error{Op: op, Subject: subject, Err: err}}
	set := func(code agent.Code, message, hint string) *failure {
		result.err.Code, result.err.Message, result.err.Hint = code, message, hint
		return result
	}
	var rpc *jsonrpc.Error
	status := int(seen.status.Load())
	isRPC := errors.As(err, &rpc) && status != 0 // without an answer it is the SDK's own
	lost := seen.session.Load() &&
		(status == http.StatusNotFound || status == http.StatusBadRequest && (!isRPC || strings.Contains(strings.ToLower(rpc.Message), "session")))

	result.after = rand.N(250 * time.Millisecond)
	switch {
	case seen.tooLarge.Load():
		return set(agent.CodeInvalid, fmt.Sprintf("the result is larger than %d bytes: it is not shown, not even in part", maxAnswerBytes),
			"narrow the query: fewer accounts or Regions, select only the fields needed, group_by to count, a smaller limit, or a filter for list_accounts")
	case status == http.StatusUnauthorized:
		result.retry, result.renew, result.after = true, true, 0
		result.err = refusedToken(op, subject)
		return result
	case status == http.StatusForbidden:
		return set(agent.CodeForbidden, "the Gateway refuses you (403)", "ask the operator for access; the operator: check allowedClients and scopes of the Gateway's authorizer")
	case lost:
		result.retry, result.after = true, 0
		return set(agent.CodeUnavailable, "the Gateway lost the MCP session", "try again")
	case status == http.StatusTooManyRequests:
		result.retry = true
		result.after = min(maxBackoff, max(time.Duration(seen.retryAfter.Load())*time.Second, result.after))
		return set(agent.CodeThrottled, "the Gateway has too many requests at once", "wait a minute and try again")
	case status >= 500:
		result.retry = true
		return set(agent.CodeUnavailable, fmt.Sprintf("the Gateway does not work at the moment (%d)", status), "try again later")
	case isRPC && status != http.StatusNotFound:
		if !called {
			return set(rpcCode(rpc), "the Gateway refused the request: "+plain(rpc.Message), "try again later; the operator: check the Gateway and its targets")
		}
		return set(rpcCode(rpc), "the Gateway refused the call: "+plain(rpc.Message), "correct the call, or use another tool")
	case status == 0:
		result.retry = true
		return set(agent.CodeUnavailable, "the Gateway could not be reached", "try again later; the operator: check GATEWAY_URL")
	case status == http.StatusOK:
		result.retry = true
		return set(agent.CodeUnavailable, "the Gateway's answer broke off or could not be read", "try again")
	}
	return set(agent.CodeUnavailable, fmt.Sprintf("the Gateway answered with status %d", status), "the operator: check GATEWAY_URL")
}

// rpcCode maps a JSON-RPC error: invalid params, which MCP also uses for an unknown tool, and method
// not found are the caller's; the rest is the Gateway's.
func rpcCode(err *jsonrpc.Error) agent.Code {
	switch err.Code {
	case jsonrpc.CodeInvalidParams, jsonrpc.CodeInvalidRequest:
		return agent.CodeInvalid
	case jsonrpc.CodeMethodNotFound:
		return agent.CodeNotFound
	}
	return agent.CodeUnavailable
}

// plain makes a message of the Gateway fit for one line of ours.
func plain(message string) string {
	message = strings.Join(strings.Fields(message), " ")
	if len(message) > 300 {
		message = strings.ToValidUTF8(message[:300], "") + "…"
	}
	return message
}
