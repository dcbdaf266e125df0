// The Pulumi program of a member account: each stack gives one environment its target role in one account.
//
// Configuration, all under central-ops-member: bridgeRoleArn, or environmentStack (organization/project/stack) whose
// exports hold it; targetRole, organizationId and externalId as in the environment's configuration; allowedAccountId.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"

	"github.com/central-ops/central-ops/infra/policy"
	"github.com/central-ops/central-ops/infra/targetrole"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/config"
)

var roleARN = regexp.MustCompile(`^arn:[a-z-]+:iam::[0-9]{12}:role/[\w+=,.@/-]+$`)

func main() { pulumi.Run(program) }

func program(ctx *pulumi.Context) error {
	c := config.New(ctx, "central-ops-member")
	arn, stack := c.Get("bridgeRoleArn"), c.Get("environmentStack")
	switch {
	case arn == "" && stack == "":
		return errors.New("central-ops-member:bridgeRoleArn: is required, or central-ops-member:environmentStack; try: pulumi -C ../.. stack output bridgeRoleArn")
	case arn != "" && stack != "":
		return errors.New("central-ops-member:bridgeRoleArn: cannot be set together with central-ops-member:environmentStack")
	case arn != "" && !roleARN.MatchString(arn):
		return fmt.Errorf("central-ops-member:bridgeRoleArn: must be the ARN of a role: got %q", arn)
	}
	text, err := os.ReadFile("../../services/bridge/target-role-denies.json")
	if err != nil {
		return fmt.Errorf("read denies: %w", err)
	}
	var denies policy.Denies
	if err := json.Unmarshal(text, &denies); err != nil {
		return fmt.Errorf("read denies: %w", err)
	}
	who, err := aws.GetCallerIdentity(ctx, &aws.GetCallerIdentityArgs{})
	if err != nil {
		return fmt.Errorf("who deploys: %w", err)
	}
	if allowed := c.Get("allowedAccountId"); allowed != "" && allowed != who.AccountId {
		return fmt.Errorf("central-ops-member:allowedAccountId: must be the account of the credentials: got %q, they are of %s", allowed, who.AccountId)
	}
	partition, err := aws.GetPartition(ctx, &aws.GetPartitionArgs{})
	if err != nil {
		return fmt.Errorf("which partition: %w", err)
	}
	bridge := pulumi.String(arn).ToStringOutput()
	if stack != "" {
		reference, err := pulumi.NewStackReference(ctx, stack, nil)
		if err != nil {
			return err
		}
		bridge = reference.GetStringOutput(pulumi.String("bridgeRoleArn"))
	}
	name := c.Get("targetRole")
	if name == "" {
		name = "CentralOpsTargetRole"
	}
	role, err := targetrole.New(ctx, "target-role", &targetrole.Args{
		Name: name, Partition: partition.Partition, OrganizationID: c.Get("organizationId"), ExternalID: c.Get("externalId"),
		BridgeRoleARN: bridge, Denies: denies,
	})
	if err != nil {
		return err
	}
	ctx.Export("targetRoleArn", role.ARN)
	ctx.Export("accountId", pulumi.String(who.AccountId))
	return nil
}
