package operations

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/central-ops/central-ops/services/bridge/internal/operations/record"
)

// CheckParams reports every fault of the top-level parameters of a call, joined: names that the
// operation does not have, with the nearest ones; required ones that are missing; values of the
// wrong type. Values are as encoding/json decodes them, json.Number included. What is inside
// objects is left to the service. Timestamps are strings (ISO 8601) or numbers (seconds), blobs
// are strings. OwnAccount may be left out: the caller fills it in.
func (o Operation) CheckParams(params map[string]any) error {
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(params)) {
		want, ok := o.Params[name]
		if !ok {
			faults = append(faults, o.unknownParam(name))
			continue
		}
		if !conforms(params[name], want) {
			faults = append(faults, fmt.Errorf("parameter %s of %s must be %s, not %s", name, o, article(want), describe(params[name])))
		}
	}
	for _, name := range o.Required {
		if _, ok := params[name]; !ok && name != o.OwnAccount() {
			faults = append(faults, fmt.Errorf("parameter %s of %s is required (%s)", name, o, o.Params[name]))
		}
	}
	return errors.Join(faults...)
}

// ownAccount is, by service, the parameter in which an operation wants the id of the account whose credentials it is called with.
// Elsewhere (organizations, sso-admin) a parameter of that name means any account.
var ownAccount = map[string]string{"budgets": "AccountId", "glacier": "accountId", "quicksight": "AwsAccountId", "s3control": "AccountId"}

// OwnAccount returns the required parameter that takes the id of the account that is asked; "" for none.
func (o Operation) OwnAccount() string {
	if name := ownAccount[o.Service]; slices.Contains(o.Required, name) {
		return name
	}
	return ""
}

func (o Operation) unknownParam(name string) error {
	if len(o.Params) == 0 {
		return fmt.Errorf("%s has no parameter %q; it takes none", o, name)
	}
	names := slices.Sorted(maps.Keys(o.Params))
	if near := nearest(record.Fold(name), names); len(near) > 0 {
		return fmt.Errorf("%s has no parameter %q; nearest: %s", o, name, strings.Join(near, ", "))
	}
	return fmt.Errorf("%s has no parameter %q; it has: %s", o, name, strings.Join(names, ", "))
}

func conforms(value any, want string) bool {
	if item, ok := strings.CutPrefix(want, "list of "); ok {
		list, ok := value.([]any)
		return ok && !slices.ContainsFunc(list, func(v any) bool { return !conforms(v, item) })
	}
	switch want {
	case "list":
		_, ok := value.([]any)
		return ok
	case "object":
		_, ok := value.(map[string]any)
		return ok
	case "boolean":
		_, ok := value.(bool)
		return ok
	case "integer":
		n, ok := number(value)
		return ok && n == math.Trunc(n)
	case "number":
		_, ok := number(value)
		return ok
	case "timestamp":
		if _, ok := number(value); ok {
			return true
		}
	}
	_, ok := value.(string)
	return ok
}

func number(value any) (float64, bool) {
	switch v := value.(type) {
	case float64:
		return v, true
	case int:
		return float64(v), true
	case json.Number:
		f, err := v.Float64()
		return f, err == nil
	}
	return 0, false
}

func article(typ string) string {
	if typ[0] == 'i' || typ[0] == 'o' {
		return "an " + typ
	}
	return "a " + typ
}

// describe is the JSON type of a value.
func describe(value any) string {
	if _, ok := number(value); ok {
		return "a number"
	}
	switch v := value.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case string:
		return "a string"
	case map[string]any:
		return "an object"
	case []any:
		kinds := map[string]bool{}
		for _, item := range v {
			kinds[describe(item)] = true
		}
		return "a list with " + strings.Join(slices.Sorted(maps.Keys(kinds)), " and ")
	}
	return fmt.Sprintf("a %T", value)
}
