// Package agent is the domain of the agent: one invocation is a person's question, answered by a
// model that may call tools, inside bounds. It knows no wire format and no SDK; the adapters under
// internal/ do.
//
// The parts and who implements them:
//
//	httpapi --Invocation--> Agent.Run --Request--> Model    (converse: Amazon Bedrock)
//	        <--Events-----            --ToolCall-> Toolbox  (gateway: AgentCore Gateway, MCP)
//
// What the agent says about coverage and receipts comes from tool results, parsed here (Envelope),
// never from the model's words.
package agent

import (
	"context"
	"encoding/json"
	"time"
)

// SessionID names a Runtime session: the unit of conversation memory.
type SessionID string

// Caller is who asks, as the Runtime's headers said. Its tokens are secrets: they go to the Toolbox
// and nowhere else, and the String method keeps them out of logs and errors.
type Caller struct {
	Subject       string    // the token's sub claim; owns the session that it first used
	Token         string    // the person's access token, without "Bearer "
	Expires       time.Time // its end; zero when it names none
	WorkloadToken string    // the Runtime's workload access token; "" when the Runtime sent none
}

// String returns a constant, so that formatting a Caller never prints a token.
func (Caller) String() string { return "caller" }

// GoString is String for the %#v verb.
func (Caller) GoString() string { return "caller" }

// Invocation is one question in one session, or one call of a tool without a model.
type Invocation struct {
	ID      string // the Runtime's request id; for logs only
	Session SessionID
	Caller  Caller
	Prompt  string
	Direct  *DirectCall // set instead of Prompt
}

// DirectCall is a tool that the caller names. It goes the way of the model's calls, with the caller's own token: it reaches
// nothing that a question could not reach, and leaves the conversation as it was.
type DirectCall struct {
	Tool      string          // see Tool.Name; or what stands behind "___" in it
	Arguments json.RawMessage // a JSON object
}

// Tool is something the model may call. Name is the Gateway's (gateway target, "___", tool).
type Tool struct {
	Name        string
	Description string
	InputSchema json.RawMessage // a JSON Schema object
}

// ToolCall is one use of a tool, as the model asked for it.
type ToolCall struct {
	ID    string          // the model's id of the call; unique in its turn
	Name  string          // see Tool.Name
	Input json.RawMessage // a JSON object; not one when the model wrote something else
}

// ToolResult is what the model is told about a ToolCall.
type ToolResult struct {
	ID      string
	Name    string // of the tool that was called
	Text    string // never empty
	IsError bool
}

// Reasoning is a model's reasoning block. It is sent back exactly as it came: the signature covers it.
type Reasoning struct {
	Text      string
	Signature string
	Redacted  []byte // set instead of the others when the provider hid the reasoning
}

// Block is one part of a Message; exactly one member is set.
type Block struct {
	Text       string
	Reasoning  *Reasoning
	ToolCall   *ToolCall
	ToolResult *ToolResult
}

// Role is who a Message is from.
type Role string

const (
	RoleUser      Role = "user"
	RoleAssistant Role = "assistant"
)

// Message is one entry of the conversation. Roles alternate, beginning with the user.
type Message struct {
	Role   Role
	Blocks []Block
}

// StopReason says why the model ended its turn. The values are Bedrock's:
// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html (read 2026-11).
type StopReason string

const (
	StopEndTurn          StopReason = "end_turn"
	StopToolUse          StopReason = "tool_use"
	StopMaxTokens        StopReason = "max_tokens"
	StopSequence         StopReason = "stop_sequence"
	StopGuardrail        StopReason = "guardrail_intervened"
	StopContentFiltered  StopReason = "content_filtered"
	StopMalformedOutput  StopReason = "malformed_model_output"
	StopMalformedToolUse StopReason = "malformed_tool_use"
	StopContextExceeded  StopReason = "model_context_window_exceeded"
)

// Usage counts tokens. InputTokens does not include what was read from or written to the prompt cache.
type Usage struct {
	InputTokens      int64 `json:"input_tokens"`
	OutputTokens     int64 `json:"output_tokens"`
	CacheReadTokens  int64 `json:"cache_read_tokens"`
	CacheWriteTokens int64 `json:"cache_write_tokens"`
}

func (u *Usage) add(other Usage) {
	u.InputTokens += other.InputTokens
	u.OutputTokens += other.OutputTokens
	u.CacheReadTokens += other.CacheReadTokens
	u.CacheWriteTokens += other.CacheWriteTokens
}

// Request is what the model sees in one turn.
type Request struct {
	System          string
	Tools           []Tool
	Messages        []Message
	MaxOutputTokens int
}

// Turn is the model's answer to a Request.
type Turn struct {
	Message Message
	Stop    StopReason
	Usage   Usage
}

// Model is a language model.
type Model interface {
	// Generate runs one turn. With onText it streams: onText gets each piece of text as it arrives,
	// from one goroutine, and returns once it has been passed on. A transient failure is retried
	// inside, unless text was already passed on. Errors are *Error: throttled, timeout, unavailable,
	// forbidden, not_found (no such model), invalid (the request), conflict (context too long).
	// Generate may be called concurrently.
	Generate(ctx context.Context, req Request, onText func(string)) (Turn, error)
}

// ToolOutput is what a tool answered, before the domain reads it.
type ToolOutput struct {
	Text       string          // all text of the answer
	Blocks     []string        // its text block by block, if there are several
	Structured json.RawMessage // structured content; nil when there is none
	IsError    bool            // the tool, or the policy in front of it, says that it failed
}

// Toolbox is one session's access to the tools.
type Toolbox interface {
	// Tools returns every tool that the caller may use, in an order that does not change from call
	// to call. Errors: unauthenticated, forbidden, throttled, timeout, unavailable.
	Tools(ctx context.Context, caller Caller) ([]Tool, error)
	// Call runs one tool, within the toolbox's own deadline. Errors as for Tools, and not_found for
	// a tool that the Gateway does not know; a tool that fails is not an error but ToolOutput.IsError.
	// Call may be called concurrently.
	Call(ctx context.Context, caller Caller, call ToolCall) (ToolOutput, error)
	// Close gives up what the toolbox holds. It is called once, after the last call.
	Close()
}

// Events receives what happens during an invocation, in order, from one goroutine at a time.
// A nil Events means that nobody is watching and the model need not stream.
type Events interface {
	Text(text string)
	ToolCall(call ToolCall)
	ToolResult(result ToolOutcome)
}

// ToolOutcome is what came of a ToolCall, without its data.
type ToolOutcome struct {
	ID         string    `json:"id"`
	OK         bool      `json:"ok"`
	Coverage   *Coverage `json:"coverage,omitempty"` // nil when the tool asked no accounts
	DurationMS int64     `json:"duration_ms"`
}

// Answer is the outcome of an invocation.
type Answer struct {
	Response  string          `json:"response,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"` // of a DirectCall: what the tool answered, instead of a response
	Coverage  Coverage        `json:"coverage"`         // sums over all tool calls of the invocation
	Receipts  []Receipt       `json:"receipts"`         // one for each target asked; never nil
	Usage     Usage           `json:"usage"`
	Turns     int             `json:"turns"`
	ToolCalls int             `json:"tool_calls"` // calls that went to the Gateway
	SessionID SessionID       `json:"session_id"`
	StoppedBy string          `json:"stopped_by,omitempty"` // the bound that ended it, by its variable; "" when none did
}
