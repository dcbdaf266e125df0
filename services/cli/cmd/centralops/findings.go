package main

import (
	"context"
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
	Statement string `json:"statement"`
	State     string `json:"state"`
	Evidence  string `json:"evidence"` // what was seen
}

// settled returns the finding of a probe that was answered.
func settled(statement string, holds bool, evidence string, args ...any) finding {
	state := refuted
	if holds {
		state = confirmed
	}
	return finding{statement, state, fmt.Sprintf(evidence, args...)}
}

// open returns the finding of a probe that says nothing.
func open(statement, evidence string, args ...any) finding {
	return finding{statement, unclear, fmt.Sprintf(evidence, args...)}
}

// userTokenHeader is the header in which the person's token travels from the Gateway to the bridge.
const userTokenHeader = "X-Amzn-Bedrock-AgentCore-Runtime-Custom-User-Token"

const toolsList = `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}`

// findings probes what a read can settle. Without a sign-in there is nothing to probe with.
func (c *checkup) findings(ctx context.Context) []finding {
	if c.token == "" || c.gateway == nil {
		return nil
	}
	found := []finding{
		c.badToken(ctx, "the Runtime answers 401 to a token that does not pass", c.agent().URL(), `{"prompt":""}`),
		c.badToken(ctx, "the Gateway answers 401 to a token that does not pass", c.profile.GatewayURL, toolsList),
		c.withoutPath(ctx),
	}
	const onePage = "tools/list pages hold more tools than the bridge has"
	switch {
	case c.pages == 1:
		found = append(found, settled(onePage, true, "%d tools came on one page", len(c.tools)))
	case c.pages > 1:
		found = append(found, settled(onePage, false, "%d tools came on %d pages", len(c.tools), c.pages))
	default:
		found = append(found, open(onePage, "tools/list failed"))
	}
	found = append(found, c.quoting(ctx), c.clientHeader(ctx))
	if c.profile.MCPEndpoint != "" {
		found = append(found, c.unknownSession(ctx), c.statelessMCP(ctx))
	}
	return found
}

// badToken sends the person's token with a signature that is wrong.
func (c *checkup) badToken(ctx context.Context, statement, url, body string) finding {
	header := sessionHeader()
	signed := strings.LastIndexByte(c.token, '.') + 1
	header.Set("Authorization", "Bearer "+c.token[:signed]+strings.Repeat("A", len(c.token)-signed))
	status, _, _, err := c.exchange(ctx, http.MethodPost, url, header, body)
	if err != nil {
		return open(statement, "%v", err)
	}
	if status != http.StatusUnauthorized && status != http.StatusForbidden {
		return open(statement, "it answered %d", status)
	}
	return settled(statement, status == http.StatusUnauthorized, "it answered %d", status)
}

// withoutPath asks the Gateway at its bare host.
func (c *checkup) withoutPath(ctx context.Context) finding {
	const statement = "the Gateway serves MCP at /mcp only"
	bare, ok := strings.CutSuffix(c.profile.GatewayURL, "/mcp")
	if !ok {
		return open(statement, "gateway_url does not end in /mcp")
	}
	status, _, _, err := c.exchange(ctx, http.MethodPost, bare+"/", http.Header{"Authorization": {"Bearer " + c.token}}, toolsList)
	if err != nil {
		return open(statement, "%v", err)
	}
	return settled(statement, status != http.StatusOK, "without it, it answered %d", status)
}

// quoting looks at how the answer of a Lambda function arrives.
func (c *checkup) quoting(ctx context.Context) finding {
	const statement = "the object that a Lambda target returns arrives as its JSON text, not quoted again"
	prefix := gateway.Prefix(c.tools)
	if prefix == "" {
		return open(statement, "there is no bridge to ask")
	}
	text, err := c.gateway.CallText(ctx, prefix+"list_accounts", map[string]any{})
	if err != nil {
		return open(statement, "%v", err)
	}
	return settled(statement, strings.HasPrefix(strings.TrimSpace(text), "{"), "the text begins with %.1q", text)
}

// clientHeader sends a header of the client's own in which the bridge expects a token. If it arrives, the
// bridge refuses it.
func (c *checkup) clientHeader(ctx context.Context) finding {
	const statement = "a header of the client's that the target allows reaches a Lambda target"
	prefix := gateway.Prefix(c.tools)
	if prefix == "" {
		return open(statement, "there is no bridge to ask")
	}
	client := *c.http
	client.Transport = withHeader{client.Transport, userTokenHeader, "not-a-token"}
	probe := &gateway.Client{URL: c.profile.GatewayURL, HTTP: &client}
	_, err := probe.Bridge(ctx, "list_accounts", map[string]any{})
	switch centralops.CodeOf(err) {
	case centralops.Unauthenticated, centralops.Invalid:
		return settled(statement, true, "the bridge refused what it carried")
	}
	if err != nil {
		return open(statement, "%v", err)
	}
	return settled(statement, false, "the bridge took the sign-in's own token instead")
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
	const statement = "the AWS MCP Server answers an unknown session with status 200 and JSON-RPC error -30001"
	header := http.Header{"Mcp-Session-Id": {"00000000-0000-0000-0000-000000000000"}, "Mcp-Protocol-Version": {"2025-06-18"}}
	status, _, body, err := c.exchange(ctx, http.MethodPost, c.profile.MCPEndpoint, header, toolsList)
	if err != nil {
		return open(statement, "%v", err)
	}
	if status == http.StatusUnauthorized || status == http.StatusForbidden {
		return open(statement, "it wants a signature first: %d", status)
	}
	lost := strings.Contains(string(body), "-30001")
	if status == http.StatusOK && !lost {
		return open(statement, "it listed its tools without looking at the session")
	}
	return settled(statement, status == http.StatusOK, "it answered %d, -30001: %t", status, lost)
}

// statelessMCP asks for the stateless version of the protocol.
func (c *checkup) statelessMCP(ctx context.Context) finding {
	const statement = "the AWS MCP Server does not speak MCP 2026-07-28 yet"
	header := http.Header{"Mcp-Protocol-Version": {"2026-07-28"}, "Mcp-Method": {"server/discover"}}
	status, _, body, err := c.exchange(ctx, http.MethodPost, c.profile.MCPEndpoint, header, `{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{}}`)
	if err != nil {
		return open(statement, "%v", err)
	}
	return settled(statement, status != http.StatusOK || strings.Contains(string(body), `"error"`), "server/discover was answered with %d", status)
}

// agent returns the client of the profile's agent.
func (c *checkup) agent() *runtime.Client {
	return &runtime.Client{Base: c.profile.RuntimeURL, ARN: c.profile.RuntimeARN, Qualifier: c.profile.Qualifier, HTTP: c.http}
}
