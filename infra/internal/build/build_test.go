package build_test

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/central-ops/central-ops/infra/internal/build"
)

// TestZipIsReproducible zips the same binary under another name, of another time and mode: Lambda has to see no change.
func TestZipIsReproducible(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	archive := func(name string, body string, mode os.FileMode, modified time.Time) []byte {
		binary, out := filepath.Join(dir, name), filepath.Join(dir, "out", name+".zip")
		if err := os.WriteFile(binary, []byte(body), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(binary, modified, modified); err != nil {
			t.Fatal(err)
		}
		if err := build.Zip(binary, out); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	first := archive("a", "binary", 0o755, time.Unix(1, 0))
	if second := archive("b", "binary", 0o600, time.Unix(1_700_000_000, 0)); !bytes.Equal(first, second) {
		t.Errorf("the same binary gives other bytes: %d and %d", len(first), len(second))
	}
	if other := archive("c", "another", 0o755, time.Unix(1, 0)); bytes.Equal(first, other) {
		t.Error("another binary gives the same bytes")
	}
	r, err := zip.NewReader(bytes.NewReader(first), int64(len(first)))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.File) != 1 || r.File[0].Name != "bootstrap" || r.File[0].Mode().Perm() != 0o755 {
		t.Fatalf("zip holds %v, want bootstrap that may be run", r.File)
	}
	f, err := r.File[0].Open()
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(f); err != nil || string(body) != "binary" {
		t.Errorf("bootstrap = %q, %v", body, err)
	}
}
