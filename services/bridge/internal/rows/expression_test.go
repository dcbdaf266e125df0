package rows

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/central-ops/central-ops/services/bridge"
)

// What people and models write for aws --query is taken as the AWS CLI takes it.
func TestExpressionsOfTheAWSCLI(t *testing.T) {
	t.Parallel()
	var document any
	if err := json.Unmarshal([]byte(`{"I":[{"id":"a","state":"running","n":1},{"id":"b","state":"it's \"off\"","n":2}]}`), &document); err != nil {
		t.Fatal(err)
	}
	for expression, want := range map[string]string{
		"I[?state==`running`].id":               `["a"]`,
		"I[?state==` running`].id":              `["a"]`,
		"I[?state==`\"running\"`].id":           `["a"]`,
		"I[?state=='running'].id":               `["a"]`,
		"I[?state!=`running` && n==`2`].id":     `["b"]`,
		"I[?n>`1`].id":                          `["b"]`,
		"I[?contains(state, `it's`)].id":        `["b"]`,
		"join(`,`, I[].id)":                     `["a,b"]`,
		"I[].{\"a`b\": id, c: 'x`y`z'} | [0].c": `["x` + "`y`" + `z"]`,
		"join(`\\``, I[].id)":                   "[\"a`b\"]",
		"`[1, 2]`":                              `[1,2]`,
		"`null`":                                `[]`,
	} {
		shape, err := Compile(bridge.Operation{}, expression, "")
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		rows, err := shape.Rows(document)
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		if rows == nil {
			rows = []any{}
		}
		got, err := json.Marshal(rows)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", expression, diff)
		}
	}
}

func TestExpressionsRefused(t *testing.T) {
	t.Parallel()
	for expression, says := range map[string]string{
		"I[?":                    "select is not valid",
		"`abc":                   "select is not valid",
		"I[?state==`a\"b`]":      "select is not valid",
		"nope(@)":                "unknown function: nope",
		"I[].{a: len(@)}":        "unknown function: len",
		"I[?starts_wit(id,'a')]": "unknown function: starts_wit",
		// What aws --query has not, and would let a few words fill the memory.
		"pad_left(@, `1000000000`)":                                        "unknown function: pad_left",
		"replace(a, '', b)":                                                "unknown function: replace",
		"I[].{id: id, all: $}":                                             "has no $",
		"let $a = I in I[].[$a, $a]":                                       "has no let",
		strings.Repeat("[@,@]|", 40) + "@":                                 "too many copies",
		strings.Repeat("join('',[@,@])|", 40) + "@":                        "too many copies",
		strings.Repeat("to_string([", 40) + "@" + strings.Repeat("])", 40): "too many copies",
		"I[].{a:" + strings.Repeat("[@,@,@,@,@,@,@,@,@,@]|", 3) + "@,b:@}": "too many copies",
	} {
		if _, err := Compile(bridge.Operation{}, expression, ""); bridge.CodeOf(err) != bridge.Invalid || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want an invalid error that says %q", expression, err, says)
		}
	}
}

// An error that a value causes says nothing of the value: it may be large, and it is data.
func TestMismatchHidesTheValue(t *testing.T) {
	t.Parallel()
	document := map[string]any{"I": strings.Repeat("canary ", 1000)}
	for _, expression := range []string{"sum(I)", "sort(I)", "map(&sum(@), values(@))", "avg(I)"} {
		shape, err := Compile(bridge.Operation{}, expression, expression)
		if err != nil {
			t.Fatal(err)
		}
		_, rowsErr := shape.Rows(document)
		_, keyErr := shape.Key(document)
		for _, err := range []error{rowsErr, keyErr} {
			if bridge.CodeOf(err) != bridge.Invalid || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "JpType") || len(err.Error()) > 400 {
				t.Errorf("%s: %v", expression, err)
			}
		}
	}
}

// TestWhatJSONDoesNotHave: an expression that makes something of a response that no answer can hold is at fault, not the bridge.
func TestWhatJSONDoesNotHave(t *testing.T) {
	t.Parallel()
	document := map[string]any{"N": 1.0, "S": "NaN"}
	for expression, fits := range map[string]bool{
		"N / `0`": false, "[N % `0`]": false, "{a:to_number(S)}": false, "to_number('Infinity')": false, "sum([`1e308`,`1e308`])": false, "&N": false, "[&N]": false,
		"length(S)": true, "find_first(S, 'N')": true, "to_number('1e308')": true, "keys(@)": true, "N == `1`": true, "[]": true, "items(@)": true, "split('a', S)": true,
	} {
		shape, err := Compile(bridge.Operation{}, expression, expression)
		if err != nil {
			t.Fatal(err)
		}
		_, rowsErr := shape.Rows(document)
		_, keyErr := shape.Key(document)
		for _, err := range []error{rowsErr, keyErr} {
			if fits != (err == nil) || !fits && bridge.CodeOf(err) != bridge.Invalid {
				t.Errorf("%s: %v", expression, err)
			}
		}
	}
}

// TestRowsOfReasonableSize: an expression may make more of a response than there is, but not without end.
func TestRowsOfReasonableSize(t *testing.T) {
	t.Parallel()
	var list []any
	for range 1000 {
		list = append(list, strings.Repeat("x", 1000))
	}
	document := map[string]any{"I": list, "sep": strings.Repeat("-", 100_000)}
	for expression, fits := range map[string]bool{
		"I":                             true,
		"I[].{a:@,b:@,c:@,d:@,e:@}":     true,
		"join(', ', I)":                 true,
		"[I,I,I,I]|[@,@,@,@]|[@,@,@,@]": false,
		"join(sep, I)":                  false,
		"I[].['" + strings.Repeat("x", 40_000) + "']": false,
	} {
		shape, err := Compile(bridge.Operation{}, expression, "")
		if err != nil {
			t.Fatal(err)
		}
		rows, err := shape.Rows(document)
		if fits != (err == nil) || !fits && (bridge.CodeOf(err) != bridge.Invalid || rows != nil) {
			t.Errorf("%.40s: %d rows, %v", expression, len(rows), err)
		}
	}
	shape, err := Compile(bridge.Operation{}, "", "[@,@,@,@,@,@]")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := shape.Key("short"); err != nil {
		t.Error(err)
	}
	if _, err := shape.Key(list[0]); bridge.CodeOf(err) != bridge.Invalid {
		t.Errorf("a key of 6,000 bytes: %v", err)
	}
}
