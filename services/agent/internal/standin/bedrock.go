package standin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
)

// ConverseRequest is a request to Converse or ConverseStream.
type ConverseRequest struct {
	Stream          bool   `json:"-"`
	ModelID         string `json:"-"`
	System          []Block
	Messages        []Message
	ToolConfig      *ToolConfig
	InferenceConfig struct{ MaxTokens int }
	GuardrailConfig json.RawMessage
	Raw             []byte `json:"-"` // the whole body
}

// Message is a message of a conversation.
type Message struct {
	Role    string  `json:"role"`
	Content []Block `json:"content"`
}

// Block is a content block; exactly one member is set.
type Block struct {
	Text       *string          `json:"text,omitempty"`
	ToolUse    *ToolUse         `json:"toolUse,omitempty"`
	ToolResult *ToolResult      `json:"toolResult,omitempty"`
	Reasoning  *json.RawMessage `json:"reasoningContent,omitempty"`
	CachePoint *json.RawMessage `json:"cachePoint,omitempty"`
	// Fragments are the pieces in which a stream sends the text or the input; nil for one piece.
	Fragments []string `json:"-"`
}

// ToolUse is a model's call of a tool.
type ToolUse struct {
	ID    string          `json:"toolUseId"`
	Name  string          `json:"name"`
	Input json.RawMessage `json:"input"`
}

// ToolResult is the outcome of one.
type ToolResult struct {
	ID      string `json:"toolUseId"`
	Status  string `json:"status"`
	Content []struct {
		Text *string         `json:"text"`
		JSON json.RawMessage `json:"json"`
	} `json:"content"`
}

// ToolConfig lists the tools.
type ToolConfig struct {
	Tools []struct {
		ToolSpec *struct {
			Name        string
			Description string
			InputSchema struct{ JSON json.RawMessage }
		}
		CachePoint json.RawMessage
	}
}

// Turn is one scripted answer of the model.
type Turn struct {
	Blocks []Block
	Stop   string // default: tool_use if there is a tool use, else end_turn
	Usage  map[string]int

	Garbage       string // answer with this, which is no answer
	Status        int    // with Code: refuse the request with this status
	Code, Message string // the exception's name and message
	StreamError   string // the exception that ends a stream after the blocks, e.g. "throttlingException"
	BreakOff      bool   // the stream ends after the blocks, without an end
	Hang          bool   // no more is sent after the blocks until the client goes
	Gate          <-chan struct{}
}

// Text is a block of text, streamed in these pieces.
func Text(pieces ...string) Block {
	all := ""
	for _, piece := range pieces {
		all += piece
	}
	return Block{Text: &all, Fragments: pieces}
}

// Use is a call of a tool; input is JSON.
func Use(id, name, input string) Block {
	return Block{ToolUse: &ToolUse{ID: id, Name: name, Input: json.RawMessage(input)}}
}

// Reason is a block of reasoning.
func Reason(text, signature string) Block {
	raw, err := json.Marshal(map[string]any{"reasoningText": map[string]string{"text": text, "signature": signature}})
	if err != nil {
		panic(err) // strings always marshal
	}
	return Block{Reasoning: (*json.RawMessage)(&raw)}
}

// Redacted is a block of reasoning that the provider hides.
func Redacted(content string) Block {
	raw, err := json.Marshal(map[string]any{"redactedContent": []byte(content)})
	if err != nil {
		panic(err) // bytes always marshal
	}
	return Block{Reasoning: (*json.RawMessage)(&raw)}
}

// Bedrock stands in for Bedrock's runtime API, with a model that follows a script.
type Bedrock struct {
	record

	// Script returns the model's answer to the n-th request, counted from 0.
	Script func(n int, request ConverseRequest) Turn

	mu       sync.Mutex
	requests []ConverseRequest
	gone     int
}

// Requests returns what was asked, in order.
func (b *Bedrock) Requests() []ConverseRequest {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]ConverseRequest(nil), b.requests...)
}

// Gone returns how many clients went away while a turn hung.
func (b *Bedrock) Gone() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.gone
}

// ServeHTTP implements http.Handler.
func (b *Bedrock) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /model/{id}/converse", func(w http.ResponseWriter, r *http.Request) { b.converse(w, r, false) })
	mux.HandleFunc("POST /model/{id}/converse-stream", func(w http.ResponseWriter, r *http.Request) { b.converse(w, r, true) })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		awsError(w, http.StatusNotFound, "UnknownOperationException", b.violate("bedrock: %s %s", r.Method, r.URL.Path))
	})
	mux.ServeHTTP(w, r)
}

func (b *Bedrock) converse(w http.ResponseWriter, r *http.Request, stream bool) {
	if !signed(r, "bedrock") {
		awsError(w, http.StatusForbidden, "MissingAuthenticationTokenException", b.violate("bedrock: not signed"))
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	request := ConverseRequest{Stream: stream, ModelID: r.PathValue("id"), Raw: body}
	if err := json.Unmarshal(body, &request); err != nil {
		awsError(w, http.StatusBadRequest, "SerializationException", b.violate("bedrock: %v", err))
		return
	}
	if err := check(request); err != nil {
		awsError(w, http.StatusBadRequest, "ValidationException", b.violate("bedrock: %v", err))
		return
	}
	b.mu.Lock()
	n := len(b.requests)
	b.requests = append(b.requests, request)
	b.mu.Unlock()

	turn := b.Script(n, request)
	if turn.Code != "" {
		awsError(w, turn.Status, turn.Code, turn.Message)
		return
	}
	if turn.Garbage != "" {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, turn.Garbage) // a client that has gone is a test's intent
		return
	}
	if turn.Stop == "" {
		turn.Stop = "end_turn"
		for _, block := range turn.Blocks {
			if block.ToolUse != nil {
				turn.Stop = "tool_use"
			}
		}
	}
	if turn.Usage == nil {
		turn.Usage = map[string]int{"inputTokens": 100, "outputTokens": 20, "totalTokens": 120, "cacheReadInputTokens": 1000}
	}
	if stream {
		b.stream(w, r, turn)
		return
	}
	if turn.Hang {
		b.hang(r)
		return
	}
	if turn.Gate != nil {
		<-turn.Gate
	}
	content := turn.Blocks
	if content == nil {
		content = []Block{}
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"output":     map[string]any{"message": Message{Role: "assistant", Content: content}},
		"stopReason": turn.Stop,
		"usage":      turn.Usage,
		"metrics":    map[string]int{"latencyMs": 1},
	})
}

func (b *Bedrock) hang(r *http.Request) {
	<-r.Context().Done()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gone++
}

// stream answers with the events of ConverseStream.
func (b *Bedrock) stream(w http.ResponseWriter, r *http.Request, turn Turn) {
	w.Header().Set("Content-Type", "application/vnd.amazon.eventstream")
	w.WriteHeader(http.StatusOK)
	out := eventWriter{w: w, encoder: eventstream.NewEncoder()}
	out.event("messageStart", map[string]any{"role": "assistant"})
	for i, block := range turn.Blocks {
		switch {
		case block.Text != nil:
			pieces := block.Fragments
			if pieces == nil {
				pieces = []string{*block.Text}
			}
			for _, piece := range pieces {
				out.event("contentBlockDelta", map[string]any{"contentBlockIndex": i, "delta": map[string]any{"text": piece}})
			}
		case block.ToolUse != nil:
			out.event("contentBlockStart", map[string]any{"contentBlockIndex": i, "start": map[string]any{
				"toolUse": map[string]any{"toolUseId": block.ToolUse.ID, "name": block.ToolUse.Name},
			}})
			input := string(block.ToolUse.Input)
			// In pieces of three bytes, as fragments end anywhere.
			for start := 0; start < len(input); start += 3 {
				out.event("contentBlockDelta", map[string]any{"contentBlockIndex": i, "delta": map[string]any{
					"toolUse": map[string]any{"input": input[start:min(start+3, len(input))]},
				}})
			}
		case block.Reasoning != nil:
			var reasoning struct {
				ReasoningText struct{ Text, Signature string }
				Redacted      []byte `json:"redactedContent"`
			}
			if err := json.Unmarshal(*block.Reasoning, &reasoning); err != nil {
				panic(err) // the test's own JSON
			}
			deltas := []map[string]any{{"text": reasoning.ReasoningText.Text}, {"signature": reasoning.ReasoningText.Signature}}
			if reasoning.Redacted != nil {
				deltas = []map[string]any{{"redactedContent": reasoning.Redacted}}
			}
			for _, delta := range deltas {
				out.event("contentBlockDelta", map[string]any{"contentBlockIndex": i, "delta": map[string]any{"reasoningContent": delta}})
			}
		}
		out.event("contentBlockStop", map[string]any{"contentBlockIndex": i})
	}
	switch {
	case turn.StreamError != "":
		out.exception(turn.StreamError, "scripted")
		return
	case turn.BreakOff:
		return
	case turn.Hang:
		b.hang(r)
		return
	}
	if turn.Gate != nil {
		<-turn.Gate
	}
	out.event("messageStop", map[string]any{"stopReason": turn.Stop})
	out.event("metadata", map[string]any{"usage": turn.Usage, "metrics": map[string]int{"latencyMs": 1}})
}

type eventWriter struct {
	w       http.ResponseWriter
	encoder *eventstream.Encoder
}

func (e eventWriter) event(kind string, payload any) {
	e.message("event", ":event-type", kind, payload)
}

func (e eventWriter) exception(kind, message string) {
	e.message("exception", ":exception-type", kind, map[string]string{"message": message})
}

func (e eventWriter) message(messageType, typeHeader, kind string, payload any) {
	encoded, err := json.Marshal(payload)
	if err != nil {
		panic(err) // the test's own values
	}
	var message eventstream.Message
	message.Headers.Set(":message-type", eventstream.StringValue(messageType))
	message.Headers.Set(typeHeader, eventstream.StringValue(kind))
	message.Headers.Set(":content-type", eventstream.StringValue("application/json"))
	message.Payload = encoded
	var frame bytes.Buffer
	if err := e.encoder.Encode(&frame, message); err != nil {
		panic(err)
	}
	if _, err := e.w.Write(frame.Bytes()); err == nil {
		_ = http.NewResponseController(e.w).Flush()
	}
}

var (
	toolName  = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)
	toolUseID = regexp.MustCompile(`^[a-zA-Z0-9_.:-]{1,64}$`)
)

// check refuses what Bedrock refuses with a ValidationException.
func check(request ConverseRequest) error {
	if len(request.Messages) == 0 || request.Messages[0].Role != "user" {
		return fmt.Errorf("a conversation must start with a user message")
	}
	if last := request.Messages[len(request.Messages)-1]; last.Role != "user" {
		return fmt.Errorf("the last message must be from the user")
	}
	if request.InferenceConfig.MaxTokens < 1 {
		return fmt.Errorf("maxTokens %d", request.InferenceConfig.MaxTokens)
	}
	points := 0
	for _, block := range request.System {
		if block.CachePoint != nil {
			points++
		} else if block.Text == nil || *block.Text == "" {
			return fmt.Errorf("empty system block")
		}
	}
	if request.ToolConfig != nil {
		if len(request.ToolConfig.Tools) == 0 {
			return fmt.Errorf("toolConfig.tools is empty")
		}
		names := make(map[string]bool)
		for _, tool := range request.ToolConfig.Tools {
			if tool.ToolSpec == nil {
				points++
				continue
			}
			if !toolName.MatchString(tool.ToolSpec.Name) || names[tool.ToolSpec.Name] {
				return fmt.Errorf("tool name %q", tool.ToolSpec.Name)
			}
			names[tool.ToolSpec.Name] = true
			var schema struct{ Type string }
			if json.Unmarshal(tool.ToolSpec.InputSchema.JSON, &schema) != nil || schema.Type != "object" {
				return fmt.Errorf("tool %s: the schema's type must be object", tool.ToolSpec.Name)
			}
		}
	}
	var open []string // tool uses of the message before
	for i, message := range request.Messages {
		if want := []string{"user", "assistant"}[i%2]; message.Role != want {
			return fmt.Errorf("messages.%d: roles must alternate", i)
		}
		if len(message.Content) == 0 {
			return fmt.Errorf("messages.%d: content is empty", i)
		}
		var uses, results []string
		for j, block := range message.Content {
			switch {
			case block.CachePoint != nil:
				points++
				if j == 0 {
					return fmt.Errorf("messages.%d: a cache point cannot come first", i)
				}
			case block.ToolUse != nil:
				if message.Role != "assistant" {
					return fmt.Errorf("messages.%d: toolUse in a user message", i)
				}
				if !toolUseID.MatchString(block.ToolUse.ID) || !toolName.MatchString(block.ToolUse.Name) {
					return fmt.Errorf("messages.%d: toolUse %q %q", i, block.ToolUse.ID, block.ToolUse.Name)
				}
				if !isObject(block.ToolUse.Input) {
					return fmt.Errorf("messages.%d: toolUse.input is no object", i)
				}
				if slices.Contains(uses, block.ToolUse.ID) {
					return fmt.Errorf("messages.%d: toolUse ids must be unique", i)
				}
				uses = append(uses, block.ToolUse.ID)
			case block.ToolResult != nil:
				if message.Role != "user" {
					return fmt.Errorf("messages.%d: toolResult in an assistant message", i)
				}
				for _, content := range block.ToolResult.Content {
					if content.Text == nil && !isObject(content.JSON) {
						return fmt.Errorf("messages.%d: toolResult json is no object", i)
					}
					if content.Text != nil && *content.Text == "" {
						return fmt.Errorf("messages.%d: toolResult text is empty", i)
					}
				}
				if len(block.ToolResult.Content) == 0 {
					return fmt.Errorf("messages.%d: toolResult has no content", i)
				}
				results = append(results, block.ToolResult.ID)
			case block.Text != nil:
				if len(bytes.TrimSpace([]byte(*block.Text))) == 0 {
					return fmt.Errorf("messages.%d: text blocks must be non-empty", i)
				}
			case block.Reasoning == nil:
				return fmt.Errorf("messages.%d.content.%d: unknown block", i, j)
			}
		}
		if !sameSet(open, results) {
			return fmt.Errorf("messages.%d: the toolResult blocks %v do not answer the toolUse blocks %v of the message before", i, results, open)
		}
		open = uses
	}
	if len(open) > 0 {
		return fmt.Errorf("toolUse without toolResult")
	}
	if points > 4 {
		return fmt.Errorf("%d cache points, at most 4", points)
	}
	return nil
}

func isObject(raw json.RawMessage) bool {
	var object map[string]json.RawMessage
	return json.Unmarshal(raw, &object) == nil && object != nil
}

func sameSet(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	count := make(map[string]int)
	for _, id := range a {
		count[id]++
	}
	for _, id := range b {
		if count[id]--; count[id] < 0 {
			return false
		}
	}
	return true
}
