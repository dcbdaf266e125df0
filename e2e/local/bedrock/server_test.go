package bedrock_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/document"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
	"github.com/aws/smithy-go"
	"github.com/central-ops/central-ops/e2e/local/bedrock"
	"github.com/central-ops/central-ops/e2e/local/issued"
	"github.com/google/go-cmp/cmp"
)

const (
	region = "us-east-1"
	model  = "us.anthropic.claude-sonnet-5"
)

var role = issued.Credential{
	AccessKeyID: "ASIAAGENT", SecretAccessKey: "agent-secret", SessionToken: "agent-token", Account: "111111111111",
	PrincipalARN: "arn:aws:sts::111111111111:assumed-role/agent/1",
}

// start serves m on loopback and returns the server and the SDK's own client for it, which doesn't retry.
func start(t *testing.T, c bedrock.Config) (*bedrock.Server, *bedrockruntime.Client) {
	t.Helper()
	if c.Model == nil {
		c.Model = bedrock.Planner{}
	}
	c.Issued, c.Region = issued.New(), region
	c.Issued.Add(role)
	server := bedrock.New(c)
	front := httptest.NewServer(server)
	t.Cleanup(front.Close)
	return server, client(front.URL, role.SecretAccessKey)
}

// steady sends bodies that don't mind being closed. The SDK closes a request's body when the answer's header is there; net/http may
// still be looking for the body's end, takes that for a failed write and closes the connection under the stream.
type steady struct{}

func (steady) Do(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return http.DefaultClient.Do(r)
}

func client(url, secret string) *bedrockruntime.Client {
	return bedrockruntime.New(bedrockruntime.Options{
		HTTPClient: steady{},
		Region:     region, BaseEndpoint: aws.String(url), Retryer: aws.NopRetryer{},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: role.AccessKeyID, SecretAccessKey: secret, SessionToken: role.SessionToken}, nil
		}),
	})
}

func tools(names ...string) *types.ToolConfiguration {
	config := &types.ToolConfiguration{}
	for _, name := range names {
		config.Tools = append(config.Tools, &types.ToolMemberToolSpec{Value: types.ToolSpecification{
			Name: aws.String(name), Description: aws.String("a tool"),
			InputSchema: &types.ToolInputSchemaMemberJson{Value: document.NewLazyDocument(map[string]any{"type": "object"})},
		}})
	}
	return config
}

func user(blocks ...types.ContentBlock) types.Message {
	return types.Message{Role: types.ConversationRoleUser, Content: blocks}
}

func text(s string) types.ContentBlock { return &types.ContentBlockMemberText{Value: s} }

const oneInstance = `{"ok":true,"coverage":{"targets":1,"answered":1,"denied":0,"failed":0,"skipped":0},` +
	`"results":[{"account_id":"222222222222","account_name":"Production","region":"us-east-1","status":"ok","count":1,` +
	`"data":[{"id":"i-0123456789abcdef0","name":"web-1","type":"m6i.large","state":"running"}],` +
	`"receipt":{"role_arn":"arn:aws:iam::222222222222:role/CentralOpsTargetRole","source_identity":"alice","operation":"ec2:DescribeInstances","api_calls":1,"duration_ms":3}}],` +
	`"truncated":false,"notes":[]}`

// answerTools gives every tool use of message the same result.
func answerTools(message types.Message, result string) types.Message {
	answer := user()
	for _, block := range message.Content {
		if use, ok := block.(*types.ContentBlockMemberToolUse); ok {
			answer.Content = append(answer.Content, &types.ContentBlockMemberToolResult{Value: types.ToolResultBlock{
				ToolUseId: use.Value.ToolUseId, Content: []types.ToolResultContentBlock{&types.ToolResultContentBlockMemberText{Value: result}},
			}})
		}
	}
	return answer
}

// toolInputs returns the inputs of a message's tool uses, by their JSON values.
func toolInputs(t *testing.T, message types.Message) []map[string]any {
	t.Helper()
	var inputs []map[string]any
	for _, block := range message.Content {
		if use, ok := block.(*types.ContentBlockMemberToolUse); ok {
			data, err := use.Value.Input.MarshalSmithyDocument()
			if err != nil {
				t.Fatal(err)
			}
			var input map[string]any
			if err := json.Unmarshal(data, &input); err != nil {
				t.Fatalf("tool input %s: %v", data, err)
			}
			inputs = append(inputs, input)
		}
	}
	return inputs
}

var wantQuery = map[string]any{
	"accounts": []any{"222222222222"}, "service": "ec2", "operation": "DescribeInstances",
	"select": "Reservations[].Instances[]|[].{id:InstanceId,name:Tags[?Key=='Name']|[0].Value,type:InstanceType,state:State.Name}",
}

func TestConverseWithTheSDK(t *testing.T) {
	t.Parallel()
	server, sdk := start(t, bedrock.Config{Reasoning: true})
	input := &bedrockruntime.ConverseInput{
		ModelId: aws.String(model), ToolConfig: tools("bridge___list_accounts", "bridge___query"),
		System:   []types.SystemContentBlock{&types.SystemContentBlockMemberText{Value: "You answer questions about AWS accounts."}},
		Messages: []types.Message{user(text("List EC2 instances in account 222222222222"))},
	}
	out, err := sdk.Converse(t.Context(), input)
	if err != nil {
		t.Fatal(err)
	}
	message := out.Output.(*types.ConverseOutputMemberMessage).Value
	if out.StopReason != types.StopReasonToolUse {
		t.Errorf("stop reason = %s, want tool_use", out.StopReason)
	}
	if diff := cmp.Diff([]map[string]any{wantQuery}, toolInputs(t, message)); diff != "" {
		t.Errorf("tool inputs mismatch (-want +got):\n%s", diff)
	}
	if _, ok := message.Content[0].(*types.ContentBlockMemberReasoningContent); !ok {
		t.Errorf("the first block is a %T, want reasoning", message.Content[0])
	}

	input.Messages = append(input.Messages, message, answerTools(message, oneInstance))
	out, err = sdk.Converse(t.Context(), input)
	if err != nil {
		t.Fatal(err)
	}
	if out.StopReason != types.StopReasonEndTurn {
		t.Errorf("stop reason = %s, want end_turn", out.StopReason)
	}
	answer := out.Output.(*types.ConverseOutputMemberMessage).Value.Content[0].(*types.ContentBlockMemberText).Value
	for _, want := range []string{"**1 EC2 instance**", "i-0123456789abcdef0", "web-1", "1 of 1 target", "alice", "not a language model"} {
		if !strings.Contains(answer, want) {
			t.Errorf("the answer lacks %q:\n%s", want, answer)
		}
	}
	if *out.Usage.InputTokens == 0 || *out.Usage.OutputTokens == 0 || *out.Usage.TotalTokens != *out.Usage.InputTokens+*out.Usage.OutputTokens {
		t.Errorf("usage = %d in, %d out, %d total", *out.Usage.InputTokens, *out.Usage.OutputTokens, *out.Usage.TotalTokens)
	}
	if diff := cmp.Diff(bedrock.Stats{Requests: 2}, server.Stats()); diff != "" {
		t.Errorf("Stats mismatch (-want +got):\n%s", diff)
	}
}

// streamed is a ConverseStream answer put together again.
type streamed struct {
	Events    []string
	Texts     map[int32]string // texts and tool inputs by block
	Signature string
	Stop      types.StopReason
	Usage     *types.TokenUsage
}

func readStream(t *testing.T, out *bedrockruntime.ConverseStreamOutput) (streamed, error) {
	t.Helper()
	s := streamed{Texts: map[int32]string{}}
	stream := out.GetStream()
	for event := range stream.Events() {
		switch e := event.(type) {
		case *types.ConverseStreamOutputMemberMessageStart:
			s.Events = append(s.Events, "start "+string(e.Value.Role))
		case *types.ConverseStreamOutputMemberContentBlockStart:
			use := e.Value.Start.(*types.ContentBlockStartMemberToolUse)
			s.Events = append(s.Events, "tool "+*use.Value.Name)
		case *types.ConverseStreamOutputMemberContentBlockDelta:
			switch d := e.Value.Delta.(type) {
			case *types.ContentBlockDeltaMemberText:
				s.Texts[*e.Value.ContentBlockIndex] += d.Value
			case *types.ContentBlockDeltaMemberToolUse:
				s.Texts[*e.Value.ContentBlockIndex] += *d.Value.Input
			case *types.ContentBlockDeltaMemberReasoningContent:
				switch r := d.Value.(type) {
				case *types.ReasoningContentBlockDeltaMemberText:
					s.Texts[*e.Value.ContentBlockIndex] += r.Value
				case *types.ReasoningContentBlockDeltaMemberSignature:
					s.Signature += r.Value
				}
			}
		case *types.ConverseStreamOutputMemberContentBlockStop:
			s.Events = append(s.Events, "stop block")
		case *types.ConverseStreamOutputMemberMessageStop:
			s.Stop = e.Value.StopReason
		case *types.ConverseStreamOutputMemberMetadata:
			s.Usage = e.Value.Usage
		default:
			t.Errorf("event %T", event)
		}
	}
	return s, stream.Err()
}

func TestConverseStreamWithTheSDK(t *testing.T) {
	t.Parallel()
	_, sdk := start(t, bedrock.Config{Reasoning: true})
	out, err := sdk.ConverseStream(t.Context(), &bedrockruntime.ConverseStreamInput{
		ModelId: aws.String(model), ToolConfig: tools("bridge___query"),
		Messages: []types.Message{user(text("List EC2 instances in account 222222222222"))},
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := readStream(t, out)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"start assistant", "stop block", "tool bridge___query", "stop block"}, got.Events); diff != "" {
		t.Errorf("events mismatch (-want +got):\n%s", diff)
	}
	var input map[string]any
	if err := json.Unmarshal([]byte(got.Texts[1]), &input); err != nil {
		t.Fatalf("joined tool input %q: %v", got.Texts[1], err)
	}
	if diff := cmp.Diff(wantQuery, input); diff != "" {
		t.Errorf("tool input mismatch (-want +got):\n%s", diff)
	}
	if got.Signature == "" || got.Texts[0] == "" {
		t.Error("reasoning came without text or signature")
	}
	if got.Stop != types.StopReasonToolUse || got.Usage == nil || *got.Usage.OutputTokens == 0 {
		t.Errorf("stop reason %s, usage %+v", got.Stop, got.Usage)
	}
}

// code is the AWS error code of err, "" for another error.
func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

func ask(question string) *bedrockruntime.ConverseInput {
	return &bedrockruntime.ConverseInput{ModelId: aws.String(model), ToolConfig: tools("bridge___query"), Messages: []types.Message{user(text(question))}}
}

func TestSignatureIsChecked(t *testing.T) {
	t.Parallel()
	server := bedrock.New(bedrock.Config{Model: bedrock.Planner{}, Issued: issued.New(), Region: region})
	front := httptest.NewServer(server)
	t.Cleanup(front.Close)

	if _, err := client(front.URL, "s").Converse(t.Context(), ask("help")); code(err) != "UnrecognizedClientException" {
		t.Errorf("a key that was never issued: %v", err)
	}
	_, sdk := start(t, bedrock.Config{})
	wrong := client(*sdk.Options().BaseEndpoint, "another-secret")
	if _, err := wrong.Converse(t.Context(), ask("help")); code(err) != "InvalidSignatureException" {
		t.Errorf("a wrong secret: %v", err)
	}
	resp, err := http.Post(front.URL+"/model/"+model+"/converse", "application/json", strings.NewReader(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("X-Amzn-Errortype"); resp.StatusCode != http.StatusForbidden || got != "MissingAuthenticationTokenException" {
		t.Errorf("no signature: %d %s", resp.StatusCode, got)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	t.Run("an exception comes before anything else, with its status", func(t *testing.T) {
		t.Parallel()
		for name, want := range map[string]int{
			"ThrottlingException": 429, "ModelNotReadyException": 429, "ModelTimeoutException": 408, "ServiceUnavailableException": 503,
			"InternalServerException": 500, "ModelErrorException": 424, "AccessDeniedException": 403, "ResourceNotFoundException": 404,
		} {
			server, sdk := start(t, bedrock.Config{})
			server.Inject(bedrock.Fault{Exception: name}, bedrock.Fault{})
			_, err := sdk.Converse(t.Context(), ask("help"))
			var response interface{ HTTPStatusCode() int }
			if code(err) != name || !errors.As(err, &response) || response.HTTPStatusCode() != want {
				t.Errorf("%s: %v", name, err)
			}
			if _, err := sdk.Converse(t.Context(), ask("help")); err != nil {
				t.Errorf("%s: the next request: %v", name, err)
			}
		}
	})
	t.Run("an exception in the middle of a stream", func(t *testing.T) {
		t.Parallel()
		for _, name := range []string{"ThrottlingException", "ModelStreamErrorException", "InternalServerException", "ServiceUnavailableException", "ValidationException"} {
			server, sdk := start(t, bedrock.Config{})
			server.Inject(bedrock.Fault{Exception: name, AfterEvents: 3})
			out, err := sdk.ConverseStream(t.Context(), streamInput("help"))
			if err != nil {
				t.Fatalf("%s: the stream did not begin: %v", name, err)
			}
			got, err := readStream(t, out)
			if code(err) != name || got.Stop != "" {
				t.Errorf("%s: error %v, stop reason %q", name, err, got.Stop)
			}
		}
	})
	t.Run("a dropped connection and a damaged event", func(t *testing.T) {
		t.Parallel()
		for _, fault := range []bedrock.Fault{{Abort: true, AfterEvents: 2}, {Corrupt: true, AfterEvents: 2}} {
			server, sdk := start(t, bedrock.Config{})
			server.Inject(fault)
			out, err := sdk.ConverseStream(t.Context(), streamInput("help"))
			if err != nil {
				t.Fatal(err)
			}
			// The SDK (bedrockruntime v1.63.12) reports no error for a connection that drops between two events: only the
			// missing messageStop tells.
			got, err := readStream(t, out)
			if got.Stop != "" || fault.Corrupt && err == nil {
				t.Errorf("%+v: error %v, stop reason %q", fault, err, got.Stop)
			}
		}
		server, sdk := start(t, bedrock.Config{})
		server.Inject(bedrock.Fault{Abort: true})
		if _, err := sdk.Converse(t.Context(), ask("help")); err == nil || code(err) != "" {
			t.Errorf("dropped before the answer: %v", err)
		}
	})
	t.Run("malformed and cut tool input", func(t *testing.T) {
		t.Parallel()
		for _, reason := range []types.StopReason{types.StopReasonMalformedToolUse, types.StopReasonMaxTokens} {
			server, sdk := start(t, bedrock.Config{})
			server.Inject(bedrock.Fault{StopReason: string(reason)}, bedrock.Fault{StopReason: string(reason)})
			out, err := sdk.ConverseStream(t.Context(), streamInput("list buckets"))
			if err != nil {
				t.Fatal(err)
			}
			got, err := readStream(t, out)
			if err != nil || got.Stop != reason {
				t.Errorf("%s: stop reason %q, %v", reason, got.Stop, err)
			}
			if json.Valid([]byte(got.Texts[0])) || got.Texts[0] == "" {
				t.Errorf("%s: the input %q is whole", reason, got.Texts[0])
			}
			whole, err := sdk.Converse(t.Context(), ask("list buckets"))
			if err != nil || whole.StopReason != reason {
				t.Errorf("%s: Converse: %v, %v", reason, whole, err)
			}
		}
	})
	t.Run("a delay lasts until the client gives up", func(t *testing.T) {
		t.Parallel()
		server, sdk := start(t, bedrock.Config{})
		server.Inject(bedrock.Fault{Delay: time.Hour})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := sdk.Converse(ctx, ask("help"))
			done <- err
		}()
		for server.Stats().Requests == 0 {
			runtime.Gosched()
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("error = %v, want context.Canceled", err)
		}
	})
}

func streamInput(question string) *bedrockruntime.ConverseStreamInput {
	in := ask(question)
	return &bedrockruntime.ConverseStreamInput{ModelId: in.ModelId, ToolConfig: in.ToolConfig, Messages: in.Messages}
}

func TestTokenLimitAndStopSequence(t *testing.T) {
	t.Parallel()
	_, sdk := start(t, bedrock.Config{})
	limited := ask("help")
	limited.InferenceConfig = &types.InferenceConfiguration{MaxTokens: aws.Int32(20)}
	out, err := sdk.Converse(t.Context(), limited)
	if err != nil {
		t.Fatal(err)
	}
	if out.StopReason != types.StopReasonMaxTokens || *out.Usage.OutputTokens > 20 {
		t.Errorf("stop reason %s after %d tokens", out.StopReason, *out.Usage.OutputTokens)
	}
	limited.InferenceConfig = &types.InferenceConfiguration{StopSequences: []string{"questions"}}
	out, err = sdk.Converse(t.Context(), limited)
	if err != nil {
		t.Fatal(err)
	}
	answer := out.Output.(*types.ConverseOutputMemberMessage).Value.Content[0].(*types.ContentBlockMemberText).Value
	if out.StopReason != types.StopReasonStopSequence || answer != "I understand " {
		t.Errorf("stop reason %s, answer %q", out.StopReason, answer)
	}
}

func jsonDocument(v any) document.Interface { return document.NewLazyDocument(v) }
