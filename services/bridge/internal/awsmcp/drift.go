package awsmcp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/central-ops/central-ops/services/bridge"
)

// Needed are the server's tools that the bridge calls, each with the arguments it sends at least.
var Needed = map[string][]string{
	runScript:                                {"code"},
	getTasks:                                 {"task_ids"},
	ToolPrefix + "search_documentation":      {"search_phrase"},
	ToolPrefix + "read_documentation":        {"requests"},
	ToolPrefix + "retrieve_skill":            {"skill_name"},
	ToolPrefix + "get_regional_availability": {"regions", "resource_type"},
}

// listAgain is how long a tool counts as missing before the list is read once more.
const listAgain = time.Minute

// updateHint is what to do when the server and this version of the bridge no longer fit.
const updateHint = "check AWS_MCP_ENDPOINT; if it is right, bring the bridge up to date with the server's tools"

// offer is what the server offers, as far as is known.
type offer struct {
	mu      sync.Mutex
	listed  time.Time // when the list was read; zero if it wasn't
	missing []string  // tools of Needed
	drift   []string
}

// Drift says what the bridge needs and the server does not offer; sorted, nil if there is nothing or
// the server's tools have not been listed.
func (c *Client) Drift() []string {
	c.offer.mu.Lock()
	defer c.offer.mu.Unlock()
	return slices.Clone(c.offer.drift)
}

// Check lists the server's tools as role and holds them against what the bridge needs.
func (c *Client) Check(ctx context.Context, role bridge.RoleSession) error {
	tools, err := c.Tools(ctx, role)
	if err != nil {
		return err
	}
	var missing []string
	for name := range Needed {
		if _, ok := tools[name]; !ok {
			missing = append(missing, name)
		}
	}
	c.offer.mu.Lock()
	defer c.offer.mu.Unlock()
	c.offer.listed, c.offer.missing, c.offer.drift = time.Now(), missing, Drift(tools)
	return nil
}

// lacks says whether the server's list was without tool. A list older than listAgain is read again
// first: the server may have got the tool back.
func (c *Client) lacks(ctx context.Context, role bridge.RoleSession, tool string) bool {
	c.offer.mu.Lock()
	lacking, old := slices.Contains(c.offer.missing, tool), time.Since(c.offer.listed) > listAgain
	if lacking && old {
		c.offer.listed = time.Now() // one caller looks
	}
	c.offer.mu.Unlock()
	if !lacking || !old {
		return lacking
	}
	if err := c.Check(ctx, role); err != nil {
		return true // as far as is known
	}
	c.offer.mu.Lock()
	defer c.offer.mu.Unlock()
	return slices.Contains(c.offer.missing, tool)
}

// missing is the error of a call that needs a tool which the server doesn't have.
func (c *Client) missing(role bridge.RoleSession, tool string) error {
	return c.failure(role, bridge.Unavailable, updateHint, fmt.Errorf("the AWS MCP Server has no tool %s, which this call needs", tool))
}

// changedError says that the server takes a message for one that it doesn't know.
type changedError struct {
	code int // of JSON-RPC
	text string
}

func (e *changedError) Error() string { return e.text }

// named gives an error about a call of tool the tool's name, if it is about a change of the server.
func (c *Client) named(role bridge.RoleSession, tool string, err error) error {
	var changed *changedError
	if !errors.As(err, &changed) {
		return err
	}
	if unknownTool(changed.text) {
		return c.missing(role, tool)
	}
	return c.failure(role, bridge.Unavailable, updateHint, fmt.Errorf("the AWS MCP Server doesn't take this call of %s: %w", tool, changed))
}

// unknownTool says whether text is what MCP servers answer to a call of a tool that they don't have.
func unknownTool(text string) bool {
	text = strings.ToLower(text)
	return strings.Contains(text, "unknown tool") || strings.Contains(text, "tool not found")
}

// Drift says what the bridge needs and tools, input schemas by name, do not offer; sorted.
func Drift(tools map[string]jsontext.Value) []string {
	var drift []string
	for name, arguments := range Needed {
		raw, ok := tools[name]
		if !ok {
			drift = append(drift, name+" is missing")
			continue
		}
		var schema struct {
			Properties map[string]any `json:"properties"`
			Required   []string       `json:"required"`
		}
		if unmarshal(raw, &schema) != nil || schema.Properties == nil {
			continue // a server that doesn't say is taken at its name
		}
		for _, argument := range arguments {
			if _, ok := schema.Properties[argument]; !ok {
				drift = append(drift, name+" takes no "+argument)
			}
		}
		for _, required := range schema.Required {
			if !slices.Contains(arguments, required) {
				drift = append(drift, name+" requires "+required)
			}
		}
	}
	slices.Sort(drift)
	return drift
}
