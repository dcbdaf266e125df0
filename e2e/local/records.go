package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/central-ops/central-ops/e2e"
	"github.com/central-ops/central-ops/e2e/local/assumed"
	"github.com/central-ops/central-ops/e2e/local/controlplane"
	"github.com/central-ops/central-ops/e2e/local/gateway"
	"github.com/central-ops/central-ops/e2e/local/iampolicy"
	"github.com/central-ops/central-ops/e2e/local/moto"
	"github.com/central-ops/central-ops/e2e/local/oidc"
	"github.com/central-ops/central-ops/e2e/local/runtimefront"
)

// Records are the configuration of what the platform runs, each as its AWS service answers it.
type Records struct {
	Gateway   gateway.Record
	Targets   []gateway.Target
	Runtime   runtimefront.Record
	Endpoints []string // of the Runtime, besides DEFAULT
	Functions []Function
	Providers map[string]controlplane.Provider // credential providers by name
}

// Function is a Lambda function under its alias. Its name ends in -bridge or -interceptor, which says what binary it runs.
type Function struct {
	moto.Function
	Alias string // "" means that it is called without one
}

// Deployment is an environment that was deployed to an emulator and to the control plane's front, instead of the sample one
// that the platform makes itself. Its people and resources are there already. It is in CentralAccount, Region and OrganizationID.
type Deployment struct {
	Moto    *moto.Server // goes on running when the platform is closed
	Control *controlplane.Server
	Stack   e2e.Stack         // from the outputs; addresses are replaced by the platform's
	People  map[string]string // passwords by user name

	// For tests of what a wrong value does: they change what was deployed as the platform reads it.
	Alter     func(*Records)
	AlterRole func(*iampolicy.Role)
}

// mcpAddress is where AWS has the MCP Server.
const mcpAddress = "https://aws-mcp." + Region + ".api.aws/mcp"

var deploymentAssumptions = []assumed.Row{
	{
		ID:     "deployed-own-binaries",
		Where:  "local, Deployment",
		Assume: "the bridge, the interceptor and the agent that run are binaries of the same tree for this machine, not the deployed zip and image, which are for linux/arm64",
		Source: "there may be no arm64 processor here; infra's tests hold zip and image to the bytes of the binary",
		Check:  "make e2e STACK=<name>",
	},
	{
		ID:     "deployed-addresses",
		Where:  "local, Deployment",
		Assume: "what would be an address of AWS is one on this machine: values that name the deployed Gateway or the AWS MCP Server are translated, endpoints of the SDK and the JWKS URL of the deployed issuer are added to the variables",
		Source: "no AWS here",
		Check:  "make e2e STACK=<name>",
	},
}

// records returns the deployment's records, altered if a test wants that.
func (d *Deployment) records(ctx context.Context) (Records, error) {
	there, err := d.Control.Records()
	if err != nil {
		return Records{}, err
	}
	if len(there.Gateways) != 1 || len(there.Runtimes) != 1 {
		return Records{}, fmt.Errorf("read the deployment: want one gateway and one runtime, got %d and %d", len(there.Gateways), len(there.Runtimes))
	}
	r := Records{Providers: there.Providers}
	faults := []error{json.Unmarshal(there.Gateways[0].Resource, &r.Gateway), json.Unmarshal(there.Runtimes[0].Resource, &r.Runtime)}
	for _, child := range there.Gateways[0].Children {
		var target gateway.Target
		faults = append(faults, json.Unmarshal(child, &target))
		r.Targets = append(r.Targets, target)
	}
	for _, child := range there.Runtimes[0].Children {
		var endpoint struct{ Name, LiveVersion string }
		faults = append(faults, json.Unmarshal(child, &endpoint))
		if endpoint.LiveVersion != r.Runtime.Version { // the front keeps the newest version alone
			faults = append(faults, fmt.Errorf("endpoint %s is at version %s, the runtime at %s", endpoint.Name, endpoint.LiveVersion, r.Runtime.Version))
		}
		if endpoint.Name != "DEFAULT" {
			r.Endpoints = append(r.Endpoints, endpoint.Name)
		}
	}
	if err := errors.Join(faults...); err != nil {
		return Records{}, fmt.Errorf("read the deployment: %w", err)
	}
	functions := moto.Lambda{Endpoint: d.Moto.URL, Account: CentralAccount, Region: Region}
	for _, arn := range r.functionARNs() {
		parts := strings.Split(arn, ":") // arn:aws:lambda:<region>:<account>:function:<name>:<alias>
		if len(parts) != 8 {
			return Records{}, fmt.Errorf("read the deployment: function %s: has no alias", arn)
		}
		f, err := functions.Function(ctx, parts[6], parts[7])
		if err != nil {
			return Records{}, fmt.Errorf("read the deployment: %w", err)
		}
		r.Functions = append(r.Functions, Function{f, parts[7]})
	}
	if d.Alter != nil {
		d.Alter(&r)
	}
	return r, nil
}

// functionARNs are the functions that the gateway calls, sorted.
func (r Records) functionARNs() []string {
	var arns []string
	for _, i := range r.Gateway.Interceptors {
		arns = append(arns, i.Interceptor.Lambda.ARN)
	}
	for _, t := range r.Targets {
		if lambda := t.Configuration.MCP.Lambda; lambda != nil {
			arns = append(arns, lambda.ARN)
		}
	}
	slices.Sort(arns)
	return slices.Compact(arns)
}

// roles are the roles of the emulator, altered if a test of a deployment wants that.
type roles struct {
	moto.IAM
	alter func(*iampolicy.Role)
}

// Role is moto's.
func (r roles) Role(ctx context.Context, arn string) (iampolicy.Role, error) {
	role, err := r.IAM.Role(ctx, arn)
	if err == nil && r.alter != nil {
		r.alter(&role)
	}
	return role, err
}

// sample is the configuration of the environment that the platform makes itself.
func (p *Platform) sample(o Options, tools []byte) (Records, error) {
	accounts, err := json.Marshal(Accounts)
	if err != nil {
		return Records{}, err
	}
	issuer, people := oidc.Issuer(p.Seeded.UserPoolID), p.Seeded.ClientID
	caller, providers := people, map[string]controlplane.Provider{}
	agent := map[string]string{"AWS_REGION": Region, "GATEWAY_AUTH": o.GatewayAuth, "TOKEN_ISSUER": issuer, "TOKEN_CLIENT_IDS": people}
	if o.GatewayAuth == "workload" {
		caller = machineID
		provider := controlplane.Provider{ClientID: machineID, ClientSecret: p.machineSecret}
		provider.Discovery.URL = p.OIDC.DiscoveryURL(p.Seeded.UserPoolID)
		providers[providerName] = provider
		maps.Copy(agent, map[string]string{"OAUTH_PROVIDER_NAME": providerName, "OAUTH_SCOPES": gatewayScope})
	}
	const id = "central-ops-local-0123456789"
	gatewayURL := "https://" + id + ".gateway.bedrock-agentcore." + Region + ".amazonaws.com/mcp"
	agent["GATEWAY_URL"] = gatewayURL
	bridge := moto.Function{Name: bridgeFunction, Role: p.Seeded.BridgeRoleARN, Timeout: 30, MemorySize: 256}
	bridge.Environment.Variables = map[string]string{
		"TARGET_ACCOUNTS": string(accounts), "EXTERNAL_ID": ExternalID, "ENVIRONMENT": "dev", "ACCESS_POLICY": AccessPolicy,
		"SESSION_TABLE": "central-ops-sessions", "AWS_MCP_ENDPOINT": mcpAddress, "TOKEN_ISSUER": issuer, "TOKEN_CLIENT_IDS": people,
	}
	interceptor := moto.Function{Name: interceptorFunction, Role: p.Seeded.ServiceRoleARNs["interceptor"], Timeout: 5, MemorySize: 128}
	return Records{
		Gateway: gateway.Record{
			ID: id, Name: "central-ops-local", RoleARN: p.Seeded.ServiceRoleARNs["gateway"], URL: gatewayURL, AuthorizerType: "CUSTOM_JWT",
			AuthorizerConfiguration: gateway.AuthorizerConfiguration{CustomJWT: p.authorizer(caller)},
			ProtocolConfiguration:   gateway.ProtocolConfiguration{MCP: gateway.MCPConfiguration{SupportedVersions: []string{"2025-06-18", "2025-11-25"}}},
			Interceptors:            []gateway.Interceptor{gateway.NewRequestInterceptor(functionARN(interceptorFunction))},
		},
		Targets: []gateway.Target{gateway.NewLambdaTarget("LOCALTARGET", TargetName, functionARN(bridgeFunction), tools, UserHeader, "traceparent")},
		Runtime: runtimefront.Record{
			ID: "central_ops_local-0123456789", ARN: "arn:aws:bedrock-agentcore:" + Region + ":" + CentralAccount + ":runtime/central_ops_local-0123456789",
			Version: "1", RoleARN: p.Seeded.ServiceRoleARNs["agent"],
			AuthorizerConfiguration: runtimefront.AuthorizerConfiguration{CustomJWT: p.authorizer(people)},
			RequestHeaders:          runtimefront.RequestHeaderConfiguration{Allowlist: []string{"Authorization"}},
			Metadata:                runtimefront.MetadataConfiguration{RequireMMDSV2: true},
			Environment:             agent,
		},
		Functions: []Function{{Function: bridge}, {Function: interceptor}},
		Providers: providers,
	}, nil
}

func functionARN(name string) string {
	return "arn:aws:lambda:" + Region + ":" + CentralAccount + ":function:" + name
}

// may tells whether the policies of the role let a session of it do the action on all of the resources.
func (p *Platform) may(principalARN, action string, resources ...string) bool {
	account, name, found := strings.Cut(roleOf(principalARN), "/")
	if !found {
		return false
	}
	role, err := p.roles.Role(context.Background(), "arn:aws:iam::"+account+":role/"+name)
	if err != nil {
		return false
	}
	return !slices.ContainsFunc(resources, func(resource string) bool {
		decision, err := role.Identity("", iampolicy.Request{Action: action, Resource: resource, Context: iampolicy.Context{}})
		return err != nil || decision != iampolicy.Allowed
	})
}

// mayAskModel needs, for an inference profile, the right to the profile and to the model behind it.
// https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-prereq.html
func (p *Platform) mayAskModel(principalARN, action, model string) bool {
	base, resources := model, []string{}
	if geography, rest, found := strings.Cut(model, "."); found && slices.Contains([]string{"us", "eu", "au", "apac", "jp", "global"}, geography) {
		base = rest
		resources = append(resources, "arn:aws:bedrock:"+Region+":"+CentralAccount+":inference-profile/"+model)
	}
	return p.may(principalARN, action, append(resources, "arn:aws:bedrock:"+Region+"::foundation-model/"+base)...)
}

// mayUseProvider needs the right to the vault and the provider, and to the directory and the runtime's own identity.
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonbedrockagentcore.html
func (p *Platform) mayUseProvider(runtime string) func(principalARN, provider string) bool {
	return func(principalARN, provider string) bool {
		prefix := "arn:aws:bedrock-agentcore:" + Region + ":" + CentralAccount + ":"
		return p.may(principalARN, "bedrock-agentcore:GetResourceOauth2Token",
			prefix+"token-vault/default", prefix+"token-vault/default/oauth2credentialprovider/"+provider,
			prefix+"workload-identity-directory/default", prefix+"workload-identity-directory/default/workload-identity/"+runtime)
	}
}

// poolOf is the pool of an issuer or of a discovery URL.
func poolOf(address string) string {
	address = strings.TrimSuffix(strings.TrimSuffix(address, "/.well-known/openid-configuration"), "/")
	return address[strings.LastIndexByte(address, '/')+1:]
}

// translated returns the variables with an address of AWS replaced by the one that stands for it here.
func translated(variables, addresses map[string]string) map[string]string {
	out := maps.Clone(variables)
	if out == nil {
		out = map[string]string{}
	}
	for name, value := range out {
		if here, known := addresses[value]; known {
			out[name] = here
		}
	}
	return out
}
