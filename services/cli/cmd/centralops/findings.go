package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	centralops "github.com/central-ops/central-ops/services/cli"
	"github.com/central-ops/central-ops/services/cli/internal/gateway"
	"github.com/central-ops/central-ops/services/cli/internal/runtime"
)

// States of a finding.
const (
	confirmed = "confirmed"
	refuted   = "refuted"
	unclear   = "unclear"
)

// finding is something that AWS's documents leave open, stated as the project assumes it.
type finding struct {
	Statement  string `json:"statement"`
	Assumption string `json:"assumption,omitempty"` // its row in docs/assumptions.md; "" if no stand-in rests on it
	State      string `json:"state"`
	Evidence   string `json:"evidence"` // what was seen
}

// claim is what a probe is about.
type claim struct{ assumption, statement string }

// settled returns the finding of a probe that was answered.
func (c claim) settled(holds bool, evidence string, args ...any) finding {
	state := refuted
	if holds {
		state = confirmed
	}
	return finding{c.statement, c.assumption, state, fmt.Sprintf(evidence, args...)}
}

// open returns the finding of a probe that says nothing.
func (c claim) open(evidence string, args ...any) finding {
	return finding{c.statement, c.assumption, unclear, fmt.Sprintf(evidence, args...)}
}

// userTokenHeader is the header in which the person's token travels from the Gateway to the bridge.
const userTokenHeader = "X-Amzn-Bedrock-AgentCore-Runtime-Custom-User-Token"

const toolsList = `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}`

// findings probes what a read can settle. Without a sign-in there is nothing to probe with. It is never nil.
func (c *checkup) findings(ctx context.Context) []finding {
	if c.gateway == nil {
		return []finding{}
	}
	found := []finding{
		c.badToken(ctx, claim{"runtime-bad-token-status", "the Runtime answers 403 to a token that does not pass"}, http.StatusForbidden, c.agent().URL(), `{"prompt":""}`),
		c.badToken(ctx, claim{"", "the Gateway answers 401 to a token that does not pass"}, http.StatusUnauthorized, c.profile.GatewayURL, toolsList),
		c.withoutPath(ctx),
		c.unknownVersion(ctx),
		c.unknownTool(ctx),
	}
	onePage := claim{"gateway-page-size", "a page of tools/list holds more tools than the bridge has"}
	switch {
	case c.profile.ByAgent():
		found = append(found, onePage.open(agentOnly))
	case c.pages == 1:
		found = append(found, onePage.settled(true, "%d tools came on one page", len(c.tools)))
	case c.pages > 1:
		found = append(found, onePage.settled(false, "%d tools came on %d pages", len(c.tools), c.pages))
	default:
		found = append(found, onePage.open("tools/list failed"))
	}
	found = append(found, c.quoting(ctx), c.clientHeader(ctx))
	if c.profile.MCPEndpoint != "" {
		found = append(found, c.unknownSession(ctx), c.missingSession(ctx), c.statelessMCP(ctx), c.noStream(ctx))
	}
	return found
}

// badToken sends the person's token with a signature that is wrong.
func (c *checkup) badToken(ctx context.Context, assumed claim, want int, url, body string) finding {
	header := sessionHeader()
	signed := strings.LastIndexByte(c.token, '.') + 1
	header.Set("Authorization", "Bearer "+c.token[:signed]+strings.Repeat("A", len(c.token)-signed))
	status, _, _, err := c.exchange(ctx, http.MethodPost, url, header, body)
	if err != nil {
		return assumed.open("%v", err)
	}
	if status != http.StatusUnauthorized && status != http.StatusForbidden {
		return assumed.open("it answered %d", status)
	}
	return assumed.settled(status == want, "it answered %d", status)
}

// withoutPath asks the Gateway at its bare host.
func (c *checkup) withoutPath(ctx context.Context) finding {
	assumed := claim{"", "the Gateway serves MCP at /mcp only"}
	if c.profile.ByAgent() {
		return assumed.open(agentOnly)
	}
	bare, ok := strings.CutSuffix(c.profile.GatewayURL, "/mcp")
	if !ok {
		return assumed.open("gateway_url does not end in /mcp")
	}
	status, _, _, err := c.exchange(ctx, http.MethodPost, bare+"/", http.Header{"Authorization": {"Bearer " + c.token}}, toolsList)
	if err != nil {
		return assumed.open("%v", err)
	}
	return assumed.settled(status != http.StatusOK, "without it, it answered %d", status)
}

// unknownVersion offers a version of MCP that does not exist: once to agree on, once as agreed.
func (c *checkup) unknownVersion(ctx context.Context) finding {
	assumed := claim{"gateway-version-fallback", "the Gateway answers an unknown protocol version in initialize with one that it speaks, and in the header with 400"}
	if c.profile.ByAgent() {
		return assumed.open(agentOnly)
	}
	const unknown = "1999-01-01"
	bearer := http.Header{"Authorization": {"Bearer " + c.token}}
	status, _, body, err := c.exchange(ctx, http.MethodPost, c.profile.GatewayURL, bearer,
		`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"`+unknown+`","capabilities":{},"clientInfo":{"name":"centralops","version":"1"}}}`)
	if err != nil {
		return assumed.open("%v", err)
	}
	offers := status == http.StatusOK && strings.Contains(string(body), `"protocolVersion"`) && !strings.Contains(string(body), unknown)
	bearer.Set("MCP-Protocol-Version", unknown)
	named, _, _, err := c.exchange(ctx, http.MethodPost, c.profile.GatewayURL, bearer, toolsList)
	if err != nil {
		return assumed.open("%v", err)
	}
	return assumed.settled(offers && named == http.StatusBadRequest, "initialize: %d, another version offered: %t; the header: %d", status, offers, named)
}

// gatewayTarget returns what stands before the bridge's tools at the Gateway, or why there is nothing to call.
func (c *checkup) gatewayTarget() (prefix, why string) {
	if c.profile.ByAgent() {
		return "", agentOnly
	}
	return gateway.Prefix(c.tools), "there is no bridge to ask"
}

// unknownTool calls a tool that no target has.
func (c *checkup) unknownTool(ctx context.Context) finding {
	assumed := claim{"", "the Gateway refuses an unknown tool with a JSON-RPC error, not with a result"}
	prefix, why := c.gatewayTarget()
	if prefix == "" {
		return assumed.open("%s", why)
	}
	status, _, body, err := c.exchange(ctx, http.MethodPost, c.profile.GatewayURL, http.Header{"Authorization": {"Bearer " + c.token}},
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"`+prefix+`no_such_tool","arguments":{}}}`)
	if err != nil {
		return assumed.open("%v", err)
	}
	var answer struct {
		Error *json.RawMessage `json:"error"`
	}
	isError := json.Unmarshal(body, &answer) == nil && answer.Error != nil
	return assumed.settled(isError, "it answered %d, JSON-RPC error: %t", status, isError)
}

// quoting looks at how the answer of a Lambda function arrives.
func (c *checkup) quoting(ctx context.Context) finding {
	assumed := claim{"", "the object that a Lambda target returns arrives as its JSON text, not quoted again"}
	prefix, why := c.gatewayTarget()
	if prefix == "" {
		return assumed.open("%s", why)
	}
	text, err := c.gateway.CallText(ctx, prefix+"list_accounts", map[string]any{})
	if err != nil {
		return assumed.open("%v", err)
	}
	return assumed.settled(strings.HasPrefix(strings.TrimSpace(text), "{"), "the text begins with %.1q", text)
}

// clientHeader sends a header of the client's own in which the bridge expects a token. If it arrives, the
// bridge refuses it.
func (c *checkup) clientHeader(ctx context.Context) finding {
	assumed := claim{"gateway-client-headers-reach-lambda", "a header of the client's that the target allows reaches a Lambda target"}
	prefix, why := c.gatewayTarget()
	if prefix == "" {
		return assumed.open("%s", why)
	}
	client := *c.http
	client.Transport = withHeader{client.Transport, userTokenHeader, "not-a-token"}
	probe := &gateway.Client{URL: c.profile.GatewayURL, HTTP: &client}
	_, err := probe.Bridge(ctx, "list_accounts", map[string]any{})
	switch centralops.CodeOf(err) {
	case centralops.Unauthenticated, centralops.Invalid:
		return assumed.settled(true, "the bridge refused what it carried")
	}
	if err != nil {
		return assumed.open("%v", err)
	}
	return assumed.settled(false, "the bridge took the sign-in's own token instead")
}

// withHeader adds a header to each request.
type withHeader struct {
	base        http.RoundTripper
	name, value string
}

func (w withHeader) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set(w.name, w.value)
	return w.base.RoundTrip(req)
}

// unknownSession names an MCP session that does not exist.
func (c *checkup) unknownSession(ctx context.Context) finding {
	assumed := claim{"mcp-session-lost-status", "the AWS MCP Server answers an unknown session with status 200 and JSON-RPC error -30001"}
	header := http.Header{"Mcp-Session-Id": {"00000000-0000-0000-0000-000000000000"}, "Mcp-Protocol-Version": {"2025-06-18"}}
	status, _, body, err := c.exchange(ctx, http.MethodPost, c.profile.MCPEndpoint, header, toolsList)
	if err != nil {
		return assumed.open("%v", err)
	}
	if status == http.StatusUnauthorized || status == http.StatusForbidden {
		return assumed.open("it wants a signature first: %d", status)
	}
	lost := strings.Contains(string(body), "-30001")
	if status == http.StatusOK && !lost {
		return assumed.open("it listed its tools without looking at the session")
	}
	return assumed.settled(status == http.StatusOK, "it answered %d, -30001: %t", status, lost)
}

// missingSession calls a tool that needs no signature, without a session.
func (c *checkup) missingSession(ctx context.Context) finding {
	assumed := claim{"mcp-missing-session", "the AWS MCP Server answers a tool call without a session with status 400 and JSON-RPC error -32600"}
	status, _, body, err := c.exchange(ctx, http.MethodPost, c.profile.MCPEndpoint, http.Header{"Mcp-Protocol-Version": {"2025-06-18"}},
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"aws___search_documentation","arguments":{"search_phrase":"AssumeRole","limit":1}}}`)
	if err != nil {
		return assumed.open("%v", err)
	}
	if status == http.StatusUnauthorized || status == http.StatusForbidden {
		return assumed.open("it wants a signature first: %d", status)
	}
	invalid := strings.Contains(string(body), "-32600")
	return assumed.settled(status == http.StatusBadRequest && invalid, "it answered %d, -32600: %t", status, invalid)
}

// noStream asks for a stream of the server's own messages.
func (c *checkup) noStream(ctx context.Context) finding {
	assumed := claim{"", "the AWS MCP Server offers no stream of its own messages (GET is 405)"}
	status, _, _, err := c.exchange(ctx, http.MethodGet, c.profile.MCPEndpoint, http.Header{"Accept": {"text/event-stream"}}, "")
	if err != nil {
		return assumed.open("%v", err)
	}
	return assumed.settled(status == http.StatusMethodNotAllowed, "it answered %d", status)
}

// statelessMCP asks for the stateless version of the protocol.
func (c *checkup) statelessMCP(ctx context.Context) finding {
	assumed := claim{"mcp-discover", "the AWS MCP Server does not speak MCP 2026-07-28 yet"}
	header := http.Header{"Mcp-Protocol-Version": {"2026-07-28"}, "Mcp-Method": {"server/discover"}}
	status, _, body, err := c.exchange(ctx, http.MethodPost, c.profile.MCPEndpoint, header, `{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{}}`)
	if err != nil {
		return assumed.open("%v", err)
	}
	return assumed.settled(status != http.StatusOK || strings.Contains(string(body), `"error"`), "server/discover was answered with %d", status)
}

// agent returns the client of the profile's agent.
func (c *checkup) agent() *runtime.Client {
	return &runtime.Client{Base: c.profile.RuntimeURL, ARN: c.profile.RuntimeARN, Qualifier: c.profile.Qualifier, HTTP: c.http}
}
