package bedrock

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
)

// OpenAI is the Model that forwards conversations to a server with OpenAI's chat API, such as Ollama or llama.cpp:
//
//	POST <Endpoint>/chat/completions   {"model","messages","tools","stream":true,...}
//
// The answer may be a stream of server-sent events or, from servers that don't stream, one JSON object.
// Source: https://platform.openai.com/docs/api-reference/chat (read 2026-11-24).
type OpenAI struct {
	Endpoint string       // ends in /v1
	Name     string       // of the model
	Key      string       // sent as a bearer token; "" sends none
	Client   *http.Client // nil: http.DefaultClient
}

var _ Model = (*OpenAI)(nil)

// maxErrorBody and maxLine bound what is read of an endpoint's refusal and of one event.
const (
	maxErrorBody = 4 << 10
	maxLine      = 8 << 20
)

type chatRequest struct {
	Model         string        `json:"model"`
	Messages      []chatMessage `json:"messages"`
	Tools         []chatTool    `json:"tools,omitempty"`
	ToolChoice    any           `json:"tool_choice,omitempty"`
	MaxTokens     *int          `json:"max_tokens,omitempty"`
	Temperature   *float64      `json:"temperature,omitempty"`
	TopP          *float64      `json:"top_p,omitempty"`
	Stop          []string      `json:"stop,omitempty"`
	Stream        bool          `json:"stream"`
	StreamOptions any           `json:"stream_options,omitempty"`
}

type chatMessage struct {
	Role       string     `json:"role"`
	Content    string     `json:"content"`
	ToolCalls  []chatCall `json:"tool_calls,omitempty"`
	ToolCallID string     `json:"tool_call_id,omitempty"`
}

type chatCall struct {
	Index    int    `json:"index"` // in streams
	ID       string `json:"id"`
	Type     string `json:"type"`
	Function struct {
		Name      string `json:"name"`
		Arguments string `json:"arguments"` // JSON text
	} `json:"function"`
}

type chatTool struct {
	Type     string `json:"type"`
	Function struct {
		Name        string          `json:"name"`
		Description string          `json:"description,omitempty"`
		Parameters  json.RawMessage `json:"parameters"`
	} `json:"function"`
}

// chatChunk is one event of a stream (with delta) or a whole answer (with message).
type chatChunk struct {
	Choices []struct {
		Delta        chatMessage `json:"delta"`
		Message      chatMessage `json:"message"`
		FinishReason string      `json:"finish_reason"`
	} `json:"choices"`
	Usage *struct {
		PromptTokens     int `json:"prompt_tokens"`
		CompletionTokens int `json:"completion_tokens"`
	} `json:"usage"`
	Error *chatError `json:"error"`
}

type chatError struct {
	Message string `json:"message"`
}

// UnmarshalJSON also takes the bare text that some servers send.
func (e *chatError) UnmarshalJSON(data []byte) error {
	if json.Unmarshal(data, &e.Message) == nil {
		return nil
	}
	type plain chatError // without this method
	return json.Unmarshal(data, (*plain)(e))
}

// Reply forwards the conversation and passes the answer on as it comes.
func (m *OpenAI) Reply(ctx context.Context, req *Request, a *Answer) error {
	body, err := json.Marshal(m.request(req))
	if err != nil {
		return fmt.Errorf("encode the conversation: %w", err)
	}
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(m.Endpoint, "/")+"/chat/completions", bytes.NewReader(body))
	if err != nil {
		return invalid("MODEL_ENDPOINT %q is not a URL: %v", m.Endpoint, err)
	}
	post.Header.Set("Content-Type", "application/json")
	post.Header.Set("Accept", "text/event-stream, application/json")
	if m.Key != "" {
		post.Header.Set("Authorization", "Bearer "+m.Key)
	}
	resp, err := cmp.Or(m.Client, http.DefaultClient).Do(post)
	if err != nil {
		if ctx.Err() != nil {
			return &Exception{Type: "ModelTimeoutException", Message: "The model endpoint did not answer before the caller gave up."}
		}
		return &Exception{Type: "ServiceUnavailableException", Message: fmt.Sprintf("The model endpoint can't be reached: %v. Is it running, and is MODEL_ENDPOINT right?", err)}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return m.refusal(resp)
	}
	if mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); mediaType != "text/event-stream" {
		return m.whole(resp.Body, a)
	}
	return m.stream(resp.Body, a)
}

// request maps a Converse request to a chat request. Cache points and reasoning have no counterpart and are left out; a tool
// result that is an error says so in its text.
func (m *OpenAI) request(req *Request) chatRequest {
	out := chatRequest{
		Model: m.Name, Stream: true, StreamOptions: map[string]bool{"include_usage": true},
		MaxTokens: req.InferenceConfig.MaxTokens, Temperature: req.InferenceConfig.Temperature,
		TopP: req.InferenceConfig.TopP, Stop: req.InferenceConfig.StopSequences,
	}
	var system []string
	for _, block := range req.System {
		if block.Text != nil {
			system = append(system, *block.Text)
		}
	}
	if len(system) > 0 {
		out.Messages = append(out.Messages, chatMessage{Role: "system", Content: strings.Join(system, "\n\n")})
	}
	for _, message := range req.Messages {
		out.Messages = append(out.Messages, chatMessages(message)...)
	}
	if req.ToolConfig == nil {
		return out
	}
	for _, tool := range req.ToolConfig.Tools {
		if tool.Spec == nil {
			continue
		}
		t := chatTool{Type: "function"}
		t.Function.Name, t.Function.Parameters = tool.Spec.Name, tool.Spec.InputSchema.JSON
		if tool.Spec.Description != nil {
			t.Function.Description = *tool.Spec.Description
		}
		out.Tools = append(out.Tools, t)
	}
	switch c := req.ToolConfig.ToolChoice; {
	case c == nil:
	case c.Any != nil:
		out.ToolChoice = "required"
	case c.Tool != nil:
		out.ToolChoice = map[string]any{"type": "function", "function": map[string]string{"name": c.Tool.Name}}
	}
	return out
}

// chatMessages maps one message: tool results become messages of their own, before the text beside them.
func chatMessages(m Message) []chatMessage {
	var out []chatMessage
	rest := chatMessage{Role: m.Role}
	var texts []string
	for _, b := range m.Content {
		switch {
		case b.Text != nil:
			texts = append(texts, *b.Text)
		case b.ToolUse != nil:
			call := chatCall{Index: len(rest.ToolCalls), ID: b.ToolUse.ID, Type: "function"}
			call.Function.Name, call.Function.Arguments = b.ToolUse.Name, string(b.ToolUse.Input)
			rest.ToolCalls = append(rest.ToolCalls, call)
		case b.ToolResult != nil:
			text := resultText(*b.ToolResult)
			if b.ToolResult.Status == "error" {
				text = "The tool failed: " + text
			}
			out = append(out, chatMessage{Role: "tool", ToolCallID: b.ToolResult.ID, Content: text})
		}
	}
	rest.Content = strings.Join(texts, "\n\n")
	if rest.Content != "" || len(rest.ToolCalls) > 0 {
		out = append(out, rest)
	}
	return out
}

// refusal maps an HTTP error of the endpoint to the exception that says the same.
func (m *OpenAI) refusal(resp *http.Response) error {
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	if err != nil {
		data = nil // the status says enough
	}
	text := strings.TrimSpace(string(data))
	var body struct {
		Error *chatError `json:"error"`
	}
	if json.Unmarshal(data, &body) == nil && body.Error != nil {
		text = body.Error.Message
	}
	message := fmt.Sprintf("The model endpoint answered %s: %s", resp.Status, text)
	switch code := resp.StatusCode; {
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return &Exception{Type: "AccessDeniedException", Message: message + " (check MODEL_API_KEY)"}
	case code == http.StatusNotFound:
		return &Exception{Type: "ResourceNotFoundException", Message: message + " (check MODEL and that MODEL_ENDPOINT ends in /v1)"}
	case code == http.StatusTooManyRequests:
		return &Exception{Type: "ThrottlingException", Message: message}
	case code == http.StatusRequestTimeout || code == http.StatusGatewayTimeout:
		return &Exception{Type: "ModelTimeoutException", Message: message}
	case code == http.StatusServiceUnavailable || code == http.StatusBadGateway:
		return &Exception{Type: "ServiceUnavailableException", Message: message}
	case code >= 500:
		return &Exception{Type: "ModelErrorException", Message: message}
	}
	return &Exception{Type: "ValidationException", Message: message}
}

// whole passes on an answer that came in one piece.
func (m *OpenAI) whole(body io.Reader, a *Answer) error {
	var chunk chatChunk
	if err := json.NewDecoder(body).Decode(&chunk); err != nil {
		return &Exception{Type: "ModelErrorException", Message: fmt.Sprintf("The model endpoint's answer is not JSON: %v", err)}
	}
	if chunk.Error != nil {
		return &Exception{Type: "ModelErrorException", Message: "The model endpoint failed: " + chunk.Error.Message}
	}
	if len(chunk.Choices) == 0 {
		return &Exception{Type: "ModelErrorException", Message: "The model endpoint's answer holds no choices."}
	}
	for i := range chunk.Choices[0].Message.ToolCalls { // only streams number their calls
		chunk.Choices[0].Message.ToolCalls[i].Index = i
	}
	chunk.Choices[0].Delta = chunk.Choices[0].Message
	t := translation{answer: a, call: -1}
	if err := t.chunk(chunk); err != nil {
		return err
	}
	return t.end()
}

// stream passes on server-sent events until "[DONE]".
func (m *OpenAI) stream(body io.Reader, a *Answer) error {
	t := translation{answer: a, call: -1}
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		data, found := strings.CutPrefix(lines.Text(), "data:")
		if !found {
			continue
		}
		if data = strings.TrimSpace(data); data == "[DONE]" {
			return t.end()
		}
		var chunk chatChunk
		if err := json.Unmarshal([]byte(data), &chunk); err != nil {
			return &Exception{Type: "ModelStreamErrorException", Message: fmt.Sprintf("The model endpoint sent an event that is not JSON: %v", err)}
		}
		if err := t.chunk(chunk); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return &Exception{Type: "ModelStreamErrorException", Message: fmt.Sprintf("The model endpoint's stream broke: %v", err)}
	}
	if t.finish == "" {
		return &Exception{Type: "ModelStreamErrorException", Message: "The model endpoint's stream ended before the answer did."}
	}
	return t.end() // some servers leave out [DONE]
}

// translation turns chat deltas into blocks of an Answer.
type translation struct {
	answer *Answer
	call   int    // index of the open tool call; -1 if none
	tools  bool   // whether there was any
	finish string // finish_reason, "" until it came
}

func (t *translation) chunk(c chatChunk) error {
	if c.Error != nil {
		return &Exception{Type: "ModelStreamErrorException", Message: "The model endpoint failed: " + c.Error.Message}
	}
	if c.Usage != nil {
		t.answer.SetUsage(c.Usage.PromptTokens, c.Usage.CompletionTokens)
	}
	if len(c.Choices) == 0 {
		return nil
	}
	choice := c.Choices[0]
	if err := t.answer.Text(choice.Delta.Content); err != nil {
		return err
	}
	for _, call := range choice.Delta.ToolCalls {
		// A call begins with its name; the fragments after it have none. Some servers number all of their calls 0.
		if call.Function.Name != "" && (call.Index != t.call || call.ID != "") {
			if !toolNamePattern.MatchString(call.Function.Name) {
				return &Exception{Type: "ModelErrorException", Message: fmt.Sprintf("The model named a tool %q, which can't be a tool's name.", call.Function.Name)}
			}
			id := call.ID
			if !toolUseIDPattern.MatchString(id) {
				id = newToolUseID()
			}
			if err := t.answer.ToolUse(id, call.Function.Name); err != nil {
				return err
			}
			t.call, t.tools = call.Index, true
		}
		if call.Function.Arguments == "" {
			continue
		}
		if err := t.answer.Input(call.Function.Arguments); err != nil {
			return err
		}
	}
	t.finish = cmp.Or(choice.FinishReason, t.finish)
	return nil
}

// end sets the stop reason. Servers that say "stop" after tool calls mean tool calls.
func (t *translation) end() error {
	switch {
	case t.finish == "length":
		t.answer.Stop("max_tokens")
	case t.finish == "content_filter":
		t.answer.Stop("content_filtered")
	case t.tools && !t.answer.inputValid():
		t.answer.Stop("malformed_tool_use")
	}
	if len(t.answer.blocks) == 0 {
		return &Exception{Type: "ModelErrorException", Message: "The model answered nothing at all."}
	}
	return nil
}
