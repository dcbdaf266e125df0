package awsmcp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/central-ops/central-ops/services/bridge"
)

// How long to wait between two looks at a task, if the server doesn't say, and at most.
const (
	taskPause     = 500 * time.Millisecond
	longTaskPause = 10 * time.Second
)

// run is what aws___run_script answers with: at once, or for a task of it.
type run struct {
	Status string         `json:"status"`
	Value  jsontext.Value `json:"return_value"`
	Calls  []Call         `json:"api_calls"`
	Error  any            `json:"error"`
	TaskID string         `json:"task_id"`
	Wait   float64        `json:"recommended_wait_seconds"`
}

// script reads the answer of run_script; if that is a task, it waits for the task's end.
func (c *Client) script(ctx context.Context, role bridge.RoleSession, region string, result *toolResult[run]) (Script, error) {
	if result.IsError {
		return Script{}, Classify(result.text(), role.Account)
	}
	var r run
	if result.Structured != nil {
		r = *result.Structured
	} else if err := unmarshal([]byte(result.text()), &r); err != nil {
		return Script{}, c.broken(role, fmt.Errorf("the answer is not that of a script: %w", err))
	}
	task := r.TaskID
	for look := 1; pending(r.Status) && task != ""; look++ {
		if err := c.wait(ctx, role, r.Wait); err != nil {
			return Script{}, err
		}
		raw, err := c.Call(ctx, role, region, getTasks, map[string]any{"task_ids": []string{task}, "poll_iteration": look})
		if err != nil {
			return Script{}, err
		}
		next, found := findTask(raw, task)
		if !found {
			return Script{}, c.failure(role, bridge.Unavailable, "ask again: tasks are kept for 5 minutes", fmt.Errorf("%s doesn't know the task any more", getTasks))
		}
		if next.Wait == 0 {
			next.Wait = r.Wait
		}
		r = next
	}
	switch {
	case r.Value != nil && (r.Error == nil || r.Error == "") && !failed(r.Status):
		return Script{Value: r.Value, Calls: r.Calls}, nil
	case r.Error != nil || failed(r.Status):
		text, ok := r.Error.(string)
		if !ok {
			encoded, err := json.Marshal(r.Error)
			if err != nil {
				return Script{}, c.broken(role, err)
			}
			text = string(encoded)
		}
		return Script{}, Classify("the script ended with: "+text, role.Account)
	default:
		return Script{}, c.broken(role, errors.New("the script's answer holds no value"))
	}
}

func pending(status string) bool {
	switch strings.ToLower(status) {
	case "working", "running", "pending", "submitted", "in_progress":
		return true
	}
	return false
}

func failed(status string) bool {
	switch strings.ToLower(status) {
	case "error", "failed", "failure", "cancelled", "canceled", "expired":
		return true
	}
	return false
}

// wait pauses for what the server recommends, in seconds, or a default.
func (c *Client) wait(ctx context.Context, role bridge.RoleSession, seconds float64) error {
	pause := taskPause
	if seconds > 0 {
		pause = time.Duration(min(seconds, longTaskPause.Seconds()) * float64(time.Second))
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return c.network(role, ctx.Err())
	}
}

// findTask finds task in an answer of get_tasks. How that answer holds its tasks is not documented,
// so it is searched: the object that names the task, or is kept under its id, or a lone object
// with a status. Members of a nested "result" count as the object's own.
func findTask(raw jsontext.Value, task string) (run, bool) {
	var document any
	if unmarshal(raw, &document) != nil {
		return run{}, false
	}
	object := search(document, ofTask(task))
	if object == nil {
		object = search(document, alone)
	}
	if object == nil {
		return run{}, false
	}
	wait := object["recommended_wait_seconds"]
	if outer, ok := document.(map[string]any); ok && wait == nil {
		wait = outer["recommended_wait_seconds"]
	}
	for _, name := range []string{"result", "output", "structuredContent"} {
		nested := object[name]
		if text, ok := nested.(string); ok {
			var parsed any
			if unmarshal([]byte(text), &parsed) == nil {
				nested = parsed
			}
		}
		if inner, ok := nested.(map[string]any); ok && (inner["return_value"] != nil || inner["error"] != nil) {
			object = inner
		}
	}
	if wait != nil {
		object["recommended_wait_seconds"] = wait
	}
	encoded, err := json.Marshal(object)
	if err != nil {
		return run{}, false
	}
	var r run
	if unmarshal(encoded, &r) != nil {
		return run{}, false
	}
	return r, true
}

// ofTask returns the object that a node holds of task: one that has its id, or stands under it.
func ofTask(task string) func(map[string]any) map[string]any {
	return func(node map[string]any) map[string]any {
		if node["task_id"] == task || node["taskId"] == task || node["id"] == task {
			return node
		}
		under, _ := node[task].(map[string]any)
		return under
	}
}

// alone returns node if it holds a value and names no task.
func alone(node map[string]any) map[string]any {
	if _, named := node["task_id"]; !named && node["return_value"] != nil {
		return node
	}
	return nil
}

// search returns what found returns of the first object in node, from the outside in, of which it returns something.
func search(node any, found func(map[string]any) map[string]any) map[string]any {
	var children []any
	switch node := node.(type) {
	case map[string]any:
		if object := found(node); object != nil {
			return object
		}
		for _, name := range slices.Sorted(maps.Keys(node)) {
			children = append(children, node[name])
		}
	case []any:
		children = node
	}
	for _, child := range children {
		if object := search(child, found); object != nil {
			return object
		}
	}
	return nil
}
