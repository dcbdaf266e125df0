package pulumi_test

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/central-ops/central-ops/e2e"
	"github.com/central-ops/central-ops/e2e/internal/product"
	"github.com/central-ops/central-ops/e2e/local"
	"github.com/central-ops/central-ops/e2e/local/awsmcp"
	"github.com/central-ops/central-ops/e2e/local/gateway"
	"github.com/central-ops/central-ops/e2e/local/iampolicy"
	"github.com/central-ops/central-ops/e2e/local/motoenv"
	"github.com/central-ops/central-ops/e2e/local/seed"
)

// stories run on the deployment, in both modes. They are tests of package e2e, which take it for a live stack.
var stories = []string{
	"TestSignIn", "TestSignInWithBrowser", "TestAskAboutOneAccount", "TestAskAboutAnEnvironment", "TestAskInAllAccountsAndRegions", "TestDocumentationQuestion",
	"TestFollowUp", "TestPersonSeesOnlyWhatThePolicyPermits", "TestReadsOfSecretsAndWritesAreRefused", "TestUnknownAccount", "TestBadPrompts",
	"TestBothGatewayModes", "TestStream", "TestCurlOfTheREADME",
}

// The stories pass on what Pulumi has deployed, and no longer when one value of it is wrong.
func TestStoriesOnTheDeployment(t *testing.T) {
	t.Parallel()
	b := open(t)
	w := newWorld(t, b)

	t.Run("user", func(t *testing.T) { w.pass(t, stories...) })
	t.Run("one role cannot be assumed", func(t *testing.T) {
		w := *w
		w.Deployment.AlterRole = func(r *iampolicy.Role) {
			if r.ARN == "arn:aws:iam::333333333333:role/CentralOpsTargetRole" {
				r.Trust = strings.ReplaceAll(r.Trust, "central-ops-dev-bridge", "somebody-else")
			}
		}
		w.facts.Accounts = slices.Clone(w.facts.Accounts)
		w.facts.Accounts[2].Unreachable = true
		w.pass(t, "TestPartialAnswer")
	})
	t.Run("slow upstream", func(t *testing.T) {
		w := *w
		w.slow = true
		w.pass(t, "TestAskAboutOneAccount")
	})
	for _, wrong := range wrongValues {
		t.Run(wrong.name, func(t *testing.T) { w.fail(t, wrong) })
	}

	b.project = b.root
	b.set(t, "central-ops:gatewayAuth", "workload")
	b.pulumi(t, "up", "--yes", "--skip-preview")
	t.Run("workload", func(t *testing.T) { w.pass(t, stories...) })
	for _, wrong := range wrongValuesOfWorkload {
		t.Run(wrong.name, func(t *testing.T) { w.fail(t, wrong) })
	}
}

// wrongValue is one value of the deployment that is not what it must be. It makes the story fail with the text.
type wrongValue struct {
	name            string
	alter           func(*local.Records) // nil changes no record
	role, old, with string               // in all documents of the role, old becomes with; "" changes none
	slow            bool                 // the AWS MCP Server takes coldStart
	story           string               // the test that fails
	want            string               // what it prints then, a regular expression
}

const (
	bridgeRole  = "arn:aws:iam::111111111111:role/central-ops-dev-bridge"
	gatewayRole = "arn:aws:iam::111111111111:role/central-ops-dev-gateway"
	runtimeRole = "arn:aws:iam::111111111111:role/central-ops-dev-runtime"
	targetRole  = "arn:aws:iam::222222222222:role/CentralOpsTargetRole"
)

var wrongValues = []wrongValue{
	{
		name:  "target: the person's header is not allowed",
		alter: func(r *local.Records) { r.Targets[0].Metadata.AllowedRequestHeaders = []string{"traceparent"} },
		story: "TestAskAboutOneAccount", want: "there is no user token",
	},
	{
		name:  "target: a tool is missing",
		alter: func(r *local.Records) { withoutTool(r, "search_documentation") },
		story: "TestDocumentationQuestion", want: "isn't offered to me",
	},
	{
		name:  "gateway: no interceptor",
		alter: func(r *local.Records) { r.Gateway.Interceptors = nil },
		story: "TestAskAboutOneAccount", want: "there is no user token",
	},
	{
		name: "gateway: another app client is allowed",
		alter: func(r *local.Records) {
			r.Gateway.AuthorizerConfiguration.CustomJWT.AllowedClients = []string{"somebody-elses"}
		},
		story: "TestAskAboutOneAccount", want: `did not accept the token \(401\)`,
	},
	{
		name: "gateway role: the right to the function without its alias",
		role: gatewayRole, old: "central-ops-dev-bridge:live", with: "central-ops-dev-bridge",
		story: "TestAskAboutOneAccount", want: "An internal error occurred",
	},
	{
		name: "gateway role: trusted for another gateway",
		role: gatewayRole, old: "gateway/central-ops-dev-*", with: "gateway/central-ops-prod-*",
		story: "TestAskAboutOneAccount", want: `does not work at the moment \(500\)`,
	},
	{
		name:  "runtime: Authorization does not reach the agent",
		alter: func(r *local.Records) { r.Runtime.RequestHeaders.Allowlist = nil },
		story: "TestAskAboutOneAccount", want: "there is no bearer token",
	},
	{
		name: "runtime: another app client is allowed",
		alter: func(r *local.Records) {
			r.Runtime.AuthorizerConfiguration.CustomJWT.AllowedClients = []string{"somebody-elses"}
		},
		story: "TestAskAboutOneAccount", want: "does not authorize this call: wrong client",
	},
	{
		name: "runtime: GATEWAY_URL of another gateway",
		alter: func(r *local.Records) {
			r.Runtime.Environment["GATEWAY_URL"] = "https://other.gateway.bedrock-agentcore.us-east-1.amazonaws.com/mcp"
		},
		story: "TestAskAboutOneAccount", want: "could not be reached",
	},
	{
		name:  "runtime: no Region",
		alter: func(r *local.Records) { delete(r.Runtime.Environment, "AWS_REGION") },
		story: "TestAskAboutOneAccount", want: "424",
	},
	{
		name:  "runtime: MODEL_ID that needs an inference profile",
		alter: func(r *local.Records) { r.Runtime.Environment["MODEL_ID"] = "anthropic.claude-sonnet-5" },
		story: "TestAskAboutOneAccount", want: "Bedrock refused the request as invalid",
	},
	{
		name:  "runtime: the endpoint is missing",
		alter: func(r *local.Records) { r.Endpoints = nil },
		story: "TestAskAboutOneAccount", want: "No endpoint or agent found with qualifier live",
	},
	{
		name: "runtime role: no right to stream",
		role: runtimeRole, old: "bedrock:InvokeModelWithResponseStream", with: "bedrock:ListFoundationModels",
		story: "TestStream", want: "may not use its model",
	},
	{
		name:  "bridge: TOKEN_CLIENT_IDS of another client",
		alter: function("bridge", func(f *local.Function) { f.Environment.Variables["TOKEN_CLIENT_IDS"] = "somebody-elses" }),
		story: "TestAskAboutOneAccount", want: "the token is of another app client",
	},
	{
		name:  "bridge: TARGET_ROLE_NAME that no account has",
		alter: function("bridge", func(f *local.Function) { f.Environment.Variables["TARGET_ROLE_NAME"] = "AnotherRole" }),
		story: "TestAskAboutOneAccount", want: `not authorized to perform: sts:AssumeRole on resource: \S+role/AnotherRole`,
	},
	{
		name:  "bridge: timeout too small",
		alter: function("bridge", func(f *local.Function) { f.Timeout = 2 }),
		slow:  true, story: "TestAskAboutOneAccount", want: "no answer within the time for this query|An internal error occurred",
	},
	{
		name: "bridge role: no right to read the accounts",
		role: bridgeRole, old: "dynamodb:Scan", with: "dynamodb:DescribeTable",
		story: "TestAskAboutOneAccount", want: "dynamodb:Scan",
	},
	{
		name: "bridge role: no right to read the access policy",
		role: bridgeRole, old: "ssm:GetParameter", with: "ssm:DescribeParameters",
		story: "TestAskAboutOneAccount", want: "ssm:GetParameter|access policy",
	},
	{
		name: "bridge role: trusted for another service",
		role: bridgeRole, old: "lambda.amazonaws.com", with: "ec2.amazonaws.com",
		story: "TestAskAboutOneAccount", want: "An internal error occurred",
	},
	{
		name: "target role: another ExternalId",
		role: targetRole, old: externalID, with: "somebody-elses",
		story: "TestAskAboutOneAccount", want: "not authorized to perform: sts:AssumeRole",
	},
	{
		name: "target role: session tags may not be set",
		role: targetRole, old: "sts:TagSession", with: "sts:GetCallerIdentity",
		story: "TestAskAboutOneAccount", want: "not authorized to perform: sts:TagSession",
	},
	{
		name: "target role: nothing may be read through MCP",
		role: targetRole, old: "ec2:Describe*", with: "ec2:DescribeNothing",
		story: "TestAskAboutOneAccount", want: `UnauthorizedOperation\) when calling the DescribeInstances`,
	},
}

var wrongValuesOfWorkload = []wrongValue{
	{
		name: "workload: people's client at the gateway",
		alter: func(r *local.Records) {
			r.Gateway.AuthorizerConfiguration.CustomJWT.AllowedClients = r.Runtime.AuthorizerConfiguration.CustomJWT.AllowedClients
		},
		story: "TestAskAboutOneAccount", want: `did not accept the token \(401\)`,
	},
	{
		name: "workload: another secret in the credential provider",
		alter: func(r *local.Records) {
			for name, provider := range r.Providers {
				provider.ClientSecret = "stale"
				r.Providers[name] = provider
			}
		},
		story: "TestAskAboutOneAccount", want: "gave no token",
	},
	{
		name: "workload: no right to the credential provider",
		role: runtimeRole, old: "bedrock-agentcore:GetResourceOauth2Token", with: "bedrock-agentcore:GetResourceApiKey",
		story: "TestAskAboutOneAccount", want: "may not get its token",
	},
}

// function alters the function whose name ends in -part.
func function(part string, change func(*local.Function)) func(*local.Records) {
	return func(r *local.Records) {
		for i := range r.Functions {
			if strings.HasSuffix(r.Functions[i].Name, "-"+part) {
				change(&r.Functions[i])
			}
		}
	}
}

func withoutTool(r *local.Records, name string) {
	schema := &r.Targets[0].Configuration.MCP.Lambda.ToolSchema
	tools, err := gateway.ParseTools(schema.Inline)
	if err == nil {
		schema.Inline, err = json.Marshal(slices.DeleteFunc(tools, func(tool gateway.Tool) bool { return tool.Name == name }))
	}
	if err != nil {
		panic(err) // the platform that ran before has read the same
	}
}

const externalID = "central-ops-test"

// world is a deployment with people and resources, and what runs stories on it.
type world struct {
	local.Deployment
	box      *box
	python   string
	binaries string // the product's
	stories  string // test binary of package e2e
	facts    e2e.Facts
	slow     bool // the AWS MCP Server takes coldStart
}

// coldStart is what the first script of an MCP session takes, here: a third of what it takes in AWS.
const coldStart = 3 * time.Second

func newWorld(t *testing.T, b *box) *world {
	t.Helper()
	w := &world{box: b, python: motoenv.Python(t), binaries: t.TempDir()}
	if err := product.Build("../..", w.binaries); err != nil {
		t.Fatal(err)
	}
	w.stories = filepath.Join(w.binaries, "stories.test")
	if text, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", w.stories, "..").CombinedOutput(); err != nil {
		t.Fatalf("build the stories: %v\n%s", err, text)
	}
	accounts := []map[string]string{}
	for _, a := range local.Accounts {
		account := map[string]string{"id": a.ID, "name": a.Name, "environment": a.Environment}
		if a.ID == central {
			account["role"] = "central"
		}
		accounts = append(accounts, account)
	}
	encoded, err := json.Marshal(accounts)
	if err != nil {
		t.Fatal(err)
	}
	b.stack(t, "dev", b.endpoint())
	b.set(t, "central-ops:accounts", string(encoded))
	b.set(t, "central-ops:access", `{"ops":["all"],"prod-readers":["env:prod"],"viewers":["env:staging"]}`)
	b.set(t, "central-ops:externalId", externalID)
	b.set(t, "central-ops:organizationId", local.OrganizationID)
	b.set(t, "central-ops:gatewayLogs", "false") // the emulator has no log deliveries
	b.pulumi(t, "up", "--yes", "--skip-preview")
	stack, err := e2e.ParseStack("dev", []byte(b.pulumi(t, "stack", "output", "--json")))
	if err != nil {
		t.Fatal(err)
	}
	b.project = filepath.Join(b.root, "infra", "member")
	for _, a := range local.Accounts {
		b.stack(t, a.ID, b.endpoint())
		b.pulumi(t, "config", "set", "--path", "aws:assumeRole.roleArn", "arn:aws:iam::"+a.ID+":role/deploy")
		b.set(t, "central-ops-member:bridgeRoleArn", bridgeRole)
		b.set(t, "central-ops-member:externalId", externalID)
		b.set(t, "central-ops-member:organizationId", local.OrganizationID)
		b.set(t, "central-ops-member:allowedAccountId", a.ID)
		b.pulumi(t, "up", "--yes", "--skip-preview")
	}

	fill := local.SampleSeed(w.python, b.endpoint())
	fill.UserPoolID = stack.UserPoolID
	if _, err := seed.Run(t.Context(), fill); err != nil {
		t.Fatal(err)
	}
	w.Deployment = local.Deployment{Moto: b.emulator, Control: b.front, Stack: stack, People: map[string]string{}}
	for _, user := range fill.Users {
		w.People[user.Username] = user.Password
	}
	passwords := map[string]string{"E2E_OPS_PASSWORD": w.People["alice"], "E2E_VIEWER_PASSWORD": w.People["bob"]}
	if w.facts, err = e2e.ReadFacts("../testdata/sample.json", func(name string) string { return passwords[name] }); err != nil {
		t.Fatal(err)
	}
	return w
}

// run runs stories on a platform that is started from the deployment, and returns what they print.
func (w world) run(t *testing.T, names ...string) (string, error) {
	t.Helper()
	options := local.Options{Binaries: w.binaries, Tools: "../../services/bridge/tools.json", Python: w.python, Deployment: &w.Deployment}
	if w.slow {
		options.MCP = func(c *awsmcp.Config) { c.ColdStart = coldStart }
	}
	platform, err := local.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(platform.Close)
	w.facts.Addresses = platform.Stack
	encoded, err := json.Marshal(w.facts)
	if err != nil {
		t.Fatal(err)
	}
	facts := filepath.Join(t.TempDir(), "facts.json")
	if err := os.WriteFile(facts, encoded, 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), w.stories, "-test.v", "-test.run", "^("+strings.Join(names, "|")+")$")
	command.Dir = ".."
	command.Env = append(slices.Clone(w.box.env), "E2E_STACK=dev", "E2E_FACTS="+facts)
	printed, err := command.CombinedOutput()
	if w.Alter == nil && w.AlterRole == nil {
		if strays := platform.Strays(); len(strays) > 0 {
			t.Errorf("the product tried to reach %v", strays)
		}
		w.personInTrail(t, platform)
	}
	return string(printed), err
}

// personInTrail holds the member account's trail to the person who asked.
func (w world) personInTrail(t *testing.T, platform *local.Platform) {
	t.Helper()
	found := map[string]bool{}
	for _, record := range platform.Trail.Account("222222222222") {
		if c := record.UserIdentity.SessionContext; c != nil && c.SourceIdentity == w.facts.Ops.Username {
			found[record.EventName] = true
		}
	}
	if !found["DescribeInstances"] {
		t.Errorf("no DescribeInstances of %s in the trail of 222222222222, only %v", w.facts.Ops.Username, slices.Sorted(maps.Keys(found)))
	}
}

// pass wants every story to pass; one that is skipped does not count.
func (w world) pass(t *testing.T, names ...string) {
	t.Helper()
	printed, err := w.run(t, names...)
	for _, name := range names {
		if !strings.Contains(printed, "--- PASS: "+name+" (") {
			t.Errorf("%s did not pass", name)
		}
	}
	if err != nil || t.Failed() {
		t.Errorf("%v\n%s", err, printed)
	}
}

// fail wants the story to fail with the expected text once the value is wrong.
func (w world) fail(t *testing.T, wrong wrongValue) {
	t.Helper()
	w.Alter, w.slow = wrong.alter, wrong.slow
	var met atomic.Bool // the words are in a document that was read
	w.AlterRole = func(r *iampolicy.Role) {
		if r.ARN != wrong.role {
			return
		}
		r.Policies = slices.Clone(r.Policies)
		for _, document := range append([]*string{&r.Trust}, pointers(r.Policies)...) {
			if strings.Contains(*document, wrong.old) {
				met.Store(true)
			}
			*document = strings.ReplaceAll(*document, wrong.old, wrong.with)
		}
	}
	printed, err := w.run(t, wrong.story)
	switch {
	case wrong.role != "" && !met.Load():
		t.Errorf("no document of %s that was read holds %q", wrong.role, wrong.old)
	case err == nil:
		t.Errorf("%s passed:\n%s", wrong.story, printed)
	case !strings.Contains(printed, "--- FAIL: "+wrong.story) || !regexp.MustCompile(wrong.want).MatchString(printed):
		t.Errorf("%s failed, but not by %q:\n%s", wrong.story, wrong.want, printed)
	default:
		t.Logf("%s fails: %s", wrong.story, strings.TrimSpace(regexp.MustCompile(".*("+wrong.want+").*").FindString(printed)))
	}
}

func pointers(texts []string) []*string {
	var all []*string
	for i := range texts {
		all = append(all, &texts[i])
	}
	return all
}
