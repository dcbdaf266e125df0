package planner

import (
	"bytes"
	"encoding/json"
	"strings"
)

// envelope is what the bridge answers; for the tools that it only passes on, Raw is all there is.
type envelope struct {
	OK        *bool    `json:"ok"`
	Error     *failure `json:"error"`
	Coverage  coverage `json:"coverage"`
	Results   []target `json:"results"`
	Groups    []group  `json:"groups"`
	Truncated bool     `json:"truncated"`
	Notes     []string `json:"notes"`

	Raw json.RawMessage `json:"-"` // the whole value; nil if the result was no JSON
}

type failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint"`
}

// coverage counts targets; failed holds throttled and timed out ones too.
type coverage struct {
	Targets  int `json:"targets"`
	Answered int `json:"answered"`
	Denied   int `json:"denied"`
	Failed   int `json:"failed"`
	Skipped  int `json:"skipped"`
}

// group counts rows with one key.
type group struct {
	Key      any      `json:"key"`
	Count    int      `json:"count"`
	Accounts []string `json:"accounts"`
}

// target is the outcome of one account in one Region.
type target struct {
	AccountID   string            `json:"account_id"`
	AccountName string            `json:"account_name"`
	Region      string            `json:"region"`
	Status      string            `json:"status"`
	Count       *int              `json:"count"`
	Data        []json.RawMessage `json:"-"` // from data, which may be an array or a single value
	More        bool              `json:"more"`
	Receipt     *receipt          `json:"receipt"`
	Error       *failure          `json:"error"`
}

type receipt struct {
	RoleARN        string `json:"role_arn"`
	SourceIdentity string `json:"source_identity"`
}

// UnmarshalJSON takes data that is a list, or one value instead of it.
func (t *target) UnmarshalJSON(raw []byte) error {
	type plain target // without this method
	var wire struct {
		*plain
		Data json.RawMessage `json:"data"`
	}
	wire.plain = (*plain)(t)
	if err := json.Unmarshal(raw, &wire); err != nil {
		return err
	}
	if len(wire.Data) == 0 || string(wire.Data) == "null" {
		return nil
	}
	if json.Unmarshal(wire.Data, &t.Data) != nil {
		t.Data = []json.RawMessage{wire.Data}
	}
	return nil
}

// count is how many rows the target has, shown or not.
func (t target) count() int {
	if t.Count != nil {
		return *t.Count
	}
	return len(t.Data)
}

// name is the account as answers call it.
func (t target) name() string {
	if t.AccountName == "" {
		return t.AccountID
	}
	return t.AccountName + " (" + t.AccountID + ")"
}

// decode reads a tool result: JSON, JSON in a JSON string (as the Gateway quotes what a Lambda returned as text), or either
// in the text of an MCP result. Other text becomes an error, because the tools answer in JSON whenever they work.
func decode(text string) envelope {
	raw := unwrap([]byte(strings.TrimSpace(text)))
	var e envelope
	if err := json.Unmarshal(raw, &e); err != nil {
		if json.Valid(raw) { // a list, say
			return envelope{Raw: raw}
		}
		return envelope{Error: &failure{Code: "internal", Message: clip(oneLine(text), 300)}}
	}
	e.Raw = raw
	if e.OK != nil && !*e.OK && e.Error == nil {
		e.Error = &failure{Code: "internal", Message: "the tool reported a failure without a reason"}
	}
	return e
}

// maxWraps bounds how many layers of quoting are taken off.
const maxWraps = 4

// unwrap takes off JSON strings and MCP results ({"content":[{"type":"text","text":...}]}) until something else appears.
func unwrap(raw []byte) []byte {
	for range maxWraps {
		var text string
		if json.Unmarshal(raw, &text) == nil {
			raw = bytes.TrimSpace([]byte(text))
			continue
		}
		var mcp struct {
			Content []struct {
				Text *string `json:"text"`
			} `json:"content"`
		}
		if json.Unmarshal(raw, &mcp) == nil && len(mcp.Content) == 1 && mcp.Content[0].Text != nil {
			raw = bytes.TrimSpace([]byte(*mcp.Content[0].Text))
			continue
		}
		break
	}
	return raw
}

// objects finds the first list of objects in a JSON value that have the member named, however deep it is wrapped.
func objects(raw json.RawMessage, member string) []map[string]any {
	var value any
	if json.Unmarshal(raw, &value) != nil {
		return nil
	}
	return findObjects(value, member, 0)
}

// maxDepth bounds the search of findObjects.
const maxDepth = 8

func findObjects(value any, member string, depth int) []map[string]any {
	if depth > maxDepth {
		return nil
	}
	switch v := value.(type) {
	case []any:
		var found []map[string]any
		for _, item := range v {
			if object, ok := item.(map[string]any); ok {
				if _, ok := object[member]; ok {
					found = append(found, object)
				}
			}
		}
		if len(found) > 0 {
			return found
		}
		for _, item := range v {
			if found := findObjects(item, member, depth+1); found != nil {
				return found
			}
		}
	case map[string]any:
		for _, key := range sortedKeys(v) {
			if found := findObjects(v[key], member, depth+1); found != nil {
				return found
			}
		}
	case string:
		var inner any
		if strings.HasPrefix(strings.TrimSpace(v), "{") || strings.HasPrefix(strings.TrimSpace(v), "[") {
			if json.Unmarshal([]byte(v), &inner) == nil {
				return findObjects(inner, member, depth+1)
			}
		}
	}
	return nil
}
