package bedrock

import "github.com/central-ops/central-ops/e2e/local/assumed"

// Assumptions are the behaviours of Bedrock that this stand-in imitates without a reference that settles them.
var Assumptions = []assumed.Row{
	{
		ID: "bedrock-tool-result-object", Where: "bedrock",
		Assume: "a toolResult's json content must be an object; a list is refused with ValidationException",
		Source: "inferred from reports; the API reference only says JSON",
		Check:  "send a toolResult with json [1] to a live model",
	},
	{
		ID: "bedrock-no-prefill", Where: "bedrock",
		Assume: "a conversation must end with a user message",
		Source: "documented for recent Claude models; older ones accept an assistant message",
		Check:  "send a conversation that ends with an assistant message to the model in use",
	},
	{
		ID: "bedrock-roles-alternate", Where: "bedrock",
		Assume: "two messages of one role in a row are refused",
		Source: "documented by the text of the error; some models are more lenient",
		Check:  "send two user messages in a row",
	},
	{
		ID: "bedrock-reasoning-echo", Where: "bedrock",
		Assume: "in a tool loop with reasoning, an assistant message with tool uses must begin with its reasoning block, unchanged, or is refused",
		Source: "documented by Anthropic for thinking with tools; not tried with adaptive thinking on Bedrock",
		Check:  "drop the reasoningContent block before sending tool results",
	},
	{
		ID: "bedrock-cut-tool-input", Where: "bedrock",
		Assume: "Converse shows tool input that was cut by max_tokens, or is malformed, as an empty object; a stream shows the broken text",
		Source: "unknown; the wire format can't carry broken JSON",
		Check:  "ask for a long tool input with maxTokens 20",
	},
	{
		ID: "bedrock-profile-only", Where: "bedrock",
		Assume: "anthropic.* model ids without a profile's prefix are refused with ValidationException",
		Source: "documented on the model cards of current Claude models",
		Check:  "converse with anthropic.claude-sonnet-5 without a prefix",
	},
	{
		ID: "bedrock-cache-order", Where: "bedrock",
		Assume: "a cache point of one hour after one of five minutes is refused",
		Source: "documented as a rule, without the error",
		Check:  "put a 5m point on the tools and a 1h point on the system prompt",
	},
}
