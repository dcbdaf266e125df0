package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/central-ops/central-ops/e2e/local/bedrock"
)

// streamingPrompt is answered in text at once, without a tool.
const streamingPrompt = "Count to three."

// actor is a model with its lines ready: a question gets a query over all accounts, its result a sentence.
type actor struct {
	mu   sync.Mutex
	pace time.Duration // of every reply and tool call
	said time.Time
}

var _ bedrock.Model = (*actor)(nil)

// Reply implements bedrock.Model.
func (m *actor) Reply(ctx context.Context, request *bedrock.Request, a *bedrock.Answer) error {
	if err := m.wait(ctx); err != nil {
		return err
	}
	last := request.Messages[len(request.Messages)-1].Content
	for _, block := range last {
		switch {
		case block.ToolResult != nil:
			return a.Text("There are 3 instances in 3 accounts; all of 3 targets answered.")
		case block.Text != nil && *block.Text == streamingPrompt:
			m.mu.Lock()
			m.said = time.Now()
			m.mu.Unlock()
			if err := a.Text("One, "); err != nil {
				return err
			}
			return a.Text("two, three.")
		}
	}
	if err := a.ToolUse(fmt.Sprintf("tooluse_%d", len(request.Messages)), targetName+"___query"); err != nil {
		return err
	}
	return a.Input(`{"accounts":["all"],"service":"ec2","operation":"DescribeInstances"}`)
}

func (m *actor) setPace(pace time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pace = pace
}

// wait takes as long as the model and the Gateway are set to.
func (m *actor) wait(ctx context.Context) error {
	m.mu.Lock()
	pace := m.pace
	m.mu.Unlock()
	if pace == 0 {
		return nil
	}
	timer := time.NewTimer(pace)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// spoke returns when the last answer to streamingPrompt began.
func (m *actor) spoke() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.said
}

// recorder keeps the first body that passes.
type recorder struct {
	next  http.Handler
	once  sync.Once
	first []byte
}

func (k *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.once.Do(func() {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			k.first = body
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
	})
	k.next.ServeHTTP(w, r)
}

// sizes returns the bytes of the system prompt and of the tool configuration in the first request to the model.
func (k *recorder) sizes() (system, tools int, err error) {
	var request struct {
		System     json.RawMessage `json:"system"`
		ToolConfig json.RawMessage `json:"toolConfig"`
	}
	k.once.Do(func() {}) // nothing is being read any more
	if err := json.Unmarshal(k.first, &request); err != nil {
		return 0, 0, fmt.Errorf("read the first request to the model: %w", err)
	}
	return len(request.System), len(request.ToolConfig), nil
}

// targetName is the gateway target that the bridge's tools are behind.
const targetName = "bridge"

// gatewayTools reads the bridge's tools as the Gateway lists them: with the target's name in front.
func gatewayTools(path string) ([]json.RawMessage, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var tools []map[string]any
	if err := json.Unmarshal(text, &tools); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	listed := make([]json.RawMessage, len(tools))
	for i, tool := range tools {
		delete(tool, "outputSchema") // of no use to a model, and the agent drops it
		tool["name"] = fmt.Sprintf("%s___%v", targetName, tool["name"])
		if listed[i], err = json.Marshal(tool); err != nil {
			return nil, err
		}
	}
	return listed, nil
}

// toolServer is as much of the Gateway as a benchmark of the agent needs: it has the bridge's answer ready and keeps to
// MCP, but checks no token and calls no Lambda.
type toolServer struct {
	tools []json.RawMessage
	model *actor // for its pace
}

// bridgeAnswer is what the bridge answers for three accounts.
const bridgeAnswer = `{"ok":true,"coverage":{"targets":3,"answered":3,"denied":0,"failed":0,"skipped":0},"results":[` +
	`{"account_id":"111111111111","account_name":"Central","region":"us-east-1","status":"ok","count":1,"data":[{"InstanceId":"i-1","InstanceType":"m7g.large"}],"receipt":{"role_arn":"arn:aws:iam::111111111111:role/CentralOpsTargetRole","source_identity":"alice","operation":"ec2:DescribeInstances","api_calls":1,"duration_ms":12}},` +
	`{"account_id":"222222222222","account_name":"Production","region":"us-east-1","status":"ok","count":1,"data":[{"InstanceId":"i-2","InstanceType":"m7g.large"}],"receipt":{"role_arn":"arn:aws:iam::222222222222:role/CentralOpsTargetRole","source_identity":"alice","operation":"ec2:DescribeInstances","api_calls":1,"duration_ms":12}},` +
	`{"account_id":"333333333333","account_name":"Staging","region":"us-east-1","status":"ok","count":1,"data":[{"InstanceId":"i-3","InstanceType":"m7g.large"}],"receipt":{"role_arn":"arn:aws:iam::333333333333:role/CentralOpsTargetRole","source_identity":"alice","operation":"ec2:DescribeInstances","api_calls":1,"duration_ms":12}}],` +
	`"truncated":false,"notes":[]}`

func (g *toolServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var message struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
	}
	if err := json.NewDecoder(r.Body).Decode(&message); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	var result any
	switch message.Method {
	case "initialize":
		result = map[string]any{
			"protocolVersion": "2025-06-18", "capabilities": map[string]any{"tools": map[string]any{}},
			"serverInfo": map[string]string{"name": "benchmark", "version": "1"},
		}
	case "tools/list":
		result = map[string]any{"tools": g.tools}
	case "tools/call":
		if err := g.model.wait(r.Context()); err != nil {
			return // the client is gone
		}
		result = map[string]any{"isError": false, "content": []any{map[string]string{"type": "text", "text": bridgeAnswer}}}
	default: // a notification
		w.WriteHeader(http.StatusAccepted)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"jsonrpc": "2.0", "id": message.ID, "result": result}) // a client that is gone needs no answer
}
