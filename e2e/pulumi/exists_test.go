package pulumi_test

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"flag"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/central-ops/central-ops/e2e/local/motoenv"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite testdata")

//go:embed inventory.py
var inventory string

const member = "222222222222"

// TestWhatExists reads by the AWS SDK what the projects made: one environment against testdata/environment.json, its target
// role against testdata/member.json. Where a policy stands there, the golden files of infra/policy are named, which the
// policy evaluator judges: what is judged is what is deployed.
//
// On the way it has a create fail half-way, repeats and refreshes without a change, changes the model in place, puts a second
// environment into the same accounts, reads the bridge's role through stack references, replaces everything, and destroys.
// In the end both accounts are as they were in the beginning.
func TestWhatExists(t *testing.T) {
	t.Parallel()
	b := open(t)
	lossy := &lossy{next: b.front}
	server := httptest.NewServer(lossy)
	t.Cleanup(server.Close)
	b.env = append(b.env, "AWS_ENDPOINT_URL_BEDROCK_AGENTCORE_CONTROL="+server.URL) // the last one counts
	deployer, joiner := b.record(t), b.record(t)
	centralBefore, memberBefore := b.inventory(t, central), b.inventory(t, member)

	b.environment(t, "dev", deployer.url, nil)
	b.set(t, "central-ops:retentionDay", "7")
	b.set(t, "central-ops:mfa", "SMS")
	text := b.fails(t, "up", "--yes", "--skip-preview")
	for _, want := range []string{`central-ops:mfa: must be one of OFF, OPTIONAL, ON: got "SMS"`, "central-ops:retentionDay: is no key; known: access,"} {
		if !strings.Contains(text, want) {
			t.Errorf("wrong values are answered without %s:\n%s", want, tail(text))
		}
	}
	for _, key := range []string{"retentionDay", "mfa"} {
		b.pulumi(t, "config", "rm", "central-ops:"+key)
	}
	if diff := cmp.Diff(centralBefore, b.inventory(t, central)); diff != "" {
		t.Errorf("made in spite of wrong values (-before +after):\n%s", diff)
	}
	lossy.lose("POST /gateways/")
	if text := b.fails(t, "up", "--yes", "--skip-preview"); !strings.Contains(text, "apply gateway: central-ops-dev: failed") {
		t.Errorf("a create whose answer gets lost is reported as:\n%s", tail(text))
	}
	lossy.lose("PUT /runtimes/")
	if text := b.fails(t, "up", "--yes", "--skip-preview"); !strings.Contains(text, "apply runtime: central_ops_dev: failed") {
		t.Errorf("a create whose answer gets lost is reported as:\n%s", tail(text))
	}
	b.pulumi(t, "up", "--yes", "--skip-preview")
	if got := b.front.Left(); got != 2 {
		t.Errorf("%d AgentCore resources after two creates that were taken up again, want a gateway and a runtime", got)
	}
	made, exports := b.inventory(t, central), b.outputs(t)
	b.golden(t, "environment.json", made, exports)
	for _, name := range []string{"region", "userPoolId", "userPoolClientId", "discoveryUrl", "runtimeArn", "gatewayUrl", "bridgeRoleArn", "imageUri"} {
		if exports[name] == "" {
			t.Errorf("export %s is missing", name)
		}
	}
	b.pulumi(t, "up", "--yes", "--skip-preview", "--expect-no-changes")
	b.pulumi(t, "refresh", "--yes", "--skip-preview", "--expect-no-changes")
	if diff := cmp.Diff(made, b.inventory(t, central)); diff != "" {
		t.Errorf("an up and a refresh without a change changed (-before +after):\n%s", diff)
	}

	// A change in the configuration updates in place: no id changes, and the endpoint is at the new version.
	const model = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
	b.set(t, "central-ops:model", model)
	b.pulumi(t, "up", "--yes", "--skip-preview")
	if diff := cmp.Diff(exports, b.outputs(t)); diff != "" {
		t.Errorf("exports changed with the model (-before +after):\n%s", diff)
	}
	environment(made)["MODEL_ID"] = model
	if diff := cmp.Diff(made["runtimes"], b.inventory(t, central)["runtimes"]); diff != "" {
		t.Errorf("runtime after another model mismatch (-want +got):\n%s", diff)
	}
	b.pulumi(t, "up", "--yes", "--skip-preview", "--expect-no-changes")

	// What the emulator does not have is planned, at least.
	b.plans(t, map[string]string{"provisionedConcurrency": "2", "gatewayLogs": "true", "alarmEmail": "ops@example.com", "monthlyBudgetUSD": "100", "stackSetOUs": `["ou-abcd-12345678"]`},
		"aws:budgets/budget:Budget", "aws:cloudformation/stackSet:StackSet", "aws:cloudformation/stackSetInstance:StackSetInstance",
		"aws:cloudwatch/logDelivery:LogDelivery", "aws:cloudwatch/logDeliveryDestination:LogDeliveryDestination", "aws:cloudwatch/logDeliverySource:LogDeliverySource",
		"aws:cloudwatch/logGroup:LogGroup", "aws:lambda/provisionedConcurrencyConfig:ProvisionedConcurrencyConfig", "aws:sns/topicSubscription:TopicSubscription",
		"central-ops:targetrole:StackSet")

	// A second environment in the same account, in the other mode.
	b.environment(t, "staging", deployer.url, map[string]string{"gatewayAuth": "workload", "targetRole": "CentralOpsStaging"})
	b.pulumi(t, "up", "--yes", "--skip-preview")
	b.pulumi(t, "up", "--yes", "--skip-preview", "--expect-no-changes")
	if got := b.front.Left(); got != 5 {
		t.Errorf("%d AgentCore resources of two environments, want five: one has a credential provider, too", got)
	}
	pools := b.inventory(t, central)["pools"].(map[string]any)
	staging, _ := pools["central-ops-staging"].(map[string]any)
	if diff := cmp.Diff(map[string]any{"central-ops-staging": []any{"invoke"}}, staging["ResourceServers"]); diff != "" {
		t.Errorf("resource servers of workload mode (-want +got):\n%s", diff)
	}
	machine, _ := staging["Clients"].(map[string]any)["central-ops-staging-machine"].(map[string]any)
	if diff := cmp.Diff([]any{"client_credentials"}, machine["AllowedOAuthFlows"]); diff != "" || machine["HasSecret"] != true {
		t.Errorf("machine client: %v", machine)
	}

	// A target role for each of the two, in one member account; what the bridge's role is comes from the environment's stack.
	b.project = filepath.Join(b.root, "infra", "member")
	for stack, role := range map[string]string{"dev": "CentralOpsTargetRole", "staging": "CentralOpsStaging"} {
		b.stack(t, stack+"-"+member, joiner.url)
		b.pulumi(t, "config", "set", "--path", "aws:assumeRole.roleArn", "arn:aws:iam::"+member+":role/deploy")
		for key, value := range map[string]string{"environmentStack": "organization/central-ops/" + stack, "targetRole": role,
			"organizationId": "o-exampleorg", "externalId": "central-ops-example", "allowedAccountId": member} {
			b.set(t, "central-ops-member:"+key, value)
		}
		b.pulumi(t, "up", "--yes", "--skip-preview")
		b.pulumi(t, "up", "--yes", "--skip-preview", "--expect-no-changes")
	}
	b.golden(t, "member.json", b.inventory(t, member), nil)
	for _, stack := range []string{"dev", "staging"} {
		b.pulumi(t, "destroy", "--yes", "--skip-preview", "-s", stack+"-"+member)
	}
	if diff := cmp.Diff(memberBefore, b.inventory(t, member)); diff != "" {
		t.Errorf("left in the member account (-before +after):\n%s", diff)
	}
	b.project = b.root

	// The emulator cannot delete a resource server, other than with its pool; AWS can.
	t.Log("the resource server of staging is left to its pool: the emulator has no DeleteResourceServer")
	b.pulumi(t, "stack", "select", "staging")
	b.retain(t, "aws:cognito/resourceServer:ResourceServer")
	b.pulumi(t, "destroy", "--yes", "--skip-preview")
	if got := b.front.Left(); got != 2 {
		t.Errorf("%d AgentCore resources after one of two environments was destroyed, want two", got)
	}

	// Another environment name is another set of resources: all are made, then the old ones go.
	b.pulumi(t, "stack", "select", "dev")
	b.set(t, "central-ops:environment", "prod")
	b.pulumi(t, "up", "--yes", "--skip-preview")
	replaced, err := json.Marshal(b.inventory(t, central))
	if err != nil {
		t.Fatal(err)
	}
	for _, old := range []string{"central-ops-dev", "central_ops_dev"} {
		if i := strings.Index(string(replaced), old); i >= 0 {
			t.Errorf("of the old environment there is still ...%s...", replaced[max(0, i-80):min(len(replaced), i+80)])
		}
	}
	if !strings.Contains(string(replaced), "central-ops-prod-bridge") || b.front.Left() != 2 {
		t.Errorf("%d AgentCore resources after the replacement, want two; the account holds\n%s", b.front.Left(), replaced)
	}

	b.pulumi(t, "destroy", "--yes", "--skip-preview")
	if diff := cmp.Diff(centralBefore, b.inventory(t, central)); diff != "" {
		t.Errorf("left in the central account (-before +after):\n%s", diff)
	}
	if got := b.front.Left(); got != 0 {
		t.Errorf("%d AgentCore resources are left", got)
	}

	deployer.covered(t, "../../docs/deployer-policy.json", 60)
	delete(joiner.seen, "sts:AssumeRole") // it is how this test becomes the member account's deployer
	joiner.covered(t, "../../docs/member-deployer-policy.json", 15)
}

// environment is that of the runtime of an inventory.
func environment(inventory map[string]any) map[string]any {
	runtime := inventory["runtimes"].(map[string]any)["central_ops_dev"].(map[string]any)
	return runtime["Environment"].(map[string]any)
}

// environment makes a stack of that name and environment, with the configuration that infra/policy/testdata is made of.
func (b *box) environment(t *testing.T, name, endpoint string, others map[string]string) {
	t.Helper()
	b.stack(t, name, endpoint)
	values := map[string]string{
		"environment": name, "organizationId": "o-exampleorg", "externalId": "central-ops-example", "access": `{"ops":["all"],"readers":["env:prod"]}`,
		"accounts":    `[{"id":"111111111111","name":"Central","role":"central","environment":"shared"},{"id":"222222222222","name":"Production","environment":"prod"}]`,
		"gatewayLogs": "false", // the emulator has no log deliveries; infra's mocks check them
		"dailyTokens": "1000000", "tags": `{"team":"ops"}`,
	}
	for key, value := range others {
		values[key] = value
	}
	for key, value := range values {
		b.set(t, "central-ops:"+key, value)
	}
}

// plans sets values for a preview, which has to create resources of exactly these types and to replace or delete nothing.
func (b *box) plans(t *testing.T, values map[string]string, want ...string) {
	t.Helper()
	before, err := os.ReadFile(filepath.Join(b.project, "Pulumi.dev.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range values {
		b.set(t, "central-ops:"+key, value)
	}
	var plan struct{ Steps []struct{ Op, URN string } }
	if err := json.Unmarshal([]byte(b.pulumi(t, "preview", "--json")), &plan); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, step := range plan.Steps {
		switch step.Op {
		case "create":
			kinds := strings.Split(step.URN, "::")[2]
			got = append(got, kinds[strings.LastIndex(kinds, "$")+1:])
		case "same", "update", "refresh":
		default:
			t.Errorf("the preview has %s %s", step.Op, step.URN)
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("planned types mismatch (-want +got):\n%s", diff)
	}
	if err := os.WriteFile(filepath.Join(b.project, "Pulumi.dev.yaml"), before, 0o644); err != nil {
		t.Fatal(err)
	}
}

// fails runs pulumi and returns all that it says, which has to be about a failure.
func (b *box) fails(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "pulumi", append(args, "--non-interactive")...)
	cmd.Dir, cmd.Env = b.project, b.env
	text, err := cmd.CombinedOutput()
	if err == nil {
		t.Errorf("pulumi %s succeeds", strings.Join(args, " "))
	}
	return string(text)
}

func (b *box) outputs(t *testing.T) map[string]string {
	t.Helper()
	var exports map[string]string
	if err := json.Unmarshal([]byte(b.pulumi(t, "stack", "output", "--json")), &exports); err != nil {
		t.Fatal(err)
	}
	return exports
}

// retain has the next destroy of the stack leave resources of the type where they are.
func (b *box) retain(t *testing.T, kind string) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(b.pulumi(t, "stack", "export")))
	decoder.UseNumber()
	var state map[string]any
	if err := decoder.Decode(&state); err != nil {
		t.Fatal(err)
	}
	found := false
	for _, item := range state["deployment"].(map[string]any)["resources"].([]any) {
		if r := item.(map[string]any); r["type"] == kind {
			r["retainOnDelete"], found = true, true
		}
	}
	text, err := json.Marshal(state)
	if err != nil || !found {
		t.Fatalf("the stack has no %s (%v)", kind, err)
	}
	file := filepath.Join(t.TempDir(), "state.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	b.pulumi(t, "stack", "import", "--file", file)
}

// inventory is what exists in the account; see inventory.py.
func (b *box) inventory(t *testing.T, account string) map[string]any {
	t.Helper()
	args := []string{"-I", "-c", inventory, b.endpoint(), account}
	if account == central {
		control := httptest.NewServer(b.front)
		defer control.Close()
		args = append(args, control.URL)
	}
	cmd := exec.CommandContext(t.Context(), motoenv.Python(t), args...)
	var out, diagnostics bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &diagnostics
	if err := cmd.Run(); err != nil {
		t.Fatalf("inventory of %s: %v\n%s", account, err, tail(diagnostics.String()))
	}
	var all map[string]any
	if err := json.Unmarshal(out.Bytes(), &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// golden compares an inventory with a file. Policies that equal one of infra/policy/testdata are named by it, and ids that
// AWS chose by what they are of.
func (b *box) golden(t *testing.T, name string, got map[string]any, exports map[string]string) {
	t.Helper()
	files, err := filepath.Glob("../../infra/policy/testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no policies to compare with: %v", err)
	}
	known := map[string]any{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var document any
		if err := json.Unmarshal(text, &document); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		known["infra/policy/testdata/"+filepath.Base(file)] = document
	}
	var indented bytes.Buffer
	encoder := json.NewEncoder(&indented)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(named(got, known)); err != nil {
		t.Fatal(err)
	}
	text := indented.String()
	_, runtime, _ := strings.Cut(exports["runtimeArn"], ":runtime/")
	for chosen, value := range map[string]string{"user pool": exports["userPoolId"], "client": exports["userPoolClientId"], "gateway": exports["gatewayId"], "runtime": runtime} {
		if value != "" {
			text = strings.ReplaceAll(text, value, "<"+chosen+">")
		}
	}
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text); diff != "" {
		t.Errorf("%s mismatch (-want +got):\n%s", file, diff)
	}
}

// named puts the names of known documents in their place.
func named(value any, known map[string]any) any {
	for name, document := range known {
		if cmp.Equal(value, document) {
			return name
		}
	}
	switch v := value.(type) {
	case map[string]any:
		out := map[string]any{}
		for key, item := range v {
			out[key] = named(item, known)
		}
		return out
	case []any:
		out := make([]any, 0, len(v))
		for _, item := range v {
			out = append(out, named(item, known))
		}
		return out
	}
	return value
}

// recorder passes requests on to the emulator and keeps the actions that they ask for.
type recorder struct {
	url  string
	mu   sync.Mutex
	seen map[string]bool // as IAM names them
}

func (b *box) record(t *testing.T) *recorder {
	t.Helper()
	target, err := url.Parse(b.endpoint())
	if err != nil {
		t.Fatal(err)
	}
	proxy, r := httputil.NewSingleHostReverseProxy(target), &recorder{seen: map[string]bool{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			t.Error(err)
		}
		request.Body = io.NopCloser(bytes.NewReader(body))
		if action := actionOf(request, string(body)); action != "" {
			r.mu.Lock()
			r.seen[action] = true
			r.mu.Unlock()
		}
		proxy.ServeHTTP(w, request)
	}))
	t.Cleanup(server.Close)
	r.url = server.URL
	return r
}

var scope = regexp.MustCompile(`Credential=[^/]+/[0-9]{8}/[^/]+/([^/]+)/aws4_request`)

// actionOf is the IAM action of a signed request, "" when it cannot be told: Lambda's REST paths name no operation, and both
// policies take or leave all of Lambda.
func actionOf(r *http.Request, body string) string {
	match := scope.FindStringSubmatch(r.Header.Get("Authorization"))
	if match == nil || match[1] == "lambda" {
		return ""
	}
	service := match[1]
	if service == "monitoring" {
		service = "cloudwatch"
	}
	if target := r.Header.Get("X-Amz-Target"); target != "" {
		return service + ":" + target[strings.LastIndex(target, ".")+1:]
	}
	if _, operation, ok := strings.Cut(r.URL.Path, "/operation/"); ok {
		return service + ":" + operation
	}
	form, err := url.ParseQuery(body)
	if err != nil || form.Get("Action") == "" {
		return service + ":unknown " + r.Method + " " + r.URL.Path
	}
	return service + ":" + form.Get("Action")
}

// covered tells which of the actions the policy does not allow on anything. Of fewer than least it says that recording failed.
func (r *recorder) covered(t *testing.T, file string, least int) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var policy struct{ Statement []struct{ Action any } }
	if err := json.Unmarshal(text, &policy); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	var patterns []string
	for _, statement := range policy.Statement {
		switch action := statement.Action.(type) {
		case string:
			patterns = append(patterns, action)
		case []any:
			for _, one := range action {
				patterns = append(patterns, one.(string))
			}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.seen) < least {
		t.Errorf("%d actions were recorded for %s, want %d or more", len(r.seen), file, least)
	}
	t.Logf("%s: the AWS provider asked for %d actions", file, len(r.seen))
	for _, action := range slices.Sorted(maps.Keys(r.seen)) {
		allowed := slices.ContainsFunc(patterns, func(pattern string) bool {
			ok, err := path.Match(pattern, action)
			return err == nil && ok
		})
		if !allowed {
			t.Errorf("%s does not allow %s", file, action)
		}
	}
}

// lossy passes requests on. It can lose the answer to one: what was asked for happens, and the caller is told that it was
// refused, so that it neither repeats the call nor learns what was made.
type lossy struct {
	next http.Handler
	what atomic.Value // "METHOD path", "" for none
}

func (l *lossy) lose(what string) { l.what.Store(what) }

func (l *lossy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !l.what.CompareAndSwap(any(r.Method+" "+r.URL.Path), any("")) {
		l.next.ServeHTTP(w, r)
		return
	}
	l.next.ServeHTTP(httptest.NewRecorder(), r)
	w.Header().Set("X-Amzn-ErrorType", "AccessDeniedException")
	w.WriteHeader(http.StatusForbidden)
	_, _ = w.Write([]byte(`{"message":"the answer got lost"}`)) // the client has gone if this fails
}
