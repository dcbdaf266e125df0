package bedrock

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/central-ops/central-ops/e2e/local/bedrock/planner"
)

// Planner is the Model that works offline: the rules of package planner.
type Planner struct{}

var _ Model = Planner{}

// Reply takes the next step of the conversation: tool calls, after a block of reasoning, or the answer.
func (Planner) Reply(_ context.Context, req *Request, a *Answer) error {
	a.Limit(req.InferenceConfig)
	step := planner.Next(conversation(req))
	if len(step.Calls) == 0 {
		return a.Text(step.Answer)
	}
	if err := a.Reasoning(step.Thought); err != nil {
		return err
	}
	for _, call := range step.Calls {
		input, err := json.Marshal(call.Input)
		if err != nil {
			return fmt.Errorf("encode the input of %s: %w", call.Tool, err)
		}
		if err := a.ToolUse(newToolUseID(), call.Tool); err != nil {
			return err
		}
		if err := a.Input(string(input)); err != nil {
			return err
		}
	}
	return nil
}

// newToolUseID returns an id as Bedrock makes them.
func newToolUseID() string {
	var random [11]byte
	_, _ = rand.Read(random[:]) // never fails, says its documentation
	return "tooluse_" + hex.EncodeToString(random[:])
}

// conversation reads the messages as the planner wants them: a user message with text and without tool results begins an exchange, the
// tool uses and results after it are its rounds. Text beside tool results is a remark of the agent, not a question.
func conversation(req *Request) planner.Conversation {
	var c planner.Conversation
	if req.ToolConfig != nil {
		for _, tool := range req.ToolConfig.Tools {
			if tool.Spec != nil {
				c.Tools = append(c.Tools, tool.Spec.Name)
			}
		}
	}
	for i, m := range req.Messages {
		if m.Role == "user" {
			if text, asks := question(m); asks {
				c.Exchanges = append(c.Exchanges, planner.Exchange{Question: text})
			}
			continue
		}
		if len(c.Exchanges) == 0 || i+1 == len(req.Messages) {
			continue
		}
		results := resultsByID(req.Messages[i+1])
		var round planner.Round
		for _, b := range m.Content {
			if b.ToolUse != nil {
				result := results[b.ToolUse.ID]
				round = append(round, planner.Call{
					Tool: b.ToolUse.Name, Input: b.ToolUse.Input, Result: resultText(result), Failed: result.Status == "error",
				})
			}
		}
		if last := &c.Exchanges[len(c.Exchanges)-1]; len(round) > 0 {
			last.Rounds = append(last.Rounds, round)
		}
	}
	return c
}

// question returns the text of a message that asks something.
func question(m Message) (text string, asks bool) {
	var texts []string
	for _, b := range m.Content {
		if b.ToolResult != nil {
			return "", false
		}
		if b.Text != nil {
			texts = append(texts, *b.Text)
		}
	}
	return strings.Join(texts, "\n"), len(texts) > 0
}

func resultsByID(m Message) map[string]ToolResult {
	results := map[string]ToolResult{}
	for _, b := range m.Content {
		if b.ToolResult != nil {
			results[b.ToolResult.ID] = *b.ToolResult
		}
	}
	return results
}

func resultText(r ToolResult) string {
	var texts []string
	for _, c := range r.Content {
		switch {
		case c.Text != nil:
			texts = append(texts, *c.Text)
		case c.JSON != nil:
			texts = append(texts, string(c.JSON))
		}
	}
	return strings.Join(texts, "\n")
}
