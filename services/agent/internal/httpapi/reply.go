package httpapi

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"

	agent "github.com/central-ops/central-ops/services/agent"
)

// reply is how an invocation is answered. begin is called first, then either finish or fail, once.
type reply interface {
	begin()
	events() agent.Events
	finish(agent.Answer)
	fail(*agent.Error, agent.Answer)
}

// errorBody is an error as clients see it.
type errorBody struct {
	Code    agent.Code `json:"code"`
	Message string     `json:"message"`
	Hint    string     `json:"hint,omitempty"`
}

func bodyOf(failure *agent.Error) errorBody {
	return errorBody{Code: failure.Code, Message: failure.Message, Hint: failure.Hint}
}

// writeTimeout bounds how long a client may take to receive a frame or an answer. One that does not read would
// else hold its session for ever; a write that fails cancels the request's context.
const writeTimeout = time.Minute

func allowWriting(control *http.ResponseController) {
	_ = control.SetWriteDeadline(time.Now().Add(writeTimeout)) // fails only without a connection, as in a test
}

// jsonReply answers with one JSON object.
type jsonReply struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func (*jsonReply) begin()               {}
func (*jsonReply) events() agent.Events { return nil }

func (j *jsonReply) finish(answer agent.Answer) { j.write(answer) }

func (j *jsonReply) fail(failure *agent.Error, answer agent.Answer) {
	j.write(struct {
		Error         errorBody `json:"error"`
		*agent.Answer           // what was done before the error
	}{bodyOf(failure), done(answer)})
}

func (j *jsonReply) write(value any) {
	allowWriting(j.control)
	j.w.Header().Set("Content-Type", "application/json")
	writeJSON(j.w, value)
}

// done returns the answer that stands beside an error, nil when nothing was done before it.
func done(answer agent.Answer) *agent.Answer {
	if answer.Turns == 0 && answer.ToolCalls == 0 {
		return nil
	}
	return &answer
}

// streamReply answers with server-sent events. Each frame is flushed, so that a token is on its way as
// soon as the model has written it.
type streamReply struct {
	w       http.ResponseWriter
	control *http.ResponseController
	buffer  bytes.Buffer
}

func (s *streamReply) begin() {
	header := s.w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
}

func (s *streamReply) events() agent.Events { return s }

// frame writes one frame. An error means that the client has gone, which cancels the request's context.
func (s *streamReply) frame(value any) {
	s.buffer.Reset()
	s.buffer.WriteString("data: ")
	writeJSON(&s.buffer, value) // ends in a newline and has no other
	s.buffer.WriteByte('\n')
	allowWriting(s.control)
	if _, err := s.w.Write(s.buffer.Bytes()); err == nil {
		_ = s.control.Flush()
	}
}

// Text implements agent.Events.
func (s *streamReply) Text(text string) {
	s.frame(struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}{"text", text})
}

// ToolCall implements agent.Events. An input that is no JSON, which the model may well write, is sent as
// a string.
func (s *streamReply) ToolCall(call agent.ToolCall) {
	input := call.Input
	if !json.Valid(input) {
		quoted, err := json.Marshal(string(call.Input))
		if err != nil {
			quoted = []byte("null")
		}
		input = quoted
	}
	s.frame(struct {
		Type  string          `json:"type"`
		ID    string          `json:"id"`
		Name  string          `json:"name"`
		Input json.RawMessage `json:"input"`
	}{"tool_call", call.ID, call.Name, input})
}

// ToolResult implements agent.Events.
func (s *streamReply) ToolResult(outcome agent.ToolOutcome) {
	s.frame(struct {
		Type string `json:"type"`
		agent.ToolOutcome
	}{"tool_result", outcome})
}

func (s *streamReply) finish(answer agent.Answer) {
	answer.Response = "" // was streamed
	s.frame(struct {
		Type string `json:"type"`
		agent.Answer
	}{"done", answer})
}

func (s *streamReply) fail(failure *agent.Error, answer agent.Answer) {
	s.frame(struct {
		Type string `json:"type"`
		errorBody
		*agent.Answer
	}{"error", bodyOf(failure), done(answer)})
}
