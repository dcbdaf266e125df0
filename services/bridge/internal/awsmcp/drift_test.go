package awsmcp

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDrift(t *testing.T) {
	t.Parallel()
	all := func() map[string]json.RawMessage {
		tools := map[string]json.RawMessage{}
		for name := range Needed {
			tools[name] = json.RawMessage(`{"type":"object"}`)
		}
		return tools
	}
	for name, c := range map[string]struct {
		change func(map[string]json.RawMessage)
		want   []string
	}{
		"nothing":          {func(map[string]json.RawMessage) {}, nil},
		"more tools":       {func(m map[string]json.RawMessage) { m["aws___new"] = nil }, nil},
		"a tool is gone":   {func(m map[string]json.RawMessage) { delete(m, getTasks) }, []string{"aws___get_tasks is missing"}},
		"an argument gone": {func(m map[string]json.RawMessage) { m[runScript] = json.RawMessage(`{"properties":{"source":{}}}`) }, []string{"aws___run_script takes no code"}},
		"one more required": {func(m map[string]json.RawMessage) {
			m[runScript] = json.RawMessage(`{"properties":{"code":{},"reason":{}},"required":["code","reason"]}`)
		}, []string{"aws___run_script requires reason"}},
		"one more optional": {func(m map[string]json.RawMessage) {
			m[runScript] = json.RawMessage(`{"properties":{"code":{},"reason":{}},"required":["code"]}`)
		}, nil},
	} {
		tools := all()
		c.change(tools)
		if diff := cmp.Diff(c.want, Drift(tools)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
