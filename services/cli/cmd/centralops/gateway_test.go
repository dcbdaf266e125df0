package main

import (
	stdcmp "cmp"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// bridgeTools are the tools of the bridge, as its tools.json has them.
var bridgeTools = []string{"list_accounts", "query", "search_documentation", "read_documentation", "retrieve_skill", "get_regional_availability"}

// behindGateway is the bridge behind the fake Gateway; its zero value works.
type behindGateway struct {
	tools    []string          // listed; nil for bridgeTools
	states   map[string]string // by account id: status of a query; ok if absent
	fail     map[string]string // by tool: what its call answers instead
	quoted   bool              // answers are quoted once more
	sessions bool              // the Gateway has MCP sessions, and wants to be told that the client is initialized
	quota    int               // of concurrent Lambda functions; 0 for 1000
	status   int               // of every response; 0 for 200
	hang     bool              // no answer until the client gives up
	agents   bool              // the Gateway takes the agent's tokens alone
}

// mcp answers as AgentCore Gateway does. tools/list has pages of four.
func (d *deployment) mcp(w http.ResponseWriter, r *http.Request) {
	if !d.authorized(w, r) {
		return
	}
	state.Lock()
	d.called++
	b := d.bridge
	state.Unlock()
	if b.hang {
		io.Copy(io.Discard, r.Body) // a server sees that its client is gone only when the body has been read
		<-r.Context().Done()
		return
	}
	state.Lock()
	defer state.Unlock()
	if b.agents {
		w.Header().Set("WWW-Authenticate", "Bearer")
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if b.status != 0 {
		w.WriteHeader(b.status)
		return
	}
	var in struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
		Params struct {
			Cursor    string         `json:"cursor"`
			Name      string         `json:"name"`
			Arguments map[string]any `json:"arguments"`
		} `json:"params"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || !strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if b.sessions && in.Method != "initialize" && r.Header.Get("Mcp-Session-Id") != "mcp-1" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if b.sessions && in.Method != "initialize" && in.Method != "notifications/initialized" && !d.initialized["mcp-1"] {
		writeJSON(w, map[string]any{"jsonrpc": "2.0", "id": in.ID, "error": map[string]any{"code": -32602, "message": "not initialized"}})
		return
	}
	if version := r.Header.Get("Mcp-Protocol-Version"); version != "" && version != "2025-06-18" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	reply := func(result any) { writeJSON(w, map[string]any{"jsonrpc": "2.0", "id": in.ID, "result": result}) }
	switch in.Method {
	case "initialize":
		if b.sessions {
			w.Header().Set("Mcp-Session-Id", "mcp-1")
			d.initialized["mcp-1"] = false
		}
		reply(map[string]any{"protocolVersion": "2025-06-18"})
	case "notifications/initialized":
		d.initialized["mcp-1"] = true
		w.WriteHeader(http.StatusAccepted)
	case "tools/list":
		names := b.tools
		if names == nil {
			names = bridgeTools
		}
		next := ""
		if in.Params.Cursor == "" && len(names) > 4 {
			names, next = names[:4], "page2"
		} else if in.Params.Cursor != "" {
			names = names[4:]
		}
		var listed []map[string]string
		for _, name := range names {
			listed = append(listed, map[string]string{"name": "bridge___" + name})
		}
		reply(map[string]any{"tools": listed, "nextCursor": next})
	case "tools/call":
		tool := strings.TrimPrefix(in.Params.Name, "bridge___")
		if !slices.Contains(bridgeTools, tool) {
			writeJSON(w, map[string]any{"jsonrpc": "2.0", "id": in.ID, "error": map[string]any{"code": -32602, "message": "Unknown tool"}})
			return
		}
		answer, failed := b.fail[tool]
		if failed && answer == "" { // the function failed, and the Gateway says no more
			reply(map[string]any{"isError": true, "content": []map[string]string{{"type": "text", "text": "An internal error occurred. Please retry later."}}})
			return
		}
		if !failed && r.Header.Get(userTokenHeader) != "" { // the interceptor leaves it; the bridge looks at it
			answer = `{"ok":false,"error":{"code":"unauthenticated","message":"the user token is no JWT"}}`
		} else if !failed {
			answer = b.answer(tool, in.Params.Arguments)
		}
		if b.quoted {
			raw, err := json.Marshal(answer)
			if err != nil {
				d.t.Error(err)
			}
			answer = string(raw)
		}
		reply(map[string]any{"isError": false, "content": []map[string]string{{"type": "text", "text": answer}}})
	default:
		writeJSON(w, map[string]any{"jsonrpc": "2.0", "id": in.ID, "error": map[string]any{"code": -32601, "message": "Method not found"}})
	}
}

// direct answers an invocation that names a tool, as the agent does.
func (d *deployment) direct(w http.ResponseWriter, tool string, arguments map[string]any) {
	state.Lock()
	defer state.Unlock()
	d.called++
	answer, failed := d.bridge.fail[tool]
	switch {
	case !slices.Contains(bridgeTools, tool):
		writeJSON(w, map[string]any{"error": map[string]string{"code": "invalid", "message": "there is no such tool", "hint": "the tools are: bridge___query"}})
		return
	case failed && answer == "":
		writeJSON(w, map[string]any{"error": map[string]string{"code": "internal", "message": "the tool failed: An internal error occurred.", "hint": "the log group of the tool's Lambda function"}})
		return
	case !failed:
		answer = d.bridge.answer(tool, arguments)
	}
	writeJSON(w, map[string]any{"result": json.RawMessage(answer), "receipts": []any{}, "turns": 0, "tool_calls": 1})
}

// awsMCP is the AWS MCP Server as far as it answers without a signature.
func (d *deployment) awsMCP(w http.ResponseWriter, r *http.Request) {
	var in struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	state.Lock()
	defer state.Unlock()
	if d.awsBusy > 0 {
		d.awsBusy--
		w.WriteHeader(http.StatusTooManyRequests)
		writeJSON(w, map[string]any{"jsonrpc": "2.0", "id": in.ID, "result": nil, "error": map[string]any{"code": -32004, "message": "Too many requests."}})
		return
	}
	session := r.Header.Get("Mcp-Session-Id")
	reply := map[string]any{"jsonrpc": "2.0", "id": in.ID}
	switch {
	case in.Method == "initialize":
		w.Header().Set("Mcp-Session-Id", "aws-1")
		d.initialized["aws-1"] = false
		reply["result"] = map[string]any{"protocolVersion": "2025-06-18"}
	case in.Method == "notifications/initialized" && session == "aws-1":
		d.initialized["aws-1"] = true
		w.WriteHeader(http.StatusAccepted)
		return
	case in.Method == "tools/list" && session == "aws-1" && d.initialized["aws-1"]:
		var listed []map[string]string
		for _, name := range d.awsTools {
			listed = append(listed, map[string]string{"name": name})
		}
		reply["result"] = map[string]any{"tools": listed}
	case in.Method == "tools/list":
		reply["error"] = map[string]any{"code": -30001, "message": "The provided SessionId was not found or has expired"}
	case in.Method == "tools/call" && session == "":
		w.WriteHeader(http.StatusBadRequest)
		reply["error"] = map[string]any{"code": -32600, "message": "Missing session"}
	default:
		reply["error"] = map[string]any{"code": -32601, "message": "Method not found"}
	}
	writeJSON(w, reply)
}

func (b behindGateway) answer(tool string, arguments map[string]any) string {
	accounts := []map[string]any{
		{"id": "111111111111", "name": "Central", "environment": "shared"},
		{"id": "222222222222", "name": "Production", "environment": "prod"},
		{"id": "333333333333", "name": "Staging", "environment": "staging"},
	}
	var v any
	switch tool {
	case "list_accounts":
		v = map[string]any{"ok": true, "accounts": accounts}
	case "query":
		var results []map[string]any
		for _, account := range accounts {
			id := account["id"].(string)
			result := map[string]any{"account_id": id, "account_name": account["name"], "region": "global", "status": "ok", "data": []any{},
				"receipt": map[string]any{"role_arn": "arn:aws:iam::" + id + ":role/CentralOpsTargetRole", "source_identity": "alice"}}
			if target, ok := b.states[id]; ok {
				result["status"] = target
				result["error"] = map[string]string{"code": "forbidden", "message": "assume target role: AccessDenied", "hint": "its trust policy must name the bridge role"}
			}
			results = append(results, result)
		}
		if arguments["service"] == "service-quotas" {
			results[0]["data"] = []any{stdcmp.Or(b.quota, 1000)}
		}
		v = map[string]any{"ok": true, "coverage": map[string]int{"targets": 3}, "results": results}
	default:
		v = map[string]any{"ok": true, "result": map[string]any{}}
	}
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

func TestAccounts(t *testing.T) {
	t.Parallel()
	for name, b := range map[string]behindGateway{
		"plain":    {},
		"quoted":   {quoted: true},
		"sessions": {sessions: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDeployment(t)
			d.bridge = b
			want := result{stdout: `ACCOUNT       NAME        ENVIRONMENT  TARGET ROLE           STATE
────────────  ──────────  ───────────  ────────────────────  ─────
111111111111  Central     shared       CentralOpsTargetRole  ok
222222222222  Production  prod         CentralOpsTargetRole  ok
333333333333  Staging     staging      CentralOpsTargetRole  ok
`}
			if diff := cmp.Diff(want, signedInCLI(t, d).run("accounts"), cmp.AllowUnexported(result{})); diff != "" {
				t.Errorf("accounts mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

// Where the Gateway takes the agent's tokens alone, the agent calls the tools, and the person sees the same.
func TestByTheAgent(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	c := signedInCLI(t, d)
	want := c.run("accounts")
	d.bridge = behindGateway{agents: true}
	if got := c.run("accounts"); got.status != 1 || got.stderr != "centralops: initialize: unauthenticated: the Gateway answered 401; "+
		"try: centralops login; or, where the stack's gatewayAuth is workload: centralops configure --gateway-auth workload\n" {
		t.Errorf("accounts by a profile that does not say so: %+v", got)
	}
	c.env = append(c.env, "CENTRALOPS_GATEWAY_AUTH=workload")
	if diff := cmp.Diff(want, c.run("accounts"), cmp.AllowUnexported(result{})); diff != "" {
		t.Errorf("accounts by the agent (-want +got):\n%s", diff)
	}
	if got := c.run("whoami"); got.status != 0 || !strings.Contains(got.stdout, "Verified     yes, by the Runtime and the bridge\n") || !strings.Contains(got.stdout, "222222222222  Production  prod") {
		t.Errorf("whoami by the agent: %+v", got)
	}
	if n := len(d.asked()); n != 0 {
		t.Errorf("the model was asked %d times", n)
	}
	d.bridge.states = map[string]string{"333333333333": "denied"}
	if got := c.run("accounts", "--json"); got.status != 3 || !strings.Contains(got.stdout, `"message": "assume target role: AccessDenied"`) {
		t.Errorf("accounts by the agent, of which one can't be used: %+v", got)
	}
	for answer, stderr := range map[string]string{
		"": "centralops: list_accounts: internal: the tool failed: An internal error occurred.; try: the log group of the tool's Lambda function\n",
		`{"ok":false,"error":{"code":"unauthenticated","message":"token is of another issuer"}}`: "centralops: list_accounts: unauthenticated: token is of another issuer; try: centralops login\n",
		`{"ok":false}`: "centralops: list_accounts: internal: the bridge said no, and not why; try: centralops doctor\n",
		`"words"`:      "centralops: list_accounts: unavailable: the answer is not what the bridge sends; try: centralops doctor\n",
	} {
		d.bridge.fail = map[string]string{"list_accounts": answer}
		if got := c.run("accounts"); got.status != 1 || got.stderr != stderr {
			t.Errorf("accounts by the agent, with a bridge that answers %q: %+v, want %q", answer, got, stderr)
		}
	}
	if got := c.run("accounts", "--gateway-auth", "both"); got.status != 2 || !strings.Contains(got.stderr, `gateway_auth "both" does not look like user or workload`) {
		t.Errorf("a mode that does not exist: %+v", got)
	}
}

func TestAccountsPartial(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.bridge.states = map[string]string{"333333333333": "denied"}
	got := signedInCLI(t, d).run("accounts")
	if got.status != 3 || !strings.Contains(got.stdout, "Staging     staging      CentralOpsTargetRole  denied: assume target role: AccessDenied\n") {
		t.Errorf("accounts: %+v", got)
	}
	d.bridge.states = map[string]string{"111111111111": "denied", "222222222222": "failed", "333333333333": "timeout"}
	if got := signedInCLI(t, d).run("accounts", "--json"); got.status != 1 {
		t.Errorf("accounts of which none can be used: %+v", got)
	}
}

func TestWhoami(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	c := signedInCLI(t, d)
	got := c.run("whoami")
	for _, want := range []string{"User         alice\n", "Groups       ops, auditors\n", "Verified     yes, by the Gateway and the bridge\n", "222222222222  Production  prod"} {
		if !strings.Contains(got.stdout, want) || got.status != 0 {
			t.Errorf("whoami lacks %q: %+v", want, got)
		}
	}
	d.bridge.fail = map[string]string{"list_accounts": `{"ok":false,"error":{"code":"unauthenticated","message":"token is of another issuer"}}`}
	got = c.run("whoami")
	if got.status != 1 || !strings.Contains(got.stdout, "Verified     no\n") ||
		got.stderr != "centralops: list_accounts: unauthenticated: token is of another issuer; try: centralops login\n" {
		t.Errorf("whoami with a token that the bridge refuses: %+v", got)
	}
}

// A Gateway that hangs holds no command for ever.
func TestGatewayThatHangs(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.bridge.hang = true
	c := signedInCLI(t, d)
	for _, command := range []string{"whoami", "accounts"} {
		if got := c.run(command, "--timeout", "200ms"); got.status != 1 || !strings.Contains(got.stderr, "timeout: no whole answer from ") {
			t.Errorf("%s: %+v", command, got)
		}
	}
}

// What is a list in JSON is one when it is empty, so that a script can go through it.
func TestEmptyListsInJSON(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.groups = nil
	d.bridge.fail = map[string]string{"list_accounts": `{"ok":true,"accounts":[]}`}
	c := signedInCLI(t, d)
	for _, args := range [][]string{{"whoami", "--json"}, {"accounts", "--json"}, {"doctor", "--json", "--no-model", "--client-id", "another"}} {
		got := c.run(args...)
		var lists map[string]any
		if err := json.Unmarshal([]byte(got.stdout), &lists); err != nil {
			t.Errorf("%q: %v: %+v", args, err, got)
		}
		for name, value := range lists {
			if value == nil {
				t.Errorf("%q: %s is null", args, name)
			}
		}
	}
}

func TestTokenLifetimeIsRespected(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.tokenLife = time.Minute // shorter than what an answer may take: renewed before use
	c := signedInCLI(t, d)
	before := d.issued
	if got := c.run("whoami"); got.status != 0 || d.issued == before {
		t.Errorf("a token with a minute left was not renewed: %+v", got)
	}
}
