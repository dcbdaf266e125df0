package awsmcp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/central-ops/central-ops/services/bridge"
)

// How long to wait between two looks at a task, if the server doesn't say, and at most; and how long before the deadline to look a last
// time, if the server recommends to wait beyond it.
const (
	taskPause     = 500 * time.Millisecond
	longTaskPause = 10 * time.Second
	lastLook      = time.Second
)

// run is what aws___run_script answers with: at once, or for a task of it.
type run struct {
	Status  string         `json:"status"`
	Value   jsontext.Value `json:"return_value"`
	Calls   []Call         `json:"api_calls"`
	Error   any            `json:"error"`
	Message any            `json:"statusMessage"` // of a task
	Stderr  any            `json:"stderr"`
	TaskID  string         `json:"task_id"`
	Wait    seconds        `json:"recommended_wait_seconds"`
}

// reason says why a script or its task failed: the error, or what else was said.
func (r run) reason() string {
	trace, _ := r.Stderr.(string)
	trace = strings.TrimSpace(trace)
	for _, said := range []any{r.Error, r.Message, trace[strings.LastIndexByte(trace, '\n')+1:]} { // a traceback ends with the exception
		text, ok := said.(string)
		if encoded, err := json.Marshal(said, lenient); !ok && said != nil && err == nil {
			text = string(encoded)
		}
		if strings.TrimSpace(text) != "" {
			return text
		}
	}
	return "status " + r.Status + ", without a reason"
}

// seconds is a number, or the text of one; 0 for anything else, which must not cost the answer that it stands in.
type seconds float64

// UnmarshalJSON implements json.Unmarshaler.
func (s *seconds) UnmarshalJSON(data []byte) error {
	number, err := strconv.ParseFloat(strings.Trim(string(data), `"`), 64)
	if err != nil {
		number = 0
	}
	*s = seconds(number)
	return nil
}

// script reads the answer of run_script; if that is a task, it waits for the task's end.
func (c *Client) script(ctx context.Context, role bridge.RoleSession, region string, result *toolResult[run]) (Script, error) {
	var r run
	switch text := result.text(); {
	case result.IsError && (text != "" || result.Structured == nil):
		return Script{}, Classify(text, role.Account)
	case result.Structured != nil:
		r = *result.Structured
	default:
		if err := unmarshal([]byte(text), &r); err != nil {
			return Script{}, c.broken(role, fmt.Errorf("the answer is not that of a script: %w", err))
		}
	}
	task := r.TaskID
	for look := 1; pending(r.Status) && task != "" && !result.IsError; look++ {
		if err := c.wait(ctx, role, float64(r.Wait)); err != nil {
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
	case r.Error != nil && r.Error != "", failed(r.Status), result.IsError:
		return Script{}, Classify("the script ended with: "+r.reason(), role.Account)
	case r.Value == nil:
		return Script{}, c.broken(role, errors.New("the script's answer holds no value"))
	default:
		return Script{Value: r.Value, Calls: r.Calls}, nil
	}
}

func pending(status string) bool {
	switch strings.ToLower(status) {
	case "working", "running", "pending", "submitted", "in_progress", "queued", "created", "accepted", "starting", "started":
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
	if deadline, ok := ctx.Deadline(); ok {
		if left := time.Until(deadline) - lastLook; left > 0 && left < pause {
			pause = left
		}
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
// with a value. What such an object holds as its result counts as its own, once the task is no longer under way.
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
	status, _ := object["status"].(string)
	if ended := outcome(object); ended != nil && !pending(status) {
		object = ended
		if failed(status) { // whatever its result says
			object["status"] = status
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

// outcome returns the object in node that says what a script returned or why it failed: node itself, or what it holds as a result, which
// may be a whole tool result; nil if there is none.
func outcome(node any) map[string]any {
	switch node := node.(type) {
	case string:
		var parsed any
		if unmarshal([]byte(node), &parsed) != nil {
			return nil
		}
		if _, text := parsed.(string); !text {
			return outcome(parsed)
		}
	case []any:
		for _, item := range node {
			if found := outcome(item); found != nil {
				return found
			}
		}
	case map[string]any:
		if node["return_value"] != nil || node["error"] != nil {
			return node
		}
		for _, name := range []string{"result", "output", "structuredContent", "content", "text"} {
			if found := outcome(node[name]); found != nil {
				return found
			}
		}
		if node["isError"] == true {
			return map[string]any{"status": "error", "error": node["content"]}
		}
	}
	return nil
}

// ofTask returns the object that a node holds of task: one that has its id, or stands under it.
func ofTask(task string) func(map[string]any) (map[string]any, bool) {
	return func(node map[string]any) (map[string]any, bool) {
		if node["task_id"] == task || node["taskId"] == task || node["id"] == task {
			return node, true
		}
		under, _ := node[task].(map[string]any)
		return under, true
	}
}

// alone returns node if it holds a value. What names a task names another one, and all within is that one's.
func alone(node map[string]any) (map[string]any, bool) {
	if node["task_id"] != nil || node["taskId"] != nil {
		return nil, false
	}
	if node["return_value"] != nil {
		return node, true
	}
	return nil, true
}

// search returns what found returns of the first object in node, from the outside in, of which it returns something. found says
// besides whether to look into the object.
func search(node any, found func(map[string]any) (object map[string]any, inside bool)) map[string]any {
	var children []any
	switch node := node.(type) {
	case map[string]any:
		object, inside := found(node)
		if object != nil || !inside {
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
