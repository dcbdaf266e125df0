// Package runtime declares the agent: its image repository, its image, its role, the AgentCore Runtime, and in workload
// mode the credential provider that its machine tokens come from.
package runtime

import (
	"github.com/central-ops/central-ops/infra/command"
	"github.com/central-ops/central-ops/infra/policy"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/cloudwatch"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ecr"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/iam"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Args of Runtime.
type Args struct {
	Prefix, Name                           string // Name is Prefix in the Runtime's alphabet: no hyphens
	Place                                  policy.Place
	Binary, Digest                         string // the agent's binary, relative to infra, and the digest of its image
	Model, GuardrailID, GuardrailVersion   string
	GatewayAuth, Scope                     string
	GatewayURL                             pulumi.StringInput
	Issuer, DiscoveryURL, ClientID, PoolID pulumi.StringInput
	MachineClientID                        pulumi.StringInput
	DeletionProtection                     bool
	RetentionDays                          int
	Traces                                 string // OTLP endpoint of spans; "" for none
	Tags                                   map[string]string
}

// Endpoint is the Runtime's named endpoint. It moves to a version only when that is ready.
const Endpoint = "live"

// Runtime is the component and its whole interface.
type Runtime struct {
	pulumi.ResourceState
	ARN, ID, Version, EndpointARN, ImageURI pulumi.StringOutput
}

// New declares a Runtime.
func New(ctx *pulumi.Context, name string, a *Args, opts ...pulumi.ResourceOption) (*Runtime, error) {
	c := &Runtime{}
	if err := ctx.RegisterComponentResource("central-ops:runtime:Runtime", name, c, opts...); err != nil {
		return nil, err
	}
	parent := pulumi.Parent(c)
	repository, err := ecr.NewRepository(ctx, name, &ecr.RepositoryArgs{
		Name: pulumi.String(a.Prefix + "-agent"), ImageTagMutability: pulumi.String("IMMUTABLE"), ForceDelete: pulumi.Bool(!a.DeletionProtection),
		ImageScanningConfiguration: &ecr.RepositoryImageScanningConfigurationArgs{ScanOnPush: pulumi.Bool(true)},
		EncryptionConfigurations:   ecr.RepositoryEncryptionConfigurationArray{&ecr.RepositoryEncryptionConfigurationArgs{EncryptionType: pulumi.String("AES256")}},
	}, parent)
	if err != nil {
		return nil, err
	}
	if _, err := ecr.NewLifecyclePolicy(ctx, name, &ecr.LifecyclePolicyArgs{Repository: repository.Name, Policy: pulumi.String(
		`{"rules":[{"rulePriority":1,"description":"keep the last 20 images","selection":{"tagStatus":"any","countType":"imageCountMoreThan","countNumber":20},"action":{"type":"expire"}}]}`)}, parent); err != nil {
		return nil, err
	}
	image, err := command.New(ctx, name+"-image", &command.Args{Kind: "image", Place: a.Place, Identity: []string{a.Prefix + "-agent"}, Spec: pulumi.Map{
		"repository": repository.RepositoryUrl, "binary": pulumi.String(a.Binary), "digest": pulumi.String(a.Digest),
	}}, parent)
	if err != nil {
		return nil, err
	}
	c.ImageURI = image.Field("uri")
	provider := ""
	env := pulumi.StringMap{
		"AWS_REGION":  pulumi.String(a.Place.Region), // no document says that AgentCore sets it
		"GATEWAY_URL": a.GatewayURL, "GATEWAY_AUTH": pulumi.String(a.GatewayAuth), "MODEL_ID": pulumi.String(a.Model),
		"TOKEN_ISSUER": a.Issuer, "TOKEN_CLIENT_IDS": a.ClientID, "DISABLE_ADOT_OBSERVABILITY": pulumi.String("true"),
	}
	if a.GuardrailID != "" {
		env["GUARDRAIL_ID"], env["GUARDRAIL_VERSION"] = pulumi.String(a.GuardrailID), pulumi.String(a.GuardrailVersion)
	}
	if a.Traces != "" {
		env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"], env["OTEL_SERVICE_NAME"] = pulumi.String(a.Traces), pulumi.String(a.Prefix+"-agent")
	}
	var before []pulumi.Resource
	if a.GatewayAuth == "workload" {
		provider = a.Prefix
		env["OAUTH_PROVIDER_NAME"], env["OAUTH_SCOPES"] = pulumi.String(provider), pulumi.String(a.Scope)
		p, err := command.New(ctx, name+"-provider", &command.Args{Kind: "provider", Place: a.Place, Identity: []string{provider}, Spec: pulumi.Map{
			"name": pulumi.String(provider), "userPoolId": a.PoolID, "clientId": a.MachineClientID, "discoveryUrl": a.DiscoveryURL, "tags": pulumi.ToStringMap(a.Tags),
		}}, parent)
		if err != nil {
			return nil, err
		}
		before = append(before, p)
	}
	role, err := iam.NewRole(ctx, name, &iam.RoleArgs{Name: pulumi.String(a.Prefix + "-runtime"), AssumeRolePolicy: pulumi.String(policy.RuntimeTrust(a.Place).JSON())}, parent)
	if err != nil {
		return nil, err
	}
	granted, err := iam.NewRolePolicy(ctx, name, &iam.RolePolicyArgs{Name: pulumi.String("run"), Role: role.Name, Policy: pulumi.String(policy.Runtime(a.Place, policy.RuntimeArgs{
		RepositoryARN: a.Place.ARN("ecr", "repository/"+a.Prefix+"-agent"), Model: a.Model, Guardrail: a.GuardrailID, Provider: provider, Runtime: a.Name,
	}).JSON())}, parent)
	if err != nil {
		return nil, err
	}
	r, err := command.New(ctx, name, &command.Args{Kind: "runtime", Place: a.Place, Identity: []string{a.Name}, Spec: pulumi.Map{
		"name": pulumi.String(a.Name), "description": pulumi.String("Central Ops agent"), "roleArn": role.Arn, "imageUri": c.ImageURI, "environment": env,
		"authorizer":     pulumi.Map{"discoveryUrl": a.DiscoveryURL, "allowedClients": pulumi.StringArray{a.ClientID}},
		"requestHeaders": pulumi.ToStringArray([]string{"Authorization"}), "idleTimeoutSeconds": pulumi.Int(900), "maxLifetimeSeconds": pulumi.Int(28800),
		"tags": pulumi.ToStringMap(a.Tags),
	}}, parent, pulumi.DependsOn(append(before, granted)))
	if err != nil {
		return nil, err
	}
	c.ARN, c.ID, c.Version = r.Field("arn"), r.Field("id"), r.Field("version")
	// AgentCore makes the group at the first call if it is not there, and then keeps it for ever.
	log, err := cloudwatch.NewLogGroup(ctx, name+"-"+Endpoint, &cloudwatch.LogGroupArgs{
		Name: pulumi.Sprintf("/aws/bedrock-agentcore/runtimes/%s-%s", c.ID, Endpoint), RetentionInDays: pulumi.Int(a.RetentionDays),
	}, parent)
	if err != nil {
		return nil, err
	}
	e, err := command.New(ctx, name+"-endpoint", &command.Args{Kind: "endpoint", Place: a.Place, Identity: []string{a.Name, Endpoint}, Spec: pulumi.Map{
		"runtimeId": c.ID, "name": pulumi.String(Endpoint), "version": c.Version, "description": pulumi.String("what people call"),
		"tags": pulumi.ToStringMap(a.Tags),
	}}, parent, pulumi.DependsOn([]pulumi.Resource{log}))
	if err != nil {
		return nil, err
	}
	c.EndpointARN = e.Field("arn")
	return c, ctx.RegisterResourceOutputs(c, pulumi.Map{"arn": c.ARN, "version": c.Version, "imageUri": c.ImageURI})
}
