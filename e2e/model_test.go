package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/central-ops/central-ops/e2e"
	"github.com/central-ops/central-ops/e2e/local"
)

// chatModel is an OpenAI-compatible server with one thought: call the query tool, then repeat what it answered.
type chatModel struct {
	mu       sync.Mutex
	requests []chatRequest
	keys     []string
}

type chatRequest struct {
	Model    string `json:"model"`
	Messages []struct {
		Role       string          `json:"role"`
		Content    json.RawMessage `json:"content"`
		ToolCallID string          `json:"tool_call_id"`
	} `json:"messages"`
	Tools []struct {
		Function struct {
			Name       string          `json:"name"`
			Parameters json.RawMessage `json:"parameters"`
		} `json:"function"`
	} `json:"tools"`
}

func (m *chatModel) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var request chatRequest
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil || r.URL.Path != "/v1/chat/completions" {
		http.Error(w, fmt.Sprint(r.URL.Path, ": ", err), http.StatusBadRequest)
		return
	}
	m.mu.Lock()
	m.requests = append(m.requests, request)
	m.keys = append(m.keys, r.Header.Get("Authorization"))
	m.mu.Unlock()

	last := request.Messages[len(request.Messages)-1]
	message := map[string]any{"role": "assistant", "content": "The tool said: " + string(last.Content)}
	finish := "stop"
	if last.Role == "user" {
		finish = "tool_calls"
		message = map[string]any{"role": "assistant", "content": nil, "tool_calls": []any{map[string]any{
			"id": "call_1", "type": "function", "function": map[string]any{
				"name":      "bridge___query",
				"arguments": `{"accounts":["Production"],"service":"s3","operation":"ListBuckets","select":"Buckets[].Name"}`,
			},
		}}}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{ // a client that went away fails its own test
		"choices": []any{map[string]any{"index": 0, "message": message, "finish_reason": finish}},
		"usage":   map[string]any{"prompt_tokens": 11, "completion_tokens": 7},
	})
}

// The same conversation goes to an OpenAI-compatible server: system prompt, tools, question, tool result.
func TestOpenAICompatibleModel(t *testing.T) {
	t.Parallel()
	model := &chatModel{}
	server := httptest.NewServer(model)
	t.Cleanup(server.Close)
	o := options()
	if err := o.FromEnv([]string{"MODEL_ENDPOINT=" + server.URL + "/v1", "MODEL=little", "MODEL_API_KEY=key-of-the-server"}); err != nil {
		t.Fatal(err)
	}
	p := startOwn(t, o)
	answer := ask(t, p, "alice", "Which buckets does Production have?")
	if answer.Error != nil {
		t.Fatalf("%+v", answer.Error)
	}
	if want := (e2e.Coverage{Targets: 1, Answered: 1}); answer.Coverage == nil || *answer.Coverage != want {
		t.Errorf("coverage %+v, want %+v", answer.Coverage, want)
	}
	if !strings.Contains(answer.Response, "example-222222222222-orders") || strings.Contains(answer.Response, "offline planner") {
		t.Errorf("want the model's own words about the tool's answer:\n%s", answer.Response)
	}
	if len(model.requests) != 2 || model.keys[0] != "Bearer key-of-the-server" {
		t.Fatalf("the model was asked %d times, with keys %v", len(model.requests), model.keys)
	}
	first := model.requests[0]
	if first.Model != "little" || first.Messages[0].Role != "system" || len(first.Tools) < 6 {
		t.Errorf("model %q, first role %q, %d tools", first.Model, first.Messages[0].Role, len(first.Tools))
	}
	if last := model.requests[1].Messages[len(model.requests[1].Messages)-1]; last.Role != "tool" || last.ToolCallID != "call_1" {
		t.Errorf("the tool's answer came as role %q for call %q", last.Role, last.ToolCallID)
	}
}

func TestModelEndpointThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	o := options()
	o.Model, o.ModelEndpoint, o.ModelName = local.OpenAI, "http://127.0.0.1:1/v1", "little" // nobody listens there
	// A wrong endpoint must be said, not papered over by the planner.
	answer := ask(t, startOwn(t, o), "alice", "list accounts")
	if answer.Error == nil || answer.Error.Hint == "" || answer.Response != "" {
		t.Errorf("want an error with a hint, got %+v", answer)
	}
}
