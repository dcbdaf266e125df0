package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// smuggled are members that belong to a model's conversation. A body that has one tries to write the
// conversation itself: tool results that no tool gave, or a system prompt
// (https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-security-best-practices.html, read 2026-10).
var smuggled = map[string]bool{
	"messages": true, "system": true, "toolUse": true, "toolResult": true, "tool_use": true, "tool_result": true,
	"toolConfig": true, "tools": true, "content": true, "role": true,
}

// decodePrompt returns the prompt of an invocation's body. Errors are invalid, and say what to send. The
// prompt must be a string, so whatever it says is text for the model and never a block of the
// conversation. Other members are ignored but for the smuggled ones; a member may stand only once, so
// that no two readers of the body see different prompts.
func decodePrompt(body []byte) (string, error) {
	const send = `send {"prompt":"your question"}`
	if len(bytes.TrimSpace(body)) == 0 {
		return "", invalid("the body is empty", send)
	}
	members, err := decodeObject(body)
	if err != nil {
		return "", invalid("the body "+err.Error(), send)
	}
	for name := range members {
		if smuggled[name] {
			return "", invalid(fmt.Sprintf("the body has a member %q: messages, tool results and the system prompt are not the caller's to write", name), send)
		}
	}
	raw, ok := members["prompt"]
	if !ok {
		return "", invalid("the body has no prompt", send)
	}
	var prompt string
	if raw[0] != '"' || json.Unmarshal(raw, &prompt) != nil {
		return "", invalid("the prompt is "+kindOf(raw)+", not a string", send)
	}
	if strings.TrimSpace(prompt) == "" {
		return "", invalid("the prompt is empty", "ask a question")
	}
	if holdsBlocks([]byte(prompt), maxBlockDepth) {
		return "", invalid("the prompt is a JSON text with tool blocks", "ask in words; tool calls and tool results are not the caller's to write")
	}
	return prompt, nil
}

// decodeObject reads one JSON object with distinct member names and nothing after it.
func decodeObject(body []byte) (map[string]json.RawMessage, error) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	token, err := decoder.Token()
	if err != nil {
		return nil, fmt.Errorf("is not JSON")
	}
	if token != json.Delim('{') {
		return nil, fmt.Errorf("is not a JSON object")
	}
	members := make(map[string]json.RawMessage)
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return nil, fmt.Errorf("is not JSON")
		}
		name, _ := token.(string) // a key is always a string
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, fmt.Errorf("is not JSON")
		}
		if _, twice := members[name]; twice {
			return nil, fmt.Errorf("has a member twice")
		}
		members[name] = value
	}
	if _, err := decoder.Token(); err != nil {
		return nil, fmt.Errorf("is not JSON")
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, fmt.Errorf("has more than one JSON value")
	}
	return members, nil
}

func kindOf(raw json.RawMessage) string {
	switch raw[0] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

// maxBlockDepth is how deep tool blocks are looked for: in a list, in a message's content, and in the content of a block
// there. Each level reads the rest again, so a bound keeps a prompt that is all nesting from costing minutes.
const maxBlockDepth = 3

// holdsBlocks reports whether a prompt is, as a whole, the JSON of conversation blocks. As a string it is
// only text to this agent; it is refused because nobody asks a question that way, and whoever reads the
// conversation later may not be as careful.
func holdsBlocks(raw []byte, depth int) bool {
	raw = bytes.TrimSpace(raw)
	if depth == 0 || len(raw) == 0 || raw[0] != '{' && raw[0] != '[' {
		return false
	}
	var blocks []map[string]json.RawMessage
	if raw[0] == '{' {
		raw = bytes.Join([][]byte{[]byte("["), raw, []byte("]")}, nil)
	}
	if json.Unmarshal(raw, &blocks) != nil {
		return false
	}
	for _, block := range blocks {
		for _, name := range []string{"toolUse", "toolResult", "tool_use", "tool_result"} {
			if _, ok := block[name]; ok {
				return true
			}
		}
		var kind string
		if json.Unmarshal(block["type"], &kind) == nil && (kind == "tool_use" || kind == "tool_result") {
			return true
		}
		if holdsBlocks(block["content"], depth-1) {
			return true
		}
	}
	return false
}
