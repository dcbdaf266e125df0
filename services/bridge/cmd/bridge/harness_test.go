package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/golang-jwt/jwt/v5"
)

var binary string

// TestMain builds the bridge once, as it is deployed.
func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "bridge")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "bootstrap")
		build := exec.Command("go", "build", "-tags", "lambda.norpc", "-o", binary, ".")
		build.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

const (
	ownKey, ownSecret, ownToken = "AKIDBRIDGE", "bridge-secret-value", "bridge-session-token"
	issuerClient                = "app-client-1"
	externalID                  = "external-id-1"
)

// box is a running bridge with everything it speaks to.
type box struct {
	t       *testing.T
	runtime *runtimeAPI
	sts     *fakeSTS
	mcp     *fakeMCP
	keys    *fakeJWKS
	logs    *lockedBuffer
	process *os.Process
}

type lockedBuffer struct {
	mu   sync.Mutex
	b    bytes.Buffer
	next chan struct{} // closed at the next Write; nil if nobody waits
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next != nil {
		close(l.next)
		l.next = nil
	}
	return l.b.Write(p)
}

// more is closed when there is more than there was.
func (l *lockedBuffer) more() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next == nil {
		l.next = make(chan struct{})
	}
	return l.next
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

const threeAccounts = `[{"id":"111111111111","name":"Central","environment":"shared"},
{"id":"222222222222","name":"Production","environment":"prod","tags":{"team":"shop"}},
{"id":"333333333333","name":"Staging","environment":"staging"}]`

const opsPolicy = `@id("ops-everywhere") permit(principal in Group::"ops", action, resource);
@id("dev-not-prod") permit(principal in Group::"dev", action, resource) unless { resource.environment == "prod" };`

// start runs the bridge; env entries override the harness's.
func start(t *testing.T, env ...string) *box {
	t.Helper()
	return startOn(t, newRuntimeAPI(t), env...)
}

func startOn(t *testing.T, runtime *runtimeAPI, env ...string) *box {
	t.Helper()
	b := &box{t: t, runtime: runtime, sts: newFakeSTS(t), keys: newFakeJWKS(t), logs: &lockedBuffer{}}
	b.mcp = newFakeMCP(t, b.sts)
	command := exec.Command(binary)
	command.Env = append([]string{
		"AWS_LAMBDA_RUNTIME_API=" + strings.TrimPrefix(b.runtime.server.URL, "http://"),
		"AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=" + ownKey, "AWS_SECRET_ACCESS_KEY=" + ownSecret, "AWS_SESSION_TOKEN=" + ownToken,
		"AWS_ENDPOINT_URL_STS=" + b.sts.server.URL, "AWS_MAX_ATTEMPTS=1",
		"AWS_MCP_ENDPOINT=" + b.mcp.server.URL + "/mcp", "AWS_MCP_REGION=eu-west-1",
		"TARGET_ACCOUNTS=" + threeAccounts, "ENVIRONMENT=dev", "EXTERNAL_ID=" + externalID,
		"TOKEN_ISSUER=" + b.keys.server.URL, "TOKEN_CLIENT_IDS=" + issuerClient, "ACCESS_POLICY=" + opsPolicy, "LOG_LEVEL=debug",
	}, env...)
	command.Stdout, command.Stderr = b.logs, b.logs
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	b.process = command.Process
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		b.runtime.stop()
		if t.Failed() {
			t.Logf("bridge log:\n%s", b.logs)
		}
		b.scanLogs()
	})
	return b
}

// scanLogs fails the test if the log holds a secret, an argument or a result.
func (b *box) scanLogs() {
	log := b.logs.String()
	for _, secret := range []string{ownSecret, ownToken, "eyJ", externalID, "secret-of-", "token-of-", "i-row", "argument-canary"} {
		if strings.Contains(log, secret) {
			b.t.Errorf("the log holds %q", secret)
		}
	}
}

type answer struct {
	OK       bool `json:"ok"`
	Coverage struct{ Targets, Answered, Denied, Failed, Skipped int }
	Results  []struct {
		AccountID   string `json:"account_id"`
		AccountName string `json:"account_name"`
		Region      string
		Status      string
		Count       int
		Data        []any
		Receipt     *struct {
			RoleARN        string `json:"role_arn"`
			SourceIdentity string `json:"source_identity"`
			Operation      string
			APICalls       int `json:"api_calls"`
		}
		Error *struct{ Code, Message, Hint string }
	}
	Groups []struct {
		Key      any
		Count    int
		Accounts []string
	}
	Truncated bool
	Notes     []string
	Error     *struct{ Code, Message, Hint string }
	Accounts  []struct{ ID, Name string }
	Result    any
}

func (a answer) statuses() string {
	var all []string
	for _, r := range a.Results {
		all = append(all, r.AccountID[:3]+"/"+r.Region+"="+r.Status)
	}
	return strings.Join(all, " ")
}

// call invokes a tool as the Gateway does.
func (b *box) call(token, tool, event string) answer {
	b.t.Helper()
	return b.callWithin(time.Minute, token, tool, event)
}

func (b *box) callWithin(lambdaTime time.Duration, token, tool, event string) answer {
	b.t.Helper()
	custom := map[string]any{"bedrockAgentCoreToolName": "bridge___" + tool}
	if token != "" {
		custom["bedrockAgentCorePropagatedHeaders"] = map[string]string{"x-amzn-bedrock-agentcore-runtime-custom-user-token": token}
	}
	body := b.runtime.invoke(b.t, custom, event, lambdaTime)
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		b.t.Fatalf("answer is not JSON: %v\n%.500s", err, body)
	}
	return a
}

// runtimeAPI is Lambda's runtime API for one process.
type runtimeAPI struct {
	server  *httptest.Server
	pending chan invocation
	mu      sync.Mutex
	waiting map[string]chan []byte
	stopped chan struct{}
	n       int
	xray    string // the trace header that Lambda sends along

	mux     *http.ServeMux
	settled chan struct{} // gets a value when the extension asks for an event; nil without extensions
	told    chan string   // ids of invocations, for the extension
	ending  func(id string)
}

type invocation struct {
	id, custom, event string
	deadline          time.Time
}

func newRuntimeAPI(t *testing.T) *runtimeAPI {
	r := &runtimeAPI{pending: make(chan invocation, 16), waiting: map[string]chan []byte{}, stopped: make(chan struct{})}
	mux := http.NewServeMux()
	r.mux = mux
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", func(w http.ResponseWriter, req *http.Request) {
		if r.settled != nil { // an invocation begins when both have come
			select {
			case <-r.settled:
			case <-r.stopped:
				return
			}
		}
		select {
		case i := <-r.pending:
			if r.told != nil {
				r.told <- i.id
			}
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", i.id)
			w.Header().Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(i.deadline.UnixMilli(), 10))
			w.Header().Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:111111111111:function:bridge")
			w.Header().Set("Lambda-Runtime-Client-Context", i.custom)
			r.mu.Lock()
			w.Header().Set("Lambda-Runtime-Trace-Id", r.xray)
			r.mu.Unlock()
			_, _ = io.WriteString(w, i.event)
		case <-req.Context().Done():
		case <-r.stopped:
		}
	})
	finish := func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		done := r.waiting[req.PathValue("id")]
		r.mu.Unlock()
		if r.ending != nil {
			r.ending(req.PathValue("id"))
		}
		done <- body
		w.WriteHeader(http.StatusAccepted)
	}
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", finish)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", func(w http.ResponseWriter, req *http.Request) {
		t.Errorf("the bridge answered a Lambda error")
		finish(w, req)
	})
	r.server = httptest.NewServer(mux)
	return r
}

func (r *runtimeAPI) stop() {
	close(r.stopped)
	r.server.Close()
}

func (r *runtimeAPI) invoke(t *testing.T, custom map[string]any, event string, within time.Duration) []byte {
	t.Helper()
	clientContext, err := json.Marshal(map[string]any{"custom": custom})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan []byte, 1)
	r.mu.Lock()
	r.n++
	id := fmt.Sprintf("invocation-%d", r.n)
	r.waiting[id] = done
	r.mu.Unlock()
	r.pending <- invocation{id, string(clientContext), event, time.Now().Add(within)}
	select {
	case body := <-done:
		return body
	case <-time.After(within + 5*time.Second):
		t.Fatal("no answer within the Lambda deadline")
		return nil
	}
}

// issued is a role session that the STS stand-in gave out.
type issued struct{ account, role, session, source, policy, secret, token string }

// fakeSTS is an STS that refuses what STS refuses.
type fakeSTS struct {
	server *httptest.Server
	mu     sync.Mutex
	byKey  map[string]issued
	calls  []string // accounts
	deny   map[string]bool
	life   time.Duration
}

func newFakeSTS(t *testing.T) *fakeSTS {
	s := &fakeSTS{byKey: map[string]issued{}, deny: map[string]bool{}, life: time.Hour}
	s.byKey[ownKey] = issued{account: "111111111111", role: "bridge", session: "lambda", secret: ownSecret, token: ownToken}
	s.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if err := s.verify(r, body, "sts", "us-east-1"); err != nil {
			s.refuse(w, "SignatureDoesNotMatch", err.Error())
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if err := r.ParseForm(); err != nil {
			t.Errorf("STS got no form: %v", err)
		}
		form := r.PostForm
		match := regexp.MustCompile(`^arn:aws:iam::(\d{12}):role/CentralOpsTargetRole$`).FindStringSubmatch(form.Get("RoleArn"))
		var policy struct{ Version string }
		switch {
		case form.Get("Action") != "AssumeRole" || match == nil:
			s.refuse(w, "ValidationError", "not the target role: "+form.Get("RoleArn"))
			return
		case form.Get("RoleSessionName") != "central-ops-dev", form.Get("ExternalId") != externalID, form.Get("DurationSeconds") != "3600",
			!regexp.MustCompile(`^[\w+=,.@-]{2,64}$`).MatchString(form.Get("SourceIdentity")),
			form.Get("Tags.member.1.Key") != "central-ops:user", form.Get("Tags.member.2.Key") != "",
			json.Unmarshal([]byte(form.Get("Policy")), &policy) != nil || policy.Version != "2012-10-17" || len(form.Get("Policy")) > 2048:
			s.refuse(w, "ValidationError", "parameters: "+form.Encode())
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.calls = append(s.calls, match[1])
		if s.deny[match[1]] {
			s.refuse(w, "AccessDenied", "User is not authorized to perform: sts:AssumeRole")
			return
		}
		key := fmt.Sprintf("ASIA%d", len(s.calls))
		s.byKey[key] = issued{match[1], "CentralOpsTargetRole", form.Get("RoleSessionName"), form.Get("SourceIdentity"), form.Get("Policy"), "secret-of-" + key, "token-of-" + key}
		fmt.Fprintf(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken><Expiration>%s</Expiration>
</Credentials></AssumeRoleResult></AssumeRoleResponse>`, key, "secret-of-"+key, "token-of-"+key, time.Now().Add(s.life).UTC().Format(time.RFC3339))
	}))
	t.Cleanup(s.server.Close)
	return s
}

func (s *fakeSTS) refuse(w http.ResponseWriter, code, message string) {
	w.WriteHeader(http.StatusForbidden)
	var escaped bytes.Buffer
	_ = xml.EscapeText(&escaped, []byte(message))
	fmt.Fprintf(w, `<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error></ErrorResponse>`, code, &escaped)
}

func (s *fakeSTS) assumed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls)
}

var credentialPattern = regexp.MustCompile(`Credential=([^/]+)/\d{8}/([^/]+)/([^/]+)/aws4_request, SignedHeaders=([^,]+)`)

// verify signs the request again with the secret of its key and compares.
func (s *fakeSTS) verify(r *http.Request, body []byte, service, region string) error {
	match := credentialPattern.FindStringSubmatch(r.Header.Get("Authorization"))
	if match == nil || match[2] != region || match[3] != service {
		return fmt.Errorf("credential scope must be %s/%s", region, service)
	}
	s.mu.Lock()
	known, ok := s.byKey[match[1]]
	s.mu.Unlock()
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if !ok || err != nil || time.Since(at).Abs() > 5*time.Minute || r.Header.Get("X-Amz-Security-Token") != known.token {
		return fmt.Errorf("unknown key, date or token")
	}
	again, err := http.NewRequest(r.Method, "http://"+r.Host+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	for _, name := range strings.Split(match[4], ";") {
		if name != "host" && name != "content-length" && name != "x-amz-date" && name != "x-amz-security-token" {
			again.Header[http.CanonicalHeaderKey(name)] = r.Header.Values(name)
		}
	}
	hash := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(context.Background(), aws.Credentials{AccessKeyID: match[1], SecretAccessKey: known.secret, SessionToken: known.token},
		again, hex.EncodeToString(hash[:]), service, region, at); err != nil {
		return err
	}
	if again.Header.Get("Authorization") != r.Header.Get("Authorization") {
		return fmt.Errorf("signature does not match")
	}
	return nil
}

func (s *fakeSTS) who(r *http.Request) issued {
	match := credentialPattern.FindStringSubmatch(r.Header.Get("Authorization"))
	if match == nil {
		return issued{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byKey[match[1]]
}

// scriptAsk is what the fixed script carries.
type scriptAsk struct {
	Service   string
	Operation string
	Regions   []string
	Enabled   bool
	Home      string
	Params    map[string]any
}

// run is one aws___run_script as the stand-in got it.
type scriptRun struct {
	Account, Key, Session, MetaRegion string
	Ask                               scriptAsk
	N                                 int // of this account, from 1
	Traceparent, SignedHeaders        string
}

// fakeMCP is the AWS MCP Server. It reads the script's payload instead of running Python.
type fakeMCP struct {
	server   *httptest.Server
	sts      *fakeSTS
	mu       sync.Mutex
	sessions map[string]string // id -> caller
	forgets  bool              // knows no session that it opened
	opened   int
	runs     []scriptRun
	conns    map[string]bool
	tools    []string
	tries    map[string]int // initialize, by account
	// initialize may answer the nth of an account in its own way; true means that it did.
	initialize func(w http.ResponseWriter, account string, n int) bool
	// fault may answer a run in its own way; true means that it did.
	fault func(w http.ResponseWriter, r *http.Request, id int64, run scriptRun) bool
	// reply is what a Region answers; nil means two instances.
	reply func(run scriptRun, region string) any
	polls func(w http.ResponseWriter, id int64)
	// knows is the result of a knowledge tool, or an rpcRefusal; nil means the tool's name.
	knows func(tool string, arguments json.RawMessage) any
}

// set changes the stand-in while it serves.
func (m *fakeMCP) set(change func(m *fakeMCP)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(m)
}

func newFakeMCP(t *testing.T, sts *fakeSTS) *fakeMCP {
	m := &fakeMCP{sts: sts, sessions: map[string]string{}, conns: map[string]bool{}, tries: map[string]int{}, tools: []string{"aws___run_script", "aws___get_tasks", "aws___search_documentation",
		"aws___read_documentation", "aws___retrieve_skill", "aws___get_regional_availability"}}
	m.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.serve(t, w, r) }))
	t.Cleanup(m.server.Close)
	return m
}

var literalPattern = regexp.MustCompile(`json\.loads\(("(?:[^"\\]|\\.)*")`)

func (m *fakeMCP) serve(t *testing.T, w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if err := m.sts.verify(r, body, "aws-mcp", "eu-west-1"); err != nil {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, `{"message":"InvalidSignatureException: %v"}`, err)
		return
	}
	who := m.sts.who(r)
	caller := who.account + ":" + who.role + ":" + who.session
	session := r.Header.Get("Mcp-Session-Id")
	m.mu.Lock()
	m.conns[r.RemoteAddr] = true
	owner := m.sessions[session]
	m.mu.Unlock()
	if r.Method == http.MethodDelete {
		w.WriteHeader(http.StatusOK)
		return
	}
	var message struct {
		ID     int64
		Method string
		Params struct {
			Name      string
			Arguments struct{ Code string }
			Meta      struct {
				Region string `json:"AWS_REGION"`
			} `json:"_meta"`
		}
	}
	if err := json.Unmarshal(body, &message); err != nil {
		t.Errorf("upstream got no JSON-RPC: %v", err)
	}
	if message.Method == "initialize" {
		m.mu.Lock()
		m.tries[who.account]++
		initialize, n := m.initialize, m.tries[who.account]
		m.mu.Unlock()
		if initialize != nil && initialize(w, who.account, n) {
			return
		}
		m.mu.Lock()
		m.opened++
		id := fmt.Sprintf("mcp-%d", m.opened)
		if !m.forgets {
			m.sessions[id] = caller
		}
		m.mu.Unlock()
		w.Header().Set("Mcp-Session-Id", id)
		result(w, message.ID, map[string]any{"protocolVersion": "2025-06-18", "serverInfo": map[string]any{"name": "AWSMCP", "version": "1.0.0"}})
		return
	}
	if owner != caller {
		rpcFailure(w, http.StatusOK, message.ID, -30001, "The provided SessionId was not found or has expired, please re-initialize your connection")
		return
	}
	switch message.Method {
	case "notifications/initialized":
		w.WriteHeader(http.StatusAccepted)
	case "tools/list":
		tools := []any{}
		m.mu.Lock()
		names := m.tools
		m.mu.Unlock()
		for _, name := range names {
			tools = append(tools, map[string]any{"name": name, "inputSchema": map[string]any{"type": "object"}})
		}
		result(w, message.ID, map[string]any{"tools": tools})
	case "tools/call":
		switch message.Params.Name {
		case "aws___run_script":
			m.runScript(t, w, r, message.ID, who, session, message.Params.Meta.Region, message.Params.Arguments.Code)
		case "aws___get_tasks":
			m.mu.Lock()
			polls := m.polls
			m.mu.Unlock()
			polls(w, message.ID)
		default:
			m.mu.Lock()
			knows := m.knows
			m.mu.Unlock()
			if knows == nil {
				toolResult(w, message.ID, map[string]any{"content": map[string]any{"result": []string{message.Params.Name}}})
				return
			}
			var sent struct {
				Params struct{ Arguments json.RawMessage }
			}
			if err := json.Unmarshal(body, &sent); err != nil {
				t.Errorf("upstream got no JSON-RPC: %v", err)
			}
			known := knows(message.Params.Name, sent.Params.Arguments)
			if refusal, ok := known.(rpcRefusal); ok {
				rpcFailure(w, http.StatusOK, message.ID, refusal.code, refusal.message)
				return
			}
			result(w, message.ID, known)
		}
	default:
		t.Errorf("upstream got method %q", message.Method)
	}
}

func (m *fakeMCP) runScript(t *testing.T, w http.ResponseWriter, r *http.Request, id int64, who issued, session, meta, code string) {
	match := literalPattern.FindStringSubmatch(code)
	if match == nil {
		t.Errorf("the script has no payload")
		return
	}
	text, err := strconv.Unquote(match[1])
	run := scriptRun{Account: who.account, Key: who.token, Session: session, MetaRegion: meta,
		Traceparent: r.Header.Get("Traceparent"), SignedHeaders: credentialPattern.FindStringSubmatch(r.Header.Get("Authorization"))[4]}
	if err == nil {
		err = json.Unmarshal([]byte(text), &run.Ask)
	}
	if err != nil {
		t.Errorf("the script's payload is broken: %v", err)
	}
	m.mu.Lock()
	run.N = 1
	for _, other := range m.runs {
		if other.Account == run.Account {
			run.N++
		}
	}
	m.runs = append(m.runs, run)
	fault := m.fault
	m.mu.Unlock()
	if fault != nil && fault(w, r, id, run) {
		return
	}
	toolResult(w, id, m.value(run))
}

// value is what the script would return.
func (m *fakeMCP) value(run scriptRun) map[string]any {
	m.mu.Lock()
	reply := m.reply
	m.mu.Unlock()
	regions, calls := map[string]any{}, []any{}
	asked := run.Ask.Regions
	var enabled any
	if run.Ask.Enabled {
		enabled = []string{"us-east-1", "eu-west-1"}
		asked = []string{}
		for _, region := range run.Ask.Regions {
			if region == "us-east-1" || region == "eu-west-1" {
				asked = append(asked, region)
			}
		}
		calls = append(calls, map[string]any{"service": "ec2", "operation": "DescribeRegions", "status": "success"})
	}
	for _, region := range asked {
		if reply != nil {
			regions[region] = reply(run, region)
		} else {
			regions[region] = instances(run, region, 2)
		}
		calls = append(calls, map[string]any{"service": run.Ask.Service, "operation": run.Ask.Operation, "status": "success"})
	}
	return map[string]any{"status": "success", "return_value": map[string]any{"regions": regions, "enabled": enabled}, "api_calls": calls}
}

func instances(run scriptRun, region string, n int) any {
	list := []any{}
	for i := range n {
		list = append(list, map[string]any{"InstanceId": fmt.Sprintf("i-row-%s-%s-%d", run.Account[:3], region, i), "InstanceType": []string{"t3.micro", "m5.large"}[i%2]})
	}
	return map[string]any{"document": map[string]any{"Reservations": []any{map[string]any{"Instances": list}}}, "calls": 1, "more": false}
}

func result(w http.ResponseWriter, id int64, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"jsonrpc": "2.0", "id": id, "result": value})
}

func rpcFailure(w http.ResponseWriter, status int, id int64, code int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"jsonrpc": "2.0", "id": id, "error": map[string]any{"code": code, "message": message}})
}

// rpcRefusal is a JSON-RPC error.
type rpcRefusal struct {
	code    int
	message string
}

func toolResult(w http.ResponseWriter, id int64, structured any) {
	text, _ := json.Marshal(structured)
	result(w, id, map[string]any{"content": []any{map[string]any{"type": "text", "text": string(text)}}, "structuredContent": structured, "isError": false})
}

// fakeJWKS is a user pool: it signs tokens and publishes its key.
type fakeJWKS struct {
	server *httptest.Server
	key    *rsa.PrivateKey
}

func newFakeJWKS(t *testing.T) *fakeJWKS {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	k := &fakeJWKS{key: key}
	k.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e := base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes())
		n := base64.RawURLEncoding.EncodeToString(key.N.Bytes())
		fmt.Fprintf(w, `{"keys":[{"kty":"RSA","kid":"k1","use":"sig","alg":"RS256","e":%q,"n":%q}]}`, e, n)
	}))
	t.Cleanup(k.server.Close)
	return k
}

// token signs an access token of a person in group; change may spoil its claims.
func (b *box) token(group string, change ...func(jwt.MapClaims)) string {
	b.t.Helper()
	claims := jwt.MapClaims{"iss": b.keys.server.URL, "client_id": issuerClient, "token_use": "access", "sub": "sub-1", "username": "alice",
		"cognito:groups": []string{group}, "exp": time.Now().Add(time.Hour).Unix()}
	for _, c := range change {
		c(claims)
	}
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	token.Header["kid"] = "k1"
	signed, err := token.SignedString(b.keys.key)
	if err != nil {
		b.t.Fatal(err)
	}
	return signed
}
