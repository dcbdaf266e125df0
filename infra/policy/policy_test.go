package policy_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/central-ops/central-ops/infra/policy"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var place = policy.Place{Partition: "aws", Region: "us-east-1", Account: "111111111111"}

func denies(t *testing.T) policy.Denies {
	t.Helper()
	text, err := os.ReadFile("../../services/bridge/target-role-denies.json")
	if err != nil {
		t.Fatal(err)
	}
	var lists policy.Denies
	if err := json.Unmarshal(text, &lists); err != nil {
		t.Fatal(err)
	}
	return lists
}

func target(t *testing.T) policy.Target {
	return policy.NewTarget(policy.TargetArgs{
		Partition: "aws", BridgeRoleARN: "arn:aws:iam::111111111111:role/central-ops-dev-bridge",
		OrganizationID: "o-exampleorg", ExternalID: "central-ops-example", Denies: denies(t),
	})
}

// documents is every document that is deployed, by golden file.
func documents(t *testing.T) map[string]policy.Document {
	role, bridge := target(t), policy.BridgeArgs{
		LogGroupARN:     "arn:aws:logs:us-east-1:111111111111:log-group:/aws/lambda/central-ops-dev-bridge",
		AccountsTable:   "arn:aws:dynamodb:us-east-1:111111111111:table/central-ops-dev-accounts",
		SessionTable:    "arn:aws:dynamodb:us-east-1:111111111111:table/central-ops-dev-sessions",
		PolicyParameter: "arn:aws:ssm:us-east-1:111111111111:parameter/central-ops-dev/access-policy",
		TargetRole:      "CentralOpsTargetRole", OrganizationID: "o-exampleorg", Accounts: []string{"222222222222", "333333333333"},
	}
	listed, traced := bridge, bridge
	listed.OrganizationID, traced.Traces = "", true
	all := map[string]policy.Document{
		"lambda-trust":  policy.LambdaTrust(),
		"gateway-trust": policy.GatewayTrust(place, "central-ops-dev"),
		"runtime-trust": policy.RuntimeTrust(place),
		"bridge":        policy.Bridge(place, bridge),
		"bridge-listed": policy.Bridge(place, listed),
		"bridge-traced": policy.Bridge(place, traced),
		"alarm-key":     policy.AlarmKey(place, "central-ops-dev"),
		"interceptor":   policy.Interceptor("arn:aws:logs:us-east-1:111111111111:log-group:/aws/lambda/central-ops-dev-interceptor"),
		"gateway": policy.Gateway("arn:aws:lambda:us-east-1:111111111111:function:central-ops-dev-bridge:live",
			"arn:aws:lambda:us-east-1:111111111111:function:central-ops-dev-interceptor:live"),
		"runtime": policy.Runtime(place, policy.RuntimeArgs{
			RepositoryARN: "arn:aws:ecr:us-east-1:111111111111:repository/central-ops-dev-agent", Model: "us.anthropic.claude-sonnet-5", Runtime: "central_ops_dev"}),
		"runtime-workload": policy.Runtime(place, policy.RuntimeArgs{
			RepositoryARN: "arn:aws:ecr:us-east-1:111111111111:repository/central-ops-dev-agent", Model: "us.anthropic.claude-sonnet-5",
			Guardrail: "abcd1234", Provider: "central-ops-dev", Runtime: "central_ops_dev"}),
		"target-trust": role.Trust,
		// Neither organization nor ExternalId configured: the principal, the source identity and the session's name are left.
		"target-trust-bare": policy.NewTarget(policy.TargetArgs{Partition: "aws", BridgeRoleARN: "arn:aws:iam::111111111111:role/central-ops-dev-bridge"}).Trust,
	}
	for name, document := range role.Inline {
		all["target-"+name] = document
	}
	all["target-mcp-reads"] = role.Denies[len(role.Denies)-1]
	return all
}

func TestGolden(t *testing.T) {
	t.Parallel()
	for name, document := range documents(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got bytes.Buffer
			if err := json.Indent(&got, []byte(document.JSON()), "", "  "); err != nil {
				t.Fatal(err)
			}
			got.WriteByte('\n')
			file := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("%s mismatch (-want +got):\n%s", file, diff)
			}
		})
	}
}

// TestWildcards names every statement that allows an action on any resource, with its reason.
func TestWildcards(t *testing.T) {
	t.Parallel()
	reasons := map[string]string{
		"RegistryToken": "ecr:GetAuthorizationToken has no resource",
		"Trace":         "the X-Ray writes have no resource",
		// In the policy of a key the resource is the key.
		"AccountAdministers":     "KMS advises it: without it a key can become nobody's",
		"AlarmsOfTheEnvironment": "the key itself",
		"Measure":                "PutMetricData has no resource; the namespace is fixed by condition",
		"Read":                   "the target role reads whatever is there; actions, not resources, limit it",
	}
	for name, document := range documents(t) {
		for _, s := range document.Statement {
			for _, resource := range s.Resource {
				if s.Effect == "Allow" && resource == "*" && reasons[s.Sid] == "" {
					t.Errorf("%s: %s allows %v on any resource without a reason", name, s.Sid, s.Action)
				}
			}
			for _, action := range append(s.Action, s.NotAction...) {
				if service, _, _ := strings.Cut(action, ":"); s.Effect == "Allow" && strings.Contains(service, "*") || action != "*" && strings.Contains(service, "*") {
					t.Errorf("%s: %s: IAM refuses a wildcard service: %s", name, s.Sid, action)
				}
			}
			if s.Principal != nil {
				for _, who := range append(s.Principal.AWS, s.Principal.Service...) {
					if strings.Contains(who, "*") {
						t.Errorf("%s: %s: principal %s", name, s.Sid, who)
					}
				}
			}
		}
	}
}

// TestSizes holds the target role within IAM's limits, with the bridge's whole deny lists.
func TestSizes(t *testing.T) {
	t.Parallel()
	role := target(t)
	if n := len(role.Trust.JSON()); n > policy.MaxTrust {
		t.Errorf("trust policy has %d characters, limit %d", n, policy.MaxTrust)
	}
	inline := 0
	for _, document := range role.Inline {
		inline += len(document.JSON())
	}
	if inline > policy.MaxInline {
		t.Errorf("inline policies have %d characters, limit %d", inline, policy.MaxInline)
	}
	if n := len(role.Managed) + len(role.Denies); n > 10 {
		t.Errorf("%d managed policies, a role takes 10 at the default quota", n)
	}
	var denied []string
	for _, document := range role.Denies {
		if n := len(document.JSON()); n > policy.MaxManaged {
			t.Errorf("managed policy %s has %d characters, limit %d", document.Statement[0].Sid, n, policy.MaxManaged)
		}
		for _, s := range document.Statement {
			denied = append(denied, s.Action...)
		}
	}
	lists := denies(t)
	want := append(append(append([]string(nil), lists.Credentials...), lists.Secrets...), lists.Data...)
	if diff := cmp.Diff(want, denied); diff != "" {
		t.Errorf("denied actions mismatch (-list +role):\n%s", diff)
	}
	// https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
	if n := len(policy.Template("CentralOpsTargetRole", role)); n > 51200 {
		t.Errorf("the StackSet's template has %d bytes, limit 51200", n)
	}
}
