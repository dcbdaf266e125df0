package rows

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/central-ops/central-ops/services/bridge"
)

func TestRows(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ rows, selectRows, document, want string }{
		"the only list":             {"", "", `{"Vpcs":[1,2],"NextToken":"x","ResponseMetadata":{}}`, `[1,2]`},
		"two lists":                 {"", "", `{"A":[1],"B":[2],"ResponseMetadata":{}}`, `[{"A":[1],"B":[2]}]`},
		"no list":                   {"", "", `{"Account":"1"}`, `[{"Account":"1"}]`},
		"nothing":                   {"", "", `{"ResponseMetadata":{}}`, `null`},
		"where the table says":      {"R[].I[]", "", `{"R":[{"I":[1]},{"I":[2,3]}]}`, `[1,2,3]`},
		"select a list":             {"R[].I[]", "R[].N", `{"R":[{"N":"a"},{"N":"b"}]}`, `["a","b"]`},
		"select a scalar":           {"", "length(R)", `{"R":[1,2]}`, `[2]`},
		"select an object":          {"", "{n:R[0]}", `{"R":[1]}`, `[{"n":1}]`},
		"select what isn't there":   {"", "Nope", `{"R":[1]}`, `null`},
		"an empty list has no rows": {"", "", `{"R":[]}`, `[]`},
	} {
		shape, err := Compile(bridge.Operation{Rows: c.rows}, c.selectRows, "")
		if err != nil {
			t.Fatal(err)
		}
		var document any
		if err := json.Unmarshal([]byte(c.document), &document); err != nil {
			t.Fatal(err)
		}
		rows, err := shape.Rows(document)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got, err := json.Marshal(rows)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func FuzzCompile(f *testing.F) {
	for _, expression := range []string{"a[?b=='c'].d", "length(@)", "a[", "sort_by(a,&b)", "`", "'", "a.*.{b:c}", "[::0]", "avg(a)", "max_by(a,&b)", "a[-1]", "to_number(a)", "group_by(a,&b)"} {
		f.Add(expression)
	}
	f.Fuzz(func(t *testing.T, expression string) {
		shape, err := Compile(bridge.Operation{}, expression, expression)
		if err != nil {
			if bridge.CodeOf(err) != bridge.Invalid {
				t.Errorf("%q: %v", expression, err)
			}
			return
		}
		document := map[string]any{"a": []any{map[string]any{"b": "c", "d": 1.0}, nil, "x"}}
		if _, err := shape.Rows(document); err != nil && bridge.CodeOf(err) != bridge.Invalid {
			t.Errorf("%q: %v", expression, err)
		}
	})
}
