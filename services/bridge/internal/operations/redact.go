package operations

import (
	"strings"

	"github.com/central-ops/central-ops/services/bridge/internal/operations/record"
)

// Redacted stands in an answer where a value was taken out.
const Redacted = "[redacted]"

// rule is a path of member names, matched against the end of a value's path; lists do not count.
// "*" is any one member, "**" at the end is everything beneath.
type rule []string

func parseRules(texts []string) []rule {
	rules := make([]rule, len(texts))
	for i, t := range texts {
		rules[i] = strings.Split(t, ".")
	}
	return rules
}

// Redact returns document with the values that must not be shown replaced by Redacted, and how
// many there were; names stay. document is an answer of the operation, or a part of it, as
// encoding/json decodes it; it is not changed.
func (t *Table) Redact(serviceName, operationName string, document any) (redacted any, fields int) {
	r := redactor{}
	if i, ok := t.index().byName[record.Fold(serviceName)]; ok {
		r.rules = t.services[i]().rules
	}
	out := r.walk(nil, document)
	return out, r.fields
}

type redactor struct {
	rules  []rule
	fields int
}

func (r *redactor) walk(path []string, value any) any {
	switch v := value.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, item := range v {
			out[k] = r.walk(append(path, k), item)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = r.walk(path, item)
		}
		return out
	}
	if value != nil && r.secret(path) {
		r.fields++
		return Redacted
	}
	return value
}

func (r *redactor) secret(path []string) bool {
	for _, rule := range r.rules {
		if rule.matches(path) {
			return true
		}
	}
	return false
}

func (r rule) matches(path []string) bool {
	if len(r) > len(path) {
		return false
	}
	for i, want := range r {
		if got := path[len(path)-len(r)+i]; want != "*" && !strings.EqualFold(want, got) {
			return false
		}
	}
	return true
}
