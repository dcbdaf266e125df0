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
