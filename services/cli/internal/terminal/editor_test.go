package terminal

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A history keeps the latest lines, in its file too, however long it is used.
func TestHistoryIsBounded(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "history", "local")
	h := openHistory(file)
	for i := range maxHistory + 5 {
		h.Add(fmt.Sprintf("line %d", i))
	}
	h.Add("  ") // nothing to remember
	for range 2 {
		h = openHistory(file)
		if h.Len() != maxHistory || h.At(0) != fmt.Sprintf("line %d", maxHistory+4) || h.At(h.Len()-1) != "line 5" {
			t.Fatalf("%d lines from %q to %q", h.Len(), h.At(0), h.At(h.Len()-1))
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "\n"); n != maxHistory || info.Mode().Perm() != 0o600 {
		t.Errorf("the file has %d lines and mode %v", n, info.Mode())
	}
}
