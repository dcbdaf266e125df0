// Package evals measures how well an environment answers: questions over the sample accounts, each with the facts that a right
// answer holds, the coverage that it must have, and the turns that it may take.
//
// The questions are data (questions.json). They are asked at the Runtime like a person's, so a run measures the whole chain with whatever
// model is behind it; run it again after changing the model, the prompt or a tool's description.
// The expected facts are those of the accounts that e2e/local/seed makes.
package evals

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/central-ops/central-ops/e2e"
)

//go:embed questions.json
var questions []byte

// People that ask. Ops may query every account, a viewer the staging environment only.
const (
	Ops    = "ops"
	Viewer = "viewer"
)

// Case is one question and what is wanted of the answer.
type Case struct {
	ID       string   `json:"id"`
	Person   string   `json:"person,omitempty"` // "" means Ops
	Before   []string `json:"before,omitempty"` // questions asked before in the same session
	Question string   `json:"question"`

	Facts  []string `json:"facts"`            // regular expressions that the answer matches, ignoring case
	Absent []string `json:"absent,omitempty"` // likewise, that it doesn't match
	// Coverage is compared member by member; a nil member may be anything.
	Coverage *Coverage `json:"coverage,omitempty"`
	// Refused wants no target to have answered: the request is turned down, by whichever part.
	Refused  bool `json:"refused,omitempty"`
	MaxTurns int  `json:"max_turns"` // model turns of the question itself
}

// Coverage is what a case wants to be told about the targets.
type Coverage struct {
	Targets  *int `json:"targets,omitempty"`
	Answered *int `json:"answered,omitempty"`
	Denied   *int `json:"denied,omitempty"`
	Complete bool `json:"complete,omitempty"` // all targets answered, and at least one
}

// Cases returns the questions of this package.
func Cases() ([]Case, error) { return Parse(questions) }

// Parse reads cases and checks them; it reports every fault at once.
func Parse(data []byte) ([]Case, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	var cases []Case
	if err := decoder.Decode(&cases); err != nil {
		return nil, fmt.Errorf("read cases: %w", err)
	}
	var faults []error
	seen := map[string]bool{}
	for i, c := range cases {
		fault := func(format string, args ...any) {
			faults = append(faults, fmt.Errorf("case %d (%s): %s", i, c.ID, fmt.Sprintf(format, args...)))
		}
		if c.ID == "" || seen[c.ID] {
			fault("its id is empty or used twice")
		}
		seen[c.ID] = true
		if c.Question == "" || c.MaxTurns < 1 {
			fault("it needs a question and max_turns")
		}
		if c.Person != "" && c.Person != Ops && c.Person != Viewer {
			fault("person %q is none of %s, %s", c.Person, Ops, Viewer)
		}
		if len(c.Facts) == 0 && c.Coverage == nil && !c.Refused {
			fault("it wants nothing, so it can't fail")
		}
		for _, pattern := range slices.Concat(c.Facts, c.Absent) {
			if _, err := regexp.Compile(pattern); err != nil {
				fault("%v", err)
			}
		}
	}
	return cases, errors.Join(faults...)
}

// Asker asks questions in sessions; Runtime is one.
type Asker interface {
	// Ask asks a question. An answer that carries an error is no Go error.
	Ask(ctx context.Context, token, session, prompt string) (e2e.Answer, error)
	// Stop ends a session, so that a run doesn't use up the sessions that may be active at once.
	Stop(ctx context.Context, token, session string) error
}

// Runtime asks at the Runtime of a stack.
type Runtime struct{ e2e.Stack }

// Result is how one case went.
type Result struct {
	ID       string   `json:"id"`
	Question string   `json:"question"`
	Faults   []string `json:"faults"`            // empty: passed
	NotRun   string   `json:"not_run,omitempty"` // why the question was not asked

	Turns        int    `json:"turns"`
	ToolCalls    int    `json:"tool_calls"`
	InputTokens  int    `json:"input_tokens"`
	OutputTokens int    `json:"output_tokens"`
	DurationMS   int64  `json:"duration_ms"`
	Response     string `json:"response"`
}

// Run asks every case, one after the other, each in a session of its own. tokens holds an access token for each person; cases of people
// without one are not run. Only a cancelled ctx ends a run early.
func Run(ctx context.Context, asker Asker, tokens map[string]string, cases []Case) ([]Result, error) {
	var results []Result
	for _, c := range cases {
		person := c.Person
		if person == "" {
			person = Ops
		}
		if tokens[person] == "" {
			results = append(results, Result{ID: c.ID, Question: c.Question, Faults: []string{}, NotRun: "no token for person " + person})
			continue
		}
		results = append(results, runCase(ctx, asker, tokens[person], c))
		if err := ctx.Err(); err != nil {
			return results, err
		}
	}
	return results, nil
}

func runCase(ctx context.Context, asker Asker, token string, c Case) (result Result) {
	result = Result{ID: c.ID, Question: c.Question, Faults: []string{}}
	session := newSession()
	defer func() {
		if err := asker.Stop(ctx, token, session); err != nil {
			result.Faults = append(result.Faults, err.Error())
		}
	}()
	for _, before := range c.Before {
		if _, err := asker.Ask(ctx, token, session, before); err != nil {
			result.Faults = append(result.Faults, fmt.Sprintf("question before (%s): %v", before, err))
			return result
		}
	}
	start := time.Now()
	answer, err := asker.Ask(ctx, token, session, c.Question)
	result.DurationMS = time.Since(start).Milliseconds()
	if err != nil {
		result.Faults = append(result.Faults, err.Error())
		return result
	}
	result.Turns, result.ToolCalls, result.Response = answer.Turns, answer.ToolCalls, answer.Response
	result.InputTokens, result.OutputTokens = answer.Usage.Read(), answer.Usage.OutputTokens
	result.Faults = append(result.Faults, Check(c, answer)...)
	return result
}

// newSession returns a session id; the Runtime wants at least 33 characters.
func newSession() string { return "evals-" + rand.Text() + rand.Text() }

// Check returns what is wrong with an answer to c, one fault a line; none if it is right.
func Check(c Case, answer e2e.Answer) []string {
	var faults []string
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }

	if answer.Error != nil {
		fault("error %s: %s", answer.Error.Code, answer.Error.Message)
		return faults
	}
	for _, fact := range c.Facts {
		if !regexp.MustCompile("(?is)" + fact).MatchString(answer.Response) {
			fault("fact missing: %s", fact)
		}
	}
	for _, absent := range c.Absent {
		if found := regexp.MustCompile("(?is)" + absent).FindString(answer.Response); found != "" {
			fault("must not be said: %s", found)
		}
	}
	if answer.Turns > c.MaxTurns {
		fault("%d turns, at most %d wanted", answer.Turns, c.MaxTurns)
	}
	if c.Refused && answer.Coverage != nil && answer.Coverage.Answered > 0 {
		fault("%d targets answered what must be refused", answer.Coverage.Answered)
	}
	if c.Coverage != nil {
		faults = append(faults, checkCoverage(*c.Coverage, answer.Coverage)...)
	}
	return faults
}

func checkCoverage(want Coverage, got *e2e.Coverage) []string {
	if got == nil {
		return []string{"no coverage in the answer"}
	}
	var faults []string
	compare := func(name string, want *int, got int) {
		if want != nil && *want != got {
			faults = append(faults, fmt.Sprintf("coverage: %s is %d, want %d", name, got, *want))
		}
	}
	compare("targets", want.Targets, got.Targets)
	compare("answered", want.Answered, got.Answered)
	compare("denied", want.Denied, got.Denied)
	if want.Complete && (got.Targets == 0 || got.Answered != got.Targets) {
		faults = append(faults, fmt.Sprintf("coverage: %d of %d targets answered, want all", got.Answered, got.Targets))
	}
	return faults
}

// Summary adds up a run. Rates and means are over the cases that were run.
type Summary struct {
	Cases        int     `json:"cases"`
	Run          int     `json:"run"`
	Passed       int     `json:"passed"`
	PassRate     float64 `json:"pass_rate"` // 0 to 1; 0 if nothing was run
	Turns        float64 `json:"mean_turns"`
	ToolCalls    float64 `json:"mean_tool_calls"`
	InputTokens  float64 `json:"mean_input_tokens"`
	OutputTokens float64 `json:"mean_output_tokens"`
	DurationMS   float64 `json:"mean_duration_ms"`
}

// Summarize adds up results.
func Summarize(results []Result) Summary {
	s := Summary{Cases: len(results)}
	for _, r := range results {
		if r.NotRun != "" {
			continue
		}
		s.Run++
		if len(r.Faults) == 0 {
			s.Passed++
		}
		s.Turns += float64(r.Turns)
		s.ToolCalls += float64(r.ToolCalls)
		s.InputTokens += float64(r.InputTokens)
		s.OutputTokens += float64(r.OutputTokens)
		s.DurationMS += float64(r.DurationMS)
	}
	if s.Run == 0 {
		return s
	}
	n := float64(s.Run)
	s.PassRate = float64(s.Passed) / n
	s.Turns, s.ToolCalls = s.Turns/n, s.ToolCalls/n
	s.InputTokens, s.OutputTokens, s.DurationMS = s.InputTokens/n, s.OutputTokens/n, s.DurationMS/n
	return s
}

// Table shows results for people: a line a case, the faults below it, and the summary.
func Table(results []Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-4s  %-26s %5s %5s %8s %8s %8s\n", "", "case", "turns", "calls", "in", "out", "ms")
	for _, r := range results {
		verdict := "ok"
		switch {
		case r.NotRun != "":
			verdict = "--"
		case len(r.Faults) > 0:
			verdict = "FAIL"
		}
		fmt.Fprintf(&b, "%-4s  %-26s %5d %5d %8d %8d %8d\n", verdict, r.ID, r.Turns, r.ToolCalls, r.InputTokens, r.OutputTokens, r.DurationMS)
		for _, fault := range r.Faults {
			fmt.Fprintf(&b, "        %s\n", fault)
		}
		if r.NotRun != "" {
			fmt.Fprintf(&b, "        not run: %s\n", r.NotRun)
		}
	}
	s := Summarize(results)
	fmt.Fprintf(&b, "\n%d of %d passed (%.0f %%), %d not run; mean of those run: %.1f turns, %.1f tool calls, %.0f input and %.0f output tokens, %.0f ms\n",
		s.Passed, s.Run, 100*s.PassRate, s.Cases-s.Run, s.Turns, s.ToolCalls, s.InputTokens, s.OutputTokens, s.DurationMS)
	return b.String()
}
