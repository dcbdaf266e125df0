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

// What the model is sent: its profile, three cache points, the guardrail if there is one. What the Gateway is sent: the person's token.
func TestRequests(t *testing.T) {
	t.Parallel()
	for _, streamed := range []bool{false, true} {
		t.Run(fmt.Sprintf("stream %v", streamed), func(t *testing.T) {
			t.Parallel()
			b := start(t, &box{bedrock: &standin.Bedrock{Script: turns(t, query("call-1"), say("One instance."))}}, "GUARDRAIL_ID=gr-1", "GUARDRAIL_VERSION=7")
			guardrail := `"guardrailConfig":{"guardrailIdentifier":"gr-1","guardrailVersion":"7"}`
			if streamed {
				guardrail = `"guardrailConfig":{"guardrailIdentifier":"gr-1","guardrailVersion":"7","streamProcessingMode":"sync"}`
				b.stream(t.Context(), "which instances are there?").all()
			} else {
				b.ask("which instances are there?")
			}
			for _, request := range b.bedrock.Requests() {
				if request.Stream != streamed || request.ModelID != "us.anthropic.claude-sonnet-5" {
					t.Errorf("asked model %q, stream %v; want the us profile, stream %v", request.ModelID, request.Stream, streamed)
				}
				if got := strings.Count(string(request.Raw), `"cachePoint"`); got != 3 {
					t.Errorf("%d cache points, want 3: tools, system, last message", got)
				}
				if !strings.Contains(string(request.Raw), guardrail) {
					t.Errorf("want %s in %s", guardrail, request.Raw)
				}
			}
			if got := b.gateway.Calls()[0].Header.Get("Authorization"); got != "Bearer "+token("alice") {
				t.Errorf("the Gateway got another token than alice's")
			}
		})
	}
}

// Reasoning goes back as it came, signature and hidden parts included, and is shown to nobody.
func TestReasoningIsEchoed(t *testing.T) {
	t.Parallel()
	for _, streamed := range []bool{false, true} {
		t.Run(fmt.Sprintf("stream %v", streamed), func(t *testing.T) {
			t.Parallel()
			thinking := query("call-1", "call-2")
			thinking.Blocks = append([]standin.Block{standin.Reason("hm", "sig"), standin.Redacted("hidden")}, thinking.Blocks...)
			b := start(t, &box{bedrock: &standin.Bedrock{Script: turns(t, thinking, say("Two."))}})
			var text string
			if streamed {
				text, _, _ = b.stream(t.Context(), "how many?").all()
			} else {
				text = b.ask("how many?").Response
			}
			if text != "Two." {
				t.Errorf("text %q, want the answer alone", text)
			}
			echoed := b.bedrock.Requests()[1].Messages[1].Content
			var got []string
			for _, block := range echoed[:2] {
				if block.Reasoning != nil {
					got = append(got, string(*block.Reasoning))
				}
			}
			want := []string{`{"reasoningText":{"signature":"sig","text":"hm"}}`, `{"redactedContent":"aGlkZGVu"}`}
			if diff := cmp.Diff(want, got); diff != "" || len(echoed) != 4 {
				t.Errorf("%d blocks were echoed, want 4 (-want +got):\n%s", len(echoed), diff)
			}
		})
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

// TestReasoningThatWasCutOff: reasoning whose signature did not come is refused by Bedrock, with every question after it.
func TestReasoningThatWasCutOff(t *testing.T) {
	t.Parallel()
	for _, streamed := range []bool{false, true} {
		t.Run(fmt.Sprintf("stream %v", streamed), func(t *testing.T) {
			t.Parallel()
			cut := standin.Turn{Stop: "max_tokens", Blocks: []standin.Block{standin.Reason("whole", "sig"), standin.Reason("hm", "")}}
			b := start(t, &box{bedrock: &standin.Bedrock{Script: turns(t, cut, say("Two."))}})
			if streamed {
				b.stream(t.Context(), "how many?").all()
			} else {
				b.ask("how many?")
			}
			if got := b.ask("and now?"); got.Response != "Two." {
				t.Fatalf("answer %+v, want the model's", got)
			}
			for _, block := range b.bedrock.Requests()[1].Messages[1].Content {
				if block.Reasoning != nil && !strings.Contains(string(*block.Reasoning), `"sig"`) {
					t.Errorf("sent back: %s", *block.Reasoning)
				}
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
		"with an empty second text":      {Result: `{"content":[{"type":"text","text":` + quoted(fullAnswer) + `},{"type":"text","text":""}]}`},
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

// A note beside the bridge's answer costs nothing of it, and the model reads both.
func TestAnswerWithANote(t *testing.T) {
	t.Parallel()
	quoted, err := json.Marshal(fullAnswer)
	if err != nil {
		t.Fatal(err)
	}
	reply := standin.Reply{Result: `{"content":[{"type":"text","text":` + string(quoted) + `},{"type":"text","text":"a note"}]}`}
	gateway := &standin.Gateway{OnCall: func(standin.Call) standin.Reply { return reply }}
	b := start(t, &box{gateway: gateway, bedrock: &standin.Bedrock{Script: turns(t, query("a"), say("ok"))}})
	if got := b.ask("how many instances?"); got.Coverage["answered"] != 2 || len(got.Receipts) != 2 {
		t.Errorf("answer %+v, want the coverage and receipts of both targets", got)
	}
	if told := *b.bedrock.Requests()[1].Messages[2].Content[0].ToolResult.Content[0].Text; told != fullAnswer+"\na note" {
		t.Errorf("the model was told %s", told)
	}
	if got := b.send(`{"tool":"query"}`); got.Coverage["answered"] != 2 || len(got.Receipts) != 2 {
		t.Errorf("without a model: %+v", got)
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

// TestSchemasThatBedrockRefuses: one tool with an odd schema does not cost the person all the others.
func TestSchemasThatBedrockRefuses(t *testing.T) {
	t.Parallel()
	gateway := &standin.Gateway{Tools: []standin.Tool{
		queryTool,
		{Name: "other___none"},
		{Name: "other___empty", InputSchema: map[string]any{}},
		{Name: "other___boolean", InputSchema: true},
		{Name: "other___text", InputSchema: map[string]any{"type": "string"}},
		{Name: "other___typeless", InputSchema: map[string]any{"properties": map[string]any{"a": map[string]any{"type": "string"}}}},
		{Name: "other___nameless", InputSchema: map[string]any{"type": "object", "properties": map[string]any{"": map[string]any{"type": "string"}}}},
	}}
	b := start(t, &box{gateway: gateway, bedrock: &standin.Bedrock{Script: turns(t, say("fine"))}})
	if got := b.ask("how are you?"); got.Response != "fine" {
		t.Fatalf("answer %+v, want the model's", got)
	}
	for _, tool := range b.bedrock.Requests()[0].ToolConfig.Tools {
		if tool.ToolSpec != nil && tool.ToolSpec.Name == "other___typeless" && !strings.Contains(string(tool.ToolSpec.InputSchema.JSON), `"properties"`) {
			t.Errorf("the schema became %s, want its properties kept", tool.ToolSpec.InputSchema.JSON)
		}
	}
}

// TestToolUseIDsThatBedrockRefuses: Bedrock would refuse the turn after, and every question after that one.
func TestToolUseIDsThatBedrockRefuses(t *testing.T) {
	t.Parallel()
	for _, streamed := range []bool{false, true} {
		t.Run(fmt.Sprintf("stream %v", streamed), func(t *testing.T) {
			t.Parallel()
			b := start(t, &box{bedrock: &standin.Bedrock{Script: turns(t, query("same", "same", "", "a b", "fine"), say("ok"))}})
			var last answer
			if streamed {
				_, _, end := b.stream(t.Context(), "how many?").all()
				last = end.answer
			} else {
				last = b.ask("how many?")
			}
			if last.Turns != 2 || last.ToolCalls != 5 || last.Coverage["answered"] != 10 {
				t.Fatalf("answer %+v, want two turns and five calls", last)
			}
			uses := b.bedrock.Requests()[1].Messages[1].Content
			if uses[0].ToolUse.ID != "same" || uses[4].ToolUse.ID != "fine" {
				t.Errorf("ids %q and %q, want those that are good kept", uses[0].ToolUse.ID, uses[4].ToolUse.ID)
			}
		})
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

// What is too big or too costly for an archive of testdata/exchanges, which have the rest of the bad input.
func TestLargeBodies(t *testing.T) {
	t.Parallel()
	b := start(t, &box{bedrock: &standin.Bedrock{Script: func(int, standin.ConverseRequest) standin.Turn { return say("read") }}})
	nested := strings.Repeat(`{"content":[`, 4000) + strings.Repeat("]}", 4000)
	for name, row := range map[string]struct{ body, code string }{
		"larger than 1 MiB":         {prompt(strings.Repeat("x", 3<<20)), "invalid"},
		"nesting without end":       {`{"prompt":` + strings.Repeat("[", 1<<19), "invalid"},
		"nested blocks as a string": {prompt(nested), ""}, // words to us, and not looked into without end
		"just below":                {prompt(strings.Repeat("x", 1<<20-len(prompt("")))), ""},
	} {
		if got := b.send(row.body); got.Error.Code != row.code || (row.code == "") != strings.HasPrefix(got.Response, "read") {
			t.Errorf("%s: got %.200v, want code %q", name, got, row.code)
		}
	}
}

// A question beside which no result fits is told to be too long, not the result: no narrower query would help.
func TestQuestionThatLeavesNoRoom(t *testing.T) {
	t.Parallel()
	b := start(t, &box{bedrock: &standin.Bedrock{Script: turns(t, query("a"), say("I can't."))}, gateway: &standin.Gateway{OnCall: func(standin.Call) standin.Reply { return standin.Reply{Text: fullAnswer} }}})
	if got := b.send(prompt(strings.Repeat("x", 780_000))); got.Error.Code != "" {
		t.Fatalf("got %.300v", got)
	}
	shown, err := json.Marshal(b.bedrock.Requests()[1].Messages[2])
	if err != nil {
		t.Fatal(err)
	}
	if text := string(shown); !strings.Contains(text, "the question alone has 780000 bytes of the 400000 that a conversation may have") || !strings.Contains(text, "the person has to ask a shorter question") {
		t.Errorf("the model is shown %s", text)
	}
}

func TestSessionIsMadeUpIfAbsent(t *testing.T) {
	t.Parallel()
	b := start(t, &box{bedrock: &standin.Bedrock{Script: turns(t, say("one"), say("two"), say("three"))}})
	const header = "X-Amzn-Bedrock-AgentCore-Runtime-Session-Id"
	first, other := b.ask("first", header, ""), b.ask("other", header, "")
	if first.SessionID == other.SessionID || len(first.SessionID) < 33 {
		t.Errorf("sessions %q and %q, want two of their own, as long as the Runtime's", first.SessionID, other.SessionID)
	}
	b.ask("second", header, first.SessionID)
	if got := len(b.bedrock.Requests()[2].Messages); got != 3 {
		t.Errorf("the session that was made up came with %d messages, want 3", got)
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

// Who cancels a question may ask the next one at once: the agent is about to notice.
func TestNextQuestionAfterClientGone(t *testing.T) {
	t.Parallel()
	b := start(t, &box{bedrock: &standin.Bedrock{Script: func(_ int, request standin.ConverseRequest) standin.Turn {
		turn := say("thinking")
		turn.Hang = *request.Messages[len(request.Messages)-1].Content[0].Text == "slow"
		return turn
	}}})
	for range 20 {
		ctx, leave := context.WithCancel(t.Context())
		b.stream(ctx, "slow").next()
		leave()
		if got := b.ask("quick"); got.Response != "thinking" {
			t.Fatalf("got %+v", got)
		}
	}
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
