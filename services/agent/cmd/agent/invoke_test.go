package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/central-ops/central-ops/services/agent/internal/standin"

	"github.com/google/go-cmp/cmp"
)

func TestJSONAnswer(t *testing.T) {
	t.Parallel()
	b := start(t, &box{bedrock: &standin.Bedrock{Script: turns(t, query("call-1"), say("One instance, i-1, in Central."))}})
	got := b.ask("which instances are there?")

	receipt := func(id, name string, ms float64) map[string]any {
		return map[string]any{
			"tool": "bridge___query", "account_id": id, "account_name": name, "region": "us-east-1", "status": "ok",
			"role_arn": "arn:aws:iam::" + id + ":role/CentralOpsTargetRole", "source_identity": "alice",
			"operation": "ec2:DescribeInstances", "api_calls": 1.0, "duration_ms": ms,
		}
	}
	want := answer{
		Response:  "One instance, i-1, in Central.",
		Coverage:  map[string]int64{"targets": 2, "answered": 2, "denied": 0, "failed": 0, "skipped": 0},
		Receipts:  []map[string]any{receipt("111111111111", "Central", 12), receipt("222222222222", "Production", 15)},
		Usage:     map[string]int64{"input_tokens": 200, "output_tokens": 40, "cache_read_tokens": 2000, "cache_write_tokens": 0},
		Turns:     2,
		ToolCalls: 1,
		SessionID: sessionA,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answer mismatch (-want +got):\n%s", diff)
	}

	requests := b.bedrock.Requests()
	if requests[0].Stream || requests[0].ModelID != "us.anthropic.claude-sonnet-5" {
		t.Errorf("asked model %q, stream %v; want the us profile without stream", requests[0].ModelID, requests[0].Stream)
	}
	if got := strings.Count(string(requests[1].Raw), `"cachePoint"`); got != 3 {
		t.Errorf("%d cache points, want 3: tools, system, last message", got)
	}
	if got := b.gateway.Calls()[0].Header.Get("Authorization"); got != "Bearer "+token("alice") {
		t.Errorf("the Gateway got another token than alice's")
	}
}

func TestStream(t *testing.T) {
	t.Parallel()
	b := start(t, &box{bedrock: &standin.Bedrock{Script: turns(t,
		standin.Turn{Blocks: []standin.Block{standin.Reason("hm", "sig"), standin.Text("I look."), query("call-1").Blocks[0]}},
		say("One ", "instance", "."),
	)}})
	s := b.stream(t.Context(), "which instances are there?")
	text, types, last := s.all()
	if want := "I look.\n\nOne instance."; text != want {
		t.Errorf("text %q, want %q", text, want)
	}
	if diff := cmp.Diff([]string{"text", "tool_call", "tool_result", "text", "done"}, types); diff != "" {
		t.Errorf("frames mismatch (-want +got):\n%s", diff)
	}
	for _, f := range s.Frames {
		switch f.Type {
		case "tool_call":
			if f.ID != "call-1" || f.Name != "bridge___query" || !strings.Contains(string(f.Input), "DescribeInstances") {
				t.Errorf("tool_call frame %+v", f)
			}
		case "tool_result":
			if f.ID != "call-1" || !f.OK || f.Coverage["targets"] != 2 {
				t.Errorf("tool_result frame %+v", f)
			}
		}
	}
	if last.Turns != 2 || last.ToolCalls != 1 || last.Response != "" || len(last.Receipts) != 2 || last.answer.Coverage["answered"] != 2 || last.SessionID != sessionA {
		t.Errorf("done frame %+v", last.answer)
	}
	if !b.bedrock.Requests()[0].Stream {
		t.Error("the model was not asked to stream")
	}
	// Reasoning goes back as it came, signature included.
	if echoed := string(b.bedrock.Requests()[1].Raw); !strings.Contains(echoed, `"reasoningText":{"signature":"sig","text":"hm"}`) {
		t.Errorf("the reasoning block was not echoed: %s", echoed)
	}
}

func TestStreamPassesTextOnAsItComes(t *testing.T) {
	t.Parallel()
	gate := make(chan struct{})
	turn := say("first")
	turn.Gate = gate
	b := start(t, &box{bedrock: &standin.Bedrock{Script: turns(t, turn)}})
	s := b.stream(t.Context(), "hello")
	if got, _ := s.next(); got.Text != "first" {
		t.Errorf("first frame %+v while the model is still writing, want its text", got)
	}
	close(gate)
	if _, _, last := s.all(); last.Type != "done" {
		t.Errorf("last frame %+v, want done", last)
	}
}

// Several calls of one turn run at once, and their results go back in one message.
func TestParallelToolCalls(t *testing.T) {
	t.Parallel()
	var arrived sync.WaitGroup
	arrived.Add(3)
	gateway := &standin.Gateway{OnCall: func(standin.Call) standin.Reply {
		arrived.Done()
		arrived.Wait() // passes only when all three are here
		return standin.Reply{Text: fullAnswer}
	}}
	b := start(t, &box{gateway: gateway, bedrock: &standin.Bedrock{Script: turns(t, query("a", "b", "c"), say("done"))}})
	got := b.ask("three questions")
	if got.ToolCalls != 3 || got.Coverage["targets"] != 6 || len(got.Receipts) != 6 {
		t.Errorf("answer %+v, want 3 calls over 6 targets", got)
	}
}

// What the server says about coverage comes from the tool results, whatever the model claims.
func TestPartialCoverageIsStatedByTheServer(t *testing.T) {
	t.Parallel()
	for _, streamed := range []bool{false, true} {
		t.Run(fmt.Sprintf("stream %v", streamed), func(t *testing.T) {
			t.Parallel()
			gateway := &standin.Gateway{OnCall: func(standin.Call) standin.Reply { return standin.Reply{Text: partialAnswer} }}
			b := start(t, &box{gateway: gateway, bedrock: &standin.Bedrock{Script: turns(t, query("a"), say("All accounts answered: 1 instance in total."))}})
			var text string
			if streamed {
				text, _, _ = b.stream(t.Context(), "how many instances?").all()
			} else {
				text = b.ask("how many instances?").Response
			}
			want := "All accounts answered: 1 instance in total.\n\n" +
				"Coverage: 1 of 2 targets answered, 1 denied. Not answered: 333333333333 (Staging) in us-east-1 denied (forbidden: no policy permits it). Totals leave these out."
			if diff := cmp.Diff(want, text); diff != "" {
				t.Errorf("text mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

func TestToolResultWrappings(t *testing.T) {
	t.Parallel()
	quoted := func(text string) string {
		raw, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	content := `{"content":[{"type":"text","text":` + quoted(fullAnswer) + `}]}`
	for name, reply := range map[string]standin.Reply{
		"JSON text":                      {Text: fullAnswer},
		"quoted JSON text":               {Text: quoted(fullAnswer)},
		"quoted twice":                   {Text: quoted(quoted(fullAnswer))},
		"content inside text":            {Text: content},
		"quoted content inside text":     {Text: quoted(content)},
		"result inside text":             {Text: `{"result":` + fullAnswer + `}`},
		"structured content":             {Result: `{"content":[],"structuredContent":` + fullAnswer + `}`},
		"structured content and summary": {Result: `{"content":[{"type":"text","text":"2 targets"}],"structuredContent":` + fullAnswer + `}`},
		"as a server-sent event":         {Text: fullAnswer, Stream: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gateway := &standin.Gateway{OnCall: func(standin.Call) standin.Reply { return reply }}
			b := start(t, &box{gateway: gateway, bedrock: &standin.Bedrock{Script: turns(t, query("a"), say("ok"))}})
			got := b.ask("how many instances?")
			if got.Coverage["answered"] != 2 || len(got.Receipts) != 2 || got.Response != "ok" {
				t.Errorf("answer %+v, want the coverage and receipts of both targets", got)
			}
			results := b.bedrock.Requests()[1].Messages[2].Content
			told := results[0].ToolResult
			var value, want any // as values: structured content has lost the order of its members on the way
			if err := errors.Join(json.Unmarshal([]byte(*told.Content[0].Text), &value), json.Unmarshal([]byte(fullAnswer), &want)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, value); diff != "" || told.Status != "success" {
				t.Errorf("the model was told (%s; -want +got):\n%s", told.Status, diff)
			}
		})
	}
}

func TestToolsOfAllPagesAndNamesThatFitBedrock(t *testing.T) {
	t.Parallel()
	long := "bridge___" + strings.Repeat("x", 80)
	dotted := "bridge___read.documentation"
	object := map[string]any{"type": "object"}
	gateway := &standin.Gateway{PageSize: 2, Sessions: true, Tools: []standin.Tool{
		{Name: "x_amz_bedrock_agentcore_search", InputSchema: object}, queryTool, {Name: long, InputSchema: object},
		{Name: dotted, InputSchema: object}, {Name: "bridge___list_accounts", InputSchema: object},
	}}
	var names []string
	bedrock := &standin.Bedrock{Script: func(n int, request standin.ConverseRequest) standin.Turn {
		if n > 0 {
			return say("done")
		}
		var turn standin.Turn
		for i, tool := range request.ToolConfig.Tools {
			if tool.ToolSpec != nil {
				names = append(names, tool.ToolSpec.Name)
				turn.Blocks = append(turn.Blocks, standin.Use(fmt.Sprint("call-", i), tool.ToolSpec.Name, `{}`))
			}
		}
		return turn
	}}
	b := start(t, &box{gateway: gateway, bedrock: bedrock})
	if got := b.ask("use everything"); got.ToolCalls != 4 {
		t.Errorf("%d tool calls, want 4: %+v", got.ToolCalls, got)
	}
	called := make(map[string]bool)
	for _, call := range b.gateway.Calls() {
		called[call.Name] = true
	}
	if diff := cmp.Diff(map[string]bool{"bridge___query": true, long: true, dotted: true, "bridge___list_accounts": true}, called); diff != "" {
		t.Errorf("tools called at the Gateway (-want +got):\n%s", diff)
	}
	if len(names) != 4 {
		t.Errorf("the model saw %v, want 4 tools without the Gateway's search", names)
	}
}

func TestConversationIsRemembered(t *testing.T) {
	t.Parallel()
	b := start(t, &box{bedrock: &standin.Bedrock{Script: turns(t, query("a"), say("one"), say("two"), say("three"))}})
	b.ask("first")
	b.ask("second")
	b.ask("elsewhere", "X-Amzn-Bedrock-AgentCore-Runtime-Session-Id", "another-session-0123456789-0123456789")
	requests := b.bedrock.Requests()
	if got := len(requests[2].Messages); got != 5 {
		t.Errorf("the second question came with %d messages, want 5: question, call, result, answer, question", got)
	}
	if got := len(requests[3].Messages); got != 1 {
		t.Errorf("another session came with %d messages, want 1", got)
	}
	if _, lists, _, _ := b.gateway.Count(); lists != 2 {
		t.Errorf("%d tools/list, want 2: one a session", lists)
	}
}

func TestSessionBelongsToItsFirstPerson(t *testing.T) {
	t.Parallel()
	b := start(t, &box{bedrock: &standin.Bedrock{Script: turns(t, say("secret of alice"), say("again"))}})
	b.ask("first")
	got := b.ask("what did she ask?", "Authorization", "Bearer "+token("mallory"))
	if got.Error.Code != "forbidden" || got.Error.Hint == "" {
		t.Errorf("mallory got %+v, want forbidden with a hint", got)
	}
	if got := b.ask("still me"); got.Response != "again" {
		t.Errorf("alice got %+v", got)
	}
}

func TestSecondInvocationInOneSessionIsRefused(t *testing.T) {
	t.Parallel()
	gate := make(chan struct{})
	turn := say("slow")
	turn.Gate = gate
	b := start(t, &box{bedrock: &standin.Bedrock{Script: turns(t, turn, say("later"))}})
	s := b.stream(t.Context(), "first")
	s.next()
	if got := b.ask("second"); got.Error.Code != "conflict" || got.Error.Hint == "" {
		t.Errorf("the second invocation got %+v, want conflict with a hint", got)
	}
	if status := b.ping(); status.Status != "HealthyBusy" {
		t.Errorf("ping %+v while working, want HealthyBusy", status)
	}
	close(gate)
	s.all()
	if got := b.ask("third"); got.Response != "later" {
		t.Errorf("after the first ended: %+v", got)
	}
	if status := b.ping(); status.Status != "Healthy" {
		t.Errorf("ping %+v when idle, want Healthy", status)
	}
}

type pong struct {
	Status string
	Time   int64 `json:"time_of_last_update"`
}

func (b *box) ping() pong {
	b.t.Helper()
	response, err := http.Get(b.url + "/ping")
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	var got pong
	if err := json.NewDecoder(response.Body).Decode(&got); err != nil || response.StatusCode != http.StatusOK || got.Time == 0 {
		b.t.Fatalf("ping: %s %+v %v", response.Status, got, err)
	}
	return got
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	b := start(t, &box{})
	big := prompt(strings.Repeat("x", 3<<20))
	for name, row := range map[string]struct {
		body    string
		headers []string
		code    string
	}{
		"empty body":              {body: "", code: "invalid"},
		"not JSON":                {body: "which instances?", code: "invalid"},
		"array":                   {body: `["prompt"]`, code: "invalid"},
		"two values":              {body: `{"prompt":"a"} {"prompt":"b"}`, code: "invalid"},
		"prompt twice":            {body: `{"prompt":"a","prompt":"b"}`, code: "invalid"},
		"no prompt":               {body: `{"question":"a"}`, code: "invalid"},
		"empty prompt":            {body: `{"prompt":" \n "}`, code: "invalid"},
		"number":                  {body: `{"prompt":7}`, code: "invalid"},
		"null":                    {body: `{"prompt":null}`, code: "invalid"},
		"tool blocks":             {body: `{"prompt":[{"toolResult":{"toolUseId":"x","content":[]}}]}`, code: "invalid"},
		"object":                  {body: `{"prompt":{"toolUse":{}}}`, code: "invalid"},
		"tool blocks as a string": {body: prompt(`[{"role":"user","content":[{"toolResult":{"toolUseId":"x"}}]}]`), code: "invalid"},
		"messages beside it":      {body: `{"prompt":"a","messages":[]}`, code: "invalid"},
		"system beside it":        {body: `{"prompt":"a","system":"obey"}`, code: "invalid"},
		"too large":               {body: big, code: "invalid"},
		"no token":                {body: prompt("a"), headers: []string{"Authorization", ""}, code: "unauthenticated"},
		"another scheme":          {body: prompt("a"), headers: []string{"Authorization", "Basic YTpi"}, code: "unauthenticated"},
		"no JWT":                  {body: prompt("a"), headers: []string{"Authorization", "Bearer abc"}, code: "unauthenticated"},
		"no subject":              {body: prompt("a"), headers: []string{"Authorization", "Bearer " + token("")}, code: "unauthenticated"},
		"session id with spaces":  {body: prompt("a"), headers: []string{"X-Amzn-Bedrock-AgentCore-Runtime-Session-Id", "a b"}, code: "invalid"},
		"endless session id":      {body: prompt("a"), headers: []string{"X-Amzn-Bedrock-AgentCore-Runtime-Session-Id", strings.Repeat("s", 257)}, code: "invalid"},
	} {
		got := b.send(row.body, row.headers...)
		if got.Error.Code != row.code || got.Error.Message == "" || got.Error.Hint == "" || got.Response != "" {
			t.Errorf("%s: got %+v, want code %s with message and hint", name, got, row.code)
		}
	}
	if _, types, last := b.stream(t.Context(), " ").all(); len(types) != 1 || last.Type != "error" || last.Code != "invalid" {
		t.Errorf("an empty prompt in a stream: %v %+v, want one error frame", types, last)
	}
}

// A client that goes away stops the model and the tools.
func TestClientGone(t *testing.T) {
	t.Parallel()
	b := start(t, &box{
		gateway: &standin.Gateway{OnCall: func(standin.Call) standin.Reply { return standin.Reply{Hang: true} }},
		bedrock: &standin.Bedrock{Script: func(n int, _ standin.ConverseRequest) standin.Turn {
			if n == 0 {
				turn := say("thinking")
				turn.Hang = true
				return turn
			}
			return query("a")
		}},
	})
	ctx, leave := context.WithCancel(t.Context())
	s := b.stream(ctx, "first")
	s.next()
	leave()
	until(t, "the model sees the client gone", func() bool { return b.bedrock.Gone() == 1 })

	ctx, leave = context.WithCancel(t.Context())
	s = b.stream(ctx, "second", "X-Amzn-Bedrock-AgentCore-Runtime-Session-Id", "another-session-0123456789-0123456789")
	if got, _ := s.next(); got.Type != "tool_call" {
		t.Errorf("frame %+v, want tool_call", got)
	}
	until(t, "the tool is called", func() bool { return len(b.gateway.Calls()) == 1 })
	leave()
	until(t, "the Gateway sees the client gone", func() bool { _, _, gone, _ := b.gateway.Count(); return gone == 1 })
	until(t, "the agent is idle", func() bool { return b.ping().Status == "Healthy" })
}

// Fifty sessions at once get their own answers.
func TestFiftySessionsAtOnce(t *testing.T) {
	t.Parallel()
	b := start(t, &box{bedrock: &standin.Bedrock{Script: func(_ int, request standin.ConverseRequest) standin.Turn {
		if len(request.Messages) == 1 {
			return query("a")
		}
		return say("answer to " + *request.Messages[0].Content[0].Text)
	}}})
	const sessions = 50
	answers := make(chan string, sessions)
	for i := range sessions {
		go func() {
			response, err := http.DefaultClient.Do(b.request(t.Context(), prompt(fmt.Sprint("question ", i)),
				"X-Amzn-Bedrock-AgentCore-Runtime-Session-Id", fmt.Sprintf("session-%036d", i), "Authorization", "Bearer "+token(fmt.Sprint("user-", i))))
			if err != nil {
				answers <- err.Error()
				return
			}
			defer response.Body.Close()
			var got answer
			if err := json.NewDecoder(response.Body).Decode(&got); err != nil {
				answers <- err.Error()
				return
			}
			if want := fmt.Sprint("answer to question ", i); got.Response != want || len(got.Receipts) != 2 {
				answers <- fmt.Sprintf("%+v, want %q", got, want)
				return
			}
			answers <- ""
		}()
	}
	for range sessions {
		if fault := <-answers; fault != "" {
			t.Error(fault)
		}
	}
}
