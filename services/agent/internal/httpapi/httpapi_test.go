package httpapi

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	agent "github.com/central-ops/central-ops/services/agent"
)

// talker writes until its context ends.
type talker struct{ err chan error }

func (r talker) Run(ctx context.Context, _ agent.Invocation, events agent.Events) (agent.Answer, error) {
	for ctx.Err() == nil {
		if events != nil {
			events.Text(strings.Repeat("x", 1000))
		} else {
			<-ctx.Done()
		}
	}
	r.err <- context.Cause(ctx)
	return agent.Answer{}, ctx.Err()
}

type anybody struct{}

func (anybody) Subject(context.Context, string) (string, time.Time, error) {
	return "alice", time.Time{}, nil
}

// pipes is a listener whose connections are pipes: they hold nothing back, so whoever does not read stops the writer.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	conn, open := <-p
	if !open {
		return nil, net.ErrClosed
	}
	return conn, nil
}
func (pipes) Close() error   { return nil }
func (pipes) Addr() net.Addr { return &net.UnixAddr{} }

// serve answers on one pipe in the time of synctest.
func serve(t *testing.T, runner Runner) net.Conn {
	t.Helper()
	server := &http.Server{
		Handler:  New(runner, anybody{}, Config{Log: slog.New(slog.DiscardHandler), Cost: func(agent.Usage) (float64, bool) { return 0, false }}),
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0),
	}
	client, conn := net.Pipe()
	listener := make(pipes, 1)
	listener <- conn
	go server.Serve(listener) //nolint:errcheck // it ends with the listener
	t.Cleanup(func() {
		client.Close()
		close(listener)
	})
	return client
}

// A client that stops reading is one that has gone: its invocation ends, and with it the hold on its session.
func TestClientThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runner := talker{err: make(chan error, 1)}
		client := serve(t, runner)
		begun := time.Now()
		if _, err := io.WriteString(client, "POST /invocations HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nContent-Length: 14\r\n\r\n{\"prompt\":\"a\"}"); err != nil {
			t.Fatal(err)
		}
		if _, err := bufio.NewReaderSize(client, 16).ReadByte(); err != nil { // and no more
			t.Fatal(err)
		}
		if err := <-runner.err; err == nil || time.Since(begun) != writeTimeout {
			t.Errorf("the invocation ended with %v after %s, want it cancelled after %s", err, time.Since(begun), writeTimeout)
		}
	})
}

// A client that never ends its body gets an error and not a worker for ever.
func TestClientThatDoesNotSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := serve(t, talker{})
		begun := time.Now()
		if _, err := io.WriteString(client, "POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"prompt\":"); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil || !strings.Contains(string(body), "the body broke off") || time.Since(begun) != bodyTimeout {
			t.Errorf("after %s: %s %v, want an error after %s", time.Since(begun), body, err, bodyTimeout)
		}
	})
}
