package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/central-ops/central-ops/infra/policy"
	"github.com/google/go-cmp/cmp"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// recorder keeps what a program registers. Registrations are concurrent.
type recorder struct {
	mu        sync.Mutex
	resources []pulumi.MockResourceArgs
}

func (r *recorder) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resources = append(r.resources, args)
	out := args.Inputs.Copy()
	out["arn"] = resource.NewStringProperty("arn:aws:mock:us-east-1:111111111111:" + args.Name)
	switch args.TypeToken {
	case "aws:iam/role:Role":
		out["arn"] = resource.NewStringProperty("arn:aws:iam::111111111111:role/" + args.Inputs["name"].StringValue())
	case "aws:lambda/alias:Alias":
		out["arn"] = resource.NewStringProperty("arn:aws:lambda:us-east-1:111111111111:function:" + args.Inputs["functionName"].StringValue() + ":" + args.Inputs["name"].StringValue())
	case "command:local:Command":
		out["stdout"] = resource.NewStringProperty(`{"arn":"arn:aws:bedrock-agentcore:us-east-1:111111111111:x/` + args.Name + `","id":"` + args.Name + `-id","uri":"u@sha256:0","url":"https://gateway.example/mcp","version":"1"}`)
	}
	return args.Name + "-id", out, nil
}

func (r *recorder) Call(args pulumi.MockCallArgs) (resource.PropertyMap, error) {
	return resource.PropertyMap{"accountId": resource.NewStringProperty("111111111111"), "partition": resource.NewStringProperty("aws"),
		"name": resource.NewStringProperty("us-east-1")}, nil
}

// register declares an environment with the values and returns what was registered.
func register(t *testing.T, values map[string]string) []pulumi.MockResourceArgs {
	t.Helper()
	resources, err := declared(t, values)
	if err != nil {
		t.Fatal(err)
	}
	return resources
}

func declared(t *testing.T, values map[string]string) ([]pulumi.MockResourceArgs, error) {
	t.Helper()
	full := map[string]string{"accounts": twoAccounts, "access": `{"ops":["all"]}`}
	for key, value := range values {
		full[key] = value
	}
	c, err := parse(full)
	if err != nil {
		t.Fatal(err)
	}
	tools, err := os.ReadFile("../services/bridge/tools.json")
	if err != nil {
		t.Fatal(err)
	}
	denies, err := readDenies()
	if err != nil {
		t.Fatal(err)
	}
	rec := &recorder{}
	err = pulumi.RunErr(func(ctx *pulumi.Context) error {
		return declare(ctx, c, artifacts{bridgeZip: "testdata/bridge.zip", interceptorZip: "testdata/bridge.zip", agent: "agent", digest: "sha256:0", tools: tools, denies: denies})
	}, pulumi.WithMocks("central-ops", "dev", rec))
	return rec.resources, err
}

func types(resources []pulumi.MockResourceArgs) map[string]int {
	counts := map[string]int{}
	for _, r := range resources {
		counts[r.TypeToken]++
	}
	return counts
}

func TestInventory(t *testing.T) {
	t.Parallel()
	resources := register(t, map[string]string{"stackSetOUs": `["ou-abcd-12345678"]`, "gatewayAuth": "workload", "provisionedConcurrency": "2", "tags": `{"team":"ops"}`,
		"dailyTokens": "5", "alarmEmail": "ops@example.com", "monthlyBudgetUSD": "100", "traces": "true",
		"permissionsBoundary": "arn:aws:iam::111111111111:policy/developers"})
	triggers := map[string]any{}
	for name, identity := range map[string][]any{
		"gateway": {"central-ops-dev"}, "gateway-bridge": {"central-ops-dev", "bridge"}, "runtime": {"central_ops_dev"},
		"runtime-endpoint": {"central_ops_dev", "live"}, "runtime-image": {"central-ops-dev-agent"}, "runtime-provider": {"central-ops-dev"},
	} {
		triggers[name] = append([]any{"111111111111", "us-east-1"}, identity...)
	}
	for _, r := range resources {
		text, err := json.Marshal(r.Inputs.Mappable())
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), `\"Principal\":\"*\"`) || strings.Contains(string(text), `\"AWS\":[\"*\"]`) {
			t.Errorf("%s %s: principal *", r.TypeToken, r.Name)
		}
		if tags := r.Inputs["tags"]; tags.IsObject() {
			if !tags.ObjectValue().HasValue("central-ops:environment") || !tags.ObjectValue().HasValue("team") {
				t.Errorf("%s %s: tags %v", r.TypeToken, r.Name, tags)
			}
		} else if taggable[r.TypeToken] {
			t.Errorf("%s %s has no tags", r.TypeToken, r.Name)
		}
		// What lives in the account by a name of its own carries the environment's; the others are names within those.
		within := map[string]bool{"aws:iam/rolePolicy:RolePolicy": true, "aws:lambda/alias:Alias": true, "aws:cognito/userGroup:UserGroup": true}
		for _, key := range []resource.PropertyKey{"name", "dashboardName", "domain", "identifier"} {
			name := r.Inputs[key]
			if !name.IsString() || within[r.TypeToken] {
				continue
			}
			if text := name.StringValue(); !strings.Contains(text, "central-ops-dev") && text != "/aws/bedrock-agentcore/runtimes/runtime-id-live" { // the Runtime's id is its name and more
				t.Errorf("%s %s: %s = %q does not name the environment", r.TypeToken, r.Name, key, text)
			}
			if limit := 64; strings.HasPrefix(r.TypeToken, "aws:iam/") && len(name.StringValue()) > limit {
				t.Errorf("%s: name of %d characters, IAM takes %d", r.Name, len(name.StringValue()), limit)
			}
		}
		switch r.TypeToken {
		case "aws:cloudwatch/logGroup:LogGroup":
			if n := r.Inputs["retentionInDays"]; !n.IsNumber() || n.NumberValue() == 0 {
				t.Errorf("%s keeps its logs for ever", r.Name)
			}
		case "aws:dynamodb/table:Table":
			if !r.Inputs["serverSideEncryption"].ObjectValue()["enabled"].BoolValue() {
				t.Errorf("%s is not encrypted", r.Name)
			}
		case "aws:iam/role:Role":
			if got := r.Inputs["permissionsBoundary"]; !got.IsString() || got.StringValue() != "arn:aws:iam::111111111111:policy/developers" {
				t.Errorf("%s is not bounded", r.Name)
			}
		case "aws:sns/topic:Topic":
			if !strings.HasPrefix(r.Inputs["kmsMasterKeyId"].StringValue(), "arn:") {
				t.Errorf("%s: CloudWatch cannot use the key that AWS manages", r.Name)
			}
		case "aws:kms/key:Key":
			if !r.Inputs["enableKeyRotation"].BoolValue() {
				t.Errorf("%s is never rotated", r.Name)
			}
		case "aws:ecr/repository:Repository":
			if r.Inputs["imageTagMutability"].StringValue() != "IMMUTABLE" || !r.Inputs["imageScanningConfiguration"].ObjectValue()["scanOnPush"].BoolValue() {
				t.Errorf("%s: tags can move, or nothing is scanned", r.Name)
			}
		case "aws:cognito/userPool:UserPool":
			if !r.Inputs["adminCreateUserConfig"].ObjectValue()["allowAdminCreateUserOnly"].BoolValue() {
				t.Errorf("%s: people may sign themselves up", r.Name)
			}
			if sensitive := r.Inputs["usernameConfiguration"].ObjectValue()["caseSensitive"]; !sensitive.IsBool() || sensitive.BoolValue() {
				t.Errorf("%s: Ada and ada can be two people", r.Name)
			}
		case "command:local:Command":
			for _, verb := range []resource.PropertyKey{"create", "update", "delete"} {
				if line := r.Inputs[verb].StringValue(); !strings.HasPrefix(line, "GOWORK=off go run ./cmd/agentcorectl ") || !strings.HasSuffix(line, " -account 111111111111") || strings.Contains(line, "{") {
					t.Errorf("%s: %s = %q", r.Name, verb, line)
				}
			}
			// Triggers replace: names are in them, and no digest, version or id that changes under way.
			if got, want := r.Inputs["triggers"].Mappable(), triggers[r.Name]; !cmp.Equal(got, want) {
				t.Errorf("%s has triggers %v, want %v", r.Name, got, want)
			}
		}
	}
}

// TestParents follows every resource up to a component of the stack: what hangs nowhere is not deleted with its owner.
func TestParents(t *testing.T) {
	t.Parallel()
	resources := register(t, map[string]string{"gatewayAuth": "workload", "provisionedConcurrency": "2", "dailyTokens": "5", "alarmEmail": "ops@example.com",
		"monthlyBudgetUSD": "100", "stackSetOUs": `["r-abcd"]`})
	for _, r := range resources {
		parent := r.RegisterRPC.GetParent()
		kinds := strings.Split(parent, "::")
		if len(kinds) != 4 {
			t.Fatalf("%s %s: parent %q is no URN", r.TypeToken, r.Name, parent)
		}
		if !r.Custom {
			if !strings.Contains(kinds[2], "pulumi:pulumi:Stack") {
				t.Errorf("component %s %s hangs under %s", r.TypeToken, r.Name, parent)
			}
			continue
		}
		// The component is the last type of the parent's path, and its name begins the resource's.
		if owner := kinds[2][strings.LastIndex(kinds[2], "$")+1:]; !strings.HasPrefix(owner, "central-ops:") || !strings.HasPrefix(r.Name, kinds[3]) {
			t.Errorf("%s %s hangs under %s", r.TypeToken, r.Name, parent)
		}
	}
}

// TestDeniedShare reads the alarm that compares what was denied with what was asked.
func TestDeniedShare(t *testing.T) {
	t.Parallel()
	filters, expression := map[string]string{}, ""
	for _, r := range register(t, nil) {
		switch {
		case r.TypeToken == "aws:cloudwatch/logMetricFilter:LogMetricFilter":
			filters[r.Inputs["metricTransformation"].ObjectValue()["name"].StringValue()] = r.Inputs["pattern"].StringValue()
		case r.Name == "observability-denied-share":
			for _, query := range r.Inputs["metricQueries"].ArrayValue() {
				q := query.ObjectValue()
				if q["id"].StringValue() == "share" {
					expression = q["expression"].StringValue()
				} else if _, there := filters[q["metric"].ObjectValue()["metricName"].StringValue()]; !there {
					filters[q["metric"].ObjectValue()["metricName"].StringValue()] = ""
				}
			}
		}
	}
	want := map[string]string{"DeniedTargets": `{ $.msg = "target finished" && $.status = "denied" }`, "Targets": `{ $.msg = "target finished" }`}
	if diff := cmp.Diff(want, filters); diff != "" {
		t.Errorf("metrics of the log mismatch (-want +got):\n%s", diff)
	}
	// The bridge has to write what the filters look for.
	for file, words := range map[string][]string{
		"../services/bridge/internal/audit/audit.go": {`"target finished"`, `slog.String("status", string(result.Status))`},
		"../services/bridge/bridge.go":               {`= "denied"`},
	} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range words {
			if !strings.Contains(string(source), word) {
				t.Errorf("%s has no %s: do its lines still match the filters?", file, word)
			}
		}
	}
	if want := "IF(targets >= 20, 100 * denied / targets, 0)"; expression != want {
		t.Errorf("expression = %q, want %q", expression, want)
	}
}

// taggable is every type of the program whose arguments take tags.
var taggable = map[string]bool{
	"aws:cloudwatch/logGroup:LogGroup": true, "aws:cloudwatch/metricAlarm:MetricAlarm": true, "aws:cognito/userPool:UserPool": true,
	"aws:dynamodb/table:Table": true, "aws:ecr/repository:Repository": true, "aws:iam/role:Role": true, "aws:lambda/function:Function": true,
	"aws:sns/topic:Topic": true, "aws:ssm/parameter:Parameter": true, "aws:cloudformation/stackSet:StackSet": true,
	"aws:kms/key:Key": true, "aws:budgets/budget:Budget": true,
}

// TestModes tells what a value of the configuration adds to the plain environment.
func TestModes(t *testing.T) {
	t.Parallel()
	plain := types(register(t, nil))
	for name, row := range map[string]struct {
		values map[string]string
		added  map[string]int
	}{
		"workload": {map[string]string{"gatewayAuth": "workload"}, map[string]int{
			"aws:cognito/resourceServer:ResourceServer": 1, "aws:cognito/userPoolClient:UserPoolClient": 1, "command:local:Command": 1}},
		"stack set": {map[string]string{"stackSetOUs": `["r-abcd"]`}, map[string]int{
			"central-ops:targetrole:StackSet": 1, "aws:cloudformation/stackSet:StackSet": 1, "aws:cloudformation/stackSetInstance:StackSetInstance": 1}},
		"no gateway logs": {map[string]string{"gatewayLogs": "false"}, map[string]int{
			"aws:cloudwatch/logGroup:LogGroup": -1, "aws:cloudwatch/logDeliverySource:LogDeliverySource": -1,
			"aws:cloudwatch/logDeliveryDestination:LogDeliveryDestination": -1, "aws:cloudwatch/logDelivery:LogDelivery": -1}},
		"provisioned concurrency": {map[string]string{"provisionedConcurrency": "1"}, map[string]int{
			"aws:lambda/provisionedConcurrencyConfig:ProvisionedConcurrencyConfig": 1}},
		"budget": {map[string]string{"alarmEmail": "ops@example.com", "monthlyBudgetUSD": "100"}, map[string]int{
			"aws:budgets/budget:Budget": 1, "aws:sns/topicSubscription:TopicSubscription": 1}},
		"tokens and mail": {map[string]string{"dailyTokens": "5", "alarmEmail": "ops@example.com"}, map[string]int{
			"aws:cloudwatch/metricAlarm:MetricAlarm": 1, "aws:sns/topicSubscription:TopicSubscription": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			added := types(register(t, row.values))
			for token, n := range plain {
				if added[token] -= n; added[token] == 0 {
					delete(added, token)
				}
			}
			if diff := cmp.Diff(row.added, added); diff != "" {
				t.Errorf("added mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

// TestTraces follows the switch to both services: where the spans go, and the bridge's right to send them.
func TestTraces(t *testing.T) {
	t.Parallel()
	const endpoint = `"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT":"https://xray.us-east-1.amazonaws.com/v1/traces"`
	for _, on := range []string{"true", "false"} {
		found := map[string]bool{}
		for _, r := range register(t, map[string]string{"traces": on}) {
			text, err := json.Marshal(r.Inputs.Mappable())
			if err != nil {
				t.Fatal(err)
			}
			plain := strings.ReplaceAll(string(text), `\"`, `"`)
			found[r.Name] = found[r.Name] || strings.Contains(plain, endpoint) || r.Name == "bridge-bridge" && strings.Contains(plain, "xray:PutTraceSegments")
		}
		if want := on == "true"; found["runtime"] != want || found["bridge-bridge"] != want {
			t.Errorf("traces %s: agent %v, bridge %v", on, found["runtime"], found["bridge-bridge"])
		}
	}
}

// TestWrongPlace has the credentials, or the provider, lead to another account or Region than the configuration says.
func TestWrongPlace(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		values map[string]string
		want   string
	}{
		"account": {map[string]string{"allowedAccountId": "999999999999"},
			`central-ops:allowedAccountId: must be the account of the credentials: got "999999999999", they are of 111111111111; try: AWS_PROFILE=<profile of 999999999999> pulumi up`},
		"central account": {map[string]string{"accounts": `[{"id":"222222222222","name":"Central","role":"central"}]`},
			`central-ops:accounts: the account with role central must be the one that is deployed to: got "222222222222", deploying to 111111111111`},
		"Region": {map[string]string{"aws:region": "eu-west-1"},
			`aws:region: must be the Region that the AWS provider uses: got "eu-west-1", it uses us-east-1; try: pulumi config set aws:region us-east-1`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			resources, err := declared(t, row.values)
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("error = %v, want %s", err, row.want)
			}
			if len(resources) != 0 {
				t.Errorf("%d resources are declared all the same", len(resources))
			}
		})
	}
}

// TestPoliciesAreTheGoldenOnes finds every policy of the program among the golden files of infra/policy, which the evaluator
// judges. Policies that only deny, of which the target role has many, need not be there.
func TestPoliciesAreTheGoldenOnes(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("policy/testdata/*.json")
	if err != nil {
		t.Fatal(err)
	}
	golden := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, text); err != nil {
			t.Fatal(err)
		}
		golden[compact.String()] = strings.TrimSuffix(filepath.Base(file), ".json")
	}
	known := map[string]string{"organizationId": "o-exampleorg", "externalId": "central-ops-example", "stackSetOUs": `["r-abcd"]`}
	used := map[string]bool{}
	judge := func(owner string, document any) {
		text, err := json.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		var read policy.Document // for the order of its members
		if err := json.Unmarshal(text, &read); err != nil {
			t.Fatalf("%s: %v", owner, err)
		}
		name, there := golden[read.JSON()]
		used[name] = true
		if allows := slices.ContainsFunc(read.Statement, func(s policy.Statement) bool { return s.Effect != "Deny" }); allows && !there {
			t.Errorf("%s has a policy that is in no golden file: %s", owner, text)
		}
	}
	for _, more := range []map[string]string{nil, {"gatewayAuth": "workload", "guardrail": "abcd1234:1", "traces": "true"}} {
		maps.Copy(known, more)
		for _, r := range register(t, known) {
			for _, key := range []resource.PropertyKey{"policy", "assumeRolePolicy"} {
				var document map[string]any
				if v := r.Inputs[key]; v.IsString() && json.Unmarshal([]byte(v.StringValue()), &document) == nil && document["Statement"] != nil {
					judge(r.Name, document)
				}
			}
			if body := r.Inputs["templateBody"]; body.IsString() {
				var template struct {
					Resources map[string]struct{ Properties map[string]any }
				}
				if err := json.Unmarshal([]byte(body.StringValue()), &template); err != nil {
					t.Fatal(err)
				}
				role := template.Resources["TargetRole"].Properties
				judge("the stack set's role", role["AssumeRolePolicyDocument"])
				for _, inline := range role["Policies"].([]any) {
					judge("the stack set's role", inline.(map[string]any)["PolicyDocument"])
				}
				for i := 1; ; i++ {
					deny, there := template.Resources[fmt.Sprintf("Deny%d", i)]
					if !there {
						break
					}
					judge("the stack set's role", deny.Properties["PolicyDocument"])
				}
			}
		}
	}
	for _, name := range golden {
		if !used[name] && name != "bridge-listed" && name != "target-trust-bare" { // without organization
			t.Errorf("no resource has the golden policy %s", name)
		}
	}
}
