package agent

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// The system prompt and the tool schemas stay within 2,500 tokens, however many accounts there are:
// neither lists any. Sonnet 5 makes a token of about 2.8 bytes of English, earlier models of about four.
func TestPromptBudget(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join("..", "bridge", "tools.json"))
	if err != nil {
		t.Fatal(err)
	}
	var tools any
	if err := json.Unmarshal(raw, &tools); err != nil {
		t.Fatal(err)
	}
	compact, err := json.Marshal(tools)
	if err != nil {
		t.Fatal(err)
	}
	if size := len(systemPrompt) + len(compact); size > 7_000 {
		t.Errorf("prompt %d bytes and tools %d bytes: %d in all, want at most 7,000", len(systemPrompt), len(compact), size)
	}
}
