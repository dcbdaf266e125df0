package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	agent "github.com/central-ops/central-ops/services/agent"
)

// smuggled are members that belong to a model's conversation. A body that has one tries to write the
// conversation itself: tool results that no tool gave, or a system prompt
// (https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-security-best-practices.html, read 2026-10).
var smuggled = map[string]bool{
	"messages": true, "system": true, "toolUse": true, "toolResult": true, "tool_use": true, "tool_result": true,
	"toolConfig": true, "tools": true, "content": true, "role": true,
}

// sendPrompt and sendTool are what bodies look like.
const (
	sendPrompt = `send {"prompt":"your question"}`
	sendTool   = `send {"tool":"list_accounts","arguments":{}}`
)

// decodeBody returns what an invocation's body asks for: a prompt, or a tool to be called without a model. Errors are
// invalid, and say what to send. Other members are ignored but for the smuggled ones; a member may stand only once, so
// that no two readers of the body see different things.
func decodeBody(body []byte) (string, *agent.DirectCall, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return "", nil, invalid("the body is empty", sendPrompt)
	}
	members, err := decodeObject(body)
	if err != nil {
		return "", nil, invalid("the body "+err.Error(), sendPrompt)
	}
	for name := range members {
		if smuggled[name] {
			return "", nil, invalid(fmt.Sprintf("the body has a member %q: messages, tool results and the system prompt are not the caller's to write", name), sendPrompt)
		}
	}
	raw, asked := members["prompt"]
	tool, named := members["tool"]
	switch {
	case asked && named:
		return "", nil, invalid("the body has a prompt and a tool: it asks one or calls the other", sendPrompt)
	case named:
		direct, err := decodeDirect(tool, members["arguments"])
		return "", direct, err
	case !asked:
		return "", nil, invalid("the body has no prompt", sendPrompt)
	}
	prompt, err := decodePrompt(raw)
	return prompt, nil, err
}

// decodePrompt returns a prompt. It must be a string, so whatever it says is text for the model and never a block of the
// conversation.
func decodePrompt(raw json.RawMessage) (string, error) {
	var prompt string
	if raw[0] != '"' || json.Unmarshal(raw, &prompt) != nil {
		return "", invalid("the prompt is "+kindOf(raw)+", not a string", sendPrompt)
	}
	if strings.TrimSpace(prompt) == "" {
		return "", invalid("the prompt is empty", "ask a question")
	}
	if holdsBlocks([]byte(prompt), maxBlockDepth) {
		return "", invalid("the prompt is a JSON text with tool blocks", "ask in words; tool calls and tool results are not the caller's to write")
	}
	return prompt, nil
}

// decodeDirect returns the call of a tool; arguments may be nil.
func decodeDirect(tool, arguments json.RawMessage) (*agent.DirectCall, error) {
	direct := agent.DirectCall{Arguments: json.RawMessage("{}")}
	if tool[0] != '"' || json.Unmarshal(tool, &direct.Tool) != nil {
		return nil, invalid("the tool is "+kindOf(tool)+", not its name", sendTool)
	}
	if direct.Tool == "" {
		return nil, invalid("the tool has no name", sendTool)
	}
	if arguments != nil {
		if _, err := decodeObject(arguments); err != nil {
			return nil, invalid(`the member "arguments" `+err.Error(), sendTool)
		}
		direct.Arguments = arguments
	}
	return &direct, nil
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
