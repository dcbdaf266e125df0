package gateway_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/central-ops/central-ops/e2e/local/gateway"
	"github.com/central-ops/central-ops/e2e/local/internal/testpool"
	"github.com/central-ops/central-ops/e2e/local/issued"
	"github.com/central-ops/central-ops/e2e/local/lambdafront"
	"github.com/central-ops/central-ops/e2e/local/oidc"
	"github.com/central-ops/central-ops/e2e/local/sigv4"
)

const (
	bridgeARN      = "arn:aws:lambda:us-east-1:111111111111:function:bridge"
	interceptorARN = "arn:aws:lambda:us-east-1:111111111111:function:interceptor"
	userHeader     = "X-Amzn-Bedrock-AgentCore-Runtime-Custom-User-Token"
	schema         = `[
		{"name":"query","description":"asks","inputSchema":{"type":"object","properties":{"service":{"type":"string"}},"required":["service"]}},
		{"name":"list_accounts","description":"lists","inputSchema":{"type":"object"}},
		{"name":"read","description":"reads","inputSchema":{"type":"object"}}]`
)

// lambda is an Invoke API whose functions are Go functions; it checks signatures, as the gateway must make them, and
// keeps what it was called with.
type lambda struct {
	*httptest.Server

	functions map[string]func(event []byte) (answer string, failed bool)

	mu    sync.Mutex
	calls []call
}

type call struct {
	Function      string
	Event         string
	ClientContext clientContext
}

type clientContext struct {
	Custom map[string]any `json:"custom"`
}

func startLambda(t *testing.T, store *issued.Store) *lambda {
	t.Helper()
	l := &lambda{functions: map[string]func([]byte) (string, bool){
		bridgeARN: func([]byte) (string, bool) { return `{"ok":true}`, false },
	}}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if _, err := sigv4.Verify(r, body, "lambda", "us-east-1", store, time.Now()); err != nil {
			t.Errorf("invoke: %v", err)
		}
		encoded := r.Header.Get("X-Amz-Client-Context")
		raw, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			t.Error(err)
		}
		arn, err := url.PathUnescape(strings.TrimSuffix(strings.TrimPrefix(r.URL.EscapedPath(), "/2015-03-31/functions/"), "/invocations"))
		if err != nil {
			t.Error(err)
		}
		c := call{Function: arn, Event: string(body)}
		if len(raw) > 0 {
			if err := json.Unmarshal(raw, &c.ClientContext); err != nil {
				t.Error(err)
			}
		}
		l.mu.Lock()
		l.calls = append(l.calls, c)
		l.mu.Unlock()
		function := l.functions[arn]
		if function == nil || len(encoded) > lambdafront.MaxClientContextBytes {
			w.Header().Set("X-Amzn-Errortype", "AccessDeniedException")
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `{"Message":"not authorized to perform: lambda:InvokeFunction"}`)
			return
		}
		answer, failed := function(body)
		if failed {
			w.Header().Set("X-Amz-Function-Error", "Unhandled")
		}
		fmt.Fprint(w, answer)
	}))
	t.Cleanup(l.Close)
	return l
}

func (l *lambda) called(function string) []call {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []call
	for _, c := range l.calls {
		if c.Function == function {
			found = append(found, c)
		}
	}
	return found
}

type env struct {
	*gateway.Server
	lambda *lambda
	front  *oidc.Front
}

func start(t *testing.T, change func(*gateway.Config)) env {
	t.Helper()
	store := issued.New()
	role := issued.Credential{AccessKeyID: "ASIAGATEWAY", SecretAccessKey: "secret", SessionToken: "token"}
	store.Add(role)
	front := testpool.Start(t, nil)
	l := startLambda(t, store)
	config := gateway.Config{
		Region: "us-east-1", LambdaURL: l.URL,
		Record: gateway.Record{
			ID: "tools-0123456789", Name: "tools", AuthorizerType: "CUSTOM_JWT",
			AuthorizerConfiguration: gateway.AuthorizerConfiguration{CustomJWT: testpool.Authorizer(front)},
			ProtocolConfiguration:   gateway.ProtocolConfiguration{MCP: gateway.MCPConfiguration{SupportedVersions: []string{"2025-06-18", "2025-11-25"}}},
		},
		Targets: []gateway.Target{gateway.NewLambdaTarget("TARGET0001", "bridge", bridgeARN, []byte(schema), userHeader)},
		Role:    func() (issued.Credential, error) { return role, nil },
	}
	if change != nil {
		change(&config)
	}
	s, err := gateway.Start(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return env{s, l, front}
}

// answer is what the gateway sent back.
type answer struct {
	status int
	header http.Header
	body   map[string]any
}

// post sends one JSON-RPC message with a good token; pairs of headers override.
func (e env) post(t *testing.T, message string, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.MCPURL(), strings.NewReader(message))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+testpool.Token(t, e.front, nil))
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header}
	if len(bytes.TrimSpace(raw)) > 0 && resp.Header.Get("Content-Type") == "application/json" {
		if err := json.Unmarshal(raw, &a.body); err != nil {
			t.Fatalf("%v in %s", err, raw)
		}
	}
	return a
}

func (a answer) result(t *testing.T) map[string]any {
	t.Helper()
	result, ok := a.body["result"].(map[string]any)
	if !ok || a.status != http.StatusOK {
		t.Fatalf("no result: %d %v", a.status, a.body)
	}
	return result
}

func (a answer) text(t *testing.T) string {
	t.Helper()
	content, ok := a.result(t)["content"].([]any)
	if !ok || len(content) != 1 {
		t.Fatalf("content %v", a.body)
	}
	return content[0].(map[string]any)["text"].(string)
}

const callQuery = `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"bridge___query","arguments":{"service":"ec2"}}}`

// The gateway, the Invoke API and a process on the Runtime API, with nothing between them faked.
func TestCallReachesARealFunction(t *testing.T) {
	t.Parallel()
	bootstrap := filepath.Join(t.TempDir(), "bootstrap")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bootstrap, "../lambdafront/internal/testfunction").CombinedOutput(); err != nil {
		t.Fatalf("build the test function: %v\n%s", err, out)
	}
	store := issued.New()
	role := issued.Credential{AccessKeyID: "ASIAROLE", SecretAccessKey: "secret", SessionToken: "token", PrincipalARN: "arn:aws:sts::111111111111:assumed-role/gateway/s"}
	store.Add(role)
	functions, err := lambdafront.Start(lambdafront.Config{
		Account: "111111111111", Region: "us-east-1", Credentials: store,
		Authorize: func(principal, function string) bool { return principal == role.PrincipalARN && function == bridgeARN },
		Functions: []lambdafront.Function{{Name: "bridge", Bootstrap: bootstrap, Timeout: 20 * time.Second}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := functions.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	e := start(t, func(c *gateway.Config) {
		c.LambdaURL = functions.URL
		c.Role = func() (issued.Credential, error) { return role, nil }
	})
	var got struct {
		Event  json.RawMessage   `json:"event"`
		Custom map[string]string `json:"custom"`
	}
	if err := json.Unmarshal([]byte(e.post(t, callQuery, userHeader, "user.jwt").text(t)), &got); err != nil {
		t.Fatal(err)
	}
	if string(got.Event) != `{"service":"ec2"}` || got.Custom["bedrockAgentCoreToolName"] != "bridge___query" || got.Custom["bedrockAgentCorePropagatedHeaders"] != `{"`+userHeader+`":"user.jwt"}` {
		t.Errorf("the function saw %+v", got)
	}
}

func TestToolsListPages(t *testing.T) {
	t.Parallel()
	e := start(t, func(c *gateway.Config) { c.PageSize = 2 })
	var names []string
	cursor := ""
	for range 2 {
		result := e.post(t, fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":%q}}`, cursor)).result(t)
		for _, tool := range result["tools"].([]any) {
			names = append(names, tool.(map[string]any)["name"].(string))
		}
		cursor, _ = result["nextCursor"].(string)
	}
	if diff := cmp.Diff([]string{"bridge___query", "bridge___list_accounts", "bridge___read"}, names); diff != "" {
		t.Errorf("tools (-want +got):\n%s", diff)
	}
	if cursor != "" {
		t.Errorf("a cursor after the last page: %q", cursor)
	}
	bad := e.post(t, `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"x"}}`)
	if bad.body["error"] == nil {
		t.Errorf("a made-up cursor was taken: %v", bad.body)
	}
}

func TestCallReachesTheFunction(t *testing.T) {
	t.Parallel()
	e := start(t, nil)
	result := e.post(t, callQuery, userHeader, "user.jwt", "X-Other", "stays").result(t)
	want := map[string]any{"isError": false, "content": []any{map[string]any{"type": "text", "text": `{"ok":true}`}}}
	if diff := cmp.Diff(want, result); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	wantCall := []call{{
		Function: bridgeARN,
		Event:    `{"service":"ec2"}`,
		ClientContext: clientContext{map[string]any{
			"bedrockAgentCoreMessageVersion": "1.0", "bedrockAgentCoreMcpMessageId": "7",
			"bedrockAgentCoreGatewayId": "tools-0123456789", "bedrockAgentCoreTargetId": "TARGET0001",
			"bedrockAgentCoreToolName":          "bridge___query",
			"bedrockAgentCorePropagatedHeaders": map[string]any{userHeader: "user.jwt"},
		}},
	}}
	random := cmpopts.IgnoreMapEntries(func(key string, _ any) bool { return key == "bedrockAgentCoreAwsRequestId" })
	if diff := cmp.Diff(wantCall, e.lambda.called(bridgeARN), random); diff != "" {
		t.Errorf("call (-want +got):\n%s", diff)
	}
}

// propagated is what the last call of the bridge got.
func (e env) propagated(t *testing.T) map[string]any {
	t.Helper()
	calls := e.lambda.called(bridgeARN)
	if len(calls) == 0 {
		t.Fatal("the bridge was not called")
	}
	headers, _ := calls[len(calls)-1].ClientContext.Custom["bedrockAgentCorePropagatedHeaders"].(map[string]any)
	return headers
}

func TestHeaderRules(t *testing.T) {
	t.Parallel()
	intercept := func(headers string) func(*gateway.Config, *lambda) {
		return func(c *gateway.Config, l *lambda) {
			c.Record.Interceptors = []gateway.Interceptor{gateway.NewRequestInterceptor(interceptorARN)}
			l.functions[interceptorARN] = func([]byte) (string, bool) {
				return `{"interceptorOutputVersion":"1.0","mcp":{"transformedGatewayRequest":{"headers":` + headers + `}}}`, false
			}
		}
	}
	tests := []struct {
		name   string
		change func(*gateway.Config, *lambda)
		value  string // of the user header that the client sends
		want   map[string]any
	}{
		{"client's header", nil, "client", map[string]any{userHeader: "client"}},
		{"nothing sent", nil, "", nil},
		{"interceptor overrides", intercept(`{"x-amzn-bedrock-agentcore-runtime-custom-user-token":"interceptor"}`), "client", map[string]any{userHeader: "interceptor"}},
		{"interceptor's header that is not allowed stays", intercept(`{"X-Caller":"ann"}`), "client", map[string]any{userHeader: "client"}},
		{"interceptor may pass Authorization", intercept(`{"Authorization":"Bearer x"}`), "", map[string]any{"Authorization": "Bearer x"}},
		{"client headers do not pass by themselves", func(c *gateway.Config, _ *lambda) { c.OnlyInterceptorHeaders = true }, "client", nil},
		{"lower case names", func(c *gateway.Config, _ *lambda) { c.LowerCaseHeaders = true }, "client", map[string]any{strings.ToLower(userHeader): "client"}},
		{"value over 4 KB", nil, strings.Repeat("x", 4097), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var script func(*lambda)
			e := start(t, func(c *gateway.Config) {
				if tt.change != nil {
					l := &lambda{functions: map[string]func([]byte) (string, bool){}}
					tt.change(c, l)
					script = func(real *lambda) { real.functions[interceptorARN] = l.functions[interceptorARN] }
				}
			})
			if script != nil {
				script(e.lambda)
			}
			var headers []string
			if tt.value != "" {
				headers = []string{userHeader, tt.value}
			}
			e.post(t, callQuery, headers...).result(t)
			if diff := cmp.Diff(tt.want, e.propagated(t), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("propagated headers (-want +got):\n%s", diff)
			}
		})
	}
}

func withInterceptor(c *gateway.Config) {
	c.Record.Interceptors = []gateway.Interceptor{gateway.NewRequestInterceptor(interceptorARN)}
}

func TestInterceptorSeesTheRequest(t *testing.T) {
	t.Parallel()
	e := start(t, withInterceptor)
	e.lambda.functions[interceptorARN] = func(event []byte) (string, bool) {
		return `{"interceptorOutputVersion":"1.0","mcp":{"transformedGatewayRequest":{"headers":{},"body":{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"bridge___read","arguments":{"a":1}}}}}}`, false
	}
	e.post(t, callQuery, "X-Other", "seen").result(t)
	var in struct {
		Version string `json:"interceptorInputVersion"`
		MCP     struct {
			Raw     struct{ Body string } `json:"rawGatewayRequest"`
			Request struct {
				Path       string
				HTTPMethod string
				Headers    map[string]string
				Body       json.RawMessage
			} `json:"gatewayRequest"`
		}
	}
	if err := json.Unmarshal([]byte(e.lambda.called(interceptorARN)[0].Event), &in); err != nil {
		t.Fatal(err)
	}
	if in.Version != "1.0" || in.MCP.Raw.Body != callQuery || string(in.MCP.Request.Body) != callQuery || in.MCP.Request.Path != "/mcp" || in.MCP.Request.HTTPMethod != "POST" {
		t.Errorf("input %+v", in)
	}
	if h := in.MCP.Request.Headers; h["X-Other"] != "seen" || !strings.HasPrefix(h["Authorization"], "Bearer ey") {
		t.Errorf("headers %v", h)
	}
	if got := e.lambda.called(bridgeARN)[0]; got.Event != `{"a":1}` || got.ClientContext.Custom["bedrockAgentCoreToolName"] != "bridge___read" {
		t.Errorf("the changed body did not reach the target: %+v", got)
	}
}

func TestInterceptorMayAnswer(t *testing.T) {
	t.Parallel()
	e := start(t, withInterceptor)
	e.lambda.functions[interceptorARN] = func([]byte) (string, bool) {
		return `{"interceptorOutputVersion":"1.0","mcp":{"transformedGatewayResponse":{"statusCode":403,"headers":{"X-Why":"token"},"body":{"jsonrpc":"2.0","id":7,"error":{"code":-32000,"message":"too large"}}}}}`, false
	}
	got := e.post(t, callQuery)
	if got.status != http.StatusForbidden || got.header.Get("X-Why") != "token" || fmt.Sprint(got.body["error"]) != "map[code:-32000 message:too large]" {
		t.Errorf("%d %v %v", got.status, got.header, got.body)
	}
	if len(e.lambda.called(bridgeARN)) > 0 {
		t.Error("the target was called")
	}
}

func TestFailingInterceptorClosesTheDoor(t *testing.T) {
	t.Parallel()
	for name, function := range map[string]func([]byte) (string, bool){
		"error":          func([]byte) (string, bool) { return `{"errorMessage":"boom"}`, true },
		"not JSON":       func([]byte) (string, bool) { return `boom`, false },
		"neither answer": func([]byte) (string, bool) { return `{"interceptorOutputVersion":"1.0","mcp":{}}`, false },
		"not allowed":    nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := start(t, withInterceptor)
			e.lambda.functions[interceptorARN] = function
			got := e.post(t, callQuery)
			if got.status != http.StatusInternalServerError || strings.Contains(fmt.Sprint(got.body), "boom") {
				t.Errorf("%d %v", got.status, got.body)
			}
			if len(e.lambda.called(bridgeARN)) > 0 {
				t.Error("the target was called")
			}
		})
	}
}

func TestResults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		change  func(*gateway.Config)
		answer  string
		failed  bool
		isError bool
		text    string
	}{
		{"object", nil, `{"ok":true}`, false, false, `{"ok":true}`},
		{"string in quotes", nil, `"plain"`, false, false, `"plain"`},
		{"bare string", func(c *gateway.Config) { c.BareStrings = true }, `"plain"`, false, false, "plain"},
		{"MCP result is text", nil, `{"isError":true,"content":[{"type":"text","text":"x"}]}`, false, false, `{"isError":true,"content":[{"type":"text","text":"x"}]}`},
		{"MCP result honoured", func(c *gateway.Config) { c.HonourResults = true }, `{"isError":true,"content":[{"type":"text","text":"x"}]}`, false, true, "x"},
		{"function error is hidden", nil, `{"errorMessage":"secret"}`, true, true, "An internal error occurred. Please retry later."},
		{"function error with DEBUG", func(c *gateway.Config) { c.Record.ExceptionLevel = "DEBUG" }, `{"errorMessage":"boom"}`, true, true, `target: function error: {"errorMessage":"boom"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := start(t, tt.change)
			e.lambda.functions[bridgeARN] = func([]byte) (string, bool) { return tt.answer, tt.failed }
			got := e.post(t, callQuery)
			if got.result(t)["isError"] != tt.isError || got.text(t) != tt.text {
				t.Errorf("%v", got.body)
			}
		})
	}
}

func TestTooLargeAClientContextIsAnInternalError(t *testing.T) {
	t.Parallel()
	e := start(t, nil)
	got := e.post(t, callQuery, userHeader, strings.Repeat("x", 3000))
	if got.result(t)["isError"] != true || got.text(t) != "An internal error occurred. Please retry later." {
		t.Errorf("%v", got.body)
	}
}

func TestProtocolErrors(t *testing.T) {
	t.Parallel()
	e := start(t, nil)
	tests := []struct {
		name, message string
		headers       []string
		status        int
		code          float64
	}{
		{"unknown tool", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"bridge___drop"}}`, nil, 200, -32602},
		{"tool without its target", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"query"}}`, nil, 200, -32602},
		{"arguments that are no object", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"bridge___read","arguments":[1]}}`, nil, 200, -32602},
		{"unknown method", `{"jsonrpc":"2.0","id":1,"method":"roots/list"}`, nil, 200, -32601},
		{"not JSON", `{`, nil, 400, -32700},
		{"batch", `[{"jsonrpc":"2.0","id":1,"method":"ping"}]`, nil, 400, -32700},
		{"not JSON-RPC", `{"id":1,"method":"ping"}`, nil, 400, -32600},
		{"version that is not supported", `{"jsonrpc":"2.0","id":1,"method":"ping"}`, []string{"Mcp-Protocol-Version", "2025-03-26"}, 400, -32600},
		{"over 6 MB", `{"jsonrpc":"2.0","id":1,"method":"ping","params":"` + strings.Repeat("x", gateway.MaxPayloadBytes) + `"}`, nil, 413, -32600},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := e.post(t, tt.message, tt.headers...)
			fault, _ := got.body["error"].(map[string]any)
			if got.status != tt.status || fault["code"] != tt.code {
				t.Errorf("%d %v, want %d %v", got.status, got.body, tt.status, tt.code)
			}
		})
	}
}

func TestInitializeIsOptional(t *testing.T) {
	t.Parallel()
	e := start(t, nil)
	for asked, want := range map[string]string{"2025-06-18": "2025-06-18", "2026-07-28": "2025-11-25"} {
		got := e.post(t, fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":%q}}`, asked))
		if got.result(t)["protocolVersion"] != want || got.header.Get("Mcp-Session-Id") != "" {
			t.Errorf("asked for %s: %v, session %q", asked, got.body, got.header.Get("Mcp-Session-Id"))
		}
	}
	if got := e.post(t, `{"jsonrpc":"2.0","method":"notifications/initialized"}`); got.status != http.StatusAccepted {
		t.Errorf("notification: %d", got.status)
	}
}

func TestSessions(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	clock := time.Now()
	e := start(t, func(c *gateway.Config) {
		c.Record.ProtocolConfiguration.MCP.Session = &gateway.SessionConfiguration{TimeoutInSeconds: 900}
		c.Now = func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return clock
		}
	})
	const ping = `{"jsonrpc":"2.0","id":1,"method":"ping"}`
	id := e.post(t, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18"}}`).header.Get("Mcp-Session-Id")
	other := "Bearer " + testpool.Token(t, e.front, map[string]any{"sub": "other"})
	check := func(name string, want int, headers ...string) {
		t.Helper()
		if got := e.post(t, ping, headers...); got.status != want {
			t.Errorf("%s: %d, want %d", name, got.status, want)
		}
	}
	check("with the session", 200, "Mcp-Session-Id", id)
	check("without a session", 400)
	check("made-up session", 404, "Mcp-Session-Id", "x")
	check("another person's session", 404, "Mcp-Session-Id", id, "Authorization", other)
	mu.Lock()
	clock = clock.Add(900 * time.Second)
	mu.Unlock()
	check("after its end", 404, "Mcp-Session-Id", id)
}

func TestDoor(t *testing.T) {
	t.Parallel()
	e := start(t, func(c *gateway.Config) {
		c.Record.AuthorizerConfiguration.CustomJWT.AllowedScopes = []string{"ops/query"}
	})
	resource := fmt.Sprintf(`Bearer resource_metadata="%s/.well-known/oauth-protected-resource", scope="ops/query"`, e.URL)
	tests := []struct {
		name, authorization string
		status              int
		challenge           string
	}{
		{"no token", "", 401, resource},
		{"not a bearer", "Basic x", 401, resource + `, error="invalid_token"`},
		{"expired", "Bearer " + testpool.Token(t, e.front, map[string]any{"exp": 1}), 401, resource + `, error="invalid_token"`},
		{"another client", "Bearer " + testpool.Token(t, e.front, map[string]any{"client_id": "x", "scope": "ops/query"}), 401, resource + `, error="invalid_token"`},
		{"scope missing", "Bearer " + testpool.Token(t, e.front, nil), 403, resource + `, error="insufficient_scope"`},
		{"let in", "Bearer " + testpool.Token(t, e.front, map[string]any{"scope": "ops/query"}), 200, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := e.post(t, `{"jsonrpc":"2.0","id":1,"method":"ping"}`, "Authorization", tt.authorization)
			if got.status != tt.status || got.header.Get("WWW-Authenticate") != tt.challenge {
				t.Errorf("%d %q, want %d %q", got.status, got.header.Get("WWW-Authenticate"), tt.status, tt.challenge)
			}
		})
	}
	resp, err := http.Get(e.URL + "/.well-known/oauth-protected-resource")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var metadata map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&metadata); err != nil {
		t.Fatal(err)
	}
	if metadata["resource"] != e.MCPURL() || fmt.Sprint(metadata["scopes_supported"]) != "[ops/query]" {
		t.Errorf("metadata %v", metadata)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	e := start(t, nil)
	const ping = `{"jsonrpc":"2.0","id":1,"method":"ping"}`
	e.Inject(gateway.Fault{Kind: gateway.Status, Method: "tools/call", Times: 1, Status: 503, Header: http.Header{"Retry-After": {"1"}}})
	e.Inject(gateway.Fault{Kind: gateway.Drop, Times: 1})
	if got := e.post(t, callQuery); got.status != 503 || got.header.Get("Retry-After") != "1" {
		t.Errorf("%d %v", got.status, got.header)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.MCPURL(), strings.NewReader(ping))
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := http.DefaultClient.Do(req); err == nil {
		_ = resp.Body.Close() // the test has failed anyway
		t.Errorf("not dropped: %s", resp.Status)
	}
	if got := e.post(t, ping); got.status != 200 {
		t.Errorf("after the faults: %d", got.status)
	}
}

func TestStartRefusesWhatTheControlPlaneRefuses(t *testing.T) {
	t.Parallel()
	tool := func(schema string) []byte {
		return []byte(`[{"name":"t","description":"d","inputSchema":` + schema + `}]`)
	}
	tests := []struct {
		name   string
		change func(*gateway.Config)
		want   string
	}{
		{"enum", func(c *gateway.Config) {
			c.Targets[0].Configuration.MCP.Lambda.ToolSchema.Inline = tool(`{"type":"object","properties":{"a":{"type":"string","enum":["x"]}}}`)
		}, `unknown field "enum"`},
		{"additionalProperties", func(c *gateway.Config) {
			c.Targets[0].Configuration.MCP.Lambda.ToolSchema.Inline = tool(`{"type":"object","additionalProperties":false}`)
		}, `unknown field "additionalProperties"`},
		{"type of another language", func(c *gateway.Config) {
			c.Targets[0].Configuration.MCP.Lambda.ToolSchema.Inline = tool(`{"type":"object","properties":{"a":{"type":"array","items":{"type":"null"}}}}`)
		}, `inputSchema.a[]: type "null"`},
		{"required but not there", func(c *gateway.Config) {
			c.Targets[0].Configuration.MCP.Lambda.ToolSchema.Inline = tool(`{"type":"object","required":["a"]}`)
		}, "required a is not a property"},
		{"tool twice", func(c *gateway.Config) {
			c.Targets[0].Configuration.MCP.Lambda.ToolSchema.Inline = []byte(`[{"name":"t","description":"d","inputSchema":{"type":"object"}},{"name":"t","description":"d","inputSchema":{"type":"object"}}]`)
		}, `tool "t"`},
		{"X-Amzn header", func(c *gateway.Config) {
			c.Targets[0].Metadata.AllowedRequestHeaders = []string{"X-Amzn-Trace-Id"}
		}, "X-Amzn-Trace-Id may not be allowed"},
		{"Authorization", func(c *gateway.Config) {
			c.Targets[0].Metadata.AllowedRequestHeaders = []string{"Authorization"}
		}, "Authorization may not be allowed"},
		{"target name", func(c *gateway.Config) { c.Targets[0].Name = "a_b" }, "letters, digits and single hyphens"},
		{"no versions", func(c *gateway.Config) { c.Record.ProtocolConfiguration.MCP.SupportedVersions = nil }, "supportedVersions is empty"},
		{"no authorizer", func(c *gateway.Config) { c.Record.AuthorizerConfiguration.CustomJWT = nil }, "only CUSTOM_JWT"},
		{"two interceptors", func(c *gateway.Config) {
			c.Record.Interceptors = []gateway.Interceptor{gateway.NewRequestInterceptor("a"), gateway.NewRequestInterceptor("b")}
		}, "at most one interceptor"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			config := gateway.Config{
				Record: gateway.Record{
					Name: "tools", AuthorizerType: "CUSTOM_JWT",
					AuthorizerConfiguration: gateway.AuthorizerConfiguration{CustomJWT: &oidc.CustomJWT{DiscoveryURL: "http://127.0.0.1:1/p/.well-known/openid-configuration", AllowedClients: []string{"c"}}},
					ProtocolConfiguration:   gateway.ProtocolConfiguration{MCP: gateway.MCPConfiguration{SupportedVersions: []string{"2025-06-18"}}},
				},
				Targets: []gateway.Target{gateway.NewLambdaTarget("T", "bridge", bridgeARN, []byte(schema))},
			}
			tt.change(&config)
			server, err := gateway.Start(config)
			if err == nil {
				_ = server.Close() // the test has failed anyway
				t.Fatal("started")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q lacks %q", err, tt.want)
			}
		})
	}
}
