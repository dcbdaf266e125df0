package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"

	"github.com/central-ops/central-ops/services/cli/internal/markdown"
)

const oneTablePlain = `I ask all accounts.

**Two** instances run.

| Account | Instance | Name |
|---|---|---|
| 222222222222 | i-0aa | web |
| 333333333333 | i-0bb | =HYPERLINK(1) |

That is all.

**Coverage:** 2 of 3 targets answered, 1 denied. The answer is partial.

**Receipts:** ec2:DescribeInstances in eu-west-1 as CentralOpsTargetRole for alice

| Account | Status |
|---|---|
| Central 111111111111 | denied: no policy permits it |
| Production 222222222222 | ok |
| Staging 333333333333 | ok |
`

func TestAskPiped(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	c := signedInCLI(t, d)
	got := c.run("ask", "what runs?")
	want := result{status: 3, stdout: oneTablePlain, stderr: `! query ec2:DescribeInstances in all, eu-west-1  ██████░░░░ 2 of 3 targets answered, 1 denied  812 ms
Session: centralops-00000000000000000000000000000000
`}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(result{})); diff != "" {
		t.Errorf("ask mismatch (-want +got):\n%s", diff)
	}
}

func TestAskCSV(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	c := signedInCLI(t, d)
	got := c.run("ask", "--csv", "--quiet", "what runs?")
	if want := "Account,Instance,Name\n222222222222,i-0aa,web\n333333333333,i-0bb,'=HYPERLINK(1)\n"; got.stdout != want || got.status != 3 {
		t.Errorf("ask --csv printed %q with status %d, want %q and 3", got.stdout, got.status, want)
	}
	if !strings.HasPrefix(got.stderr, "**Coverage:** 2 of 3 targets answered, 1 denied.") {
		t.Errorf("ask --csv does not say on standard error that rows are missing: %q", got.stderr)
	}
}

func TestAskJSON(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	c := signedInCLI(t, d)
	got := c.run("ask", "--json", "--quiet", "what runs?")
	var answer struct {
		Response  string           `json:"response"`
		Coverage  map[string]int   `json:"coverage"`
		Receipts  []map[string]any `json:"receipts"`
		Usage     map[string]int   `json:"usage"`
		SessionID string           `json:"session_id"`
	}
	if err := json.Unmarshal([]byte(got.stdout), &answer); err != nil {
		t.Fatalf("%v in %q", err, got.stdout)
	}
	if got.status != 3 || got.stderr != "" || !strings.HasSuffix(answer.Response, "That is all.") || answer.Coverage["denied"] != 1 ||
		len(answer.Receipts) != 3 || answer.Usage["input_tokens"] != 10 || answer.SessionID == "" {
		t.Errorf("ask --json: status %d, stderr %q, answer %+v", got.status, got.stderr, answer)
	}
}

func TestAskInTerminal(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	c := signedInCLI(t, d)
	status, text := c.start(100, "ask", "what runs?").end()
	want := `I ask all accounts.
! query ec2:DescribeInstances in all, eu-west-1
  ██████░░░░ 2 of 3 targets answered, 1 denied  812 ms

Two instances run.

Account       Instance  Name
────────────  ────────  ─────────────
222222222222  i-0aa     web
333333333333  i-0bb     =HYPERLINK(1)

That is all.

Coverage: 2 of 3 targets answered, 1 denied. The answer is partial.

Receipts: ec2:DescribeInstances in eu-west-1 as CentralOpsTargetRole for alice

Account                  Status
───────────────────────  ────────────────────────────
Central 111111111111     denied: no policy permits it
Production 222222222222  ok
Staging 333333333333     ok
Session: centralops-00000000000000000000000000000000
`
	if diff := cmp.Diff(want, screen(text)); diff != "" || status != 3 {
		t.Errorf("ask in a terminal, status %d, mismatch (-want +got):\n%s", status, diff)
	}
	if !strings.Contains(text, "\x1b[1mTwo\x1b[0m") {
		t.Errorf("bold text is not bold: %q", text)
	}
}

func TestAskStreamsBeforeTheEnd(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	shown := make(chan struct{})
	d.answer = func(w http.ResponseWriter, r *http.Request) {
		stream(w, oneTable[:4]...)
		await(shown, r) // the rest comes only after the terminal has shown the first part
		stream(w, oneTable[4:]...)
	}
	c := signedInCLI(t, d)
	s := c.start(100, "ask", "what runs?")
	s.wait("2 of 3 targets answered")
	s.wait("Two")
	s.wait("answering")
	close(shown)
	if status, _ := s.end(); status != 3 {
		t.Errorf("status %d, want 3", status)
	}
}

func TestAskNoColor(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	c := signedInCLI(t, d)
	c.env = append(c.env, "NO_COLOR=1")
	_, text := c.start(100, "ask", "--quiet", "what runs?").end()
	if strings.Contains(text, "\x1b[") {
		t.Errorf("NO_COLOR is set, and the terminal got escape sequences: %q", text)
	}
}

// A table that does not fit is shown row by row.
func TestAskNarrowTerminal(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	c := signedInCLI(t, d)
	_, text := c.start(30, "ask", "what runs?").end()
	for _, line := range strings.Split(screen(text), "\n") {
		if n := len([]rune(line)); n > 30 && !strings.HasPrefix(line, "Session") {
			t.Errorf("line of %d columns in a terminal of 30: %q", n, line)
		}
	}
	if !strings.Contains(screen(text), "Account: 222222222222\nInstance: i-0aa\nName: web\n") {
		t.Errorf("the table is not shown row by row:\n%s", screen(text))
	}
}

// What comes after the window was made narrower is laid out for the narrower one.
func TestAskInAResizedTerminal(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	resized := make(chan struct{})
	d.answer = func(w http.ResponseWriter, r *http.Request) {
		stream(w, `{"type":"text","text":"first\n\nx"}`)
		await(resized, r)
		stream(w, `{"type":"text","text":"\n\n`+strings.Repeat("word ", 20)+`"}`, complete[1])
	}
	s := signedInCLI(t, d).start(80, "ask", "--quiet", "x")
	s.wait("first")
	if err := pty.Setsize(s.tty, &pty.Winsize{Rows: 40, Cols: 30}); err != nil {
		t.Fatal(err)
	}
	close(resized)
	if _, text := s.end(); strings.Count(screen(text), "word word word word word word\n") != 3 {
		t.Errorf("in a terminal of 30 columns:\n%s", screen(text))
	}
}

// What comes from AWS accounts, such as a tag, must not control the terminal.
func TestAskEscapesAreRemoved(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.answer = func(w http.ResponseWriter, _ *http.Request) {
		stream(w, `{"type":"text","text":"a\u001b]0;pwned\u0007b \u009b2Jc \u202e\u200fd"}`, `{"type":"done","note":"\u009b2J\u2066"}`)
	}
	c := signedInCLI(t, d)
	if got := c.run("ask", "--quiet", "x"); !strings.HasPrefix(got.stdout, "a]0;pwnedb 2Jc d\n") {
		t.Errorf("piped: %q", got.stdout)
	}
	if _, text := c.start(80, "ask", "--quiet", "x").end(); !strings.HasPrefix(text, "a]0;pwnedb 2Jc d\r\n") {
		t.Errorf("terminal: %q", text)
	}
	got := c.run("ask", "--quiet", "--json", "x")
	var whole struct{ Response, Note string }
	if err := json.Unmarshal([]byte(got.stdout), &whole); err != nil || whole.Response != "a\u001b]0;pwned\u0007b \u009b2Jc \u202e\u200fd" || whole.Note != "\u009b2J\u2066" {
		t.Errorf("JSON, which loses nothing: %q, %v", got.stdout, err)
	}
	if got.stdout != markdown.Clean(got.stdout) {
		t.Errorf("JSON controls the terminal: %q", got.stdout)
	}
}

func TestAskRenewsRefusedToken(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.answer = func(w http.ResponseWriter, _ *http.Request) { stream(w, complete...) }
	c := signedInCLI(t, d)
	d.expire()
	if got := c.run("ask", "--quiet", "x"); got.status != 0 || !strings.HasPrefix(got.stdout, "Yes.\n") {
		t.Errorf("after the token was refused: %+v", got)
	}
	issued := d.issued
	if got := c.run("ask", "--quiet", "x"); got.status != 0 || d.issued != issued {
		t.Errorf("the renewed token was not kept: %+v, %d tokens issued after %d", got, d.issued, issued)
	}
}

func TestAskSession(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.answer = func(w http.ResponseWriter, _ *http.Request) { stream(w, complete...) }
	c := signedInCLI(t, d)
	id := "my-session-0123456789-0123456789-01"
	c.run("ask", "--session", id, "one")
	c.stdin = "two\n"
	c.run("ask", "-")
	asked := d.asked()
	if len(asked) != 2 || asked[0] != (invocation{id, "one"}) || asked[1].Prompt != "two" || asked[1].Session == id {
		t.Errorf("the Runtime was sent %+v", asked)
	}
}

// An agent that does not stream answers with one JSON object.
func TestAskWholeAnswer(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.answer = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(`{"response":"Two.","coverage":{"targets":2,"answered":0,"failed":2},"session_id":"s"}`))
	}
	c := signedInCLI(t, d)
	want := result{status: 1, stdout: "Two.\n\n**Coverage:** 0 of 2 targets answered, 2 failed. The answer is partial.\n\n"}
	if diff := cmp.Diff(want, c.run("ask", "--quiet", "x"), cmp.AllowUnexported(result{})); diff != "" {
		t.Errorf("ask mismatch (-want +got):\n%s", diff)
	}
}

// The agent turns a tool that fails into words; the status still says that nobody was asked.
func TestAskToolsInVain(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.answer = func(w http.ResponseWriter, _ *http.Request) {
		stream(w, oneTable[1], `{"type":"tool_result","id":"t1","ok":false,"duration_ms":5}`, `{"type":"text","text":"That didn't work."}`,
			`{"type":"done","coverage":{"targets":0,"answered":0,"denied":0,"failed":0,"skipped":0},"receipts":[],"session_id":"s"}`)
	}
	c := signedInCLI(t, d)
	want := result{status: 1, stdout: "That didn't work.\n", stderr: "✗ query ec2:DescribeInstances in all, eu-west-1  failed  5 ms\nSession: s\n"}
	if diff := cmp.Diff(want, c.run("ask", "x"), cmp.AllowUnexported(result{})); diff != "" {
		t.Errorf("ask mismatch (-want +got):\n%s", diff)
	}
	if got := c.run("ask", "--json", "x"); got.status != 1 {
		t.Errorf("ask --json: %+v", got)
	}
}

// A call whose result got lost on the way is not one in vain: the coverage says what was answered.
func TestAskToolResultMissing(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.answer = func(w http.ResponseWriter, _ *http.Request) { stream(w, append([]string{oneTable[1]}, complete...)...) }
	if got := signedInCLI(t, d).run("ask", "--quiet", "x"); got.status != 0 || !strings.HasPrefix(got.stdout, "Yes.\n") {
		t.Errorf("ask: %+v, want status 0", got)
	}
}

func TestAskInterrupt(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	gone := make(chan struct{})
	d.answer = func(w http.ResponseWriter, r *http.Request) {
		stream(w, `{"type":"text","text":"I think "}`)
		<-r.Context().Done()
		close(gone)
	}
	s := signedInCLI(t, d).start(80, "ask", "slow?")
	s.wait("I think")
	s.send("\x03")
	if status, text := s.end(); status != 1 || !strings.Contains(text, "centralops: ask: cancelled") {
		t.Errorf("status %d: %q", status, text)
	}
	<-gone // the server knows that nobody waits any more
}

// An answer that did not get to where it was to go is no answer, whatever the targets say.
func TestOutputThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	closed, err := os.Open(os.DevNull) // for reading alone
	if err != nil {
		t.Fatal(err)
	}
	defer closed.Close()
	d := newDeployment(t)
	c := signedInCLI(t, d)
	for _, args := range [][]string{{"ask", "-q", "x"}, {"ask", "-q", "--json", "x"}, {"ask", "-q", "--csv", "x"}, {"doctor"}, {"whoami"}, {"configure", "--show"}} {
		cmd := c.command(args...)
		var stderr strings.Builder
		cmd.Stdout, cmd.Stderr = closed, &stderr
		syncState()
		err := cmd.Run()
		syncState()
		if got := status(t, err); got != 1 || !strings.Contains(stderr.String(), "write /dev/stdout: bad file descriptor") {
			t.Errorf("%q: status %d, %q; want 1 and why", args, got, stderr.String())
		}
	}
}

// Ctrl-C ends the program while it reads standard input, too.
func TestInterruptWhileReading(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	for op, args := range map[string][]string{"ask": {"ask", "-"}, "sign in": {"login", "-u", "alice", "--password-stdin"}} {
		cmd := signedInCLI(t, d).command(args...)
		stdin, err := cmd.StdinPipe() // stays open: there is always more to come
		if err != nil {
			t.Fatal(err)
		}
		var stderr strings.Builder
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// More than a pipe holds: once it is written the program is reading.
		if _, err := io.WriteString(stdin, strings.Repeat("x", 128<<10)); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if got := status(t, cmd.Wait()); got != 1 || stderr.String() != "centralops: "+op+": cancelled\n" {
			t.Errorf("%s: status %d, %q; want 1 and cancelled", op, got, stderr.String())
		}
	}
}

// Standard output that can't be written is told once.
func TestOutputThatIsFull(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skipf("this system has no /dev/full: %v", err)
	}
	defer full.Close()
	d := newDeployment(t)
	c := signedInCLI(t, d)
	for _, args := range [][]string{{"--help"}, {"help", "settings"}, {"completion", "bash"}, {"whoami", "--json"}, {"accounts"}, {"ask", "--quiet", "x"}} {
		cmd := c.command(args...)
		var stderr strings.Builder
		cmd.Stdout, cmd.Stderr = full, &stderr
		if got := status(t, cmd.Run()); got != 1 || stderr.String() != "centralops: write /dev/stdout: no space left on device\n" {
			t.Errorf("%q: status %d, %q", args, got, stderr.String())
		}
	}
}

// A signal that ends the program leaves no half of a status line behind.
func TestTerminatedDuringAnAnswer(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.answer = func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}
	s := signedInCLI(t, d).start(80, "ask", "x")
	s.wait("asking")
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_, text := s.end()
	if got := s.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal(); got != syscall.SIGTERM || !strings.HasSuffix(text, "\r\x1b[K") {
		t.Errorf("ended by %v, the terminal shows %q", got, text)
	}
}
