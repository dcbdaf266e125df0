package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Denies is services/bridge/target-role-denies.json: IAM actions that return credentials, secrets, or customers' data.
type Denies struct {
	Credentials []string `json:"credentials"`
	Secrets     []string `json:"secrets"`
	Data        []string `json:"data"`
}

// TargetArgs describes the target role of one environment in one member account.
type TargetArgs struct {
	Partition      string
	BridgeRoleARN  string
	OrganizationID string // "" leaves the condition out
	ExternalID     string // "" leaves the condition out
	Denies         Denies
}

// Target is the whole target role: what the member stack declares and what the StackSet's template holds.
type Target struct {
	Trust   Document
	Inline  map[string]Document // policy name -> document
	Denies  []Document          // customer managed policies, each within MaxManaged: the lists are longer than inline policies may be
	Managed []string            // ARNs of AWS managed policies
}

// reads is what the role may do beyond SecurityAudit and ViewOnlyAccess: metrics, health, cost and capacity.
var reads = []string{
	"autoscaling:Describe*", "ce:Get*", "cloudtrail:LookupEvents", "cloudwatch:Describe*", "cloudwatch:Get*", "cloudwatch:List*",
	"compute-optimizer:Get*", "ec2:Describe*", "eks:Describe*", "eks:List*", "ecs:Describe*", "ecs:List*", "elasticloadbalancing:Describe*",
	"health:Describe*", "iam:Get*", "iam:List*", "lambda:GetAccountSettings", "lambda:List*", "logs:Describe*", "rds:Describe*", "rds:List*", "s3:GetBucket*",
	"s3:ListAllMyBuckets", "s3:ListBucket", "servicequotas:Get*", "servicequotas:List*", "sts:GetCallerIdentity", "tag:Get*",
}

// readServices may be read through MCP with the verbs below; everything else through MCP is denied, whatever allows it.
// IAM has no wildcard before the colon, so the services are listed.
var readServices = strings.Fields(`
	access-analyzer acm apigateway application-autoscaling appsync athena autoscaling backup batch bedrock budgets ce cloudformation
	cloudfront cloudtrail cloudwatch codebuild codedeploy codepipeline cognito-idp compute-optimizer config dms ds dynamodb ec2 ecr ecs
	eks elasticache elasticbeanstalk elasticfilesystem elasticloadbalancing elasticmapreduce es events firehose fsx glue guardduty health
	iam inspector2 kafka kinesis kms lambda lightsail logs macie2 mq organizations pipes ram rds redshift resource-groups route53
	route53domains route53resolver s3 sagemaker savingsplans scheduler secretsmanager securityhub servicequotas sns sqs ssm
	states support tag transfer trustedadvisor wafv2 workspaces xray`)

var readVerbs = []string{"Describe*", "Get*", "List*"}

// NewTarget returns the target role.
//
// It trusts one principal, the bridge's role, under a source identity: a session without a person behind it is refused.
// It reads, by two AWS managed policies and a short list of its own, and is denied what returns credentials, secrets or
// data, anything but reads, and any call that did not come through the AWS MCP Server, so that stolen keys are of no use directly.
// https://docs.aws.amazon.com/agent-toolkit/latest/userguide/security_iam_id-based-policy-examples.html
func NewTarget(a TargetArgs) Target {
	equals := map[string][]string{}
	if a.OrganizationID != "" {
		equals["aws:PrincipalOrgID"] = []string{a.OrganizationID}
	}
	bridge := &Principal{AWS: []string{a.BridgeRoleARN}}
	// sts:ExternalId is a key of AssumeRole alone: on SetSourceIdentity and TagSession the condition would never hold.
	assume := Condition{"StringLike": {"sts:RoleSessionName": {"central-ops-*"}, "sts:SourceIdentity": {"?*"}}}
	if len(equals) > 0 {
		assume["StringEquals"] = equals
	}
	if a.ExternalID != "" {
		withID := maps.Clone(equals)
		withID["sts:ExternalId"] = []string{a.ExternalID}
		assume["StringEquals"] = withID
	}
	// Session tags of other products stay out. A call without tags passes: ForAllValues holds for none.
	// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html
	annotate := Condition{"ForAllValues:StringLike": {"aws:TagKeys": {"central-ops:*"}}}
	if len(equals) > 0 {
		annotate["StringEquals"] = equals
	}
	all := []string{"*"} // a read has many resources; what may be read is limited by action
	return Target{
		Trust: New(
			Statement{Sid: "BridgeForAPerson", Effect: "Allow", Principal: bridge, Action: []string{"sts:AssumeRole"}, Condition: assume},
			Statement{Sid: "BridgeSaysWho", Effect: "Allow", Principal: bridge, Action: []string{"sts:SetSourceIdentity", "sts:TagSession"}, Condition: annotate},
		),
		Inline: map[string]Document{
			"read": New(allow("Read", reads, all, nil)),
			"deny": New(
				deny("OnlyThroughMCP", []string{"*"}, all, Condition{"BoolIfExists": {"aws:ViaAWSMCPService": {"false"}}}),
			),
		},
		Denies: append(chunks(all,
			named{"NoCredentials", a.Denies.Credentials}, named{"NoSecrets", a.Denies.Secrets}, named{"NoData", a.Denies.Data}),
			New(Statement{Sid: "OnlyReadsThroughMCP", Effect: "Deny", NotAction: readActions(), Resource: all,
				Condition: Condition{"Bool": {"aws:ViaAWSMCPService": {"true"}}}})),
		Managed: []string{
			fmt.Sprintf("arn:%s:iam::aws:policy/SecurityAudit", a.Partition),
			fmt.Sprintf("arn:%s:iam::aws:policy/job-function/ViewOnlyAccess", a.Partition),
		},
	}
}

// readActions is every read service with every read verb.
func readActions() []string {
	actions := []string{"cloudtrail:LookupEvents", "sts:GetCallerIdentity"}
	for _, service := range readServices {
		for _, verb := range readVerbs {
			actions = append(actions, service+":"+verb)
		}
	}
	slices.Sort(actions)
	return actions
}

// named is a list of actions under one reason.
type named struct {
	sid     string
	actions []string
}

// chunks spreads deny lists over documents that each fit into a managed policy. Order is kept, so that a new action
// changes as few documents as it can.
func chunks(resources []string, lists ...named) []Document {
	var documents []Document
	for _, list := range lists {
		rest := list.actions
		for part := 1; len(rest) > 0; part++ {
			n := len(rest)
			document := New(deny(fmt.Sprintf("%s%d", list.sid, part), rest, resources, nil))
			for len(document.JSON()) > MaxManaged {
				n--
				document = New(deny(fmt.Sprintf("%s%d", list.sid, part), rest[:n], resources, nil))
			}
			documents, rest = append(documents, document), rest[n:]
		}
	}
	return documents
}

// Template is the CloudFormation template of a StackSet that makes the same role. Tags come from the stack set.
func Template(name string, target Target) string {
	policies := []any{}
	for _, policy := range slices.Sorted(maps.Keys(target.Inline)) {
		policies = append(policies, map[string]any{"PolicyName": policy, "PolicyDocument": target.Inline[policy]})
	}
	resources, managed := map[string]any{}, []any{}
	for _, arn := range target.Managed {
		managed = append(managed, arn)
	}
	for i, document := range target.Denies {
		id := fmt.Sprintf("Deny%d", i+1)
		resources[id] = map[string]any{
			"Type":       "AWS::IAM::ManagedPolicy",
			"Properties": map[string]any{"ManagedPolicyName": DenyName(name, i), "PolicyDocument": document},
		}
		managed = append(managed, map[string]any{"Ref": id})
	}
	resources["TargetRole"] = map[string]any{
		"Type": "AWS::IAM::Role",
		"Properties": map[string]any{
			"RoleName": name, "AssumeRolePolicyDocument": target.Trust, "ManagedPolicyArns": managed,
			"MaxSessionDuration": 3600, "Policies": policies,
		},
	}
	text, err := json.Marshal(map[string]any{
		"AWSTemplateFormatVersion": "2010-09-09",
		"Description":              "Central Ops: the role that the bridge reads this account with",
		"Resources":                resources,
		"Outputs":                  map[string]any{"TargetRoleArn": map[string]any{"Value": map[string]any{"Fn::GetAtt": []string{"TargetRole", "Arn"}}}},
	})
	if err != nil {
		panic(fmt.Sprintf("policy: %v", err)) // only strings, numbers and documents
	}
	return string(text)
}

// DenyName is the name of the target role's managed policy number i.
func DenyName(role string, i int) string { return fmt.Sprintf("%s-deny-%d", role, i+1) }
