package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/central-ops/central-ops/e2e"
	"github.com/central-ops/central-ops/e2e/local"
	"github.com/central-ops/central-ops/e2e/local/bedrock"
)

// user is a person at a machine of their own: the client with a configuration folder, signed in or not.
type user struct {
	t       *testing.T
	binary  string
	home    string
	profile string
}

func newUser(t *testing.T, p *local.Platform) *user { return newUserOf(t, p.Stack) }

func newUserOf(t *testing.T, stack e2e.Stack) *user {
	t.Helper()
	binary, err := client()
	if err != nil {
		t.Fatal(err)
	}
	profile, err := json.Marshal(stack)
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	u := &user{t: t, binary: binary, home: filepath.Join(home, "centralops"), profile: filepath.Join(home, "profile.json")}
	if err := os.WriteFile(u.profile, profile, 0o600); err != nil {
		t.Fatal(err)
	}
	return u
}

func (u *user) command(args ...string) *exec.Cmd {
	command := exec.CommandContext(u.t.Context(), u.binary, args...)
	command.Env = []string{"CENTRALOPS_CONFIG_DIR=" + u.home, "CENTRALOPS_PROFILE_FILE=" + u.profile, "TERM=xterm-256color"}
	return command
}

// run returns what a command printed, both streams, and its exit status.
func (u *user) run(args ...string) (string, int) {
	u.t.Helper()
	return u.ends(u.command(args...))
}

// runWith is run for who has an access token and did not sign in.
func (u *user) runWith(token string, args ...string) (string, int) {
	u.t.Helper()
	command := u.command(args...)
	command.Env = append(command.Env, "CENTRALOPS_ACCESS_TOKEN="+token)
	return u.ends(command)
}

func (u *user) ends(command *exec.Cmd) (string, int) {
	u.t.Helper()
	printed, err := command.CombinedOutput()
	if command.ProcessState == nil {
		u.t.Fatal(err)
	}
	return string(printed), command.ProcessState.ExitCode()
}

// signsIn types what is asked for, and expects to be signed in.
func (u *user) signsIn(name string, script ...keys) {
	u.t.Helper()
	shown, err := typed(u.t, u.command("login", "--username", name), script...)
	if err != nil || !strings.Contains(shown, "Signed in to local as "+name+".") {
		u.t.Fatalf("sign in as %s: %v\n%s", name, err, shown)
	}
	for _, step := range script {
		if secret := strings.TrimRight(step.send, "\r"); strings.HasPrefix(secret, "Local-") && strings.Contains(shown, secret) {
			u.t.Errorf("the terminal shows a password:\n%s", shown)
		}
	}
}

// cognito calls an operation of the platform's user pools as an administrator does.
func cognito(t *testing.T, p *local.Platform, operation string, in any) map[string]any {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.Moto.URL, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-amz-json-1.1")
	request.Header.Set("X-Amz-Target", "AWSCognitoIdentityProviderService."+operation)
	// moto takes service and Region from the scope and does not look at the signature.
	request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=local/20260101/"+p.Stack.Region+"/cognito-idp/aws4_request, SignedHeaders=host, Signature=none")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(text, &out); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %s (%v)", operation, response.StatusCode, text, err)
	}
	return out
}

// A person whom an administrator has just made signs in with the temporary password, chooses one, sets up a second factor,
// and signs in with a code from then on.
func TestClientAnswersChallenges(t *testing.T) {
	t.Parallel()
	p := platform(t)
	const name, temporary, chosen = "erin", "Local-temporary-1", "Local-chosen-2"
	cognito(t, p, "AdminCreateUser", map[string]any{"UserPoolId": p.Stack.UserPoolID, "Username": name, "TemporaryPassword": temporary})
	cognito(t, p, "AdminAddUserToGroup", map[string]any{"UserPoolId": p.Stack.UserPoolID, "Username": name, "GroupName": "viewers"})
	u := newUser(t, p)
	u.signsIn(name, keys{"Password: ", temporary + "\r"}, keys{"New password: ", chosen + "\r"}, keys{"The same again: ", chosen + "\r"})
	if printed, status := u.run("whoami"); status != 0 || !strings.Contains(printed, "viewers") || !strings.Contains(printed, "Staging") {
		t.Errorf("whoami: status %d\n%s", status, printed)
	}

	tokens := u.tokens()
	cognito(t, p, "AssociateSoftwareToken", map[string]any{"AccessToken": tokens["access_token"]})
	cognito(t, p, "VerifySoftwareToken", map[string]any{"AccessToken": tokens["access_token"], "UserCode": "123456"})
	cognito(t, p, "SetUserMFAPreference", map[string]any{"AccessToken": tokens["access_token"], "SoftwareTokenMfaSettings": map[string]bool{"Enabled": true, "PreferredMfa": true}})
	u.signsIn(name, keys{"Password: ", chosen + "\r"}, keys{"Code from your authenticator app: ", "123456\r"})
	if printed, status := u.run("ask", "--quiet", "List EC2 instances in Staging in us-east-1"); status != 0 || !strings.Contains(printed, "web-test") {
		t.Errorf("ask: status %d\n%s", status, printed)
	}
}

// tokens reads what the client keeps, and checks that nobody else can.
func (u *user) tokens() map[string]any {
	u.t.Helper()
	file := filepath.Join(u.home, "tokens", "local.json")
	info, err := os.Stat(file)
	if err != nil {
		u.t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		u.t.Errorf("%s has mode %v", file, info.Mode())
	}
	text, err := os.ReadFile(file)
	if err != nil {
		u.t.Fatal(err)
	}
	var tokens map[string]any
	if err := json.Unmarshal(text, &tokens); err != nil {
		u.t.Fatal(err)
	}
	return tokens
}

// keep writes what the client keeps, as if the access token ended then.
func (u *user) keep(tokens map[string]any, end time.Time) {
	u.t.Helper()
	tokens["expires"] = end.UTC().Format(time.RFC3339)
	text, err := json.Marshal(tokens)
	if err != nil {
		u.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(u.home, "tokens", "local.json"), text, 0o600); err != nil {
		u.t.Fatal(err)
	}
}

// An access token at its end is renewed before it is sent, and the new one is kept; a sign-in that was revoked says what to do.
func TestClientRenewsTokens(t *testing.T) {
	t.Parallel()
	p := platform(t)
	u := newUser(t, p)
	u.signsIn("carol", keys{"Password: ", p.Passwords["carol"] + "\r"})
	before := u.tokens()
	expire := func() { u.keep(u.tokens(), time.Now().Add(-time.Minute)) }
	expire()
	if printed, status := u.run("accounts", "--list-only"); status != 0 || !strings.Contains(printed, "Production") {
		t.Errorf("with a token at its end: status %d\n%s", status, printed)
	}
	after := u.tokens()
	if after["access_token"] == before["access_token"] || after["refresh_token"] == "" {
		t.Error("the renewed token was not kept")
	}
	end, err := time.Parse(time.RFC3339, after["expires"].(string))
	if err != nil || time.Until(end) < 10*time.Minute {
		t.Errorf("the renewed token is kept until %v: %v", after["expires"], err)
	}

	// The same sign-in is ended from another machine.
	other := newUser(t, p)
	if err := os.CopyFS(other.home, os.DirFS(u.home)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(other.home, "tokens", "local.json"), 0o600); err != nil {
		t.Fatal(err)
	}
	if printed, status := other.run("logout"); status != 0 {
		t.Fatalf("logout: status %d\n%s", status, printed)
	}
	expire()
	printed, status := u.run("accounts")
	if status != 1 || strings.Count(printed, "\n") != 1 || !strings.Contains(printed, "unauthenticated") || !strings.Contains(printed, "try: centralops login") {
		t.Errorf("after the sign-in was ended elsewhere: status %d\n%s", status, printed)
	}
}

// Another person can't go on with a session, and is told so in a line.
func TestClientInAnothersSession(t *testing.T) {
	t.Parallel()
	p := platform(t)
	session := strings.Repeat("alices-session-", 3)
	alice, bob := newUser(t, p), newUser(t, p)
	alice.signsIn("alice", keys{"Password: ", p.Passwords["alice"] + "\r"})
	bob.signsIn("bob", keys{"Password: ", p.Passwords["bob"] + "\r"})
	if printed, status := alice.run("ask", "--quiet", "--session", session, "List EC2 instances in Production in us-east-1"); status != 0 {
		t.Fatalf("status %d\n%s", status, printed)
	}
	printed, status := bob.run("ask", "--quiet", "--session", session, "and in Staging?")
	if status != 1 || strings.Count(printed, "\n") != 1 || !strings.Contains(printed, "ask: forbidden: ") || !strings.Contains(printed, "; try: ") {
		t.Errorf("bob in alice's session: status %d\n%s", status, printed)
	}
	if printed, status := alice.run("ask", "--quiet", "--session", session, "and in Staging?"); status != 0 || !strings.Contains(printed, "web-test") {
		t.Errorf("alice goes on: status %d\n%s", status, printed)
	}
}

// hesitant begins its first answer and never ends it; all others are the planner's.
type hesitant struct {
	bedrock.Planner
	first sync.Once
	gone  chan struct{} // closed when nobody waits for the first answer any more
}

func (m *hesitant) Reply(ctx context.Context, request *bedrock.Request, answer *bedrock.Answer) error {
	hesitates := false
	m.first.Do(func() { hesitates = true })
	if !hesitates {
		return m.Planner.Reply(ctx, request, answer)
	}
	if err := answer.Text("Let me see.\n\nWell, "); err != nil {
		return err
	}
	<-ctx.Done()
	close(m.gone)
	return ctx.Err()
}

// Ctrl-C in a chat cancels the question, at the model too; the next one in the same session is answered.
func TestClientCancelsAQuestion(t *testing.T) {
	t.Parallel()
	model := &hesitant{gone: make(chan struct{})}
	o := options()
	o.Answering = model
	p := startOwn(t, o)
	u := newUser(t, p)
	u.signsIn("alice", keys{"Password: ", p.Passwords["alice"] + "\r"})
	shown, err := typed(t, u.command("chat"), keys{"> ", "List EC2 instances in Production in us-east-1\r"}, keys{"Let me see.", "\x03"}, keys{"cancelled", ""},
		keys{"\n> ", "List EC2 instances in Staging in us-east-1\r"}, keys{"web-test", ""}, keys{"\n> ", "\x04"})
	if err != nil {
		t.Errorf("%v\n%s", err, shown)
	}
	select {
	case <-model.gone:
	case <-time.After(time.Minute):
		t.Error("the model still answers the question that was cancelled")
	}
}
