// Package centralops holds what the command line client speaks about: answers with their coverage
// and receipts, errors as a person reads them, and exit statuses. Standard library only; whatever
// touches the network, a file or a terminal sits in a package under internal/.
package centralops

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Exit statuses of the program. A partial answer has its own, so that a script can tell
// "nothing found" from "not everybody was asked".
const (
	ExitComplete = 0 // done; every target answered
	ExitFailed   = 1 // no answer
	ExitUsage    = 2 // wrong flags, arguments or settings; nothing was sent
	ExitPartial  = 3 // an answer, but not from every target that was asked for
)

// Code sorts errors. The codes are the same in the bridge, the agent and here.
type Code string

// The codes.
const (
	Invalid         Code = "invalid"
	Unauthenticated Code = "unauthenticated"
	Forbidden       Code = "forbidden"
	NotFound        Code = "not_found"
	Conflict        Code = "conflict"
	Throttled       Code = "throttled"
	Timeout         Code = "timeout"
	Unavailable     Code = "unavailable"
	Internal        Code = "internal"
)

// Error is a failure that a person will read: what was attempted, what kind of failure, the cause,
// and the next command to try.
type Error struct {
	Op      string `json:"-"` // what was attempted, such as "ask"; "" if the command says it already
	Code    Code   `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"` // the next step; "" if unknown
	Usage   bool   `json:"-"`              // the person's input is wrong; nothing was sent
	Err     error  `json:"-"`              // cause, for errors.Is and errors.As; Message tells it already
}

// Error returns "op: code: message" in one line, without the hint.
func (e *Error) Error() string {
	var parts []string
	for _, part := range []string{e.Op, string(e.Code), e.Message} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(strings.Fields(strings.Join(parts, ": ")), " ")
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Line returns err as the last line of a failed command: the cause, then the next step.
func Line(err error) string {
	line := err.Error()
	var known *Error
	if errors.As(err, &known) && known.Hint != "" {
		line += "; try: " + strings.Join(strings.Fields(known.Hint), " ")
	}
	return line
}

// CodeOf returns the code of the first *Error in err's chain, and Internal if there is none.
func CodeOf(err error) Code {
	var known *Error
	if errors.As(err, &known) {
		return known.Code
	}
	return Internal
}

// Coverage counts targets by outcome: Targets = Answered + Denied + Failed + Skipped. A target is
// an account and a Region.
type Coverage struct {
	Targets  int `json:"targets"`
	Answered int `json:"answered"`
	Denied   int `json:"denied"`
	Failed   int `json:"failed"`
	Skipped  int `json:"skipped"`
}

// Complete reports whether every target answered. Coverage of nothing is complete.
func (c Coverage) Complete() bool { return c.Answered >= c.Targets }

// String returns the coverage as a sentence without its full stop.
func (c Coverage) String() string {
	s := fmt.Sprintf("%d of %d targets answered", c.Answered, c.Targets)
	if c.Targets == 1 {
		s = fmt.Sprintf("%d of 1 target answered", c.Answered)
	}
	for _, part := range []struct {
		n    int
		word string
	}{{c.Denied, "denied"}, {c.Failed, "failed"}, {c.Skipped, "skipped"}} {
		if part.n > 0 {
			s += fmt.Sprintf(", %d %s", part.n, part.word)
		}
	}
	return s
}

// Receipt says as whom and how one target was asked. Which members a receipt has is the server's
// choice; absent ones are empty.
type Receipt struct {
	AccountID      string `json:"account_id"`
	AccountName    string `json:"account_name"`
	Region         string `json:"region"`
	Status         string `json:"status"`
	RoleARN        string `json:"role_arn"`
	SourceIdentity string `json:"source_identity"`
	Operation      string `json:"operation"`
	APICalls       int    `json:"api_calls"`
	DurationMS     int64  `json:"duration_ms"`
	Error          *Error `json:"error"` // why the target did not answer; nil if it did
}

// Answer is one answer of the agent. Members that this program does not interpret are kept as they
// came, so that --json loses nothing.
type Answer struct {
	Response  string
	SessionID string
	Coverage  *Coverage // of all its tool calls; nil if the answer has none
	Receipts  []Receipt
	StoppedBy string                     // the agent's bound that ended the answer early; "" if none did
	Members   map[string]json.RawMessage // all members as sent, without response
}

// ParseAnswer reads the members of an answer: a whole JSON answer of the Runtime, or its done frame.
func ParseAnswer(members map[string]json.RawMessage) (Answer, error) {
	a := Answer{Members: members}
	for name, into := range map[string]any{
		"response": &a.Response, "session_id": &a.SessionID, "coverage": &a.Coverage, "receipts": &a.Receipts, "stopped_by": &a.StoppedBy,
	} {
		raw, ok := members[name]
		if !ok {
			continue
		}
		if err := json.Unmarshal(raw, into); err != nil {
			return Answer{}, fmt.Errorf("member %s of the answer: %w", name, err)
		}
	}
	delete(members, "response")
	return a, nil
}

// MarshalJSON returns the answer with every member that the server sent, keys sorted.
func (a Answer) MarshalJSON() ([]byte, error) {
	all := make(map[string]any, len(a.Members)+2)
	for name, raw := range a.Members {
		all[name] = raw
	}
	all["response"] = a.Response
	all["session_id"] = a.SessionID
	return json.Marshal(all)
}

// Exit returns the exit status that the answer stands for: failed if targets were asked and none
// answered, partial if some did not or the agent had to stop early, complete otherwise.
func (a Answer) Exit() int {
	switch {
	case a.Coverage != nil && !a.Coverage.Complete() && a.Coverage.Answered == 0:
		return ExitFailed
	case (a.Coverage == nil || a.Coverage.Complete()) && a.StoppedBy == "":
		return ExitComplete
	default:
		return ExitPartial
	}
}

// Event is one thing that happened while an answer was made.
type Event interface{ event() }

// Text is a piece of the answer's markdown.
type Text struct{ Text string }

// ToolCall is the start of a tool call.
type ToolCall struct {
	ID    string          `json:"id"`
	Name  string          `json:"name"` // qualified, "<target>___<tool>"
	Input json.RawMessage `json:"input"`
}

// ToolResult is the end of a tool call.
type ToolResult struct {
	ID         string    `json:"id"`
	OK         bool      `json:"ok"`
	Coverage   *Coverage `json:"coverage"` // nil for tools that ask no account
	DurationMS int64     `json:"duration_ms"`
}

func (Text) event()       {}
func (ToolCall) event()   {}
func (ToolResult) event() {}

// toolSeparator stands between gateway target and tool in a qualified tool name.
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/gateway-tool-naming.html
const toolSeparator = "___"

// SplitTool returns the gateway target and the tool of a qualified tool name, cut at the first
// separator; the target is empty if there is none.
func SplitTool(qualified string) (target, tool string) {
	target, tool, ok := strings.Cut(qualified, toolSeparator)
	if !ok {
		return "", qualified
	}
	return target, tool
}

// Session ids have 33 to 256 characters.
// https://docs.aws.amazon.com/bedrock-agentcore/latest/APIReference/API_InvokeAgentRuntime.html
const (
	minSessionID = 33
	maxSessionID = 256
)

// NewSessionID returns a fresh session id. Whoever guesses one still can't use it: the agent
// binds a session to the person who began it.
func NewSessionID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails, as crypto/rand documents
	return "centralops-" + hex.EncodeToString(b[:])
}

// CheckSessionID returns a usage error if the Runtime would refuse id.
func CheckSessionID(id string) error {
	ok := len(id) >= minSessionID && len(id) <= maxSessionID
	for _, r := range id {
		ok = ok && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	}
	if ok {
		return nil
	}
	return &Error{Op: "--session", Code: Invalid, Usage: true,
		Message: fmt.Sprintf("a session id has %d to %d letters, digits, - and _; got %d characters", minSessionID, maxSessionID, len(id)),
		Hint:    "the id that an earlier answer printed, or no --session to begin a new one"}
}

// Account is an account that the person may query.
type Account struct {
	ID          string            `json:"id"`
	Name        string            `json:"name,omitempty"`
	Environment string            `json:"environment,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
}

// Selectors of accounts, as the bridge's tool query takes them, besides ids and names.
const (
	selectAll         = "all"
	selectEnvironment = "env:"
)

// Collective reports whether one of selectors stands for as many accounts as there happen to be.
func Collective(selectors []string) bool {
	for _, selector := range selectors {
		if strings.EqualFold(selector, selectAll) || len(selector) >= len(selectEnvironment) && strings.EqualFold(selector[:len(selectEnvironment)], selectEnvironment) {
			return true
		}
	}
	return false
}

// CountSelected returns how many of accounts selectors stand for. The bridge decides; this is for telling a person how
// large a query is.
func CountSelected(accounts []Account, selectors []string) int {
	n := 0
	for _, account := range accounts {
		for _, selector := range selectors {
			if strings.EqualFold(selector, selectAll) || selector == account.ID || strings.EqualFold(selector, account.Name) ||
				account.Environment != "" && strings.EqualFold(selector, selectEnvironment+account.Environment) {
				n++
				break
			}
		}
	}
	return n
}

// Target is the outcome of one query in one account and Region. Status is ok, denied, throttled,
// timeout, failed or skipped.
type Target struct {
	AccountID string          `json:"account_id"`
	Region    string          `json:"region"`
	Status    string          `json:"status"`
	Data      json.RawMessage `json:"data"` // an array of rows
	Receipt   *Receipt        `json:"receipt"`
	Error     *Error          `json:"error"`
}
