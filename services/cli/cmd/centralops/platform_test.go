//go:build e2e

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestOnPlatform signs in, asks, chats, exports and breaks things against a platform that runs:
//
//	CENTRALOPS_E2E_PROFILE=build/local/profile.json CENTRALOPS_E2E_USERNAME=alice CENTRALOPS_E2E_PASSWORD=... \
//	go test -tags e2e -run TestOnPlatform ./cmd/centralops
//
// The person must be allowed to query all accounts.
func TestOnPlatform(t *testing.T) {
	env := map[string]string{}
	for _, name := range []string{"CENTRALOPS_E2E_PROFILE", "CENTRALOPS_E2E_USERNAME", "CENTRALOPS_E2E_PASSWORD"} {
		if env[name] = os.Getenv(name); env[name] == "" {
			t.Fatalf("%s is not set", name)
		}
	}
	profile, err := filepath.Abs(env["CENTRALOPS_E2E_PROFILE"])
	if err != nil {
		t.Fatal(err)
	}
	c := newCLI(t)
	c.dir = t.TempDir()
	if got := c.run("configure", "--from-file", profile); got.status != 0 {
		t.Fatalf("configure: %+v", got)
	}

	c.stdin = "not the password\n"
	if got := c.run("login", "--username", env["CENTRALOPS_E2E_USERNAME"], "--password-stdin"); got.status != 1 || !strings.Contains(got.stderr, "unauthenticated") {
		t.Errorf("login with a wrong password: %+v", got)
	}
	c.stdin = ""
	s := c.start(120, "login", "--username", env["CENTRALOPS_E2E_USERNAME"])
	s.wait("Password: ")
	s.send(env["CENTRALOPS_E2E_PASSWORD"] + "\r")
	s.wait("Signed in to")
	if status, text := s.end(); status != 0 || strings.Contains(text, env["CENTRALOPS_E2E_PASSWORD"]) {
		t.Fatalf("login: status %d:\n%s", status, text)
	}

	const question = "How many S3 buckets are there in all accounts?"
	got := c.run("ask", "--json", "--quiet", question)
	var answer struct {
		Response string
		Coverage struct{ Targets, Answered int }
		Receipts []struct {
			SourceIdentity string `json:"source_identity"`
		}
	}
	if err := json.Unmarshal([]byte(got.stdout), &answer); err != nil {
		t.Fatalf("%v: %+v", err, got)
	}
	if got.status != 0 || answer.Response == "" || answer.Coverage.Targets == 0 || answer.Coverage.Answered != answer.Coverage.Targets ||
		len(answer.Receipts) != answer.Coverage.Targets || answer.Receipts[0].SourceIdentity != env["CENTRALOPS_E2E_USERNAME"] {
		t.Errorf("ask: %+v", got)
	}

	s = c.start(120, "chat")
	s.wait("> ")
	s.send(question + "\r")
	s.wait("targets answered.")
	s.wait("\n> ")
	s.send("List EC2 instances in Production in us-east-1\r")
	s.wait("web-1")
	s.wait("\n> ")
	s.send("/accounts\r")
	s.wait("CentralOpsTargetRole")
	s.wait("\n> ")
	for _, name := range []string{"talk.md", "talk.json", "talk.csv"} {
		s.send("/export " + name + "\r")
		s.wait("Written to " + name)
		s.wait("\n> ")
	}
	s.send("\x04")
	if status, text := s.end(); status != 0 {
		t.Errorf("chat: status %d:\n%s", status, text)
	}
	if raw, err := os.ReadFile(filepath.Join(c.dir, "talk.md")); err != nil || !strings.Contains(string(raw), question) || !strings.Contains(string(raw), "**Coverage:**") {
		t.Errorf("export: %v:\n%s", err, raw)
	}

	if raw, err := os.ReadFile(filepath.Join(c.dir, "talk.csv")); err != nil || strings.Count(string(raw), "\n") < 2 {
		t.Errorf("export of the table: %v:\n%s", err, raw)
	}

	// Each way in which asking goes wrong: one line with the cause and the next step, and its status.
	for name, wrong := range map[string]struct {
		args   []string
		status int
		line   string
	}{
		"profile":             {[]string{"ask", "--profile", "prod", "x"}, 2, "try: --profile local"},
		"endpoint":            {[]string{"ask", "--quiet", "--runtime-url", "http://127.0.0.1:1", "x"}, 1, "connection refused; try: centralops doctor"},
		"runtime":             {[]string{"ask", "--quiet", "--runtime-arn", testARN + "x", "x"}, 1, "not_found"},
		"qualifier":           {[]string{"ask", "--quiet", "--qualifier", "canary", "x"}, 1, "not_found"},
		"session id":          {[]string{"ask", "--session", "short", "x"}, 2, "33 to 256"},
		"no time":             {[]string{"ask", "--quiet", "--timeout", "1ms", question}, 1, "timeout"},
		"no table":            {[]string{"ask", "--quiet", "--csv", "Hello?"}, 1, "the answer has no table"},
		"unknown account":     {[]string{"ask", "--quiet", "List EC2 instances in account 999999999999"}, 1, ""},
		"gateway, accounts":   {[]string{"accounts", "--gateway-url", "http://127.0.0.1:1/mcp"}, 1, "connection refused; try: centralops doctor"},
		"formats, two of one": {[]string{"ask", "--json", "--csv", "x"}, 2, "exclude each other"},
	} {
		got := c.run(wrong.args...)
		if got.status != wrong.status || strings.Count(got.stderr, "\n") > 1 || !strings.Contains(got.stderr, wrong.line) {
			t.Errorf("wrong %s: want status %d and one line with %q: %+v", name, wrong.status, wrong.line, got)
		}
	}

	for _, name := range []string{"whoami", "accounts"} {
		if got := c.run(name); got.status != 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
	found, status := c.doctor()
	if failed := found.withStatus(checkFailed); len(failed) > 0 || status != 0 {
		t.Errorf("doctor finds %q broken: %+v", failed, found.Checks)
	}
	for setting, broken := range map[string]string{
		"CENTRALOPS_CLIENT_ID=another":                                 "sign-in",
		"CENTRALOPS_DISCOVERY_URL=http://127.0.0.1:1/x":                "discovery document",
		"CENTRALOPS_RUNTIME_ARN=" + testARN + "x":                      "Runtime",
		"CENTRALOPS_RUNTIME_URL=http://127.0.0.1:1":                    "Runtime refuses",
		"CENTRALOPS_GATEWAY_URL=http://127.0.0.1:1/mcp":                "Gateway refuses",
		"CENTRALOPS_ACCESS_TOKEN=e30.e30.x":                            "token claims",
		"CENTRALOPS_MCP_ENDPOINT=http://127.0.0.1:1/mcp":               "AWS MCP tool list",
		"CENTRALOPS_COGNITO_ENDPOINT=http://not-this-machine.internal": "configuration",
	} {
		changed := *c
		changed.env = append(append([]string{}, c.env...), setting)
		found, status := changed.doctor("--no-model")
		if failed := found.withStatus(checkFailed); !slices.Contains(failed, broken) || status != 1 {
			t.Errorf("with %s doctor finds %q broken with status %d, want %s and 1", setting, failed, status, broken)
		}
	}
	// The local platform's Cognito can't revoke tokens; logout says so, and removes them all the same.
	c.run("logout")
	if got := c.run("ask", "x"); got.status != 1 || !strings.Contains(got.stderr, "try: centralops login") {
		t.Errorf("ask after logout: %+v", got)
	}
}
