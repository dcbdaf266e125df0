package bedrock

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Model answers conversations. Request is valid when it arrives, and ends with a user message.
type Model interface {
	// Reply writes the blocks of the answer to a, in order, and says with a.Stop how it ended.
	// An *Exception is sent to the caller as it is; any other error becomes InternalServerException.
	// errors from a's methods must be returned as they are. Reply may be called concurrently.
	Reply(ctx context.Context, req *Request, a *Answer) error
}

// errCut ends a Reply whose answer has reached the token limit, a stop sequence or an injected fault. It is no failure.
var errCut = errors.New("answer cut")

// fragmentRunes is the size of the pieces in which whole texts are streamed: small enough that every reader has to join them.
const fragmentRunes = 48

// Answer is an assistant message in the making. Each piece is kept for Converse and, for ConverseStream, sent at once.
type Answer struct {
	emit    func(event string, payload any) error // nil for Converse
	sign    func(text string) string              // signs reasoning
	reasons bool                                  // whether reasoning is wanted
	blocks  []Block
	input   strings.Builder // of the open toolUse block
	open    string          // kind of the open block: "", "text", "toolUse"

	stopReason string
	usage      *Usage // as the model reported it; nil to estimate

	maxTokens     int      // 0: no limit here
	stopSequences []string // only for texts written whole
	cutShort      string   // stop reason of an injected fault: the first text or tool input is cut in half
}

// Limit makes the answer obey the request's token limit and stop sequences. Models that do so themselves don't call it.
func (a *Answer) Limit(c InferenceConfig) {
	if c.MaxTokens != nil {
		a.maxTokens = *c.MaxTokens
	}
	a.stopSequences = c.StopSequences
}

// Stop sets the stop reason: end_turn, tool_use, max_tokens and so on. The default is end_turn, or tool_use when the
// answer holds a tool use.
func (a *Answer) Stop(reason string) { a.stopReason = reason }

// SetUsage replaces the estimate by numbers that the model has counted.
func (a *Answer) SetUsage(input, output int) {
	a.usage = &Usage{InputTokens: input, OutputTokens: output, TotalTokens: input + output}
}

// Reasoning adds a whole reasoning block, if the server and the request want reasoning.
func (a *Answer) Reasoning(text string) error {
	if !a.reasons {
		return nil
	}
	if err := a.close(); err != nil {
		return err
	}
	index := len(a.blocks)
	signature := a.sign(text)
	a.blocks = append(a.blocks, Block{Reasoning: &Reasoning{Text: &ReasoningText{Text: text, Signature: signature}}})
	for _, delta := range []map[string]string{{"text": text}, {"signature": signature}} {
		if err := a.delta(index, map[string]any{"reasoningContent": delta}); err != nil {
			return err
		}
	}
	return a.event("contentBlockStop", map[string]any{"contentBlockIndex": index})
}

// Text adds to the open text block, or opens one.
func (a *Answer) Text(fragment string) error {
	if fragment == "" {
		return nil
	}
	if a.open != "text" {
		if err := a.close(); err != nil {
			return err
		}
		a.open = "text"
		a.blocks = append(a.blocks, Block{Text: new(string)})
	}
	fragment, cut := a.cut(fragment)
	*a.blocks[len(a.blocks)-1].Text += fragment
	for _, piece := range pieces(fragment, fragmentRunes) {
		if err := a.delta(len(a.blocks)-1, map[string]string{"text": piece}); err != nil {
			return err
		}
	}
	return cut
}

// cut shortens fragment to what the token limit, the stop sequences or an injected fault leave; the error is errCut if
// anything was cut off.
func (a *Answer) cut(fragment string) (string, error) {
	if a.cutShort != "" {
		a.stopReason = a.cutShort
		return half(fragment), errCut
	}
	for _, stop := range a.stopSequences {
		if before, _, found := strings.Cut(fragment, stop); found {
			a.stopReason = "stop_sequence"
			return before, errCut
		}
	}
	if a.maxTokens > 0 {
		room := (a.maxTokens - a.outputTokens()) * bytesPerToken
		if len(fragment) > room {
			a.stopReason = "max_tokens"
			return atRune(fragment, max(room, 0)), errCut
		}
	}
	return fragment, nil
}

// ToolUse opens a tool use; its input follows by Input.
func (a *Answer) ToolUse(id, name string) error {
	if err := a.close(); err != nil {
		return err
	}
	a.open = "toolUse"
	a.input.Reset()
	a.blocks = append(a.blocks, Block{ToolUse: &ToolUse{ID: id, Name: name}})
	return a.event("contentBlockStart", map[string]any{
		"contentBlockIndex": len(a.blocks) - 1,
		"start":             map[string]any{"toolUse": map[string]string{"toolUseId": id, "name": name}},
	})
}

// Input adds to the JSON text of the open tool use's input.
func (a *Answer) Input(fragment string) error {
	if a.open != "toolUse" {
		return fmt.Errorf("tool input outside a tool use")
	}
	var cut error
	if a.cutShort != "" {
		a.stopReason, cut = a.cutShort, errCut
		fragment = half(fragment)
	}
	a.input.WriteString(fragment)
	for _, piece := range pieces(fragment, fragmentRunes) {
		if err := a.delta(len(a.blocks)-1, map[string]any{"toolUse": map[string]string{"input": piece}}); err != nil {
			return err
		}
	}
	return cut
}

// inputValid tells whether the open tool use has whole input; an empty one stands for no arguments.
func (a *Answer) inputValid() bool {
	return a.open != "toolUse" || a.input.Len() == 0 || isObject(json.RawMessage(a.input.String()))
}

// close ends the open block.
func (a *Answer) close() error {
	if a.open == "" {
		return nil
	}
	last := &a.blocks[len(a.blocks)-1]
	if a.open == "toolUse" {
		// Input that isn't an object can't be carried by Converse: what is left of it is an empty object. A stream has
		// already sent the broken text.
		last.ToolUse.Input = json.RawMessage("{}")
		if raw := json.RawMessage(a.input.String()); isObject(raw) {
			last.ToolUse.Input = raw
		}
	}
	a.open = ""
	return a.event("contentBlockStop", map[string]any{"contentBlockIndex": len(a.blocks) - 1})
}

// finish closes the last block and settles the stop reason.
func (a *Answer) finish() error {
	if err := a.close(); err != nil {
		return err
	}
	if a.stopReason != "" {
		return nil
	}
	a.stopReason = "end_turn"
	for _, b := range a.blocks {
		if b.ToolUse != nil {
			a.stopReason = "tool_use"
		}
	}
	return nil
}

// outputTokens estimates what has been written so far.
func (a *Answer) outputTokens() int {
	n := 0
	for _, b := range a.blocks {
		n += blockTokens(b)
	}
	return n
}

func (a *Answer) delta(index int, delta any) error {
	return a.event("contentBlockDelta", map[string]any{"contentBlockIndex": index, "delta": delta})
}

func (a *Answer) event(name string, payload any) error {
	if a.emit == nil {
		return nil
	}
	return a.emit(name, payload)
}

// pieces cuts text into parts of at most n runes; whole runes stay whole.
func pieces(text string, n int) []string {
	var parts []string
	runes := []rune(text)
	for start := 0; start < len(runes); start += n {
		parts = append(parts, string(runes[start:min(start+n, len(runes))]))
	}
	return parts
}

// half returns the first half of text, without breaking a rune.
func half(text string) string { return atRune(text, len(text)/2) }

// atRune returns at most n bytes of text, ending at a rune's boundary.
func atRune(text string, n int) string {
	if n >= len(text) {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}
