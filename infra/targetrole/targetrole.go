// Package targetrole declares the role that the bridge reads one member account with, or a StackSet that makes the same
// role in every account of some organizational units.
package targetrole

import (
	"fmt"
	"maps"
	"slices"

	"github.com/central-ops/central-ops/infra/policy"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/cloudformation"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/iam"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Args of TargetRole. The trust policy can depend on what the environment stack made.
type Args struct {
	Name, Partition, OrganizationID, ExternalID string
	BridgeRoleARN                               pulumi.StringInput
	Denies                                      policy.Denies
	PermissionsBoundary                         string // ARN; "" for none. Of TargetRole: a StackSet's accounts have no policy in common
}

func (a *Args) target(bridge string) policy.Target {
	return policy.NewTarget(policy.TargetArgs{
		Partition: a.Partition, BridgeRoleARN: bridge, OrganizationID: a.OrganizationID, ExternalID: a.ExternalID, Denies: a.Denies,
	})
}

// TargetRole is the component and its whole interface.
type TargetRole struct {
	pulumi.ResourceState
	ARN pulumi.StringOutput
}

// New declares a TargetRole.
func New(ctx *pulumi.Context, name string, a *Args, opts ...pulumi.ResourceOption) (*TargetRole, error) {
	c := &TargetRole{}
	if err := ctx.RegisterComponentResource("central-ops:targetrole:TargetRole", name, c, opts...); err != nil {
		return nil, err
	}
	parent, fixed := pulumi.Parent(c), a.target("") // only the trust policy knows the bridge
	// Whoever finds these in an account has to see whose they are.
	tags := pulumi.StringMap{"central-ops:target-role": pulumi.String(a.Name)}
	var boundary pulumi.StringPtrInput
	if a.PermissionsBoundary != "" {
		boundary = pulumi.String(a.PermissionsBoundary)
	}
	role, err := iam.NewRole(ctx, name, &iam.RoleArgs{
		PermissionsBoundary: boundary,
		Name:                pulumi.String(a.Name), MaxSessionDuration: pulumi.Int(3600), Description: pulumi.String("Central Ops reads this account with it"), Tags: tags,
		AssumeRolePolicy: a.BridgeRoleARN.ToStringOutput().ApplyT(func(bridge string) string { return a.target(bridge).Trust.JSON() }).(pulumi.StringOutput),
	}, parent)
	if err != nil {
		return nil, err
	}
	var denies []pulumi.Resource
	for i, document := range fixed.Denies {
		p, err := iam.NewPolicy(ctx, fmt.Sprintf("%s-deny-%d", name, i+1), &iam.PolicyArgs{
			Name: pulumi.String(policy.DenyName(a.Name, i)), Policy: pulumi.String(document.JSON()), Tags: tags,
		}, parent)
		if err != nil {
			return nil, err
		}
		attached, err := iam.NewRolePolicyAttachment(ctx, fmt.Sprintf("%s-deny-%d", name, i+1), &iam.RolePolicyAttachmentArgs{Role: role.Name, PolicyArn: p.Arn}, parent)
		if err != nil {
			return nil, err
		}
		denies = append(denies, attached)
	}
	// What is denied comes before what is allowed, also while the stack is half deployed.
	after := pulumi.DependsOn(denies)
	for _, key := range slices.Sorted(maps.Keys(fixed.Inline)) {
		if _, err := iam.NewRolePolicy(ctx, name+"-"+key, &iam.RolePolicyArgs{
			Name: pulumi.String(key), Role: role.Name, Policy: pulumi.String(fixed.Inline[key].JSON()),
		}, parent, after); err != nil {
			return nil, err
		}
	}
	for i, arn := range fixed.Managed {
		if _, err := iam.NewRolePolicyAttachment(ctx, fmt.Sprintf("%s-managed-%d", name, i+1), &iam.RolePolicyAttachmentArgs{Role: role.Name, PolicyArn: pulumi.String(arn)}, parent, after); err != nil {
			return nil, err
		}
	}
	c.ARN = role.Arn
	return c, ctx.RegisterResourceOutputs(c, pulumi.Map{"arn": c.ARN})
}

// StackSet is the component of a service-managed StackSet.
type StackSet struct {
	pulumi.ResourceState
}

// NewStackSet declares a service-managed StackSet of the role: accounts that join a unit get it, those that leave lose it.
// It never reaches the organization's management account. IAM is global, so one Region is enough. caller is SELF for the
// management account, DELEGATED_ADMIN for another that may manage the organization's StackSets.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/stacksets-orgs-associate-stackset-with-org.html
func NewStackSet(ctx *pulumi.Context, name, fullName, region, caller string, organizationalUnits []string, a *Args, opts ...pulumi.ResourceOption) error {
	c := &StackSet{}
	if err := ctx.RegisterComponentResource("central-ops:targetrole:StackSet", name, c, opts...); err != nil {
		return err
	}
	parent := pulumi.Parent(c)
	set, err := cloudformation.NewStackSet(ctx, name, &cloudformation.StackSetArgs{
		Name: pulumi.String(fullName), PermissionModel: pulumi.String("SERVICE_MANAGED"), CallAs: pulumi.String(caller),
		Capabilities:   pulumi.ToStringArray([]string{"CAPABILITY_NAMED_IAM"}),
		AutoDeployment: &cloudformation.StackSetAutoDeploymentArgs{Enabled: pulumi.Bool(true), RetainStacksOnAccountRemoval: pulumi.Bool(false)},
		TemplateBody:   a.BridgeRoleARN.ToStringOutput().ApplyT(func(bridge string) string { return policy.Template(a.Name, a.target(bridge)) }).(pulumi.StringOutput),
	}, parent)
	if err != nil {
		return err
	}
	if _, err = cloudformation.NewStackSetInstance(ctx, name, &cloudformation.StackSetInstanceArgs{
		StackSetName: set.Name, Region: pulumi.String(region), CallAs: pulumi.String(caller),
		DeploymentTargets: &cloudformation.StackSetInstanceDeploymentTargetsArgs{OrganizationalUnitIds: pulumi.ToStringArray(organizationalUnits)},
	}, parent); err != nil {
		return err
	}
	return ctx.RegisterResourceOutputs(c, pulumi.Map{})
}
