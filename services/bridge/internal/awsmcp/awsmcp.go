// Package awsmcp speaks MCP to the managed AWS MCP Server, signed as one role session after another.
//
// # The contract
//
// One URL takes POSTs of single JSON-RPC messages; batches and the GET stream don't exist there.
// Each is signed with SigV4, service aws-mcp, Region of the host name, at every attempt anew, over
//
//	Content-Type: application/json
//	Accept: application/json, text/event-stream
//	Mcp-Session-Id: <id>                 all but initialize
//	MCP-Protocol-Version: 2025-06-18     all but initialize
//	traceparent, tracestate              in a trace
//
// A session begins with initialize (answer: header Mcp-Session-Id) and notifications/initialized
// (answer: 202, empty). It belongs to role id and role session name: fresh credentials of the same
// role and name go on with it, and so may another process. Its first aws___run_script starts a
// sandbox (about 9 s); later ones take about 1.3 s. So ids are kept, shared through a Sessions
// store if there is one, and never deleted on the way out. params._meta.AWS_REGION of each call
// is the Region an API call falls back on.
//
// Answers are one JSON object, or server-sent events one of which is the answer. This client is
// written by hand because all of the following must be told apart, by status, header and body:
//
//	-30001 with any status, or 404      session lost: take the shared one or initialize, once, and repeat
//	401, 403, "ExpiredToken"            *ExpiredError: the caller assumes the role again, once
//	401 otherwise                       the same, then unauthenticated
//	403 about signature or credentials  unauthenticated
//	403 otherwise                       forbidden
//	429, -32004                         wait for Retry-After or with jitter, repeat; then throttled
//	500, 502, 503, 504                  the same; then unavailable
//	connection reset, EOF, half a body  close idle connections, repeat once: only reads are sent
//	deadline                            timeout
//	-32602 or -32600 "Unknown tool"...  unavailable: the server has changed
//	result.isError                      by its text, see Classify
//	structuredContent.status "error"    the script raised; by its text, though isError is false
//	status "working", task_id           poll aws___get_tasks, waiting as it recommends; run the script again,
//	                                    once, if the session is lost meanwhile
//
// Facts: https://docs.aws.amazon.com/agent-toolkit/latest/userguide/understanding-mcp-server-tools.html,
// https://github.com/aws/mcp-proxy-for-aws, and the issues named beside the code.
package awsmcp

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/time/rate"

	"github.com/central-ops/central-ops/services/bridge"
)

const (
	service         = "aws-mcp"
	protocolVersion = "2025-06-18"

	// maxAnswer bounds the body of one answer. The server's own limit is not published; the bridge's
	// script stops reading pages at 4 MB an account.
	maxAnswer = 32 << 20
	// smallAnswer is the size up to which an answer takes no Room, and unknownAnswer what one takes of which nobody
	// says how long it is: twice what the script stops at, which stands in its answer as text as well.
	smallAnswer   = 64 << 10
	unknownAnswer = 8 << 20
	// maxAttempts bounds how often one message is sent: the deadline may be far away.
	maxAttempts = 6
	firstPause  = 200 * time.Millisecond
	longPause   = 5 * time.Second

	// requestRate and requestBurst are what the server takes of one account: 10 requests/s, fixed
	// (https://docs.aws.amazon.com/agent-toolkit/latest/userguide/aws-mcp-limits.html).
	requestRate  = 10
	requestBurst = 10
)

// ToolPrefix stands before the names of the server's own tools.
const ToolPrefix = "aws___"

// The tools that this package calls by itself.
const (
	runScript = ToolPrefix + "run_script"
	getTasks  = ToolPrefix + "get_tasks"
)

// Config is what a Client needs to know.
type Config struct {
	Endpoint string // the URL to POST to
	Region   string // signing Region
	// Trace sets the headers that carry ctx's trace to the server, before the request is signed; nil
	// for none.
	Trace func(ctx context.Context, headers http.Header)
	// Room waits until an answer of so many bytes may be read; nil for at once.
	Room func(ctx context.Context, bytes int64) error
}

// Sessions shares MCP session ids between execution environments. Its methods are safe for
// concurrent use. Failing is allowed: a client without the store opens its own session.
type Sessions interface {
	// Load returns the id kept under key, "" if there is none.
	Load(ctx context.Context, key string) (string, error)
	// Replace keeps id under key if the one kept there is still dead ("" for none), and returns the
	// id that is kept afterwards: id, or that of whoever was faster.
	Replace(ctx context.Context, key, dead, id string) (string, error)
}

// Client is a client of the AWS MCP Server. It is safe for concurrent use.
type Client struct {
	config   Config
	http     *http.Client
	sessions Sessions // nil for none
	logger   *slog.Logger
	signer   *v4.Signer
	ids      atomic.Int64
	offer    offer

	mu     sync.Mutex
	states map[string]*state
}

// state is what the client knows about one caller: an account's role, or the bridge's own.
type state struct {
	bucket *rate.Limiter

	mu      sync.Mutex    // guards id
	id      string        // MCP session id, "" before the first
	opening chan struct{} // holds one while a session is looked for or opened
}

// New returns a client that sends through httpClient. sessions may be nil.
func New(httpClient *http.Client, sessions Sessions, logger *slog.Logger, config Config) *Client {
	return &Client{
		config: config, http: httpClient, sessions: sessions, logger: logger,
		signer: v4.NewSigner(), states: map[string]*state{},
	}
}

// ExpiredError says that the server does not take the credentials any more: the caller should get
// new ones under the same session name and try again.
type ExpiredError struct{ Err error }

func (e *ExpiredError) Error() string { return e.Err.Error() }

// Unwrap returns what to report if new credentials are refused as well.
func (e *ExpiredError) Unwrap() error { return e.Err }

// Script is what a run of a script returned.
type Script struct {
	Value jsontext.Value // the script's last expression
	Calls []Call         // AWS API calls that the server says it made
}

// Call is an AWS API call as the server reports it; Region is "" where it doesn't say.
type Call struct {
	Service   string `json:"service"`
	Operation string `json:"operation"`
	Region    string `json:"region"`
	Name      string `json:"region_name"`
}

// Run runs code as role, with region as the fallback Region, and waits for its value. Its errors
// carry codes; *ExpiredError stands for credentials that were refused.
func (c *Client) Run(ctx context.Context, role bridge.RoleSession, region, code string) (Script, error) {
	for again := false; ; again = true {
		result, err := call[run](ctx, c, role, region, runScript, map[string]any{"code": code})
		if err != nil {
			return Script{}, err
		}
		session := c.state(role).current()
		script, err := c.script(ctx, role, region, result)
		if err == nil || again || ctx.Err() != nil || c.state(role).current() == session {
			return script, err
		}
		// The session was lost while a task of it ran, and the task with it.
	}
}

// Call calls one of the server's tools as role and returns its result: structuredContent, or else
// the text, as JSON.
func (c *Client) Call(ctx context.Context, role bridge.RoleSession, region, tool string, arguments any) (jsontext.Value, error) {
	result, err := call[jsontext.Value](ctx, c, role, region, tool, arguments)
	if err != nil {
		return nil, err
	}
	if result.IsError {
		text := result.text()
		if text == "" && result.Structured != nil {
			text = cmp.Or(complaint(*result.Structured), string(*result.Structured))
		}
		return nil, Classify(text, role.Account)
	}
	return value(result)
}

// value returns what a result says, as JSON.
func value(result *toolResult[jsontext.Value]) (jsontext.Value, error) {
	if result.Structured != nil {
		return *result.Structured, nil
	}
	text := result.text()
	if value := jsontext.Value(text); value.IsValid(lenient) {
		return value, nil
	}
	return json.Marshal(text)
}

// toolResult is the result of tools/call of a tool that answers with an S.
type toolResult[S any] struct {
	Content []struct {
		Type string         `json:"type"`
		Text jsontext.Value `json:"text"` // a string: of no use, and long, where there is structuredContent
	} `json:"content"`
	Structured *S   `json:"structuredContent"` // nil: the text says it
	IsError    bool `json:"isError"`
}

func (r *toolResult[S]) text() string {
	var texts []string
	for _, item := range r.Content {
		var text string
		if item.Type == "text" && unmarshal(item.Text, &text) == nil {
			texts = append(texts, text)
		}
	}
	return strings.Join(texts, "\n")
}

// call calls one of the server's tools as role.
func call[S any](ctx context.Context, c *Client, role bridge.RoleSession, region, tool string, arguments any) (*toolResult[S], error) {
	if c.lacks(ctx, role, tool) {
		return nil, c.missing(role, tool)
	}
	params := toolCall{Name: tool, Arguments: arguments}
	params.Meta.Region = region
	result, err := inSession[toolResult[S]](ctx, c, role, "tools/call", params)
	if err != nil {
		return nil, c.named(role, tool, err)
	}
	if result.IsError && unknownTool(result.text()) {
		return nil, c.missing(role, tool)
	}
	return result, nil
}

// toolList is a page of tools/list.
type toolList struct {
	Tools []struct {
		Name   string         `json:"name"`
		Schema jsontext.Value `json:"inputSchema"`
	} `json:"tools"`
	Next string `json:"nextCursor"`
}

// Tools returns the names of the server's tools, each with its input schema, all pages.
func (c *Client) Tools(ctx context.Context, role bridge.RoleSession) (map[string]jsontext.Value, error) {
	tools := map[string]jsontext.Value{}
	params := map[string]any{}
	for range 20 { // the server has 8 tools
		page, err := inSession[toolList](ctx, c, role, "tools/list", params)
		if err != nil {
			return nil, err
		}
		for _, tool := range page.Tools {
			tools[tool.Name] = tool.Schema
		}
		if page.Next == "" {
			break
		}
		params = map[string]any{"cursor": page.Next}
	}
	return tools, nil
}

// inSession sends a request in role's MCP session and returns its result. A lost session is
// replaced once by the one that another environment has opened since, and once by a new one.
func inSession[R any](ctx context.Context, c *Client, role bridge.RoleSession, method string, params any) (*R, error) {
	st := c.state(role)
	lost := ""
	for attempt := 0; ; attempt++ {
		id, opened, err := c.session(ctx, st, role, lost)
		if err != nil {
			return nil, err
		}
		got, err := post[R](ctx, c, st, role, id, message{Method: method, ID: c.ids.Add(1), Params: params})
		var gone *lostError
		if !errors.As(err, &gone) {
			return got.result, err
		}
		c.logger.WarnContext(ctx, "mcp session lost", "account", role.Account, "attempt", attempt+1)
		if opened && lost != "" || attempt >= 2 {
			return nil, c.losing(role)
		}
		lost = id
	}
}

// state returns what is known about role.
func (c *Client) state(role bridge.RoleSession) *state {
	key := c.key(role)
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.states[key]
	if st == nil {
		st = &state{bucket: rate.NewLimiter(requestRate, requestBurst), opening: make(chan struct{}, 1)}
		c.states[key] = st
	}
	return st
}

// key names role's MCP session, here and in the shared store.
func (c *Client) key(role bridge.RoleSession) string {
	return role.RoleARN + "#" + role.SessionName + "#" + c.config.Endpoint
}

// session returns an MCP session id for role other than lost, and whether it was opened just now.
// Of many callers one looks, and the others wait for it.
func (c *Client) session(ctx context.Context, st *state, role bridge.RoleSession, lost string) (id string, opened bool, err error) {
	if id := st.current(); id != "" && id != lost {
		return id, false, nil
	}
	select {
	case st.opening <- struct{}{}:
		defer func() { <-st.opening }()
	case <-ctx.Done(): // whoever opens one may have more time
		return "", false, c.network(role, ctx.Err())
	}
	if id := st.current(); id != "" && id != lost {
		return id, false, nil
	}
	if err := ctx.Err(); err != nil {
		return "", false, c.network(role, err)
	}
	shared := ""
	if c.sessions != nil {
		if shared, err = c.sessions.Load(ctx, c.key(role)); err != nil {
			c.logger.WarnContext(ctx, "mcp session store not read", "account", role.Account, "error", err)
		} else if usable(shared) && shared != lost {
			st.set(shared)
			return shared, false, nil
		}
	}
	id, err = c.open(ctx, st, role)
	if err != nil {
		return "", false, err
	}
	if c.sessions != nil {
		kept, err := c.sessions.Replace(ctx, c.key(role), shared, id)
		switch {
		case err != nil:
			c.logger.WarnContext(ctx, "mcp session store not written", "account", role.Account, "error", err)
		case kept != id && kept != lost && usable(kept): // somebody was faster: one warm session is better than two
			c.close(ctx, st, role, id)
			st.set(kept)
			return kept, false, nil
		}
	}
	st.set(id)
	return id, true, nil
}

// usable says whether id can be an MCP session id, which consists of visible ASCII characters
// (https://modelcontextprotocol.io/specification/2025-06-18/basic/transports, session management). With another no request could be sent.
func usable(id string) bool {
	return id != "" && !strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' })
}

func (s *state) current() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id
}

func (s *state) set(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.id = id
}

// open initializes a session and returns its id.
func (c *Client) open(ctx context.Context, st *state, role bridge.RoleSession) (string, error) {
	answer, err := post[jsontext.Value](ctx, c, st, role, "", message{Method: "initialize", ID: c.ids.Add(1), Params: map[string]any{
		"protocolVersion": protocolVersion,
		"capabilities":    map[string]any{},
		"clientInfo":      map[string]any{"name": "central-ops-bridge", "version": "1"},
	}})
	if err != nil {
		var gone *lostError
		if errors.As(err, &gone) {
			return "", c.failure(role, bridge.Unavailable, "check AWS_MCP_ENDPOINT", fmt.Errorf("there is no MCP server at the endpoint: %w", gone.cause))
		}
		return "", err
	}
	if !usable(answer.session) {
		return "", c.broken(role, errors.New("initialize was answered without a session id"))
	}
	if _, err := post[jsontext.Value](ctx, c, st, role, answer.session, message{Method: "notifications/initialized"}); err != nil {
		var gone *lostError
		if errors.As(err, &gone) {
			return "", c.losing(role)
		}
		return "", err
	}
	c.logger.DebugContext(ctx, "mcp session opened", "account", role.Account)
	return answer.session, nil
}

// close ends a session that nobody is going to use. That it fails is of no consequence: the server
// ends idle sessions by itself.
func (c *Client) close(ctx context.Context, st *state, role bridge.RoleSession, id string) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if _, err := once[jsontext.Value](ctx, c, st, role, id, http.MethodDelete, nil, 0); err != nil {
		c.logger.DebugContext(ctx, "surplus mcp session not closed", "account", role.Account)
	}
}

// message is a JSON-RPC request, or a notification if ID is 0.
type message struct {
	Version string `json:"jsonrpc"` // set by encode
	Method  string `json:"method"`
	ID      int64  `json:"id,omitzero"`
	Params  any    `json:"params,omitzero"`
}

func (m message) encode() ([]byte, error) {
	m.Version = "2.0"
	return json.Marshal(m, lenient)
}

// toolCall are the params of tools/call.
type toolCall struct {
	Name      string `json:"name"`
	Arguments any    `json:"arguments"`
	Meta      struct {
		Region string `json:"AWS_REGION"`
	} `json:"_meta"`
}

// answer is a server's answer to one message.
type answer[R any] struct {
	session string // header Mcp-Session-Id
	result  *R     // nil for a notification
}

// lostError says that the session is not known to the server.
type lostError struct{ cause error }

func (e *lostError) Error() string { return "session lost: " + e.cause.Error() }

// laterError says that the same message may be taken later.
type laterError struct {
	after time.Duration // what the server asked for; 0 if it didn't
	err   error         // what to report if it never is
}

func (e *laterError) Error() string { return e.err.Error() }
func (e *laterError) Unwrap() error { return e.err }

// last is what to report when there is no time to wait: with how long the server asked for, if it did.
func (e *laterError) last() error {
	var known *bridge.Error
	if e.after < time.Second || !errors.As(e.err, &known) {
		return e.err
	}
	told := *known
	if told.Hint = "ask again in an hour or later"; e.after < time.Hour {
		told.Hint = "ask again in " + e.after.Round(time.Second).String()
	}
	told.Hint += ", as the server says"
	return &told
}

// post sends m, again while the server asks for patience and ctx has time left for it.
func post[R any](ctx context.Context, c *Client, st *state, role bridge.RoleSession, session string, m message) (answer[R], error) {
	body, err := m.encode()
	if err != nil {
		return answer[R]{}, fmt.Errorf("write %s: %w", m.Method, err)
	}
	reset := false
	for attempt := 1; ; attempt++ {
		got, err := once[R](ctx, c, st, role, session, http.MethodPost, body, m.ID)
		var later *laterError
		switch {
		case err == nil:
			return got, nil
		case ctx.Err() != nil:
			return answer[R]{}, c.network(role, ctx.Err())
		case isReset(err) && !reset:
			reset = true
			c.http.CloseIdleConnections() // after a freeze the others are as dead
			c.logger.WarnContext(ctx, "connection lost, sending again", "account", role.Account, "attempt", attempt)
			continue
		case !errors.As(err, &later):
			return answer[R]{}, c.network(role, err)
		}
		pause := later.after
		if backoff := min(longPause, firstPause<<(attempt-1)); pause == 0 {
			pause = backoff/2 + rand.N(backoff/2)
		} else {
			pause += rand.N(firstPause) // not all accounts at the same instant
		}
		if deadline, ok := ctx.Deadline(); attempt >= maxAttempts || ok && time.Until(deadline) < pause {
			return answer[R]{}, later.last()
		}
		c.logger.WarnContext(ctx, "aws mcp server asked for patience", "account", role.Account, "attempt", attempt,
			"code", bridge.CodeOf(later.err), "pause_ms", pause.Milliseconds())
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return answer[R]{}, later.err
		}
	}
}

// once sends one message, signed now.
func once[R any](ctx context.Context, c *Client, st *state, role bridge.RoleSession, session, method string, body []byte, id int64) (answer[R], error) {
	if err := st.bucket.Wait(ctx); err != nil {
		if ctx.Err() != nil {
			return answer[R]{}, ctx.Err()
		}
		return answer[R]{}, c.failure(role, bridge.Throttled, "ask again in a moment", errors.New("10 requests/s are used up for this account, for longer than there is time"))
	}
	request, err := http.NewRequestWithContext(ctx, method, c.config.Endpoint, bytes.NewReader(body))
	if err != nil {
		return answer[R]{}, fmt.Errorf("make request: %w", err)
	}
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Accept", "application/json, text/event-stream")
	}
	if session != "" {
		request.Header.Set("Mcp-Session-Id", session)
		request.Header.Set("MCP-Protocol-Version", protocolVersion)
	}
	if c.config.Trace != nil {
		c.config.Trace(ctx, request.Header)
	}
	hash := sha256.Sum256(body)
	if err := c.signer.SignHTTP(ctx, aws.Credentials{
		AccessKeyID: role.Credentials.AccessKeyID, SecretAccessKey: role.Credentials.SecretAccessKey, SessionToken: role.Credentials.SessionToken,
	}, request, hex.EncodeToString(hash[:]), service, c.config.Region, time.Now()); err != nil {
		return answer[R]{}, fmt.Errorf("sign request: %w", err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return answer[R]{}, err
	}
	defer response.Body.Close()
	within, err := c.within(ctx, response)
	if err != nil {
		return answer[R]{}, err
	}
	data, err := readBody(response.Header.Get("Content-Type"), within, response.ContentLength, id)
	if err != nil {
		return answer[R]{}, err
	}
	if len(data) > maxAnswer {
		return answer[R]{}, c.failure(role, bridge.Unavailable, "narrow params, or ask for fewer Regions", fmt.Errorf("the answer is larger than %d MB", maxAnswer>>20))
	}
	return read[R](c, role, response, valid(data), id)
}

// within returns the body of response, of which no more is read than there is room for, nor much more than maxAnswer.
func (c *Client) within(ctx context.Context, response *http.Response) (io.Reader, error) {
	body := io.LimitReader(response.Body, maxAnswer+1)
	switch length := response.ContentLength; {
	case c.config.Room == nil || length >= 0 && length <= smallAnswer:
		return body, nil
	case length < 0:
		return &growing{body, smallAnswer, func() error { return c.config.Room(ctx, unknownAnswer) }}, nil
	default:
		return body, c.config.Room(ctx, length)
	}
}

// isReset says whether err is a connection that ended under a request, as it does after a freeze.
func isReset(err error) bool {
	var known *bridge.Error
	if errors.As(err, &known) {
		return false
	}
	var network *net.OpError
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.As(err, &network) && network.Op == "read" && !network.Timeout() ||
		// net/http and its HTTP/2 keep these to themselves: "http: server closed idle connection",
		// "http2: server sent GOAWAY and closed the connection", "http2: client connection lost".
		strings.Contains(err.Error(), "server closed idle connection") || strings.Contains(err.Error(), "http2: ")
}

// read turns the server's answer to message id (0 for a notification) into a result or an error.
func read[R any](c *Client, role bridge.RoleSession, response *http.Response, body []byte, id int64) (answer[R], error) {
	status := response.StatusCode
	got := answer[R]{session: response.Header.Get("Mcp-Session-Id")}
	rpc, decodeErr := decode[R](response.Header.Get("Content-Type"), body, id)

	if rpc.Error != nil && rpc.Error.Code == codeSessionLost {
		return answer[R]{}, &lostError{rpc.Error}
	}
	if status >= 200 && status < 300 {
		switch {
		case id == 0:
			return got, nil
		case errors.Is(decodeErr, io.ErrUnexpectedEOF): // a connection that ended under the answer, however politely
			return answer[R]{}, decodeErr
		case decodeErr != nil:
			return answer[R]{}, c.broken(role, decodeErr)
		case rpc.Error == nil:
			got.result = rpc.Result
			return got, nil
		}
	}
	text := said(rpc.Error, response, body)
	switch {
	case status == http.StatusNotFound:
		return answer[R]{}, &lostError{errors.New(text)}
	case IsExpired(text) && (status >= 400 || rpc.Error != nil):
		return answer[R]{}, &ExpiredError{c.failure(role, bridge.Unauthenticated, "ask again", errors.New(text))}
	case status == http.StatusUnauthorized:
		return answer[R]{}, &ExpiredError{c.failure(role, bridge.Unauthenticated, "check the bridge's clock, AWS_MCP_REGION and the endpoint", errors.New(text))}
	case status == http.StatusForbidden && notTaken.MatchString(text):
		return answer[R]{}, c.failure(role, bridge.Unauthenticated, "check the bridge's clock, AWS_MCP_REGION and the endpoint", errors.New(text))
	case status == http.StatusForbidden:
		return answer[R]{}, c.failure(role, bridge.Forbidden, "the target role of this account must allow it", errors.New(text))
	case status == http.StatusTooManyRequests || rpc.Error != nil && rpc.Error.Code == codeTooMany:
		return answer[R]{}, &laterError{retryAfter(response, time.Now()), c.failure(role, bridge.Throttled, "ask again in a moment", errors.New(text))}
	case status >= 500:
		return answer[R]{}, &laterError{retryAfter(response, time.Now()), c.failure(role, bridge.Unavailable, "ask again in a moment", errors.New(text))}
	case rpc.Error != nil && (rpc.Error.Code == codeInvalidRequest || rpc.Error.Code == codeInvalidParams || rpc.Error.Code == codeNoMethod):
		return answer[R]{}, c.failure(role, bridge.Unavailable, updateHint, &changedError{rpc.Error.Code, text})
	case rpc.Error != nil:
		return answer[R]{}, Classify(text, role.Account)
	default:
		return answer[R]{}, c.failure(role, bridge.Unavailable, "check AWS_MCP_ENDPOINT", errors.New(text))
	}
}

// notTaken matches refusals of a signature or of credentials, which have the status of a denial.
var notTaken = regexp.MustCompile(`UnrecognizedClient|InvalidClientTokenId|InvalidSignature|SignatureDoesNotMatch|IncompleteSignature|MissingAuthenticationToken|RequestTimeTooSkewed`)

// said returns what the server said about a refusal, with its status.
func said(refusal *rpcError, response *http.Response, body []byte) string {
	text := strings.TrimSpace(string(body[:min(len(body), 1024)]))
	var other struct {
		Type    string `json:"__type"`
		Code    string `json:"code"`
		Message string `json:"message"`
		Upper   string `json:"Message"`
	}
	switch {
	case refusal != nil:
		text = refusal.Message
	case unmarshal(body, &other) == nil && (other.Message != "" || other.Upper != ""):
		text = strings.TrimSpace(other.Type + other.Code + " " + other.Message + other.Upper)
	case strings.HasPrefix(text, "<"): // a page of something in between
		text = http.StatusText(response.StatusCode)
	}
	if kind := response.Header.Get("X-Amzn-Errortype"); kind != "" && !strings.Contains(text, kind) {
		text = kind + ": " + text
	}
	if status := response.StatusCode; status >= 300 {
		return strings.TrimSpace(fmt.Sprintf("HTTP %d %s", status, text))
	}
	return text
}

// retryAfter reads the header of that name, seconds or a date; an hour stands for all that is longer.
func retryAfter(response *http.Response, now time.Time) time.Duration {
	value := response.Header.Get("Retry-After")
	if seconds, err := strconv.ParseFloat(value, 64); err == nil && seconds > 0 {
		return time.Duration(min(seconds, 3600) * float64(time.Second))
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(0, at.Sub(now)), time.Hour)
	}
	return 0
}

// network gives an error of the transport a code.
func (c *Client) network(role bridge.RoleSession, err error) error {
	var known *bridge.Error
	var gone *lostError
	var expired *ExpiredError
	if errors.As(err, &known) || errors.As(err, &gone) || errors.As(err, &expired) {
		return err
	}
	var timeout net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.As(err, &timeout) && timeout.Timeout() {
		return c.failure(role, bridge.Timeout, "ask again: what was slow is warm by now; or ask for fewer Regions",
			errors.New("no answer within the time for this query"))
	}
	return c.failure(role, bridge.Unavailable, "ask again in a moment", err)
}

func (c *Client) failure(role bridge.RoleSession, code bridge.Code, hint string, err error) error {
	return &bridge.Error{Op: "call the AWS MCP Server", Account: role.Account, Code: code, Hint: hint, Err: err}
}

func (c *Client) losing(role bridge.RoleSession) error {
	return c.failure(role, bridge.Unavailable, "ask again", errors.New("the AWS MCP Server loses every session as soon as it is opened"))
}

func (c *Client) broken(role bridge.RoleSession, err error) error {
	return c.failure(role, bridge.Unavailable, "ask again in a moment", err)
}
