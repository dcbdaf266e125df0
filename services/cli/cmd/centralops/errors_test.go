package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestErrors is the golden file of what people read when something is wrong: each a line with the
// cause and the next command to try.
func TestErrors(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	c := signedInCLI(t, d)
	outside := newCLI(t)
	var transcript strings.Builder
	show := func(title string, c *cli, args ...string) {
		t.Helper()
		got := c.run(args...)
		for i, arg := range args {
			if strings.ContainsAny(arg, " <") || arg == "" {
				args[i] = `"` + arg + `"`
			}
		}
		fmt.Fprintf(&transcript, "# %s\n$ centralops %s\n%s%s--> %d\n\n", title, strings.Join(args, " "), got.stdout, got.stderr, got.status)
		if got.status == 0 || strings.Count(got.stderr, "\n") != 1 || !strings.Contains(got.stderr, "; try: ") {
			t.Errorf("%s: want one line with the next step on standard error and a status that is not 0: %+v", title, got)
		}
	}
	refuse := func(status int, kind, message string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("x-amzn-ErrorType", kind)
			w.WriteHeader(status)
			writeJSON(w, map[string]string{"message": message})
		}
	}
	frames := func(frames ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { stream(w, frames...) }
	}

	show("unknown command", outside, "aks")
	show("help about what does not exist", outside, "help", "aks")
	show("a shell that is not known", outside, "completion", "csh")
	show("unknown flag", outside, "ask", "--jason", "x")
	show("no question", outside, "ask")
	show("a question without quotes", outside, "ask", "what", "runs?")
	show("an empty question", outside, "ask", "")
	show("two formats", outside, "ask", "--json", "--csv", "x")
	show("a bad timeout", outside, "ask", "--timeout", "soon", "x")
	show("no time at all", outside, "chat", "--timeout", "0")
	outside.stdin = strings.Repeat("x", 1<<20)
	show("a question that no agent takes", outside, "ask", "-")
	outside.stdin = ""
	show("a session id that is too short", outside, "ask", "--session", "abc", "x")
	show("nothing is configured", outside, "ask", "x")
	show("a profile that does not exist", outside, "ask", "--profile", "prod", "x")
	show("a profile name that is none", outside, "ask", "--profile", "../x", "x")
	show("a setting that can't be right", c, "ask", "--runtime-arn", "arn:aws:lambda:us-east-1:1:x", "x")
	show("a URL to which no token may be sent", c, "ask", "--runtime-url", "http://example.com", "x")
	show("a URL beside the question's to which none may be sent", c, "ask", "--gateway-url", "http://example.com/mcp", "--cognito-endpoint", "http://example.com", "x")
	show("login without a terminal", c, "login")
	c.stdin = "wrong\n"
	show("a wrong password", c, "login", "--username", "alice", "--password-stdin")
	d.pageRefuses = "redirect_mismatch"
	show("a port that the app client does not allow", c, "login", "--browser", "--no-open", "--callback-port", "0")
	d.pageRefuses = "invalid_request"
	show("pages that do not know the app client", c, "login", "--browser", "--no-open", "--callback-port", "0")
	d.pageRefuses = ""
	show("pages that nobody serves", c, "login", "--browser", "--no-open", "--callback-port", "0", "--hosted-ui", "http://127.0.0.1:1")
	show("a client that does not exist", c, "login", "--client-id", "gone", "--username", "alice", "--password-stdin")
	d.mfa = "123456"
	c.stdin = d.password + "\n000000\n"
	show("a wrong code", c, "login", "--username", "alice", "--password-stdin")
	d.mfa, d.temporary = "", true
	c.stdin = d.password + "\n"
	show("a temporary password without a terminal", c, "login", "--username", "alice", "--password-stdin")
	d.temporary, c.stdin = false, ""

	show("the runtime does not exist", c, "ask", "--quiet", "--runtime-arn", testARN+"x", "x")
	for _, refused := range []struct {
		status        int
		kind, message string
	}{
		{400, "ValidationException", "requireMMDSV2 must be true"},
		{402, "ServiceQuotaExceededException", "too many sessions"},
		{403, "AccessDeniedException:http://internal.amazon.com/coral/", "not authorized"},
		{424, "RuntimeClientError", "Received error (500) from runtime."},
		{429, "ThrottlingException", "Rate exceeded"},
		{500, "InternalServerException", "internal"},
		{504, "", "upstream timed out"},
	} {
		d.answer = refuse(refused.status, refused.kind, refused.message)
		show(fmt.Sprintf("the Runtime answers %d", refused.status), c, "ask", "--quiet", "x")
	}
	d.answer = frames(`{"type":"error","code":"conflict","message":"the session belongs to somebody else","hint":"another session id"}`)
	show("the agent reports an error", c, "ask", "--quiet", "x")
	d.answer = frames(expires...)
	show("the token expires in mid-stream", c, "ask", "--quiet", "x")
	show("the token expires in mid-stream, JSON", c, "ask", "--quiet", "--json", "x")
	d.answer = frames(complete[0])
	show("the stream ends too early", c, "ask", "--quiet", "x")
	d.answer = frames(`not json`)
	show("what answers is no agent", c, "ask", "--quiet", "x")
	d.answer = func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	show("no whole answer in time", c, "ask", "--quiet", "--timeout", "200ms", "x")
	d.answer = frames(complete...)
	show("no table for CSV", c, "ask", "--quiet", "--csv", "x")
	d.answer = refuse(429, "ThrottlingException", "Rate exceeded")
	show("JSON has the error too", c, "ask", "--quiet", "--json", "x")

	d.bridge.status = 502
	show("the Gateway answers 502", c, "accounts")
	d.bridge.status = 401
	show("the Gateway takes no token of people", c, "accounts")
	d.bridge = behindGateway{fail: map[string]string{"list_accounts": ""}}
	show("the bridge fails", c, "accounts")
	d.bridge = behindGateway{tools: []string{}}
	show("there is no bridge", c, "accounts")

	d.expire()
	d.endSignIns()
	show("the sign-in has expired", c, "ask", "--quiet", "x")
	if err := os.WriteFile(c.tokensFile(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	show("the tokens are damaged", c, "ask", "--quiet", "x")
	c.env = append(c.env, "CENTRALOPS_ACCESS_TOKEN=x")
	show("a token from the environment that does not pass", c, "ask", "--quiet", "x")
	show("a token from the environment that does not pass, JSON", c, "ask", "--quiet", "--json", "x")
	c.stdin = "wrong\n"
	show("a wrong password, beside a token from the environment", c, "login", "--username", "alice", "--password-stdin")
	show("a token from the environment that is none", c, "whoami")
	// Not the closed port of the deployment: somebody else may have it by now.
	show("nobody listens", c, "ask", "--quiet", "--runtime-url", "http://127.0.0.1:1", "x")
	c.env = append(c.env, "CENTRALOPS_ACCESS_TOKEN=", "CENTRALOPS_CONFIG_DIR=/dev/null/central-ops")
	c.stdin = d.password + "\n"
	show("a folder that nobody can make", c, "login", "--username", "alice", "--password-stdin")

	ports := regexp.MustCompile(`localhost:\d+`)
	text := strings.NewReplacer(strings.TrimPrefix(d.server.URL, "http://"), "HOST", c.home, "HOME", outside.home, "HOME").Replace(ports.ReplaceAllString(transcript.String(), "localhost:PORT"))
	golden(t, filepath.Join("testdata", "errors.txt"), text)
}
