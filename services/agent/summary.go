package agent

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
)

// account collects, over one invocation, what the tool results said: the server's own account of what
// was asked, independent of the model's words.
type account struct {
	coverage Coverage
	receipts []Receipt
	failures []toolFailure
}

// toolFailure is a tool call that failed as a whole.
type toolFailure struct {
	tool, input string
	fault       Fault
}

// record takes in one tool result. It returns the outcome's coverage.
func (a *account) record(call ToolCall, envelope Envelope) *Coverage {
	input := string(call.Input)
	if !envelope.OK {
		fault := Fault{Code: string(CodeInternal)}
		if envelope.Fault != nil {
			fault = *envelope.Fault
		}
		a.failures = append(a.failures, toolFailure{tool: call.Name, input: input, fault: fault})
	} else {
		// The same call, made again and answered: the earlier failure no longer matters.
		kept := a.failures[:0]
		for _, failure := range a.failures {
			if failure.tool != call.Name || failure.input != input {
				kept = append(kept, failure)
			}
		}
		a.failures = kept
	}

	operation := operationOf(call.Input)
	for _, receipt := range envelope.Receipts {
		receipt.Tool = call.Name
		if receipt.Operation == "" {
			receipt.Operation = operation
		}
		a.receipts = append(a.receipts, receipt)
	}
	if envelope.Coverage != nil {
		a.coverage.add(*envelope.Coverage)
	}
	return envelope.Coverage
}

// operationOf returns "service:Operation" from a query's arguments, "" if they have none.
func operationOf(input json.RawMessage) string {
	var query struct {
		Service   string `json:"service"`
		Operation string `json:"operation"`
	}
	if json.Unmarshal(input, &query) != nil || query.Service == "" || query.Operation == "" {
		return ""
	}
	return oneLine(query.Service+":"+query.Operation, 128)
}

// maxListed is how many unanswered targets or failed calls a notice names; the receipts have all.
const maxListed = 20

// notice returns what the server adds to the answer when a target did not answer or a tool call
// failed: which, and why, from the tool results. It returns "" when everything was answered.
func (a *account) notice() string {
	var out strings.Builder
	missing := a.unanswered()
	if a.coverage.Partial() {
		fmt.Fprintf(&out, "Coverage: %d of %s answered", a.coverage.Answered, plural(a.coverage.Targets, "target"))
		for _, part := range []struct {
			count int64
			name  string
		}{{a.coverage.Denied, "denied"}, {a.coverage.Failed, "failed"}, {a.coverage.Skipped, "skipped"}} {
			if part.count > 0 {
				fmt.Fprintf(&out, ", %d %s", part.count, part.name)
			}
		}
		out.WriteString(".")
		if len(missing) > 0 {
			out.WriteString(" Not answered: ")
			out.WriteString(list(missing))
			out.WriteString(".")
		}
		if len(missing) == 0 && a.allAnsweredLater() {
			out.WriteString(" Each of them answered when it was asked again.")
		} else {
			out.WriteString(" Totals leave these out.")
		}
	}

	var failed []string
	for _, failure := range a.failures {
		if !outage(failure.fault.Code) {
			continue // refused input, or a right that is missing: the model was told and has gone on
		}
		failed = append(failed, fmt.Sprintf("%s (%s)", oneLine(failure.tool, 128), reason(failure.fault)))
	}
	if len(failed) > 0 {
		if out.Len() > 0 {
			out.WriteString(" ")
		}
		fmt.Fprintf(&out, "%s gave no result: %s.", plural(int64(len(failed)), "tool call"), list(failed))
	}
	return out.String()
}

// outage reports whether a tool call failed for a reason that leaves a hole in the answer.
func outage(code string) bool {
	switch Code(code) {
	case CodeThrottled, CodeTimeout, CodeUnavailable, CodeInternal, CodeForbidden, CodeUnauthenticated:
		return true
	}
	return false
}

type targetKey struct{ account, region, operation string }

func keyOf(receipt Receipt) targetKey {
	return targetKey{receipt.AccountID, receipt.Region, strings.ToLower(receipt.Operation)}
}

// unanswered describes each target that did not answer, once, unless it answered later.
func (a *account) unanswered() []string {
	answered := make(map[targetKey]bool)
	for _, receipt := range a.receipts {
		if receipt.Status == "ok" {
			answered[keyOf(receipt)] = true
		}
	}
	var missing []string
	seen := make(map[targetKey]bool)
	for _, receipt := range a.receipts {
		key := keyOf(receipt)
		if answered[key] || seen[key] {
			continue
		}
		seen[key] = true
		missing = append(missing, describe(receipt))
	}
	return missing
}

// allAnsweredLater reports whether the receipts account for every target that did not answer.
func (a *account) allAnsweredLater() bool {
	var short int64
	for _, receipt := range a.receipts {
		if receipt.Status != "ok" {
			short++
		}
	}
	return short > 0 && short >= a.coverage.Targets-a.coverage.Answered
}

func describe(receipt Receipt) string {
	var out strings.Builder
	out.WriteString(oneLine(receipt.AccountID, 32))
	if receipt.AccountName != "" {
		fmt.Fprintf(&out, " (%s)", oneLine(receipt.AccountName, 64))
	}
	if receipt.Region != "" {
		fmt.Fprintf(&out, " in %s", oneLine(receipt.Region, 32))
	}
	status := receipt.Status
	if status == "" {
		status = "failed"
	}
	fmt.Fprintf(&out, " %s", oneLine(status, 16))
	if receipt.Error != nil {
		if why := reason(*receipt.Error); why != "" {
			fmt.Fprintf(&out, " (%s)", why)
		}
	}
	return out.String()
}

func reason(fault Fault) string {
	code, message := oneLine(fault.Code, 32), strings.TrimRight(oneLine(fault.Message, 200), ".")
	switch {
	case message == "":
		return code
	case code == "":
		return message
	}
	return code + ": " + message
}

func list(items []string) string {
	if len(items) > maxListed {
		return fmt.Sprintf("%s; and %d more, see the receipts", strings.Join(items[:maxListed], "; "), len(items)-maxListed)
	}
	return strings.Join(items, "; ")
}

func plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// oneLine makes text from outside fit for a sentence of ours: printable, on one line, at most limit bytes.
func oneLine(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if len(text) <= limit {
		return text
	}
	cut := limit - len("…")
	for cut > 0 && text[cut]&0xC0 == 0x80 {
		cut--
	}
	return text[:cut] + "…"
}
