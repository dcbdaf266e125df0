package evals_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/central-ops/central-ops/e2e"
	"github.com/central-ops/central-ops/e2e/evals"
	"github.com/google/go-cmp/cmp"
)

func TestCases(t *testing.T) {
	t.Parallel()
	cases, err := evals.Cases()
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) < 40 {
		t.Errorf("%d cases, want at least 40", len(cases))
	}
	for _, c := range cases {
		if strings.Contains(strings.ToLower(c.Question), "all accounts") && c.MaxTurns > 4 {
			t.Errorf("%s: a question over all accounts may take 4 turns, not %d", c.ID, c.MaxTurns)
		}
		if len(evals.Check(c, e2e.Answer{Response: "", Turns: 1, Coverage: &e2e.Coverage{Targets: 9, Answered: 9}})) == 0 {
			t.Errorf("%s: an empty answer passes", c.ID)
		}
	}
}

func TestRuntimeStop(t *testing.T) {
	t.Parallel()
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "/stopruntimesession") || r.Header.Get("Authorization") != "Bearer secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.Header.Get("X-Amzn-Bedrock-AgentCore-Runtime-Session-Id") == "gone" {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(front.Close)
	runtime := evals.Runtime{Stack: e2e.Stack{RuntimeURL: front.URL, RuntimeARN: "arn:aws:bedrock-agentcore:us-east-1:111111111111:runtime/x"}}
	for session, token := range map[string]string{"mine": "secret", "gone": "secret"} {
		if err := runtime.Stop(t.Context(), token, session); err != nil {
			t.Errorf("session %s: %v", session, err)
		}
	}
	if err := runtime.Stop(t.Context(), "wrong", "mine"); err == nil {
		t.Error("a refusal is no error")
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"an unknown member": `[{"id":"a","question":"q","facts":["x"],"max_turns":1,"colour":"red"}]`,
		"an id used twice":  `[{"id":"a","question":"q","facts":["x"],"max_turns":1},{"id":"a","question":"q","facts":["x"],"max_turns":1}]`,
		"no expectation":    `[{"id":"a","question":"q","facts":[],"max_turns":1}]`,
		"a bad expression":  `[{"id":"a","question":"q","facts":["("],"max_turns":1}]`,
		"an unknown person": `[{"id":"a","person":"root","question":"q","facts":["x"],"max_turns":1}]`,
		"no turns":          `[{"id":"a","question":"q","facts":["x"],"max_turns":0}]`,
	} {
		if _, err := evals.Parse([]byte(text)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	three, one := 3, 1
	c := evals.Case{Facts: []string{`\b7\b`, "web-1"}, Absent: []string{"bastion"}, MaxTurns: 2, Coverage: &evals.Coverage{Targets: &three, Denied: &one}}
	good := e2e.Answer{Response: "7 instances, WEB-1 among them", Turns: 2, Coverage: &e2e.Coverage{Targets: 3, Answered: 2, Denied: 1}}
	if faults := evals.Check(c, good); len(faults) != 0 {
		t.Errorf("faults of a good answer: %q", faults)
	}
	bad := e2e.Answer{Response: "17 instances, bastion", Turns: 3, Coverage: &e2e.Coverage{Targets: 2, Answered: 2}}
	want := []string{
		`fact missing: \b7\b`, "fact missing: web-1", "must not be said: bastion", "3 turns, at most 2 wanted",
		"coverage: targets is 2, want 3", "coverage: denied is 0, want 1",
	}
	if diff := cmp.Diff(want, evals.Check(c, bad)); diff != "" {
		t.Errorf("Check mismatch (-want +got):\n%s", diff)
	}
	refused := evals.Case{Refused: true, MaxTurns: 1}
	if diff := cmp.Diff([]string{"2 targets answered what must be refused"}, evals.Check(refused, e2e.Answer{Coverage: bad.Coverage})); diff != "" {
		t.Errorf("Check of a refusal mismatch (-want +got):\n%s", diff)
	}
	complete := evals.Case{Coverage: &evals.Coverage{Complete: true}, MaxTurns: 2}
	if len(evals.Check(complete, good)) != 1 || len(evals.Check(complete, e2e.Answer{})) != 1 {
		t.Error("a partial or missing coverage passes as complete")
	}
	if faults := evals.Check(c, e2e.Answer{Error: &e2e.Fault{Code: "timeout", Message: "late"}}); len(faults) != 1 {
		t.Errorf("faults of an error: %q", faults)
	}
}

// asker answers from a table and remembers what it was asked.
type asker struct {
	answers map[string]e2e.Answer
	asked   []string // session, then question
	stopped []string // sessions
}

func (a *asker) Ask(_ context.Context, token, session, prompt string) (e2e.Answer, error) {
	if token != "secret" || len(session) < 33 {
		return e2e.Answer{}, errors.New("401")
	}
	a.asked = append(a.asked, session, prompt)
	answer, ok := a.answers[prompt]
	if !ok {
		return e2e.Answer{}, errors.New("connection refused")
	}
	return answer, nil
}

func (a *asker) Stop(_ context.Context, _, session string) error {
	a.stopped = append(a.stopped, session)
	return nil
}

func TestRun(t *testing.T) {
	t.Parallel()
	fake := &asker{answers: map[string]e2e.Answer{"first": {Response: "one"}, "then": {Response: "two", Turns: 2, ToolCalls: 1}}}
	results, err := evals.Run(t.Context(), fake, map[string]string{evals.Ops: "secret"}, []evals.Case{
		{ID: "follow-up", Before: []string{"first"}, Question: "then", Facts: []string{"two"}, MaxTurns: 2},
		{ID: "broken", Question: "unknown", Facts: []string{"x"}, MaxTurns: 1},
		{ID: "viewer", Person: evals.Viewer, Question: "first", Facts: []string{"one"}, MaxTurns: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(fake.asked) != 6 {
		t.Fatalf("asked %q, want three questions", fake.asked)
	}
	if fake.asked[0] != fake.asked[2] || fake.asked[0] == fake.asked[4] {
		t.Errorf("a case has one session and not another's: %q", fake.asked)
	}
	if diff := cmp.Diff([]string{fake.asked[0], fake.asked[4]}, fake.stopped); diff != "" {
		t.Errorf("stopped sessions mismatch (-asked +stopped):\n%s", diff)
	}
	summary := evals.Summarize(results)
	summary.DurationMS = 0 // the clock's
	want := evals.Summary{Cases: 3, Run: 2, Passed: 1, PassRate: 0.5, Turns: 1, ToolCalls: 0.5}
	if diff := cmp.Diff(want, summary); diff != "" {
		t.Errorf("Summarize mismatch (-want +got):\n%s", diff)
	}
	table := evals.Table(results)
	for _, text := range []string{"FAIL  broken", "connection refused", "not run: no token for person viewer", "1 of 2 passed (50 %), 1 not run"} {
		if !strings.Contains(table, text) {
			t.Errorf("the table lacks %q:\n%s", text, table)
		}
	}
}
