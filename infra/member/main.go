// The Pulumi program of a member account: each stack gives one environment its target role in one account.
//
// Configuration, all under central-ops-member: bridgeRoleArn, or environmentStack (organization/project/stack) whose
// exports hold it; targetRole, organizationId and externalId as in the environment's configuration; allowedAccountId.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/central-ops/central-ops/infra/policy"
	"github.com/central-ops/central-ops/infra/targetrole"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/config"
)

var (
	roleARNs      = regexp.MustCompile(`^arn:[a-z-]+:iam::[0-9]{12}:role/[\w+=,.@/-]+$`)
	stacks        = regexp.MustCompile(`^[\w.-]+/[\w.-]+/[\w.-]+$`)
	roleNames     = regexp.MustCompile(`^[\w+=,.@-]{1,57}$`) // "-deny-9" has to fit behind it in 64 characters
	organizations = regexp.MustCompile(`^o-[a-z0-9]{10,32}$`)
	externalIDs   = regexp.MustCompile(`^[\w+=,.@:/-]{2,1000}$`)
	accountIDs    = regexp.MustCompile(`^[0-9]{12}$`)
)

// settings are the configuration of one member stack.
type settings struct {
	bridgeRoleARN, environmentStack            string // exactly one is set
	targetRole                                 string
	organizationID, externalID, allowedAccount string // "" means none
}

func main() { pulumi.Run(program) }

// parse reads the configuration; get returns the text of central-ops-member:<key>, "" for what is not set; keys are those
// that are set. The error holds every fault, each with path, rule and value.
func parse(get func(key string) string, keys []string) (settings, error) {
	var faults []error
	fault := func(key, rule string) {
		faults = append(faults, fmt.Errorf("central-ops-member:%s: %s: got %q", key, rule, get(key)))
	}
	var known []string
	read := func(key string, pattern *regexp.Regexp, rule string) string {
		known = append(known, key)
		v := get(key)
		if v != "" && !pattern.MatchString(v) {
			fault(key, rule)
		}
		return v
	}
	s := settings{
		bridgeRoleARN:    read("bridgeRoleArn", roleARNs, "must be the ARN of a role"),
		environmentStack: read("environmentStack", stacks, "must be <organization>/<project>/<stack>"),
		targetRole:       read("targetRole", roleNames, "must have 1 to 57 letters, digits or any of _+=,.@-"),
		organizationID:   read("organizationId", organizations, "must look like o-a1b2c3d4e5"),
		externalID:       read("externalId", externalIDs, "must have 2 to 1000 letters, digits or any of _+=,.@:/-"),
		allowedAccount:   read("allowedAccountId", accountIDs, "must have 12 digits"),
	}
	switch {
	case s.bridgeRoleARN == "" && s.environmentStack == "":
		fault("bridgeRoleArn", "is required, or central-ops-member:environmentStack; try: pulumi -C ../.. stack output bridgeRoleArn")
	case s.bridgeRoleARN != "" && s.environmentStack != "":
		fault("environmentStack", "cannot be set together with central-ops-member:bridgeRoleArn")
	}
	slices.Sort(known)
	for _, key := range keys {
		if !slices.Contains(known, key) { // a slip would leave a default in place without a word
			faults = append(faults, fmt.Errorf("central-ops-member:%s: is no key; known: %s", key, strings.Join(known, ", ")))
		}
	}
	if s.targetRole == "" {
		s.targetRole = "CentralOpsTargetRole"
	}
	return s, errors.Join(faults...)
}

// keysOf is the keys of this project that the stack's configuration sets, in order. The SDK reads them by name only; it has
// them from the variable that is read here.
func keysOf() ([]string, error) {
	all := map[string]string{}
	if text := os.Getenv(pulumi.EnvConfig); text != "" {
		if err := json.Unmarshal([]byte(text), &all); err != nil {
			return nil, fmt.Errorf("read %s: %w", pulumi.EnvConfig, err)
		}
	}
	var keys []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if key, ok := strings.CutPrefix(name, "central-ops-member:"); ok {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

func program(ctx *pulumi.Context) error {
	keys, err := keysOf()
	if err != nil {
		return err
	}
	s, err := parse(config.New(ctx, "central-ops-member").Get, keys)
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
	if s.allowedAccount != "" && s.allowedAccount != who.AccountId {
		return fmt.Errorf("central-ops-member:allowedAccountId: must be the account of the credentials: got %q, they are of %s", s.allowedAccount, who.AccountId)
	}
	partition, err := aws.GetPartition(ctx, &aws.GetPartitionArgs{})
	if err != nil {
		return fmt.Errorf("which partition: %w", err)
	}
	bridge := pulumi.String(s.bridgeRoleARN).ToStringOutput()
	if s.environmentStack != "" {
		reference, err := pulumi.NewStackReference(ctx, s.environmentStack, nil)
		if err != nil {
			return err
		}
		bridge = reference.GetStringOutput(pulumi.String("bridgeRoleArn"))
	}
	role, err := targetrole.New(ctx, "target-role", &targetrole.Args{
		Name: s.targetRole, Partition: partition.Partition, OrganizationID: s.organizationID, ExternalID: s.externalID,
		BridgeRoleARN: bridge, Denies: denies,
	})
	if err != nil {
		return err
	}
	ctx.Export("targetRoleArn", role.ARN)
	ctx.Export("accountId", pulumi.String(who.AccountId))
	return nil
}
