package operations

import (
	"fmt"
	"slices"
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
	rule, ruled := byParams(op, params)
	if ruled {
		category, reason = rule.category, rule.reason
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
	if ruled {
		v.Hint = rule.hint
	}
	return v
}

func explain(op Operation, category, reason string) (line, hint string) {
	switch category {
	case CategoryWrite:
		return fmt.Sprintf("%s is refused: it is not a read operation (IAM access level: %s)", op, op.AccessLevel),
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

// paramRule changes the category of an operation by one of its parameters.
type paramRule struct {
	param string
	// matches is asked for the value given, and for nil if the parameter is absent.
	matches  func(value any) bool
	category string // "" allows
	reason   string
	hint     string
}

// paramRules are kept by operation; the first that matches decides.
var paramRules = map[string][]paramRule{
	"apigateway:GetApiKey":          {{"includeValue", set, CategorySecrets, "with includeValue it returns the value of the key", "leave includeValue out"}},
	"apigateway:GetApiKeys":         {{"includeValues", set, CategorySecrets, "with includeValues it returns the values of the keys", "leave includeValues out"}},
	"datazone:GetConnection":        {{"withSecret", set, CategorySecrets, "with withSecret it returns the credentials of the connection", "leave withSecret out"}},
	"ec2:DescribeInstanceAttribute": {{"Attribute", named("userData"), CategorySecrets, "user data often holds credentials", "ask for another attribute"}},
	"glue:GetConnection":            {hidePassword},
	"glue:GetConnections":           {hidePassword},
	"ssm:GetParameter":              {decryption, {param: "Name", matches: published}},
	"ssm:GetParameterHistory":       {decryption},
	"ssm:GetParameters":             {decryption, {param: "Names", matches: published}},
	"ssm:GetParametersByPath":       {decryption, {param: "Path", matches: published}},
}

var (
	decryption   = paramRule{"WithDecryption", set, CategorySecrets, "with WithDecryption it returns secret values in the clear", "leave WithDecryption out"}
	hidePassword = paramRule{"HidePassword", unset, CategorySecrets, "it returns passwords unless HidePassword is true", "set HidePassword to true"}
)

// set says whether a flag is on: anything but an absent, null or false value, since the service
// decides what else it takes for true.
func set(value any) bool { return value != nil && value != false }

func unset(value any) bool { return value != true }

func named(name string) func(any) bool {
	return func(value any) bool {
		s, ok := value.(string)
		return ok && strings.EqualFold(s, name)
	}
}

// published says whether value names only parameters that AWS itself publishes for everyone, such
// as the ids of current machine images. The tree cannot hold anybody else's parameters.
// Source: https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-public-parameters.html
func published(value any) bool {
	switch v := value.(type) {
	case string:
		return strings.HasPrefix(v, "/aws/service/")
	case []any:
		return len(v) > 0 && !slices.ContainsFunc(v, func(item any) bool { return !published(item) })
	}
	return false
}

func byParams(op Operation, params map[string]any) (paramRule, bool) {
	for _, r := range paramRules[op.String()] {
		if value, given := params[r.param]; r.matches(value) && (given || r.category != "") {
			return r, true
		}
		for name, value := range params {
			// The service is exact about names, but a nearly right one must not slip past a refusal.
			if r.category != "" && strings.EqualFold(name, r.param) && r.matches(value) {
				return r, true
			}
		}
	}
	return paramRule{}, false
}
