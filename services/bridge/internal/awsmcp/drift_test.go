package awsmcp

import (
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
)

func TestDrift(t *testing.T) {
	t.Parallel()
	all := func() map[string]jsontext.Value {
		tools := map[string]jsontext.Value{}
		for name := range Needed {
			tools[name] = jsontext.Value(`{"type":"object"}`)
		}
		return tools
	}
	for name, c := range map[string]struct {
		change func(map[string]jsontext.Value)
		want   []string
	}{
		"nothing":          {func(map[string]jsontext.Value) {}, nil},
		"more tools":       {func(m map[string]jsontext.Value) { m["aws___new"] = nil }, nil},
		"a tool is gone":   {func(m map[string]jsontext.Value) { delete(m, getTasks) }, []string{"aws___get_tasks is missing"}},
		"an argument gone": {func(m map[string]jsontext.Value) { m[runScript] = jsontext.Value(`{"properties":{"source":{}}}`) }, []string{"aws___run_script takes no code"}},
		"one more required": {func(m map[string]jsontext.Value) {
			m[runScript] = jsontext.Value(`{"properties":{"code":{},"reason":{}},"required":["code","reason"]}`)
		}, []string{"aws___run_script requires reason"}},
		"one more optional": {func(m map[string]jsontext.Value) {
			m[runScript] = jsontext.Value(`{"properties":{"code":{},"reason":{}},"required":["code"]}`)
		}, nil},
	} {
		tools := all()
		c.change(tools)
		if diff := cmp.Diff(c.want, Drift(tools)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
