package bridge

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
)

//go:embed tools.json
var toolsJSON []byte

// Tool is a tool as the Gateway advertises it; tools.json holds them all.
type Tool struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	InputSchema Schema `json:"inputSchema"`
}

// Schema is the subset of JSON Schema that the Gateway takes
// (https://docs.aws.amazon.com/bedrock-agentcore-control/latest/APIReference/API_SchemaDefinition.html).
type Schema struct {
	Type        string            `json:"type"`
	Description string            `json:"description,omitempty"`
	Properties  map[string]Schema `json:"properties,omitempty"`
	Required    []string          `json:"required,omitempty"`
	Items       *Schema           `json:"items,omitempty"`
}

// Tools returns the bridge's tools, in the order of tools.json.
var Tools = sync.OnceValue(func() []Tool {
	var tools []Tool
	if err := json.Unmarshal(toolsJSON, &tools); err != nil {
		panic("tools.json: " + err.Error()) // embedded; a test reads it
	}
	return tools
})

// FindTool returns the tool of that name, or a not_found error that lists those there are.
func FindTool(name string) (Tool, error) {
	tools := Tools()
	if i := slices.IndexFunc(tools, func(t Tool) bool { return t.Name == name }); i >= 0 {
		return tools[i], nil
	}
	names := make([]string, len(tools))
	for i, tool := range tools {
		names[i] = tool.Name
	}
	return Tool{}, &Error{Op: "find tool", Code: NotFound, Err: fmt.Errorf("there is no tool %q", clip(name, 80)),
		Hint: "the tools are " + strings.Join(names, ", ")}
}

// Check holds arguments, decoded JSON, against the tool's schema. Its error is invalid and names the
// argument, what it must be and what it is.
func (t Tool) Check(arguments any) error {
	err := t.InputSchema.check("arguments", arguments)
	if err == nil {
		return nil
	}
	return &Error{Op: "read arguments of " + t.Name, Code: Invalid, Err: err, Hint: "arguments: " + t.InputSchema.summary()}
}

func (s Schema) check(name string, value any) error {
	wrong := func() error { return fmt.Errorf("%s must be %s, not %s", name, typeNames[s.Type], typeOf(value)) }
	switch s.Type {
	case "object":
		object, ok := value.(map[string]any)
		if !ok {
			return wrong()
		}
		if s.Properties == nil {
			return nil
		}
		for _, required := range s.Required {
			if v, ok := object[required]; !ok || v == nil {
				return fmt.Errorf("%s is missing", required)
			}
		}
		for _, key := range slices.Sorted(maps.Keys(object)) {
			property, ok := s.Properties[key]
			if !ok {
				known := slices.Sorted(maps.Keys(s.Properties))
				if near := Nearest(key, known, 1); len(near) > 0 {
					return fmt.Errorf("there is no argument %q; did you mean %s?", clip(key, 80), near[0])
				}
				return fmt.Errorf("there is no argument %q", clip(key, 80))
			}
			if object[key] == nil && !slices.Contains(s.Required, key) {
				continue // an absent value, as some models write it
			}
			if err := property.check(key, object[key]); err != nil {
				return err
			}
		}
	case "array":
		array, ok := value.([]any)
		if !ok {
			return wrong()
		}
		for i, item := range array {
			if err := s.Items.check(fmt.Sprintf("%s[%d]", name, i), item); err != nil {
				return err
			}
		}
	case "string":
		if _, ok := value.(string); !ok {
			return wrong()
		}
	case "integer":
		if number, ok := value.(float64); !ok || number != math.Trunc(number) || math.Abs(number) > 1<<53 {
			return wrong()
		}
	}
	return nil
}

// summary lists the properties, the required ones marked with a star.
func (s Schema) summary() string {
	names := slices.Sorted(maps.Keys(s.Properties))
	for i, name := range names {
		kind := s.Properties[name].Type
		if kind == "array" {
			kind = "array of " + s.Properties[name].Items.Type
		}
		if slices.Contains(s.Required, name) {
			names[i] += "*"
		}
		names[i] += " (" + kind + ")"
	}
	return strings.Join(names, ", ")
}

var typeNames = map[string]string{
	"object": "an object", "array": "an array", "string": "a string", "integer": "a whole number",
}

func typeOf(value any) string {
	switch value := value.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case float64:
		return fmt.Sprintf("the number %v", value)
	case string:
		return "a string"
	case []any:
		return "an array"
	default:
		return "an object"
	}
}
