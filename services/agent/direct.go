package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// direct answers an invocation that names a tool: one call of it, and no model. What the tool answered is the result, be it
// ok or not; an error means that there is no such answer.
func (r *run) direct(ctx context.Context, wanted DirectCall) error {
	tools, err := r.conv.toolbox.Tools(ctx, r.inv.Caller)
	if err != nil {
		return err
	}
	name, err := find(tools, wanted.Tool)
	if err != nil {
		return err
	}
	call := ToolCall{ID: r.inv.ID, Name: name, Input: wanted.Arguments}
	if r.events != nil {
		r.events.ToolCall(call)
	}
	r.answer.ToolCalls++
	start := time.Now()
	output, err := r.conv.toolbox.Call(ctx, r.inv.Caller, call)
	o := outcome{elapsed: time.Since(start)}
	if err != nil {
		failure := AsError(err)
		o.envelope.Fault = &Fault{Code: string(failure.Code), Message: failure.Message, Hint: failure.Hint}
	} else {
		o.envelope = ParseEnvelope(output)
	}
	r.logCall(ctx, r.answer.Turns, name, o)
	coverage := r.asked.record(call, o.envelope)
	if r.events != nil {
		r.events.ToolResult(ToolOutcome{ID: call.ID, OK: o.envelope.OK, Coverage: coverage, DurationMS: o.elapsed.Milliseconds()})
	}
	if err != nil {
		return err
	}
	text := []byte(o.envelope.Text)
	switch {
	case o.envelope.Answer != nil:
		r.answer.Result = o.envelope.Answer
	case !o.envelope.OK: // not the tool's words but the Gateway's about it
		return &Error{Op: "call tool", Subject: name, Code: CodeInternal, Message: "the tool failed: " + oneLine(o.envelope.Text, 300),
			Hint: "the log group of the tool's Lambda function"}
	case json.Valid(text):
		r.answer.Result = text
	default:
		if r.answer.Result, err = json.Marshal(o.envelope.Text); err != nil {
			return fmt.Errorf("encode result: %w", err)
		}
	}
	r.settle()
	return nil
}

// find returns the name of the tool that is called wanted, as a whole or behind the Gateway's "___".
func find(tools []Tool, wanted string) (string, error) {
	var all, found []string
	for _, tool := range tools {
		all = append(all, tool.Name)
		if _, own, qualified := strings.Cut(tool.Name, "___"); tool.Name == wanted || qualified && own == wanted {
			found = append(found, tool.Name)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", &Error{Op: "find tool", Code: CodeInvalid, Message: "there is no such tool", Hint: "the tools are: " + oneLine(strings.Join(all, ", "), 1000)}
	default:
		return "", &Error{Op: "find tool", Code: CodeInvalid, Message: "more than one tool has that name", Hint: "name one of them whole: " + oneLine(strings.Join(found, ", "), 1000)}
	}
}
