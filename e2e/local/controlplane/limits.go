package controlplane

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// What the service takes of tools, headers and variables, from its service model and
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/gateway-headers.html and .../runtime-header-allowlist.html.
const (
	maxLambdaARN      = 170
	maxTools          = 1000
	maxInlineBytes    = 1 << 20
	maxTargetHeaders  = 10 // of each kind
	maxRuntimeHeaders = 20
	maxVariables      = 50
	maxVariableName   = 100
	maxVariableValue  = 5000
	minSession        = 60 // seconds
	maxSession        = 28800
)

var (
	targetHeaders  = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,100}$`)
	runtimeHeaders = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,255}$`)
	schemaTypes    = []string{"string", "number", "object", "array", "boolean", "integer"}
)

// into decodes a member of a request into value.
func into(member, value any) error {
	encoded, err := json.Marshal(member)
	if err == nil {
		err = json.Unmarshal(encoded, value)
	}
	if err != nil {
		return &Fault{400, "SerializationException", err.Error()}
	}
	return nil
}

// checkLambda refuses what the service refuses of a Lambda target: no function, no tools, or tools that it can't describe.
func checkLambda(in members) error {
	var configuration struct {
		MCP struct {
			Lambda *struct {
				ARN   string `json:"lambdaArn"`
				Tools *struct {
					Inline []struct {
						Name        string         `json:"name"`
						Description string         `json:"description"`
						Input       map[string]any `json:"inputSchema"`
						Output      map[string]any `json:"outputSchema"`
					} `json:"inlinePayload"`
					S3 any `json:"s3"`
				} `json:"toolSchema"`
			} `json:"lambda"`
		} `json:"mcp"`
	}
	if err := into(in["targetConfiguration"], &configuration); err != nil {
		return err
	}
	lambda := configuration.MCP.Lambda
	switch {
	case lambda == nil:
		return nil // a target of another kind
	case lambda.ARN == "" || len(lambda.ARN) > maxLambdaARN:
		return invalid("lambdaArn must have 1 to %d characters", maxLambdaARN)
	case lambda.Tools == nil || (lambda.Tools.S3 == nil) == (lambda.Tools.Inline == nil):
		return invalid("toolSchema must have one of inlinePayload and s3")
	case lambda.Tools.S3 != nil:
		return nil
	case len(lambda.Tools.Inline) == 0 || len(lambda.Tools.Inline) > maxTools:
		return invalid("inlinePayload must have 1 to %d tools", maxTools)
	}
	if encoded, err := json.Marshal(lambda.Tools.Inline); err != nil || len(encoded) > maxInlineBytes {
		return invalid("inlinePayload must have at most %d bytes", maxInlineBytes)
	}
	seen := map[string]bool{}
	for _, tool := range lambda.Tools.Inline {
		if tool.Name == "" || tool.Description == "" || tool.Input == nil {
			return invalid("tool %q: name, description and inputSchema are required", tool.Name)
		}
		if seen[tool.Name] {
			return invalid("tool %q: there are two of that name", tool.Name)
		}
		seen[tool.Name] = true
		if err := checkSchema("inputSchema", tool.Input); err != nil {
			return invalid("tool %q: %v", tool.Name, err)
		}
		if tool.Output != nil {
			if err := checkSchema("outputSchema", tool.Output); err != nil {
				return invalid("tool %q: %v", tool.Name, err)
			}
		}
	}
	return nil
}

// checkSchema refuses what SchemaDefinition has no member for, such as enum and default.
func checkSchema(path string, schema map[string]any) error {
	if kind, _ := schema["type"].(string); !slices.Contains(schemaTypes, kind) {
		return fmt.Errorf("%s.type must be one of %s", path, strings.Join(schemaTypes, ", "))
	}
	for name, value := range schema {
		fits := true
		switch name {
		case "type":
		case "description":
			_, fits = value.(string)
		case "required":
			var names []any
			names, fits = value.([]any)
			for _, each := range names {
				if _, text := each.(string); !text {
					fits = false
				}
			}
		case "items":
			var items map[string]any
			if items, fits = value.(map[string]any); fits {
				if err := checkSchema(path+".items", items); err != nil {
					return err
				}
			}
		case "properties":
			var properties map[string]any
			properties, fits = value.(map[string]any)
			for property, definition := range properties {
				inner, object := definition.(map[string]any)
				if !object {
					return fmt.Errorf("%s.properties.%s must be a schema", path, property)
				}
				if err := checkSchema(path+".properties."+property, inner); err != nil {
					return err
				}
			}
		default:
			return fmt.Errorf("%s has the unknown member %s", path, name)
		}
		if !fits {
			return fmt.Errorf("%s.%s has a value of the wrong type", path, name)
		}
	}
	return nil
}

// checkPropagation refuses headers and query parameters that a Gateway does not pass on.
func checkPropagation(in members) error {
	var allowed struct {
		Request  []string `json:"allowedRequestHeaders"`
		Response []string `json:"allowedResponseHeaders"`
		Query    []string `json:"allowedQueryParameters"`
	}
	if err := into(in["metadataConfiguration"], &allowed); err != nil {
		return err
	}
	for member, names := range map[string][]string{"allowedRequestHeaders": allowed.Request, "allowedResponseHeaders": allowed.Response, "allowedQueryParameters": allowed.Query} {
		if len(names) > maxTargetHeaders {
			return invalid("%s must have at most %d members", member, maxTargetHeaders)
		}
		for _, name := range names {
			if !targetHeaders.MatchString(name) || member != "allowedQueryParameters" && (strings.EqualFold(name, "Authorization") || amazons(name)) {
				return invalid("%s: %s cannot be allowed", member, name)
			}
		}
	}
	return nil
}

// amazons reports whether a header's name is the service's own.
func amazons(name string) bool {
	name = strings.ToLower(name)
	return (strings.HasPrefix(name, "x-amz-") || strings.HasPrefix(name, "x-amzn-")) && !strings.HasPrefix(name, "x-amzn-bedrock-agentcore-runtime-custom-")
}

// restricted reports whether a header's name is one that a Runtime keeps from the agent whatever the list says.
func restricted(name string) bool {
	name = strings.ToLower(name)
	for _, prefix := range []string{"accept", "content-", "x-forwarded-"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return slices.Contains([]string{"cookie", "host", "user-agent", "via", "forwarded"}, name)
}

// checkLimits refuses what is too much of an agent runtime: headers, variables, life.
func checkLimits(in members) error {
	var runtime struct {
		Headers struct {
			Allowed []string `json:"requestHeaderAllowlist"`
		} `json:"requestHeaderConfiguration"`
		Variables map[string]string `json:"environmentVariables"`
		Lifecycle map[string]int    `json:"lifecycleConfiguration"`
	}
	if err := into(in, &runtime); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, name := range runtime.Headers.Allowed {
		switch {
		case !runtimeHeaders.MatchString(name), amazons(name), restricted(name):
			return invalid("requestHeaderAllowlist: %s cannot be allowed", name)
		case seen[strings.ToLower(name)]:
			return invalid("requestHeaderAllowlist: %s is there twice", name)
		}
		seen[strings.ToLower(name)] = true
	}
	if in["requestHeaderConfiguration"] != nil && (len(seen) == 0 || len(seen) > maxRuntimeHeaders) {
		return invalid("requestHeaderAllowlist must have 1 to %d members", maxRuntimeHeaders)
	}
	if len(runtime.Variables) > maxVariables {
		return invalid("environmentVariables must have at most %d members", maxVariables)
	}
	for name, value := range runtime.Variables {
		if name == "" || len(name) > maxVariableName || len(value) > maxVariableValue {
			return invalid("environmentVariables: %s: a name has 1 to %d characters, a value at most %d", name, maxVariableName, maxVariableValue)
		}
	}
	for member, seconds := range runtime.Lifecycle {
		if seconds < minSession || seconds > maxSession {
			return invalid("lifecycleConfiguration.%s must be %d to %d", member, minSession, maxSession)
		}
	}
	return nil
}

// checkInterceptors refuses more than one interceptor for a point.
func checkInterceptors(in members) error {
	var interceptors []struct {
		Points []string `json:"interceptionPoints"`
	}
	if err := into(in["interceptorConfigurations"], &interceptors); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, interceptor := range interceptors {
		if len(interceptor.Points) == 0 {
			return invalid("interceptionPoints must have at least one member")
		}
		for _, point := range interceptor.Points {
			if point != "REQUEST" && point != "RESPONSE" || seen[point] {
				return invalid("interceptionPoints: %s is no point, or has an interceptor already", point)
			}
			seen[point] = true
		}
	}
	return nil
}
