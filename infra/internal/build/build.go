// Package build compiles the services for AWS: static linux/arm64 binaries, and zips of them that are the same bytes for
// the same source, so that a second up changes nothing.
package build

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Binary compiles the main package (such as "./cmd/bridge") of the module in dir to out. tags may be "".
func Binary(ctx context.Context, dir, main, out, tags string) error {
	if _, err := exec.LookPath("go"); err != nil {
		return fmt.Errorf("build %s: go is not on PATH; install the version that go.work names: %w", main, err)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-tags="+tags, "-o", out, main)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64", "GOWORK=off", "GOFLAGS=")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s in %s: %w\n%s", main, dir, err, text)
	}
	return nil
}

// Zip writes a Lambda package that holds the binary as bootstrap.
func Zip(binary, out string) error {
	body, err := os.ReadFile(binary)
	if err != nil {
		return fmt.Errorf("zip: %w", err)
	}
	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	header := &zip.FileHeader{Name: "bootstrap", Method: zip.Deflate, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)}
	header.SetMode(0o755)
	f, err := w.CreateHeader(header)
	if err != nil {
		return fmt.Errorf("zip: %w", err)
	}
	if _, err := f.Write(body); err != nil {
		return fmt.Errorf("zip: %w", err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("zip: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return fmt.Errorf("zip: %w", err)
	}
	return os.WriteFile(out, archive.Bytes(), 0o644)
}
