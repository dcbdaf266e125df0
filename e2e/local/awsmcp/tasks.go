package awsmcp

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Tasks are forgotten after this time.
const taskLife = 5 * time.Minute

// task is a script that outlives its request.
type task struct {
	id    string
	owner string // PrincipalID
	made  time.Time

	done   chan struct{}
	result scriptResult // valid after done
}

// taskState is how run_script and get_tasks show a task that is not finished.
type taskState struct {
	TaskID                 string `json:"task_id"`
	Status                 string `json:"status"`
	RecommendedWaitSeconds int    `json:"recommended_wait_seconds,omitempty"`
	Error                  string `json:"error,omitempty"`
}

func (t *task) working() taskState {
	return taskState{TaskID: t.id, Status: "working", RecommendedWaitSeconds: 1}
}

// keep makes a task known to get_tasks, and forgets those that are too old.
func (s *Server) keep(t *task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, each := range s.tasks {
		if s.now().Sub(each.made) > taskLife {
			delete(s.tasks, id)
		}
	}
	s.tasks[t.id] = t
}

// task returns the caller's task with that id.
func (s *Server) task(id, owner string) (*task, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.tasks[id]
	if !ok || t.owner != owner || s.now().Sub(t.made) > taskLife {
		return nil, false
	}
	return t, true
}

func (s *Server) getTasks(out *output, c *call) {
	var arguments struct {
		TaskIDs       []string `json:"task_ids"`
		PollIteration int      `json:"poll_iteration"`
	}
	if err := c.arguments(&arguments); err != nil {
		out.fail(c, http.StatusOK, err)
		return
	}
	if len(arguments.TaskIDs) == 0 || len(arguments.TaskIDs) > 3 {
		out.fail(c, http.StatusOK, &rpcError{codeInvalidParams, "Invalid arguments of aws___get_tasks: want 1 to 3 task_ids"})
		return
	}
	shown := make([]any, len(arguments.TaskIDs))
	for i, id := range arguments.TaskIDs {
		t, ok := s.task(id, c.caller.PrincipalID)
		if !ok {
			shown[i] = taskState{TaskID: id, Status: "error", Error: "The task was not found or has expired."}
			continue
		}
		select {
		case <-t.done:
			shown[i] = struct {
				TaskID string `json:"task_id"`
				scriptResult
			}{t.id, t.result}
		default:
			shown[i] = t.working()
		}
	}
	s.recordTool(c, "CallReadOnlyTool", nil)
	out.tool(c, map[string]any{"tasks": shown})
}

// getPresignedURL answers with URLs that lead nowhere: the tool is listed because the service lists it, and the
// bridge must not offer it.
func (s *Server) getPresignedURL(out *output, c *call) {
	var arguments struct {
		Requests []map[string]json.RawMessage `json:"requests"`
	}
	if err := c.arguments(&arguments); err != nil {
		out.fail(c, http.StatusOK, err)
		return
	}
	if len(arguments.Requests) == 0 || len(arguments.Requests) > 25 {
		out.fail(c, http.StatusOK, &rpcError{codeInvalidParams, "Invalid arguments of aws___get_presigned_url: want 1 to 25 requests"})
		return
	}
	urls := make([]map[string]string, len(arguments.Requests))
	for i := range urls {
		urls[i] = map[string]string{"presigned_url": fmt.Sprintf("https://example.invalid/%s/%d", url.PathEscape(c.caller.Account), i)}
	}
	s.recordTool(c, "CallReadWriteTool", nil)
	out.tool(c, map[string]any{"results": urls})
}
