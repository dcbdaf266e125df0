package converse

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestModelName(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"bridge___query", "a", strings.Repeat("x", 64)} {
		if got := ModelName(name); got != name {
			t.Errorf("ModelName(%q) = %q, want it unchanged", name, got)
		}
	}
	seen := make(map[string]string)
	for _, name := range []string{"a.b", "a/b", "a b", strings.Repeat("x", 65), strings.Repeat("x", 66), "ünï", ""} {
		got := ModelName(name)
		if got == "" || len(got) > maxName || strings.IndexFunc(got, refusedInName) >= 0 {
			t.Errorf("ModelName(%q) = %q, which Bedrock refuses", name, got)
		}
		if other, taken := seen[got]; taken {
			t.Errorf("%q and %q both become %q", name, other, got)
		}
		seen[got] = name
		if again := ModelName(name); again != got {
			t.Errorf("ModelName(%q) is %q, then %q", name, got, again)
		}
	}
}

// What a model wrote goes back as it was: zero values, empty ones and exact numbers included.
func TestDocumentKeepsEverything(t *testing.T) {
	t.Parallel()
	const input = `{"array":[],"big":12345678901234567890,"exact":1.10,"false":false,"nested":{"empty":{},"list":[0,"",null]},"null":null,"text":"","zero":0}`
	encoded, err := document([]byte(input))
	if err != nil {
		t.Fatal(err)
	}
	got, err := encoded.MarshalSmithyDocument()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(input, string(got)); diff != "" {
		t.Errorf("document mismatch (-want +got):\n%s", diff)
	}
	if got, err := emptyObject().MarshalSmithyDocument(); err != nil || string(got) != "{}" {
		t.Errorf("emptyObject is %s, %v", got, err)
	}
	for _, refused := range []string{"", "null", "[]", `"x"`, "{", `{"":0}`, `{"a":[{"":{}}]}`} {
		if _, err := document([]byte(refused)); err == nil {
			t.Errorf("document(%q) was accepted", refused)
		}
	}
}
