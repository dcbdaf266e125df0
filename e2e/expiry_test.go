package e2e_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/central-ops/central-ops/e2e"
	"github.com/central-ops/central-ops/e2e/local/bedrock"
)

// lingering is a model that asks about Production, and about Staging once the person's token is over.
type lingering struct {
	mu      sync.Mutex
	end     time.Time // of the token
	reached bool      // the first call was answered
}

func (m *lingering) until(end time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.end, m.reached = end, false
}

func (m *lingering) wasReached() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reached
}

// Reply implements bedrock.Model.
func (m *lingering) Reply(ctx context.Context, request *bedrock.Request, answer *bedrock.Answer) error {
	query := func(account string) error {
		if err := answer.ToolUse("about-"+account, "bridge___query"); err != nil {
			return err
		}
		return answer.Input(`{"accounts":["` + account + `"],"service":"ec2","operation":"DescribeInstances","select":"Reservations[].Instances[].InstanceId"}`)
	}
	if len(request.Messages) < 5 {
		if err := answer.Reasoning("One account after the other."); err != nil {
			return err
		}
	}
	switch len(request.Messages) {
	case 1:
		if err := answer.Text("Let me see.\n\n"); err != nil {
			return err
		}
		return query("Production")
	case 3:
		m.mu.Lock()
		m.reached = true
		end := m.end
		m.mu.Unlock()
		for left := time.Until(end); left > 0; left = time.Until(end) {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(left):
			}
		}
		return query("Staging")
	}
	return answer.Text("Both have instances.")
}

// The person's token expires after the first tool call: in user mode the Gateway refuses the second one, in workload mode
// the bridge does.
func TestTokenExpiresInMidStream(t *testing.T) {
	t.Parallel()
	for mode, row := range map[string]struct{ cause, next string }{
		"user":     {"your token has expired: the Gateway did not accept it (401)", "centralops login, then ask again"},
		"workload": {"verify user token: the token has expired", "centralops login"},
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			model := &lingering{}
			o := options()
			o.GatewayAuth, o.Answering = mode, model
			p := startOwn(t, o)
			u := newUser(t, p)
			u.signsIn("alice", keys{"Password: ", p.Passwords["alice"] + "\r"})
			const question = "Which instances are there in Production and in Staging?"
			if printed, status := u.run("ask", "--quiet", question); status != 0 || !strings.Contains(printed, "Both have instances.") {
				t.Fatalf("with a good token: status %d\n%s", status, printed)
			}
			tokens := u.tokens()
			// withToken runs ask with a token that lives as long as the first call takes: longer, if it was not long enough.
			withToken := func(ask func(token string, end time.Time)) {
				t.Helper()
				for life := 2 * time.Second; ; life *= 2 {
					end := time.Now().Add(life).Truncate(time.Second).Add(time.Second)
					model.until(end)
					ask(shortened(t, p.OIDC.Sign, tokens["access_token"].(string), end), end)
					if model.wasReached() {
						return
					}
					if life > time.Minute {
						t.Fatalf("the first call takes longer than %v", life)
					}
				}
			}

			line := "centralops: ask: unauthenticated: " + row.cause + "; try: " + row.next + "\r\n"
			var shown string
			var err error
			withToken(func(token string, end time.Time) {
				kept := maps.Clone(tokens)
				kept["access_token"] = token
				delete(kept, "refresh_token") // the sign-in was ended elsewhere
				u.keep(kept, end)
				shown, err = typed(t, u.command("ask", question))
			})
			var exited *exec.ExitError
			if exited, _ = err.(*exec.ExitError); exited == nil || exited.ExitCode() != 1 {
				t.Errorf("ask: %v, want status 1", err)
			}
			said, ends := strings.CutSuffix(shown, line)
			if !ends {
				t.Errorf("the terminal does not end in the line %q:\n%s", line, shown)
			}
			for _, want := range []string{"Let me see.", "1 of 1 target answered", "222222222222"} {
				if !strings.Contains(said, want) {
					t.Errorf("%q is lost:\n%s", want, shown)
				}
			}

			// As JSON, and with the token in the environment, where signing in would not help.
			var printed []byte
			withToken(func(token string, _ time.Time) {
				command := u.command("ask", "--json", "--quiet", question)
				command.Env = append(command.Env, "CENTRALOPS_ACCESS_TOKEN="+token)
				printed, err = command.Output()
			})
			if exited, _ = err.(*exec.ExitError); exited == nil || exited.ExitCode() != 1 || strings.Count(string(exited.Stderr), "\n") != 1 {
				t.Errorf("ask --json: %v, want status 1 and one line: %s", err, printed)
			}
			var answer e2e.Answer
			if err := json.Unmarshal(printed, &answer); err != nil {
				t.Fatalf("%v: %s", err, printed)
			}
			if f := answer.Error; f == nil || f.Code != "unauthenticated" || f.Message != row.cause || f.Hint != "another token in CENTRALOPS_ACCESS_TOKEN, or unset it and centralops login" {
				t.Errorf("error %+v", answer.Error)
			}
			if !strings.Contains(answer.Response, "Let me see.") || answer.Coverage == nil || answer.Coverage.Answered != 1 || len(answer.Receipts) != 1 {
				t.Errorf("what was answered is lost: %s", printed)
			}

			// The next command that the line names leads on.
			model.until(time.Time{})
			u.signsIn("alice", keys{"Password: ", p.Passwords["alice"] + "\r"})
			if printed, status := u.run("ask", "--quiet", question); status != 0 || !strings.Contains(printed, "Both have instances.") {
				t.Errorf("signed in again: status %d\n%s", status, printed)
			}
		})
	}
}

// shortened is a token with the claims of another, and its own end.
func shortened(t *testing.T, sign func(map[string]any) (string, error), token string, end time.Time) string {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatal("the token is no JWT")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	claims["exp"], claims["jti"] = end.Unix(), fmt.Sprint("until ", end.Unix())
	signed, err := sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}
