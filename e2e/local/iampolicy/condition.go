package iampolicy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// operator is a condition operator without its set prefix and IfExists suffix.
type operator struct {
	// match compares one policy value with one request value.
	match func(want, got string) bool
	// negated operators hold when no policy value matches, and when the key is absent.
	negated bool
	null    bool
}

// operators are those that the evaluator knows, by lower case name.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
var operators = map[string]operator{
	"stringequals":              {match: equal},
	"stringnotequals":           {match: equal, negated: true},
	"stringequalsignorecase":    {match: strings.EqualFold},
	"stringnotequalsignorecase": {match: strings.EqualFold, negated: true},
	"stringlike":                {match: glob},
	"stringnotlike":             {match: glob, negated: true},
	"arnequals":                 {match: arnLike},
	"arnlike":                   {match: arnLike},
	"arnnotequals":              {match: arnLike, negated: true},
	"arnnotlike":                {match: arnLike, negated: true},
	"bool":                      {match: strings.EqualFold},
	"null":                      {null: true},
	"numericequals":             {match: numeric(func(want, got float64) bool { return got == want })},
	"numericnotequals":          {match: numeric(func(want, got float64) bool { return got == want }), negated: true},
	"numericlessthan":           {match: numeric(func(want, got float64) bool { return got < want })},
	"numericlessthanequals":     {match: numeric(func(want, got float64) bool { return got <= want })},
	"numericgreaterthan":        {match: numeric(func(want, got float64) bool { return got > want })},
	"numericgreaterthanequals":  {match: numeric(func(want, got float64) bool { return got >= want })},
}

func newCondition(op, key string, values []string) (Condition, error) {
	c := Condition{Operator: op, Key: strings.ToLower(key), Values: values}
	name := strings.ToLower(op)
	if set, rest, found := strings.Cut(name, ":"); found {
		if set != "forallvalues" && set != "foranyvalue" {
			return Condition{}, fmt.Errorf("unknown condition operator %q", op)
		}
		c.set, name = set, rest
	}
	name, c.ifExists = strings.CutSuffix(name, "ifexists")
	base, ok := operators[name]
	if !ok || base.null && (c.ifExists || c.set != "") {
		return Condition{}, fmt.Errorf("unknown condition operator %q", op)
	}
	if len(values) == 0 {
		return Condition{}, fmt.Errorf("condition %s on %s has no value", op, key)
	}
	c.base = base
	return c, nil
}

// holds tells whether the condition is met in the context of a request.
func (c Condition) holds(ctx Context) bool {
	got, present := ctx.get(c.Key)
	if c.base.null {
		return slices.ContainsFunc(c.Values, func(v string) bool { return strings.EqualFold(v, strconv.FormatBool(!present)) })
	}
	if !present || len(got) == 0 {
		switch {
		case c.ifExists, c.set == "forallvalues":
			return true
		case c.set == "foranyvalue":
			return false
		default:
			return c.base.negated
		}
	}
	one := func(value string) bool {
		matched := slices.ContainsFunc(c.Values, func(want string) bool {
			expanded, ok := expand(want, ctx)
			return ok && c.base.match(expanded, value)
		})
		return matched != c.base.negated
	}
	switch {
	case c.set == "foranyvalue":
		return slices.ContainsFunc(got, one)
	case c.base.negated || c.set == "forallvalues":
		return !slices.ContainsFunc(got, func(v string) bool { return !one(v) })
	default:
		// A key with several values needs a set operator; without one IAM compares as if any value would do.
		return slices.ContainsFunc(got, one)
	}
}

func equal(want, got string) bool { return want == got }

// arnLike compares ARNs part by part, so that * does not cross a colon before the last part.
func arnLike(want, got string) bool {
	w, g := strings.SplitN(want, ":", 6), strings.SplitN(got, ":", 6)
	if len(w) != 6 || len(g) != 6 {
		return want == "*"
	}
	for i := range w {
		if !glob(w[i], g[i]) {
			return false
		}
	}
	return true
}

func numeric(compare func(want, got float64) bool) func(want, got string) bool {
	return func(want, got string) bool {
		w, errW := strconv.ParseFloat(want, 64)
		g, errG := strconv.ParseFloat(got, 64)
		return errW == nil && errG == nil && compare(w, g)
	}
}
