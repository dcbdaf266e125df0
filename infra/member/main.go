// The Pulumi program of a member account: each stack gives one environment its target role in one account.
//
// Configuration, all under central-ops-member: bridgeRoleArn, or environmentStack (organization/project/stack) whose
// exports hold it; targetRole, organizationId and externalId as in the environment's configuration; allowedAccountId;
// permissionsBoundary of the role.
package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"

	"github.com/central-ops/central-ops/infra/internal/settings"
	"github.com/central-ops/central-ops/infra/policy"
	"github.com/central-ops/central-ops/infra/targetrole"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	stackconfig "github.com/pulumi/pulumi/sdk/v3/go/pulumi/config"
)

var (
	roleARNs = settings.Pattern{Regexp: regexp.MustCompile(`^arn:[a-z-]+:iam::[0-9]{12}:role/[\w+=,.@/-]+$`), Rule: "must be the ARN of a role"}
	stacks   = settings.Pattern{Regexp: regexp.MustCompile(`^[\w.-]+/[\w.-]+/[\w.-]+$`), Rule: "must be <organization>/<project>/<stack>"}
)

// config is the configuration of one member stack.
type config struct {
	bridgeRoleARN, environmentStack            string // exactly one is set
	targetRole                                 string
	organizationID, externalID, allowedAccount string // "" means none
	permissionsBoundary                        string // of the target role; "" for none
}

func main() { pulumi.Run(program) }

// parse reads the configuration; get returns the text of central-ops-member:<key>, "" for what is not set; keys are those
// that are set. The error holds every fault, each with path, rule and value.
func parse(get func(key string) string, keys []string) (config, error) {
	var faults []error
	fault := func(key, rule string) {
		faults = append(faults, fmt.Errorf("central-ops-member:%s: %s: got %q", key, rule, get(key)))
	}
	var known []string
	read := func(key string, pattern settings.Pattern) string {
		known = append(known, key)
		v := get(key)
		if v != "" && !pattern.MatchString(v) {
			fault(key, pattern.Rule)
		}
		return v
	}
	c := config{
		bridgeRoleARN:       read("bridgeRoleArn", roleARNs),
		environmentStack:    read("environmentStack", stacks),
		targetRole:          cmp.Or(read("targetRole", settings.RoleName), "CentralOpsTargetRole"),
		organizationID:      read("organizationId", settings.OrganizationID),
		externalID:          read("externalId", settings.ExternalID),
		allowedAccount:      read("allowedAccountId", settings.AccountID),
		permissionsBoundary: read("permissionsBoundary", settings.Boundary),
	}
	switch {
	case c.bridgeRoleARN == "" && c.environmentStack == "":
		fault("bridgeRoleArn", "is required, or central-ops-member:environmentStack; try: pulumi -C ../.. stack output bridgeRoleArn")
	case c.bridgeRoleARN != "" && c.environmentStack != "":
		fault("environmentStack", "cannot be set together with central-ops-member:bridgeRoleArn")
	}
	return c, errors.Join(append(faults, settings.Unknown("central-ops-member", keys, known)...)...)
}

func program(ctx *pulumi.Context) error {
	keys, err := settings.Keys("central-ops-member")
	if err != nil {
		return err
	}
	c, err := parse(stackconfig.New(ctx, "central-ops-member").Get, keys)
	if err != nil {
		return fmt.Errorf("configuration of stack %s:\n%w", ctx.Stack(), err)
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
	if c.allowedAccount != "" && c.allowedAccount != who.AccountId {
		return fmt.Errorf("central-ops-member:allowedAccountId: must be the account of the credentials: got %q, they are of %s", c.allowedAccount, who.AccountId)
	}
	partition, err := aws.GetPartition(ctx, &aws.GetPartitionArgs{})
	if err != nil {
		return fmt.Errorf("which partition: %w", err)
	}
	bridge := pulumi.String(c.bridgeRoleARN).ToStringOutput()
	if c.environmentStack != "" {
		reference, err := pulumi.NewStackReference(ctx, c.environmentStack, nil)
		if err != nil {
			return err
		}
		bridge = reference.GetStringOutput(pulumi.String("bridgeRoleArn"))
	}
	role, err := targetrole.New(ctx, "target-role", &targetrole.Args{
		Name: c.targetRole, Partition: partition.Partition, OrganizationID: c.organizationID, ExternalID: c.externalID,
		BridgeRoleARN: bridge, Denies: denies, PermissionsBoundary: c.permissionsBoundary,
	})
	if err != nil {
		return err
	}
	ctx.Export("targetRoleArn", role.ARN)
	ctx.Export("accountId", pulumi.String(who.AccountId))
	return nil
}
