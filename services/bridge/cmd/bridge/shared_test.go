package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// fakeDynamoDB keeps items by pk and knows the one condition that the session table uses.
type fakeDynamoDB struct {
	server *httptest.Server
	mu     sync.Mutex
	items  map[string]map[string]map[string]string
	scan   string // the answer to Scan
}

func newFakeDynamoDB(t *testing.T) *fakeDynamoDB {
	d := &fakeDynamoDB{items: map[string]map[string]map[string]string{}}
	d.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var in struct {
			Key, Item map[string]map[string]string
			Values    map[string]map[string]string `json:"ExpressionAttributeValues"`
			Condition string                       `json:"ConditionExpression"`
		}
		if err := json.Unmarshal(body, &in); err != nil {
			t.Errorf("DynamoDB got no JSON: %v", err)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		_, action, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		switch action {
		case "Scan":
			_, _ = io.WriteString(w, d.scan)
		case "GetItem":
			_ = json.NewEncoder(w).Encode(map[string]any{"Item": d.items[in.Key["pk"]["S"]]})
		case "PutItem":
			if in.Condition != "attribute_not_exists(#pk) OR #expires < :now OR #id = :dead" {
				t.Errorf("condition %q", in.Condition)
			}
			key := in.Item["pk"]["S"]
			if old := d.items[key]; old != nil && old["mcp_session_id"]["S"] != in.Values[":dead"]["S"] {
				w.WriteHeader(http.StatusBadRequest)
				_ = json.NewEncoder(w).Encode(map[string]any{"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException", "message": "The conditional request failed", "Item": old})
				return
			}
			d.items[key] = in.Item
			_, _ = io.WriteString(w, "{}")
		default:
			t.Errorf("DynamoDB got %s", action)
		}
	}))
	t.Cleanup(d.server.Close)
	return d
}

// TestSessionsAreSharedAndTakenOver runs two execution environments on one session table and one
// upstream.
func TestSessionsAreSharedAndTakenOver(t *testing.T) {
	t.Parallel()
	database := newFakeDynamoDB(t)
	table := []string{"SESSION_TABLE=sessions", "AWS_ENDPOINT_URL_DYNAMODB=" + database.server.URL}
	first := start(t, table...)
	second := start(t, append(table, "AWS_MCP_ENDPOINT="+first.mcp.server.URL+"/mcp", "AWS_ENDPOINT_URL_STS="+first.sts.server.URL)...)
	ask := func(b *box) {
		t.Helper()
		if got := b.call(b.token("ops"), "query", describe); got.statuses() != "222/us-east-1=ok" {
			t.Fatalf("%s %+v %+v", got.statuses(), got.Error, got.Results)
		}
	}
	account := func() (sessions map[string]bool) {
		first.mcp.mu.Lock()
		defer first.mcp.mu.Unlock()
		sessions = map[string]bool{}
		for _, run := range first.mcp.runs {
			sessions[run.Session] = true
		}
		return sessions
	}
	ask(first)
	ask(second)
	if got := account(); len(got) != 1 {
		t.Fatalf("two environments used the sessions %v, want one", got)
	}
	first.mcp.mu.Lock()
	for id := range first.mcp.sessions { // the upstream forgets them all
		delete(first.mcp.sessions, id)
	}
	opened := first.mcp.opened
	first.mcp.mu.Unlock()
	ask(first)
	ask(second)
	if got := account(); len(got) != 2 {
		t.Errorf("after the loss the sessions in use were %v, want one more", got)
	}
	first.mcp.mu.Lock()
	if n := first.mcp.opened - opened; n != 1 {
		t.Errorf("%d sessions were opened in place of the lost one, want 1", n)
	}
	first.mcp.mu.Unlock()
	database.mu.Lock()
	for _, item := range database.items { // an item that is damaged costs a session, not the account
		item["mcp_session_id"] = map[string]string{"S": "two\r\nlines"}
	}
	database.mu.Unlock()
	ask(start(t, append(table, "AWS_MCP_ENDPOINT="+first.mcp.server.URL+"/mcp", "AWS_ENDPOINT_URL_STS="+first.sts.server.URL)...))
	database.mu.Lock()
	defer database.mu.Unlock()
	for key, item := range database.items {
		if strings.Contains(item["mcp_session_id"]["S"], "two") && strings.Contains(key, "222222222222") {
			t.Errorf("the damaged item %s was left", key)
		}
	}
}

func TestAccountsTable(t *testing.T) {
	t.Parallel()
	database := newFakeDynamoDB(t)
	database.scan = `{"Items":[{"id":{"S":"222222222222"},"name":{"S":"Production"},"tags":{"M":{"team":{"S":"shop"}}}},{"id":{"S":"broken"}},{"id":{"S":"111111111111"}}]}`
	b := start(t, "TARGET_ACCOUNTS=", "ACCOUNTS_TABLE=accounts", "AWS_ENDPOINT_URL_DYNAMODB="+database.server.URL)
	got := b.call(b.token("ops"), "list_accounts", `{}`)
	if len(got.Accounts) != 2 || got.Accounts[0].ID != "111111111111" || got.Accounts[1].Name != "Production" {
		t.Errorf("%+v %+v", got.Accounts, got.Error)
	}
	if got := b.call(b.token("ops"), "list_accounts", `{"filter":"SHOP"}`); len(got.Accounts) != 1 {
		t.Errorf("filtered: %+v", got.Accounts)
	}
	if !strings.Contains(b.logs.String(), "holds an item that is no account") {
		t.Error("the broken item was left out in silence")
	}
	if got := b.call(b.token("ops"), "query", `{"accounts":["all"],"service":"ec2","operation":"DescribeInstances"}`); got.Coverage.Answered != 2 || strings.Join(got.Notes, " ") != "1 item of the accounts table is no account and was left out; the bridge's log has the reason" {
		t.Errorf("%+v, notes %q (%+v)", got.Coverage, got.Notes, got.Error)
	}
}

func TestSpansAreSentBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	var posts atomic.Int64
	var sent lockedBuffer
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/traces" {
			t.Errorf("collector got %s", r.URL.Path)
		}
		_, _ = io.Copy(&sent, r.Body)
		posts.Add(1)
	}))
	defer collector.Close()
	b := start(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+collector.URL)
	got := b.call(b.token("ops"), "query", `{"accounts":["all"],"service":"ec2","operation":"DescribeInstances","select":"Reservations[].Instances[?InstanceId!='argument-canary'][]"}`)
	if got.Coverage.Answered != 3 || posts.Load() != 1 {
		t.Fatalf("answered %d (%+v), %d posts", got.Coverage.Answered, got.Error, posts.Load())
	}
	spans := sent.String()
	if !strings.Contains(spans, "333333333333") || !strings.Contains(spans, "ec2:DescribeInstances") || strings.Contains(spans, "argument-canary") {
		t.Errorf("spans: %q", spans)
	}
}

func TestUpstreamDriftIsLogged(t *testing.T) {
	t.Parallel()
	b := start(t)
	if got := b.call(b.token("ops"), "list_accounts", `{}`); !got.OK {
		t.Fatalf("%+v", got.Error)
	}
	b.mcp.set(func(m *fakeMCP) { m.tools = m.tools[1:] })
	other := exec.Command(binary)
	other.Env = append([]string{}, "AWS_LAMBDA_RUNTIME_API="+strings.TrimPrefix(b.runtime.server.URL, "http://"), "AWS_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID="+ownKey, "AWS_SECRET_ACCESS_KEY="+ownSecret, "AWS_SESSION_TOKEN="+ownToken, "TARGET_ACCOUNTS="+threeAccounts, "ENVIRONMENT=dev",
		"AWS_MCP_ENDPOINT="+b.mcp.server.URL+"/mcp", "AWS_MCP_REGION=eu-west-1", "TOKEN_ISSUER="+b.keys.server.URL, "TOKEN_CLIENT_IDS=c", "ACCESS_POLICY="+opsPolicy)
	pipe, err := other.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = other.Process.Kill()
		_ = other.Wait()
	}()
	var line struct{ Level, Msg, Drift string }
	if err := json.NewDecoder(pipe).Decode(&line); err != nil || line.Level != "ERROR" || line.Drift != "aws___run_script is missing" {
		t.Errorf("first line: %+v, %v", line, err)
	}
}
