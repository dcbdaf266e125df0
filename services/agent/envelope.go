package agent

import (
	"bytes"
	"encoding/json"
	"strings"
)

// Coverage counts targets: an account and a Region that a query was about.
type Coverage struct {
	Targets  int64 `json:"targets"`
	Answered int64 `json:"answered"`
	Denied   int64 `json:"denied"`
	Failed   int64 `json:"failed"`
	Skipped  int64 `json:"skipped"`
}

// Partial reports whether some target did not answer.
func (c Coverage) Partial() bool { return c.Answered < c.Targets }

func (c *Coverage) add(other Coverage) {
	c.Targets += other.Targets
	c.Answered += other.Answered
	c.Denied += other.Denied
	c.Failed += other.Failed
	c.Skipped += other.Skipped
}

// Fault is an error as a tool result states it.
type Fault struct {
	Code    string `json:"code"`
	Message string `json:"message,omitempty"`
	Hint    string `json:"hint,omitempty"`
}

// Receipt is the proof of one target's part in an answer: who was asked, as whom, and what came of it.
type Receipt struct {
	Tool           string `json:"tool"`
	AccountID      string `json:"account_id"`
	AccountName    string `json:"account_name,omitempty"`
	Region         string `json:"region,omitempty"`
	Status         string `json:"status"` // ok, denied, throttled, timeout, failed, skipped
	RoleARN        string `json:"role_arn,omitempty"`
	SourceIdentity string `json:"source_identity,omitempty"`
	Operation      string `json:"operation,omitempty"` // service:Operation
	APICalls       int64  `json:"api_calls"`
	DurationMS     int64  `json:"duration_ms"`
	Error          *Fault `json:"error,omitempty"`
}

// Envelope is what a tool result says about itself.
type Envelope struct {
	OK       bool
	Fault    *Fault    // why not OK; nil when the result does not say
	Coverage *Coverage // nil when the tool asked no accounts
	Receipts []Receipt
	Text     string          // the result as the model should read it: unwrapped, JSON compacted; "" if there was none
	Answer   json.RawMessage // the tool's answer, if it is one of the bridge's; else nil
}

// maxWrappings bounds how many wrappers ParseEnvelope opens. The deepest documented nesting is four:
// an MCP result around a JSON string around a content array around JSON text.
const maxWrappings = 6

// ParseEnvelope reads a tool's output. A Lambda's answer reaches the agent as MCP text that is the
// JSON encoding of what the Lambda returned: an object, an object inside a JSON string, or either
// inside {"content":[{"type":"text",...}]}, {"structuredContent":...} or {"result":...}
// (https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/gateway-add-target-lambda.html,
// read 2026-10, leaves open which). All are understood; what is none of them is plain text, which is
// OK unless the output is marked as an error.
//
// Only an object with the bridge's members ("ok", "coverage", "results") at the place of the answer
// counts: the same text deeper inside, in a tag or a log line, is data.
func ParseEnvelope(out ToolOutput) Envelope {
	var answer json.RawMessage
	isError := out.IsError
	candidates := append([]string{string(out.Structured), out.Text}, out.Blocks...)
	for _, candidate := range candidates {
		inner, failed := unwrap([]byte(candidate), maxWrappings)
		isError = isError || failed
		if answer == nil || (!looksLikeAnswer(answer) && looksLikeAnswer(inner)) {
			answer = inner
		}
	}

	envelope := Envelope{OK: !isError, Text: strings.TrimSpace(out.Text)}
	if answer == nil {
		return envelope
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, answer); err == nil && len(out.Blocks) == 0 {
		envelope.Text = compact.String()
	}
	var text string
	if json.Unmarshal(answer, &text) == nil {
		envelope.Text = strings.TrimSpace(text)
		return envelope
	}
	if !looksLikeAnswer(answer) {
		return envelope
	}
	envelope.Answer = answer
	readAnswer(answer, &envelope)
	return envelope
}

// unwrap opens the wrappers around raw and returns the JSON value inside, nil if raw is not JSON.
// failed is true if a wrapper says so.
func unwrap(raw []byte, depth int) (inner json.RawMessage, failed bool) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || !json.Valid(raw) {
		return nil, false
	}
	if depth == 0 || looksLikeAnswer(raw) {
		return raw, false
	}
	switch raw[0] {
	case '"':
		var text string
		if json.Unmarshal(raw, &text) != nil {
			return raw, false
		}
		if inner, failed = unwrap([]byte(text), depth-1); inner != nil {
			return inner, failed
		}
	case '[':
		if text, ok := contentText(raw); ok {
			return unwrapText(text, depth-1)
		}
	case '{':
		var members map[string]json.RawMessage
		if json.Unmarshal(raw, &members) != nil || !onlyWrapperMembers(members) {
			return raw, false
		}
		failed = string(members["isError"]) == "true"
		for _, name := range []string{"structuredContent", "result"} {
			if wrapped := members[name]; len(wrapped) > 0 && string(wrapped) != "null" {
				inner, innerFailed := unwrap(wrapped, depth-1)
				return inner, failed || innerFailed
			}
		}
		if text, ok := contentText(members["content"]); ok {
			inner, innerFailed := unwrapText(text, depth-1)
			return inner, failed || innerFailed
		}
	}
	return raw, failed
}

// onlyWrapperMembers reports whether an object is nothing but a wrapper: an MCP result, or the
// JSON-RPC answer around one. An object with anything else in it is data.
func onlyWrapperMembers(members map[string]json.RawMessage) bool {
	for name := range members {
		switch name {
		case "content", "structuredContent", "result", "isError", "_meta", "jsonrpc", "id":
		default:
			return false
		}
	}
	return len(members) > 0
}

// unwrapText is unwrap for text that need not be JSON: then the text itself is the value.
func unwrapText(text string, depth int) (json.RawMessage, bool) {
	if inner, failed := unwrap([]byte(text), depth); inner != nil {
		return inner, failed
	}
	quoted, err := json.Marshal(text)
	if err != nil {
		return nil, false
	}
	return quoted, false
}

// contentText returns the text of an MCP content array, false if raw is not one.
func contentText(raw json.RawMessage) (string, bool) {
	var items []struct {
		Type string  `json:"type"`
		Text *string `json:"text"`
	}
	if len(raw) == 0 || json.Unmarshal(raw, &items) != nil || len(items) == 0 {
		return "", false
	}
	texts := make([]string, 0, len(items))
	for _, item := range items {
		if item.Type != "text" || item.Text == nil {
			return "", false
		}
		texts = append(texts, *item.Text)
	}
	return strings.Join(texts, "\n"), true
}

// looksLikeAnswer reports whether raw is an object with a member that only the bridge's answers have.
func looksLikeAnswer(raw json.RawMessage) bool {
	if len(raw) == 0 || raw[0] != '{' {
		return false
	}
	var answer struct {
		OK       *bool           `json:"ok"`
		Coverage json.RawMessage `json:"coverage"`
	}
	return json.Unmarshal(raw, &answer) == nil && (answer.OK != nil || len(answer.Coverage) > 0)
}

// readAnswer fills envelope from a bridge answer. A member of the wrong type is left out, not fatal:
// what can be read counts.
func readAnswer(raw json.RawMessage, envelope *Envelope) {
	var answer struct {
		OK       *bool             `json:"ok"`
		Error    json.RawMessage   `json:"error"`
		Coverage json.RawMessage   `json:"coverage"`
		Results  []json.RawMessage `json:"results"`
	}
	if json.Unmarshal(raw, &answer) != nil {
		// Only "results" can be of another type here: looksLikeAnswer has decoded the rest.
		answer.Results = nil
	}
	if answer.OK != nil && !*answer.OK {
		envelope.OK = false
	}
	envelope.Fault = readFault(answer.Error)

	var coverage Coverage
	if len(answer.Coverage) > 0 && answer.Coverage[0] == '{' && json.Unmarshal(answer.Coverage, &coverage) == nil && coverage.sane() {
		envelope.Coverage = &coverage
	}
	for _, result := range answer.Results {
		if receipt, ok := readReceipt(result); ok {
			envelope.Receipts = append(envelope.Receipts, receipt)
		}
	}
	if envelope.Coverage == nil && len(envelope.Receipts) > 0 {
		envelope.Coverage = countReceipts(envelope.Receipts)
	}
}

// maxTargets is the largest count that is believed: AWS Organizations end at 50,000 accounts and AWS
// has fewer than 100 Regions. It keeps sums far from overflow.
const maxTargets = 5_000_000

func (c Coverage) sane() bool {
	for _, n := range []int64{c.Targets, c.Answered, c.Denied, c.Failed, c.Skipped} {
		if n < 0 || n > maxTargets {
			return false
		}
	}
	return true
}

func countReceipts(receipts []Receipt) *Coverage {
	coverage := Coverage{Targets: int64(len(receipts))}
	for _, receipt := range receipts {
		switch receipt.Status {
		case "ok":
			coverage.Answered++
		case "denied":
			coverage.Denied++
		case "skipped":
			coverage.Skipped++
		default:
			coverage.Failed++
		}
	}
	return &coverage
}

func readReceipt(raw json.RawMessage) (Receipt, bool) {
	var result struct {
		AccountID   string          `json:"account_id"`
		AccountName string          `json:"account_name"`
		Region      string          `json:"region"`
		Status      string          `json:"status"`
		Error       json.RawMessage `json:"error"`
		Receipt     json.RawMessage `json:"receipt"`
	}
	if json.Unmarshal(raw, &result) != nil || result.AccountID == "" {
		return Receipt{}, false
	}
	receipt := Receipt{
		AccountID:   result.AccountID,
		AccountName: result.AccountName,
		Region:      result.Region,
		Status:      result.Status,
		Error:       readFault(result.Error),
	}
	var proof struct {
		RoleARN        string `json:"role_arn"`
		SourceIdentity string `json:"source_identity"`
		Operation      string `json:"operation"`
		APICalls       int64  `json:"api_calls"`
		DurationMS     int64  `json:"duration_ms"`
	}
	if len(result.Receipt) > 0 && json.Unmarshal(result.Receipt, &proof) == nil {
		receipt.RoleARN = proof.RoleARN
		receipt.SourceIdentity = proof.SourceIdentity
		receipt.Operation = proof.Operation
		receipt.APICalls = proof.APICalls
		receipt.DurationMS = proof.DurationMS
	}
	return receipt, true
}

// readFault reads {"code","message","hint"}, or a bare string as the message.
func readFault(raw json.RawMessage) *Fault {
	if len(raw) == 0 || raw[0] == 'n' {
		return nil
	}
	var fault Fault
	if json.Unmarshal(raw, &fault) == nil {
		return &fault
	}
	var message string
	if json.Unmarshal(raw, &message) == nil && message != "" {
		return &Fault{Code: string(CodeInternal), Message: message}
	}
	return &Fault{Code: string(CodeInternal)}
}
