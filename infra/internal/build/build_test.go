package build_test

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
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

// TestBinaryWithoutGo is not parallel: it takes the PATH away.
func TestBinaryWithoutGo(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := build.Binary(t.Context(), ".", "./cmd/bridge", filepath.Join(t.TempDir(), "bridge"), "")
	if err == nil || !strings.Contains(err.Error(), "build ./cmd/bridge: go is not on PATH; install the version that go.work names") {
		t.Errorf("error = %v, want one that says what to install", err)
	}
}

func TestBinaryThatDoesNotCompile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module broken\n\ngo 1.26\n", "main.go": "package main\n\nfunc main() { gone() }\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	err := build.Binary(t.Context(), dir, ".", filepath.Join(dir, "out"), "")
	if err == nil || !strings.Contains(err.Error(), "build . in "+dir) || !strings.Contains(err.Error(), "undefined: gone") {
		t.Errorf("error = %v, want the compiler's words", err)
	}
}
