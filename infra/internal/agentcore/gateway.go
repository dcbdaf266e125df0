package agentcore

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	control "github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol/types"
)

// Authorizer is the check of JWTs in front of a gateway or runtime. Access tokens of Cognito have client_id and no aud:
// AllowedClients is checked, an audience never is.
type Authorizer struct {
	DiscoveryURL   string   `json:"discoveryUrl"`
	AllowedClients []string `json:"allowedClients"`
	AllowedScopes  []string `json:"allowedScopes,omitempty"`
}

func (a Authorizer) check() error {
	var faults []error
	if !strings.HasPrefix(a.DiscoveryURL, "http") || !strings.HasSuffix(a.DiscoveryURL, "/.well-known/openid-configuration") {
		faults = append(faults, fmt.Errorf("authorizer.discoveryUrl: must end in /.well-known/openid-configuration: got %q", a.DiscoveryURL))
	}
	if len(a.AllowedClients) == 0 {
		faults = append(faults, errors.New("authorizer.allowedClients: must name an app client: got none"))
	}
	return errors.Join(faults...)
}

func (a Authorizer) configuration() types.AuthorizerConfiguration {
	return &types.AuthorizerConfigurationMemberCustomJWTAuthorizer{Value: types.CustomJWTAuthorizerConfiguration{
		DiscoveryUrl: &a.DiscoveryURL, AllowedClients: a.AllowedClients, AllowedScopes: a.AllowedScopes,
	}}
}

var (
	names        = regexp.MustCompile(`^([0-9a-zA-Z][-]?){1,100}$`)
	runtimeNames = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_]{0,47}$`)
	roleARNs     = regexp.MustCompile(`^arn:[a-z-]+:iam::[0-9]{12}:role/.+$`)
)

func match(field, value string, pattern *regexp.Regexp) error {
	if pattern.MatchString(value) {
		return nil
	}
	return fmt.Errorf("%s: must match %s: got %q", field, pattern, value)
}

func required(field, value string) error {
	if value != "" {
		return nil
	}
	return fmt.Errorf("%s: is required", field)
}

// Gateway is the specification of an MCP gateway with a JWT authorizer and one REQUEST interceptor.
type Gateway struct {
	Name              string            `json:"name"`
	Description       string            `json:"description,omitempty"`
	RoleARN           string            `json:"roleArn"`
	Authorizer        Authorizer        `json:"authorizer"`
	InterceptorARN    string            `json:"interceptorArn,omitempty"`
	SupportedVersions []string          `json:"supportedVersions"` // MCP versions; most accounts cannot change them later
	Tags              map[string]string `json:"tags,omitempty"`
}

// GatewayState is what Apply answers for a gateway.
type GatewayState struct {
	ARN string `json:"arn"`
	ID  string `json:"id"`
	URL string `json:"url"` // ends in /mcp
}

func (g Gateway) subject() string { return g.Name }

func (g Gateway) check() error {
	var faults []error
	if len(g.SupportedVersions) == 0 {
		faults = append(faults, errors.New("supportedVersions: is required"))
	}
	return errors.Join(append(faults, match("name", g.Name, names), match("roleArn", g.RoleARN, roleARNs), g.Authorizer.check())...)
}

func (g Gateway) interceptors() []types.GatewayInterceptorConfiguration {
	if g.InterceptorARN == "" {
		return nil
	}
	return []types.GatewayInterceptorConfiguration{{
		InterceptionPoints: []types.GatewayInterceptionPoint{types.GatewayInterceptionPointRequest},
		Interceptor:        &types.InterceptorConfigurationMemberLambda{Value: types.LambdaInterceptorConfiguration{Arn: &g.InterceptorARN}},
		InputConfiguration: &types.InterceptorInputConfiguration{PassRequestHeaders: aws.Bool(true)},
	}}
}

func (c *Client) gateway(ctx context.Context, g Gateway) kept {
	return kept{
		what: "gateway " + g.Name, dead: string(types.GatewayStatusFailed),
		find: func() (string, error) {
			pages := control.NewListGatewaysPaginator(c.api, &control.ListGatewaysInput{})
			for pages.HasMorePages() {
				page, err := pages.NextPage(ctx)
				if err != nil {
					return "", err
				}
				for _, item := range page.Items {
					if aws.ToString(item.Name) == g.Name && item.Status != types.GatewayStatusDeleting {
						return aws.ToString(item.GatewayId), nil
					}
				}
			}
			return "", nil
		},
		create: func() (string, error) {
			made, err := c.api.CreateGateway(ctx, &control.CreateGatewayInput{
				Name: &g.Name, Description: optional(g.Description), RoleArn: &g.RoleARN, ProtocolType: types.GatewayProtocolTypeMcp,
				ProtocolConfiguration: &types.GatewayProtocolConfigurationMemberMcp{Value: types.MCPGatewayConfiguration{SupportedVersions: g.SupportedVersions}},
				AuthorizerType:        types.AuthorizerTypeCustomJwt, AuthorizerConfiguration: g.Authorizer.configuration(),
				InterceptorConfigurations: g.interceptors(), Tags: g.Tags,
			})
			if err != nil {
				return "", err
			}
			return aws.ToString(made.GatewayId), nil
		},
		look: func(id string) (string, []string, error) {
			got, err := c.api.GetGateway(ctx, &control.GetGatewayInput{GatewayIdentifier: &id})
			if err != nil {
				return "", nil, err
			}
			return string(got.Status), got.StatusReasons, nil
		},
		remove: func(id string) error {
			_, err := c.api.DeleteGateway(ctx, &control.DeleteGatewayInput{GatewayIdentifier: &id})
			if is(err, "ConflictException") {
				// Targets that are going resolve by waiting; others belong to someone, and are named.
				if left, lookup := c.targets(ctx, id); lookup == nil && len(left) > 0 {
					return fmt.Errorf("it still has targets: %s: %v", strings.Join(left, ", "), err)
				}
			}
			return err
		},
	}
}

func (c *Client) applyGateway(ctx context.Context, g Gateway) (GatewayState, error) {
	k := c.gateway(ctx, g)
	id, err := c.ensure(ctx, k)
	if err != nil {
		return GatewayState{}, err
	}
	got, err := c.api.GetGateway(ctx, &control.GetGatewayInput{GatewayIdentifier: &id})
	if err != nil {
		return GatewayState{}, err
	}
	now := control.UpdateGatewayInput{GatewayIdentifier: &id}
	carry(&now, got)
	want := now
	want.RoleArn, want.Description = &g.RoleARN, optional(g.Description)
	want.AuthorizerType, want.AuthorizerConfiguration = types.AuthorizerTypeCustomJwt, g.Authorizer.configuration()
	want.InterceptorConfigurations, want.ProtocolType = g.interceptors(), types.GatewayProtocolTypeMcp
	mcp := types.MCPGatewayConfiguration{}
	if member, ok := got.ProtocolConfiguration.(*types.GatewayProtocolConfigurationMemberMcp); ok {
		mcp = member.Value
	}
	mcp.SupportedVersions = g.SupportedVersions
	want.ProtocolConfiguration = &types.GatewayProtocolConfigurationMemberMcp{Value: mcp}
	if !same(now, want) || got.Status == types.GatewayStatusUpdateUnsuccessful {
		if err := c.change(ctx, k, id, func() error { _, err := c.api.UpdateGateway(ctx, &want); return err }); err != nil {
			return GatewayState{}, err
		}
	}
	if err := c.tag(ctx, aws.ToString(got.GatewayArn), g.Tags); err != nil {
		return GatewayState{}, err
	}
	url := strings.TrimSuffix(strings.TrimSuffix(aws.ToString(got.GatewayUrl), "/"), "/mcp") + "/mcp"
	return GatewayState{ARN: aws.ToString(got.GatewayArn), ID: id, URL: url}, nil
}

func (c *Client) deleteGateway(ctx context.Context, g Gateway) error {
	return c.destroy(ctx, c.gateway(ctx, g))
}

// targets is the names of the gateway's targets that nobody is deleting.
func (c *Client) targets(ctx context.Context, gateway string) ([]string, error) {
	var left []string
	pages := control.NewListGatewayTargetsPaginator(c.api, &control.ListGatewayTargetsInput{GatewayIdentifier: &gateway})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, item := range page.Items {
			if item.Status != types.TargetStatusDeleting {
				left = append(left, aws.ToString(item.Name))
			}
		}
	}
	return left, nil
}

// Target is the specification of a Lambda behind a gateway.
type Target struct {
	GatewayID             string                 `json:"gatewayId"`
	Name                  string                 `json:"name"`
	Description           string                 `json:"description,omitempty"`
	LambdaARN             string                 `json:"lambdaArn"`
	Tools                 []types.ToolDefinition `json:"tools"`
	AllowedRequestHeaders []string               `json:"allowedRequestHeaders,omitempty"`
}

// TargetState is what Apply answers for a gateway target.
type TargetState struct {
	ID string `json:"id"`
}

func (t Target) subject() string { return t.Name }

func (t Target) check() error {
	faults := []error{match("name", t.Name, names), required("gatewayId", t.GatewayID), required("lambdaArn", t.LambdaARN)}
	if len(t.Tools) == 0 {
		faults = append(faults, errors.New("tools: is required"))
	}
	for i, tool := range t.Tools {
		// Bedrock names a tool with at most 64 characters, and the model sees target + "___" + tool.
		// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolSpecification.html
		if full := t.Name + "___" + aws.ToString(tool.Name); len(full) > 64 {
			faults = append(faults, fmt.Errorf("tools[%d].name: with its target at most 64 characters: got %q", i, full))
		}
	}
	return errors.Join(faults...)
}

func (t Target) configuration() types.TargetConfiguration {
	return &types.TargetConfigurationMemberMcp{Value: &types.McpTargetConfigurationMemberLambda{Value: types.McpLambdaTargetConfiguration{
		LambdaArn: &t.LambdaARN, ToolSchema: &types.ToolSchemaMemberInlinePayload{Value: t.Tools},
	}}}
}

// asGateway is how the gateway signs for its targets: as its own role.
func asGateway() []types.CredentialProviderConfiguration {
	return []types.CredentialProviderConfiguration{{CredentialProviderType: types.CredentialProviderTypeGatewayIamRole}}
}

func (c *Client) target(ctx context.Context, t Target) kept {
	return kept{
		what: "target " + t.Name, dead: string(types.TargetStatusFailed),
		find: func() (string, error) {
			pages := control.NewListGatewayTargetsPaginator(c.api, &control.ListGatewayTargetsInput{GatewayIdentifier: &t.GatewayID})
			for pages.HasMorePages() {
				page, err := pages.NextPage(ctx)
				if err != nil {
					return "", err
				}
				for _, item := range page.Items {
					if aws.ToString(item.Name) == t.Name && item.Status != types.TargetStatusDeleting {
						return aws.ToString(item.TargetId), nil
					}
				}
			}
			return "", nil
		},
		create: func() (string, error) {
			made, err := c.api.CreateGatewayTarget(ctx, &control.CreateGatewayTargetInput{
				GatewayIdentifier: &t.GatewayID, Name: &t.Name, Description: optional(t.Description), TargetConfiguration: t.configuration(),
				CredentialProviderConfigurations: asGateway(), MetadataConfiguration: &types.MetadataConfiguration{AllowedRequestHeaders: t.AllowedRequestHeaders},
			})
			if err != nil {
				return "", err
			}
			return aws.ToString(made.TargetId), nil
		},
		look: func(id string) (string, []string, error) {
			got, err := c.api.GetGatewayTarget(ctx, &control.GetGatewayTargetInput{GatewayIdentifier: &t.GatewayID, TargetId: &id})
			if err != nil {
				return "", nil, err
			}
			return string(got.Status), got.StatusReasons, nil
		},
		remove: func(id string) error {
			_, err := c.api.DeleteGatewayTarget(ctx, &control.DeleteGatewayTargetInput{GatewayIdentifier: &t.GatewayID, TargetId: &id})
			return err
		},
	}
}

func (c *Client) applyTarget(ctx context.Context, t Target) (TargetState, error) {
	k := c.target(ctx, t)
	id, err := c.ensure(ctx, k)
	if err != nil {
		return TargetState{}, err
	}
	got, err := c.api.GetGatewayTarget(ctx, &control.GetGatewayTargetInput{GatewayIdentifier: &t.GatewayID, TargetId: &id})
	if err != nil {
		return TargetState{}, err
	}
	now := control.UpdateGatewayTargetInput{GatewayIdentifier: &t.GatewayID}
	carry(&now, got)
	want := now
	want.Description, want.TargetConfiguration, want.CredentialProviderConfigurations = optional(t.Description), t.configuration(), asGateway()
	metadata := types.MetadataConfiguration{}
	if got.MetadataConfiguration != nil {
		metadata = *got.MetadataConfiguration
	}
	metadata.AllowedRequestHeaders = t.AllowedRequestHeaders
	want.MetadataConfiguration = &metadata
	if !same(now, want) || failed(string(got.Status)) {
		if err := c.change(ctx, k, id, func() error { _, err := c.api.UpdateGatewayTarget(ctx, &want); return err }); err != nil {
			return TargetState{}, err
		}
	}
	return TargetState{ID: id}, nil
}

func (c *Client) deleteTarget(ctx context.Context, t Target) error {
	return c.destroy(ctx, c.target(ctx, t))
}
