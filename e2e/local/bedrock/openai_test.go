package bedrock_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
	"github.com/central-ops/central-ops/e2e/local/bedrock"
	"github.com/google/go-cmp/cmp"
)

// endpoint is a server with OpenAI's chat API that gives one answer to everything and keeps the last request.
func endpoint(t *testing.T, status int, contentType, answer string) (url string, last *map[string]any) {
	t.Helper()
	last = new(map[string]any)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/chat/completions" || r.Header.Get("Authorization") != "Bearer key" {
			http.Error(w, "no such page", http.StatusNotFound)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(body, last)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(front.Close)
	return front.URL + "/v1", last
}

// sse makes a stream of events from JSON texts.
func sse(events ...string) string {
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, "data: %s\n\n", e)
	}
	return b.String() + "data: [DONE]\n\n"
}

var toolStream = sse(
	`{"choices":[{"delta":{"role":"assistant","content":"I "}}]}`,
	`{"choices":[{"delta":{"content":"look."}}]}`,
	`{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"bridge___query","arguments":""}}]}}]}`,
	`{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"accounts\":[\"a"}}]}}]}`,
	`{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"ll\"]}"}}]}}]}`,
	`{"choices":[{"delta":{"tool_calls":[{"index":1,"id":"call_2","type":"function","function":{"name":"bridge___list_accounts","arguments":"{}"}}]}}]}`,
	`{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}`,
	`{"choices":[],"usage":{"prompt_tokens":70,"completion_tokens":9}}`,
)

const toolWhole = `{"choices":[{"message":{"role":"assistant","content":"I look.","tool_calls":[` +
	`{"id":"call_1","type":"function","function":{"name":"bridge___query","arguments":"{\"accounts\":[\"all\"]}"}},` +
	`{"id":"call_2","type":"function","function":{"name":"bridge___list_accounts","arguments":"{}"}}]},"finish_reason":"stop"}],` +
	`"usage":{"prompt_tokens":70,"completion_tokens":9}}`

func TestOpenAIAnswers(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string][2]string{
		"streamed":     {"text/event-stream", toolStream},
		"in one piece": {"application/json; charset=utf-8", toolWhole},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, _ := endpoint(t, http.StatusOK, answer[0], answer[1])
			_, sdk := start(t, bedrock.Config{Model: &bedrock.OpenAI{Endpoint: url, Name: "small", Key: "key"}})
			out, err := sdk.Converse(t.Context(), ask("what is there?"))
			if err != nil {
				t.Fatal(err)
			}
			message := out.Output.(*types.ConverseOutputMemberMessage).Value
			if diff := cmp.Diff([]map[string]any{{"accounts": []any{"all"}}, {}}, toolInputs(t, message)); diff != "" {
				t.Errorf("tool inputs mismatch (-want +got):\n%s", diff)
			}
			if got := message.Content[0].(*types.ContentBlockMemberText).Value; got != "I look." || out.StopReason != types.StopReasonToolUse {
				t.Errorf("text %q, stop reason %s", got, out.StopReason)
			}
			if *out.Usage.InputTokens != 70 || *out.Usage.OutputTokens != 9 {
				t.Errorf("usage %d in, %d out; the endpoint said 70 and 9", *out.Usage.InputTokens, *out.Usage.OutputTokens)
			}
			stream, err := sdk.ConverseStream(t.Context(), streamInput("what is there?"))
			if err != nil {
				t.Fatal(err)
			}
			got, err := readStream(t, stream)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(map[int32]string{0: "I look.", 1: `{"accounts":["all"]}`, 2: "{}"}, got.Texts); diff != "" {
				t.Errorf("blocks mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOpenAIRequest(t *testing.T) {
	t.Parallel()
	url, last := endpoint(t, http.StatusOK, "text/event-stream", sse(`{"choices":[{"delta":{"content":"Two."},"finish_reason":"length"}]}`))
	_, sdk := start(t, bedrock.Config{Model: &bedrock.OpenAI{Endpoint: url + "/", Name: "small", Key: "key"}})
	use := types.Message{Role: types.ConversationRoleAssistant, Content: []types.ContentBlock{
		text("Looking."),
		&types.ContentBlockMemberToolUse{Value: types.ToolUseBlock{ToolUseId: aws.String("t1"), Name: aws.String("bridge___query"), Input: jsonDocument(map[string]any{"a": 1})}},
	}}
	results := user(&types.ContentBlockMemberToolResult{Value: types.ToolResultBlock{
		ToolUseId: aws.String("t1"), Status: types.ToolResultStatusError,
		Content: []types.ToolResultContentBlock{&types.ToolResultContentBlockMemberJson{Value: jsonDocument(map[string]any{"ok": false})}},
	}})
	out, err := sdk.Converse(t.Context(), &bedrockruntime.ConverseInput{
		ModelId: aws.String(model), ToolConfig: tools("bridge___query"),
		System: []types.SystemContentBlock{&types.SystemContentBlockMemberText{Value: "Be brief."},
			&types.SystemContentBlockMemberCachePoint{Value: types.CachePointBlock{Type: types.CachePointTypeDefault}}},
		Messages:        []types.Message{user(text("How many?")), use, results},
		InferenceConfig: &types.InferenceConfiguration{MaxTokens: aws.Int32(100)},
	})
	if err != nil {
		t.Fatal(err)
	}
	if out.StopReason != types.StopReasonMaxTokens {
		t.Errorf("stop reason %s, want max_tokens for length", out.StopReason)
	}
	want := map[string]any{
		"model": "small", "stream": true, "stream_options": map[string]any{"include_usage": true}, "max_tokens": 100.0,
		"tools": []any{map[string]any{"type": "function", "function": map[string]any{
			"name": "bridge___query", "description": "a tool", "parameters": map[string]any{"type": "object"}}}},
		"messages": []any{
			map[string]any{"role": "system", "content": "Be brief."},
			map[string]any{"role": "user", "content": "How many?"},
			map[string]any{"role": "assistant", "content": "Looking.", "tool_calls": []any{map[string]any{
				"index": 0.0, "id": "t1", "type": "function", "function": map[string]any{"name": "bridge___query", "arguments": `{"a":1}`}}}},
			map[string]any{"role": "tool", "tool_call_id": "t1", "content": `The tool failed: {"ok":false}`},
		},
	}
	if diff := cmp.Diff(want, *last); diff != "" {
		t.Errorf("chat request mismatch (-want +got):\n%s", diff)
	}
}

func TestOpenAIErrors(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status      int
		contentType string
		answer      string
		want, text  string
	}{
		"wrong key":             {401, "application/json", `{"error":{"message":"bad key"}}`, "AccessDeniedException", "bad key"},
		"unknown model":         {404, "application/json", `{"error":"model 'small' not found"}`, "ResourceNotFoundException", "check MODEL"},
		"throttled":             {429, "text/plain", "slow down", "ThrottlingException", "slow down"},
		"bad request":           {400, "text/plain", "no tools here", "ValidationException", "no tools here"},
		"broken":                {500, "text/plain", "out of memory", "ModelErrorException", "out of memory"},
		"behind a dead proxy":   {502, "text/html", "<html>", "ServiceUnavailableException", "502"},
		"no JSON":               {200, "application/json", "<html>", "ModelErrorException", "not JSON"},
		"no choices":            {200, "application/json", "{}", "ModelErrorException", "no choices"},
		"empty answer":          {200, "text/event-stream", sse(`{"choices":[{"delta":{},"finish_reason":"stop"}]}`), "ModelErrorException", "nothing"},
		"a stream cut short":    {200, "text/event-stream", "data: {\"choices\":[{\"delta\":{\"content\":\"I\"}}]}\n\n", "ModelStreamErrorException", "ended before"},
		"an error in a stream":  {200, "text/event-stream", sse(`{"error":{"message":"lost the GPU"}}`), "ModelStreamErrorException", "lost the GPU"},
		"a tool name with dots": {200, "application/json", `{"choices":[{"message":{"tool_calls":[{"id":"a","function":{"name":"x.y","arguments":"{}"}}]}}]}`, "ModelErrorException", "x.y"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, _ := endpoint(t, c.status, c.contentType, c.answer)
			_, sdk := start(t, bedrock.Config{Model: &bedrock.OpenAI{Endpoint: url, Name: "small", Key: "key"}})
			_, err := sdk.Converse(t.Context(), ask("hello"))
			if code(err) != c.want || !strings.Contains(fmt.Sprint(err), c.text) {
				t.Errorf("error = %v, want %s with %q", err, c.want, c.text)
			}
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		t.Parallel()
		_, sdk := start(t, bedrock.Config{Model: &bedrock.OpenAI{Endpoint: "http://127.0.0.1:1/v1", Name: "small"}})
		if _, err := sdk.Converse(t.Context(), ask("hello")); code(err) != "ServiceUnavailableException" || !strings.Contains(err.Error(), "MODEL_ENDPOINT") {
			t.Errorf("error = %v", err)
		}
	})
	t.Run("tool arguments that are no JSON", func(t *testing.T) {
		t.Parallel()
		url, _ := endpoint(t, 200, "application/json", `{"choices":[{"message":{"tool_calls":[{"id":"a","function":{"name":"q","arguments":"{\"a\":"}}]},"finish_reason":"tool_calls"}]}`)
		_, sdk := start(t, bedrock.Config{Model: &bedrock.OpenAI{Endpoint: url, Name: "small", Key: "key"}})
		out, err := sdk.Converse(t.Context(), ask("hello"))
		if err != nil || out.StopReason != types.StopReasonMalformedToolUse {
			t.Errorf("answer %+v, error %v; want stop reason malformed_tool_use", out, err)
		}
	})
}
