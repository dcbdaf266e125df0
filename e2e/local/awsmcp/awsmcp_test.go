package awsmcp_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/central-ops/central-ops/e2e/local/awsmcp"
	"github.com/central-ops/central-ops/e2e/local/iampolicy"
	"github.com/central-ops/central-ops/e2e/local/issued"
	"github.com/central-ops/central-ops/e2e/local/trail"
)

const (
	account = "222222222222"
	roleARN = "arn:aws:iam::222222222222:role/CentralOpsTargetRole"
	reads   = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ec2:Describe*","s3:ListAllMyBuckets","lambda:List*"],"Resource":"*"},
		{"Effect":"Deny","NotAction":["ec2:Describe*","s3:ListAllMyBuckets"],"Resource":"*","Condition":{"Bool":{"aws:ViaAWSMCPService":"true"}}}]}`
)

// box is a server with one role and a client for it.
type box struct {
	t      *testing.T
	server *awsmcp.Server
	url    string
	store  *issued.Store
	trail  *trail.Log
}

// open starts a server in scripted mode with a clock that the test may move.
func open(t *testing.T, edit func(*awsmcp.Config)) *box {
	t.Helper()
	b := &box{t: t, store: issued.New(), trail: &trail.Log{}}
	config := awsmcp.Config{
		Store: b.store, Sink: b.trail.Write,
		Roles: iampolicy.StaticRoles{roleARN: {ARN: roleARN, ID: "AROATARGET", Policies: []string{reads}}},
		Answer: func(_ context.Context, ask awsmcp.Ask) (json.RawMessage, error) {
			return json.Marshal(map[string]any{"Account": ask.Account, "Region": ask.Region})
		},
	}
	if edit != nil {
		edit(&config)
	}
	server, err := awsmcp.New(config)
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(server)
	t.Cleanup(func() {
		web.CloseClientConnections()
		web.Close()
		server.Close()
	})
	b.server, b.url = server, web.URL+"/mcp"
	return b
}

// caller issues keys for a session of the role.
func (b *box) caller(key, sessionName string) issued.Credential {
	c := issued.Credential{
		AccessKeyID: key, SecretAccessKey: "secret of " + key, SessionToken: "token of " + key, Account: account,
		RoleARN: roleARN, SessionName: sessionName, PrincipalID: "AROATARGET:" + sessionName,
		PrincipalARN:   "arn:aws:sts::" + account + ":assumed-role/CentralOpsTargetRole/" + sessionName,
		SourceIdentity: "olivia", Expires: time.Now().Add(time.Hour),
	}
	b.store.Add(c)
	return c
}

// reply is what a request got.
type reply struct {
	status  int
	header  http.Header
	body    []byte
	Result  json.RawMessage
	Error   *struct{ Code int }
	decoded bool
}

func (r reply) code() int {
	if r.Error == nil {
		return 0
	}
	return r.Error.Code
}

// script is the structured content of run_script.
type script struct {
	Status      string
	ReturnValue json.RawMessage `json:"return_value"`
	Error       string
	TaskID      string `json:"task_id"`
	Stdout      string
	Stderr      string
	APICalls    []struct{ Service, Operation, Status string } `json:"api_calls"`
}

// structured decodes the structured content and checks that the text says the same.
func structured[T any](t *testing.T, r reply) T {
	t.Helper()
	var result struct {
		Content           []struct{ Type, Text string }
		StructuredContent json.RawMessage
		IsError           bool
	}
	if err := json.Unmarshal(r.Result, &result); err != nil {
		t.Fatalf("not a tool result: %v\n%s", err, r.body)
	}
	if len(result.Content) != 1 || result.Content[0].Type != "text" || result.Content[0].Text != string(result.StructuredContent) || result.IsError {
		t.Errorf("want one text item that equals the structured content and isError false:\n%s", r.body)
	}
	var out T
	if err := json.Unmarshal(result.StructuredContent, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// send sends one request, signed unless c is nil.
func (b *box) send(ctx context.Context, c *issued.Credential, method, session, body string) (reply, error) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, b.url, bytes.NewReader([]byte(body)))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	if session != "" {
		req.Header.Set("Mcp-Session-Id", session)
	}
	if c != nil {
		sum := sha256.Sum256([]byte(body))
		creds := aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken}
		if err := v4.NewSigner().SignHTTP(ctx, creds, req, hex.EncodeToString(sum[:]), "aws-mcp", "us-east-1", time.Now()); err != nil {
			b.t.Fatal(err)
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return reply{}, err
	}
	r := reply{status: resp.StatusCode, header: resp.Header, body: raw}
	r.decoded = json.Unmarshal(raw, &r) == nil
	return r, nil
}

func (b *box) post(c *issued.Credential, session, body string) reply {
	b.t.Helper()
	r, err := b.send(b.t.Context(), c, http.MethodPost, session, body)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

const initialize = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}`

// session opens a session and returns its id.
func (b *box) session(c *issued.Credential) string {
	b.t.Helper()
	r := b.post(c, "", initialize)
	id := r.header.Get("Mcp-Session-Id")
	if r.status != http.StatusOK || id == "" {
		b.t.Fatalf("initialize: status %d, session %q: %s", r.status, id, r.body)
	}
	return id
}

func call(tool string, arguments any, meta map[string]string) string {
	raw, err := json.Marshal(map[string]any{
		"jsonrpc": "2.0", "id": 7, "method": "tools/call",
		"params": map[string]any{"name": tool, "arguments": arguments, "_meta": meta},
	})
	if err != nil {
		panic(err) // only strings and maps of them go in
	}
	return string(raw)
}

func run(code string) string { return call("aws___run_script", map[string]string{"code": code}, nil) }

func (b *box) run(c *issued.Credential, session, code string) script {
	b.t.Helper()
	return structured[script](b.t, b.post(c, session, run(code)))
}
