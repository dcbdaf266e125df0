package httpapi

import (
	"bytes"
	"encoding/json"
	"net/http"

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

// jsonReply answers with one JSON object.
type jsonReply struct{ w http.ResponseWriter }

func (*jsonReply) begin()               {}
func (*jsonReply) events() agent.Events { return nil }

func (j *jsonReply) finish(answer agent.Answer) {
	j.w.Header().Set("Content-Type", "application/json")
	writeJSON(j.w, answer)
}

func (j *jsonReply) fail(failure *agent.Error, answer agent.Answer) {
	body := struct {
		Error         errorBody `json:"error"`
		*agent.Answer           // what was done before the error; nil when nothing was
	}{Error: bodyOf(failure)}
	if answer.Turns > 0 {
		body.Answer = &answer
	}
	j.w.Header().Set("Content-Type", "application/json")
	writeJSON(j.w, body)
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

func (s *streamReply) fail(failure *agent.Error, _ agent.Answer) {
	s.frame(struct {
		Type string `json:"type"`
		errorBody
	}{"error", bodyOf(failure)})
}
