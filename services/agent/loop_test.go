package agent

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// oneCall asks for one tool.
type oneCall struct{}

func (oneCall) Generate(context.Context, Request, func(string)) (Turn, error) {
	return Turn{Message: Message{Role: RoleAssistant, Blocks: []Block{{ToolCall: &ToolCall{ID: "a", Name: "t", Input: []byte("{}")}}}}, Stop: StopToolUse}, nil
}

// panicking has one tool, whose call panics.
type panicking struct{}

func (panicking) Tools(context.Context, Caller) ([]Tool, error) { return []Tool{{Name: "t"}}, nil }
func (panicking) Call(context.Context, Caller, ToolCall) (ToolOutput, error) {
	panic("a bug")
}
func (panicking) Close() {}

// A tool call runs on a goroutine of its own, where a panic would end the process with all its sessions. It ends the
// invocation, as one elsewhere does, and the session is free again. The log has the stack and not what was said.
func TestPanicInAToolCall(t *testing.T) {
	t.Parallel()
	limits := Limits{MaxTurns: 3, MaxToolCalls: 3, MaxOutputTokens: 10, InvocationTimeout: time.Minute}
	var log strings.Builder
	a := New(oneCall{}, func() Toolbox { return panicking{} }, limits, slog.New(slog.NewJSONHandler(&log, nil)))
	for range 2 { // the second time the session must not be taken for busy
		answer, err := a.Run(t.Context(), Invocation{Session: "s", Caller: Caller{Subject: "alice"}, Prompt: "x"}, nil)
		var failure *Error
		if !errors.As(err, &failure) || failure.Code != CodeInternal || answer.ToolCalls != 1 {
			t.Errorf("Run returned %v after %d tool calls, want internal after 1", err, answer.ToolCalls)
		}
	}
	if text := log.String(); strings.Count(text, "panicking.Call") != 2 || strings.Contains(text, "a bug") {
		t.Errorf("want the stack, and not what the panic says, in the log:\n%s", text)
	}
}
