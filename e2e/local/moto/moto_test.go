package moto_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/central-ops/central-ops/e2e/local/moto"
	"github.com/central-ops/central-ops/e2e/local/motoenv"
)

func TestStartAnswersAndCloseEndsTheProcess(t *testing.T) {
	t.Parallel()
	server, err := moto.Start(t.Context(), moto.Config{Python: motoenv.Python(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	resp, err := http.Get(server.URL + "/moto-api/data.json")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("status = %d, want 200", resp.StatusCode)
	}
	server.Close()
	server.Close()
	<-server.Done()
	if resp, err := http.Get(server.URL); err == nil {
		resp.Body.Close()
		t.Error("moto still answers after Close")
	}
}

func TestStartSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	silent := filepath.Join(t.TempDir(), "python")
	if err := os.WriteFile(silent, []byte("#!/bin/sh\nread line\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		ctx    context.Context
		python string
		want   string
	}{
		{"no interpreter", t.Context(), "", "no Python interpreter given"},
		{"interpreter does not exist", t.Context(), "/nonexistent/python", "try: rm -rf .venv; make python"},
		{"interpreter ends at once", t.Context(), "/bin/false", "ended before it was ready: exit status 1\n  try: rm -rf .venv; make python"},
		{"start is given up", cancelled, silent, "timeout"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			server, err := moto.Start(tc.ctx, moto.Config{Python: tc.python})
			if err == nil {
				server.Close()
				t.Fatal("Start succeeded")
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %q does not say %q", err, tc.want)
			}
		})
	}
}
