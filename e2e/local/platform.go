// Package local is the whole of Central Ops on one machine: the real agent, bridge and interceptor binaries between
// stand-ins for the managed services that no machine can run, over moto for the AWS APIs of the sample accounts.
//
//	Runtime front ─▶ agent ─▶ Gateway ─▶ Lambda front ─▶ interceptor, bridge ─▶ STS front ─▶ moto
//	                   │                                                  └──▶ AWS MCP Server ─▶ boto3 ─▶ moto
//	                   └─▶ Bedrock stand-in
//
// No link is short-cut, and each checks what its model in AWS checks: JWTs against the pool's keys, SigV4 against what
// was issued, trust and permission policies as they stand in moto's IAM. Everything listens on 127.0.0.1, on ports
// that the system chooses, and ends with Close.
package local

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/central-ops/central-ops/e2e"
	"github.com/central-ops/central-ops/e2e/local/agentcoredata"
	"github.com/central-ops/central-ops/e2e/local/assumed"
	"github.com/central-ops/central-ops/e2e/local/awsfront"
	"github.com/central-ops/central-ops/e2e/local/awsmcp"
	"github.com/central-ops/central-ops/e2e/local/bedrock"
	"github.com/central-ops/central-ops/e2e/local/cognito"
	"github.com/central-ops/central-ops/e2e/local/controlplane"
	"github.com/central-ops/central-ops/e2e/local/gateway"
	"github.com/central-ops/central-ops/e2e/local/internal/loopback"
	"github.com/central-ops/central-ops/e2e/local/issued"
	"github.com/central-ops/central-ops/e2e/local/lambdafront"
	"github.com/central-ops/central-ops/e2e/local/moto"
	"github.com/central-ops/central-ops/e2e/local/oidc"
	"github.com/central-ops/central-ops/e2e/local/runtimefront"
	"github.com/central-ops/central-ops/e2e/local/seed"
	"github.com/central-ops/central-ops/e2e/local/stsfront"
	"github.com/central-ops/central-ops/e2e/local/trail"
)

// Names and numbers of the environment that the platform imitates.
const (
	Region         = "us-east-1"
	CentralAccount = "111111111111"
	OrganizationID = "o-centralops0"
	ExternalID     = "central-ops-local"
	TargetName     = "bridge" // of the gateway target: the model sees bridge___query
	UserHeader     = "X-Amzn-Bedrock-AgentCore-Runtime-Custom-User-Token"

	bridgeFunction      = "central-ops-bridge"
	interceptorFunction = "central-ops-interceptor"
	providerName        = "central-ops-gateway"
	gatewayScope        = "central-ops/invoke"
	maxSessions         = 50 // a session is a process of some 25 MB
	// roleLife is longer than anybody keeps the platform running; AWS would rotate the keys instead.
	roleLife = 12 * time.Hour
)

// Accounts are the sample accounts, in the shape of the bridge's TARGET_ACCOUNTS.
var Accounts = []Account{
	{ID: CentralAccount, Name: "Central", Environment: "shared", Tags: map[string]string{"team": "platform"}},
	{ID: "222222222222", Name: "Production", Environment: "prod", Tags: map[string]string{"team": "shop"}},
	{ID: "333333333333", Name: "Staging", Environment: "staging", Tags: map[string]string{"team": "shop"}},
}

// Account is an entry of TARGET_ACCOUNTS.
type Account struct {
	ID          string            `json:"id"`
	Name        string            `json:"name"`
	Environment string            `json:"environment"`
	Tags        map[string]string `json:"tags,omitempty"`
}

// AccessPolicy is who may ask what: ops everything, prod-readers and viewers one environment each.
const AccessPolicy = `@id("ops-everything")
permit(principal in Group::"ops", action == Action::"query", resource);

@id("prod-readers-prod")
permit(principal in Group::"prod-readers", action == Action::"query", resource)
when { resource.environment == "prod" };

@id("viewers-staging")
permit(principal in Group::"viewers", action == Action::"query", resource)
when { resource.environment == "staging" };
`

// groupOf is the group of each sample person.
var groupOf = map[string]string{"alice": "ops", "bob": "viewers", "carol": "prod-readers"}

// ModelKind says what answers the agent's Converse calls.
type ModelKind string

// The kinds of model.
const (
	Planner ModelKind = "planner" // offline rules
	OpenAI  ModelKind = "openai"  // an OpenAI-compatible server
	Bedrock ModelKind = "bedrock" // Amazon Bedrock itself
)

// Options say what to start. Binaries and Python are required.
type Options struct {
	Binaries string // folder with agent, bridge/bootstrap and interceptor/bootstrap
	Tools    string // path of the bridge's tools.json
	Python   string // interpreter that has the packages of requirements.txt

	Model         ModelKind // "" means Planner
	ModelName     string    // for OpenAI: the model to ask for
	ModelEndpoint string    // for OpenAI: base URL, ends in /v1
	ModelKey      string    // for OpenAI: bearer token; "" sends none
	ModelEnv      []string  // for Bedrock: AWS_* and HOME of the person who started the platform, KEY=value

	Deployment  *Deployment       // runs what was deployed; nil means the sample environment
	GatewayAuth string            // of the sample environment: user (the default) or workload
	LogDir      string            // gets one log file per part; "" drops the logs
	Trouble     io.Writer         // gets a line whenever the model can't be asked; nil drops it
	BridgeEnv   map[string]string // added to the bridge's variables, over the platform's own
	AgentEnv    map[string]string // added to the agent's variables, over the platform's own

	// For tests: what replaces the keys that the function or the agent is handed, the configuration of a stand-in, the model.
	BridgeKeys func(issued.Credential) issued.Credential
	AgentKeys  func(issued.Credential) issued.Credential
	MCP        func(*awsmcp.Config)
	Gateway    func(*gateway.Config, *gateway.Record, []gateway.Target)
	Runtime    func(*runtimefront.Config)
	Lambda     func(*lambdafront.Config)
	Answering  bedrock.Model // answers instead of Model, in tests
}

// Platform is a running platform.
type Platform struct {
	Stack     e2e.Stack
	Passwords map[string]string // by user name; made up at every start
	Seeded    seed.Result

	Issued     *issued.Store
	Trail      *trail.Log
	Moto       *moto.Server
	STS        *stsfront.Server
	STSURL     string
	MCP        *awsmcp.Server
	MCPURL     string
	OIDC       *oidc.Front
	CognitoURL string
	Lambda     *lambdafront.Server
	Gateway    *gateway.Server
	Runtime    *runtimefront.Server
	Bedrock    *bedrock.Server

	BedrockURL string

	roles         roles
	machineSecret string // of the confidential client in workload mode; never leaves this process
	mu            sync.Mutex
	strays        []string
	closers       []func()
}

// Start starts every part and returns when the platform can be used. After an error nothing is left running.
func Start(ctx context.Context, o Options) (*Platform, error) {
	p := &Platform{Issued: issued.New(), Trail: &trail.Log{}, Passwords: map[string]string{}, machineSecret: rand.Text()}
	if err := p.start(ctx, o); err != nil {
		p.Close()
		return nil, fmt.Errorf("start the local platform: %w", err)
	}
	return p, nil
}

// Close ends every part in the reverse order of their start. It may be called many times.
func (p *Platform) Close() {
	for _, end := range slices.Backward(p.closers) {
		end()
	}
	p.closers = nil
}

// Strays returns the hosts outside of this machine that the product's binaries tried to reach.
func (p *Platform) Strays() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.strays)
}

// Assumptions is what all stand-ins take for granted about AWS.
func Assumptions() []assumed.Row {
	return slices.Concat(runtimefront.Assumptions, gateway.Assumptions, oidc.Assumptions, lambdafront.Assumptions,
		agentcoredata.Assumptions, stsfront.Assumptions, awsmcp.Assumptions, bedrock.Assumptions, controlplane.Assumptions, deploymentAssumptions)
}

func (p *Platform) start(ctx context.Context, o Options) error {
	if o.Model == "" {
		o.Model = Planner
	}
	if o.GatewayAuth == "" {
		o.GatewayAuth = "user"
	}
	tools, err := os.ReadFile(o.Tools)
	if err != nil {
		return err
	}
	trapURL, err := p.serve(http.HandlerFunc(p.trap))
	if err != nil {
		return err
	}
	if err := p.startAWS(ctx, o); err != nil {
		return err
	}
	if err := p.startModel(o); err != nil {
		return err
	}
	clients := oidc.Sources{oidc.MotoClients{URL: p.Moto.URL, Account: CentralAccount, Region: Region}}
	if o.Deployment == nil {
		clients = append(clients, oidc.Clients{{
			PoolID: p.Seeded.UserPoolID, ID: machineID, Secret: p.machineSecret, Scopes: []string{gatewayScope}, Flows: []string{"client_credentials"},
		}})
	}
	p.OIDC, err = oidc.StartFront(oidc.FrontConfig{Upstream: p.Moto.URL, Clients: clients})
	if err != nil {
		return err
	}
	p.closing(p.OIDC.Close)
	var records Records
	if o.Deployment != nil {
		records, err = o.Deployment.records(ctx)
	} else {
		records, err = p.sample(o, tools)
	}
	if err != nil {
		return err
	}
	if err := p.startLambda(o, records, trapURL); err != nil {
		return err
	}
	if err := p.startGateway(o, records); err != nil {
		return err
	}
	if err := p.startRuntime(o, records, trapURL); err != nil {
		return err
	}
	p.Stack = e2e.Stack{Name: "local", Region: Region, UserPoolID: p.Seeded.UserPoolID, ClientID: p.Seeded.ClientID, RuntimeARN: records.Runtime.ARN, GatewayAuth: o.GatewayAuth}
	if o.Deployment != nil {
		p.Stack = o.Deployment.Stack
	}
	p.Stack.CognitoEndpoint, p.Stack.MCPEndpoint, p.Stack.RuntimeURL, p.Stack.GatewayURL = p.CognitoURL+"/", p.MCPURL, p.Runtime.URL, p.Gateway.MCPURL()
	p.Stack.DiscoveryURL, p.Stack.HostedUI = p.OIDC.DiscoveryURL(p.Stack.UserPoolID), p.OIDC.HostedUI(p.Stack.UserPoolID)
	return nil
}

// startAWS starts moto with the sample accounts, or takes the deployment's, and STS and the AWS MCP Server in front of it.
func (p *Platform) startAWS(ctx context.Context, o Options) error {
	if d := o.Deployment; d != nil {
		p.Moto, p.Passwords = d.Moto, d.People
		p.Seeded.UserPoolID, p.Seeded.ClientID = d.Stack.UserPoolID, d.Stack.ClientID
		p.roles.alter = d.AlterRole
	} else if err := p.makeSample(ctx, o); err != nil {
		return err
	}
	pools, err := cognito.New(p.Moto.URL)
	if err != nil {
		return err
	}
	if p.CognitoURL, err = p.serve(pools); err != nil {
		return err
	}

	p.roles.IAM = moto.IAM{Endpoint: p.Moto.URL}
	p.STS = stsfront.New(stsfront.Config{
		Store: p.Issued, Roles: p.roles, Minter: moto.STS{Endpoint: p.Moto.URL}, Region: Region,
		Sink: p.Trail.Write, OrganizationID: OrganizationID,
	})
	if p.STSURL, err = p.serve(p.STS); err != nil {
		return err
	}
	config := awsmcp.Config{
		Store: p.Issued, Roles: p.roles, Python: o.Python, Endpoint: p.Moto.URL, Region: Region, Sink: p.Trail.Write,
	}
	if o.MCP != nil {
		o.MCP(&config)
	}
	if p.MCP, err = awsmcp.New(config); err != nil {
		return err
	}
	p.closers = append(p.closers, p.MCP.Close)
	base, err := p.serve(p.MCP)
	p.MCPURL = base + "/mcp"
	return err
}

// makeSample starts moto and fills it with the sample environment.
func (p *Platform) makeSample(ctx context.Context, o Options) error {
	log, err := p.log(o, "moto")
	if err != nil {
		return err
	}
	p.Moto, err = moto.Start(ctx, moto.Config{Python: o.Python, DefaultAccount: CentralAccount, Region: Region, Log: log})
	if err != nil {
		return err
	}
	p.closers = append(p.closers, p.Moto.Close)

	fill := SampleSeed(o.Python, p.Moto.URL)
	for _, user := range fill.Users {
		p.Passwords[user.Username] = user.Password
	}
	p.Seeded, err = seed.Run(ctx, fill)
	return err
}

// SampleSeed is the sample accounts with their resources and people, whose passwords are made up. The people are new with
// every call.
func SampleSeed(python, motoURL string) seed.Config {
	fill := seed.Config{
		Python: python, Endpoint: motoURL, CentralAccount: CentralAccount, OrganizationID: OrganizationID,
		ExternalID: ExternalID, Regions: []string{Region, "eu-west-1"}, Resources: true,
	}
	for _, a := range Accounts {
		fill.Accounts = append(fill.Accounts, seed.Account{ID: a.ID, Name: a.Name, Environment: a.Environment})
	}
	for name, group := range groupOf {
		fill.Users = append(fill.Users, seed.User{Username: name, Password: "Local-1-" + rand.Text(), Groups: []string{group}})
	}
	return fill
}

func (p *Platform) startModel(o Options) error {
	var model bedrock.Model = bedrock.Planner{}
	switch {
	case o.Answering != nil:
		model = o.Answering
	case o.Model == OpenAI:
		model = &bedrock.OpenAI{Endpoint: o.ModelEndpoint, Name: o.ModelName, Key: o.ModelKey}
	case o.Model == Bedrock:
		return nil // the agent calls AWS
	}
	config := bedrock.Config{
		Model: model, Issued: p.Issued, Region: Region, Authorize: p.mayAskModel,
		Reasoning: o.Model == Planner, // an agent that does not echo reasoning is refused
	}
	if o.Trouble != nil {
		config.Logger = slog.New(slog.NewTextHandler(o.Trouble, &slog.HandlerOptions{ReplaceAttr: onlyMessage}))
	}
	p.Bedrock = bedrock.New(config)
	var err error
	p.BedrockURL, err = p.serve(p.Bedrock)
	return err
}

// onlyMessage leaves out of a line what somebody at a terminal knows.
func onlyMessage(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
		return slog.Attr{}
	}
	return a
}

func (p *Platform) startLambda(o Options, records Records, trapURL string) error {
	guarded, err := awsfront.New(awsfront.Config{
		Upstream: p.Moto.URL, Region: Region, Store: p.Issued,
		Authorize: func(principal, action, resource string) bool { return p.may(principal, action, resource) },
	})
	if err != nil {
		return err
	}
	guardedURL, err := p.serve(guarded)
	if err != nil {
		return err
	}
	config := lambdafront.Config{
		Account: CentralAccount, Region: Region, Credentials: p.Issued,
		Authorize: func(principal, function string) bool { return p.may(principal, "lambda:InvokeFunction", function) },
	}
	for _, f := range records.Functions {
		part := f.Name[strings.LastIndexByte(f.Name, '-')+1:]
		log, err := p.log(o, part)
		if err != nil {
			return err
		}
		function := lambdafront.Function{
			Name: f.Name, Bootstrap: filepath.Join(o.Binaries, part, "bootstrap"), Log: log,
			Timeout: time.Duration(f.Timeout) * time.Second, MemoryMB: f.MemorySize, Env: f.Environment.Variables,
			Role: p.serviceRole("lambda.amazonaws.com", functionARN(f.Name), f.Role, f.Name),
		}
		if f.Alias != "" {
			function.Aliases = []string{f.Alias}
		}
		if part == "bridge" {
			function.Env = translated(f.Environment.Variables, map[string]string{mcpAddress: p.MCPURL})
			maps.Copy(function.Env, map[string]string{
				"AWS_MCP_REGION":       Region, // a host name says it on AWS
				"TOKEN_JWKS_URL":       p.OIDC.JWKSURL(poolOf(function.Env["TOKEN_ISSUER"])),
				"AWS_ENDPOINT_URL_STS": p.STSURL, "AWS_ENDPOINT_URL_DYNAMODB": guardedURL, "AWS_ENDPOINT_URL_SSM": guardedURL,
				"HTTP_PROXY": trapURL, "HTTPS_PROXY": trapURL,
			})
			maps.Copy(function.Env, o.BridgeEnv)
			function.Role = changed(function.Role, o.BridgeKeys)
		}
		config.Functions = append(config.Functions, function)
	}
	if o.Lambda != nil {
		o.Lambda(&config)
	}
	p.Lambda, err = lambdafront.Start(config)
	if err == nil {
		p.closing(p.Lambda.Close)
	}
	return err
}

func (p *Platform) startGateway(o Options, records Records) error {
	record, targets := records.Gateway, records.Targets
	source := "arn:aws:bedrock-agentcore:" + Region + ":" + CentralAccount + ":gateway/" + record.ID
	config := gateway.Config{
		Region: Region, LambdaURL: p.Lambda.URL, Identity: &http.Client{Transport: p.OIDC.Transport()},
		Role: p.serviceRole("bedrock-agentcore.amazonaws.com", source, record.RoleARN, "gateway"),
	}
	if o.Gateway != nil {
		o.Gateway(&config, &record, targets)
	}
	config.Record, config.Targets = record, targets
	var err error
	p.Gateway, err = gateway.Start(config)
	if err == nil {
		p.closing(p.Gateway.Close)
	}
	return err
}

func (p *Platform) startRuntime(o Options, records Records, trapURL string) error {
	log, err := p.log(o, "agent")
	if err != nil {
		return err
	}
	record := records.Runtime
	env := translated(record.Environment, map[string]string{records.Gateway.URL: p.Gateway.MCPURL()})
	env["TOKEN_JWKS_URL"] = p.OIDC.JWKSURL(poolOf(env["TOKEN_ISSUER"]))
	role := changed(p.serviceRole("bedrock-agentcore.amazonaws.com", record.ARN, record.RoleARN, "agent"), o.AgentKeys)
	if o.Model == Bedrock {
		role = nil
		for _, each := range o.ModelEnv {
			name, value, _ := strings.Cut(each, "=")
			env[name] = value
		}
	} else {
		env["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] = p.BedrockURL
		env["HTTP_PROXY"], env["HTTPS_PROXY"] = trapURL, trapURL
	}
	if len(records.Providers) > 0 {
		data, err := agentcoredata.Start(agentcoredata.Config{
			Region: Region, Credentials: p.Issued, Authorize: p.mayUseProvider(record.ID),
			Issued: func(token string) bool { _, ok := p.Runtime.Workload(token); return ok },
			Provider: func(name string) (agentcoredata.Provider, bool) {
				provider, ok := records.Providers[name]
				return agentcoredata.Provider{
					TokenURL: p.OIDC.TokenURL(poolOf(provider.Discovery.URL)), ClientID: provider.ClientID, ClientSecret: provider.ClientSecret,
				}, ok
			},
		})
		if err != nil {
			return err
		}
		p.closing(data.Close)
		env["AWS_ENDPOINT_URL_BEDROCK_AGENTCORE"] = data.URL
	}
	maps.Copy(env, o.AgentEnv)
	config := runtimefront.Config{
		Account: CentralAccount, Region: Region, Binary: filepath.Join(o.Binaries, "agent"), Env: env, Role: role, Log: log,
		MaxSessions: maxSessions, MakeRoom: true, Record: record, Endpoints: records.Endpoints, Identity: &http.Client{Transport: p.OIDC.Transport()},
	}
	if o.Runtime != nil {
		o.Runtime(&config)
	}
	p.Runtime, err = runtimefront.Start(config)
	if err == nil {
		p.closing(p.Runtime.Close)
	}
	return err
}

// authorizer is the customJWTAuthorizer of the Runtime and of the Gateway.
func (p *Platform) authorizer(client string) *oidc.CustomJWT {
	return &oidc.CustomJWT{DiscoveryURL: p.OIDC.DiscoveryURL(p.Seeded.UserPoolID), AllowedClients: []string{client}}
}

// serviceRole hands out sessions of a role that its trust policy lets the service have for source, its resource.
func (p *Platform) serviceRole(service, source, arn, session string) func() (issued.Credential, error) {
	return func() (issued.Credential, error) {
		return p.STS.IssueToService(context.Background(), service, source, arn, session, roleLife)
	}
}

// changed applies change, if there is one, to every credential that role hands out.
func changed(role func() (issued.Credential, error), change func(issued.Credential) issued.Credential) func() (issued.Credential, error) {
	if change == nil {
		return role
	}
	return func() (issued.Credential, error) {
		cred, err := role()
		return change(cred), err
	}
}

// trap answers what leaves this machine: the product's binaries use it as their proxy, and loopback needs none.
func (p *Platform) trap(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.strays = append(p.strays, r.Host)
	p.mu.Unlock()
	http.Error(w, "the local platform reaches nothing outside of this machine", http.StatusBadGateway)
}

func (p *Platform) serve(h http.Handler) (url string, err error) {
	server, err := loopback.Serve(h)
	if err != nil {
		return "", err
	}
	p.closing(server.Close)
	return server.URL, nil
}

func (p *Platform) closing(end func() error) {
	p.closers = append(p.closers, func() { _ = end() }) // there is nothing to do about a part that ends badly
}

// log opens the log file of a part.
func (p *Platform) log(o Options, part string) (io.Writer, error) {
	if o.LogDir == "" {
		return nil, nil
	}
	if err := os.MkdirAll(o.LogDir, 0o700); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(o.LogDir, part+".log"), os.O_CREATE|os.O_TRUNC|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	p.closing(file.Close)
	return file, nil
}

// roleOf returns "<account>/<role name>" of a role's ARN or of the ARN of a session of it.
func roleOf(arn string) string {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 {
		return ""
	}
	_, path, _ := strings.Cut(parts[5], "/")
	name := path
	if strings.HasPrefix(parts[5], "assumed-role/") {
		name, _, _ = strings.Cut(path, "/")
	}
	return parts[4] + "/" + name[strings.LastIndexByte(name, '/')+1:]
}

// machineID is the confidential client of workload mode.
const machineID = "centralopsgatewaymachine"

// errNoModel says how to name a model.
var errNoModel = errors.New("MODEL_ENDPOINT is set, but MODEL is not: name the model that the server shall use, e.g. MODEL=qwen3")

// FromEnv reads MODEL, MODEL_ENDPOINT, MODEL_API_KEY and GATEWAY_AUTH into o.
func (o *Options) FromEnv(environ []string) error {
	env := map[string]string{}
	for _, each := range environ {
		name, value, _ := strings.Cut(each, "=")
		env[name] = value
	}
	switch o.GatewayAuth = env["GATEWAY_AUTH"]; o.GatewayAuth {
	case "", "user", "workload":
	default:
		return fmt.Errorf("GATEWAY_AUTH=%q: want user or workload", o.GatewayAuth)
	}
	switch endpoint, name := env["MODEL_ENDPOINT"], env["MODEL"]; {
	case endpoint != "" && name == "":
		return errNoModel
	case endpoint != "":
		o.Model, o.ModelEndpoint, o.ModelName, o.ModelKey = OpenAI, endpoint, name, env["MODEL_API_KEY"]
	case name == string(Bedrock):
		o.Model = Bedrock
		for _, each := range environ {
			if name, _, _ := strings.Cut(each, "="); strings.HasPrefix(name, "AWS_") || name == "HOME" || name == "MODEL_ID" {
				o.ModelEnv = append(o.ModelEnv, each)
			}
		}
	case name == "" || name == string(Planner):
		o.Model = Planner
	default:
		return fmt.Errorf("MODEL=%q: want bedrock or planner, or set MODEL_ENDPOINT to an OpenAI-compatible server that has this model", name)
	}
	return nil
}
