package agentcore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	control "github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol/types"
)

// Runtime is the specification of an agent runtime: a container on the public network behind a JWT authorizer.
type Runtime struct {
	Name               string            `json:"name"` // letters, digits, _
	Description        string            `json:"description,omitempty"`
	RoleARN            string            `json:"roleArn"`
	ImageURI           string            `json:"imageUri"` // by digest, so that a new image is a new version
	Environment        map[string]string `json:"environment,omitempty"`
	Authorizer         Authorizer        `json:"authorizer"`
	RequestHeaders     []string          `json:"requestHeaders,omitempty"` // headers that reach the container
	IdleTimeoutSeconds int32             `json:"idleTimeoutSeconds"`       // 60 to 28800
	MaxLifetimeSeconds int32             `json:"maxLifetimeSeconds"`       // 60 to 28800
	Tags               map[string]string `json:"tags,omitempty"`
}

// RuntimeState is what Apply answers for a runtime.
type RuntimeState struct {
	ARN     string `json:"arn"`
	ID      string `json:"id"`
	Version string `json:"version"`
}

func (r Runtime) subject() string { return r.Name }

func (r Runtime) check() error {
	faults := []error{match("name", r.Name, runtimeNames), match("roleArn", r.RoleARN, roleARNs), r.Authorizer.check()}
	if !strings.Contains(r.ImageURI, "@sha256:") {
		faults = append(faults, fmt.Errorf("imageUri: must name a digest: got %q", r.ImageURI))
	}
	return errors.Join(append(faults, seconds("idleTimeoutSeconds", r.IdleTimeoutSeconds), seconds("maxLifetimeSeconds", r.MaxLifetimeSeconds))...)
}

func seconds(field string, value int32) error {
	if value >= 60 && value <= 28800 {
		return nil
	}
	return fmt.Errorf("%s: must be 60 to 28800: got %d", field, value)
}

func reasons(reason *string) []string {
	if reason == nil || *reason == "" {
		return nil
	}
	return []string{*reason}
}

// The members of a runtime as the service takes them.
func (r Runtime) artifact() types.AgentRuntimeArtifact {
	return &types.AgentRuntimeArtifactMemberContainerConfiguration{Value: types.ContainerConfiguration{ContainerUri: &r.ImageURI}}
}

func (r Runtime) network() *types.NetworkConfiguration {
	return &types.NetworkConfiguration{NetworkMode: types.NetworkModePublic}
}

func (r Runtime) lifecycle() *types.LifecycleConfiguration {
	return &types.LifecycleConfiguration{IdleRuntimeSessionTimeout: &r.IdleTimeoutSeconds, MaxLifetime: &r.MaxLifetimeSeconds}
}

func (r Runtime) protocol() *types.ProtocolConfiguration {
	return &types.ProtocolConfiguration{ServerProtocol: types.ServerProtocolHttp}
}

func (r Runtime) headers() types.RequestHeaderConfiguration {
	if len(r.RequestHeaders) == 0 {
		return nil
	}
	return &types.RequestHeaderConfigurationMemberRequestHeaderAllowlist{Value: r.RequestHeaders}
}

func (c *Client) runtime(ctx context.Context, r Runtime) kept {
	return kept{
		what: "runtime " + r.Name, dead: string(types.AgentRuntimeStatusCreateFailed),
		find: func() (string, error) {
			pages := control.NewListAgentRuntimesPaginator(c.api, &control.ListAgentRuntimesInput{})
			for pages.HasMorePages() {
				page, err := pages.NextPage(ctx)
				if err != nil {
					return "", err
				}
				for _, item := range page.AgentRuntimes {
					if aws.ToString(item.AgentRuntimeName) == r.Name && item.Status != types.AgentRuntimeStatusDeleting {
						return aws.ToString(item.AgentRuntimeId), nil
					}
				}
			}
			return "", nil
		},
		create: func() (string, error) {
			made, err := c.api.CreateAgentRuntime(ctx, &control.CreateAgentRuntimeInput{
				AgentRuntimeName: &r.Name, Description: optional(r.Description), RoleArn: &r.RoleARN, AgentRuntimeArtifact: r.artifact(),
				NetworkConfiguration: r.network(), AuthorizerConfiguration: r.Authorizer.configuration(), RequestHeaderConfiguration: r.headers(),
				ProtocolConfiguration: r.protocol(), LifecycleConfiguration: r.lifecycle(), EnvironmentVariables: r.Environment, Tags: r.Tags,
			})
			if err != nil {
				return "", err
			}
			return aws.ToString(made.AgentRuntimeId), nil
		},
		look: func(id string) (string, []string, error) {
			got, err := c.api.GetAgentRuntime(ctx, &control.GetAgentRuntimeInput{AgentRuntimeId: &id})
			if err != nil {
				return "", nil, err
			}
			return string(got.Status), reasons(got.FailureReason), nil
		},
		remove: func(id string) error {
			_, err := c.api.DeleteAgentRuntime(ctx, &control.DeleteAgentRuntimeInput{AgentRuntimeId: &id})
			return err
		},
	}
}

func (c *Client) applyRuntime(ctx context.Context, r Runtime) (RuntimeState, error) {
	k := c.runtime(ctx, r)
	id, err := c.ensure(ctx, k)
	if err != nil {
		return RuntimeState{}, err
	}
	got, err := c.api.GetAgentRuntime(ctx, &control.GetAgentRuntimeInput{AgentRuntimeId: &id})
	if err != nil {
		return RuntimeState{}, err
	}
	now := control.UpdateAgentRuntimeInput{}
	carry(&now, got)
	want := now
	want.AgentRuntimeArtifact, want.RoleArn, want.Description = r.artifact(), &r.RoleARN, optional(r.Description)
	want.AuthorizerConfiguration, want.RequestHeaderConfiguration = r.Authorizer.configuration(), r.headers()
	want.NetworkConfiguration, want.ProtocolConfiguration, want.LifecycleConfiguration = r.network(), r.protocol(), r.lifecycle()
	if !maps.Equal(got.EnvironmentVariables, r.Environment) {
		want.EnvironmentVariables = r.Environment
	}
	// Without it invocations fail, and only an update can say it.
	// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/security-credentials-management.html
	want.MetadataConfiguration = &types.RuntimeMetadataConfiguration{RequireMMDSV2: aws.Bool(true)}
	if !same(now, want) || failed(string(got.Status)) {
		if err := c.change(ctx, k, id, func() error { _, err := c.api.UpdateAgentRuntime(ctx, &want); return err }); err != nil {
			return RuntimeState{}, err
		}
		if got, err = c.api.GetAgentRuntime(ctx, &control.GetAgentRuntimeInput{AgentRuntimeId: &id}); err != nil {
			return RuntimeState{}, err
		}
	}
	if err := c.tag(ctx, aws.ToString(got.AgentRuntimeArn), r.Tags); err != nil {
		return RuntimeState{}, err
	}
	return RuntimeState{ARN: aws.ToString(got.AgentRuntimeArn), ID: id, Version: aws.ToString(got.AgentRuntimeVersion)}, nil
}

func (c *Client) deleteRuntime(ctx context.Context, r Runtime) error {
	return c.destroy(ctx, c.runtime(ctx, r))
}

// Endpoint is the specification of a named endpoint of a runtime, held at one version.
type Endpoint struct {
	RuntimeID   string            `json:"runtimeId"`
	Name        string            `json:"name"` // not DEFAULT: the service keeps that one
	Version     string            `json:"version"`
	Description string            `json:"description,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
}

// EndpointState is what Apply answers for an endpoint.
type EndpointState struct {
	ARN     string `json:"arn"`
	Version string `json:"version"`
}

func (e Endpoint) subject() string { return e.Name }

func (e Endpoint) check() error {
	faults := []error{match("name", e.Name, runtimeNames), required("runtimeId", e.RuntimeID), required("version", e.Version)}
	if e.Name == "DEFAULT" {
		faults = append(faults, errors.New("name: DEFAULT belongs to the service, which moves it to the newest version"))
	}
	return errors.Join(faults...)
}

func (c *Client) getEndpoint(ctx context.Context, e Endpoint) (*control.GetAgentRuntimeEndpointOutput, error) {
	return c.api.GetAgentRuntimeEndpoint(ctx, &control.GetAgentRuntimeEndpointInput{AgentRuntimeId: &e.RuntimeID, EndpointName: &e.Name})
}

// endpoint has the endpoint's name as its id: within its runtime it is one.
func (c *Client) endpoint(ctx context.Context, e Endpoint) kept {
	return kept{
		what: "endpoint " + e.Name, dead: string(types.AgentRuntimeEndpointStatusCreateFailed),
		find: func() (string, error) {
			got, err := c.getEndpoint(ctx, e)
			if notFound(err) || err == nil && got.Status == types.AgentRuntimeEndpointStatusDeleting {
				return "", nil
			}
			return e.Name, err
		},
		create: func() (string, error) {
			_, err := c.api.CreateAgentRuntimeEndpoint(ctx, &control.CreateAgentRuntimeEndpointInput{
				AgentRuntimeId: &e.RuntimeID, Name: &e.Name, AgentRuntimeVersion: &e.Version, Description: optional(e.Description), Tags: e.Tags,
			})
			return e.Name, err
		},
		look: func(string) (string, []string, error) {
			got, err := c.getEndpoint(ctx, e)
			if err != nil {
				return "", nil, err
			}
			return string(got.Status), reasons(got.FailureReason), nil
		},
		remove: func(string) error {
			_, err := c.api.DeleteAgentRuntimeEndpoint(ctx, &control.DeleteAgentRuntimeEndpointInput{AgentRuntimeId: &e.RuntimeID, EndpointName: &e.Name})
			return err
		},
	}
}

func (c *Client) applyEndpoint(ctx context.Context, e Endpoint) (EndpointState, error) {
	k := c.endpoint(ctx, e)
	id, err := c.ensure(ctx, k)
	if err != nil {
		return EndpointState{}, err
	}
	got, err := c.getEndpoint(ctx, e)
	if err != nil {
		return EndpointState{}, err
	}
	if aws.ToString(got.LiveVersion) != e.Version || aws.ToString(got.Description) != e.Description || failed(string(got.Status)) {
		err := c.change(ctx, k, id, func() error {
			_, err := c.api.UpdateAgentRuntimeEndpoint(ctx, &control.UpdateAgentRuntimeEndpointInput{
				AgentRuntimeId: &e.RuntimeID, EndpointName: &e.Name, AgentRuntimeVersion: &e.Version, Description: optional(e.Description),
			})
			return err
		})
		if err != nil {
			return EndpointState{}, err
		}
	}
	if err := c.tag(ctx, aws.ToString(got.AgentRuntimeEndpointArn), e.Tags); err != nil {
		return EndpointState{}, err
	}
	return EndpointState{ARN: aws.ToString(got.AgentRuntimeEndpointArn), Version: e.Version}, nil
}

func (c *Client) deleteEndpoint(ctx context.Context, e Endpoint) error {
	return c.destroy(ctx, c.endpoint(ctx, e))
}

// Provider is the specification of an OAuth2 credential provider on a Cognito client-credentials client. The client's
// secret is read from Cognito, never given.
type Provider struct {
	Name         string            `json:"name"`
	UserPoolID   string            `json:"userPoolId"`
	ClientID     string            `json:"clientId"`
	DiscoveryURL string            `json:"discoveryUrl"`
	Tags         map[string]string `json:"tags,omitempty"`
}

// ProviderState is what Apply answers for a credential provider.
type ProviderState struct {
	ARN string `json:"arn"`
}

func (p Provider) subject() string { return p.Name }

func (p Provider) check() error {
	return errors.Join(required("name", p.Name), required("userPoolId", p.UserPoolID),
		Authorizer{DiscoveryURL: p.DiscoveryURL, AllowedClients: []string{p.ClientID}}.check(), required("clientId", p.ClientID))
}

func (c *Client) applyProvider(ctx context.Context, p Provider) (ProviderState, error) {
	secret, err := c.secret(ctx, p.UserPoolID, p.ClientID)
	if err != nil {
		return ProviderState{}, fmt.Errorf("read the secret of app client %s: %w", p.ClientID, err)
	}
	config := &types.Oauth2ProviderConfigInputMemberCustomOauth2ProviderConfig{Value: types.CustomOauth2ProviderConfigInput{
		OauthDiscovery: &types.Oauth2DiscoveryMemberDiscoveryUrl{Value: p.DiscoveryURL}, ClientId: &p.ClientID, ClientSecret: &secret,
	}}
	arn := ""
	err = c.retry(ctx, "provider "+p.Name, func() error {
		_, err := c.api.GetOauth2CredentialProvider(ctx, &control.GetOauth2CredentialProviderInput{Name: &p.Name})
		if notFound(err) {
			created, err := c.api.CreateOauth2CredentialProvider(ctx, &control.CreateOauth2CredentialProviderInput{
				Name: &p.Name, CredentialProviderVendor: types.CredentialProviderVendorTypeCustomOauth2, Oauth2ProviderConfigInput: config, Tags: p.Tags,
			})
			if err == nil {
				arn = aws.ToString(created.CredentialProviderArn)
			}
			return err
		}
		if err != nil {
			return err
		}
		updated, err := c.api.UpdateOauth2CredentialProvider(ctx, &control.UpdateOauth2CredentialProviderInput{
			Name: &p.Name, CredentialProviderVendor: types.CredentialProviderVendorTypeCustomOauth2, Oauth2ProviderConfigInput: config,
		})
		if err == nil {
			arn = aws.ToString(updated.CredentialProviderArn)
		}
		return err
	})
	if err != nil {
		return ProviderState{}, err
	}
	return ProviderState{ARN: arn}, c.tag(ctx, arn, p.Tags)
}

func (c *Client) deleteProvider(ctx context.Context, p Provider) error {
	err := c.retry(ctx, "provider "+p.Name, func() error {
		_, err := c.api.DeleteOauth2CredentialProvider(ctx, &control.DeleteOauth2CredentialProviderInput{Name: &p.Name})
		return err
	})
	if notFound(err) {
		return nil
	}
	return err
}
