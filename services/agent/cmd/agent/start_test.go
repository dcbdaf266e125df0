package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// fail runs the agent, which must not start, and returns its exit status and what it printed.
func fail(t *testing.T, environment ...string) (status int, stdout, stderr string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), binary)
	command.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, environment...)
	var out, err bytes.Buffer
	command.Stdout, command.Stderr = &out, &err
	var exit *exec.ExitError
	if err := command.Run(); !errors.As(err, &exit) {
		t.Fatalf("the agent ended with %v, want an exit status", err)
	}
	return exit.ExitCode(), out.String(), err.String()
}

// Every fault of the configuration is listed at once, one a line, with its variable, the rule and the value got.
func TestWrongConfiguration(t *testing.T) {
	t.Parallel()
	status, stdout, stderr := fail(t, "GATEWAY_AUTH=workload", "MAX_TURNS=none", "INVOCATION_TIMEOUT=1h", "PORT=http", "TOKEN_CLIENT_IDS=a",
		"LOG_LEVEL=loud", "GUARDRAIL_VERSION=1", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=localhost:4318")
	const want = `agent: wrong configuration:
GATEWAY_URL: is required: the MCP endpoint of the Gateway
MAX_TURNS: must be a whole number from 1 to 100, got "none"
INVOCATION_TIMEOUT: must be a duration such as 30s, above 0 and at most 15m0s, got "1h"
PORT: must be a whole number from 0 to 65535, got "http"
LOG_LEVEL: must be one of debug, info, warn, error, got "loud"
OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: must be an http or https URL
AWS_REGION: is required: Bedrock is called in it
OAUTH_PROVIDER_NAME: is required with GATEWAY_AUTH=workload
GUARDRAIL_VERSION: is set without GUARDRAIL_ID, got "1"
TOKEN_ISSUER: is required with TOKEN_CLIENT_IDS or TOKEN_JWKS_URL, which alone verify nothing
`
	if status != 2 || stdout != "" || stderr != want {
		t.Errorf("exit status %d, stdout %q, stderr:\n%s\nwant 2, nothing, and:\n%s", status, stdout, stderr, want)
	}
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	status, _, stderr := fail(t, "GATEWAY_URL=http://127.0.0.1:1", "AWS_REGION=us-east-1", "PORT="+port)
	if status != 1 || !strings.Contains(stderr, "agent: listen on PORT: ") || !strings.Contains(stderr, "address already in use") {
		t.Errorf("exit status %d, stderr %q; want 1 and why", status, stderr)
	}
}

// pipe is a listener with one connection, in the time of synctest.
type pipe struct {
	conn   chan net.Conn
	closed chan struct{}
}

func (p pipe) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conn:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p pipe) Close() error { close(p.closed); return nil }
func (pipe) Addr() net.Addr { return &net.UnixAddr{} }

// What still runs when the grace is over is cancelled, and its client is told; TestGracefulStop has what ends in time.
func TestStopCancelsAfterTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		client, conn := net.Pipe()
		defer client.Close()
		listener := pipe{conn: make(chan net.Conn, 1), closed: make(chan struct{})}
		listener.conn <- conn
		served, entered := make(chan error, 1), make(chan struct{})
		go func() {
			served <- serve(ctx, listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				close(entered)
				<-r.Context().Done()
				_, _ = io.WriteString(w, "cancelled") // read below
			}))
		}()
		if _, err := io.WriteString(client, "GET / HTTP/1.0\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		<-entered
		begun := time.Now()
		stop()
		answer, err := io.ReadAll(client)
		if err != nil || !strings.HasSuffix(string(answer), "cancelled") || time.Since(begun) != grace {
			t.Errorf("after %s: %q, %v; want the answer of a cancelled request after %s", time.Since(begun), answer, err, grace)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
}
