package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/central-ops/central-ops/e2e/local/oidc"
)

// Record is a gateway as the control plane's GetGateway has it; members that change nothing here are left out.
// https://docs.aws.amazon.com/bedrock-agentcore-control/latest/APIReference/API_GetGateway.html
type Record struct {
	ID                      string                  `json:"gatewayId"`
	Name                    string                  `json:"name"`
	RoleARN                 string                  `json:"roleArn"`        // who calls interceptor and targets
	URL                     string                  `json:"gatewayUrl"`     // on AWS; here it is at Server.MCPURL
	AuthorizerType          string                  `json:"authorizerType"` // CUSTOM_JWT is served
	AuthorizerConfiguration AuthorizerConfiguration `json:"authorizerConfiguration"`
	ProtocolConfiguration   ProtocolConfiguration   `json:"protocolConfiguration"`
	Interceptors            []Interceptor           `json:"interceptorConfigurations,omitempty"`
	ExceptionLevel          string                  `json:"exceptionLevel,omitempty"` // "" or DEBUG
}

// AuthorizerConfiguration is a union; only this member is served.
type AuthorizerConfiguration struct {
	CustomJWT *oidc.CustomJWT `json:"customJWTAuthorizer,omitempty"`
}

// ProtocolConfiguration is a union of one member.
type ProtocolConfiguration struct {
	MCP MCPConfiguration `json:"mcp"`
}

// MCPConfiguration says how the gateway speaks MCP.
type MCPConfiguration struct {
	SupportedVersions []string              `json:"supportedVersions"` // e.g. 2025-06-18; a request with another one is refused
	Instructions      string                `json:"instructions,omitempty"`
	Session           *SessionConfiguration `json:"sessionConfiguration,omitempty"` // nil: stateless
}

// SessionConfiguration turns MCP sessions on.
type SessionConfiguration struct {
	TimeoutInSeconds int `json:"sessionTimeoutInSeconds"` // 900-28800, from initialize on; 0 means 3600
}

// Interceptor is a Lambda function that sees each request before the gateway acts on it.
type Interceptor struct {
	Interceptor struct {
		Lambda struct {
			ARN string `json:"arn"`
		} `json:"lambda"`
	} `json:"interceptor"`
	Points []string `json:"interceptionPoints"` // REQUEST is served
	Input  struct {
		PassRequestHeaders bool `json:"passRequestHeaders"`
	} `json:"inputConfiguration"`
}

// Target is a gateway target as GetGatewayTarget has it.
type Target struct {
	ID            string              `json:"targetId"`
	Name          string              `json:"name"`
	Configuration TargetConfiguration `json:"targetConfiguration"`
	Metadata      Metadata            `json:"metadataConfiguration"`
}

// TargetConfiguration is a union; only Lambda targets are served.
type TargetConfiguration struct {
	MCP struct {
		Lambda *LambdaTarget `json:"lambda,omitempty"`
	} `json:"mcp"`
}

// LambdaTarget is a function and the tools it offers.
type LambdaTarget struct {
	ARN        string `json:"lambdaArn"`
	ToolSchema struct {
		Inline json.RawMessage `json:"inlinePayload"` // an array of Tool
	} `json:"toolSchema"`
}

// Metadata says what may travel from the client's request to the target.
type Metadata struct {
	AllowedRequestHeaders []string `json:"allowedRequestHeaders,omitempty"` // at most 10
}

// NewLambdaTarget returns the record of a Lambda target; tools is the JSON array of its tool definitions.
func NewLambdaTarget(id, name, lambdaARN string, tools []byte, allowedRequestHeaders ...string) Target {
	t := Target{ID: id, Name: name, Metadata: Metadata{AllowedRequestHeaders: allowedRequestHeaders}}
	t.Configuration.MCP.Lambda = &LambdaTarget{ARN: lambdaARN}
	t.Configuration.MCP.Lambda.ToolSchema.Inline = tools
	return t
}

// NewRequestInterceptor returns the configuration of a REQUEST interceptor that is shown the request's headers.
func NewRequestInterceptor(lambdaARN string) Interceptor {
	i := Interceptor{Points: []string{"REQUEST"}}
	i.Interceptor.Lambda.ARN = lambdaARN
	i.Input.PassRequestHeaders = true
	return i
}

// Tool is the control plane's ToolDefinition. Its schema language has no enum, pattern, default and the like.
type Tool struct {
	Name         string  `json:"name"`
	Description  string  `json:"description"`
	InputSchema  Schema  `json:"inputSchema"`
	OutputSchema *Schema `json:"outputSchema,omitempty"`
}

// Schema is the control plane's SchemaDefinition: these members and no others.
type Schema struct {
	Type        string            `json:"type"`
	Description string            `json:"description,omitempty"`
	Properties  map[string]Schema `json:"properties,omitempty"`
	Required    []string          `json:"required,omitempty"`
	Items       *Schema           `json:"items,omitempty"`
}

var (
	versions      = []string{"2025-03-26", "2025-06-18", "2025-11-25"} // of those that AWS has; the stateless 2026-07-28 is not served
	schemaTypes   = []string{"string", "number", "object", "array", "boolean", "integer"}
	toolPattern   = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,128}$`)
	targetPattern = regexp.MustCompile(`^([0-9a-zA-Z]-?){1,100}$`)
	headerPattern = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,100}$`)
)

const (
	separator    = "___" // between target and tool
	customPrefix = "x-amzn-bedrock-agentcore-runtime-custom-"
)

// validate refuses what CreateGateway refuses, and what is not served here.
func (r Record) validate() error {
	var faults []error
	if r.AuthorizerType != "CUSTOM_JWT" || r.AuthorizerConfiguration.CustomJWT == nil {
		faults = append(faults, fmt.Errorf("authorizerType %q: only CUSTOM_JWT with a customJWTAuthorizer is served here", r.AuthorizerType))
	}
	if len(r.ProtocolConfiguration.MCP.SupportedVersions) == 0 {
		faults = append(faults, errors.New("protocolConfiguration.mcp.supportedVersions is empty: name the versions that the client may use"))
	}
	for _, version := range r.ProtocolConfiguration.MCP.SupportedVersions {
		if !slices.Contains(versions, version) {
			faults = append(faults, fmt.Errorf("supportedVersions: %q is not one of %s", version, strings.Join(versions, ", ")))
		}
	}
	if s := r.ProtocolConfiguration.MCP.Session; s != nil && s.TimeoutInSeconds != 0 && (s.TimeoutInSeconds < 900 || s.TimeoutInSeconds > 28800) {
		faults = append(faults, fmt.Errorf("sessionTimeoutInSeconds %d is not between 900 and 28800", s.TimeoutInSeconds))
	}
	if len(r.Interceptors) > 1 {
		faults = append(faults, errors.New("interceptorConfigurations: at most one interceptor a point"))
	}
	for _, i := range r.Interceptors {
		if !slices.Equal(i.Points, []string{"REQUEST"}) || i.Interceptor.Lambda.ARN == "" {
			faults = append(faults, fmt.Errorf("interceptorConfigurations: only a Lambda function at the point REQUEST is served here, not %v", i.Points))
		}
	}
	if r.ExceptionLevel != "" && r.ExceptionLevel != "DEBUG" {
		faults = append(faults, fmt.Errorf("exceptionLevel %q must be DEBUG or absent", r.ExceptionLevel))
	}
	return errors.Join(faults...)
}

// Validate refuses what CreateGatewayTarget refuses, and what is not served here; it returns the tools.
func (t Target) Validate() ([]Tool, error) {
	var faults []error
	if !targetPattern.MatchString(t.Name) {
		faults = append(faults, errors.New("name must be letters, digits and single hyphens"))
	}
	if len(t.Metadata.AllowedRequestHeaders) > 10 {
		faults = append(faults, errors.New("allowedRequestHeaders: at most 10"))
	}
	for _, name := range t.Metadata.AllowedRequestHeaders {
		lower := strings.ToLower(name)
		switch {
		case !headerPattern.MatchString(name):
			faults = append(faults, fmt.Errorf("allowedRequestHeaders: %q is not a header name", name))
		case strings.HasPrefix(lower, "x-amzn-") && !strings.HasPrefix(lower, customPrefix), lower == "authorization":
			faults = append(faults, fmt.Errorf("allowedRequestHeaders: %s may not be allowed", name))
		}
	}
	lambda := t.Configuration.MCP.Lambda
	if lambda == nil || lambda.ARN == "" || len(lambda.ToolSchema.Inline) == 0 {
		return nil, fmt.Errorf("target %s: %w", t.Name, errors.Join(append(faults, errors.New("only mcp.lambda with an inline tool schema is served here"))...))
	}
	tools, err := ParseTools(lambda.ToolSchema.Inline)
	if err := errors.Join(append(faults, err)...); err != nil {
		return nil, fmt.Errorf("target %s: %w", t.Name, err)
	}
	return tools, nil
}

// ParseTools reads an array of tool definitions and refuses members that the control plane does not know.
func ParseTools(raw []byte) ([]Tool, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	var tools []Tool
	if err := decoder.Decode(&tools); err != nil {
		return nil, fmt.Errorf("tool schema: %w", err)
	}
	var faults []error
	seen := make(map[string]bool, len(tools))
	for _, tool := range tools {
		if !toolPattern.MatchString(tool.Name) || seen[tool.Name] {
			faults = append(faults, fmt.Errorf("tool %q: the name is empty, has other characters than letters, digits, _ and -, or is there twice", tool.Name))
		}
		seen[tool.Name] = true
		if tool.Description == "" {
			faults = append(faults, fmt.Errorf("tool %s: has no description", tool.Name))
		}
		if tool.InputSchema.Type != "object" {
			faults = append(faults, fmt.Errorf("tool %s: inputSchema must be of type object", tool.Name))
		}
		faults = append(faults, tool.InputSchema.validate("tool "+tool.Name+": inputSchema"))
		if tool.OutputSchema != nil {
			faults = append(faults, tool.OutputSchema.validate("tool "+tool.Name+": outputSchema"))
		}
	}
	return tools, errors.Join(faults...)
}

func (s Schema) validate(path string) error {
	var faults []error
	if !slices.Contains(schemaTypes, s.Type) {
		faults = append(faults, fmt.Errorf("%s: type %q is not one of %s", path, s.Type, strings.Join(schemaTypes, ", ")))
	}
	for name, property := range s.Properties {
		faults = append(faults, property.validate(path+"."+name))
	}
	for _, name := range s.Required {
		if _, ok := s.Properties[name]; !ok {
			faults = append(faults, fmt.Errorf("%s: required %s is not a property", path, name))
		}
	}
	if s.Items != nil {
		faults = append(faults, s.Items.validate(path+"[]"))
	}
	return errors.Join(faults...)
}
