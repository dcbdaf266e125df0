// Package converse is the agent's Model on Amazon Bedrock: Converse when nobody watches,
// ConverseStream when the text is passed on as it comes.
//
// A request is
//
//	POST /model/{modelId}/converse (or converse-stream)
//	{"system":[{"text":…},{"cachePoint":…}],
//	 "toolConfig":{"tools":[{"toolSpec":…}…,{"cachePoint":…}]},
//	 "messages":[{"role":"user","content":[…,{"cachePoint":…}]}…],
//	 "inferenceConfig":{"maxTokens":…}, "guardrailConfig":{…}}
//
// What Bedrock insists on and this package keeps:
//   - tool names match [a-zA-Z0-9_-]{1,64}; the Gateway allows 256 characters, so others are mapped (ModelName);
//   - an assistant message goes back as it came, reasoning blocks with their signatures included, but for
//     blank text blocks, which Bedrock returns and does not accept;
//   - a tool's input and its schema are JSON objects;
//   - at most four cache points (three are used).
//
// Errors. Transient, retried here with jitter: ThrottlingException, ServiceUnavailableException,
// InternalServerException, ModelTimeoutException, ModelNotReadyException, and in a stream also
// ModelStreamErrorException, as long as no text was passed on. Terminal: the rest, see classify.
//
// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html and
// https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html (read 2026-11).
package converse

import (
	"context"
	"crypto/rand"
	"errors"
	mathrand "math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"time"

	agent "github.com/central-ops/central-ops/services/agent"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	brdocument "github.com/aws/aws-sdk-go-v2/service/bedrockruntime/document"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
)

// Client is what the package calls of Bedrock's runtime API.
type Client interface {
	Converse(context.Context, *bedrockruntime.ConverseInput, ...func(*bedrockruntime.Options)) (*bedrockruntime.ConverseOutput, error)
	ConverseStream(context.Context, *bedrockruntime.ConverseStreamInput, ...func(*bedrockruntime.Options)) (*bedrockruntime.ConverseStreamOutput, error)
}

// Config says which model to use.
type Config struct {
	ModelID          string // inference profile id or ARN
	GuardrailID      string // "" for none
	GuardrailVersion string // with GuardrailID
}

// Model is an agent.Model on Bedrock. It is safe for concurrent use.
type Model struct {
	client Client
	config Config
}

var _ agent.Model = (*Model)(nil)

// RetryOptions makes the client's own retryer take for transient what Bedrock documents as such and the
// SDK does not know: ModelTimeoutException (status 408) and ModelNotReadyException (status 429).
func RetryOptions(options *retry.StandardOptions) {
	options.Retryables = append(slices.Clip(options.Retryables), retry.RetryableErrorCode{Codes: map[string]struct{}{
		"ModelTimeoutException": {}, "ModelNotReadyException": {},
	}})
}

// New returns a Model. The client's own retryer deals with refused requests; see RetryOptions.
func New(client Client, config Config) *Model { return &Model{client: client, config: config} }

// maxStreamAttempts bounds how often a turn is asked for when its stream breaks before any text. The
// SDK retries refused requests, but not a stream that has begun.
const maxStreamAttempts = 3

// Generate implements agent.Model.
func (m *Model) Generate(ctx context.Context, req agent.Request, onText func(string)) (agent.Turn, error) {
	names := newNames(req.Tools)
	input, err := m.input(req, names)
	if err != nil {
		return agent.Turn{}, err
	}
	if onText == nil {
		output, err := m.client.Converse(ctx, input)
		if err != nil {
			return agent.Turn{}, classify(err)
		}
		return readOutput(output, names)
	}

	for attempt := 1; ; attempt++ {
		passed := false
		turn, begun, err := m.stream(ctx, input, names, func(text string) {
			passed = true
			onText(text)
		})
		if err == nil {
			return turn, nil
		}
		failure := classify(err)
		if !begun || passed || attempt == maxStreamAttempts || !transient(failure) {
			return turn, failure
		}
		// Full jitter, as the SDK does it for refused requests.
		wait := time.NewTimer(mathrand.N(time.Second << attempt))
		select {
		case <-ctx.Done():
			wait.Stop()
			return turn, failure
		case <-wait.C:
		}
	}
}

func transient(err *agent.Error) bool {
	return err.Code == agent.CodeThrottled || err.Code == agent.CodeUnavailable
}

// input builds the request.
func (m *Model) input(req agent.Request, names names) (*bedrockruntime.ConverseInput, error) {
	input := &bedrockruntime.ConverseInput{
		ModelId:         aws.String(m.config.ModelID),
		InferenceConfig: &types.InferenceConfiguration{MaxTokens: aws.Int32(int32(req.MaxOutputTokens))},
		System:          []types.SystemContentBlock{&types.SystemContentBlockMemberText{Value: req.System}},
	}
	caches := supportsCaching(m.config.ModelID)
	point := types.CachePointBlock{Type: types.CachePointTypeDefault}
	if caches {
		input.System = append(input.System, &types.SystemContentBlockMemberCachePoint{Value: point})
	}

	// Bedrock wants the tool configuration whenever a message holds a tool call, and refuses an empty one.
	if len(req.Tools) > 0 {
		tools := make([]types.Tool, 0, len(req.Tools)+1)
		for _, tool := range req.Tools {
			schema, err := document(tool.InputSchema)
			if err != nil { // cannot be sent, and one tool must not cost all the others
				schema = brdocument.NewLazyDocument(map[string]any{"type": "object"})
			}
			spec := types.ToolSpecification{
				Name:        aws.String(names.model(tool.Name)),
				InputSchema: &types.ToolInputSchemaMemberJson{Value: schema},
			}
			if tool.Description != "" {
				spec.Description = aws.String(tool.Description)
			}
			tools = append(tools, &types.ToolMemberToolSpec{Value: spec})
		}
		if caches {
			tools = append(tools, &types.ToolMemberCachePoint{Value: point})
		}
		input.ToolConfig = &types.ToolConfiguration{Tools: tools}
	}

	for i, message := range req.Messages {
		content, err := contentOf(message, names)
		if err != nil {
			return nil, err
		}
		if caches && i == len(req.Messages)-1 {
			content = append(content, &types.ContentBlockMemberCachePoint{Value: point})
		}
		input.Messages = append(input.Messages, types.Message{Role: types.ConversationRole(message.Role), Content: content})
	}

	if m.config.GuardrailID != "" {
		input.GuardrailConfig = &types.GuardrailConfiguration{
			GuardrailIdentifier: aws.String(m.config.GuardrailID),
			GuardrailVersion:    aws.String(m.config.GuardrailVersion),
		}
	}
	return input, nil
}

// supportsCaching reports whether cache points may be sent. Families that are not listed as supporting
// them refuse the request or, as Nova does, accept them outside of tools only
// (https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html, read 2026-10). An id that
// names no family, such as an application inference profile, is taken for a Claude model.
func supportsCaching(modelID string) bool {
	for _, family := range []string{
		"ai21.", "amazon.nova", "amazon.titan", "cohere.", "deepseek.", "google.", "meta.", "minimax.", "mistral.",
		"moonshot.", "nvidia.", "openai.", "qwen.", "writer.", "zai.",
	} {
		if strings.Contains(modelID, family) {
			return false
		}
	}
	return true
}

func contentOf(message agent.Message, names names) ([]types.ContentBlock, error) {
	content := make([]types.ContentBlock, 0, len(message.Blocks)+1)
	for _, block := range message.Blocks {
		switch {
		case block.Reasoning != nil:
			content = append(content, &types.ContentBlockMemberReasoningContent{Value: reasoningOf(block.Reasoning)})
		case block.ToolCall != nil:
			input, err := document(block.ToolCall.Input)
			if err != nil {
				// The model wrote something else than an object that can be sent. It was told so in the
				// result; the call itself can only be sent back as one.
				input = emptyObject()
			}
			content = append(content, &types.ContentBlockMemberToolUse{Value: types.ToolUseBlock{
				ToolUseId: aws.String(block.ToolCall.ID),
				Name:      aws.String(names.model(block.ToolCall.Name)),
				Input:     input,
			}})
		case block.ToolResult != nil:
			status := types.ToolResultStatusSuccess
			if block.ToolResult.IsError {
				status = types.ToolResultStatusError
			}
			// As text: a json block must be an object, and would cost exact numbers and key order.
			content = append(content, &types.ContentBlockMemberToolResult{Value: types.ToolResultBlock{
				ToolUseId: aws.String(block.ToolResult.ID),
				Status:    status,
				Content:   []types.ToolResultContentBlock{&types.ToolResultContentBlockMemberText{Value: block.ToolResult.Text}},
			}})
		case strings.TrimSpace(block.Text) != "":
			content = append(content, &types.ContentBlockMemberText{Value: block.Text})
		}
	}
	if len(content) == 0 {
		return nil, &agent.Error{Op: "ask the model", Code: agent.CodeInternal, Message: "a message of the conversation is empty"}
	}
	return content, nil
}

func reasoningOf(reasoning *agent.Reasoning) types.ReasoningContentBlock {
	if reasoning.Redacted != nil {
		return &types.ReasoningContentBlockMemberRedactedContent{Value: reasoning.Redacted}
	}
	block := types.ReasoningTextBlock{Text: aws.String(reasoning.Text)}
	if reasoning.Signature != "" {
		block.Signature = aws.String(reasoning.Signature)
	}
	return &types.ReasoningContentBlockMemberReasoningText{Value: block}
}

// readOutput turns Converse's answer into a Turn.
func readOutput(output *bedrockruntime.ConverseOutput, names names) (agent.Turn, error) {
	turn := agent.Turn{
		Message: agent.Message{Role: agent.RoleAssistant},
		Stop:    agent.StopReason(output.StopReason),
		Usage:   readUsage(output.Usage),
	}
	message, ok := output.Output.(*types.ConverseOutputMemberMessage)
	if !ok {
		if output.Output == nil && turn.Stop != "" {
			return turn, nil // some stop reasons come without a message
		}
		return turn, errNoMessage
	}
	for _, block := range message.Value.Content {
		switch block := block.(type) {
		case *types.ContentBlockMemberText:
			add(&turn, agent.Block{Text: block.Value})
		case *types.ContentBlockMemberReasoningContent:
			switch reasoning := block.Value.(type) {
			case *types.ReasoningContentBlockMemberReasoningText:
				add(&turn, agent.Block{Reasoning: &agent.Reasoning{
					Text: aws.ToString(reasoning.Value.Text), Signature: aws.ToString(reasoning.Value.Signature),
				}})
			case *types.ReasoningContentBlockMemberRedactedContent:
				add(&turn, agent.Block{Reasoning: &agent.Reasoning{Redacted: reasoning.Value}})
			}
		case *types.ContentBlockMemberToolUse:
			add(&turn, agent.Block{ToolCall: &agent.ToolCall{
				ID:    aws.ToString(block.Value.ToolUseId),
				Name:  names.gateway(aws.ToString(block.Value.Name)),
				Input: rawJSON(block.Value.Input),
			}})
		case *types.ContentBlockMemberCitationsContent:
			for _, content := range block.Value.Content {
				if text, ok := content.(*types.CitationGeneratedContentMemberText); ok {
					add(&turn, agent.Block{Text: text.Value})
				}
			}
		}
	}
	return turn, nil
}

var errNoMessage = &agent.Error{Op: "ask the model", Code: agent.CodeUnavailable, Message: "the model's answer holds no message", Hint: "ask again"}

func readUsage(usage *types.TokenUsage) agent.Usage {
	if usage == nil {
		return agent.Usage{}
	}
	return agent.Usage{
		InputTokens:      int64(aws.ToInt32(usage.InputTokens)),
		OutputTokens:     int64(aws.ToInt32(usage.OutputTokens)),
		CacheReadTokens:  int64(aws.ToInt32(usage.CacheReadInputTokens)),
		CacheWriteTokens: int64(aws.ToInt32(usage.CacheWriteInputTokens)),
	}
}

var errIncomplete = errors.New("the stream ended before the message did")

// toolUseID is what Bedrock accepts as one
// (https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolUseBlock.html, read 2026-11).
var toolUseID = regexp.MustCompile(`^[a-zA-Z0-9_.:-]{1,64}$`)

// add appends a block to a turn. A call whose id Bedrock would not take back, or that has another call's, gets a new one.
func add(turn *agent.Turn, block agent.Block) {
	if call := block.ToolCall; call != nil && (!toolUseID.MatchString(call.ID) || slices.ContainsFunc(turn.Message.Blocks, func(other agent.Block) bool {
		return other.ToolCall != nil && other.ToolCall.ID == call.ID
	})) {
		call.ID = "call_" + rand.Text()
	}
	turn.Message.Blocks = append(turn.Message.Blocks, block)
}
