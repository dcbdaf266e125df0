// Package iampolicy evaluates IAM policy documents: the subset that the project's roles, trust policies and session
// policies use.
//
// It follows https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html: an explicit
// deny wins, an allow is needed, and documents of different kinds are intersected by the caller. What the package
// does not know (an operator, a principal type) is an error of Parse and never a silent allow.
package iampolicy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Document is one policy document.
type Document struct {
	Statements []Statement
}

// Statement is one statement. Of Action and NotAction exactly one is set; of Resource and NotResource, and of
// Principal and NotPrincipal, at most one.
type Statement struct {
	Sid          string
	Allow        bool // false means Deny
	Principal    []Principal
	NotPrincipal []Principal
	Action       []string
	NotAction    []string
	Resource     []string
	NotResource  []string
	Conditions   []Condition
}

// Principal is one entry of a trust policy's Principal element. Type is AWS, Service, Federated or * for anyone.
type Principal struct{ Type, Value string }

// Condition is one operator with one key and its values.
type Condition struct {
	Operator string // as written, e.g. ForAllValues:StringLikeIfExists
	Key      string // lower case
	Values   []string

	set      string // "", forallvalues or foranyvalue
	base     operator
	ifExists bool
}

// Request is what is to be decided.
type Request struct {
	Action   string // e.g. ec2:DescribeInstances
	Resource string // ARN, or "*" when the action has none
	Caller   Caller
	Context  Context
}

// Caller is who asks, for trust policies.
type Caller struct {
	Account    string // 12 digits; "" for a service
	RoleARN    string // arn:aws:iam::<account>:role/...; "" when the caller is not a role's session
	SessionARN string // arn:aws:sts::<account>:assumed-role/...
	Service    string // e.g. lambda.amazonaws.com; "" for a person or role
}

// Context holds condition keys with their values. A key that is absent is not the same as one without values.
type Context map[string][]string

// Set sets key, whose case does not matter, to values.
func (c Context) Set(key string, values ...string) { c[strings.ToLower(key)] = values }

// get returns the values of a lower case key.
func (c Context) get(key string) ([]string, bool) {
	v, ok := c[key]
	return v, ok
}

// Decision is the result of an evaluation.
type Decision int

// The three results. Only Allowed lets a request through.
const (
	ImplicitDeny Decision = iota // no statement allows it
	Allowed
	ExplicitDeny // a Deny statement matches
)

func (d Decision) String() string {
	switch d {
	case Allowed:
		return "allowed"
	case ExplicitDeny:
		return "explicit deny"
	default:
		return "implicit deny"
	}
}

// Evaluate decides r by documents of one kind taken together, such as all policies of a role.
// A document without Principal elements, as identity policies are, applies to every caller.
func Evaluate(documents []Document, r Request) Decision {
	result := ImplicitDeny
	for _, d := range documents {
		for _, s := range d.Statements {
			if !s.matches(r) {
				continue
			}
			if !s.Allow {
				return ExplicitDeny
			}
			result = Allowed
		}
	}
	return result
}

func (s Statement) matches(r Request) bool {
	if len(s.Principal) > 0 && !slices.ContainsFunc(s.Principal, r.Caller.is) {
		return false
	}
	if slices.ContainsFunc(s.NotPrincipal, r.Caller.is) {
		return false
	}
	action := func(pattern string) bool { return glob(strings.ToLower(pattern), strings.ToLower(r.Action)) }
	if len(s.Action) > 0 && !slices.ContainsFunc(s.Action, action) || slices.ContainsFunc(s.NotAction, action) {
		return false
	}
	resource := func(pattern string) bool {
		expanded, ok := expand(pattern, r.Context)
		return ok && glob(expanded, r.Resource)
	}
	if len(s.Resource) > 0 && !slices.ContainsFunc(s.Resource, resource) || slices.ContainsFunc(s.NotResource, resource) {
		return false
	}
	return !slices.ContainsFunc(s.Conditions, func(c Condition) bool { return !c.holds(r.Context) })
}

// is tells whether the caller is the principal p.
func (c Caller) is(p Principal) bool {
	switch p.Type {
	case "*":
		return true
	case "Service":
		return c.Service != "" && p.Value == c.Service
	case "AWS":
		if c.Account == "" {
			return false
		}
		return p.Value == "*" || p.Value == c.Account || p.Value == "arn:aws:iam::"+c.Account+":root" ||
			c.RoleARN != "" && p.Value == c.RoleARN || p.Value == c.SessionARN
	}
	return false
}

// Parse reads a policy document. Unknown elements, operators and principal types are errors, as IAM has it.
func Parse(text string) (Document, error) {
	var raw struct {
		Version   string
		ID        string `json:"Id"`
		Statement json.RawMessage
	}
	if err := strict(text, &raw); err != nil {
		return Document{}, fmt.Errorf("syntax errors in policy: %w", err)
	}
	if raw.Version != "" && raw.Version != "2012-10-17" && raw.Version != "2008-10-17" {
		return Document{}, fmt.Errorf("unknown policy version %q", raw.Version)
	}
	var statements []rawStatement
	if trimmed := bytes.TrimSpace(raw.Statement); len(trimmed) > 0 && trimmed[0] == '{' {
		statements = make([]rawStatement, 1)
		if err := strict(string(trimmed), &statements[0]); err != nil {
			return Document{}, fmt.Errorf("syntax errors in policy: %w", err)
		}
	} else if err := strict(string(raw.Statement), &statements); err != nil {
		return Document{}, fmt.Errorf("syntax errors in policy: %w", err)
	}
	if len(statements) == 0 {
		return Document{}, errors.New("a policy must have at least one statement")
	}
	d := Document{Statements: make([]Statement, len(statements))}
	for i, s := range statements {
		parsed, err := s.parse()
		if err != nil {
			return Document{}, fmt.Errorf("statement %d: %w", i+1, err)
		}
		d.Statements[i] = parsed
	}
	return d, nil
}

type rawStatement struct {
	Sid          string
	Effect       string
	Principal    json.RawMessage
	NotPrincipal json.RawMessage
	Action       oneOrMany
	NotAction    oneOrMany
	Resource     oneOrMany
	NotResource  oneOrMany
	Condition    map[string]map[string]scalars
}

func (s rawStatement) parse() (Statement, error) {
	if s.Effect != "Allow" && s.Effect != "Deny" {
		return Statement{}, fmt.Errorf("the effect is Allow or Deny, not %q", s.Effect)
	}
	if (len(s.Action) == 0) == (len(s.NotAction) == 0) {
		return Statement{}, errors.New("want exactly one of Action and NotAction")
	}
	for _, a := range slices.Concat(s.Action, s.NotAction) {
		service, name, found := strings.Cut(a, ":")
		if a != "*" && (!found || service == "" || name == "" || strings.ContainsAny(service, "*?")) {
			return Statement{}, fmt.Errorf("actions must be <service>:<name> or *, not %q", a)
		}
	}
	if len(s.Resource) > 0 && len(s.NotResource) > 0 {
		return Statement{}, errors.New("want at most one of Resource and NotResource")
	}
	principal, err := parsePrincipal(s.Principal)
	if err != nil {
		return Statement{}, err
	}
	notPrincipal, err := parsePrincipal(s.NotPrincipal)
	if err != nil {
		return Statement{}, err
	}
	if len(principal) > 0 && len(notPrincipal) > 0 {
		return Statement{}, errors.New("want at most one of Principal and NotPrincipal")
	}
	out := Statement{
		Sid: s.Sid, Allow: s.Effect == "Allow",
		Principal: principal, NotPrincipal: notPrincipal,
		Action: s.Action, NotAction: s.NotAction, Resource: s.Resource, NotResource: s.NotResource,
	}
	for _, op := range slices.Sorted(maps.Keys(s.Condition)) {
		for _, key := range slices.Sorted(maps.Keys(s.Condition[op])) {
			c, err := newCondition(op, key, s.Condition[op][key])
			if err != nil {
				return Statement{}, err
			}
			out.Conditions = append(out.Conditions, c)
		}
	}
	return out, nil
}

func parsePrincipal(raw json.RawMessage) ([]Principal, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	var anyone string
	if json.Unmarshal(raw, &anyone) == nil {
		if anyone != "*" {
			return nil, fmt.Errorf("a principal is * or an object, not %q", anyone)
		}
		return []Principal{{Type: "*", Value: "*"}}, nil
	}
	var byType map[string]oneOrMany
	if err := json.Unmarshal(raw, &byType); err != nil {
		return nil, fmt.Errorf("principal: %w", err)
	}
	var out []Principal
	for _, kind := range slices.Sorted(maps.Keys(byType)) {
		if kind != "AWS" && kind != "Service" && kind != "Federated" {
			return nil, fmt.Errorf("unknown principal type %q", kind)
		}
		for _, value := range byType[kind] {
			if kind == "AWS" && value != "*" && strings.ContainsAny(value, "*?") {
				return nil, fmt.Errorf("a principal may not hold a wildcard: %q", value)
			}
			out = append(out, Principal{Type: kind, Value: value})
		}
	}
	if len(out) == 0 {
		return nil, errors.New("a principal names nobody")
	}
	return out, nil
}

// oneOrMany is a string or a list of strings.
type oneOrMany []string

func (o *oneOrMany) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*o = oneOrMany{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(o))
}

// scalars is a string, number or boolean, or a list of them, kept as text.
type scalars []string

func (s *scalars) UnmarshalJSON(data []byte) error {
	var many []json.RawMessage
	if json.Unmarshal(data, &many) != nil {
		many = []json.RawMessage{data}
	}
	for _, raw := range many {
		var text string
		if json.Unmarshal(raw, &text) != nil {
			if text = string(raw); text == "null" || strings.ContainsAny(text, "{[") {
				return fmt.Errorf("a condition value must be text, number or boolean, not %s", text)
			}
		}
		*s = append(*s, text)
	}
	return nil
}

// strict decodes exactly one JSON value and refuses members that the target does not have.
func strict(text string, into any) error {
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if d.More() {
		return errors.New("more than one JSON value")
	}
	return nil
}

// glob matches s against a pattern with * (any run) and ? (one character).
func glob(pattern, s string) bool {
	// star and mark are where to go on when the text after the last * did not fit.
	p, i, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// expand puts condition keys in place of ${key} and ${key, 'default'}. It is false when a key without a default is
// absent or has several values: such a pattern matches nothing.
func expand(pattern string, c Context) (string, bool) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(pattern, "${")
		b.WriteString(before)
		if !found {
			return b.String(), true
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return "", false
		}
		pattern = after
		if name == "*" || name == "?" || name == "$" {
			b.WriteString(name)
			continue
		}
		key, otherwise, hasDefault := strings.Cut(name, ",")
		values, _ := c.get(strings.ToLower(strings.TrimSpace(key)))
		switch {
		case len(values) == 1:
			b.WriteString(values[0])
		case len(values) == 0 && hasDefault:
			b.WriteString(strings.Trim(strings.TrimSpace(otherwise), "'"))
		default:
			return "", false
		}
	}
}
