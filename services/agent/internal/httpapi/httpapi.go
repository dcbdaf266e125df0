// Package httpapi is the Runtime's HTTP contract
// (https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-http-protocol-contract.html, read 2026-10).
//
//	POST /invocations   any Content-Type; body {"prompt":"…"}, or {"tool":"…","arguments":{…}} for one tool without a model; at most MaxBodyBytes
//	  Authorization: Bearer <access token>
//	  X-Amzn-Bedrock-AgentCore-Runtime-Session-Id: <session>         made up if absent
//	  X-Amzn-Bedrock-AgentCore-Runtime-Request-Id: <invocation>      for logs
//	  X-Amz-Bedrock-AgentCore-Identity-WAT, or WorkloadAccessToken   the older name; for GATEWAY_AUTH=workload
//	  Accept: text/event-stream                                      for a stream; JSON otherwise, or if preferred
//
//	200 application/json
//	  {"response":"…","coverage":{…},"receipts":[…],"usage":{…},"turns":2,"tool_calls":1,"session_id":"…"}
//	  {"result":{…},"coverage":{…}, …}                               of a tool: its answer as it is, "ok" or not, in place of the response
//	  {"error":{"code":"…","message":"…","hint":"…"}}                and what was done before it, if anything was
//
//	200 text/event-stream, each frame "data: {…}\n\n"
//	  {"type":"text","text":"…"}                         pieces of the response, in order
//	  {"type":"tool_call","id":"…","name":"…","input":{…}}
//	  {"type":"tool_result","id":"…","ok":true,"coverage":{…},"duration_ms":812}
//	  {"type":"done", …}                                 the JSON answer but the response; ends the stream
//	  {"type":"error","code":"…","message":"…","hint":"…"}  instead of done, and what was done before it; ends the stream
//
//	GET /ping
//	200 {"status":"Healthy"|"HealthyBusy","time_of_last_update":<unix seconds>}
//
// Errors of the application are always inside a 200: the Runtime turns a container's own 4xx and 5xx into
// a 424 without the body.
//
// A client that goes away cancels the invocation. GET /ping shares nothing with an invocation but two
// numbers, so a stuck one cannot make the container look dead; HealthyBusy keeps the Runtime from
// taking a long answer for an idle session.
package httpapi

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	agent "github.com/central-ops/central-ops/services/agent"
)

// The Runtime's headers.
const (
	headerSession     = "X-Amzn-Bedrock-AgentCore-Runtime-Session-Id"
	headerRequest     = "X-Amzn-Bedrock-AgentCore-Runtime-Request-Id"
	headerWorkload    = "X-Amz-Bedrock-AgentCore-Identity-WAT"
	headerWorkloadOld = "WorkloadAccessToken"
)

// MaxBodyBytes bounds the body of an invocation. The Runtime would pass on 100 MB; a question has no use
// for more than this, and a model none for more than a fraction of it.
const MaxBodyBytes = 1 << 20

// bodyTimeout bounds how long a client may take to send the body.
const bodyTimeout = time.Minute

// Runner answers invocations.
type Runner interface {
	// Run answers one invocation; see agent.Agent.
	Run(ctx context.Context, inv agent.Invocation, events agent.Events) (agent.Answer, error)
}

// Identity tells who a token is.
type Identity interface {
	// Subject returns the token's sub and its end, zero if it has none. Errors: unauthenticated, unavailable.
	Subject(ctx context.Context, token string) (string, time.Time, error)
}

// Config is what the handler needs besides its Runner and Identity.
type Config struct {
	Log  *slog.Logger
	Cost func(agent.Usage) (usd float64, known bool) // what the tokens cost, for the log
}

type api struct {
	runner   Runner
	identity Identity
	config   Config
	activity *activity
}

// New returns the handler.
func New(runner Runner, identity Identity, config Config) http.Handler {
	a := &api{runner: runner, identity: identity, config: config, activity: newActivity(time.Now)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /invocations", a.invoke)
	mux.HandleFunc("GET /ping", a.ping)
	return mux
}

func (a *api) ping(w http.ResponseWriter, _ *http.Request) {
	busy, since := a.activity.state()
	status := "Healthy"
	if busy {
		status = "HealthyBusy"
	}
	w.Header().Set("Content-Type", "application/json")
	writeJSON(w, struct {
		Status string `json:"status"`
		Since  int64  `json:"time_of_last_update"`
	}{status, since.Unix()})
}

func (a *api) invoke(w http.ResponseWriter, r *http.Request) {
	a.activity.begin()
	defer a.activity.end()
	start := time.Now()

	control := http.NewResponseController(w)
	var out reply = &jsonReply{w: w, control: control}
	if wantsStream(r.Header) {
		out = &streamReply{w: w, control: control}
	}
	out.begin()

	inv := agent.Invocation{ID: requestID(r.Header)}
	var answer agent.Answer
	// The body has its own deadline. It must not stay, or it would end the invocation; after a body that broke
	// off it must, or the server would wait for the rest before it answers.
	_ = control.SetReadDeadline(time.Now().Add(bodyTimeout)) // fails only without a connection, as in a test
	err := a.read(r, &inv)
	if err == nil {
		_ = control.SetReadDeadline(time.Time{})
		answer, err = a.run(r.Context(), inv, out.events())
	}
	if err != nil {
		out.fail(agent.AsError(err), answer)
	} else {
		out.finish(answer)
	}
	a.log(r.Context(), inv, answer, err, time.Since(start))
}

// run runs the invocation; a panic becomes an internal error, so that the client gets an answer and the
// other sessions of the process go on.
func (a *api) run(ctx context.Context, inv agent.Invocation, events agent.Events) (answer agent.Answer, err error) {
	defer func() {
		if recovered := recover(); recovered != nil {
			err = &agent.Error{Op: "answer", Code: agent.CodeInternal, Message: "something went wrong inside the agent",
				Hint: "ask again; if it stays, give the operator the session id and the time"}
			// The stack names functions and lines, and nothing of what was said.
			a.config.Log.ErrorContext(ctx, "invocation panicked", slog.String("session", string(inv.Session)), slog.String("invocation", inv.ID),
				slog.String("stack", string(debug.Stack())))
		}
	}()
	return a.runner.Run(ctx, inv, events)
}

// read fills inv from the request.
func (a *api) read(r *http.Request, inv *agent.Invocation) error {
	body, err := readBody(r.Body)
	if err != nil {
		return err
	}
	inv.Session, err = sessionID(r.Header)
	if err != nil {
		return err
	}
	inv.Caller.Token = bearer(r.Header.Get("Authorization"))
	inv.Caller.WorkloadToken = r.Header.Get(headerWorkload)
	if inv.Caller.WorkloadToken == "" {
		inv.Caller.WorkloadToken = r.Header.Get(headerWorkloadOld)
	}
	inv.Caller.Subject, inv.Caller.Expires, err = a.identity.Subject(r.Context(), inv.Caller.Token)
	if err != nil {
		return err
	}
	inv.Prompt, inv.Direct, err = decodeBody(body)
	return err
}

// readBody reads a body of at most MaxBodyBytes. Of a larger one it swallows some more, so that a client
// which writes before it reads gets the error and not a reset connection.
func readBody(body io.Reader) ([]byte, error) {
	read, err := io.ReadAll(io.LimitReader(body, MaxBodyBytes+1))
	if err != nil {
		return nil, invalid("the body broke off", "send it again")
	}
	if len(read) > MaxBodyBytes {
		const swallow = 64 << 20
		if _, err := io.CopyN(io.Discard, body, swallow); err != nil && !errors.Is(err, io.EOF) {
			return nil, invalid("the body broke off", "send it again")
		}
		return nil, invalid("the body is larger than 1 MiB", "ask a shorter question")
	}
	return read, nil
}

// bearer returns the token of an Authorization header, "" if there is none.
func bearer(header string) string {
	scheme, token, found := strings.Cut(strings.TrimSpace(header), " ")
	if !found || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// maxID bounds session and request ids; the Runtime's session ids have 33 to 256 characters.
const maxID = 256

func sessionID(header http.Header) (agent.SessionID, error) {
	id := header.Get(headerSession)
	if id == "" {
		return agent.SessionID(rand.Text() + rand.Text()), nil
	}
	if !printable(id) {
		return "", invalid("the session id has more than 256 characters, or some that are not printable ASCII",
			"use a random one of 33 to 256 letters, digits, - and _")
	}
	return agent.SessionID(id), nil
}

// requestID returns the Runtime's request id, or a new one if there is none that fits a log.
func requestID(header http.Header) string {
	if id := header.Get(headerRequest); id != "" && printable(id) {
		return id
	}
	return rand.Text()
}

func printable(id string) bool {
	return len(id) <= maxID && strings.IndexFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

// wantsStream reports whether the client asks for text/event-stream by name and does not prefer JSON to it
// (RFC 9110, 12.5.1). One that names both without preference, as MCP clients do, gets the stream.
func wantsStream(header http.Header) bool {
	quality := make(map[string]float64)
	for _, accept := range header.Values("Accept") {
		for media := range strings.SplitSeq(accept, ",") {
			name, parameters, err := mime.ParseMediaType(media)
			if err != nil {
				continue
			}
			q, err := strconv.ParseFloat(parameters["q"], 64)
			if err != nil {
				q = 1
			}
			quality[name] = max(quality[name], q)
		}
	}
	stream := quality["text/event-stream"]
	return stream > 0 && stream >= quality["application/json"]
}

// log writes the one line that an invocation leaves.
func (a *api) log(ctx context.Context, inv agent.Invocation, answer agent.Answer, err error, elapsed time.Duration) {
	level, code := slog.LevelInfo, "ok"
	attributes := []slog.Attr{
		slog.String("session", string(inv.Session)),
		slog.String("invocation", inv.ID),
		slog.String("user", inv.Caller.Subject), // as in the bridge's lines
		slog.Int("turns", answer.Turns),
		slog.Int("tool_calls", answer.ToolCalls),
		slog.Int64("input_tokens", answer.Usage.InputTokens),
		slog.Int64("output_tokens", answer.Usage.OutputTokens),
		slog.Int64("cache_read_tokens", answer.Usage.CacheReadTokens),
		slog.Int64("cache_write_tokens", answer.Usage.CacheWriteTokens),
		slog.Int64("targets", answer.Coverage.Targets),
		slog.Int64("answered", answer.Coverage.Answered),
		slog.Int64("duration_ms", elapsed.Milliseconds()),
	}
	if usd, known := a.config.Cost(answer.Usage); known {
		attributes = append(attributes, slog.Float64("cost_usd", usd))
	}
	if answer.StoppedBy != "" {
		attributes = append(attributes, slog.String("stopped_by", answer.StoppedBy))
	}
	if err != nil {
		failure := agent.AsError(err)
		code = string(failure.Code)
		attributes = append(attributes, slog.String("error", failure.Op), slog.String("cause", failure.Subject))
		switch failure.Code {
		case agent.CodeInternal, agent.CodeNotFound:
			level = slog.LevelError // a person should look: configuration, or a bug
		case agent.CodeUnavailable, agent.CodeThrottled, agent.CodeTimeout:
			level = slog.LevelWarn
		}
		if ctx.Err() != nil {
			level, code = slog.LevelInfo, "cancelled" // the client went away, or the agent stops
		}
	}
	attributes = append(attributes, slog.String("code", code))
	a.config.Log.LogAttrs(ctx, level, "invocation finished", attributes...)
}

func invalid(message, hint string) *agent.Error {
	return &agent.Error{Op: "read request", Code: agent.CodeInvalid, Message: message, Hint: hint}
}

// writeJSON writes one JSON value. A failed write means that the client has gone, which cancels the
// request's context and is dealt with there.
func writeJSON(w io.Writer, value any) {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(value)
}
