// Package planner answers questions about AWS accounts by rules: it reads a question, plans tool calls for it, and puts what the
// tools answered into words. It is no language model and says so.
//
// Everything is a pure function of the conversation. Text that comes from tools is data: it is quoted in tables, with control
// characters and table marks made harmless, and nothing in it leads to another call.
//
//	question.go  what a question can be
//	words.go     words and their meanings
//	kinds.go     sorts of resources and how to ask for them
//	parse.go     question -> Question
//	planner.go   Question -> tool calls
//	envelope.go  tool results -> rows and coverage
//	compose.go   rows and coverage -> answer
package planner

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Conversation is what the planner looks at.
type Conversation struct {
	Tools     []string   // names on offer, qualified by the Gateway: bridge___query
	Exchanges []Exchange // oldest first; the last is under way
}

// Exchange is one question and what has been called for it so far.
type Exchange struct {
	Question string
	Rounds   []Round
}

// Round holds the calls of one turn, answered.
type Round []Call

// Call is one use of a tool. Input marshals to the tool's arguments; Result is what came back, as text.
type Call struct {
	Tool   string
	Input  any
	Result string
	Failed bool // the tool result had status "error"
}

// Step is what the planner does next: tool calls, or else the answer.
type Step struct {
	Thought string // why, in one sentence
	Calls   []Call
	Answer  string // Markdown
}

// maxRounds bounds the calls for one question: the first try and other readings of account names.
const maxRounds = 3

// Next decides the next step.
func Next(c Conversation) Step {
	if len(c.Exchanges) == 0 {
		return Step{Answer: sign("Nothing was asked.")}
	}
	q := read(c.Exchanges)
	rounds := c.Exchanges[len(c.Exchanges)-1].Rounds
	for _, round := range rounds {
		q = reread(q, round)
	}
	tool := toolOf(q)
	if tool == "" {
		return Step{Answer: sign(withoutCalls(q))}
	}
	if len(rounds) > 0 && (len(rounds) >= maxRounds || !retries(rounds[len(rounds)-1], q)) {
		return Step{Answer: sign(compose(q, rounds[len(rounds)-1]))}
	}
	name := find(c.Tools, tool)
	if name == "" {
		return Step{Answer: sign(fmt.Sprintf("I would need the tool `%s` for this, and it isn't offered to me.", tool))}
	}
	step := Step{Thought: thought(q)}
	for _, input := range inputs(q) {
		step.Calls = append(step.Calls, Call{Tool: name, Input: input})
	}
	return step
}

// read reads the last question, completed by those before it.
func read(exchanges []Exchange) Question {
	var q, before Question
	for _, e := range exchanges {
		q = Merge(before, Parse(e.Question))
		switch q.Intent {
		case Unknown, Secret, Exclusion, Help, Write: // what was said before is still what "and in staging?" follows
		default:
			before = q
		}
	}
	return q
}

// toolOf returns the tool that q needs; "" if it can be answered without.
func toolOf(q Question) string {
	switch q.Intent {
	case Resources, Operation:
		return "query"
	case Accounts:
		return "list_accounts"
	case Documentation:
		return "search_documentation"
	case ReadPage:
		return "read_documentation"
	}
	return ""
}

// find returns the offered tool whose name behind the Gateway's separator is tool. The separator is three underscores
// (https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/gateway-tool-naming.html, read 2026-11-24).
func find(tools []string, tool string) string {
	for _, name := range tools {
		if name == tool || strings.HasSuffix(name, "___"+tool) {
			return name
		}
	}
	return ""
}

// pageCharacters is how much of a documentation page is read.
const pageCharacters = 4000

// inputs returns the arguments of the calls that answer q: one call, or one for each kind of resource.
func inputs(q Question) []any {
	switch q.Intent {
	case Accounts:
		if q.Search == "" {
			return []any{map[string]any{}}
		}
		return []any{map[string]any{"filter": q.Search}}
	case Documentation:
		return []any{map[string]any{"search_phrase": q.Search, "limit": 5}}
	case ReadPage:
		return []any{map[string]any{"requests": []any{map[string]any{"url": q.Search, "max_length": pageCharacters}}}}
	case Operation:
		input := map[string]any{"accounts": selectors(q.Scope), "service": q.Service, "operation": q.Operation}
		if len(q.Regions) > 0 {
			input["regions"] = q.Regions
		}
		if q.Params != nil {
			input["params"] = q.Params
		}
		if q.Select != "" {
			input["select"] = q.Select
		}
		return []any{input}
	}
	var calls []any
	for _, p := range parts(q) {
		k := p.kind
		filter, _ := k.narrow(q.Filter)
		input := map[string]any{
			"accounts": selectors(q.Scope), "service": k.service, "operation": k.operation, "select": k.selection(filter),
		}
		if regions := regionsFor(k, q); len(regions) > 0 {
			input["regions"] = regions
		}
		if group := k.groupBy(q.Group); group != "" {
			input["group_by"] = group
		}
		if params := k.params(filter, p.region); params != nil {
			input["params"] = params
		}
		calls = append(calls, input)
	}
	return calls
}

// part is what one call asks for: a kind of resource, of one Region if only its parameters can say so.
type part struct {
	kind   kind
	region string
}

// parts returns the parts of a question about resources, in the order of its calls.
func parts(q Question) []part {
	var list []part
	for _, id := range q.Kinds {
		k := kindByID(id)
		if k.inRegion == "" || len(q.Regions) == 0 || q.Regions[0] == "all" {
			list = append(list, part{kind: k})
			continue
		}
		for _, region := range q.Regions {
			list = append(list, part{k, region})
		}
	}
	return list
}

// regionsFor returns the Regions in which to look for k; empty for the bridge's own. One particular thing is looked for
// everywhere, because a person who asks where it is doesn't know its Region.
func regionsFor(k kind, q Question) []string {
	switch {
	case k.global:
		return nil
	case len(q.Regions) > 0:
		return q.Regions
	case q.Verb == Which && (q.Filter.Name != "" || q.Filter.ID != ""):
		return []string{"all"}
	}
	return nil
}

// selectors returns the first reading of each selector; all accounts if there is none.
func selectors(scope []Selector) []string {
	if len(scope) == 0 {
		return []string{"all"}
	}
	var list []string
	for _, s := range scope {
		list = append(list, s.Readings[0])
	}
	return list
}

// reread drops those readings of account names that the bridge did not know in round.
func reread(q Question, round Round) Question {
	if len(round) == 0 {
		return q
	}
	e := decode(round[0].Result)
	if e.Error == nil || e.Error.Code != "not_found" {
		return q
	}
	scope := slices.Clone(q.Scope)
	for i, s := range scope {
		_, value, found := strings.Cut(s.Readings[0], ":")
		if !found {
			value = s.Readings[0]
		}
		if len(s.Readings) > 1 && strings.Contains(strings.ToLower(e.Error.Message), strings.ToLower(`"`+value+`"`)) {
			scope[i].Readings = s.Readings[1:]
		}
	}
	q.Scope = scope
	return q
}

// retries tells whether q, reread after last, asks something other than last did.
func retries(last Round, q Question) bool {
	if e := decode(last[0].Result); e.Error == nil || e.Error.Code != "not_found" {
		return false
	}
	next, err := json.Marshal(inputs(q)[0])
	if err != nil {
		return false
	}
	before, err := json.Marshal(last[0].Input)
	return err == nil && !sameJSON(before, next)
}

// sameJSON compares values, so that neither the order of members nor spaces matter.
func sameJSON(a, b []byte) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	p, errP := json.Marshal(x)
	q, errQ := json.Marshal(y)
	return errP == nil && errQ == nil && string(p) == string(q)
}

// thought says in a sentence what q asks for.
func thought(q Question) string {
	switch q.Intent {
	case Accounts:
		return "The accounts themselves are asked for, so list_accounts answers this."
	case Documentation, ReadPage:
		return "This is a question about AWS itself, so the documentation answers it."
	case Operation:
		return fmt.Sprintf("The operation %s:%s is named, so it is asked for as it is.", q.Service, q.Operation)
	}
	var names []string
	for _, id := range q.Kinds {
		names = append(names, kindByID(id).many)
	}
	return fmt.Sprintf("The question is about %s in %s.", strings.Join(names, " and "), scopeWords(q))
}
