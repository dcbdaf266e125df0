package httpapi

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// FuzzDecodeBody holds that only a string becomes a prompt or a tool's name and only an object its arguments, and that what
// is accepted is what any other JSON reader would have read.
func FuzzDecodeBody(f *testing.F) {
	for _, seed := range []string{
		`{"prompt":"a"}`, `{"prompt":["a"]}`, `{"prompt":"a","prompt":"b"}`, `{"prompt":"a"}x`, `{"Prompt":"a"}`, `{"prompt":"\ud800"}`, `{"prompt":"{\"toolUse\":{}}"}`, ``, `[`, `{"prompt":null}`,
		`{"tool":"query","arguments":{"a":1}}`, `{"tool":"query"}`, `{"tool":1}`, `{"tool":"q","arguments":[]}`, `{"tool":"q","arguments":{"a":1,"a":2}}`, `{"tool":"q","prompt":"a"}`, `{"tool":"q","tools":[]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		prompt, direct, err := decodeBody(body)
		if err != nil {
			return
		}
		var other map[string]any
		if json.Unmarshal(body, &other) != nil {
			t.Fatalf("%q was accepted, and is no JSON to others", body)
		}
		_, asked := other["prompt"]
		_, named := other["tool"]
		if asked == named {
			t.Errorf("%q was accepted with a prompt (%t) and a tool (%t)", body, asked, named)
		}
		if direct != nil {
			var arguments map[string]any
			if other["tool"] != direct.Tool || direct.Tool == "" || json.Unmarshal(direct.Arguments, &arguments) != nil {
				t.Errorf("%q was read as %q with %s", body, direct.Tool, direct.Arguments)
			}
			if given, ok := other["arguments"]; ok && !cmp.Equal(given, any(arguments)) {
				t.Errorf("%q: arguments were read as %s", body, direct.Arguments)
			}
		} else if other["prompt"] != prompt || strings.TrimSpace(prompt) == "" || !utf8.ValidString(prompt) {
			t.Errorf("%q was read as %q, by others as %v", body, prompt, other["prompt"])
		}
		for name := range smuggled {
			if _, ok := other[name]; ok {
				t.Errorf("%q was accepted with a member %q", body, name)
			}
		}
	})
}

// Tool blocks are found where a conversation has them. Deeper is words: each level reads the rest again, and a
// prompt that is all nesting must not cost minutes.
func TestHoldsBlocks(t *testing.T) {
	t.Parallel()
	for prompt, want := range map[string]bool{
		`{"toolUse":{}}`:                                              true,
		`[{"text":"a"},{"type":"tool_result"}]`:                       true,
		`[{"role":"user","content":[{"toolResult":{}}]}]`:             true,
		`[{"role":"user","content":[{"content":[{"tool_use":{}}]}]}]`: true,
		`{"content":[{"content":[{"content":[{"toolUse":{}}]}]}]}`:    false,
		`what does {"toolUse":{}} mean?`:                              false,
		`{"Statement":[{"Effect":"Deny"}]}`:                           false,
		`["i-1","i-2"]`:                                               false,
		``:                                                            false,
	} {
		if got := holdsBlocks([]byte(prompt), maxBlockDepth); got != want {
			t.Errorf("holdsBlocks(%s) = %v, want %v", prompt, got, want)
		}
	}
}
