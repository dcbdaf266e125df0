package policy

import "strings"

// LambdaTrust lets Lambda run a function as the role. Lambda documents no source condition for execution roles; who may
// hand the role to a function is decided by iam:PassRole (see docs/deployer-policy.json).
func LambdaTrust() Document {
	return New(Statement{
		Sid: "LambdaRunsTheFunction", Effect: "Allow",
		Principal: &Principal{Service: []string{"lambda.amazonaws.com"}}, Action: []string{"sts:AssumeRole"},
	})
}

// GatewayTrust lets AgentCore act as the role for gateways of that name only. A gateway's id is its lower-cased name and
// ten characters, not known before it exists, hence the pattern.
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/gateway-prerequisites-permissions.html
func GatewayTrust(at Place, gateway string) Document {
	return agentCoreTrust(at, at.ARN("bedrock-agentcore", "gateway/"+strings.ToLower(gateway)+"-*"))
}

// RuntimeTrust lets AgentCore act as the role for resources of this account and Region: a narrower source ARN is not
// documented for the Runtime.
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-permissions.html
func RuntimeTrust(at Place) Document {
	return agentCoreTrust(at, at.ARN("bedrock-agentcore", "*"))
}

func agentCoreTrust(at Place, source string) Document {
	return New(Statement{
		Sid: "AgentCoreForThisAccount", Effect: "Allow",
		Principal: &Principal{Service: []string{"bedrock-agentcore.amazonaws.com"}}, Action: []string{"sts:AssumeRole"},
		Condition: Condition{
			"StringEquals": {"aws:SourceAccount": {at.Account}},
			"ArnLike":      {"aws:SourceArn": {source}},
		},
	})
}

// BridgeArgs is what the bridge may touch.
type BridgeArgs struct {
	LogGroupARN     string
	AccountsTable   string   // ARN
	SessionTable    string   // ARN
	PolicyParameter string   // ARN of the SSM parameter with the access policy
	TargetRole      string   // name of the target role
	OrganizationID  string   // "" limits the bridge to Accounts
	Accounts        []string // ids of the accounts in the configuration
	Traces          bool     // send spans to X-Ray
}

// Bridge is the permission policy of the bridge's role.
//
// With an organization the account in the role's ARN is open, so that an account joins by its own member stack alone;
// aws:ResourceOrgID keeps it inside the organization. Without one the roles are listed.
func Bridge(at Place, a BridgeArgs) Document {
	roles, condition := []string{at.RoleARN("*", a.TargetRole)}, Condition{"StringEquals": {"aws:ResourceOrgID": {a.OrganizationID}}}
	if a.OrganizationID == "" {
		roles, condition = nil, nil
		for _, id := range a.Accounts {
			roles = append(roles, at.RoleARN(id, a.TargetRole))
		}
	}
	statements := []Statement{
		allow("AssumeTargetRoles", []string{"sts:AssumeRole", "sts:SetSourceIdentity", "sts:TagSession"}, roles, condition),
		allow("ReadAccounts", []string{"dynamodb:Scan"}, []string{a.AccountsTable}, nil),
		allow("ShareSessions", []string{"dynamodb:GetItem", "dynamodb:PutItem"}, []string{a.SessionTable}, nil),
		allow("ReadAccessPolicy", []string{"ssm:GetParameter"}, []string{a.PolicyParameter}, nil),
		writeLogs(a.LogGroupARN),
	}
	if a.Traces {
		statements = append(statements, allow("Trace", []string{"xray:PutTraceSegments"}, []string{"*"}, nil)) // has no resource to name
	}
	return New(statements...)
}

// AlarmKey is the policy of the key that the alarms' topic is encrypted with. The account administers it by its own IAM
// policies; CloudWatch uses it for the environment's alarms. With the key that AWS manages for SNS no alarm is delivered:
// its policy does not know CloudWatch and cannot be changed.
// https://repost.aws/knowledge-center/cloudwatch-configure-alarm-sns
// https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html
func AlarmKey(at Place, prefix string) Document {
	self := []string{"*"} // in the policy of a key: this key
	return New(
		Statement{Sid: "AccountAdministers", Effect: "Allow", Principal: &Principal{AWS: []string{"arn:" + at.Partition + ":iam::" + at.Account + ":root"}},
			Action: []string{"kms:*"}, Resource: self},
		Statement{Sid: "AlarmsOfTheEnvironment", Effect: "Allow", Principal: &Principal{Service: []string{"cloudwatch.amazonaws.com"}},
			Action: []string{"kms:Decrypt", "kms:GenerateDataKey*"}, Resource: self,
			Condition: Condition{"StringEquals": {"aws:SourceAccount": {at.Account}}, "ArnLike": {"aws:SourceArn": {at.ARN("cloudwatch", "alarm:"+prefix+"-*")}}}},
	)
}

// Interceptor is the permission policy of the interceptor's role: it writes its log and nothing else.
func Interceptor(logGroupARN string) Document { return New(writeLogs(logGroupARN)) }

func writeLogs(group string) Statement {
	return allow("WriteLog", []string{"logs:CreateLogStream", "logs:PutLogEvents"}, []string{group + ":*"}, nil)
}

// Gateway is the permission policy of the gateway's role: exactly the functions it calls.
func Gateway(functions ...string) Document {
	return New(allow("CallFunctions", []string{"lambda:InvokeFunction"}, functions, nil))
}

// RuntimeArgs is what the agent may use.
type RuntimeArgs struct {
	RepositoryARN string
	Model         string // inference profile id, e.g. us.anthropic.claude-sonnet-5
	Guardrail     string // guardrail id; "" for none
	Provider      string // OAuth2 credential provider; "" unless gatewayAuth is workload
	Runtime       string // name of the Runtime, which its workload identity begins with
}

// Runtime is the permission policy of the agent's execution role. It has no sts:AssumeRole: only the bridge reaches
// other accounts.
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-permissions.html
func Runtime(at Place, a RuntimeArgs) Document {
	logs := at.ARN("logs", "log-group:/aws/bedrock-agentcore/runtimes/")
	// Inference profiles send a request on to any Region of their geography, and the same action is checked there: the
	// foundation model's Region stays open, its name does not.
	// https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-prereq.html
	model := []string{"arn:" + at.Partition + ":bedrock:*::foundation-model/" + FoundationModel(a.Model)}
	if FoundationModel(a.Model) != a.Model {
		model = append(model, at.ARN("bedrock", "inference-profile/"+a.Model))
	}
	statements := []Statement{
		allow("PullImage", []string{"ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"}, []string{a.RepositoryARN}, nil),
		// ecr:GetAuthorizationToken and the X-Ray writes have no resource to name.
		allow("RegistryToken", []string{"ecr:GetAuthorizationToken"}, []string{"*"}, nil),
		allow("FindLogGroups", []string{"logs:DescribeLogGroups"}, []string{at.ARN("logs", "log-group:*")}, nil),
		allow("MakeLogGroup", []string{"logs:CreateLogGroup", "logs:DescribeLogStreams"}, []string{logs + "*"}, nil),
		allow("WriteLog", []string{"logs:CreateLogStream", "logs:PutLogEvents"}, []string{logs + "*:log-stream:*"}, nil),
		allow("Trace", []string{"xray:GetSamplingRules", "xray:GetSamplingTargets", "xray:PutTelemetryRecords", "xray:PutTraceSegments"}, []string{"*"}, nil),
		allow("Measure", []string{"cloudwatch:PutMetricData"}, []string{"*"}, Condition{"StringEquals": {"cloudwatch:namespace": {"bedrock-agentcore"}}}),
		allow("AskModel", []string{"bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"}, model, nil),
	}
	if a.Guardrail != "" {
		statements = append(statements, allow("ApplyGuardrail", []string{"bedrock:ApplyGuardrail"}, []string{at.ARN("bedrock", "guardrail/"+a.Guardrail)}, nil))
	}
	if a.Provider != "" {
		statements = append(statements,
			allow("MachineToken", []string{"bedrock-agentcore:GetResourceOauth2Token"}, []string{
				at.ARN("bedrock-agentcore", "workload-identity-directory/default"),
				at.ARN("bedrock-agentcore", "workload-identity-directory/default/workload-identity/"+a.Runtime+"-*"),
				at.ARN("bedrock-agentcore", "token-vault/default"),
				at.ARN("bedrock-agentcore", "token-vault/default/oauth2credentialprovider/"+a.Provider),
			}, nil),
			allow("MachineSecret", []string{"secretsmanager:GetSecretValue"}, []string{at.ARN("secretsmanager", "secret:bedrock-agentcore-identity!default/oauth2/"+a.Provider+"*")}, nil))
	}
	return New(statements...)
}

// FoundationModel is the model behind an inference profile: the profile's id without its geography.
// https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html
func FoundationModel(profile string) string {
	geography, model, found := strings.Cut(profile, ".")
	switch geography {
	case "us", "eu", "au", "jp", "apac", "ca", "us-gov", "global":
		if found {
			return model
		}
	}
	return profile
}
