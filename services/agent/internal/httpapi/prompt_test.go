package httpapi

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzDecodePrompt holds that only a string becomes a prompt, and that what is accepted is what any other
// JSON reader would have read.
func FuzzDecodePrompt(f *testing.F) {
	for _, seed := range []string{
		`{"prompt":"a"}`, `{"prompt":["a"]}`, `{"prompt":"a","prompt":"b"}`, `{"prompt":"a"}x`, `{"Prompt":"a"}`, `{"prompt":"\ud800"}`, `{"prompt":"{\"toolUse\":{}}"}`, ``, `[`, `{"prompt":null}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		prompt, err := decodePrompt(body)
		if err != nil {
			return
		}
		var other map[string]any
		if json.Unmarshal(body, &other) != nil || other["prompt"] != prompt {
			t.Errorf("%q was read as %q, by others as %v", body, prompt, other["prompt"])
		}
		if strings.TrimSpace(prompt) == "" || !utf8.ValidString(prompt) {
			t.Errorf("prompt %q", prompt)
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
