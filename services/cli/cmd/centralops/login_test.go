package main

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func (c *cli) tokensFile() string {
	return filepath.Join(c.home, ".config", "centralops", "tokens", "local.json")
}

func TestLoginInTerminal(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.temporary, d.mfa = true, "123456"
	c := newCLI(t, "CENTRALOPS_PROFILE_FILE="+d.profile())
	s := c.start(80, "login")
	s.wait("User name: ")
	s.send("alice\n")
	s.wait("Password: ")
	s.send("correct horse\n")
	s.wait("New password: ")
	s.send("battery staple\n")
	s.wait("The same again: ")
	s.send("battery staple\n")
	s.wait("Code from your authenticator app: ")
	s.send("123456\n")
	status, text := s.end()
	if status != 0 || !strings.Contains(text, "Signed in to local as alice.") {
		t.Fatalf("status %d:\n%s", status, text)
	}
	if strings.Contains(text, "horse") || strings.Contains(text, "staple") {
		t.Errorf("a password was shown:\n%s", text)
	}
	info, err := os.Stat(c.tokensFile())
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("tokens file has mode %v", info.Mode())
	}
	folder, err := os.Stat(filepath.Dir(c.tokensFile()))
	if err != nil {
		t.Fatal(err)
	}
	if folder.Mode().Perm() != 0o700 {
		t.Errorf("tokens folder has mode %v", folder.Mode())
	}
}

// A password manager types the name and the password in one go, before the second is asked for.
func TestLoginTypedAhead(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	for _, end := range []string{"\r", "\n", "\r\n"} {
		s := newCLI(t, "CENTRALOPS_PROFILE_FILE="+d.profile()).start(80, "login")
		s.wait("User name: ")
		s.send("alice" + end + d.password + end)
		s.wait("Password: ")
		if status, text := s.end(); status != 0 || strings.Contains(text, "horse") {
			t.Errorf("lines that end in %q: status %d:\n%s", end, status, text)
		}
	}
}

// Ctrl-C ends the program at every prompt, and leaves the terminal as it was.
func TestLoginInterrupt(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.temporary, d.mfa = true, "123456"
	c := newCLI(t, "CENTRALOPS_PROFILE_FILE="+d.profile())
	prompts := []struct{ prompt, answer string }{
		{"User name: ", "alice"}, {"Password: ", "correct horse"}, {"New password: ", "battery staple"}, {"The same again: ", "battery staple"},
		{"Code from your authenticator app: ", "123456"},
	}
	for i, last := range prompts {
		d.password = "correct horse"
		d.temporary = true
		s := c.start(80, "login")
		for _, earlier := range prompts[:i] {
			s.wait(earlier.prompt)
			s.send(earlier.answer + "\r")
		}
		s.wait(last.prompt)
		s.send("\x03")
		if status, text := s.end(); status != 1 || !strings.Contains(text, "centralops: sign in: cancelled\r\n") {
			t.Errorf("Ctrl-C at %q: status %d:\n%s", last.prompt, status, text)
		}
		if !s.cooked() {
			t.Errorf("Ctrl-C at %q left the terminal raw", last.prompt)
		}
	}
	if _, err := os.Stat(c.tokensFile()); !os.IsNotExist(err) {
		t.Errorf("tokens were kept: %v", err)
	}
}

// Whoever ends the program at a prompt gets back a terminal that shows what is typed.
func TestTerminatedAtAPrompt(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	// What the tests themselves were started to ignore, as under nohup, the program would ignore, too; what they wait for it does not.
	ours := make(chan os.Signal, 1)
	signal.Notify(ours, syscall.SIGHUP)
	defer signal.Stop(ours)
	for prompt, args := range map[string][]string{"Password: ": {"login", "-u", "alice"}, "\n> ": {"chat"}} {
		for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP} {
			s := signedInCLI(t, d).start(80, args...)
			s.wait(prompt)
			if s.cooked() {
				t.Errorf("%q: the terminal shows what is typed", args)
			}
			if err := s.cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			_, text := s.end()
			if got := s.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal(); got != signal {
				t.Errorf("%q ended by %v, want %v", args, got, signal)
			}
			if !s.cooked() || strings.Count(text, "\x1b[?2004h") != strings.Count(text, "\x1b[?2004l") {
				t.Errorf("%q left the terminal raw after %v: %q", args, signal, text)
			}
		}
	}
}

// A signal that the program was started to ignore, as nohup does, changes nothing at a prompt.
func TestIgnoredSignalAtAPrompt(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	c := newCLI(t, "CENTRALOPS_PROFILE_FILE="+d.profile())
	c.ignores = "HUP"
	s := c.start(80, "login", "-u", "alice")
	s.wait("Password: ")
	for range 3 { // the first ones are delivered by the time that the last one is sent
		if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	if s.cooked() {
		t.Error("the terminal shows what is typed")
	}
	s.send(d.password + "\r")
	if status, text := s.end(); status != 0 || !strings.Contains(text, "Signed in") {
		t.Errorf("status %d: %q", status, text)
	}
}

func TestLogout(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	c := signedInCLI(t, d)
	if got := c.run("logout"); got.status != 0 || got.stderr != "Signed out of local.\n" {
		t.Errorf("logout: %+v", got)
	}
	if len(d.refresh) != 0 {
		t.Errorf("the refresh token is still good")
	}
	if _, err := os.Stat(c.tokensFile()); !os.IsNotExist(err) {
		t.Errorf("the tokens are still there: %v", err)
	}
	if got := c.run("ask", "x"); got.status != 1 || got.stderr != "centralops: unauthenticated: you are not signed in to local; try: centralops login\n" {
		t.Errorf("ask after logout: %+v", got)
	}
	if got := c.run("logout"); got.status != 0 {
		t.Errorf("second logout: %+v", got)
	}
}

// Tokens that others could read are revoked at the pool; those that can't be are said to be still good.
func TestLogoutOfTokensThatAreNotSent(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	c := signedInCLI(t, d)
	if err := os.Chmod(c.tokensFile(), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := c.run("logout"); got.status != 0 || len(d.refresh) != 0 {
		t.Errorf("tokens that others can read: %+v, and %d refresh tokens are still good", got, len(d.refresh))
	}
	for name, args := range map[string][]string{"damaged": nil, "of another client": {"--client-id", "another"}} {
		c.login(d)
		if args == nil {
			if err := os.WriteFile(c.tokensFile(), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got := c.run(append([]string{"logout"}, args...)...)
		if got.status != 1 || !strings.Contains(got.stderr, "still valid at the user pool until they expire: ") {
			t.Errorf("%s: %+v", name, got)
		}
		if _, err := os.Stat(c.tokensFile()); !os.IsNotExist(err) {
			t.Errorf("%s: the tokens are still there: %v", name, err)
		}
	}
}

// Tokens that others can read, or that belong to another deployment, are not sent.
func TestTokensThatAreNotSent(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	c := signedInCLI(t, d)
	if got := c.run("ask", "--client-id", "another", "x"); got.status != 1 || !strings.Contains(got.stderr, "another user pool") {
		t.Errorf("ask of another client: %+v", got)
	}
	if err := os.Chmod(c.tokensFile(), fs.FileMode(0o644)); err != nil {
		t.Fatal(err)
	}
	if got := c.run("ask", "x"); got.status != 1 || !strings.Contains(got.stderr, "can be read by others") {
		t.Errorf("ask with open tokens file: %+v", got)
	}
	if len(d.asked()) != 0 {
		t.Errorf("the Runtime was asked: %+v", d.asked())
	}
}

// A server that redirects gets no password, refresh token or access token carried to another, not even on the same host.
func TestNothingFollowsRedirects(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the other server got %s %s with Authorization %q", r.Method, r.URL, r.Header.Get("Authorization"))
	}))
	defer other.Close()
	d := newDeployment(t)
	c := signedInCLI(t, d)
	d.away = other.URL
	d.expire()
	c.stdin = d.password + "\n"
	if got := c.run("login", "--username", "alice", "--password-stdin"); got.status != 1 || !strings.Contains(got.stderr, "the user pool's endpoint answered 307") {
		t.Errorf("login: %+v", got)
	}
	if got := c.run("ask", "x"); got.status != 1 {
		t.Errorf("ask, which renews the token: %+v", got)
	}
	found, _ := c.doctor("--no-model")
	if !slices.ContainsFunc(found.Findings, func(f finding) bool { return f.Evidence == "without it, it answered 307" }) {
		t.Errorf("doctor asked the Gateway at its bare host and found %+v", found.Findings)
	}
}

func TestLoginWithBrowser(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	c := newCLI(t, "CENTRALOPS_PROFILE_FILE="+d.profile())
	s := c.start(250, "login", "--browser", "--no-open", "--callback-port", "0")
	s.wait("Sign in at this address:")
	s.wait("state=") // the last parameter in alphabetical order
	s.wait("\n")
	_, rest, _ := strings.Cut(s.all.String(), "http")
	address, _, _ := strings.Cut("http"+rest, "\r")
	if page := d.visit(address); !strings.HasPrefix(page, "You are signed in.") {
		t.Errorf("the browser shows %q", page)
	}
	if status, text := s.end(); status != 0 || !strings.Contains(text, "Signed in to local as alice.") {
		t.Fatalf("status %d: %s", status, text)
	}
	if got := c.run("whoami"); got.status != 0 {
		t.Errorf("whoami after a sign-in with a browser: %+v", got)
	}
}

func TestLoginWithBrowserInterrupt(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	s := newCLI(t, "CENTRALOPS_PROFILE_FILE="+d.profile()).start(80, "login", "--browser", "--no-open", "--callback-port", "0")
	s.wait("Sign in at this address:")
	s.send("\x03")
	if status, text := s.end(); status != 1 || !strings.Contains(text, "centralops: sign in: cancelled\r\n") {
		t.Errorf("status %d:\n%s", status, text)
	}
}
