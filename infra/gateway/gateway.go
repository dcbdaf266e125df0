// Package gateway declares the AgentCore Gateway, its role, and the one target behind it.
package gateway

import (
	"encoding/json"
	"fmt"

	"github.com/central-ops/central-ops/infra/command"
	"github.com/central-ops/central-ops/infra/policy"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/iam"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// UserTokenHeader carries the person's token from the interceptor to the bridge.
const UserTokenHeader = "X-Amzn-Bedrock-AgentCore-Runtime-Custom-User-Token"

// TargetName is what every tool's name begins with, before the three underscores.
const TargetName = "bridge"

// Args of Gateway.
type Args struct {
	Prefix                       string
	Place                        policy.Place
	Tools                        []byte // services/bridge/tools.json
	FunctionARN, InterceptorARN  pulumi.StringInput
	DiscoveryURL, AllowedClients pulumi.Input // AllowedClients: a list
	Tags                         map[string]string
}

// Gateway is the component and its whole interface.
type Gateway struct {
	pulumi.ResourceState
	ID, ARN, URL, TargetID pulumi.StringOutput
}

// New declares a Gateway.
func New(ctx *pulumi.Context, name string, a *Args, opts ...pulumi.ResourceOption) (*Gateway, error) {
	var tools []any
	if err := json.Unmarshal(a.Tools, &tools); err != nil {
		return nil, fmt.Errorf("gateway %s: services/bridge/tools.json: %w", name, err)
	}
	c := &Gateway{}
	if err := ctx.RegisterComponentResource("central-ops:gateway:Gateway", name, c, opts...); err != nil {
		return nil, err
	}
	parent := pulumi.Parent(c)
	role, err := iam.NewRole(ctx, name, &iam.RoleArgs{
		Name: pulumi.String(a.Prefix + "-gateway"), AssumeRolePolicy: pulumi.String(policy.GatewayTrust(a.Place, a.Prefix).JSON()),
	}, parent)
	if err != nil {
		return nil, err
	}
	rights := pulumi.All(a.FunctionARN, a.InterceptorARN).ApplyT(func(arns []any) string {
		return policy.Gateway(arns[0].(string), arns[1].(string)).JSON()
	}).(pulumi.StringOutput)
	granted, err := iam.NewRolePolicy(ctx, name, &iam.RolePolicyArgs{Name: pulumi.String("call"), Role: role.Name, Policy: rights}, parent)
	if err != nil {
		return nil, err
	}
	g, err := command.New(ctx, name, &command.Args{Kind: "gateway", Place: a.Place, Identity: []string{a.Prefix}, Spec: pulumi.Map{
		"name": pulumi.String(a.Prefix), "description": pulumi.String("Central Ops tools"), "roleArn": role.Arn,
		"authorizer":     pulumi.Map{"discoveryUrl": a.DiscoveryURL, "allowedClients": a.AllowedClients},
		"interceptorArn": a.InterceptorARN, "supportedVersions": pulumi.ToStringArray([]string{"2025-06-18", "2025-11-25"}),
		"tags": pulumi.ToStringMap(a.Tags),
	}}, parent, pulumi.DependsOn([]pulumi.Resource{granted}))
	if err != nil {
		return nil, err
	}
	c.ID, c.ARN, c.URL = g.Field("id"), g.Field("arn"), g.Field("url")
	t, err := command.New(ctx, name+"-"+TargetName, &command.Args{Kind: "target", Place: a.Place, Identity: []string{a.Prefix, TargetName}, Spec: pulumi.Map{
		"gatewayId": c.ID, "name": pulumi.String(TargetName), "lambdaArn": a.FunctionARN, "tools": pulumi.Any(tools),
		"allowedRequestHeaders": pulumi.ToStringArray([]string{UserTokenHeader, "traceparent"}),
	}}, parent, pulumi.DependsOn([]pulumi.Resource{granted}))
	if err != nil {
		return nil, err
	}
	c.TargetID = t.Field("id")
	return c, ctx.RegisterResourceOutputs(c, pulumi.Map{"id": c.ID, "arn": c.ARN, "url": c.URL, "targetId": c.TargetID})
}
