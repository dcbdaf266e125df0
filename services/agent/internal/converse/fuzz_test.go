package converse

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzDocument holds that what a model wrote as a tool's input goes back to it unchanged, or is refused.
func FuzzDocument(f *testing.F) {
	for _, input := range []string{
		`{"accounts":["all"],"limit":5}`, `{"big":12345678901234567890,"exact":1.10,"small":-0,"exp":1E+2}`, `{"a":{"b":[null,true,""]},"a":1}`, `{}`, `null`, `[]`, `"x"`, `{`, `{} {}`, `{"\u2028":"<&>"}`,
	} {
		f.Add([]byte(input))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		encoded, err := document(input)
		if err != nil {
			return
		}
		got, err := encoded.MarshalSmithyDocument()
		if err != nil {
			t.Fatalf("%q was accepted and can't be sent: %v", input, err)
		}
		if diff := cmp.Diff(numbered(t, input), numbered(t, got)); diff != "" {
			t.Errorf("%q changed (-want +got):\n%s", input, diff)
		}
	})
}

// numbered decodes the first JSON value of raw, numbers with their digits.
func numbered(t *testing.T, raw []byte) any {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	return value
}
