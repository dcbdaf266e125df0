package awsmcp_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/central-ops/central-ops/e2e/local/awsmcp"
	"github.com/central-ops/central-ops/e2e/local/issued"
	"github.com/google/go-cmp/cmp"
)

const list = `{"jsonrpc":"2.0","id":2,"method":"tools/list"}`

// bridgeScript is the script that the bridge sends, with payload as its JSON.
func bridgeScript(t *testing.T, payload string) string {
	t.Helper()
	source, err := os.ReadFile("../../../services/bridge/internal/script/run.py")
	if err != nil {
		t.Fatal(err)
	}
	literal, err := json.Marshal(payload)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Replace(string(source), "@ASK@", string(literal), 1)
}

const describe = `{"service":"ec2","operation":"DescribeInstances","regions":["us-east-1","eu-west-1"],"enabled":false,"home":"us-east-1","params":{},"pages":null,"max_pages":5,"max_bytes":100000,"parallel":2,"seconds":10}`

func TestHTTP(t *testing.T) {
	t.Parallel()
	b := open(t, func(c *awsmcp.Config) { c.Unlimited = true })
	caller := b.caller("ASIACALLER0000000001", "central-ops-dev")
	session := b.session(&caller)
	unsigned := b.session(nil)
	wrong := caller
	wrong.SecretAccessKey = "wrong"
	expired := b.caller("ASIACALLER0000000002", "central-ops-dev")
	expired.Expires = time.Now().Add(-time.Second)
	b.store.Add(expired)

	type want struct {
		Status, Code int
	}
	for _, tc := range []struct {
		name    string
		signed  bool
		session string
		body    string
		want    want
	}{
		{"initialize unsigned", false, "", initialize, want{200, 0}},
		{"tools/list unsigned", false, "", list, want{200, 0}},
		{"tools/list signed", true, session, list, want{200, 0}},
		{"notification", true, session, `{"jsonrpc":"2.0","method":"notifications/initialized"}`, want{202, 0}},
		{"ping", true, session, `{"jsonrpc":"2.0","id":3,"method":"ping"}`, want{200, 0}},
		{"server/discover", true, session, `{"jsonrpc":"2.0","id":3,"method":"server/discover"}`, want{200, -32601}},
		{"not JSON", true, session, `{`, want{400, -32700}},
		{"batch", true, session, `[` + list + `]`, want{400, -32600}},
		{"request without id", true, session, `{"jsonrpc":"2.0","method":"tools/list"}`, want{400, -32600}},
		{"call without a name", true, session, `{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{}}`, want{400, -32602}},
		{"removed tool", true, session, call("aws___call_aws", map[string]string{}, nil), want{200, -32600}},
		{"tool without prefix", true, session, call("knowledge___x", map[string]string{}, nil), want{200, -32602}},
		{"unknown tool", true, session, call("aws___x", map[string]string{}, nil), want{200, -32602}},
		{"unknown tool unsigned", false, unsigned, call("aws___x", map[string]string{}, nil), want{401, 0}},
		{"run_script unsigned", false, unsigned, run("1"), want{401, 0}},
		{"knowledge unsigned", false, unsigned, call("aws___list_regions", map[string]string{}, nil), want{200, 0}},
		{"call without session", true, "", run("1"), want{400, -32600}},
		{"unknown session", true, "no-such-session", list, want{200, -30001}},
		{"session of an unsigned caller", true, unsigned, list, want{200, -30001}},
		{"run_script without code", true, session, call("aws___run_script", map[string]string{}, nil), want{200, -32602}},
		{"run_script with more than code", true, session, call("aws___run_script", map[string]string{"code": "1", "timeout": "1"}, nil), want{200, -32602}},
		{"too many tasks", true, session, call("aws___get_tasks", map[string]any{"task_ids": []string{"1", "2", "3", "4"}}, nil), want{200, -32602}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := &caller
			if !tc.signed {
				c = nil
			}
			got := b.post(c, tc.session, tc.body)
			if diff := cmp.Diff(tc.want, want{got.status, got.code()}); diff != "" {
				t.Errorf("answer mismatch (-want +got):\n%s\n%s", diff, got.body)
			}
			if got.status == http.StatusUnauthorized && !strings.HasPrefix(got.header.Get("WWW-Authenticate"), `Bearer realm="http://127.0.0.1`) {
				t.Errorf("WWW-Authenticate = %q", got.header.Get("WWW-Authenticate"))
			}
		})
	}
	for want, c := range map[string]*issued.Credential{"InvalidSignatureException": &wrong, "ExpiredTokenException": &expired} {
		if got := b.post(c, "", list); got.status != http.StatusForbidden || !strings.Contains(string(got.body), want) {
			t.Errorf("%d %s, want 403 %s", got.status, got.body, want)
		}
	}
	for _, method := range []string{http.MethodGet, http.MethodOptions, http.MethodPut} {
		got, err := b.send(t.Context(), nil, method, "", "")
		if err != nil {
			t.Fatal(err)
		}
		if got.status != http.StatusMethodNotAllowed || got.header.Get("Allow") != "POST, DELETE" {
			t.Errorf("%s: %d, Allow %q; want 405, POST, DELETE", method, got.status, got.header.Get("Allow"))
		}
	}
}

func TestToolsList(t *testing.T) {
	t.Parallel()
	b := open(t, nil)
	var got struct {
		Tools []struct {
			Name        string
			Description string
			InputSchema struct{ Type string }
			Annotations struct {
				ReadOnlyHint    bool
				DestructiveHint *bool
			}
		}
	}
	if err := json.Unmarshal(b.post(nil, "", list).Result, &got); err != nil {
		t.Fatal(err)
	}
	readOnly := map[string]bool{}
	for _, each := range got.Tools {
		readOnly[each.Name] = each.Annotations.ReadOnlyHint
		if each.Description == "" || each.InputSchema.Type != "object" {
			t.Errorf("%s: description %q, schema type %q", each.Name, each.Description, each.InputSchema.Type)
		}
		if destructive := each.Annotations.DestructiveHint; (each.Name == "aws___run_script") != (destructive != nil && *destructive) {
			t.Errorf("%s: destructiveHint = %v", each.Name, destructive)
		}
	}
	want := map[string]bool{
		"aws___run_script": false, "aws___get_presigned_url": false, "aws___get_tasks": true, "aws___search_documentation": true,
		"aws___read_documentation": true, "aws___retrieve_skill": true, "aws___list_regions": true, "aws___get_regional_availability": true,
	}
	if diff := cmp.Diff(want, readOnly); diff != "" {
		t.Errorf("readOnlyHint by tool mismatch (-want +got):\n%s", diff)
	}
}

func TestSessionBelongsToRoleAndSessionName(t *testing.T) {
	t.Parallel()
	b := open(t, func(c *awsmcp.Config) { c.Unlimited = true })
	first := b.caller("ASIACALLER0000000001", "central-ops-dev")
	renewed := b.caller("ASIACALLER0000000002", "central-ops-dev")
	other := b.caller("ASIACALLER0000000003", "somebody-else")
	session := b.session(&first)
	if got := b.post(&renewed, session, list); got.code() != 0 {
		t.Errorf("fresh keys of the same session name: code %d", got.code())
	}
	if got := b.post(&other, session, list); got.code() != -30001 {
		t.Errorf("another session name: code %d, want -30001", got.code())
	}
	if got, err := b.send(t.Context(), &other, http.MethodDelete, session, ""); err != nil || got.status != http.StatusNotFound {
		t.Errorf("DELETE by another: %d, %v; want 404", got.status, err)
	}
	if got, err := b.send(t.Context(), &first, http.MethodDelete, session, ""); err != nil || got.status != http.StatusOK {
		t.Errorf("DELETE by the owner: %d, %v; want 200", got.status, err)
	}
	if got := b.post(&first, session, list); got.code() != -30001 {
		t.Errorf("after DELETE: code %d, want -30001", got.code())
	}
	var events []string
	for _, r := range b.trail.Account(account) {
		events = append(events, r.EventName)
	}
	if diff := cmp.Diff([]string{"Initialize", "DestroySession"}, events); diff != "" {
		t.Errorf("trail mismatch (-want +got):\n%s", diff)
	}
}

func TestSessionLossAndQuota(t *testing.T) {
	t.Parallel()
	b := open(t, func(c *awsmcp.Config) { c.Unlimited, c.SessionLost404, c.SessionsAccount = true, true, 4 })
	caller := b.caller("ASIACALLER0000000001", "central-ops-dev")
	session := b.session(&caller)
	b.session(&caller)
	if got := b.post(&caller, "", initialize); got.status != http.StatusTooManyRequests {
		t.Errorf("third session of a principal that may have two: %d, want 429", got.status)
	}
	b.server.EndSessions(account)
	if got := b.post(&caller, session, list); got.status != http.StatusNotFound || len(got.body) != 0 {
		t.Errorf("lost session: %d %q, want an empty 404", got.status, got.body)
	}
	if n := b.server.Sessions(""); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
}

func TestRequestQuota(t *testing.T) {
	t.Parallel()
	start := time.Now()
	clock := start
	b := open(t, func(c *awsmcp.Config) { c.Now = func() time.Time { return clock } })
	caller := b.caller("ASIACALLER0000000001", "central-ops-dev")
	var statuses []int
	for range 11 {
		statuses = append(statuses, b.post(&caller, "", list).status)
	}
	if want := append(slices.Repeat([]int{200}, 10), 429); !slices.Equal(statuses, want) {
		t.Errorf("statuses within one instant = %v, want ten 200 and a 429", statuses)
	}
	clock = start.Add(100 * time.Millisecond)
	if got := b.post(&caller, "", list); got.status != http.StatusOK {
		t.Errorf("a tenth of a second later: %d, want 200", got.status)
	}
	if got := b.post(&caller, "", list); got.status != http.StatusTooManyRequests || got.code() != -32004 {
		t.Errorf("then: %d, code %d; want 429, -32004", got.status, got.code())
	}
}

func TestScripted(t *testing.T) {
	t.Parallel()
	b := open(t, func(c *awsmcp.Config) {
		c.Unlimited = true
		c.Answer = func(_ context.Context, ask awsmcp.Ask) (json.RawMessage, error) {
			if ask.Region == "eu-west-1" {
				return nil, awsmcp.APIError("RequestLimitExceeded", ask.Operation, "Request limit exceeded.")
			}
			return json.Marshal(map[string]any{"Account": ask.Account})
		}
	})
	caller := b.caller("ASIACALLER0000000001", "central-ops-dev")
	session := b.session(&caller)
	got := b.run(&caller, session, bridgeScript(t, describe))
	const want = `{"regions":{"eu-west-1":{"calls":1,"more":false,"error":"ClientError('An error occurred (RequestLimitExceeded) when calling the DescribeInstances operation: Request limit exceeded.')"},"us-east-1":{"document":{"Account":"222222222222"},"calls":1,"more":false}},"enabled":null}`
	if string(got.ReturnValue) != want || len(got.APICalls) != 2 {
		t.Errorf("result = %+v\nwant %s", got, want)
	}
	denied := b.run(&caller, session, bridgeScript(t, strings.Replace(describe, `"ec2","operation":"DescribeInstances"`, `"lambda","operation":"ListFunctions"`, 1)))
	if !strings.Contains(string(denied.ReturnValue), "(AccessDeniedException) when calling the ListFunctions operation") || !strings.Contains(string(denied.ReturnValue), "explicit deny") {
		t.Errorf("what the role denies when it comes by MCP: %s", denied.ReturnValue)
	}
	if got := b.run(&caller, session, "1 + 1"); got.Status != "error" {
		t.Errorf("a script of somebody else: %+v, want an error", got)
	}
}

func TestTasks(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	b := open(t, func(c *awsmcp.Config) {
		c.Unlimited = true
		c.Answer = func(ctx context.Context, _ awsmcp.Ask) (json.RawMessage, error) {
			select {
			case <-release:
				return json.RawMessage(`{}`), nil
			case <-ctx.Done(): // the test has failed
				return nil, ctx.Err()
			}
		}
	})
	caller := b.caller("ASIACALLER0000000001", "central-ops-dev")
	other := b.caller("ASIACALLER0000000002", "somebody-else")
	session := b.session(&caller)
	b.server.Inject(awsmcp.Fault{Tool: "aws___run_script", AsTask: true, Times: 1})
	started := b.run(&caller, session, bridgeScript(t, describe))
	if started.Status != "working" || started.TaskID == "" {
		t.Fatalf("run_script = %+v, want a task", started)
	}
	look := func(c string) script {
		who, in := &caller, session
		if c == "other" {
			who, in = &other, b.session(&other)
		}
		tasks := structured[struct{ Tasks []script }](t, b.post(who, in, call("aws___get_tasks", map[string]any{"task_ids": []string{started.TaskID}}, nil))).Tasks
		if len(tasks) != 1 {
			t.Fatalf("%d tasks, want 1", len(tasks))
		}
		return tasks[0]
	}
	if got := look("owner"); got.Status != "working" {
		t.Errorf("while it runs: %+v", got)
	}
	if got := look("other"); got.Status != "error" {
		t.Errorf("somebody else sees %+v", got)
	}
	close(release)
	got := look("owner")
	for got.Status == "working" {
		got = look("owner")
	}
	if got.Status != "success" || got.TaskID != started.TaskID || len(got.ReturnValue) == 0 {
		t.Errorf("at the end: %+v", got)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	b := open(t, func(c *awsmcp.Config) { c.Unlimited = true })
	caller := b.caller("ASIACALLER0000000001", "central-ops-dev")
	session := b.session(&caller)
	body := run(bridgeScript(t, describe))
	for _, tc := range []struct {
		name  string
		fault awsmcp.Fault
		check func(reply) bool
	}{
		{"429 with Retry-After", awsmcp.Throttled.RetryAfter(2), func(r reply) bool {
			return r.status == 429 && r.header.Get("Retry-After") == "2" && r.code() == -32004
		}},
		{"429 bare", awsmcp.ThrottledBare, func(r reply) bool {
			return r.status == 429 && r.header.Get("Retry-After") == "" && len(r.body) == 0
		}},
		{"401", awsmcp.Unauthorized, func(r reply) bool { return r.status == 401 }},
		{"403 expired", awsmcp.Expired, func(r reply) bool {
			return r.status == 403 && strings.Contains(string(r.body), "ExpiredTokenException")
		}},
		{"503", awsmcp.Unavailable, func(r reply) bool { return r.status == 503 && !r.decoded }},
		{"server-sent event", awsmcp.Fault{SSE: true}, func(r reply) bool {
			return r.header.Get("Content-Type") == "text/event-stream" && strings.HasPrefix(string(r.body), "event: message\ndata: {") && strings.HasSuffix(string(r.body), "}\n\n")
		}},
		{"large answer", awsmcp.Fault{Pad: 7 << 20}, func(r reply) bool { return len(r.body) > 6<<20 && len(r.Result) > 0 }},
		{"bytes that are not UTF-8", awsmcp.Fault{InvalidUTF8: true}, func(r reply) bool { return strings.Contains(string(r.body), "\xff") }},
		{"script error", awsmcp.Fault{ScriptError: "ValueError: boom"}, func(r reply) bool {
			got := structured[script](t, r)
			return got.Status == "error" && got.Error == "ValueError: boom" && got.Stderr != ""
		}},
		{"session lost", awsmcp.Fault{LoseSession: true}, func(r reply) bool { return r.code() == -30001 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.fault.Tool, tc.fault.Times, tc.fault.Account = "aws___run_script", 1, account
			b.server.Inject(tc.fault)
			if got := b.post(&caller, session, body); !tc.check(got) {
				t.Errorf("answer: %d %v %.300q", got.status, got.header, got.body)
			}
		})
	}
	session = b.session(&caller)
	for name, fault := range map[string]awsmcp.Fault{"reset": {Reset: true}, "truncated event": {CutSSE: true}} {
		fault.Times = 1
		b.server.Inject(fault)
		if got, err := b.send(t.Context(), &caller, http.MethodPost, session, body); err == nil {
			t.Errorf("%s: the request succeeded with %d", name, got.status)
		}
	}
	b.server.Inject(awsmcp.Fault{Status: 503, Skip: 1})
	if got := b.post(&caller, session, list).status; got != 200 {
		t.Errorf("a skipped request: %d", got)
	}
	for range 2 {
		if got := b.post(&caller, session, list).status; got != 503 {
			t.Errorf("a fault without end: %d", got)
		}
	}
	b.server.ClearFaults()
	if got := b.post(&caller, session, list).status; got != 200 {
		t.Errorf("after ClearFaults: %d", got)
	}

	// Last, as the request may reach a busy machine's server after its deadline, and would take another fault then.
	b.server.Inject(awsmcp.Fault{Hang: true})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := b.send(ctx, &caller, http.MethodPost, session, body); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("hang: %v, want a deadline", err)
	}
}

func TestKnowledge(t *testing.T) {
	t.Parallel()
	b := open(t, func(c *awsmcp.Config) { c.Unlimited = true })
	session := b.session(nil)
	for _, tc := range []struct{ tool, arguments, want string }{
		{"aws___search_documentation", `{"search_phrase":"security group rules"}`, "stand-in, not AWS documentation"},
		{"aws___search_documentation", `{"search_phrase":"zzz"}`, `{"content":{"result":[]}}`},
		{"aws___read_documentation", `{"requests":[{"url":"https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html","max_length":10}]}`, `"truncated":true`},
		{"aws___read_documentation", `{"requests":[{"url":"https://example.com"}]}`, `"error_code":"not_found"`},
		{"aws___retrieve_skill", `{"skill_name":"ec2-inventory"}`, "Sample skill"},
		{"aws___retrieve_skill", `{"skill_name":"none"}`, "errorMessage"},
		{"aws___list_regions", `{}`, `"region_id":"eu-west-1"`},
		{"aws___get_regional_availability", `{"regions":["eu-west-1","xx-1"],"resource_type":"product","filters":["Amazon S3"]}`, `"failed_regions":["xx-1"]`},
	} {
		got := b.post(nil, session, call(tc.tool, json.RawMessage(tc.arguments), nil))
		if text := string(structured[json.RawMessage](t, got)); !strings.Contains(text, tc.want) {
			t.Errorf("%s %s = %s, want ...%s...", tc.tool, tc.arguments, text, tc.want)
		}
	}
	for tool, arguments := range map[string]string{
		"aws___search_documentation": `{}`, "aws___read_documentation": `{"requests":[]}`, "aws___retrieve_skill": `{"skill_name":1}`,
		"aws___get_regional_availability": `{"regions":["eu-west-1"],"resource_type":"x"}`,
	} {
		if got := b.post(nil, session, call(tool, json.RawMessage(arguments), nil)); got.code() != -32602 {
			t.Errorf("%s %s: code %d, want -32602", tool, arguments, got.code())
		}
	}
}

func TestTrailShapes(t *testing.T) {
	t.Parallel()
	for _, documented := range []bool{false, true} {
		b := open(t, func(c *awsmcp.Config) { c.DocumentedTrail = documented })
		caller := b.caller("ASIACALLER0000000001", "central-ops-dev")
		session := b.session(&caller)
		b.run(&caller, session, bridgeScript(t, describe))
		records := b.trail.Account(account)
		last := records[len(records)-1]
		if len(records) != 4 {
			t.Fatalf("%d records, want Initialize, two downstream calls and the tool call", len(records))
		}
		downstream, ok := last.AdditionalEventData["downstreamRequests"].([]map[string]string)
		if !ok || len(downstream) != 2 || downstream[0]["requestId"] != records[1].RequestID {
			t.Errorf("downstream requests %v do not join with record %s", last.AdditionalEventData, records[1].RequestID)
		}
		if records[1].UserIdentity.SessionContext.SourceIdentity != "olivia" || records[1].UserIdentity.InvokedBy != "aws-mcp.amazonaws.com" {
			t.Errorf("downstream record names %+v", records[1].UserIdentity)
		}
		type shape struct{ Source, Name, Type, Category string }
		want := shape{"aws-mcp.amazonaws.com", "CallReadWriteTool", "AwsApiCall", "Management"}
		if documented {
			want = shape{"aws-mcp.us-east-1.api.aws", "CallTool", "AwsMcpEvent", "Data"}
		}
		if diff := cmp.Diff(want, shape{last.EventSource, last.EventName, last.EventType, last.EventCategory}); diff != "" {
			t.Errorf("documented %t: record mismatch (-want +got):\n%s", documented, diff)
		}
		if documented && last.MCPEventDetails["sessionId"] != session {
			t.Errorf("mcpEventDetails = %v", last.MCPEventDetails)
		}
	}
}

func TestAction(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ service, operation, want string }{
		{"ec2", "DescribeInstances", "ec2:DescribeInstances"},
		{"s3", "ListBuckets", "s3:ListAllMyBuckets"},
		{"elbv2", "DescribeLoadBalancers", "elasticloadbalancing:DescribeLoadBalancers"},
		{"resourcegroupstaggingapi", "GetResources", "tag:GetResources"},
		{"apigateway", "GetRestApis", "apigateway:GET"},
		{"apigatewayv2", "UpdateApi", "apigateway:PATCH"},
		{"lambda", "Invoke", "lambda:InvokeFunction"},
	} {
		if got := awsmcp.Action(tc.service, tc.operation); got != tc.want {
			t.Errorf("Action(%s, %s) = %s, want %s", tc.service, tc.operation, got, tc.want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]awsmcp.Config{"nothing": {}, "neither Python nor Answer": {Store: open(t, nil).store}} {
		if _, err := awsmcp.New(config); err == nil {
			t.Errorf("New accepted a Config with %s", name)
		}
	}
}
