package converse

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	agent "github.com/central-ops/central-ops/services/agent"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
)

// stream runs one ConverseStream. begun says that Bedrock took the request; an error is then one of the
// stream, and the turn holds what is known of it, such as its usage.
func (m *Model) stream(ctx context.Context, input *bedrockruntime.ConverseInput, names names, onText func(string)) (turn agent.Turn, begun bool, err error) {
	request := &bedrockruntime.ConverseStreamInput{
		ModelId:         input.ModelId,
		InferenceConfig: input.InferenceConfig,
		System:          input.System,
		ToolConfig:      input.ToolConfig,
		Messages:        input.Messages,
	}
	if guardrail := input.GuardrailConfig; guardrail != nil {
		request.GuardrailConfig = &types.GuardrailStreamConfiguration{
			GuardrailIdentifier: guardrail.GuardrailIdentifier,
			GuardrailVersion:    guardrail.GuardrailVersion,
			// In the other mode text reaches the person before the guardrail has seen it.
			StreamProcessingMode: types.GuardrailStreamProcessingModeSync,
		}
	}
	output, err := m.client.ConverseStream(ctx, request)
	if err != nil {
		return agent.Turn{}, false, err
	}
	stream := output.GetStream()
	defer stream.Close() //nolint:errcheck // nothing is left to read, and Err has said what there is to say

	reader := streamReader{names: names, onText: onText}
	for event := range stream.Events() {
		reader.read(event)
	}
	if reader.stopped {
		// The message is whole. An error after its end, as when the connection breaks before the last
		// bytes, could cost no more than the usage figures.
		return reader.turn(), true, nil
	}
	if err := stream.Err(); err != nil {
		return reader.turn(), true, err
	}
	if err := ctx.Err(); err != nil {
		return reader.turn(), true, err
	}
	return reader.turn(), true, errIncomplete
}

// streamReader puts a message together from its events. Blocks are keyed by contentBlockIndex, which
// may have gaps.
type streamReader struct {
	names   names
	onText  func(string)
	blocks  map[int32]*partialBlock
	stop    agent.StopReason
	stopped bool
	usage   agent.Usage
}

type partialBlock struct {
	text      strings.Builder
	reasoning *agent.Reasoning
	toolCall  *agent.ToolCall
	input     strings.Builder
}

func (r *streamReader) block(index *int32) *partialBlock {
	if r.blocks == nil {
		r.blocks = make(map[int32]*partialBlock)
	}
	i := aws.ToInt32(index)
	if r.blocks[i] == nil {
		r.blocks[i] = new(partialBlock)
	}
	return r.blocks[i]
}

func (r *streamReader) read(event types.ConverseStreamOutput) {
	switch event := event.(type) {
	case *types.ConverseStreamOutputMemberContentBlockStart:
		if start, ok := event.Value.Start.(*types.ContentBlockStartMemberToolUse); ok {
			r.block(event.Value.ContentBlockIndex).toolCall = &agent.ToolCall{
				ID:   aws.ToString(start.Value.ToolUseId),
				Name: r.names.gateway(aws.ToString(start.Value.Name)),
			}
		}
	case *types.ConverseStreamOutputMemberContentBlockDelta:
		block := r.block(event.Value.ContentBlockIndex)
		switch delta := event.Value.Delta.(type) {
		case *types.ContentBlockDeltaMemberText:
			block.text.WriteString(delta.Value)
			r.onText(delta.Value)
		case *types.ContentBlockDeltaMemberToolUse:
			block.input.WriteString(aws.ToString(delta.Value.Input))
		case *types.ContentBlockDeltaMemberReasoningContent:
			if block.reasoning == nil {
				block.reasoning = new(agent.Reasoning)
			}
			switch part := delta.Value.(type) {
			case *types.ReasoningContentBlockDeltaMemberText:
				block.reasoning.Text += part.Value
			case *types.ReasoningContentBlockDeltaMemberSignature:
				block.reasoning.Signature += part.Value
			case *types.ReasoningContentBlockDeltaMemberRedactedContent:
				block.reasoning.Redacted = append(block.reasoning.Redacted, part.Value...)
			}
		}
	case *types.ConverseStreamOutputMemberMessageStop:
		r.stop, r.stopped = agent.StopReason(event.Value.StopReason), true
	case *types.ConverseStreamOutputMemberMetadata:
		r.usage = readUsage(event.Value.Usage)
	}
}

// turn returns the message as far as it has come.
func (r *streamReader) turn() agent.Turn {
	turn := agent.Turn{Message: agent.Message{Role: agent.RoleAssistant}, Stop: r.stop, Usage: r.usage}
	indexes := make([]int32, 0, len(r.blocks))
	for index := range r.blocks {
		indexes = append(indexes, index)
	}
	slices.Sort(indexes)
	for _, index := range indexes {
		block := r.blocks[index]
		switch {
		case block.toolCall != nil:
			call := *block.toolCall
			call.Input = json.RawMessage(block.input.String())
			if strings.TrimSpace(block.input.String()) == "" {
				call.Input = json.RawMessage("{}")
			}
			add(&turn, agent.Block{ToolCall: &call})
		case block.reasoning != nil:
			add(&turn, agent.Block{Reasoning: block.reasoning})
		default:
			add(&turn, agent.Block{Text: block.text.String()})
		}
	}
	return turn
}
