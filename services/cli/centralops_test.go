package centralops

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAnswerExit(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer Answer
		want   int
	}{
		"no account was asked":         {Answer{}, ExitComplete},
		"all answered":                 {Answer{Coverage: &Coverage{Targets: 2, Answered: 2}}, ExitComplete},
		"one was denied":               {Answer{Coverage: &Coverage{Targets: 2, Answered: 1, Denied: 1}}, ExitPartial},
		"none answered":                {Answer{Coverage: &Coverage{Targets: 2, Failed: 2}}, ExitFailed},
		"the agent stopped early":      {Answer{Coverage: &Coverage{Targets: 2, Answered: 2}, StoppedBy: "MAX_TURNS"}, ExitPartial},
		"stopped before any was asked": {Answer{StoppedBy: "MAX_TURNS"}, ExitPartial},
	} {
		if got := test.answer.Exit(); got != test.want {
			t.Errorf("%s: exit status %d, want %d", name, got, test.want)
		}
	}
}

// What this program does not know of an answer is passed on as it came.
func TestAnswerKeepsMembers(t *testing.T) {
	t.Parallel()
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(`{"response":"hi","session_id":"s","usage":{"input_tokens":1},"new":[1.50]}`), &members); err != nil {
		t.Fatal(err)
	}
	answer, err := ParseAnswer(members)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(answer)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"new":[1.50],"response":"hi","session_id":"s","usage":{"input_tokens":1}}`; string(got) != want {
		t.Errorf("answer %s, want %s", got, want)
	}
}

func TestErrorLine(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("wrapped: %w", &Error{Op: "ask", Code: Throttled, Message: "slow\n down", Hint: "again\nlater"})
	if want, got := "wrapped: ask: throttled: slow down; try: again later", Line(err); got != want {
		t.Errorf("Line = %q, want %q", got, want)
	}
	if got := CodeOf(errors.New("x")); got != Internal {
		t.Errorf("an error without a code has %q", got)
	}
}

func TestSessionID(t *testing.T) {
	t.Parallel()
	if err := CheckSessionID(NewSessionID()); err != nil {
		t.Errorf("a new session id is refused: %v", err)
	}
	if one, other := NewSessionID(), NewSessionID(); one == other {
		t.Error("two session ids are the same")
	}
	for _, id := range []string{"", strings.Repeat("a", 32), strings.Repeat("a", 257), strings.Repeat("a", 40) + "\n"} {
		if CheckSessionID(id) == nil {
			t.Errorf("session id %q is taken", id)
		}
	}
}

// Tokens must not get into messages by accident.
func TestTokensHideThemselves(t *testing.T) {
	t.Parallel()
	tokens := Tokens{Username: "alice", AccessToken: "secret1", RefreshToken: "secret2"}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(format, tokens); got != "tokens of alice" {
			t.Errorf("%s shows %q", format, got)
		}
	}
}

func TestCoverageString(t *testing.T) {
	t.Parallel()
	var got []string
	for _, c := range []Coverage{{1, 1, 0, 0, 0}, {9, 3, 1, 2, 3}} {
		got = append(got, c.String())
	}
	want := []string{"1 of 1 target answered", "3 of 9 targets answered, 1 denied, 2 failed, 3 skipped"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Coverage mismatch (-want +got):\n%s", diff)
	}
}

func TestCountSelected(t *testing.T) {
	t.Parallel()
	accounts := []Account{{ID: "111111111111", Name: "Central"}, {ID: "222222222222", Name: "Production", Environment: "prod"}, {ID: "333333333333", Name: "Spare", Environment: "prod"}}
	for _, test := range []struct {
		selectors  []string
		want       int
		collective bool
	}{
		{[]string{"all"}, 3, true},
		{[]string{"ALL", "Central"}, 3, true},
		{[]string{"Env:Prod"}, 2, true},
		{[]string{"env:"}, 0, true},
		{[]string{"production", "222222222222"}, 1, false},
		{[]string{"999999999999"}, 0, false},
		{nil, 0, false},
	} {
		if got := CountSelected(accounts, test.selectors); got != test.want || Collective(test.selectors) != test.collective {
			t.Errorf("%q: %d accounts, collective %t, want %d and %t", test.selectors, got, Collective(test.selectors), test.want, test.collective)
		}
	}
}
