package bedrock

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Limits of the Converse API
// (https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolUseBlock.html, .../API_runtime_ToolSpecification.html,
// https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html; read 2026-11-24).
const maxCachePoints = 4

var (
	toolUseIDPattern = regexp.MustCompile(`^[a-zA-Z0-9_.:-]{1,64}$`)
	toolNamePattern  = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)
)

// blockKinds are the members of ContentBlock. Only those that Block declares can be used with the stand-in; the others are
// refused as a model without that ability refuses them.
var blockKinds = []string{
	"text", "image", "document", "video", "audio", "toolUse", "toolResult", "guardContent", "cachePoint", "reasoningContent",
	"citationsContent", "searchResult", "toolAddition", "toolRemoval",
}

var supportedKinds = []string{"text", "toolUse", "toolResult", "cachePoint", "reasoningContent"}

// validate refuses what the service refuses, with the path of the fault. It returns nil for a valid request.
func validate(req *Request) *Exception {
	checks := []func(*Request) *Exception{
		validateInference, validateSystem, validateTools, validateRoles, validateBlocks, validateToolPairs, validateCachePoints,
	}
	for _, check := range checks {
		if e := check(req); e != nil {
			return e
		}
	}
	return nil
}

func validateInference(req *Request) *Exception {
	c := req.InferenceConfig
	switch {
	case c.MaxTokens != nil && *c.MaxTokens < 1:
		return invalid("Value '%d' at 'inferenceConfig.maxTokens' failed to satisfy constraint: Member must have value greater than or equal to 1", *c.MaxTokens)
	case c.Temperature != nil && (*c.Temperature < 0 || *c.Temperature > 1):
		return invalid("Value '%v' at 'inferenceConfig.temperature' failed to satisfy constraint: Member must have value between 0 and 1", *c.Temperature)
	case c.TopP != nil && (*c.TopP < 0 || *c.TopP > 1):
		return invalid("Value '%v' at 'inferenceConfig.topP' failed to satisfy constraint: Member must have value between 0 and 1", *c.TopP)
	case slices.Contains(c.StopSequences, ""):
		return invalid("Value at 'inferenceConfig.stopSequences' failed to satisfy constraint: Member must have length greater than or equal to 1")
	}
	return nil
}

func validateSystem(req *Request) *Exception {
	for i, block := range req.System {
		switch {
		case block.Text == nil && block.CachePoint == nil:
			return invalid("The SystemContentBlock object at system.%d must set one of the following keys: text, guardContent, cachePoint.", i)
		case block.Text != nil && strings.TrimSpace(*block.Text) == "":
			return invalid("The text field in the SystemContentBlock object at system.%d is blank. Add text to the text field, and try again.", i)
		}
	}
	return nil
}

func validateTools(req *Request) *Exception {
	if req.ToolConfig == nil {
		return nil
	}
	seen := map[string]bool{}
	for i, tool := range req.ToolConfig.Tools {
		if tool.Spec == nil {
			if tool.CachePoint == nil {
				return invalid("The Tool object at toolConfig.tools.%d must set one of the following keys: toolSpec, systemTool, cachePoint.", i)
			}
			continue
		}
		at := fmt.Sprintf("toolConfig.tools.%d.toolSpec", i)
		switch {
		case !toolNamePattern.MatchString(tool.Spec.Name):
			return invalid("Value '%s' at '%s.name' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_-]+ and have length between 1 and 64", tool.Spec.Name, at)
		case seen[tool.Spec.Name]:
			return invalid("The tool name %s at %s.name is used more than once. Tool names must be unique.", tool.Spec.Name, at)
		case tool.Spec.Description != nil && *tool.Spec.Description == "":
			return invalid("Value '' at '%s.description' failed to satisfy constraint: Member must have length greater than or equal to 1", at)
		case !isObject(tool.Spec.InputSchema.JSON):
			return invalid("The format of the value at %s.inputSchema.json is invalid. Provide a json object for the field and try again.", at)
		}
		var schema struct {
			Type any `json:"type"`
		}
		if err := json.Unmarshal(tool.Spec.InputSchema.JSON, &schema); err != nil || schema.Type != "object" {
			return invalid("The value at %s.inputSchema.json.type must be one of the following: object.", at)
		}
		seen[tool.Spec.Name] = true
	}
	if len(seen) == 0 {
		return invalid("The tools field at toolConfig is empty. Add a tool and try again.")
	}
	if c := req.ToolConfig.ToolChoice; c != nil && c.Tool != nil && !seen[c.Tool.Name] {
		return invalid("The tool %s at toolConfig.toolChoice.tool.name is not among toolConfig.tools.", c.Tool.Name)
	}
	return nil
}

func validateRoles(req *Request) *Exception {
	if len(req.Messages) == 0 {
		return invalid("The messages field is empty. Add a message and try again.")
	}
	for i, m := range req.Messages {
		if m.Role != "user" && m.Role != "assistant" {
			return invalid("Value '%s' at 'messages.%d.role' failed to satisfy constraint: Member must satisfy enum value set: [user, assistant]", m.Role, i)
		}
		if i > 0 && m.Role == req.Messages[i-1].Role {
			return invalid("A conversation must alternate between user and assistant roles. Make sure the conversation alternates between user and assistant roles and try again.")
		}
	}
	if req.Messages[0].Role != "user" {
		return invalid("A conversation must start with a user message. Try again with a conversation that starts with a user message.")
	}
	if req.Messages[len(req.Messages)-1].Role != "user" {
		return invalid("This model does not support assistant message prefill. The conversation must end with a user message.")
	}
	return nil
}

func validateBlocks(req *Request) *Exception {
	for i, m := range req.Messages {
		if len(m.Content) == 0 {
			return invalid("The content field in the Message object at messages.%d is empty. Add a ContentBlock object to the content field and try again.", i)
		}
		for j, b := range m.Content {
			if e := validateBlock(fmt.Sprintf("messages.%d.content.%d", i, j), m.Role, b); e != nil {
				return e
			}
		}
	}
	return nil
}

func validateBlock(at, role string, b Block) *Exception {
	if len(b.keys) != 1 || !slices.Contains(blockKinds, b.keys[0]) {
		return invalid("The ContentBlock object at %s must set one of the following keys: %s.", at, strings.Join(blockKinds, ", "))
	}
	if !slices.Contains(supportedKinds, b.keys[0]) {
		return invalid("This model doesn't support the %s field that was provided at %s. Remove the field and try again.", b.keys[0], at)
	}
	switch {
	case b.Text != nil && strings.TrimSpace(*b.Text) == "":
		return invalid("The text field in the ContentBlock object at %s is blank. Add text to the text field, and try again.", at)
	case b.ToolUse != nil:
		return validateToolUse(at, role, b.ToolUse)
	case b.ToolResult != nil:
		return validateToolResult(at, role, b.ToolResult)
	case b.Reasoning != nil && role != "assistant":
		return invalid("The reasoningContent field at %s is only allowed in messages of the assistant role.", at)
	}
	return nil
}

func validateToolUse(at, role string, use *ToolUse) *Exception {
	switch {
	case role != "assistant":
		return invalid("The toolUse field at %s is only allowed in messages of the assistant role.", at)
	case !toolUseIDPattern.MatchString(use.ID):
		return invalid("Value '%s' at '%s.toolUse.toolUseId' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.:-]+ and have length between 1 and 64", use.ID, at)
	case !toolNamePattern.MatchString(use.Name):
		return invalid("Value '%s' at '%s.toolUse.name' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_-]+ and have length between 1 and 64", use.Name, at)
	case !isObject(use.Input):
		return invalid("The format of the value at %s.toolUse.input is invalid. Provide a json object for the field and try again.", at)
	}
	return nil
}

func validateToolResult(at, role string, result *ToolResult) *Exception {
	if role != "user" {
		return invalid("The toolResult field at %s is only allowed in messages of the user role.", at)
	}
	if !toolUseIDPattern.MatchString(result.ID) {
		return invalid("Value '%s' at '%s.toolResult.toolUseId' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.:-]+ and have length between 1 and 64", result.ID, at)
	}
	if result.Status != "" && result.Status != "success" && result.Status != "error" {
		return invalid("Value '%s' at '%s.toolResult.status' failed to satisfy constraint: Member must satisfy enum value set: [success, error]", result.Status, at)
	}
	for k, block := range result.Content {
		at := fmt.Sprintf("%s.toolResult.content.%d", at, k)
		switch {
		case (block.Text == nil) == (block.JSON == nil):
			return invalid("The ToolResultContentBlock object at %s must set one of the following keys: json, text.", at)
		case block.Text != nil && strings.TrimSpace(*block.Text) == "":
			return invalid("The text field in the ToolResultContentBlock object at %s is blank. Add text to the text field, and try again.", at)
		case block.JSON != nil && !isObject(block.JSON):
			return invalid("The format of the value at %s.json is invalid. Provide a json object for the field and try again.", at)
		}
	}
	return nil
}

// validateToolPairs holds every toolUse to an answer in the one message that follows it, and every toolResult to a
// toolUse in the message before it.
func validateToolPairs(req *Request) *Exception {
	seen := map[string]bool{}
	var open []string // ids of the tool uses in the message before
	for i, m := range req.Messages {
		var uses, results []string
		for j, b := range m.Content {
			switch {
			case b.ToolUse != nil:
				if seen[b.ToolUse.ID] {
					return invalid("messages.%d.content.%d: `tool_use` ids must be unique", i, j)
				}
				seen[b.ToolUse.ID] = true
				uses = append(uses, b.ToolUse.ID)
			case b.ToolResult != nil:
				results = append(results, b.ToolResult.ID)
			}
		}
		if (len(uses) > 0 || len(results) > 0) && req.ToolConfig == nil {
			return invalid("The toolConfig field must be defined when using toolUse and toolResult content blocks.")
		}
		if len(results) > len(open) {
			return invalid("The number of toolResult blocks at messages.%d.content exceeds the number of toolUse blocks of previous turn.", i)
		}
		if missing := without(open, results); len(missing) > 0 {
			return invalid("Expected toolResult blocks at messages.%d.content for the following Ids: %s", i, strings.Join(missing, ", "))
		}
		open = uses
	}
	return nil
}

// validateCachePoints also wants longer-lived points first, in the order tools, system, messages.
func validateCachePoints(req *Request) *Exception {
	points := cachePoints(req)
	if len(points) > maxCachePoints {
		return invalid("A maximum of %d blocks with cache_control may be provided. Found %d.", maxCachePoints, len(points))
	}
	short := false
	for _, p := range points {
		switch {
		case p.Type != "default":
			return invalid("Value '%s' at 'cachePoint.type' failed to satisfy constraint: Member must satisfy enum value set: [default]", p.Type)
		case p.TTL != "" && p.TTL != "5m" && p.TTL != "1h":
			return invalid("Value '%s' at 'cachePoint.ttl' failed to satisfy constraint: Member must satisfy enum value set: [5m, 1h]", p.TTL)
		case p.TTL == "1h" && short:
			return invalid("A cachePoint with ttl 1h must not come after one with ttl 5m.")
		}
		short = short || p.TTL != "1h"
	}
	return nil
}

// cachePoints returns the request's cache points in the order in which the service caches.
func cachePoints(req *Request) []*CachePoint {
	var points []*CachePoint
	add := func(p *CachePoint) {
		if p != nil {
			points = append(points, p)
		}
	}
	if req.ToolConfig != nil {
		for _, tool := range req.ToolConfig.Tools {
			add(tool.CachePoint)
		}
	}
	for _, block := range req.System {
		add(block.CachePoint)
	}
	for _, m := range req.Messages {
		for _, b := range m.Content {
			add(b.CachePoint)
		}
	}
	return points
}

func isObject(raw json.RawMessage) bool {
	return json.Valid(raw) && bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{"))
}

// without returns the members of all that aren't in some, in order.
func without(all, some []string) []string {
	var rest []string
	for _, s := range all {
		if !slices.Contains(some, s) {
			rest = append(rest, s)
		}
	}
	return rest
}
