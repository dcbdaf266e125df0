package main

import (
	"errors"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

const twoAccounts = `[{"id":"111111111111","name":"Central","role":"central"},{"id":"222222222222","name":"Production","environment":"prod"}]`

func parse(values map[string]string) (Config, error) {
	region := values["aws:region"]
	keys := slices.Sorted(maps.Keys(values))
	keys = slices.DeleteFunc(keys, func(key string) bool { return key == "aws:region" })
	return ParseConfig(func(key string) string { return values[key] }, keys, region, func(name string) ([]byte, error) {
		if name != "accounts.json" {
			return nil, errors.New("no such file")
		}
		return []byte(`{"accounts":` + twoAccounts + `}`), nil
	})
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	got, err := parse(map[string]string{"accountsFile": "accounts.json", "access": `{"ops":["all"]}`})
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Environment: "dev", Region: "us-east-1", GatewayAuth: "user", Model: "us.anthropic.claude-sonnet-5", TargetRole: "CentralOpsTargetRole",
		MCPEndpoint: "https://aws-mcp.us-east-1.api.aws/mcp", MFA: "OPTIONAL", RetentionDays: 30, BridgeMemory: 512, GatewayLogs: true, StackSetCaller: "SELF",
		CallbackURLs: []string{"http://localhost:8976/callback"}, Access: map[string][]string{"ops": {"all"}},
		Accounts: []Account{{ID: "111111111111", Name: "Central", Role: "central"}, {ID: "222222222222", Name: "Production", Role: "member", Environment: "prod"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ParseConfig mismatch (-want +got):\n%s", diff)
	}
}

// The default model is one that can be called from the Region.
func TestDefaultModel(t *testing.T) {
	t.Parallel()
	for region, geography := range map[string]string{
		"us-west-2": "us", "eu-central-1": "eu", "ap-southeast-2": "au", "ap-northeast-1": "global",
	} {
		got, err := parse(map[string]string{"accountsFile": "accounts.json", "access": `{"ops":["all"]}`, "aws:region": region})
		if want := geography + ".anthropic.claude-sonnet-5"; err != nil || got.Model != want {
			t.Errorf("in %s: %q, %v, want %q", region, got.Model, err, want)
		}
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ key, value, want string }{
		"unknown environment":      {"environment", "test", `central-ops:environment: must be one of dev, staging, prod: got "test"`},
		"Region without AgentCore": {"aws:region", "eu-north-2", `got "eu-north-2"`},
		"organization":             {"organizationId", "acme", `central-ops:organizationId: must look like o-a1b2c3d4e5: got "acme"`},
		"external id":              {"externalId", "x", `central-ops:externalId: must have 2 to 1000 letters, digits or any of _+=,.@:/-: got "x"`},
		"gateway mode":             {"gatewayAuth", "iam", `central-ops:gatewayAuth: must be one of user, workload: got "iam"`},
		"guardrail":                {"guardrail", "abc", `central-ops:guardrail: must be <guardrail id>:<version>: got "abc"`},
		"retention":                {"retentionDays", "31", `central-ops:retentionDays: must be a period of CloudWatch Logs, such as 7, 30, 90, 365: got 31`},
		"memory":                   {"bridgeMemoryMB", "64", `central-ops:bridgeMemoryMB: must be a whole number from 128 to 10240: got "64"`},
		"concurrency":              {"provisionedConcurrency", "-1", `central-ops:provisionedConcurrency: must be a whole number from 0 to 1000: got "-1"`},
		"tokens":                   {"dailyTokens", "many", `central-ops:dailyTokens: must be a whole number from 0 to 1000000000: got "many"`},
		"flag":                     {"deletionProtection", "yes", `central-ops:deletionProtection: must be true or false: got "yes"`},
		"gateway logs":             {"gatewayLogs", "on", `central-ops:gatewayLogs: must be true or false: got "on"`},
		"second factor":            {"mfa", "SMS", `central-ops:mfa: must be one of OFF, OPTIONAL, ON: got "SMS"`},
		"role name":                {"targetRole", "a b", `central-ops:targetRole: must have 1 to 57 letters, digits or any of _+=,.@-: got "a b"`},
		"endpoint":                 {"mcpEndpoint", "http://x", `central-ops:mcpEndpoint: must be an https URL: got "http://x"`},
		"traces":                   {"traces", "1", `central-ops:traces: must be true or false: got "1"`},
		"budget":                   {"monthlyBudgetUSD", "1.5", `central-ops:monthlyBudgetUSD: must be a whole number from 0 to 10000000: got "1.5"`},
		"budget that tells nobody": {"monthlyBudgetUSD", "100", `central-ops:monthlyBudgetUSD: needs central-ops:alarmEmail, which is told: got 100`},
		"model":                    {"model", "Claude Sonnet", `central-ops:model: must be the id of an inference profile, such as us.anthropic.claude-sonnet-5: got "Claude Sonnet"`},
		"caller of the stack set":  {"stackSetCallAs", "ADMIN", `central-ops:stackSetCallAs: must be one of SELF, DELEGATED_ADMIN: got "ADMIN"`},
		"units":                    {"stackSetOUs", "ou-abcd-12345678", `central-ops:stackSetOUs: must be as docs/deploy.md shows (`},
		"unknown key":              {"retentionDay", "7", `central-ops:retentionDay: is no key; known: access, accessPolicies, accounts, accountsFile, alarmEmail, `},
		"account named all":        {"accounts", `[{"id":"222222222222","name":"all"}]`, `central-ops:accounts[0].name: must not look like all, env:<environment> or an account's id: it could not be told from them: got "all"`},
		"account named by an id":   {"accounts", `[{"id":"222222222222","name":"333333333333"}]`, `it could not be told from them: got "333333333333"`},
		"account named All":        {"accounts", `[{"id":"222222222222","name":"All"}]`, `it could not be told from them: got "All"`},
		"account named ENV:prod":   {"accounts", `[{"id":"222222222222","name":"ENV:prod"}]`, `it could not be told from them: got "ENV:prod"`},
		"account named by digits":  {"accounts", `[{"id":"222222222222","name":"2024"}]`, `it could not be told from them: got "2024"`},
		"account name with spaces": {"accounts", `[{"id":"222222222222","name":"Production "}]`, `central-ops:accounts[0].name: must not begin or end with a space: got "Production "`},
		"group without accounts":   {"access", `{"ops":[]}`, `central-ops:access: must let at least one group ask about accounts: no policy, no access: got {"ops":[]}`},
		"two values":               {"access", `{"ops":["all"]} {"dev":["all"]}`, `central-ops:access: must be as docs/deploy.md shows (there is more after it)`},
		"tag key":                  {"tags", `{"aws:x":"1"}`, `central-ops:tags: a key must have 1 to 128 letters, digits, spaces or any of _.:/=+@-, and begin neither with aws: nor with central-ops:: got "aws:x"`},
		"tag value":                {"tags", `{"team":"a;b"}`, `central-ops:tags.team: must have at most 256 letters, digits, spaces or any of _.:/=+@-: got "a;b"`},
		"callback without TLS":     {"callbackUrls", `["http://example.com/callback"]`, `central-ops:callbackUrls[0]: must be an https URL, or http on localhost: got "http://example.com/callback"`},
		"mail":                     {"alarmEmail", "ops", `central-ops:alarmEmail: must be an e-mail address: got "ops"`},
		"unit":                     {"stackSetOUs", `["ou-1"]`, `central-ops:stackSetOUs[0]: must be an organizational unit or root: got "ou-1"`},
		"allowed account":          {"allowedAccountId", "1", `central-ops:allowedAccountId: must have 12 digits: got "1"`},
		"boundary":                 {"permissionsBoundary", "developers", `central-ops:permissionsBoundary: must be the ARN of a managed policy: got "developers"`},
		"account id":               {"accounts", `[{"id":"1","name":"A"}]`, `central-ops:accounts[0].id: must have 12 digits: got "1"`},
		"account twice":            {"accounts", `[{"id":"222222222222","name":"A"},{"id":"222222222222","name":"B"}]`, `central-ops:accounts[1].id: must be there once: got "222222222222"`},
		"account name twice":       {"accounts", `[{"id":"222222222222","name":"A"},{"id":"333333333333","name":"a"}]`, `central-ops:accounts[1].name: must be there and be the only one: got "a"`},
		"account role":             {"accounts", `[{"id":"222222222222","name":"A","role":"hub"}]`, `central-ops:accounts[0].role: must be central or member: got "hub"`},
		"account environment":      {"accounts", `[{"id":"222222222222","name":"A","environment":"a<b"}]`, `central-ops:accounts[0].environment: must have at most 64 letters, digits or any of _.-: got "a\u003cb"`},
		"account field":            {"accounts", `[{"id":"222222222222","nam":"A"}]`, `unknown field "nam"`},
		"no accounts":              {"accounts", ``, `central-ops:accounts: must have at least one account, here or in central-ops:accountsFile: got null`},
		"both accounts":            {"accountsFile", `accounts.json`, `central-ops:accountsFile: cannot be set together with central-ops:accounts: got "accounts.json"`},
		"no access":                {"access", ``, `central-ops:access: must let at least one group ask about accounts: no policy, no access: got null`},
		"unknown selector":         {"access", `{"ops":["Staging"]}`, `central-ops:access.ops[0]: must be an account's id or name, env:<environment> or all: got "Staging"`},
		"empty environment":        {"access", `{"ops":["env:qa"]}`, `central-ops:access.ops[0]: must name the environment of an account: got "env:qa"`},
		"group name":               {"access", `{"a b":["all"]}`, `central-ops:access.a b: must be a group name of letters, digits or any of _.-: got "a b"`},
		"policy text":              {"accessPolicies", `permit(`, `central-ops:accessPolicies: must be Cedar (`},
		"tags":                     {"tags", `[]`, `central-ops:tags: must be as docs/deploy.md shows (`},
		"callback":                 {"callbackUrls", `"x"`, `central-ops:callbackUrls: must be as docs/deploy.md shows (`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			values := map[string]string{"accounts": twoAccounts, "access": `{"ops":["all"]}`}
			values[row.key] = row.value
			if _, err := parse(values); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("error = %v, want one with %s", err, row.want)
			}
		})
	}
}

func TestEveryFaultAtOnce(t *testing.T) {
	t.Parallel()
	_, err := parse(map[string]string{"environment": "test", "mfa": "SMS", "accountsFile": "gone.json"})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"central-ops:environment", "central-ops:mfa", "central-ops:accountsFile: must be a readable file (no such file)", "central-ops:access"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %s:\n%v", want, err)
		}
	}
}

func TestCedar(t *testing.T) {
	t.Parallel()
	c, err := parse(map[string]string{"accounts": twoAccounts, "access": `{"ops":["all"],"dev":["env:prod","Central"]}`, "accessPolicies": "forbid(principal, action, resource) when { false };\n"})
	if err != nil {
		t.Fatal(err)
	}
	want := `@id("access-dev")
permit(principal in Group::"dev", action == Action::"query", resource) when { resource.environment == "prod" || resource == Account::"111111111111" };
@id("access-ops")
permit(principal in Group::"ops", action == Action::"query", resource);
forbid(principal, action, resource) when { false };
`
	if diff := cmp.Diff(want, c.Cedar()); diff != "" {
		t.Errorf("Cedar mismatch (-want +got):\n%s", diff)
	}
}

// TestEveryKeyIsDocumented compares what is read with the table of docs/deploy.md.
func TestEveryKeyIsDocumented(t *testing.T) {
	t.Parallel()
	_, err := parse(map[string]string{"accounts": twoAccounts, "access": `{"ops":["all"]}`, "slip": "1"})
	if err == nil {
		t.Fatal("an unknown key is taken")
	}
	_, list, _ := strings.Cut(err.Error(), "central-ops:slip: is no key; known: ")
	text, err := os.ReadFile("../docs/deploy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "| key | default | meaning |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	var documented []string
	for _, line := range strings.Split(table, "\n")[1:] {
		for _, match := range regexp.MustCompile("`([A-Za-z]+)`").FindAllStringSubmatch(strings.Split(line, "|")[1], -1) {
			documented = append(documented, match[1])
		}
	}
	slices.Sort(documented)
	if diff := cmp.Diff(strings.Split(list, ", "), documented); diff != "" {
		t.Errorf("keys mismatch (-read +documented):\n%s", diff)
	}
}

// TestStackFiles reads the stack files of the repository: both are valid as they are, and differ by values alone.
func TestStackFiles(t *testing.T) {
	t.Parallel()
	got := map[string]Config{}
	for _, stack := range []string{"dev", "prod"} {
		text, err := os.ReadFile("../Pulumi." + stack + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		var file struct{ Config map[string]string }
		if err := yaml.Unmarshal(text, &file); err != nil {
			t.Fatal(err)
		}
		values := map[string]string{}
		for key, value := range file.Config {
			values[strings.TrimPrefix(key, "central-ops:")] = value
		}
		if got[stack], err = parse(values); err != nil {
			t.Errorf("Pulumi.%s.yaml: %v", stack, err)
		}
		if got[stack].Environment != stack {
			t.Errorf("Pulumi.%s.yaml is of environment %s", stack, got[stack].Environment)
		}
	}
	if dev, prod := got["dev"], got["prod"]; prod.RetentionDays <= dev.RetentionDays || !prod.DeletionProtection || prod.ProvisionedConcurrency == 0 || prod.DailyTokens == 0 || prod.MFA != "ON" {
		t.Errorf("prod is kept no better than dev: %+v", prod)
	}
}
