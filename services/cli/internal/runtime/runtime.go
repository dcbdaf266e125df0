// Package runtime invokes the agent behind AgentCore Runtime.
//
// The request, as https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-oauth.html
// has it for callers with a bearer token (the AWS SDKs can't send one for this operation):
//
//	POST <base>/runtimes/<ARN, escaped>/invocations?qualifier=DEFAULT
//	Authorization: Bearer <access token>          set by the http.Client, see package bearer
//	Content-Type: application/json
//	Accept: text/event-stream, application/json
//	X-Amzn-Bedrock-AgentCore-Runtime-Session-Id: <33 to 256 characters>
//
//	{"prompt":"..."}
//
// The response is a stream of server-sent events, each `data: {"type":...}`:
//
//	text         {text}
//	tool_call    {id, name, input}
//	tool_result  {id, ok, coverage, duration_ms}
//	error        {code, message, hint}            ends the answer
//	done         {coverage, receipts, usage, ...} ends the answer
//
// or one JSON object {"response":...} or {"error":{code, message, hint}} with status 200. Types
// that are not listed are skipped. A stream that ends without error or done was cut off, and
// is an error. A status other than 200 comes from the Runtime itself.
//
// With {"tool":"list_accounts","arguments":{...}} for a body the agent calls that tool and asks no model; the answer has a
// result in place of the response.
package runtime

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	centralops "github.com/central-ops/central-ops/services/cli"
	"github.com/central-ops/central-ops/services/cli/internal/bearer"
	"github.com/central-ops/central-ops/services/cli/internal/bridge"
)

const sessionHeader = "X-Amzn-Bedrock-AgentCore-Runtime-Session-Id"

const maxAnswer = 100 << 20 // bytes of a response that are read; the Runtime's own payload limit

// conflictWaits are the pauses before an invocation is repeated that met an operation in progress
// on its session. SDKs repeat these by themselves; raw HTTP callers have to.
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-troubleshooting.html
var conflictWaits = []time.Duration{250 * time.Millisecond, time.Second, 2 * time.Second}

// Client invokes one agent. It is safe for concurrent use.
type Client struct {
	Base      string // data plane, without a slash at the end
	ARN       string // of the agent runtime
	Qualifier string // endpoint name
	Session   string // of the tools that Bridge calls; "" for one of its own for each call
	HTTP      *http.Client
}

// URL returns the address of the agent's invocations. In it the ARN is escaped whole, colons too.
func (c *Client) URL() string {
	return c.Base + "/runtimes/" + url.QueryEscape(c.ARN) + "/invocations?qualifier=" + url.QueryEscape(c.Qualifier)
}

// Invoke sends one prompt and calls on for each event, from the calling goroutine, until the answer
// is whole. When it fails after pieces of the answer came, the error is returned together with
// what there is.
func (c *Client) Invoke(ctx context.Context, session, prompt string, on func(centralops.Event)) (centralops.Answer, error) {
	resp, err := c.send(ctx, ask, session, "text/event-stream, application/json", map[string]any{"prompt": prompt})
	if err != nil {
		return centralops.Answer{}, err
	}
	defer resp.Body.Close()
	content := io.LimitReader(resp.Body, maxAnswer)
	var answer centralops.Answer
	if mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); mediaType == "text/event-stream" {
		answer, err = c.stream(content, on)
	} else {
		answer, err = c.whole(content, on)
	}
	if answer.SessionID == "" {
		answer.SessionID = session
	}
	return answer, err
}

// Bridge implements bridge.Caller by way of the agent.
func (c *Client) Bridge(ctx context.Context, tool string, arguments any) (json.RawMessage, error) {
	session := c.Session
	if session == "" {
		session = centralops.NewSessionID()
	}
	resp, err := c.send(ctx, tool, session, "application/json", map[string]any{"tool": tool, "arguments": arguments})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, c.transportError(tool, err)
	}
	var answer struct {
		Result json.RawMessage `json:"result"`
		Error  json.RawMessage `json:"error"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, malformed(tool, err)
	}
	if present(answer.Error) {
		return nil, agentError(tool, answer.Error)
	}
	if !present(answer.Result) {
		return nil, malformed(tool, errors.New("it has no result"))
	}
	if err := bridge.Check(tool, answer.Result); err != nil {
		return nil, err
	}
	return answer.Result, nil
}

// ask is what is attempted when the agent is asked, as errors name it.
const ask = "ask"

// errBeforeAnswer marks errors of the Runtime itself, before the agent said anything.
var errBeforeAnswer = errors.New("refused by the Runtime")

// send sends one invocation and returns the response, whose status is 200. op is what errors name.
func (c *Client) send(ctx context.Context, op, session, accept string, message map[string]any) (*http.Response, error) {
	body, err := json.Marshal(message)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", op, err)
	}
	for attempt := 0; ; attempt++ {
		resp, err := c.post(ctx, op, session, accept, body)
		if centralops.CodeOf(err) != centralops.Conflict || attempt == len(conflictWaits) {
			return resp, err
		}
		select {
		case <-ctx.Done():
			return nil, c.transportError(op, ctx.Err())
		case <-time.After(conflictWaits[attempt]):
		}
	}
}

func (c *Client) post(ctx context.Context, op, session, accept string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", accept)
	req.Header.Set(sessionHeader, session)
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return nil, c.transportError(op, err)
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, refused(op, resp)
	}
	return resp, nil
}

// whole reads a JSON answer.
func (c *Client) whole(body io.Reader, on func(centralops.Event)) (centralops.Answer, error) {
	raw, err := io.ReadAll(body)
	if err != nil {
		return centralops.Answer{}, c.transportError(ask, err)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return centralops.Answer{}, malformed(ask, err)
	}
	if failure := members["error"]; present(failure) {
		answer := before(members, "error")
		if answer.Response != "" {
			on(centralops.Text{Text: answer.Response})
		}
		return answer, agentError(ask, failure)
	}
	if !present(members["response"]) && !present(members["session_id"]) { // the agent leaves out the one if it is empty, the other never
		return centralops.Answer{}, malformed(ask, errors.New("it has no response"))
	}
	delete(members, "error") // null
	answer, err := centralops.ParseAnswer(members)
	if err != nil {
		return centralops.Answer{}, malformed(ask, err)
	}
	on(centralops.Text{Text: answer.Response})
	return answer, nil
}

// present reports whether a member is there and not null.
func present(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

// stream reads the frames of an answer.
func (c *Client) stream(body io.Reader, on func(centralops.Event)) (centralops.Answer, error) {
	var said strings.Builder
	partial := func(err error) (centralops.Answer, error) {
		return centralops.Answer{Response: said.String()}, err
	}
	frames := bufio.NewReaderSize(body, 64<<10)
	const mark = "\ufeff" // a stream may begin with one, and the first frame is read all the same
	if head, _ := frames.Peek(len(mark)); string(head) == mark {
		_, _ = frames.Discard(len(mark)) // it is there
	}
	for {
		data, err := nextFrame(frames)
		if errors.Is(err, io.EOF) {
			return partial(&centralops.Error{Op: ask, Code: centralops.Unavailable,
				Message: "the answer was cut off: the stream ended before it was complete",
				Hint:    "the question again; if it repeats: centralops doctor"})
		}
		if err != nil {
			return partial(c.transportError(ask, err))
		}
		var frame struct {
			Type string `json:"type"`
			Text string `json:"text"`
		}
		if err := json.Unmarshal(data, &frame); err != nil {
			return partial(malformed(ask, err))
		}
		switch frame.Type {
		case "text":
			said.WriteString(frame.Text)
			on(centralops.Text{Text: frame.Text})
		case "tool_call":
			var call centralops.ToolCall
			if err := json.Unmarshal(data, &call); err != nil {
				return partial(malformed(ask, err))
			}
			on(call)
		case "tool_result":
			var result centralops.ToolResult
			if err := json.Unmarshal(data, &result); err != nil {
				return partial(malformed(ask, err))
			}
			on(result)
		case "error":
			var members map[string]json.RawMessage
			if err := json.Unmarshal(data, &members); err != nil {
				return partial(malformed(ask, err))
			}
			answer := before(members, "type", "code", "message", "hint")
			answer.Response = said.String()
			return answer, agentError(ask, data)
		case "done":
			var members map[string]json.RawMessage
			if err := json.Unmarshal(data, &members); err != nil {
				return partial(malformed(ask, err))
			}
			delete(members, "type")
			answer, err := centralops.ParseAnswer(members)
			if err != nil {
				return partial(malformed(ask, err))
			}
			answer.Response = said.String()
			return answer, nil
		}
	}
}

// nextFrame returns the data of the next server-sent event that has any.
// https://html.spec.whatwg.org/multipage/server-sent-events.html
func nextFrame(r *bufio.Reader) ([]byte, error) {
	var data []byte
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return nil, err // an event without its empty line is not dispatched
		}
		line = bytes.TrimRight(line, "\r\n")
		switch value, isData := bytes.CutPrefix(line, []byte("data:")); {
		case isData:
			if data != nil {
				data = append(data, '\n')
			}
			data = append(data, bytes.TrimPrefix(value, []byte(" "))...)
		case len(line) == 0 && data != nil:
			return data, nil
		}
	}
}

// signIn is how the agent's hints begin where the person has to; the agent does not know by which command.
const signIn = "sign in again"

// agentError returns the error that the agent reported.
func agentError(op string, raw []byte) error {
	failure := &centralops.Error{Op: op}
	if err := json.Unmarshal(raw, failure); err != nil {
		return malformed(op, err)
	}
	if failure.Code == "" {
		failure.Code = centralops.Internal
	}
	if then, ok := strings.CutPrefix(failure.Hint, signIn); ok || failure.Hint == "" {
		failure.Hint = bearer.Hint(failure.Code) + then
	}
	return failure
}

// before returns what the agent had done before its error; names are the members that are the error's.
func before(members map[string]json.RawMessage, names ...string) centralops.Answer {
	for _, name := range names {
		delete(members, name)
	}
	answer, err := centralops.ParseAnswer(members)
	if err != nil {
		return centralops.Answer{} // the error matters more
	}
	return answer
}

// refused returns the error of a response whose status is not 200.
func refused(op string, resp *http.Response) error {
	failure := bearer.Refusal(op, "the Runtime", resp)
	if resp.StatusCode == http.StatusFailedDependency {
		failure.Message += " (the agent's container failed or did not start)"
	}
	failure.Err = errBeforeAnswer
	return failure
}

// transportError returns the error of a connection that failed.
func (c *Client) transportError(op string, err error) error {
	return bearer.TransportError(op, c.Base, err)
}

func malformed(op string, err error) error {
	return &centralops.Error{Op: op, Code: centralops.Unavailable, Err: err,
		Message: "the answer is not what an agent of Central Ops sends: " + err.Error(),
		Hint:    "centralops doctor, to check the runtime ARN and URL"}
}
