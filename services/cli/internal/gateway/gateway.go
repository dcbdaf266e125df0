// Package gateway calls tools through AgentCore Gateway, without a model in between.
//
// It is a client for two methods of the Model Context Protocol, each one POST with a JSON-RPC
// message, answered by one JSON body or by server-sent events that carry it:
//
//	POST <gateway URL>
//	Authorization: Bearer <access token>          set by the http.Client, see package bearer
//	Accept: application/json, text/event-stream
//	MCP-Protocol-Version: 2025-06-18
//
//	{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"bridge___query","arguments":{...}}}
//
// A gateway without sessions answers these without initialize; one with sessions wants it first, then
// notifications/initialized, and its Mcp-Session-Id ever after, so the client always initializes.
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/gateway-using-mcp-call.html
//
// The MCP SDK for Go is not used: its client hides the status and body of a refused request, which
// are what `centralops doctor` is about.
package gateway

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"

	centralops "github.com/central-ops/central-ops/services/cli"
	"github.com/central-ops/central-ops/services/cli/internal/bearer"
	"github.com/central-ops/central-ops/services/cli/internal/bridge"
)

// protocolVersion is the version of MCP that is spoken.
const protocolVersion = "2025-06-18"

const (
	maxAnswer = 8 << 20 // bytes of an answer; the Gateway sends at most 6 MB
	maxPages  = 100     // pages of tools/list, in case a gateway never ends
)

// Client is a client of one Gateway, or of another MCP server. It is safe for concurrent use.
type Client struct {
	Name string // of the server, as errors name it; "" for the Gateway
	URL  string
	HTTP *http.Client

	mu          sync.Mutex
	initialized bool
	session     string // Mcp-Session-Id; "" if the Gateway has no sessions
	lastID      int
	prefix      string // of tool names: gateway target and separator; known after Tools
}

// Tool is a tool as the Gateway lists it.
type Tool struct {
	Name string `json:"name"` // qualified, "<target>___<tool>"
}

// Tools returns all tools, and on how many pages they came.
func (c *Client) Tools(ctx context.Context) (tools []Tool, pages int, err error) {
	cursor := ""
	for pages < maxPages {
		params := map[string]any{}
		if cursor != "" {
			params["cursor"] = cursor
		}
		var page struct {
			Tools      []Tool `json:"tools"`
			NextCursor string `json:"nextCursor"`
		}
		if err := c.call(ctx, "tools/list", params, &page); err != nil {
			return nil, pages, err
		}
		pages++
		tools = append(tools, page.Tools...)
		if cursor = page.NextCursor; cursor == "" {
			break
		}
	}
	return tools, pages, nil
}

// Bridge implements bridge.Caller. The gateway target is found in the tool list.
func (c *Client) Bridge(ctx context.Context, tool string, arguments any) (json.RawMessage, error) {
	c.mu.Lock()
	prefix := c.prefix
	c.mu.Unlock()
	if prefix == "" {
		tools, _, err := c.Tools(ctx)
		if err != nil {
			return nil, err
		}
		if prefix = Prefix(tools); prefix == "" {
			return nil, &centralops.Error{Op: "find the bridge", Code: centralops.NotFound,
				Message: fmt.Sprintf("none of the Gateway's %d tools is list_accounts", len(tools)), Hint: "centralops doctor"}
		}
		c.mu.Lock()
		c.prefix = prefix
		c.mu.Unlock()
	}
	answer, err := c.Call(ctx, prefix+tool, arguments)
	if err != nil {
		return nil, err
	}
	if err := bridge.Check(tool, answer); err != nil {
		return nil, err
	}
	return answer, nil
}

// Prefix returns what stands before the bridge's tools in qualified names, or "" if it isn't there.
func Prefix(tools []Tool) string {
	for _, tool := range tools {
		if _, name := centralops.SplitTool(tool.Name); name == "list_accounts" {
			return strings.TrimSuffix(tool.Name, name)
		}
	}
	return ""
}

// Call calls a tool by its qualified name and returns its answer as JSON. What a Lambda function
// returns arrives as text that is its JSON, and some gateways quote that once more.
func (c *Client) Call(ctx context.Context, name string, arguments any) (json.RawMessage, error) {
	text, err := c.CallText(ctx, name, arguments)
	if err != nil {
		return nil, err
	}
	answer := json.RawMessage(text)
	var quoted string
	if json.Unmarshal(answer, &quoted) == nil {
		answer = json.RawMessage(quoted)
	}
	if !json.Valid(answer) {
		_, tool := centralops.SplitTool(name)
		return nil, malformed(tool, errors.New("it is no JSON"))
	}
	return answer, nil
}

// CallText calls a tool by its qualified name and returns the text of its answer as it came.
func (c *Client) CallText(ctx context.Context, name string, arguments any) (string, error) {
	var result struct {
		IsError bool `json:"isError"`
		Content []struct {
			Text string `json:"text"`
		} `json:"content"`
	}
	if err := c.call(ctx, "tools/call", map[string]any{"name": name, "arguments": arguments}, &result); err != nil {
		return "", err
	}
	var text strings.Builder
	for _, item := range result.Content {
		text.WriteString(item.Text)
	}
	if result.IsError {
		_, tool := centralops.SplitTool(name)
		return "", &centralops.Error{Op: tool, Code: centralops.Internal, Message: c.name() + " reports: " + text.String(),
			Hint: "the log group of the bridge's Lambda function"}
	}
	return text.String(), nil
}

func (c *Client) name() string {
	if c.Name == "" {
		return "the Gateway"
	}
	return c.Name
}

// call sends one request and decodes its result.
func (c *Client) call(ctx context.Context, method string, params, into any) error {
	if err := c.initialize(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	c.lastID++
	id, session := c.lastID, c.session
	c.mu.Unlock()
	result, _, err := c.post(ctx, id, method, params, session)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(result, into); err != nil {
		return malformed(method, err)
	}
	return nil
}

// initialize opens the MCP session, once.
func (c *Client) initialize(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.initialized {
		return nil
	}
	c.lastID++
	_, header, err := c.post(ctx, c.lastID, "initialize", map[string]any{
		"protocolVersion": protocolVersion, "capabilities": map[string]any{}, "clientInfo": map[string]string{"name": "centralops", "version": "1"},
	}, "")
	if err != nil {
		return err
	}
	session := header.Get("Mcp-Session-Id")
	const ready = "notifications/initialized"
	resp, err := c.send(ctx, ready, map[string]any{"jsonrpc": "2.0", "method": ready}, session)
	if err != nil {
		return err
	}
	resp.Body.Close()
	c.session, c.initialized = session, true
	return nil
}

// send sends one JSON-RPC message and returns the response, whose status is one of success.
func (c *Client) send(ctx context.Context, method string, message map[string]any, session string) (*http.Response, error) {
	body, err := json.Marshal(message)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", method, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	req.Header.Set("MCP-Protocol-Version", protocolVersion)
	if session != "" {
		req.Header.Set("Mcp-Session-Id", session)
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return nil, bearer.TransportError(method, c.URL, err)
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusAccepted { // the latter to a notification
		defer resp.Body.Close()
		refusal := bearer.Refusal(method, c.name(), resp)
		if refusal.Code == centralops.Unauthenticated {
			refusal.Hint = notPeople
		}
		return nil, refusal
	}
	return resp, nil
}

// notPeople is what to do when the Gateway takes no token of the person, a renewed one neither. With gatewayAuth workload it
// takes those of the agent alone, and a profile that says so has the agent call the tools.
const notPeople = "centralops login; or, where the stack's gatewayAuth is workload: centralops configure --gateway-auth workload"

// post sends one JSON-RPC request and returns its result and the response's header.
func (c *Client) post(ctx context.Context, id int, method string, params any, session string) (json.RawMessage, http.Header, error) {
	resp, err := c.send(ctx, method, map[string]any{"jsonrpc": "2.0", "id": id, "method": method, "params": params}, session)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	message, err := readMessage(resp, id)
	if err != nil {
		return nil, nil, bearer.TransportError(method, c.URL, err)
	}
	var answer struct {
		Result json.RawMessage `json:"result"`
		Error  *struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if err := json.Unmarshal(message, &answer); err != nil {
		return nil, nil, malformed(method, err)
	}
	if answer.Error != nil {
		return nil, nil, &centralops.Error{Op: method, Code: centralops.Invalid, Hint: "centralops doctor",
			Message: fmt.Sprintf("%s reports %d: %s", c.name(), answer.Error.Code, answer.Error.Message)}
	}
	if answer.Result == nil {
		return nil, nil, malformed(method, errors.New("it has neither result nor error"))
	}
	return answer.Result, resp.Header, nil
}

// readMessage returns the response to request id: the body, or of a stream of server-sent events the
// one that answers it; others are notifications.
func readMessage(resp *http.Response, id int) ([]byte, error) {
	body := io.LimitReader(resp.Body, maxAnswer)
	if mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); mediaType != "text/event-stream" {
		return io.ReadAll(body)
	}
	lines := bufio.NewReader(body)
	for {
		line, err := lines.ReadBytes('\n')
		data, isData := bytes.CutPrefix(line, []byte("data:"))
		var message struct {
			ID int `json:"id"`
		}
		if isData && json.Unmarshal(data, &message) == nil && message.ID == id {
			return data, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func malformed(op string, err error) error {
	return &centralops.Error{Op: op, Code: centralops.Unavailable, Err: err,
		Message: "the answer is not what a Gateway with the bridge sends: " + err.Error(), Hint: "centralops doctor"}
}
