package operations

import (
	"fmt"
	"strings"
)

// Categories of a Verdict that refuses.
const (
	CategoryWrite       = "write"       // it changes something, by its IAM access level or its name
	CategoryEffect      = "effect"      // its access level is Read, but it starts, changes or spends something
	CategoryUnmapped    = "unmapped"    // no IAM action of it is known, so nothing vouches for it
	CategoryCredentials = "credentials" // the answer is, or lets its holder act as, a credential
	CategorySecrets     = "secrets"     // the answer is secret material
	CategoryData        = "data"        // the answer is what users stored or sent
)

// Verdict is whether an operation with its parameters may be sent.
type Verdict struct {
	Allowed bool
	// Category is "" for a plain read that is allowed, "data" for a data read that the
	// configuration allows, else why it is refused: one of the constants.
	Category string
	Reason   string // one line, for whoever asked; "" if allowed
	Hint     string // what to do instead; "" if nothing
}

// Classify judges an operation with its parameters. allowDataReads says whether the configuration
// opts in to a read of user data; nil means never. Only category data can be opted in to.
func (t *Table) Classify(op Operation, params map[string]any, allowDataReads func(service, operation string) bool) Verdict {
	category, reason := op.category, op.reason
	if c, r, ok := byParams(op, params); ok {
		category, reason = c, r
	}
	if op.Name == "" || (category == "" || category == CategoryData) && !op.ReadOnly {
		category, reason = CategoryUnmapped, ""
	}
	switch category {
	case "":
		return Verdict{Allowed: true}
	case CategoryData:
		if allowDataReads != nil && allowDataReads(op.Service, op.Name) {
			return Verdict{Allowed: true, Category: CategoryData}
		}
	}
	v := Verdict{Category: category}
	v.Reason, v.Hint = explain(op, category, reason)
	return v
}

func explain(op Operation, category, reason string) (line, hint string) {
	switch category {
	case CategoryWrite:
		return fmt.Sprintf("%s is not a read operation (access level %s)", op, op.AccessLevel),
			"only operations that read are allowed: look for one that begins with Describe, List or Get"
	case CategoryEffect:
		return fmt.Sprintf("%s is refused: %s", op, reason),
			"only operations that do nothing but answer are allowed: look for one that begins with Describe, List or Get"
	case CategoryCredentials:
		return fmt.Sprintf("%s is refused: %s", op, reason), "credentials are never handed out; no configuration allows it"
	case CategorySecrets:
		return fmt.Sprintf("%s is refused: %s", op, reason), "secret values are never read; ask for names and metadata instead"
	case CategoryData:
		return fmt.Sprintf("%s is refused: %s", op, reason), "reads of user data are off; the operator can allow this operation by name"
	}
	return fmt.Sprintf("%s is refused: no IAM action is known for it, so nothing shows that it only reads", op),
		"ask for another operation that returns the same"
}

// paramRule changes the category of one operation by its parameters.
type paramRule struct {
	param    string
	matches  func(value any) bool
	category string
	reason   string
}

// paramRules are kept by "service:Operation"; the first that matches decides.
var paramRules = map[string][]paramRule{}

func byParams(op Operation, params map[string]any) (category, reason string, ok bool) {
	for _, r := range paramRules[op.String()] {
		for name, value := range params {
			// The service folds nothing, but a parameter that is nearly right must not slip past.
			if strings.EqualFold(name, r.param) && r.matches(value) {
				return r.category, r.reason, true
			}
		}
	}
	return "", "", false
}
