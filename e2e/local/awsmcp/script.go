package awsmcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/central-ops/central-ops/e2e/local/iampolicy"
	"github.com/central-ops/central-ops/e2e/local/issued"
)

// scriptResult is the structured content of run_script.
type scriptResult struct {
	Status      string          `json:"status"` // success or error
	ReturnValue json.RawMessage `json:"return_value,omitempty"`
	Error       string          `json:"error,omitempty"`
	APICalls    []apiCall       `json:"api_calls"`
	Stdout      string          `json:"stdout"`
	Stderr      string          `json:"stderr"`
}

// apiCall is one AWS call of a script.
type apiCall struct {
	Service   string         `json:"service"`
	Operation string         `json:"operation"`
	Status    string         `json:"status"`
	NItems    map[string]int `json:"n_items,omitempty"`

	// For the trail only.
	region    string
	requestID string
	errorCode string
	readOnly  bool
}

// script is what a runner runs.
type script struct {
	code   string
	region string // of calls that name none
	caller issued.Credential
	// authorize decides one AWS call. A refusal is an *apiError.
	authorize func(service, operation, region string, params map[string]any) error
}

// runner runs scripts. An error is a fault of ours, not of the script.
type runner interface {
	run(ctx context.Context, s script) (scriptResult, error)
	close()
}

// apiError is the error of an AWS service, as boto3 shows it.
type apiError struct{ Code, Message, Operation string }

func (e *apiError) Error() string {
	return fmt.Sprintf("An error occurred (%s) when calling the %s operation: %s", e.Code, e.Operation, e.Message)
}

func (s *Server) runScript(out *output, r *http.Request, c *call) {
	var arguments struct {
		Code *string `json:"code"`
	}
	if err := c.arguments(&arguments); err != nil {
		out.fail(c, http.StatusOK, err)
		return
	}
	if arguments.Code == nil {
		out.fail(c, http.StatusOK, &rpcError{codeInvalidParams, "Invalid arguments of aws___run_script: code is required"})
		return
	}
	wait := s.config.Latency
	if s.warmUp(c.session) || out.fault.ColdStart {
		wait += s.config.ColdStart
	}
	if out.fault.ScriptError != "" {
		if sleep(r.Context().Done(), wait) {
			out.tool(c, scriptResult{Status: "error", Error: out.fault.ScriptError, APICalls: []apiCall{}, Stderr: "Traceback (most recent call last):\n  File \"<script>\", line 1, in <module>\n" + out.fault.ScriptError + "\n"})
		}
		return
	}
	// A script goes on when the client gives up, as the service's would; it ends with its own time or the server.
	ctx, cancel := context.WithTimeout(s.background, s.config.ScriptTimeout)
	t := &task{id: newID(), owner: c.caller.PrincipalID, done: make(chan struct{}), made: s.now()}
	s.tasksDone.Go(func() {
		defer cancel()
		defer close(t.done)
		if !sleep(ctx.Done(), wait) {
			t.result = scriptResult{Status: "error", Error: "The script was stopped.", APICalls: []apiCall{}}
			return
		}
		t.result = s.execute(ctx, c, *arguments.Code)
	})
	if out.fault.AsTask {
		s.keep(t)
		out.tool(c, t.working())
		return
	}
	var late <-chan time.Time // never, unless scripts become tasks
	if s.config.TaskAfter > 0 {
		timer := time.NewTimer(s.config.TaskAfter)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-t.done:
		out.tool(c, t.result)
	case <-late:
		s.keep(t)
		out.tool(c, t.working())
	case <-r.Context().Done():
	}
}

// warmUp marks a session as warm and tells whether it was cold.
func (s *Server) warmUp(in *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	cold := !in.warm
	in.warm = true
	return cold
}

// execute runs a script with the caller's rights and records what it did.
func (s *Server) execute(ctx context.Context, c *call, code string) scriptResult {
	region := c.params.Meta.AWSRegion
	if region == "" {
		region = "us-east-1"
	}
	role, err := s.config.Roles.Role(ctx, c.caller.RoleARN)
	if err != nil {
		return scriptResult{Status: "error", Error: err.Error(), APICalls: []apiCall{}}
	}
	result, err := s.runner.run(ctx, script{
		code: code, region: region, caller: c.caller,
		authorize: func(service, operation, region string, params map[string]any) error {
			return s.authorize(role, c.caller, service, operation, region, params)
		},
	})
	if err != nil {
		result = scriptResult{Status: "error", Error: err.Error()}
	}
	if result.APICalls == nil {
		result.APICalls = []apiCall{}
	}
	s.recordTool(c, "CallReadWriteTool", result.APICalls)
	return result
}

// authorize decides one AWS call of a script by the role's policies and the session policy.
func (s *Server) authorize(role iampolicy.Role, caller issued.Credential, service, operation, region string, params map[string]any) error {
	refuse := func(code, message string) error {
		return &apiError{Code: code, Operation: operation, Message: message}
	}
	if caller.Expired(s.now()) {
		return refuse("ExpiredTokenException", "The security token included in the request is expired")
	}
	action := Action(service, operation)
	request := iampolicy.Request{Action: action, Resource: resource(service, params), Context: iampolicy.Context{}}
	request.Context.Set("aws:ViaAWSMCPService", "true")
	request.Context.Set("aws:CalledViaAWSMCP", principal)
	request.Context.Set("aws:RequestedRegion", region)
	request.Context.Set("aws:PrincipalArn", caller.RoleARN)
	request.Context.Set("aws:PrincipalAccount", caller.Account)
	request.Context.Set("aws:SecureTransport", "true")
	if caller.SourceIdentity != "" {
		request.Context.Set("aws:SourceIdentity", caller.SourceIdentity)
	}
	for key, value := range caller.Tags {
		request.Context.Set("aws:PrincipalTag/"+key, value)
	}
	byRole, err := role.Identity("", request)
	if err != nil {
		return err
	}
	decision, err := role.Identity(caller.SessionPolicy, request)
	if err != nil {
		return err
	}
	if decision == iampolicy.Allowed {
		return nil
	}
	kind := "session policy"
	if byRole != iampolicy.Allowed {
		kind = "identity-based policy"
	}
	because := "because no " + kind + " allows the " + action + " action"
	if decision == iampolicy.ExplicitDeny {
		because = "with an explicit deny in an " + kind
		if kind == "session policy" {
			because = "with an explicit deny in a session policy"
		}
	}
	message := fmt.Sprintf("User: %s is not authorized to perform: %s on resource: %s %s", caller.PrincipalARN, action, request.Resource, because)
	switch {
	case service == "ec2":
		return refuse("UnauthorizedOperation", "You are not authorized to perform this operation. "+message)
	case xmlServices[service]:
		return refuse("AccessDenied", message)
	default:
		return refuse("AccessDeniedException", message)
	}
}

// xmlServices answer in XML and spell a denial AccessDenied.
var xmlServices = map[string]bool{
	"autoscaling": true, "cloudformation": true, "cloudfront": true, "cloudwatch": true, "elasticache": true, "elb": true, "elbv2": true,
	"iam": true, "rds": true, "redshift": true, "route53": true, "s3": true, "s3control": true, "sns": true, "sts": true,
}

// prefixes are the IAM prefixes of services whose name in boto3 is another one.
// https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
var prefixes = map[string]string{
	"apigatewayv2": "apigateway", "bedrock-agent": "bedrock",
	"bedrock-agentcore-control": "bedrock-agentcore", "bedrock-runtime": "bedrock", "cloudcontrol": "cloudformation",
	"efs": "elasticfilesystem", "elb": "elasticloadbalancing", "elbv2": "elasticloadbalancing",
	"emr": "elasticmapreduce", "opensearch": "es", "resourcegroupstaggingapi": "tag", "s3control": "s3",
	"service-quotas": "servicequotas", "sesv2": "ses", "sso-admin": "sso",
	"stepfunctions": "states", "timestream-query": "timestream",
}

// actions are the operations whose IAM action has another name.
var actions = map[string]string{
	"s3:ListBuckets": "s3:ListAllMyBuckets", "s3:ListObjects": "s3:ListBucket", "s3:ListObjectsV2": "s3:ListBucket",
	"s3:HeadBucket": "s3:ListBucket", "s3:HeadObject": "s3:GetObject", "s3:ListObjectVersions": "s3:ListBucketVersions",
	"s3:GetBucketEncryption": "s3:GetEncryptionConfiguration", "s3:GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
	"s3:GetBucketLifecycle": "s3:GetLifecycleConfiguration", "s3:GetBucketReplication": "s3:GetReplicationConfiguration",
	"s3:GetBucketCors": "s3:GetBucketCORS", "s3:GetBucketNotificationConfiguration": "s3:GetBucketNotification",
	"s3:GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock", "s3:GetObjectLockConfiguration": "s3:GetBucketObjectLockConfiguration",
	"s3:DeleteObjects": "s3:DeleteObject", "s3:CopyObject": "s3:PutObject", "s3:SelectObjectContent": "s3:GetObject",
	"dynamodb:ExecuteStatement": "dynamodb:PartiQLSelect", "dynamodb:BatchExecuteStatement": "dynamodb:PartiQLSelect",
	"dynamodb:TransactGetItems": "dynamodb:GetItem", "dynamodb:TransactWriteItems": "dynamodb:PutItem",
	"lambda:Invoke": "lambda:InvokeFunction", "lambda:InvokeAsync": "lambda:InvokeFunction",
}

// Action returns the IAM action that decides about a boto3 operation, e.g. ec2:DescribeInstances. Where one
// operation needs several actions it is the first that AWS names.
func Action(service, operation string) string {
	prefix, ok := prefixes[service]
	if !ok {
		prefix = service
	}
	if prefix == "apigateway" {
		// API Gateway's actions are HTTP methods.
		switch {
		case strings.HasPrefix(operation, "Get"):
			return "apigateway:GET"
		case strings.HasPrefix(operation, "Delete"):
			return "apigateway:DELETE"
		case strings.HasPrefix(operation, "Update"):
			return "apigateway:PATCH"
		default:
			return "apigateway:POST"
		}
	}
	action := prefix + ":" + operation
	if other, ok := actions[action]; ok {
		return other
	}
	return action
}

// resource is the ARN that an action concerns, "*" where this stand-in does not work it out: a policy that names
// single resources then allows nothing, and denies nothing, by them.
func resource(service string, params map[string]any) string {
	name := func(key string) string {
		v, _ := params[key].(string)
		return v
	}
	if service != "s3" || name("Bucket") == "" {
		return "*"
	}
	arn := "arn:aws:s3:::" + name("Bucket")
	if key := name("Key"); key != "" {
		arn += "/" + key
	}
	return arn
}

// readOnly tells whether an operation's name promises not to change anything, for the trail.
func readOnly(operation string) bool {
	for _, verb := range []string{"Describe", "Get", "List", "Head", "Search", "Lookup", "BatchGet", "Query", "Scan"} {
		if strings.HasPrefix(operation, verb) {
			return true
		}
	}
	return false
}

// errorCode is the code of an *apiError, "" for anything else.
func errorCode(err error) string {
	if e, ok := errors.AsType[*apiError](err); ok {
		return e.Code
	}
	return ""
}
