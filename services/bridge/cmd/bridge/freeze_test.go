package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

// TestConnectionsAfterAFreeze stops the process as Lambda does between two invocations, closes every
// connection that it keeps idle (HTTP/1.1, a dozen to the upstream and some to STS), and asks again.
func TestConnectionsAfterAFreeze(t *testing.T) {
	t.Parallel()
	var accounts []string
	for n := range 12 {
		accounts = append(accounts, fmt.Sprintf(`{"id":"%012d"}`, 500000000000+n))
	}
	b := start(t, "TARGET_ACCOUNTS=["+strings.Join(accounts, ",")+"]", "AWS_MAX_ATTEMPTS=3")
	ask := func(service, operation string) {
		t.Helper()
		got := b.call(b.token("ops"), "query", fmt.Sprintf(`{"accounts":["all"],"service":%q,"operation":%q}`, service, operation))
		if got.Coverage.Answered != len(accounts) {
			t.Fatalf("%s: %+v (%+v)", got.statuses(), got.Coverage, got.Error)
		}
	}
	signal := func(s syscall.Signal) {
		t.Helper()
		if err := b.process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	opened := func() (n int) { // without the bridge's own session, which is opened in the background
		b.mcp.mu.Lock()
		defer b.mcp.mu.Unlock()
		for account, tries := range b.mcp.tries {
			if account != "111111111111" {
				n += tries
			}
		}
		return n
	}
	ask("ec2", "DescribeInstances")
	assumed := b.sts.assumed()
	for range 3 {
		signal(syscall.SIGSTOP)
		b.mcp.server.CloseClientConnections()
		b.sts.server.CloseClientConnections()
		signal(syscall.SIGCONT)
		ask("ec2", "DescribeInstances")
	}
	if n := opened(); n != len(accounts) || b.sts.assumed() != assumed {
		t.Errorf("%d MCP sessions for %d accounts, and %d more role sessions", n, len(accounts), b.sts.assumed()-assumed)
	}
	signal(syscall.SIGSTOP)
	b.mcp.server.CloseClientConnections()
	b.sts.server.CloseClientConnections()
	signal(syscall.SIGCONT)
	ask("iam", "ListUsers") // another service: needs STS, too
}

// TestLargeAnswer: one account answers with more than Lambda's 6 MB; the bridge reads it all and passes on
// what fits, with the true count.
func TestLargeAnswer(t *testing.T) {
	t.Parallel()
	const rows = 7
	padding := strings.Repeat("x", 1<<20)
	b := start(t)
	b.mcp.set(func(m *fakeMCP) {
		m.reply = func(scriptRun, string) any {
			users := []any{}
			for n := range rows {
				users = append(users, map[string]any{"UserName": fmt.Sprint(n), "Path": padding})
			}
			return map[string]any{"document": map[string]any{"Users": users}, "calls": 1, "more": false}
		}
	})
	got := b.call(b.token("ops"), "query", `{"accounts":["Production"],"service":"iam","operation":"ListUsers"}`)
	if got.statuses() != "222/global=ok" || got.Results[0].Count != rows || len(got.Results[0].Data) != 0 || !got.Truncated {
		t.Errorf("whole rows: %s, count %d, %d shown, truncated %v (%+v)", got.statuses(), got.Results[0].Count, len(got.Results[0].Data), got.Truncated, got.Error)
	}
	got = b.call(b.token("ops"), "query", `{"accounts":["Production"],"service":"iam","operation":"ListUsers","select":"Users[].UserName"}`)
	if got.Results[0].Count != rows || len(got.Results[0].Data) != rows || got.Truncated {
		t.Errorf("selected: %s, count %d, %d shown, truncated %v (%+v)", got.statuses(), got.Results[0].Count, len(got.Results[0].Data), got.Truncated, got.Error)
	}
}

// TestTooLargeAnswer: over 32 MB the bridge stops reading and says so; the other accounts answer.
func TestTooLargeAnswer(t *testing.T) {
	t.Parallel()
	b := start(t)
	block := strings.Repeat("x", 1<<20)
	b.mcp.set(func(m *fakeMCP) {
		m.fault = func(w http.ResponseWriter, _ *http.Request, id int64, run scriptRun) bool {
			if run.Account != "222222222222" {
				return false
			}
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%d,"result":{"structuredContent":{"status":"success","return_value":"`, id)
			for range 33 {
				if _, err := io.WriteString(w, block); err != nil {
					return true
				}
			}
			_, _ = io.WriteString(w, `"}}}`)
			return true
		}
	})
	got := b.call(b.token("ops"), "query", `{"accounts":["all"],"service":"ec2","operation":"DescribeInstances"}`)
	if got.statuses() != "111/us-east-1=ok 222/us-east-1=failed 333/us-east-1=ok" {
		t.Fatalf("%s %+v", got.statuses(), got.Error)
	}
	if failure := got.Results[1].Error; failure == nil || failure.Code != "unavailable" || !strings.Contains(failure.Message, "larger than 32 MB") || failure.Hint == "" {
		t.Errorf("%+v", failure)
	}
}

// TestSessionQuota: initialize is refused for the quota of sessions, twice, and for ever.
func TestSessionQuota(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		refusals int
		after    string
		want     string
	}{
		"for a moment": {2, "0.01", "ok"},
		"for long":     {1 << 30, "3000", "throttled"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			b.mcp.set(func(m *fakeMCP) {
				m.initialize = func(w http.ResponseWriter, account string, n int) bool {
					if account != "222222222222" || n > c.refusals {
						return false
					}
					w.Header().Set("Retry-After", c.after)
					w.WriteHeader(http.StatusTooManyRequests)
					_ = json.NewEncoder(w).Encode(map[string]string{"message": "Too many active sessions"})
					return true
				}
			})
			got := b.call(b.token("ops"), "query", `{"accounts":["all"],"service":"ec2","operation":"DescribeInstances"}`)
			if want := "111/us-east-1=ok 222/us-east-1=" + c.want + " 333/us-east-1=ok"; got.statuses() != want {
				t.Errorf("%s, want %s (%+v)", got.statuses(), want, got.Results[1].Error)
			}
		})
	}
}
