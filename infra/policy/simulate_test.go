package policy_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/central-ops/central-ops/infra/policy"
)

const (
	bridgeARN = "arn:aws:iam::111111111111:role/central-ops-dev-bridge"
	targetARN = "arn:aws:iam::222222222222:role/CentralOpsTargetRole"
)

type keys = map[string]string

// request is one row: may the principal do it? allowed false means denied, explicitly or because nothing allows it.
type request struct {
	why       string
	principal string // key of the identities
	action    string
	resource  string
	context   keys
	trust     string // document that the resource holds, for assuming roles
	allowed   bool
}

// with returns a copy of base with changes; an empty value takes a key out.
func with(base keys, pairs ...string) keys {
	out := keys{}
	for key, value := range base {
		out[key] = value
	}
	for i := 0; i < len(pairs); i += 2 {
		if out[pairs[i]] = pairs[i+1]; pairs[i+1] == "" {
			delete(out, pairs[i])
		}
	}
	return out
}

func requests() []request {
	assume := keys{"sts:ExternalId": "central-ops-example", "aws:PrincipalOrgID": "o-exampleorg", "aws:ResourceOrgID": "o-exampleorg",
		"sts:RoleSessionName": "central-ops-dev", "sts:SourceIdentity": "ada"}
	annotate := keys{"aws:PrincipalOrgID": "o-exampleorg", "aws:ResourceOrgID": "o-exampleorg", "sts:SourceIdentity": "ada"}
	mcp, direct := keys{"aws:ViaAWSMCPService": "true"}, keys{"aws:ViaAWSMCPService": "false"}
	const table, function = "arn:aws:dynamodb:us-east-1:111111111111:table/", "arn:aws:lambda:us-east-1:111111111111:function:"
	rows := []request{
		{"right external id and organization", "bridge", "sts:AssumeRole", targetARN, assume, "target-trust", true},
		{"wrong external id", "bridge", "sts:AssumeRole", targetARN, with(assume, "sts:ExternalId", "other"), "target-trust", false},
		{"no external id", "bridge", "sts:AssumeRole", targetARN, with(assume, "sts:ExternalId", ""), "target-trust", false},
		{"caller of another organization", "bridge", "sts:AssumeRole", targetARN, with(assume, "aws:PrincipalOrgID", "o-other"), "target-trust", false},
		{"role of another organization", "bridge", "sts:AssumeRole", targetARN, with(assume, "aws:ResourceOrgID", "o-other"), "target-trust", false},
		{"no person behind it", "bridge", "sts:AssumeRole", targetARN, with(assume, "sts:SourceIdentity", ""), "target-trust", false},
		{"foreign session name", "bridge", "sts:AssumeRole", targetARN, with(assume, "sts:RoleSessionName", "mallory"), "target-trust", false},
		{"another role of the account", "bridge", "sts:AssumeRole", "arn:aws:iam::222222222222:role/Admin", assume, "target-trust", false},
		{"source identity", "bridge", "sts:SetSourceIdentity", targetARN, annotate, "target-trust", true},
		{"the person as a session tag", "bridge", "sts:TagSession", targetARN, with(annotate, "aws:TagKeys", "central-ops:user"), "target-trust", true},
		{"no session tags", "bridge", "sts:TagSession", targetARN, annotate, "target-trust", true},
		{"foreign session tag", "bridge", "sts:TagSession", targetARN, with(annotate, "aws:TagKeys", "department"), "target-trust", false},
		{"foreign session tag beside the person", "bridge", "sts:TagSession", targetARN, with(annotate, "aws:TagKeys", "central-ops:user,department"), "target-trust", false},
		{"foreign session tag that ends as ours", "bridge", "sts:TagSession", targetARN, with(annotate, "aws:TagKeys", "x-central-ops:user"), "target-trust", false},
		{"session tag from outside", "bridge", "sts:TagSession", targetARN, with(annotate, "aws:TagKeys", "central-ops:user", "aws:PrincipalOrgID", "o-other"), "target-trust", false},
		{"source identity from outside", "bridge", "sts:SetSourceIdentity", targetARN, with(annotate, "aws:PrincipalOrgID", "o-other"), "target-trust", false},
		{"another environment's bridge is not trusted, whatever it may do", "staging-bridge", "sts:AssumeRole", targetARN, assume, "target-trust", false},
		{"another environment's bridge says not who", "staging-bridge", "sts:SetSourceIdentity", targetARN, annotate, "target-trust", false},
		{"an administrator of the central account is not trusted", "administrator", "sts:AssumeRole", targetARN, assume, "target-trust", false},
		{"bare: the bridge for a person", "bridge", "sts:AssumeRole", targetARN, with(assume, "sts:ExternalId", ""), "target-trust-bare", true},
		{"bare: no person behind it", "bridge", "sts:AssumeRole", targetARN, with(assume, "sts:SourceIdentity", ""), "target-trust-bare", false},
		{"bare: an administrator of the central account", "administrator", "sts:AssumeRole", targetARN, assume, "target-trust-bare", false},
		{"bare: foreign session tag", "bridge", "sts:TagSession", targetARN, with(annotate, "aws:TagKeys", "department"), "target-trust-bare", false},
		{"the gateway's role is not trusted", "gateway", "sts:AssumeRole", targetARN, assume, "target-trust", false},
		{"the runtime's role is not trusted", "runtime", "sts:AssumeRole", targetARN, assume, "target-trust", false},
		{"listed: a listed account", "bridge-listed", "sts:AssumeRole", targetARN, assume, "target-trust", true},
		{"listed: another account", "bridge-listed", "sts:AssumeRole", "arn:aws:iam::444444444444:role/CentralOpsTargetRole", assume, "target-trust", false},

		{"bridge reads accounts", "bridge", "dynamodb:Scan", table + "central-ops-dev-accounts", nil, "", true},
		{"bridge sends no spans when traces are off", "bridge", "xray:PutTraceSegments", "*", nil, "", false},
		{"bridge sends spans when they are on", "bridge-traced", "xray:PutTraceSegments", "*", nil, "", true},
		{"bridge does not write accounts", "bridge", "dynamodb:PutItem", table + "central-ops-dev-accounts", nil, "", false},
		{"bridge shares sessions", "bridge", "dynamodb:PutItem", table + "central-ops-dev-sessions", nil, "", true},
		{"bridge deletes no session: they expire", "bridge", "dynamodb:DeleteItem", table + "central-ops-dev-sessions", nil, "", false},
		{"bridge does not list sessions", "bridge", "dynamodb:Scan", table + "central-ops-dev-sessions", nil, "", false},
		{"bridge reads no other table", "bridge", "dynamodb:GetItem", table + "customers", nil, "", false},
		{"bridge reads its policy", "bridge", "ssm:GetParameter", "arn:aws:ssm:us-east-1:111111111111:parameter/central-ops-dev/access-policy", nil, "", true},
		{"bridge does not write its policy", "bridge", "ssm:PutParameter", "arn:aws:ssm:us-east-1:111111111111:parameter/central-ops-dev/access-policy", nil, "", false},
		{"bridge reads no secret", "bridge", "secretsmanager:GetSecretValue", "arn:aws:secretsmanager:us-east-1:111111111111:secret:x-abcdef", nil, "", false},
		{"bridge writes its log", "bridge", "logs:PutLogEvents", "arn:aws:logs:us-east-1:111111111111:log-group:/aws/lambda/central-ops-dev-bridge:log-stream:a", nil, "", true},
		{"bridge writes no other log", "bridge", "logs:PutLogEvents", "arn:aws:logs:us-east-1:111111111111:log-group:/aws/lambda/other:log-stream:a", nil, "", false},
		{"interceptor writes its log", "interceptor", "logs:PutLogEvents", "arn:aws:logs:us-east-1:111111111111:log-group:/aws/lambda/central-ops-dev-interceptor:log-stream:a", nil, "", true},
		{"interceptor assumes nothing", "interceptor", "sts:AssumeRole", targetARN, assume, "target-trust", false},
		{"interceptor reads no table", "interceptor", "dynamodb:Scan", table + "central-ops-dev-accounts", nil, "", false},

		{"gateway calls the bridge", "gateway", "lambda:InvokeFunction", function + "central-ops-dev-bridge:live", nil, "", true},
		{"gateway calls the interceptor", "gateway", "lambda:InvokeFunction", function + "central-ops-dev-interceptor:live", nil, "", true},
		{"gateway calls no other version", "gateway", "lambda:InvokeFunction", function + "central-ops-dev-bridge:7", nil, "", false},
		{"gateway calls no other function", "gateway", "lambda:InvokeFunction", function + "payments:live", nil, "", false},
		{"gateway changes no function", "gateway", "lambda:UpdateFunctionCode", function + "central-ops-dev-bridge", nil, "", false},

		{"runtime asks its model", "runtime", "bedrock:InvokeModel", "arn:aws:bedrock:us-west-2::foundation-model/anthropic.claude-sonnet-5", nil, "", true},
		{"runtime asks by its profile", "runtime", "bedrock:InvokeModelWithResponseStream", "arn:aws:bedrock:us-east-1:111111111111:inference-profile/us.anthropic.claude-sonnet-5", nil, "", true},
		{"runtime asks no other model", "runtime", "bedrock:InvokeModel", "arn:aws:bedrock:us-west-2::foundation-model/anthropic.claude-opus-5", nil, "", false},
		{"runtime pulls its image", "runtime", "ecr:BatchGetImage", "arn:aws:ecr:us-east-1:111111111111:repository/central-ops-dev-agent", nil, "", true},
		{"runtime pulls no other image", "runtime", "ecr:BatchGetImage", "arn:aws:ecr:us-east-1:111111111111:repository/other", nil, "", false},
		{"runtime pushes no image", "runtime", "ecr:PutImage", "arn:aws:ecr:us-east-1:111111111111:repository/central-ops-dev-agent", nil, "", false},
		{"runtime calls no function", "runtime", "lambda:InvokeFunction", function + "central-ops-dev-bridge:live", nil, "", false},
		{"runtime takes no machine token in user mode", "runtime", "bedrock-agentcore:GetResourceOauth2Token", "arn:aws:bedrock-agentcore:us-east-1:111111111111:token-vault/default", nil, "", false},
		{"runtime takes one in workload mode", "runtime-workload", "bedrock-agentcore:GetResourceOauth2Token", "arn:aws:bedrock-agentcore:us-east-1:111111111111:token-vault/default", nil, "", true},
		{"runtime uses its guardrail", "runtime-workload", "bedrock:ApplyGuardrail", "arn:aws:bedrock:us-east-1:111111111111:guardrail/abcd1234", nil, "", true},
		{"runtime reads no other secret", "runtime-workload", "secretsmanager:GetSecretValue", "arn:aws:secretsmanager:us-east-1:111111111111:secret:payments-abcdef", nil, "", false},
		{"runtime measures in its namespace", "runtime", "cloudwatch:PutMetricData", "*", keys{"cloudwatch:namespace": "bedrock-agentcore"}, "", true},
		{"runtime measures nowhere else", "runtime", "cloudwatch:PutMetricData", "*", keys{"cloudwatch:namespace": "Billing"}, "", false},
	}
	instance := "arn:aws:ec2:us-east-1:222222222222:instance/i-0123456789abcdef0"
	for _, read := range []struct{ action, resource string }{
		{"ec2:DescribeInstances", "*"}, {"ec2:DescribeVpcs", "*"}, {"s3:ListAllMyBuckets", "*"}, {"iam:ListRoles", "*"}, {"rds:DescribeDBInstances", "*"},
		{"lambda:ListFunctions", "*"}, {"cloudwatch:DescribeAlarms", "*"}, {"logs:DescribeLogGroups", "*"},
	} {
		rows = append(rows, request{"target reads through MCP", "target", read.action, read.resource, mcp, "", true},
			request{"target reads nothing directly", "target", read.action, read.resource, direct, "", false})
	}
	rows = append(rows, request{"target reads nothing when nobody says how it came", "target", "ec2:DescribeInstances", "*", nil, "", false})
	rows = append(rows, serviceRequests()...)
	rows = append(rows, deployerRequests()...)
	for _, refused := range []struct{ action, resource string }{
		{"secretsmanager:GetSecretValue", "arn:aws:secretsmanager:us-east-1:222222222222:secret:x-abcdef"}, {"s3:GetObject", "arn:aws:s3:::bucket/key"},
		{"ec2:TerminateInstances", instance}, {"ec2:RunInstances", instance}, {"ec2:GetPasswordData", instance},
		{"sts:AssumeRole", "arn:aws:iam::333333333333:role/x"}, {"sts:GetSessionToken", "*"}, {"iam:CreateUser", "arn:aws:iam::222222222222:user/x"},
		{"dynamodb:GetItem", "arn:aws:dynamodb:us-east-1:222222222222:table/t"}, {"dynamodb:Scan", "arn:aws:dynamodb:us-east-1:222222222222:table/t"},
		{"sqs:ReceiveMessage", "arn:aws:sqs:us-east-1:222222222222:q"}, {"kms:Decrypt", "arn:aws:kms:us-east-1:222222222222:key/11111111-2222-3333-4444-555555555555"},
		{"ecr:GetAuthorizationToken", "*"}, {"lambda:InvokeFunction", "arn:aws:lambda:us-east-1:222222222222:function:f"},
		{"s3:DeleteBucket", "arn:aws:s3:::bucket"}, {"rds:DeleteDBInstance", "arn:aws:rds:us-east-1:222222222222:db:d"},
	} {
		rows = append(rows, request{"target refuses through MCP", "target", refused.action, refused.resource, mcp, "", false})
	}
	return rows
}

// serviceRequests are AWS services that act as a role of the environment: the service trust policies.
func serviceRequests() []request {
	const role, core, function = "arn:aws:iam::111111111111:role/central-ops-dev-", "bedrock-agentcore.amazonaws.com", "lambda.amazonaws.com"
	const arn = "arn:aws:bedrock-agentcore:us-east-1:111111111111:"
	const key, alarms = "arn:aws:kms:us-east-1:111111111111:key/11111111-2222-3333-4444-555555555555", "cloudwatch.amazonaws.com"
	alarm := keys{"aws:SourceAccount": "111111111111", "aws:SourceArn": "arn:aws:cloudwatch:us-east-1:111111111111:alarm:central-ops-dev-bridge-errors"}
	gateway := keys{"aws:SourceAccount": "111111111111", "aws:SourceArn": arn + "gateway/central-ops-dev-abcdefghij"}
	runtime := keys{"aws:SourceAccount": "111111111111", "aws:SourceArn": arn + "runtime/central_ops_dev-abcdefghij"}
	return []request{
		{"AgentCore for the gateway", core, "sts:AssumeRole", role + "gateway", gateway, "gateway-trust", true},
		{"AgentCore for another gateway", core, "sts:AssumeRole", role + "gateway", with(gateway, "aws:SourceArn", arn+"gateway/other-abcdefghij"), "gateway-trust", false},
		{"AgentCore for a runtime as the gateway", core, "sts:AssumeRole", role + "gateway", runtime, "gateway-trust", false},
		{"AgentCore for another account's gateway", core, "sts:AssumeRole", role + "gateway", with(gateway, "aws:SourceAccount", "999999999999"), "gateway-trust", false},
		{"AgentCore for nobody", core, "sts:AssumeRole", role + "gateway", nil, "gateway-trust", false},
		{"Lambda as the gateway", function, "sts:AssumeRole", role + "gateway", gateway, "gateway-trust", false},
		{"AgentCore for the runtime", core, "sts:AssumeRole", role + "runtime", runtime, "runtime-trust", true},
		{"AgentCore for another account's runtime", core, "sts:AssumeRole", role + "runtime", with(runtime, "aws:SourceAccount", "999999999999"), "runtime-trust", false},
		{"AgentCore for another Region's runtime", core, "sts:AssumeRole", role + "runtime",
			with(runtime, "aws:SourceArn", "arn:aws:bedrock-agentcore:eu-west-1:111111111111:runtime/x"), "runtime-trust", false},
		{"Lambda as the runtime", function, "sts:AssumeRole", role + "runtime", runtime, "runtime-trust", false},
		{"Lambda as the bridge", function, "sts:AssumeRole", role + "bridge", nil, "lambda-trust", true},
		{"AgentCore as the bridge", core, "sts:AssumeRole", role + "bridge", gateway, "lambda-trust", false},
		{"CloudWatch encrypts an alarm", alarms, "kms:GenerateDataKey", key, alarm, "alarm-key", true},
		{"CloudWatch for another alarm", alarms, "kms:GenerateDataKey", key, with(alarm, "aws:SourceArn", "arn:aws:cloudwatch:us-east-1:111111111111:alarm:other"), "alarm-key", false},
		{"CloudWatch for another account's alarm", alarms, "kms:GenerateDataKey", key, with(alarm, "aws:SourceAccount", "999999999999"), "alarm-key", false},
		{"CloudWatch does not delete the key", alarms, "kms:ScheduleKeyDeletion", key, alarm, "alarm-key", false},
		{"S3 uses the key", "s3.amazonaws.com", "kms:Decrypt", key, alarm, "alarm-key", false},
		{"EC2 as the bridge", "ec2.amazonaws.com", "sts:AssumeRole", role + "bridge", nil, "lambda-trust", false},
	}
}

// deployerRequests are about docs/deployer-policy.json, and docs/member-deployer-policy.json: who has an account join.
func deployerRequests() []request {
	const role = "arn:aws:iam::111111111111:role/"
	const key, pool = "arn:aws:kms:us-east-1:111111111111:key/11111111-2222-3333-4444-555555555555", "arn:aws:cognito-idp:us-east-1:111111111111:userpool/us-east-1_abcdefghi"
	pass, own := keys{"iam:PassedToService": "lambda.amazonaws.com"}, keys{"aws:ResourceTag/central-ops:environment": "dev"}
	return []request{
		{"deployer hands a role to Lambda", "deployer", "iam:PassRole", role + "central-ops-dev-bridge", pass, "", true},
		{"deployer hands no role to EC2", "deployer", "iam:PassRole", role + "central-ops-dev-bridge", keys{"iam:PassedToService": "ec2.amazonaws.com"}, "", false},
		{"deployer hands over no other role", "deployer", "iam:PassRole", role + "Admin", pass, "", false},
		{"deployer makes its roles", "deployer", "iam:CreateRole", role + "central-ops-dev-bridge", nil, "", true},
		{"deployer makes no other role", "deployer", "iam:CreateRole", role + "Admin", nil, "", false},
		{"deployer attaches no managed policy", "deployer", "iam:AttachRolePolicy", role + "central-ops-dev-bridge", nil, "", false},
		{"deployer makes a tagged key", "deployer", "kms:CreateKey", "*", keys{"aws:RequestTag/central-ops:environment": "dev"}, "", true},
		{"deployer makes no other key", "deployer", "kms:CreateKey", "*", nil, "", false},
		{"deployer retires its key", "deployer", "kms:ScheduleKeyDeletion", key, own, "alarm-key", true},
		{"deployer retires no other key", "deployer", "kms:ScheduleKeyDeletion", key, nil, "alarm-key", false},
		{"deployer decrypts nothing", "deployer", "kms:Decrypt", key, own, "alarm-key", false},
		{"deployer changes its pool", "deployer", "cognito-idp:UpdateUserPool", pool, own, "", true},
		{"deployer changes no other pool", "deployer", "cognito-idp:DeleteUserPool", pool, nil, "", false},
		{"deployer makes the budget", "deployer", "budgets:ModifyBudget", "arn:aws:budgets::111111111111:budget/central-ops-prod", nil, "", true},
		{"deployer changes no other budget", "deployer", "budgets:ModifyBudget", "arn:aws:budgets::111111111111:budget/company", nil, "", false},
		{"deployer changes the stack set", "deployer", "cloudformation:UpdateStackSet", "arn:aws:cloudformation:us-east-1:111111111111:stackset/central-ops-dev-target-role:11111111-2222-3333-4444-555555555555", nil, "", true},
		{"deployer deletes no other stack set", "deployer", "cloudformation:DeleteStackSet", "arn:aws:cloudformation:us-east-1:111111111111:stackset/baseline:11111111-2222-3333-4444-555555555555", nil, "", false},
		{"joiner makes the target role", "joiner", "iam:CreateRole", targetARN, nil, "", true},
		{"joiner makes no other role", "joiner", "iam:CreateRole", "arn:aws:iam::222222222222:role/Admin", nil, "", false},
		{"joiner attaches the deny lists", "joiner", "iam:AttachRolePolicy", targetARN, keys{"iam:PolicyARN": "arn:aws:iam::222222222222:policy/CentralOpsTargetRole-deny-1"}, "", true},
		{"joiner attaches no administrator's rights", "joiner", "iam:AttachRolePolicy", targetARN, keys{"iam:PolicyARN": "arn:aws:iam::aws:policy/AdministratorAccess"}, "", false},
		{"joiner makes no other policy", "joiner", "iam:CreatePolicy", "arn:aws:iam::222222222222:policy/other", nil, "", false},
		{"joiner hands over no role", "joiner", "iam:PassRole", targetARN, keys{"iam:PassedToService": "lambda.amazonaws.com"}, "", false},
		{"joiner assumes nothing", "joiner", "sts:AssumeRole", targetARN, nil, "", false},
		{"deployer makes no user", "deployer", "iam:CreateUser", "arn:aws:iam::111111111111:user/x", nil, "", false},
		{"deployer assumes no target role", "deployer", "sts:AssumeRole", targetARN, nil, "", false},
		{"deployer makes the table", "deployer", "dynamodb:CreateTable", "arn:aws:dynamodb:us-east-1:111111111111:table/central-ops-dev-accounts", nil, "", true},
		{"deployer deletes no other table", "deployer", "dynamodb:DeleteTable", "arn:aws:dynamodb:us-east-1:111111111111:table/customers", nil, "", false},
		{"deployer changes no other function", "deployer", "lambda:UpdateFunctionCode", "arn:aws:lambda:us-east-1:111111111111:function:payments", nil, "", false},
		{"deployer changes the gateway", "deployer", "bedrock-agentcore:UpdateGateway", "arn:aws:bedrock-agentcore:us-east-1:111111111111:gateway/central-ops-dev-abcdefghij", nil, "", true},
		{"deployer calls no gateway", "deployer", "bedrock-agentcore:InvokeGateway", "arn:aws:bedrock-agentcore:us-east-1:111111111111:gateway/central-ops-dev-abcdefghij", nil, "", false},
		{"deployer reads no secret", "deployer", "secretsmanager:GetSecretValue", "arn:aws:secretsmanager:us-east-1:111111111111:secret:bedrock-agentcore-identity-abcdef", nil, "", false},
	}
}

// TestSimulate has an independent evaluator judge the policies as they are deployed. AWS's two managed policies of the
// target role are left out: what they add is limited by the same denies.
func TestSimulate(t *testing.T) {
	t.Parallel()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not on PATH; install it and run npm ci in infra/policy/simulate")
	}
	if _, err := os.Stat("simulate/node_modules"); err != nil {
		t.Skip("the evaluator is not installed: npm ci in infra/policy/simulate")
	}
	all, role := documents(t), target(t)
	type policyOf map[string]any
	identities := map[string][]policyOf{}
	for _, name := range []string{"bridge", "bridge-listed", "bridge-traced", "interceptor", "gateway", "runtime", "runtime-workload"} {
		identities[name] = []policyOf{{"name": name, "policy": all[name]}}
	}
	for _, document := range append([]policy.Document{role.Inline["read"], role.Inline["deny"]}, role.Denies...) {
		identities["target"] = append(identities["target"], policyOf{"name": document.Statement[0].Sid, "policy": document})
	}
	for name, file := range map[string]string{"deployer": "deployer-policy.json", "joiner": "member-deployer-policy.json"} {
		text, err := os.ReadFile("../../docs/" + file)
		if err != nil {
			t.Fatal(err)
		}
		identities[name] = []policyOf{{"name": name, "policy": json.RawMessage(text)}}
	}
	// They may do anything by their own policies: what refuses them is the trust policy.
	for _, name := range []string{"staging-bridge", "administrator"} {
		identities[name] = []policyOf{{"name": name, "policy": policy.New(policy.Statement{Sid: "All", Effect: "Allow", Action: []string{"*"}, Resource: []string{"*"}})}}
	}
	principals := keys{"joiner": "arn:aws:iam::222222222222:role/joiner", "staging-bridge": "arn:aws:iam::111111111111:role/central-ops-staging-bridge", "administrator": "arn:aws:iam::111111111111:user/administrator",
		"target": "arn:aws:sts::222222222222:assumed-role/CentralOpsTargetRole/central-ops-dev", "bridge": bridgeARN, "bridge-listed": bridgeARN, "bridge-traced": bridgeARN}
	var simulations []any
	for _, row := range requests() {
		principal := principals[row.principal]
		if strings.HasSuffix(row.principal, ".amazonaws.com") {
			principal = row.principal
		} else if principal == "" {
			principal = "arn:aws:iam::111111111111:role/central-ops-dev-" + row.principal
		}
		account := "111111111111"
		if row.principal == "target" || row.principal == "joiner" || strings.HasPrefix(row.trust, "target-trust") {
			account = "222222222222"
		}
		context := map[string]any{}
		for key, value := range row.context {
			if context[key] = value; key == "aws:TagKeys" { // the one key with many values
				context[key] = strings.Split(value, ",")
			}
		}
		simulation := map[string]any{
			"request": map[string]any{"principal": principal, "action": row.action, "contextVariables": context,
				"resource": map[string]any{"resource": row.resource, "accountId": account}},
			"identityPolicies": append([]policyOf{}, identities[row.principal]...), "serviceControlPolicies": []any{}, "resourceControlPolicies": []any{},
		}
		if row.trust != "" {
			simulation["resourcePolicy"] = all[row.trust]
		}
		simulations = append(simulations, simulation)
	}
	input, err := json.Marshal(simulations)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), node, "simulate/simulate.mjs")
	var out, diagnostics bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &out, &diagnostics
	if err := cmd.Run(); err != nil {
		t.Fatalf("simulate: %v\n%s", err, diagnostics.String())
	}
	var results []string
	if err := json.Unmarshal(out.Bytes(), &results); err != nil {
		t.Fatal(err)
	}
	if len(results) != len(simulations) || len(results) < 60 {
		t.Fatalf("%d results of %d rows", len(results), len(simulations))
	}
	t.Logf("%d requests are judged", len(results))
	for i, row := range requests() {
		want := map[bool][]string{true: {"Allowed"}, false: {"ImplicitlyDenied", "ExplicitlyDenied"}}[row.allowed]
		if results[i] != want[0] && results[i] != want[len(want)-1] {
			t.Errorf("%s: %s by %s on %s: %s, want %v", row.why, row.action, row.principal, row.resource, results[i], want)
		}
	}
}
