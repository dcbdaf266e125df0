package bedrock

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Request is the body of Converse and ConverseStream, as far as the stand-in reads it. Members that change neither
// the conversation nor its validity (requestMetadata, performanceConfig, serviceTier ...) are ignored.
type Request struct {
	ModelID string `json:"-"` // from the path

	Messages        []Message       `json:"messages"`
	System          []SystemBlock   `json:"system"`
	ToolConfig      *ToolConfig     `json:"toolConfig"`
	InferenceConfig InferenceConfig `json:"inferenceConfig"`
	// Additional is model-specific; only Anthropic's {"thinking":{"type":"disabled"}} is read.
	Additional struct {
		Thinking struct {
			Type string `json:"type"`
		} `json:"thinking"`
	} `json:"additionalModelRequestFields"`
}

// Message is one message of a conversation; Role is "user" or "assistant".
type Message struct {
	Role    string  `json:"role"`
	Content []Block `json:"content"`
}

// Block is one content block: exactly one member is set.
type Block struct {
	Text       *string     `json:"text,omitempty"`
	ToolUse    *ToolUse    `json:"toolUse,omitempty"`
	ToolResult *ToolResult `json:"toolResult,omitempty"`
	Reasoning  *Reasoning  `json:"reasoningContent,omitempty"`
	CachePoint *CachePoint `json:"cachePoint,omitempty"`

	keys []string // the members that the request set, known here or not
}

// UnmarshalJSON also keeps the names of the members, because a union with none or two set is refused.
func (b *Block) UnmarshalJSON(data []byte) error {
	keys, err := memberNames(data)
	if err != nil {
		return err
	}
	type plain Block // without this method
	if err := json.Unmarshal(data, (*plain)(b)); err != nil {
		return err
	}
	b.keys = keys
	return nil
}

// ToolUse is a model's wish to have a tool called.
type ToolUse struct {
	ID    string          `json:"toolUseId"`
	Name  string          `json:"name"`
	Input json.RawMessage `json:"input"`
}

// ToolResult answers one ToolUse. Status is "success" (also when empty) or "error".
type ToolResult struct {
	ID      string        `json:"toolUseId"`
	Content []ResultBlock `json:"content"`
	Status  string        `json:"status,omitempty"`
}

// ResultBlock is one piece of a tool result.
type ResultBlock struct {
	Text *string         `json:"text,omitempty"`
	JSON json.RawMessage `json:"json,omitempty"`
}

// Reasoning is what the model thought; with tool calls it must come back unchanged.
type Reasoning struct {
	Text *ReasoningText `json:"reasoningText,omitempty"`
}

// ReasoningText carries the signature by which the service knows its own text again.
type ReasoningText struct {
	Text      string `json:"text"`
	Signature string `json:"signature,omitempty"`
}

// CachePoint marks the end of a prefix worth caching. TTL is "5m" (also when empty) or "1h".
type CachePoint struct {
	Type string `json:"type"`
	TTL  string `json:"ttl,omitempty"`
}

// SystemBlock is one block of the system prompt.
type SystemBlock struct {
	Text       *string     `json:"text,omitempty"`
	CachePoint *CachePoint `json:"cachePoint,omitempty"`
}

// ToolConfig is what the model may call.
type ToolConfig struct {
	Tools      []Tool      `json:"tools"`
	ToolChoice *ToolChoice `json:"toolChoice,omitempty"`
}

// Tool is a tool's specification or a cache point between tools.
type Tool struct {
	Spec       *ToolSpec   `json:"toolSpec,omitempty"`
	CachePoint *CachePoint `json:"cachePoint,omitempty"`
}

// ToolSpec describes one tool.
type ToolSpec struct {
	Name        string  `json:"name"`
	Description *string `json:"description,omitempty"`
	InputSchema struct {
		JSON json.RawMessage `json:"json"`
	} `json:"inputSchema"`
}

// ToolChoice says whether a tool must be called: one member is set.
type ToolChoice struct {
	Auto *struct{} `json:"auto,omitempty"`
	Any  *struct{} `json:"any,omitempty"`
	Tool *struct {
		Name string `json:"name"`
	} `json:"tool,omitempty"`
}

// InferenceConfig bounds the answer. A nil member leaves the model's default.
type InferenceConfig struct {
	MaxTokens     *int     `json:"maxTokens"`
	Temperature   *float64 `json:"temperature"`
	TopP          *float64 `json:"topP"`
	StopSequences []string `json:"stopSequences"`
}

// Response is the body of a Converse answer.
type Response struct {
	Output struct {
		Message Message `json:"message"`
	} `json:"output"`
	StopReason string  `json:"stopReason"`
	Usage      Usage   `json:"usage"`
	Metrics    Metrics `json:"metrics"`
}

// Usage counts tokens. InputTokens excludes what was read from or written to the cache.
type Usage struct {
	InputTokens           int `json:"inputTokens"`
	OutputTokens          int `json:"outputTokens"`
	TotalTokens           int `json:"totalTokens"`
	CacheReadInputTokens  int `json:"cacheReadInputTokens"`
	CacheWriteInputTokens int `json:"cacheWriteInputTokens"`
}

// Metrics is how long the answer took.
type Metrics struct {
	LatencyMs int64 `json:"latencyMs"`
}

// memberNames returns the names of a JSON object's members that aren't null, sorted.
func memberNames(data []byte) ([]string, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return nil, fmt.Errorf("content block is not an object: %w", err)
	}
	names := make([]string, 0, len(members))
	for name, value := range members {
		if string(value) != "null" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}
