package awsmcp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/central-ops/central-ops/services/bridge"
)

// upstream answers initialize with a new session each time and run_script in a known session only.
type upstream struct {
	opened atomic.Int64
	// initialize may answer in its own way; true means that it did.
	initialize func(w http.ResponseWriter, n int64) bool
	// script writes the value of the result of run_script; nil means 1.
	script func(w io.Writer)
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var message struct {
		ID     int64
		Method string
	}
	if err := json.NewDecoder(r.Body).Decode(&message); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	switch message.Method {
	case "initialize":
		n := u.opened.Add(1)
		if u.initialize != nil && u.initialize(w, n) {
			return
		}
		w.Header().Set("Mcp-Session-Id", fmt.Sprintf("session-%d", n))
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%d,"result":{}}`, message.ID)
	case "notifications/initialized":
		w.WriteHeader(http.StatusAccepted)
	default:
		if !strings.HasPrefix(r.Header.Get("Mcp-Session-Id"), "session-") {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%d,"result":{"structuredContent":{"status":"success","return_value":`, message.ID)
		if u.script == nil {
			_, _ = io.WriteString(w, "1")
		} else {
			u.script(w)
		}
		_, _ = io.WriteString(w, `}}}`)
	}
}

func (u *upstream) client(t *testing.T) *Client {
	t.Helper()
	server := httptest.NewServer(u)
	t.Cleanup(server.Close)
	return New(server.Client(), nil, slog.New(slog.DiscardHandler), Config{Endpoint: server.URL, Region: "us-east-1"})
}

func roleOf(account, key string) bridge.RoleSession {
	return bridge.RoleSession{Account: bridge.AccountID(account), RoleARN: "arn:aws:iam::" + account + ":role/target", SessionName: "central-ops-dev",
		Credentials: bridge.Credentials{AccessKeyID: key, SecretAccessKey: "s", SessionToken: "t"}}
}

// TestOneSessionForEachRole: however many ask at once, with whatever credentials, each account gets
// one MCP session; the server allows 180 for an account and 90 for a principal.
func TestOneSessionForEachRole(t *testing.T) {
	t.Parallel()
	u := &upstream{}
	client := u.client(t)
	var all sync.WaitGroup
	const accounts, askers = 20, 8
	for n := range accounts * askers {
		role := roleOf(fmt.Sprintf("%012d", n%accounts), fmt.Sprintf("ASIA%d", n)) // a person's, a service's
		all.Go(func() {
			if got, err := client.Run(t.Context(), role, "us-east-1", "1"); err != nil || string(got.Value) != "1" {
				t.Errorf("%s: %s, %v", role.Account, got.Value, err)
			}
		})
	}
	all.Wait()
	if n := u.opened.Load(); n != accounts {
		t.Errorf("%d sessions were opened for %d accounts", n, accounts)
	}
}

// TestStreamsLeftOpen: a server may frame every answer as events, that to a notification too, and leave each stream open.
func TestStreamsLeftOpen(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var message struct {
			ID     int64
			Method string
		}
		_ = json.NewDecoder(r.Body).Decode(&message)
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Mcp-Session-Id", "session-1")
		if message.ID > 0 {
			fmt.Fprintf(w, "event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":%d,\"result\":{\"structuredContent\":{\"return_value\":1}}}\n\n", message.ID)
		}
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	client := New(server.Client(), nil, slog.New(slog.DiscardHandler), Config{Endpoint: server.URL, Region: "us-east-1"})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if got, err := client.Run(ctx, roleOf("111111111111", "ASIA1"), "us-east-1", "1"); err != nil || string(got.Value) != "1" {
		t.Errorf("%s, %v", got.Value, err)
	}
}

// TestTooManySessions: the quota of sessions is waited for, and named if it stays used up.
func TestTooManySessions(t *testing.T) {
	t.Parallel()
	refuse := func(w http.ResponseWriter, after string) bool {
		w.Header().Set("Retry-After", after)
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = io.WriteString(w, `{"message":"Too many active sessions"}`)
		return true
	}
	patient := &upstream{initialize: func(w http.ResponseWriter, n int64) bool { return n <= 2 && refuse(w, "0.01") }}
	if got, err := patient.client(t).Run(t.Context(), roleOf("111111111111", "ASIA1"), "us-east-1", "1"); err != nil || string(got.Value) != "1" {
		t.Errorf("after two refusals: %s, %v", got.Value, err)
	}
	used := &upstream{initialize: func(w http.ResponseWriter, _ int64) bool { return refuse(w, "0.01") }}
	_, err := used.client(t).Run(t.Context(), roleOf("111111111111", "ASIA1"), "us-east-1", "1")
	if bridge.CodeOf(err) != bridge.Throttled || !strings.Contains(err.Error(), "Too many active sessions") {
		t.Errorf("refused for ever: %v", err)
	}
	if n := used.opened.Load(); n != maxAttempts {
		t.Errorf("initialize was sent %d times, want %d", n, maxAttempts)
	}
}

// TestAbsurdWaits: a date in a far century and a number beyond all time are long, not no time at all.
func TestAbsurdWaits(t *testing.T) {
	t.Parallel()
	u := &upstream{initialize: func(w http.ResponseWriter, _ int64) bool {
		w.Header().Set("Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT")
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := u.client(t).Run(ctx, roleOf("111111111111", "ASIA1"), "us-east-1", "1"); bridge.CodeOf(err) != bridge.Throttled || u.opened.Load() != 1 {
		t.Errorf("%v after %d attempts, want one", err, u.opened.Load())
	}
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if err := (&Client{}).wait(t.Context(), bridge.RoleSession{}, 1e300); err != nil || time.Since(start) != longTaskPause {
			t.Errorf("waited %v for a task, want %v (%v)", time.Since(start), longTaskPause, err)
		}
	})
}

// A refusal is told in the server's words, not in its JSON or HTML.
func TestRefusalsInWords(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"jsonrpc":"2.0","id":4711,"result":null,"error":{"code":-32004,"message":"Too many requests."}}`: "HTTP 429 Too many requests.",
		`{"__type":"ThrottlingException","message":"Rate exceeded"}`:                                       "HTTP 429 ThrottlingException Rate exceeded",
		"<html><body><h1>429</h1></body></html>":                                                           "HTTP 429 Too Many Requests",
		"slow down":                                                                                        "HTTP 429 slow down",
		"":                                                                                                 "HTTP 429",
	} {
		u := &upstream{initialize: func(w http.ResponseWriter, _ int64) bool {
			w.Header().Set("Retry-After", "0.01")
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = io.WriteString(w, body)
			return true
		}}
		_, err := u.client(t).Run(t.Context(), roleOf("111111111111", "ASIA1"), "us-east-1", "1")
		var known *bridge.Error
		if !errors.As(err, &known) || known.Code != bridge.Throttled || known.Err.Error() != want {
			t.Errorf("%q is told as %v, want %s", body, err, want)
		}
	}
}

// The bridge's own credentials are not the person's business: nobody is asked to sign in when they are refused.
func TestHubsCredentialsRefused(t *testing.T) {
	t.Parallel()
	u := &upstream{initialize: func(w http.ResponseWriter, _ int64) bool {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"__type":"InvalidSignatureException","message":"Signature expired"}`)
		return true
	}}
	own := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "secret"}, nil
	})
	hub := NewHub(u.client(t), own, "us-east-1", slog.New(slog.DiscardHandler))
	_, err := hub.Call(t.Context(), "search_documentation", json.RawMessage(`{}`))
	var known *bridge.Error
	if !errors.As(err, &known) || known.Code != bridge.Unavailable || !strings.Contains(err.Error(), "Signature expired") || known.Hint == "" {
		t.Errorf("%v", err)
	}
}

// What encoding/json reads is read: a name twice, half of a surrogate pair, bytes that are not UTF-8.
func TestOddAnswers(t *testing.T) {
	t.Parallel()
	for _, value := range []string{`{"a":1,"a":2}`, `{"a":"\ud83d"}`, "{\"a\":\"\xff\"}"} {
		u := &upstream{script: func(w io.Writer) { _, _ = io.WriteString(w, value) }}
		got, err := u.client(t).Run(t.Context(), roleOf("111111111111", "ASIA1"), "us-east-1", "1")
		if want := strings.ToValidUTF8(value, "\uFFFD"); err != nil || string(got.Value) != want {
			t.Errorf("%q: %q, %v", value, got.Value, err)
		}
	}
}

func TestAnswerSizes(t *testing.T) {
	t.Parallel()
	block := bytes.Repeat([]byte("x"), 1<<20)
	sized := func(megabytes int) *upstream {
		return &upstream{script: func(w io.Writer) {
			_, _ = io.WriteString(w, `"`)
			for range megabytes {
				_, _ = w.Write(block)
			}
			_, _ = io.WriteString(w, `"`)
		}}
	}
	got, err := sized(7).client(t).Run(t.Context(), roleOf("111111111111", "ASIA1"), "us-east-1", "1")
	if want := 7<<20 + 2; err != nil || len(got.Value) != want {
		t.Errorf("7 MB: %d bytes, want %d (%v)", len(got.Value), want, err)
	}
	_, err = sized(33).client(t).Run(t.Context(), roleOf("111111111111", "ASIA1"), "us-east-1", "1")
	var known *bridge.Error
	if !errors.As(err, &known) || known.Code != bridge.Unavailable || !strings.Contains(err.Error(), "larger than 32 MB") || known.Hint == "" {
		t.Errorf("33 MB: %v", err)
	}
}
