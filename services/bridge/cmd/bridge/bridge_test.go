package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
)

const describe = `{"accounts":["222222222222"],"service":"ec2","operation":"DescribeInstances"}`

func TestQueryAnswers(t *testing.T) {
	t.Parallel()
	b := start(t)
	got := b.call(b.token("ops"), "query", `{"accounts":["Production","env:staging","222222222222"],"regions":["eu-west-1","us-east-1"],
		"service":"EC2","operation":"describe-instances","group_by":"InstanceType"}`)
	if want := "222/eu-west-1=ok 222/us-east-1=ok 333/eu-west-1=ok 333/us-east-1=ok"; got.statuses() != want {
		t.Fatalf("got %s, want %s: %+v", got.statuses(), want, got.Error)
	}
	first := got.Results[0]
	if first.Count != 2 || len(first.Data) != 2 || first.AccountName != "Production" || first.Receipt.SourceIdentity != "alice" ||
		first.Receipt.RoleARN != "arn:aws:iam::222222222222:role/CentralOpsTargetRole" || first.Receipt.Operation != "ec2:DescribeInstances" {
		t.Errorf("first result: %+v %+v", first, first.Receipt)
	}
	if len(got.Groups) != 2 || got.Groups[0].Count != 4 || !slices.Equal(got.Groups[0].Accounts, []string{"222222222222", "333333333333"}) {
		t.Errorf("groups: %+v", got.Groups)
	}
	for _, run := range b.mcp.runs {
		if run.MetaRegion != "eu-west-1" || !slices.Equal(run.Ask.Regions, []string{"eu-west-1", "us-east-1"}) {
			t.Errorf("Region on the wire: _meta %s, script %v", run.MetaRegion, run.Ask.Regions)
		}
	}
	if n := b.sts.assumed(); n != 2 {
		t.Errorf("%d AssumeRole, want one for each account", n)
	}
	if got := b.call(b.token("ops"), "query", describe); got.Groups == nil || len(got.Groups) > 0 || got.Notes == nil {
		t.Errorf("without group_by: groups %v and notes %v, want empty lists", got.Groups, got.Notes)
	}
	if n := b.sts.assumed(); n != 2 {
		t.Errorf("%d AssumeRole after a second query, want the first ones to serve", n)
	}
}

func TestPolicyDeniesByName(t *testing.T) {
	t.Parallel()
	b := start(t, `ACCESS_POLICY=permit(principal in Group::"dev", action, resource);
@id("not-prod") forbid(principal in Group::"dev", action, resource) when { resource.environment == "prod" };
@id("only-ireland") permit(principal in Group::"eu", action, resource) when { context.region == "eu-west-1" && resource.environment == "prod" };`)
	got := b.call(b.token("dev"), "query", `{"accounts":["all"],"service":"ec2","operation":"DescribeInstances"}`)
	if want := "111/us-east-1=ok 222/us-east-1=denied 333/us-east-1=ok"; got.statuses() != want {
		t.Fatalf("got %s, want %s", got.statuses(), want)
	}
	denied := got.Results[1]
	if denied.AccountName != "" || denied.Error.Code != "forbidden" || !strings.Contains(denied.Error.Message, `"not-prod"`) {
		t.Errorf("denied row: %+v %+v", denied, denied.Error)
	}
	if got.Coverage.Targets != 3 || got.Coverage.Answered != 2 || got.Coverage.Denied != 1 || !strings.Contains(strings.Join(got.Notes, " "), "partial") {
		t.Errorf("coverage %+v, notes %v", got.Coverage, got.Notes)
	}
	for group, want := range map[string][]string{"dev": {"111111111111", "333333333333"}, "eu": {"222222222222"}, "nobody": nil} {
		var ids []string
		for _, account := range b.call(b.token(group), "list_accounts", `{}`).Accounts {
			ids = append(ids, account.ID)
		}
		if diff := cmp.Diff(want, ids); diff != "" {
			t.Errorf("list_accounts of %s (-want +got):\n%s", group, diff)
		}
	}
	if got := b.call(b.token("nobody"), "query", describe); got.statuses() != "222/us-east-1=denied" || !strings.HasPrefix(got.Results[0].Error.Message, "no access policy permits") ||
		strings.Join(got.Notes, " ") != "no target answered: there is nothing to count" {
		t.Errorf("nobody: %s %+v, notes %q", got.statuses(), got.Results, got.Notes)
	}
}

func TestTokensRefused(t *testing.T) {
	t.Parallel()
	b := start(t)
	other := start(t)
	set := func(name string, value any) func(jwt.MapClaims) {
		return func(c jwt.MapClaims) { c[name] = value }
	}
	for name, token := range map[string]string{
		"none":           "",
		"no JWT":         "argument-canary",
		"another pool":   other.token("ops", set("iss", b.keys.server.URL)),
		"another issuer": b.token("ops", set("iss", "https://elsewhere")),
		"another client": b.token("ops", set("client_id", "x")),
		"id token":       b.token("ops", set("token_use", "id")),
		"expired":        b.token("ops", set("exp", time.Now().Add(-time.Second).Unix())),
		"no expiry":      b.token("ops", func(c jwt.MapClaims) { delete(c, "exp") }),
		"no subject":     b.token("ops", func(c jwt.MapClaims) { delete(c, "sub") }),
	} {
		if got := b.call(token, "query", describe); got.OK || got.Error == nil || got.Error.Code != "unauthenticated" || got.Error.Hint == "" {
			t.Errorf("%s: %+v", name, got.Error)
		}
	}
	if n := b.sts.assumed(); n != 0 {
		t.Errorf("%d AssumeRole without a valid token", n)
	}
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	b := start(t, `TARGET_ACCOUNTS=[{"id":"111111111111","name":"Twin"},{"id":"222222222222","name":"Twin"},{"id":"333333333333","name":"Staging"}]`)
	many := `"` + strings.Repeat(`x","`, 10_000) + `x"`
	for name, c := range map[string]struct{ event, code, says string }{
		"short id":              {`{"accounts":["123"],"service":"ec2","operation":"DescribeVpcs"}`, "invalid", "12 digits"},
		"unknown id":            {`{"accounts":["999999999999"],"service":"ec2","operation":"DescribeVpcs"}`, "not_found", "999999999999"},
		"unknown name":          {`{"accounts":["Stagin"],"service":"ec2","operation":"DescribeVpcs"}`, "not_found", "Staging"},
		"ambiguous name":        {`{"accounts":["Twin"],"service":"ec2","operation":"DescribeVpcs"}`, "invalid", "222222222222"},
		"empty list":            {`{"accounts":[],"service":"ec2","operation":"DescribeVpcs"}`, "invalid", "accounts is empty"},
		"no accounts":           {`{"service":"ec2","operation":"DescribeVpcs"}`, "invalid", "accounts is missing"},
		"unknown Region":        {`{"accounts":["all"],"regions":["eu-west-11"],"service":"ec2","operation":"DescribeVpcs"}`, "not_found", "eu-west-1"},
		"unknown service":       {`{"accounts":["all"],"service":"ec3","operation":"DescribeVpcs"}`, "not_found", "ec2"},
		"unknown operation":     {`{"accounts":["all"],"service":"ec2","operation":"DescribeInstancez"}`, "not_found", "DescribeInstances"},
		"a write":               {`{"accounts":["all"],"service":"ec2","operation":"TerminateInstances","params":{"InstanceIds":["i-1"]}}`, "forbidden", "TerminateInstances"},
		"a secret":              {`{"accounts":["all"],"service":"secretsmanager","operation":"GetSecretValue","params":{"SecretId":"a"}}`, "forbidden", "GetSecretValue"},
		"params is a list":      {`{"accounts":["all"],"service":"ec2","operation":"DescribeVpcs","params":["argument-canary"]}`, "invalid", "an object"},
		"parameter's type":      {`{"accounts":["all"],"service":"ec2","operation":"DescribeVpcs","params":{"MaxResults":"argument-canary"}}`, "invalid", "MaxResults"},
		"accounts is a string":  {`{"accounts":"all","service":"ec2","operation":"DescribeVpcs"}`, "invalid", "an array"},
		"limit is a string":     {`{"accounts":["all"],"service":"ec2","operation":"DescribeVpcs","limit":"5"}`, "invalid", "limit"},
		"limit is no integer":   {`{"accounts":["all"],"service":"ec2","operation":"DescribeVpcs","limit":1.5}`, "invalid", "limit"},
		"limit is 0":            {`{"accounts":["all"],"service":"ec2","operation":"DescribeVpcs","limit":0}`, "invalid", "limit"},
		"misspelt argument":     {`{"accounts":["all"],"service":"ec2","operation":"DescribeVpcs","region":["x"]}`, "invalid", "regions"},
		"select":                {`{"accounts":["all"],"service":"ec2","operation":"DescribeVpcs","select":"Vpcs[?"}`, "invalid", "select is not valid JMESPath"},
		"select that panics":    {`{"accounts":["all"],"service":"ec2","operation":"DescribeVpcs","select":"A\u0080"}`, "invalid", "select is not valid JMESPath"},
		"group_by":              {`{"accounts":["all"],"service":"ec2","operation":"DescribeVpcs","group_by":"]["}`, "invalid", "group_by is not valid JMESPath"},
		"10,000 accounts":       {`{"accounts":[` + many + `],"service":"ec2","operation":"DescribeVpcs"}`, "invalid", "at most 1000"},
		"deep params":           {`{"accounts":["all"],"service":"ec2","operation":"DescribeVpcs","params":` + strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000) + `}`, "invalid", "nested"},
		"too deep for a parser": {`{"accounts":["all"],"service":"ec2","operation":"DescribeVpcs","params":` + strings.Repeat(`{"a":`, 20_000) + "1" + strings.Repeat("}", 20_000) + `}`, "invalid", "nested"},
		"not JSON":              {`{"accounts"`, "invalid", "not JSON"},
		"empty":                 {``, "invalid", "accounts is missing"},
		"not an object":         {`[1]`, "invalid", "an object"},
		"null":                  {`null`, "invalid", "null"},
	} {
		got := b.call(b.token("ops"), "query", c.event)
		if got.OK || got.Error == nil {
			t.Errorf("%s: got an answer: %s", name, got.statuses())
			continue
		}
		if got.Error.Code != c.code || !strings.Contains(got.Error.Message+got.Error.Hint, c.says) || got.Error.Hint == "" {
			t.Errorf("%s: got %+v, want code %s, saying %q, with a hint", name, *got.Error, c.code, c.says)
		}
	}
	if got := b.call(b.token("ops"), "qwery", `{}`); got.Error == nil || got.Error.Code != "not_found" || !strings.Contains(got.Error.Hint, "list_accounts") {
		t.Errorf("unknown tool: %+v", got.Error)
	}
	if n := len(b.mcp.runs); n != 0 {
		t.Errorf("%d scripts were run", n)
	}
}

// TestFaults is the table of what can go wrong on the hop to the AWS MCP Server.
func TestFaults(t *testing.T) {
	t.Parallel()
	once := func(run scriptRun) bool { return run.N == 1 }
	type fault = func(m *fakeMCP, w http.ResponseWriter, r *http.Request, id int64, run scriptRun) bool
	status := func(code int, body string, headers ...string) fault {
		return func(_ *fakeMCP, w http.ResponseWriter, _ *http.Request, _ int64, _ scriptRun) bool {
			for i := 0; i+1 < len(headers); i += 2 {
				w.Header().Set(headers[i], headers[i+1])
			}
			w.WriteHeader(code)
			fmt.Fprint(w, body)
			return true
		}
	}
	first := func(f fault) fault {
		return func(m *fakeMCP, w http.ResponseWriter, r *http.Request, id int64, run scriptRun) bool {
			return once(run) && f(m, w, r, id, run)
		}
	}
	raised := func(text string) fault {
		return func(_ *fakeMCP, w http.ResponseWriter, _ *http.Request, id int64, _ scriptRun) bool {
			toolResult(w, id, map[string]any{"status": "error", "error": text, "stderr": "Traceback"})
			return true
		}
	}
	for _, c := range []struct {
		name    string
		fault   fault
		status  string // of the one target
		code    string
		runs    int // scripts sent
		assumed int
		within  time.Duration
	}{
		{name: "session lost, 200", status: "ok", runs: 2, assumed: 1, fault: first(func(m *fakeMCP, w http.ResponseWriter, _ *http.Request, id int64, _ scriptRun) bool {
			rpcFailure(w, 200, id, -30001, "The provided SessionId was not found")
			return true
		})},
		{name: "session lost, 404 without a body", status: "ok", runs: 2, assumed: 1, fault: first(status(404, ""))},
		{name: "every session lost", status: "failed", code: "unavailable", runs: 2, assumed: 1, fault: status(404, "")},
		{name: "expired once", status: "ok", runs: 2, assumed: 2, fault: first(status(403, `{"message":"ExpiredTokenException: The security token included in the request is expired"}`))},
		{name: "expired for ever", status: "failed", code: "unauthenticated", runs: 2, assumed: 2, fault: status(403, `{"__type":"ExpiredTokenException","message":"expired"}`)},
		{name: "401", status: "failed", code: "unauthenticated", runs: 2, assumed: 2, fault: status(401, `Authentication failed`)},
		{name: "403", status: "denied", code: "forbidden", runs: 1, assumed: 1, fault: status(403, `{"message":"AccessDeniedException"}`)},
		{name: "403 for the signature", status: "failed", code: "unauthenticated", runs: 1, assumed: 1, fault: status(403, `{"__type":"InvalidSignatureException","message":"Signature expired"}`)},
		{name: "403 for the credentials", status: "failed", code: "unauthenticated", runs: 1, assumed: 1, fault: status(403, `{"message":"no"}`, "x-amzn-ErrorType", "UnrecognizedClientException")},
		{name: "429 with Retry-After", status: "ok", runs: 2, assumed: 1, fault: first(status(429, "", "Retry-After", "1"))},
		{name: "429 without a body", status: "ok", runs: 2, assumed: 1, fault: first(status(429, ""))},
		{name: "429 for ever", status: "throttled", code: "throttled", runs: 1, assumed: 1, fault: status(429, `{"jsonrpc":"2.0","id":1,"result":null,"error":{"code":-32004,"message":"Too many requests."}}`, "Retry-After", "3000")},
		{name: "503 once", status: "ok", runs: 2, assumed: 1, fault: first(status(503, "busy"))},
		{name: "503 for longer than there is time", status: "failed", code: "unavailable", runs: 1, assumed: 1, fault: status(503, "", "Retry-After", "3000")},
		{name: "reset", status: "ok", runs: 2, assumed: 1, fault: first(func(_ *fakeMCP, w http.ResponseWriter, _ *http.Request, _ int64, _ scriptRun) bool {
			panic(http.ErrAbortHandler)
		})},
		{name: "hangs", status: "timeout", code: "timeout", runs: 1, assumed: 1, within: 3 * time.Second, fault: func(_ *fakeMCP, w http.ResponseWriter, r *http.Request, _ int64, _ scriptRun) bool {
			<-r.Context().Done()
			return true
		}},
		{name: "server-sent events", status: "ok", runs: 1, assumed: 1, fault: func(m *fakeMCP, w http.ResponseWriter, _ *http.Request, id int64, run scriptRun) bool {
			w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
			value, _ := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": id, "result": map[string]any{"structuredContent": m.value(run)}})
			fmt.Fprintf(w, ": hello\r\nevent: message\r\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\r\n\r\nevent: message\r\ndata: %s\r\n\r\n", value)
			return true
		}},
		{name: "server-sent events, the stream left open", status: "ok", runs: 1, assumed: 1, fault: func(m *fakeMCP, w http.ResponseWriter, r *http.Request, id int64, run scriptRun) bool {
			w.Header().Set("Content-Type", "text/event-stream")
			value, _ := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": id, "result": map[string]any{"structuredContent": m.value(run)}})
			fmt.Fprintf(w, "id: 1\ndata:\n\nevent: message\ndata: %s\n\n", value)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return true
		}},
		{name: "server-sent events, broken off", status: "failed", code: "unavailable", runs: 2, assumed: 1, fault: func(_ *fakeMCP, w http.ResponseWriter, _ *http.Request, id int64, _ scriptRun) bool {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprintf(w, "data: {\"jsonrpc\":\"2.0\",\"id\":%d,\"res", id)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}},
		{name: "server-sent events, ended early", status: "ok", runs: 2, assumed: 1, fault: first(func(_ *fakeMCP, w http.ResponseWriter, _ *http.Request, id int64, _ scriptRun) bool {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprintf(w, "data: {\"jsonrpc\":\"2.0\",\"id\":%d,\"res", id)
			return true
		})},
		{name: "half an answer, every time", status: "failed", code: "unavailable", runs: 2, assumed: 1, fault: status(200, `{"jsonrpc":"2.0","id":`)},
		{name: "text only", status: "ok", runs: 1, assumed: 1, fault: func(m *fakeMCP, w http.ResponseWriter, _ *http.Request, id int64, run scriptRun) bool {
			text, _ := json.Marshal(m.value(run))
			result(w, id, map[string]any{"content": []any{map[string]any{"type": "text", "text": string(text)}}})
			return true
		}},
		{name: "broken UTF-8", status: "ok", runs: 1, assumed: 1, fault: func(m *fakeMCP, w http.ResponseWriter, _ *http.Request, id int64, run scriptRun) bool {
			value, _ := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": id, "result": map[string]any{"structuredContent": m.value(run)}})
			_, _ = w.Write([]byte(strings.Replace(string(value), "t3.micro", "t3\xff\xfe", 1)))
			return true
		}},
		{name: "script raised, as success", status: "denied", code: "forbidden", runs: 1, assumed: 1, fault: raised("ClientError: An error occurred (AccessDenied) when calling the DescribeRegions operation: no")},
		{name: "script raised, throttled", status: "throttled", code: "throttled", runs: 1, assumed: 1, fault: raised("An error occurred (RequestLimitExceeded) when calling the X operation: slow")},
		{name: "script raised, told by the traceback alone", status: "denied", code: "forbidden", runs: 1, assumed: 1, fault: func(_ *fakeMCP, w http.ResponseWriter, _ *http.Request, id int64, _ scriptRun) bool {
			toolResult(w, id, map[string]any{"status": "error", "error": nil, "stderr": "Traceback\n  File x\nClientError: An error occurred (AccessDenied) when calling the X operation: no\n"})
			return true
		}},
		{name: "an error without text", status: "denied", code: "forbidden", runs: 1, assumed: 1, fault: func(_ *fakeMCP, w http.ResponseWriter, _ *http.Request, id int64, _ scriptRun) bool {
			result(w, id, map[string]any{"isError": true, "content": []any{}, "structuredContent": map[string]any{"status": "error", "error": "An error occurred (AccessDenied) when calling the X operation: no"}})
			return true
		}},
		{name: "an error without anything", status: "failed", code: "unavailable", runs: 1, assumed: 1, fault: func(_ *fakeMCP, w http.ResponseWriter, _ *http.Request, id int64, _ scriptRun) bool {
			result(w, id, map[string]any{"isError": true, "content": []any{}})
			return true
		}},
		{name: "tool gone", status: "failed", code: "unavailable", runs: 1, assumed: 1, fault: func(_ *fakeMCP, w http.ResponseWriter, _ *http.Request, id int64, _ scriptRun) bool {
			rpcFailure(w, 200, id, -32602, "Unknown tool: aws___run_script")
			return true
		}},
		{name: "not JSON", status: "failed", code: "unavailable", runs: 1, assumed: 1, fault: status(200, "<html>")},
		{name: "answer to another request", status: "failed", code: "unavailable", runs: 1, assumed: 1, fault: func(_ *fakeMCP, w http.ResponseWriter, _ *http.Request, id int64, _ scriptRun) bool {
			result(w, id+1000, map[string]any{})
			return true
		}},
		{name: "another Region's answer", status: "failed", code: "unavailable", runs: 1, assumed: 1, fault: func(m *fakeMCP, w http.ResponseWriter, _ *http.Request, id int64, run scriptRun) bool {
			value := m.value(run)
			value["api_calls"] = []any{map[string]any{"service": "ec2", "operation": "DescribeInstances", "region": "ap-south-1"}}
			toolResult(w, id, value)
			return true
		}},
		{name: "calls that name their Region twice", status: "ok", runs: 1, assumed: 1, fault: func(m *fakeMCP, w http.ResponseWriter, _ *http.Request, id int64, run scriptRun) bool {
			value := m.value(run)
			value["api_calls"] = []any{map[string]any{"service": "ec2", "operation": "DescribeInstances", "region": "us-east-1", "region_name": "us-east-1"}}
			toolResult(w, id, value)
			return true
		}},
		{name: "long script", status: "ok", runs: 1, assumed: 1, fault: func(m *fakeMCP, w http.ResponseWriter, _ *http.Request, id int64, run scriptRun) bool {
			looks := 0
			m.set(func(*fakeMCP) {
				m.polls = func(w http.ResponseWriter, id int64) {
					looks++
					task := map[string]any{"task_id": "task-1", "status": "working", "recommended_wait_seconds": 0.01}
					if looks > 2 {
						task["status"], task["result"] = "completed", m.value(run)
					}
					toolResult(w, id, map[string]any{"tasks": []any{task}})
				}
			})
			toolResult(w, id, map[string]any{"status": "working", "task_id": "task-1", "recommended_wait_seconds": 0.01})
			return true
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			b.mcp.set(func(m *fakeMCP) {
				m.fault = func(w http.ResponseWriter, r *http.Request, id int64, run scriptRun) bool {
					return c.fault(m, w, r, id, run)
				}
			})
			if c.within == 0 {
				c.within = time.Minute
			}
			got := b.callWithin(c.within, b.token("ops"), "query", describe)
			if len(got.Results) != 1 || got.Results[0].Status != c.status {
				t.Fatalf("got %q (%+v), want %s", got.statuses(), got.Error, c.status)
			}
			failure := got.Results[0].Error
			if c.code != "" && (failure == nil || failure.Code != c.code) {
				t.Errorf("got error %+v, want code %s", failure, c.code)
			}
			b.mcp.mu.Lock()
			runs := len(b.mcp.runs)
			b.mcp.mu.Unlock()
			if assumed := b.sts.assumed(); runs != c.runs || assumed != c.assumed {
				t.Errorf("%d scripts and %d AssumeRole, want %d and %d", runs, assumed, c.runs, c.assumed)
			}
			b.mcp.set(func(m *fakeMCP) { m.fault = nil })
			if got := b.call(b.token("ops"), "query", `{"accounts":["Staging"],"service":"ec2","operation":"DescribeInstances"}`); got.statuses() != "333/us-east-1=ok" {
				t.Errorf("afterwards: %q (%+v)", got.statuses(), got.Error)
			}
		})
	}
}

// How long the server asks to be left alone is known: "in a moment" is no advice then.
func TestLongWaitsAreTold(t *testing.T) {
	t.Parallel()
	b := start(t)
	for after, want := range map[string]string{"3000": "ask again in 50m0s", "31": "ask again in 31s", "86400": "ask again in an hour or later", "0": "ask again in a moment"} {
		b.mcp.set(func(m *fakeMCP) {
			m.fault = func(w http.ResponseWriter, _ *http.Request, _ int64, _ scriptRun) bool {
				w.Header().Set("Retry-After", after)
				w.WriteHeader(http.StatusTooManyRequests)
				return true
			}
		})
		got := b.call(b.token("ops"), "query", describe)
		if got.statuses() != "222/us-east-1=throttled" || !strings.HasPrefix(got.Results[0].Error.Hint, want) {
			t.Errorf("%s: %s %+v, want %q", after, got.statuses(), got.Results[0].Error, want)
		}
	}
}

// A server that knows none of the sessions that it opens is at fault, not the bridge.
func TestSessionLostBeforeItsFirstCall(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.mcp.set(func(m *fakeMCP) { m.forgets = true })
	got := b.call(b.token("ops"), "query", describe)
	if got.statuses() != "222/us-east-1=failed" || got.Results[0].Error.Code != "unavailable" || !strings.Contains(got.Results[0].Error.Message, "loses every session") {
		t.Errorf("%s %+v", got.statuses(), got.Results)
	}
}

func TestRegionsAndFailuresStayApart(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.sts.mu.Lock()
	b.sts.deny["333333333333"] = true
	b.sts.mu.Unlock()
	b.mcp.set(func(m *fakeMCP) {
		m.reply = func(run scriptRun, region string) any {
			if region == "eu-west-1" {
				return map[string]any{"error": "ClientError('An error occurred (UnauthorizedOperation) when calling the DescribeInstances operation: no')", "calls": 1}
			}
			return instances(run, region, 5)
		}
	})
	got := b.call(b.token("ops"), "query", `{"accounts":["all"],"regions":["all"],"service":"ec2","operation":"DescribeInstances","limit":4.0}`)
	if want := "111/eu-west-1=denied 111/us-east-1=ok 222/eu-west-1=denied 222/us-east-1=ok 333/all=denied"; got.statuses() != want {
		t.Fatalf("got %s, want %s (%+v)", got.statuses(), want, got.Error)
	}
	if got.Results[1].Count != 5 || len(got.Results[1].Data) != 2 || len(got.Results[3].Data) != 2 || !got.Truncated {
		t.Errorf("limit: %d of %d rows, truncated %v", len(got.Results[1].Data), got.Results[1].Count, got.Truncated)
	}
	before := b.sts.assumed()
	b.call(b.token("ops"), "query", `{"accounts":["Staging"],"service":"ec2","operation":"DescribeInstances"}`)
	if b.sts.assumed() != before {
		t.Error("a refused AssumeRole was tried again at once")
	}
	b.mcp.set(func(m *fakeMCP) { m.reply = nil })
	if got := b.call(b.token("ops"), "query", `{"accounts":["Central"],"regions":["eu-west-1","us-east-1"],"service":"iam","operation":"ListUsers"}`); got.statuses() != "111/global=ok" {
		t.Errorf("a global service: %s %+v", got.statuses(), got.Error)
	}
	if got := b.call(b.token("ops"), "query", `{"accounts":["Central"],"regions":["global"],"service":"iam","operation":"ListUsers"}`); got.statuses() != "111/global=ok" {
		t.Errorf("a global service in the Region that its answers name: %s %+v", got.statuses(), got.Error)
	}
	if got := b.call(b.token("ops"), "query", `{"accounts":["Central"],"regions":["global"],"service":"ec2","operation":"DescribeInstances"}`); got.Error == nil || got.Error.Code != "not_found" {
		t.Errorf("a regional service in the Region of global ones: %s %+v", got.statuses(), got.Error)
	}
}

func TestLargeAnswersAreCutEvenly(t *testing.T) {
	t.Parallel()
	b := start(t, "RESULT_MAX_BYTES=20000")
	b.mcp.set(func(m *fakeMCP) {
		m.reply = func(run scriptRun, region string) any { return instances(run, region, 30_000) } // over 6 MB in all
	})
	got := b.call(b.token("ops"), "query", `{"accounts":["all"],"service":"ec2","operation":"DescribeInstances"}`)
	if got.statuses() != "111/us-east-1=ok 222/us-east-1=ok 333/us-east-1=ok" || !got.Truncated || len(got.Notes) == 0 {
		t.Fatalf("%s truncated %v notes %v (%+v)", got.statuses(), got.Truncated, got.Notes, got.Error)
	}
	least, most := 1<<30, 0
	for _, r := range got.Results {
		if r.Count != 30_000 {
			t.Errorf("count %d, want the true one", r.Count)
		}
		least, most = min(least, len(r.Data)), max(most, len(r.Data))
	}
	if least < 50 || most-least > 1 {
		t.Errorf("rows shown: %d to %d", least, most)
	}
}

// An operation that wants the id of the account it is called in can be asked of many accounts at once.
func TestOwnAccountIsFilledIn(t *testing.T) {
	t.Parallel()
	b := start(t)
	for event, want := range map[string]map[string]any{
		`{"accounts":["Production","Staging"],"service":"s3control","operation":"GetPublicAccessBlock"}`:                                nil,
		`{"accounts":["Production","Staging"],"service":"budgets","operation":"DescribeBudgets","params":{"MaxResults":5}}`:             {"MaxResults": 5.0},
		`{"accounts":["Production","Staging"],"service":"budgets","operation":"DescribeBudgets","params":{"AccountId":"999999999999"}}`: {"AccountId": "999999999999"},
		`{"accounts":["Production","Staging"],"service":"ec2","operation":"DescribeVpcs"}`:                                              {},
	} {
		b.mcp.set(func(m *fakeMCP) { m.runs = nil })
		if got := b.call(b.token("ops"), "query", event); got.Coverage.Answered != 2 {
			t.Errorf("%s: %s %+v", event, got.statuses(), got.Error)
			continue
		}
		for _, run := range b.mcp.runs {
			params := map[string]any{}
			if run.Ask.Service != "ec2" {
				params["AccountId"] = run.Account
			}
			maps.Copy(params, want)
			if diff := cmp.Diff(params, run.Ask.Params); diff != "" {
				t.Errorf("%s in %s (-want +got):\n%s", event, run.Account, diff)
			}
		}
	}
	if got := b.call(b.token("ops"), "query", `{"accounts":["all"],"service":"organizations","operation":"DescribeAccount"}`); got.Error == nil || !strings.Contains(got.Error.Message, "AccountId") {
		t.Errorf("another account's id: %+v", got.Error)
	}
}

// A select or a group_by that misses everything looks like an account that has nothing.
func TestMissedRowsAreSaid(t *testing.T) {
	t.Parallel()
	b := start(t)
	const rows = `Reservations[].Instances[].InstanceType`
	for _, c := range []struct{ selects, groupBy, says string }{
		{"Instances[].InstanceId", "", "responses hold something in Reservations"},
		{"Reservations[].Instances[?InstanceType=='x'][]", "", "nothing matches"},
		{rows, "nope", "group_by finds nothing"},
		{rows, "@", ""},
		{"", "nope", "group_by finds nothing"},
	} {
		got := b.call(b.token("ops"), "query", fmt.Sprintf(`{"accounts":["all"],"service":"ec2","operation":"DescribeInstances","select":%q,"group_by":%q}`, c.selects, c.groupBy))
		if notes := strings.Join(got.Notes, " "); got.Coverage.Answered != 3 || c.says == "" && notes != "" || !strings.Contains(notes, c.says) {
			t.Errorf("%q, %q: notes %q, want %q (%+v)", c.selects, c.groupBy, notes, c.says, got.Error)
		}
	}
	b.mcp.set(func(m *fakeMCP) {
		m.reply = func(run scriptRun, region string) any {
			return map[string]any{"document": map[string]any{"Reservations": []any{}, "ResponseMetadata": map[string]any{"HTTPStatusCode": 200}}, "calls": 1}
		}
	})
	if got := b.call(b.token("ops"), "query", `{"accounts":["all"],"service":"ec2","operation":"DescribeInstances","select":"Instances[].InstanceId"}`); len(got.Notes) > 0 {
		t.Errorf("there is nothing to find, but the notes are %q", got.Notes)
	}
}

// Pages that were left unread are rows that are missing.
func TestUnreadPagesAreSaid(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.mcp.set(func(m *fakeMCP) {
		m.reply = func(run scriptRun, region string) any {
			return map[string]any{"document": map[string]any{"Reservations": []any{map[string]any{"Instances": []any{1, 2}}}}, "calls": 100, "more": true}
		}
	})
	got := b.call(b.token("ops"), "query", describe)
	if got.statuses() != "222/us-east-1=ok" || got.Results[0].Count != 2 || !got.Truncated || !strings.Contains(strings.Join(got.Notes, " "), "lower bounds") {
		t.Errorf("%s truncated %v notes %v (%+v)", got.statuses(), got.Truncated, got.Notes, got.Error)
	}
}

func TestKnowledgeToolsPassThrough(t *testing.T) {
	t.Parallel()
	b := start(t)
	got := b.call(b.token("nobody"), "search_documentation", `{"search_phrase":"argument-canary"}`)
	if diff := cmp.Diff([]any{"aws___search_documentation"}, got.Result); diff != "" || !got.OK {
		t.Errorf("(-want +got):\n%s %+v", diff, got.Error)
	}
	if got := b.call("", "search_documentation", `{"search_phrase":"x"}`); got.Error == nil || got.Error.Code != "unauthenticated" {
		t.Errorf("without a token: %+v", got.Error)
	}
}

func TestConfigurationFaultsAllAtOnce(t *testing.T) {
	t.Parallel()
	command := exec.Command(binary)
	command.Env = []string{"AWS_LAMBDA_RUNTIME_API=127.0.0.1:1", "FANOUT_CONCURRENCY=many", "TARGET_ACCOUNTS=[{\"id\":\"1\"}]", "ENVIRONMENT=moon",
		"ACCESS_POLICY=permit(", "ALLOW_DATA_READS=s3:GetObjekt,ec2:RunInstances,cloudwatchlogs:FilterLogEvents,s3:GetObject,GetItem"}
	out, err := command.CombinedOutput()
	if err == nil || command.ProcessState.ExitCode() != 2 {
		t.Fatalf("exit: %v", err)
	}
	for _, name := range []string{"FANOUT_CONCURRENCY", "TARGET_ACCOUNTS", "ENVIRONMENT", "TOKEN_ISSUER", "TOKEN_CLIENT_IDS", "AWS_REGION", `"many"`, `"moon"`,
		"ACCESS_POLICY: access policy is not valid Cedar", `"s3:GetObjekt": unknown operation`, "ec2:RunInstances is refused", `"cloudwatchlogs:FilterLogEvents" is called logs:FilterLogEvents`, `"GetItem" is not service:Operation`} {
		if !strings.Contains(string(out), name) {
			t.Errorf("not reported: %s in\n%s", name, out)
		}
	}
	if strings.Contains(string(out), `"s3:GetObject"`) {
		t.Errorf("a data read that may be permitted is at fault:\n%s", out)
	}
}
