package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/central-ops/central-ops/infra/bridge"
	"github.com/central-ops/central-ops/infra/gateway"
	"github.com/central-ops/central-ops/infra/identity"
	"github.com/central-ops/central-ops/infra/internal/build"
	"github.com/central-ops/central-ops/infra/internal/image"
	"github.com/central-ops/central-ops/infra/internal/settings"
	"github.com/central-ops/central-ops/infra/observability"
	"github.com/central-ops/central-ops/infra/policy"
	"github.com/central-ops/central-ops/infra/runtime"
	"github.com/central-ops/central-ops/infra/targetrole"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/config"
)

// artifacts is what the program builds before it declares anything. Paths are relative to infra, where Pulumi runs both
// the program and the commands, so that they are the same on every machine.
type artifacts struct {
	bridgeZip, interceptorZip string
	agent, digest             string
	tools                     []byte
	denies                    policy.Denies
}

const out = "../build/deploy"

func program(ctx *pulumi.Context) error {
	own, provider := config.New(ctx, "central-ops"), config.New(ctx, "aws")
	keys, err := settings.Keys("central-ops")
	if err != nil {
		return err
	}
	c, err := ParseConfig(own.Get, keys, provider.Get("region"), readFromRoot)
	if err != nil {
		return fmt.Errorf("configuration of stack %s:\n%w", ctx.Stack(), err)
	}
	made, err := buildAll(ctx)
	if err != nil {
		return err
	}
	return declare(ctx, c, made)
}

// readFromRoot reads a file that the configuration names: relative to the folder of Pulumi.yaml.
func readFromRoot(name string) ([]byte, error) {
	if !filepath.IsAbs(name) {
		name = filepath.Join("..", name)
	}
	return os.ReadFile(name)
}

// buildAll compiles the services and computes the image's digest.
func buildAll(ctx *pulumi.Context) (artifacts, error) {
	a := artifacts{agent: out + "/agent", bridgeZip: out + "/bridge.zip", interceptorZip: out + "/interceptor.zip"}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return a, fmt.Errorf("build: %w", err)
	}
	target, err := filepath.Abs(out)
	if err != nil {
		return a, fmt.Errorf("build: %w", err)
	}
	for _, name := range []string{"bridge", "interceptor"} {
		if err := build.Binary(ctx.Context(), "../services/bridge", "./cmd/"+name, filepath.Join(target, name), "lambda.norpc"); err != nil {
			return a, err
		}
		if err := build.Zip(filepath.Join(target, name), filepath.Join(target, name+".zip")); err != nil {
			return a, err
		}
	}
	if err := build.Binary(ctx.Context(), "../services/agent", "./cmd/agent", filepath.Join(target, "agent"), ""); err != nil {
		return a, err
	}
	img, err := image.Build(a.agent)
	if err != nil {
		return a, err
	}
	digest, err := img.Digest()
	if err != nil {
		return a, fmt.Errorf("build image: %w", err)
	}
	a.digest = digest.String()
	if a.tools, err = os.ReadFile("../services/bridge/tools.json"); err != nil {
		return a, fmt.Errorf("read tools: %w", err)
	}
	a.denies, err = readDenies()
	return a, err
}

func readDenies() (policy.Denies, error) {
	var denies policy.Denies
	text, err := os.ReadFile("../services/bridge/target-role-denies.json")
	if err != nil {
		return denies, fmt.Errorf("read denies: %w", err)
	}
	if err := json.Unmarshal(text, &denies); err != nil {
		return denies, fmt.Errorf("read denies: %w", err)
	}
	return denies, nil
}

// declare wires the components of one environment and exports what clients and tests read.
func declare(ctx *pulumi.Context, c Config, made artifacts) error {
	who, err := aws.GetCallerIdentity(ctx, &aws.GetCallerIdentityArgs{})
	if err != nil {
		return fmt.Errorf("who deploys: %w", err)
	}
	if c.AllowedAccount != "" && who.AccountId != c.AllowedAccount {
		return fmt.Errorf("central-ops:allowedAccountId: must be the account of the credentials: got %s, they are of %s; try: AWS_PROFILE=<profile of %s> pulumi up",
			quote(c.AllowedAccount), who.AccountId, c.AllowedAccount)
	}
	for _, account := range c.Accounts {
		if account.Role == "central" && account.ID != who.AccountId {
			return fmt.Errorf("central-ops:accounts: the account with role central must be the one that is deployed to: got %s, deploying to %s", quote(account.ID), who.AccountId)
		}
	}
	region, err := aws.GetRegion(ctx, &aws.GetRegionArgs{})
	if err != nil {
		return fmt.Errorf("which Region: %w", err)
	}
	if region.Name != c.Region {
		return fmt.Errorf("aws:region: must be the Region that the AWS provider uses: got %s, it uses %s; try: pulumi config set aws:region %s", quote(c.Region), region.Name, region.Name)
	}
	partition, err := aws.GetPartition(ctx, &aws.GetPartitionArgs{})
	if err != nil {
		return fmt.Errorf("which partition: %w", err)
	}
	place := policy.Place{Partition: partition.Partition, Region: c.Region, Account: who.AccountId}
	prefix := "central-ops-" + c.Environment
	tags := map[string]string{"central-ops:environment": c.Environment}
	maps.Copy(tags, c.Tags)
	if err := everywhere(ctx, tags, c.PermissionsBoundary); err != nil {
		return err
	}

	traces := "" // https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch-OTLPEndpoint.html
	if c.Traces {
		traces = "https://xray." + c.Region + ".amazonaws.com/v1/traces"
	}
	people, err := identity.New(ctx, "identity", &identity.Args{
		Prefix: prefix, Account: place.Account, Region: c.Region, MFA: c.MFA, DeletionProtection: c.DeletionProtection,
		Groups: slices.Sorted(maps.Keys(c.Access)), CallbackURLs: c.CallbackURLs, Workload: c.GatewayAuth == "workload",
	})
	if err != nil {
		return err
	}
	var accounts []bridge.Account
	for _, a := range c.Accounts {
		accounts = append(accounts, bridge.Account{ID: a.ID, Name: a.Name, Environment: a.Environment, Tags: a.Tags})
	}
	b, err := bridge.New(ctx, "bridge", &bridge.Args{
		Prefix: prefix, Environment: c.Environment, Place: place, BridgeZip: made.bridgeZip, InterceptorZip: made.interceptorZip,
		Accounts: accounts, AccessPolicy: c.Cedar(), TargetRole: c.TargetRole, ExternalID: c.ExternalID, OrganizationID: c.OrganizationID,
		MCPEndpoint: c.MCPEndpoint, RetentionDays: c.RetentionDays, MemoryMB: c.BridgeMemory, ProvisionedConcurrency: c.ProvisionedConcurrency,
		DeletionProtection: c.DeletionProtection, Issuer: people.Issuer, ClientIDs: people.ClientID, Traces: traces,
	})
	if err != nil {
		return err
	}
	callers := pulumi.StringArray{people.ClientID}
	if c.GatewayAuth == "workload" {
		callers = pulumi.StringArray{people.MachineClientID}
	}
	g, err := gateway.New(ctx, "gateway", &gateway.Args{
		Prefix: prefix, Place: place, Tools: made.tools, FunctionARN: b.FunctionARN, InterceptorARN: b.InterceptorARN,
		DiscoveryURL: people.DiscoveryURL, AllowedClients: callers, Tags: tags,
	})
	if err != nil {
		return err
	}
	guardrail, version, _ := strings.Cut(c.Guardrail, ":")
	r, err := runtime.New(ctx, "runtime", &runtime.Args{
		Prefix: prefix, Name: strings.ReplaceAll(prefix, "-", "_"), Place: place, Binary: made.agent, Digest: made.digest,
		Model: c.Model, GuardrailID: guardrail, GuardrailVersion: version, GatewayAuth: c.GatewayAuth, Scope: identity.Scope(prefix),
		GatewayURL: g.URL, Issuer: people.Issuer, DiscoveryURL: people.DiscoveryURL, ClientID: people.ClientID, PoolID: people.PoolID,
		MachineClientID: people.MachineClientID, DeletionProtection: c.DeletionProtection, RetentionDays: c.RetentionDays,
		Traces: traces, Tags: tags,
	})
	if err != nil {
		return err
	}
	if _, err := observability.New(ctx, "observability", &observability.Args{
		Prefix: prefix, Place: place, BridgeFunction: b.FunctionName, BridgeLogGroup: b.LogGroup, GatewayARN: g.ARN, RuntimeARN: r.ARN,
		Model: c.Model, DailyTokens: c.DailyTokens, MonthlyBudgetUSD: c.MonthlyBudgetUSD, Email: c.AlarmEmail, RetentionDays: c.RetentionDays, GatewayLogs: c.GatewayLogs,
	}, pulumi.DependsOn([]pulumi.Resource{b})); err != nil {
		return err
	}
	if len(c.OrganizationalUnits) > 0 {
		if err := targetrole.NewStackSet(ctx, "target-role", prefix+"-target-role", c.Region, c.StackSetCaller, c.OrganizationalUnits, &targetrole.Args{
			Name: c.TargetRole, Partition: place.Partition, OrganizationID: c.OrganizationID, ExternalID: c.ExternalID,
			BridgeRoleARN: b.RoleARN, Denies: made.denies,
		}); err != nil {
			return err
		}
	}
	for name, value := range map[string]pulumi.Input{
		"environment":      pulumi.String(c.Environment),
		"region":           pulumi.String(c.Region),
		"userPoolId":       people.PoolID,
		"userPoolClientId": people.ClientID,
		"discoveryUrl":     people.DiscoveryURL,
		"hostedUiUrl":      people.HostedUI,
		"runtimeUrl":       pulumi.String("https://bedrock-agentcore." + c.Region + ".amazonaws.com"),
		"runtimeArn":       r.ARN,
		"runtimeQualifier": pulumi.String(runtime.Endpoint),
		"imageUri":         r.ImageURI,
		"gatewayId":        g.ID,
		"gatewayArn":       g.ARN,
		"gatewayUrl":       g.URL,
		"gatewayAuth":      pulumi.String(c.GatewayAuth),
		"mcpEndpoint":      pulumi.String(c.MCPEndpoint),
		"bridgeRoleArn":    b.RoleARN,
		"targetRoleName":   pulumi.String(c.TargetRole),
	} {
		ctx.Export(name, value)
	}
	return nil
}
