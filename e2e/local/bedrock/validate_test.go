package bedrock_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
	"github.com/central-ops/central-ops/e2e/local/bedrock"
)

// converse posts a signed body as it is: the SDK can't send what the service must refuse.
func converse(t *testing.T, url, modelID, body string) (status int, code, message string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/model/"+modelID+"/converse", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	sum := sha256.Sum256([]byte(body))
	credentials := aws.Credentials{AccessKeyID: role.AccessKeyID, SecretAccessKey: role.SecretAccessKey, SessionToken: role.SessionToken}
	if err := v4.NewSigner().SignHTTP(context.Background(), credentials, r, hex.EncodeToString(sum[:]), "bedrock", region, time.Now()); err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Message string `json:"message"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		t.Fatalf("answer %s: %v", data, err)
	}
	return resp.StatusCode, resp.Header.Get("X-Amzn-Errortype"), answer.Message
}

const (
	toolConfig = `"toolConfig":{"tools":[{"toolSpec":{"name":"q","inputSchema":{"json":{"type":"object"}}}}]}`
	asks       = `{"role":"user","content":[{"text":"help"}]}`
	uses       = `{"role":"assistant","content":[{"toolUse":{"toolUseId":"t1","name":"q","input":{}}}]}`
	result     = `{"role":"user","content":[{"toolResult":{"toolUseId":"t1","content":[{"text":"ok"}]}}]}`
)

func conversationOf(messages ...string) string {
	return `{` + toolConfig + `,"messages":[` + strings.Join(messages, ",") + `]}`
}

func withTools(tools string) string {
	return `{"toolConfig":{"tools":[` + tools + `]},"messages":[` + asks + `]}`
}

func TestValidation(t *testing.T) {
	t.Parallel()
	_, sdk := start(t, bedrock.Config{})
	url := *sdk.Options().BaseEndpoint
	point := `{"cachePoint":{"type":"default"}}`
	for name, c := range map[string]struct{ body, want string }{
		"no JSON":                         {`{`, "not valid"},
		"no messages":                     {`{"messages":[]}`, "messages field is empty"},
		"begins with the assistant":       {conversationOf(`{"role":"assistant","content":[{"text":"x"}]}`, asks), "must start with a user message"},
		"two user messages":               {conversationOf(asks, asks), "must alternate"},
		"ends with the assistant":         {conversationOf(asks, `{"role":"assistant","content":[{"text":"x"}]}`), "must end with a user message"},
		"an unknown role":                 {conversationOf(`{"role":"system","content":[{"text":"x"}]}`), "messages.0.role"},
		"no content":                      {conversationOf(`{"role":"user","content":[]}`), "messages.0 is empty"},
		"blank text":                      {conversationOf(`{"role":"user","content":[{"text":" \n"}]}`), "messages.0.content.0 is blank"},
		"blank system text":               {`{"system":[{"text":""}],"messages":[` + asks + `]}`, "system.0 is blank"},
		"an empty block":                  {conversationOf(`{"role":"user","content":[{}]}`), "must set one of the following keys"},
		"a block of two kinds":            {conversationOf(`{"role":"user","content":[{"text":"x","toolUse":{"toolUseId":"t","name":"q","input":{}}}]}`), "must set one of the following keys"},
		"an image":                        {conversationOf(`{"role":"user","content":[{"image":{}}]}`), "doesn't support the image field"},
		"a tool use without a result":     {conversationOf(asks, uses, `{"role":"user","content":[{"text":"go on"}]}`), "Expected toolResult blocks at messages.2.content for the following Ids: t1"},
		"a result nobody asked for":       {conversationOf(`{"role":"user","content":[{"toolResult":{"toolUseId":"t1","content":[{"text":"ok"}]}}]}`), "exceeds the number of toolUse blocks"},
		"a result of another tool use":    {conversationOf(asks, uses, strings.Replace(result, "t1", "t2", 1)), "Ids: t1"},
		"a result too late":               {conversationOf(asks, uses, result, `{"role":"assistant","content":[{"text":"x"}]}`, result), "exceeds the number"},
		"a tool use id used twice":        {conversationOf(asks, uses, result, uses, result), "ids must be unique"},
		"a tool use id with a slash":      {conversationOf(asks, strings.Replace(uses, "t1", "t/1", 1), result), "toolUseId"},
		"a tool use id too long":          {conversationOf(asks, strings.Replace(uses, "t1", strings.Repeat("x", 65), 1), result), "toolUseId"},
		"a tool name with a dot":          {conversationOf(asks, strings.Replace(uses, `"q"`, `"a.b"`, 1), result), "toolUse.name"},
		"tool input that is a list":       {conversationOf(asks, strings.Replace(uses, `{}`, `[]`, 1), result), "toolUse.input is invalid"},
		"a result that is a list":         {conversationOf(asks, uses, strings.Replace(result, `"text":"ok"`, `"json":[1]`, 1)), "Provide a json object"},
		"an empty result text":            {conversationOf(asks, uses, strings.Replace(result, `"ok"`, `""`, 1)), "is blank"},
		"a result block with nothing":     {conversationOf(asks, uses, strings.Replace(result, `"text":"ok"`, ``, 1)), "must set one of the following keys: json, text"},
		"an unknown result status":        {conversationOf(asks, uses, strings.Replace(result, `"toolUseId"`, `"status":"bad","toolUseId"`, 1)), "toolResult.status"},
		"a tool use by the user":          {conversationOf(strings.Replace(uses, "assistant", "user", 1)), "only allowed in messages of the assistant role"},
		"a tool result by the assistant":  {conversationOf(asks, strings.Replace(result, "user", "assistant", 1), asks), "only allowed in messages of the user role"},
		"tool blocks without tools":       {`{"messages":[` + asks + `,` + uses + `,` + result + `]}`, "toolConfig field must be defined"},
		"five cache points":               {conversationOf(`{"role":"user","content":[{"text":"x"},` + strings.Repeat(point+",", 4) + point + `]}`), "maximum of 4"},
		"an unknown cache point":          {conversationOf(`{"role":"user","content":[{"text":"x"},{"cachePoint":{"type":"x"}}]}`), "cachePoint.type"},
		"an unknown cache life":           {conversationOf(`{"role":"user","content":[{"text":"x"},{"cachePoint":{"type":"default","ttl":"2h"}}]}`), "cachePoint.ttl"},
		"a long-lived cache point last":   {conversationOf(`{"role":"user","content":[{"text":"x"},` + point + `,{"cachePoint":{"type":"default","ttl":"1h"}}]}`), "must not come after"},
		"no tools in the tool config":     {withTools(``), "tools field at toolConfig is empty"},
		"a tool without a name":           {withTools(`{"toolSpec":{"name":"","inputSchema":{"json":{"type":"object"}}}}`), "toolSpec.name"},
		"a tool name too long":            {withTools(`{"toolSpec":{"name":"` + strings.Repeat("x", 65) + `","inputSchema":{"json":{"type":"object"}}}}`), "toolSpec.name"},
		"a tool name used twice":          {withTools(strings.Repeat(`{"toolSpec":{"name":"q","inputSchema":{"json":{"type":"object"}}}},`, 2) + point), "must be unique"},
		"a tool without a schema":         {withTools(`{"toolSpec":{"name":"q","inputSchema":{}}}`), "inputSchema.json is invalid"},
		"a tool schema that is no object": {withTools(`{"toolSpec":{"name":"q","inputSchema":{"json":{"type":"string"}}}}`), "must be one of the following: object"},
		"an empty tool description":       {withTools(`{"toolSpec":{"name":"q","description":"","inputSchema":{"json":{"type":"object"}}}}`), "description"},
		"an empty tool":                   {withTools(`{}`), "toolConfig.tools.0 must set"},
		"a choice of an unknown tool":     {`{"toolConfig":{"tools":[{"toolSpec":{"name":"q","inputSchema":{"json":{"type":"object"}}}}],"toolChoice":{"tool":{"name":"z"}}},"messages":[` + asks + `]}`, "toolChoice.tool.name"},
		"no tokens":                       {`{"inferenceConfig":{"maxTokens":0},"messages":[` + asks + `]}`, "maxTokens"},
		"a temperature over 1":            {`{"inferenceConfig":{"temperature":1.5},"messages":[` + asks + `]}`, "temperature"},
		"a negative topP":                 {`{"inferenceConfig":{"topP":-0.5},"messages":[` + asks + `]}`, "topP"},
		"an empty stop sequence":          {`{"inferenceConfig":{"stopSequences":[""]},"messages":[` + asks + `]}`, "stopSequences"},
		"reasoning in a user message":     {conversationOf(`{"role":"user","content":[{"reasoningContent":{"reasoningText":{"text":"x"}}}]}`), "reasoningContent field"},
		"a system block with nothing":     {`{"system":[{}],"messages":[` + asks + `]}`, "system.0 must set"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, code, message := converse(t, url, model, c.body)
			if status != http.StatusBadRequest || code != "ValidationException" || !strings.Contains(message, c.want) {
				t.Errorf("%d %s: %s\nwant a ValidationException with %q", status, code, message, c.want)
			}
		})
	}
	for name, body := range map[string]string{
		"a question":        conversationOf(asks),
		"a tool loop":       conversationOf(asks, uses, result),
		"four cache points": `{"system":[{"text":"s"},` + point + `],` + toolConfig + `,"messages":[{"role":"user","content":[{"text":"help"},` + point + "," + point + "," + point + `]}]}`,
	} {
		if status, code, message := converse(t, url, model, body); status != http.StatusOK {
			t.Errorf("%s is refused: %d %s %s", name, status, code, message)
		}
	}
	for id, want := range map[string]string{
		"anthropic.claude-sonnet-5": "Retry your request with the ID or ARN of an inference profile", "no%20such": "model identifier is invalid",
	} {
		if status, _, message := converse(t, url, id, conversationOf(asks)); status != http.StatusBadRequest || !strings.Contains(message, want) {
			t.Errorf("model %s: %d %s", id, status, message)
		}
	}
	if status, code, _ := converse(t, url, model+"/x", conversationOf(asks)); status != http.StatusNotFound || code != "ResourceNotFoundException" {
		t.Errorf("an unknown path: %d %s", status, code)
	}
}

func TestReasoningMustComeBack(t *testing.T) {
	t.Parallel()
	_, sdk := start(t, bedrock.Config{Reasoning: true})
	first := ask("list buckets")
	out, err := sdk.Converse(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	answer := out.Output.(*types.ConverseOutputMemberMessage).Value
	send := func(change func(*types.Message)) error {
		message := types.Message{Role: answer.Role, Content: append([]types.ContentBlock(nil), answer.Content...)}
		change(&message)
		again := *first
		again.Messages = []types.Message{first.Messages[0], message, answerTools(message, oneInstance)}
		_, err := sdk.Converse(t.Context(), &again)
		return err
	}
	if err := send(func(*types.Message) {}); err != nil {
		t.Errorf("unchanged: %v", err)
	}
	if err := send(func(m *types.Message) { m.Content = m.Content[1:] }); code(err) != "ValidationException" || !strings.Contains(err.Error(), "thinking") {
		t.Errorf("left out: %v", err)
	}
	err = send(func(m *types.Message) {
		m.Content[0] = &types.ContentBlockMemberReasoningContent{Value: &types.ReasoningContentBlockMemberReasoningText{
			Value: types.ReasoningTextBlock{Text: aws.String("something else"), Signature: aws.String("c2lnbmVk")}}}
	})
	if code(err) != "ValidationException" || !strings.Contains(err.Error(), "signature") {
		t.Errorf("changed: %v", err)
	}
	without := *first
	without.AdditionalModelRequestFields = jsonDocument(map[string]any{"thinking": map[string]any{"type": "disabled"}})
	out, err = sdk.Converse(t.Context(), &without)
	if err != nil {
		t.Fatal(err)
	}
	if _, reasons := out.Output.(*types.ConverseOutputMemberMessage).Value.Content[0].(*types.ContentBlockMemberReasoningContent); reasons {
		t.Error("reasoning in spite of thinking disabled")
	}
}

func TestPromptCacheUsage(t *testing.T) {
	t.Parallel()
	_, sdk := start(t, bedrock.Config{})
	system := strings.Repeat("You answer questions about AWS accounts. ", 200)
	usage := func(system string) string {
		in := ask("help")
		in.System = []types.SystemContentBlock{&types.SystemContentBlockMemberText{Value: system},
			&types.SystemContentBlockMemberCachePoint{Value: types.CachePointBlock{Type: types.CachePointTypeDefault}}}
		out, err := sdk.Converse(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		u := out.Usage
		if sum := *u.InputTokens + *u.CacheReadInputTokens + *u.CacheWriteInputTokens + *u.OutputTokens; sum != *u.TotalTokens {
			t.Errorf("total %d, sum of its parts %d", *u.TotalTokens, sum)
		}
		return fmt.Sprintf("read %t, written %t", *u.CacheReadInputTokens > 0, *u.CacheWriteInputTokens > 0)
	}
	for _, step := range []struct{ name, system, want string }{
		{"the first time", system, "read false, written true"},
		{"the same again", system, "read true, written false"},
		{"another prefix", "Today is Tuesday. " + system, "read false, written true"},
		{"a prefix too short", "You answer questions.", "read false, written false"},
	} {
		if got := usage(step.system); got != step.want {
			t.Errorf("%s: %s, want %s", step.name, got, step.want)
		}
	}
}
