// Package bridge declares the two Lambda functions between Gateway and accounts, and what they keep: the table of
// accounts, the table of MCP sessions and the access policy.
package bridge

import (
	"encoding/json"

	"github.com/central-ops/central-ops/infra/policy"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/cloudwatch"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/dynamodb"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/iam"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/lambda"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ssm"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Alias is the name under which the Gateway calls the functions.
const Alias = "live"

// Account is one item of the accounts table.
type Account struct {
	ID, Name, Environment string
	Tags                  map[string]string
}

// Args of Bridge.
type Args struct {
	Prefix, Environment    string
	Place                  policy.Place
	BridgeZip              string // path of the package
	InterceptorZip         string
	Accounts               []Account
	AccessPolicy           string // Cedar
	TargetRole, ExternalID string
	OrganizationID         string
	MCPEndpoint            string
	RetentionDays          int
	MemoryMB               int
	ProvisionedConcurrency int
	DeletionProtection     bool
	Issuer                 pulumi.StringInput
	ClientIDs              pulumi.StringInput // of people's tokens, by commas
	Traces                 string             // OTLP endpoint of spans; "" for none
}

// Bridge is the component and its whole interface.
type Bridge struct {
	pulumi.ResourceState
	FunctionARN     pulumi.StringOutput // with its alias
	InterceptorARN  pulumi.StringOutput // with its alias
	FunctionName    string
	InterceptorName string
	RoleARN         pulumi.StringOutput // what target roles trust
	LogGroup        string
}

// New declares a Bridge.
func New(ctx *pulumi.Context, name string, a *Args, opts ...pulumi.ResourceOption) (*Bridge, error) {
	c := &Bridge{FunctionName: a.Prefix + "-bridge", InterceptorName: a.Prefix + "-interceptor", LogGroup: "/aws/lambda/" + a.Prefix + "-bridge"}
	if err := ctx.RegisterComponentResource("central-ops:bridge:Bridge", name, c, opts...); err != nil {
		return nil, err
	}
	parent := pulumi.Parent(c)
	table := func(suffix, key string, ttl bool) (*dynamodb.Table, error) {
		args := &dynamodb.TableArgs{
			Name: pulumi.String(a.Prefix + "-" + suffix), BillingMode: pulumi.String("PAY_PER_REQUEST"), HashKey: pulumi.String(key),
			Attributes:                dynamodb.TableAttributeArray{&dynamodb.TableAttributeArgs{Name: pulumi.String(key), Type: pulumi.String("S")}},
			DeletionProtectionEnabled: pulumi.Bool(a.DeletionProtection),
			ServerSideEncryption:      &dynamodb.TableServerSideEncryptionArgs{Enabled: pulumi.Bool(true)},
		}
		if ttl {
			args.Ttl = &dynamodb.TableTtlArgs{AttributeName: pulumi.String("expires_at"), Enabled: pulumi.Bool(true)}
		}
		return dynamodb.NewTable(ctx, name+"-"+suffix, args, parent)
	}
	accounts, err := table("accounts", "id", false)
	if err != nil {
		return nil, err
	}
	ids := make([]string, 0, len(a.Accounts))
	for _, account := range a.Accounts {
		tags := map[string]any{}
		for key, value := range account.Tags {
			tags[key] = map[string]string{"S": value}
		}
		item, err := json.Marshal(map[string]any{
			"id": map[string]string{"S": account.ID}, "name": map[string]string{"S": account.Name},
			"environment": map[string]string{"S": account.Environment}, "tags": map[string]any{"M": tags},
		})
		if err != nil {
			return nil, err
		}
		if _, err := dynamodb.NewTableItem(ctx, name+"-account-"+account.ID, &dynamodb.TableItemArgs{
			TableName: accounts.Name, HashKey: pulumi.String("id"), Item: pulumi.String(item),
		}, parent); err != nil {
			return nil, err
		}
		ids = append(ids, account.ID)
	}
	sessions, err := table("sessions", "pk", true)
	if err != nil {
		return nil, err
	}
	access, err := ssm.NewParameter(ctx, name+"-access-policy", &ssm.ParameterArgs{
		Name: pulumi.String("/" + a.Prefix + "/access-policy"), Type: pulumi.String("String"), Tier: pulumi.String("Intelligent-Tiering"),
		Value: pulumi.String(a.AccessPolicy),
	}, parent)
	if err != nil {
		return nil, err
	}
	group := func(function string) (string, *cloudwatch.LogGroup, error) {
		g, err := cloudwatch.NewLogGroup(ctx, name+"-"+function, &cloudwatch.LogGroupArgs{
			Name: pulumi.String("/aws/lambda/" + function), RetentionInDays: pulumi.Int(a.RetentionDays),
		}, parent)
		return a.Place.ARN("logs", "log-group:/aws/lambda/"+function), g, err
	}
	bridgeLog, bridgeGroup, err := group(c.FunctionName)
	if err != nil {
		return nil, err
	}
	interceptorLog, interceptorGroup, err := group(c.InterceptorName)
	if err != nil {
		return nil, err
	}
	bridgeRights := policy.Bridge(a.Place, policy.BridgeArgs{
		LogGroupARN: bridgeLog, AccountsTable: a.Place.ARN("dynamodb", "table/"+a.Prefix+"-accounts"),
		SessionTable:    a.Place.ARN("dynamodb", "table/"+a.Prefix+"-sessions"),
		PolicyParameter: a.Place.ARN("ssm", "parameter/"+a.Prefix+"/access-policy"),
		TargetRole:      a.TargetRole, OrganizationID: a.OrganizationID, Accounts: ids, Traces: a.Traces != "",
	})
	function := func(suffix, zip string, rights policy.Document, seconds int, env pulumi.StringMap, log *cloudwatch.LogGroup) (pulumi.StringOutput, pulumi.StringOutput, error) {
		full, none := a.Prefix+"-"+suffix, pulumi.StringOutput{}
		role, err := iam.NewRole(ctx, name+"-"+suffix, &iam.RoleArgs{Name: pulumi.String(full), AssumeRolePolicy: pulumi.String(policy.LambdaTrust().JSON())}, parent)
		if err != nil {
			return none, none, err
		}
		granted, err := iam.NewRolePolicy(ctx, name+"-"+suffix, &iam.RolePolicyArgs{Name: pulumi.String("run"), Role: role.Name, Policy: pulumi.String(rights.JSON())}, parent)
		if err != nil {
			return none, none, err
		}
		var environment lambda.FunctionEnvironmentPtrInput
		if env != nil {
			environment = &lambda.FunctionEnvironmentArgs{Variables: env}
		}
		f, err := lambda.NewFunction(ctx, name+"-"+suffix, &lambda.FunctionArgs{
			Name: pulumi.String(full), Role: role.Arn, Runtime: pulumi.String("provided.al2023"), Handler: pulumi.String("bootstrap"),
			Architectures: pulumi.ToStringArray([]string{"arm64"}), Code: pulumi.NewFileArchive(zip), Publish: pulumi.Bool(true),
			MemorySize: pulumi.Int(a.MemoryMB), Timeout: pulumi.Int(seconds), Environment: environment,
		}, parent, pulumi.DependsOn([]pulumi.Resource{granted, log}))
		if err != nil {
			return none, none, err
		}
		alias, err := lambda.NewAlias(ctx, name+"-"+suffix, &lambda.AliasArgs{
			Name: pulumi.String(Alias), FunctionName: f.Name, FunctionVersion: f.Version,
		}, parent)
		if err != nil {
			return none, none, err
		}
		if a.ProvisionedConcurrency > 0 && suffix == "bridge" {
			if _, err := lambda.NewProvisionedConcurrencyConfig(ctx, name+"-"+suffix, &lambda.ProvisionedConcurrencyConfigArgs{
				FunctionName: f.Name, Qualifier: alias.Name, ProvisionedConcurrentExecutions: pulumi.Int(a.ProvisionedConcurrency),
			}, parent); err != nil {
				return none, none, err
			}
		}
		return alias.Arn, role.Arn, nil
	}
	env := pulumi.StringMap{
		"ACCOUNTS_TABLE": accounts.Name, "SESSION_TABLE": sessions.Name, "ACCESS_POLICY_PARAMETER": access.Name,
		"ENVIRONMENT": pulumi.String(a.Environment), "TARGET_ROLE_NAME": pulumi.String(a.TargetRole), "AWS_MCP_ENDPOINT": pulumi.String(a.MCPEndpoint),
		"TOKEN_ISSUER": a.Issuer, "TOKEN_CLIENT_IDS": a.ClientIDs,
	}
	if a.ExternalID != "" {
		env["EXTERNAL_ID"] = pulumi.String(a.ExternalID)
	}
	if a.Traces != "" {
		env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"], env["OTEL_SERVICE_NAME"] = pulumi.String(a.Traces), pulumi.String(c.FunctionName)
	}
	if c.FunctionARN, c.RoleARN, err = function("bridge", a.BridgeZip, bridgeRights, 30, env, bridgeGroup); err != nil {
		return nil, err
	}
	if c.InterceptorARN, _, err = function("interceptor", a.InterceptorZip, policy.Interceptor(interceptorLog), 5, nil, interceptorGroup); err != nil {
		return nil, err
	}
	return c, ctx.RegisterResourceOutputs(c, pulumi.Map{"functionArn": c.FunctionARN, "interceptorArn": c.InterceptorARN, "roleArn": c.RoleARN})
}
