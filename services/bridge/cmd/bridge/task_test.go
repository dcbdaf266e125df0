package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A script that takes long becomes a task. How aws___get_tasks holds one is not documented, so every shape is read in which the task's
// own value can be told from another's.
func TestTasks(t *testing.T) {
	t.Parallel()
	b := start(t)
	const working = `{"status":"working","task_id":"task-1","recommended_wait_seconds":0.01}`
	done := func(result string) string {
		return `{"tasks":[{"task_id":"task-1","status":"completed","result":` + result + `}]}`
	}
	for name, c := range map[string]struct {
		started string   // what run_script answers
		looks   []string // what get_tasks answers, the last one for ever; VALUE and TEXT are what the script returned
		status  string
		says    string // of the error
		within  time.Duration
	}{
		"value under the id":               {working, []string{`{"task-1":VALUE}`}, "ok", "", 0},
		"value as result":                  {working, []string{done(`VALUE`)}, "ok", "", 0},
		"value as text":                    {working, []string{done(`TEXT`)}, "ok", "", 0},
		"a whole tool result":              {working, []string{done(`{"content":[{"type":"text","text":TEXT}],"structuredContent":VALUE,"isError":false}`)}, "ok", "", 0},
		"a tool result of text":            {working, []string{done(`{"content":[{"type":"text","text":TEXT}]}`)}, "ok", "", 0},
		"a result in a result":             {working, []string{done(`{"result":VALUE}`)}, "ok", "", 0},
		"script raised":                    {working, []string{done(`{"status":"error","error":"An error occurred (AccessDenied) when calling the X operation: no"}`)}, "denied", "AccessDenied", 0},
		"script raised, in a tool result":  {working, []string{done(`{"structuredContent":{"status":"error","error":"An error occurred (AccessDenied) when calling the X operation: no"}}`)}, "denied", "AccessDenied", 0},
		"tool result is an error":          {working, []string{done(`{"isError":true,"content":[{"type":"text","text":"An error occurred (AccessDenied) when calling the X operation: no"}]}`)}, "denied", "AccessDenied", 0},
		"another task's value":             {working, []string{`{"tasks":[{"task_id":"task-2","status":"completed","result":VALUE}]}`}, "failed", "doesn't know the task", 0},
		"half done":                        {working, []string{`{"tasks":[{"task_id":"task-1","status":"working","recommended_wait_seconds":0.01,"result":{"return_value":{"regions":{}}}}]}`, done(`VALUE`)}, "ok", "", 0},
		"failed, says why":                 {working, []string{`{"tasks":[{"task_id":"task-1","status":"failed","statusMessage":"out of memory"}]}`}, "failed", "out of memory", 0},
		"failed, does not":                 {working, []string{`{"tasks":[{"task_id":"task-1","status":"cancelled"}]}`}, "failed", "cancelled", 0},
		"done, without a value":            {working, []string{`{"tasks":[{"task_id":"task-1","status":"completed"}]}`}, "failed", "holds no value", 0},
		"queued first":                     {`{"status":"queued","task_id":"task-1","recommended_wait_seconds":0.01}`, []string{`{"tasks":[{"task_id":"task-1","status":"queued"}]}`, done(`VALUE`)}, "ok", "", 0},
		"waiting time as text":             {`{"status":"working","task_id":"task-1","recommended_wait_seconds":"0.01"}`, []string{`{"tasks":[{"task_id":"task-1","status":"working","recommended_wait_seconds":"soon"}]}`, done(`VALUE`)}, "ok", "", 0},
		"waiting time null, then negative": {`{"status":"working","task_id":"task-1","recommended_wait_seconds":null}`, []string{`{"tasks":[{"task_id":"task-1","status":"working","recommended_wait_seconds":-5}]}`, done(`VALUE`)}, "ok", "", 0},
		"waiting time beyond the deadline": {`{"status":"working","task_id":"task-1","recommended_wait_seconds":1e30}`, []string{done(`VALUE`)}, "ok", "", 6 * time.Second},
		"without an id":                    {`{"status":"working"}`, []string{`{}`}, "failed", "holds no value", 0},
		"without end":                      {working, []string{`{"tasks":[{"task_id":"task-1","status":"working","recommended_wait_seconds":0.5}]}`}, "timeout", "no answer within the time", 4 * time.Second},
	} {
		looks := 0
		b.mcp.set(func(m *fakeMCP) {
			m.runs = nil
			m.fault = func(w http.ResponseWriter, _ *http.Request, id int64, run scriptRun) bool {
				value, _ := json.Marshal(m.value(run))
				text, _ := json.Marshal(string(value))
				m.set(func(m *fakeMCP) {
					m.polls = func(w http.ResponseWriter, id int64) {
						answer := c.looks[min(looks, len(c.looks)-1)]
						looks++
						toolResult(w, id, json.RawMessage(strings.NewReplacer("VALUE", string(value), "TEXT", string(text)).Replace(answer)))
					}
				})
				toolResult(w, id, json.RawMessage(c.started))
				return true
			}
		})
		if c.within == 0 {
			c.within = time.Minute
		}
		got := b.callWithin(c.within, b.token("ops"), "query", describe)
		said := fmt.Sprint(got.Error)
		if len(got.Results) == 1 && got.Results[0].Error != nil {
			said = got.Results[0].Error.Message
		}
		if got.statuses() != "222/us-east-1="+c.status || c.says != "" && !strings.Contains(said, c.says) || c.status == "ok" && got.Results[0].Count != 2 {
			t.Errorf("%s: got %s after %d looks, want %s: %s", name, got.statuses(), looks, c.status, said)
		}
	}
}

// A task ends with its MCP session: it is begun once more.
func TestTaskLostWithItsSession(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.mcp.set(func(m *fakeMCP) {
		m.fault = func(w http.ResponseWriter, _ *http.Request, id int64, run scriptRun) bool {
			if run.N > 1 {
				return false
			}
			m.set(func(m *fakeMCP) {
				delete(m.sessions, run.Session)
				m.polls = func(w http.ResponseWriter, id int64) {
					result(w, id, map[string]any{"isError": true, "content": []any{map[string]any{"type": "text", "text": "Task task-1 not found"}}})
				}
			})
			toolResult(w, id, map[string]any{"status": "working", "task_id": "task-1", "recommended_wait_seconds": 0.01})
			return true
		}
	})
	if got := b.call(b.token("ops"), "query", describe); got.statuses() != "222/us-east-1=ok" || len(b.mcp.runs) != 2 {
		t.Errorf("%s after %d scripts: %+v", got.statuses(), len(b.mcp.runs), got.Results)
	}
}
