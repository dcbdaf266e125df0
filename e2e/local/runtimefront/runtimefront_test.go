package runtimefront_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/central-ops/central-ops/e2e/local/internal/testpool"
	"github.com/central-ops/central-ops/e2e/local/issued"
	"github.com/central-ops/central-ops/e2e/local/oidc"
	"github.com/central-ops/central-ops/e2e/local/runtimefront"
)

const (
	runtimeARN = "arn:aws:bedrock-agentcore:us-east-1:111111111111:runtime/central_ops-0123456789"
	sessionA   = "session-a-0000000000000000000000000"
	sessionB   = "session-b-0000000000000000000000000"
)

var agent string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "runtimefront")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	agent = filepath.Join(dir, "agent")
	if out, err := exec.Command("go", "build", "-o", agent, "./internal/testagent").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the test agent: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

type env struct {
	*runtimefront.Server
	front *oidc.Front
	log   *syncBuffer
}

func start(t *testing.T, change func(*runtimefront.Config)) env {
	t.Helper()
	front := testpool.Start(t, nil)
	log := new(syncBuffer)
	config := runtimefront.Config{
		Account: "111111111111", Region: "us-east-1", Binary: agent, Log: log, MaxSessions: 2,
		Record: runtimefront.Record{
			ID: "central_ops-0123456789", ARN: runtimeARN,
			AuthorizerConfiguration: runtimefront.AuthorizerConfiguration{CustomJWT: testpool.Authorizer(front)},
			RequestHeaders:          runtimefront.RequestHeaderConfiguration{Allowlist: []string{"Authorization", "X-Amzn-Bedrock-AgentCore-Runtime-Custom-User-Token"}},
			Metadata:                runtimefront.MetadataConfiguration{RequireMMDSV2: true},
			Environment:             map[string]string{"MODEL_ID": "m"},
		},
	}
	if change != nil {
		change(&config)
	}
	s, err := runtimefront.Start(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return env{s, front, log}
}

// do sends a request with a good token and session A; pairs of headers override, "" takes one away.
func (e env) do(t *testing.T, address, body string, headers ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+testpool.Token(t, e.front, nil))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(runtimefront.SessionHeader, sessionA)
	for i := 0; i < len(headers); i += 2 {
		if headers[i+1] == "" {
			req.Header.Del(headers[i])
			continue
		}
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() }) // it was read, or the test is over
	return resp
}

func (e env) prompt(t *testing.T, prompt string, headers ...string) *http.Response {
	t.Helper()
	return e.do(t, e.InvocationURL(), fmt.Sprintf(`{"prompt":%q}`, prompt), headers...)
}

// echo is the answer of the test agent.
type echo struct {
	Headers http.Header `json:"headers"`
	Body    string      `json:"body"`
	Process int         `json:"process"`
}

func decode[T any](t *testing.T, resp *http.Response) T {
	t.Helper()
	var v T
	if resp.StatusCode != http.StatusOK {
		body, err := io.ReadAll(resp.Body)
		t.Fatalf("%s %s %v", resp.Status, body, err)
	}
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestInvocationReachesTheAgent(t *testing.T) {
	t.Parallel()
	e := start(t, nil)
	token := "Bearer " + testpool.Token(t, e.front, nil)
	resp := e.prompt(t, "echo", "Authorization", token, "Cookie", "c", "X-Other", "o", "Accept", "application/json",
		"X-Amzn-Bedrock-AgentCore-Runtime-Custom-User-Token", "u", "X-Amzn-Bedrock-AgentCore-Runtime-User-Id", "root", "traceparent", "00-1-2-03")
	if got := resp.Header.Get(runtimefront.SessionHeader); got != sessionA {
		t.Errorf("session of the answer %q", got)
	}
	got := decode[echo](t, resp)
	if got.Body != `{"prompt":"echo"}` {
		t.Errorf("body %s", got.Body)
	}
	wat := got.Headers.Get("WorkloadAccessToken")
	workload, ok := e.Workload(wat)
	if diff := cmp.Diff(runtimefront.Workload{RuntimeARN: runtimeARN, Issuer: oidc.Issuer(testpool.ID), Subject: "5d3a"}, workload); diff != "" || !ok {
		t.Errorf("workload of the token (-want +got):\n%s", diff)
	}
	if _, ok := e.Workload("made up"); ok {
		t.Error("a made-up workload access token was issued")
	}
	for _, name := range []string{"X-Amzn-Bedrock-Agentcore-Runtime-Request-Id", "X-Amzn-Trace-Id"} {
		if got.Headers.Get(name) == "" {
			t.Errorf("%s is missing", name)
		}
		got.Headers.Del(name)
	}
	want := http.Header{
		"Accept": {"application/json"}, "Content-Type": {"application/json"}, "Authorization": {token}, "Traceparent": {"00-1-2-03"},
		"X-Amzn-Bedrock-Agentcore-Runtime-Custom-User-Token": {"u"}, "X-Amzn-Bedrock-Agentcore-Runtime-Session-Id": {sessionA},
		"Workloadaccesstoken": {wat}, "X-Amz-Bedrock-Agentcore-Identity-Wat": {wat},
		"User-Agent": {"Go-http-client/1.1"}, "Content-Length": {"17"}, // of the front door itself
	}
	if diff := cmp.Diff(want, got.Headers); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}

func TestAuthorizationStaysOutUnlessAllowed(t *testing.T) {
	t.Parallel()
	e := start(t, func(c *runtimefront.Config) { c.Record.RequestHeaders.Allowlist = nil })
	if got := decode[echo](t, e.prompt(t, "echo")).Headers.Get("Authorization"); got != "" {
		t.Error("the agent got the token")
	}
}

func TestEnvironmentHoldsNothingOfThisProcess(t *testing.T) {
	t.Parallel()
	e := start(t, func(c *runtimefront.Config) {
		c.Env = map[string]string{"GATEWAY_URL": "g"}
		c.Role = func() (issued.Credential, error) {
			return issued.Credential{AccessKeyID: "ASIAAGENT", SecretAccessKey: "s", SessionToken: "t"}, nil
		}
	})
	variables := strings.Split(decode[string](t, e.prompt(t, "environment")), "\n")
	variables = slices.DeleteFunc(variables, func(v string) bool { return strings.HasPrefix(v, "PORT=") })
	slices.Sort(variables)
	want := []string{
		"AWS_ACCESS_KEY_ID=ASIAAGENT", "AWS_SECRET_ACCESS_KEY=s",
		"AWS_SESSION_TOKEN=t", "GATEWAY_URL=g", "MODEL_ID=m", "PATH=/usr/local/bin:/usr/bin:/bin",
	}
	if diff := cmp.Diff(want, variables); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}

func TestOneProcessPerSession(t *testing.T) {
	t.Parallel()
	e := start(t, nil)
	first := decode[echo](t, e.prompt(t, "echo")).Process
	if again := decode[echo](t, e.prompt(t, "echo")).Process; again != first {
		t.Errorf("session A moved from process %d to %d", first, again)
	}
	if other := decode[echo](t, e.prompt(t, "echo", runtimefront.SessionHeader, sessionB)).Process; other == first {
		t.Error("two sessions share a process")
	}
	if diff := cmp.Diff([]string{sessionA, sessionB}, e.Sessions()); diff != "" {
		t.Errorf("sessions (-want +got):\n%s", diff)
	}
	if resp := e.prompt(t, "echo", runtimefront.SessionHeader, ""); resp.StatusCode != http.StatusPaymentRequired || resp.Header.Get("X-Amzn-Errortype") != "ServiceQuotaExceededException" {
		t.Errorf("third session: %s", resp.Status)
	}
	stopURL := strings.Replace(e.InvocationURL(), "/invocations", "/stopruntimesession", 1)
	if resp := e.do(t, stopURL, "", runtimefront.SessionHeader, sessionB); resp.StatusCode != http.StatusOK {
		t.Errorf("stop: %s", resp.Status)
	}
	if resp := e.do(t, stopURL, "", runtimefront.SessionHeader, sessionB); resp.StatusCode != http.StatusNotFound {
		t.Errorf("stop again: %s", resp.Status)
	}
	made := e.prompt(t, "echo", runtimefront.SessionHeader, "")
	if id := made.Header.Get(runtimefront.SessionHeader); made.StatusCode != http.StatusOK || len(id) < 33 {
		t.Errorf("session made up by the service: %s %q", made.Status, id)
	}
}

// Each "centralops ask" starts a session, and all of them stay for a quarter of an hour.
func TestRoomIsMadeForANewSession(t *testing.T) {
	t.Parallel()
	e := start(t, func(c *runtimefront.Config) { c.MakeRoom = true })
	const sessionC = "session-c-0000000000000000000000000"
	// process returns when the request is over at the server, too: the body is chunked, and its end comes after that.
	process := func(id string) int {
		t.Helper()
		resp := e.prompt(t, "echo", runtimefront.SessionHeader, id)
		body, err := io.ReadAll(resp.Body)
		var answer echo
		if err != nil || resp.StatusCode != http.StatusOK || json.Unmarshal(body, &answer) != nil {
			t.Fatalf("session %s: %s %s %v", id, resp.Status, body, err)
		}
		return answer.Process
	}
	first := process(sessionA)
	process(sessionB)
	process(sessionA)
	process(sessionC)
	if diff := cmp.Diff([]string{sessionA, sessionC}, e.Sessions()); diff != "" {
		t.Errorf("sessions (-want +got):\n%s", diff)
	}
	if again := process(sessionA); again != first {
		t.Errorf("session A moved from process %d to %d", first, again)
	}
	for _, id := range []string{sessionA, sessionC} {
		stream := bufio.NewReader(e.prompt(t, "stream", "Accept", "text/event-stream", runtimefront.SessionHeader, id).Body)
		if line, err := stream.ReadString('\n'); err != nil || line != "data: one\n" {
			t.Fatalf("stream of %s: %q %v", id, line, err)
		}
	}
	if resp := e.prompt(t, "echo", runtimefront.SessionHeader, sessionB); resp.StatusCode != http.StatusPaymentRequired {
		t.Errorf("a session more while all of them answer: %s", resp.Status)
	}
	for _, id := range []string{sessionA, sessionC} {
		e.prompt(t, "release", runtimefront.SessionHeader, id)
	}
}

func TestEndedSessionStartsAfresh(t *testing.T) {
	t.Parallel()
	e := start(t, nil)
	first := decode[echo](t, e.prompt(t, "echo")).Process
	if !e.EndSession(sessionA) {
		t.Fatal("no session to end")
	}
	second := decode[echo](t, e.prompt(t, "echo")).Process
	if second == first {
		t.Error("the process outlived its session")
	}
	// The connection is lost before the process is known to have ended; the next prompt must not go to it.
	for _, way := range []string{"exit", "exit slowly"} {
		resp := e.prompt(t, way)
		if resp.StatusCode != http.StatusFailedDependency || resp.Header.Get("X-Amzn-Errortype") != "RuntimeClientError" {
			t.Errorf("agent that does %q: %s", way, resp.Status)
		}
		third := decode[echo](t, e.prompt(t, "echo")).Process
		if third == second {
			t.Errorf("%s: a process that has exited answered", way)
		}
		second = third
	}
}

func TestIdleTimerAsksTheAgent(t *testing.T) {
	t.Parallel()
	e := start(t, nil)
	e.prompt(t, "echo")
	if !e.CheckIdle(sessionA, 14*time.Minute) {
		t.Error("a session was ended before the idle timeout")
	}
	if e.CheckIdle(sessionA, 15*time.Minute) {
		t.Error("an idle session was kept")
	}
	if got := e.Sessions(); len(got) > 0 {
		t.Errorf("sessions after the idle timeout: %v", got)
	}
	e.prompt(t, "busy")
	if !e.CheckIdle(sessionA, 15*time.Minute) {
		t.Error("a busy session was ended")
	}
	if e.CheckIdle(sessionB, 0) {
		t.Error("a session that does not exist runs")
	}
}

func TestStreamIsNotHeldBack(t *testing.T) {
	t.Parallel()
	e := start(t, nil)
	resp := e.prompt(t, "stream", "Accept", "text/event-stream")
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("content type %q", got)
	}
	events := bufio.NewScanner(resp.Body)
	next := func() string {
		t.Helper()
		for events.Scan() {
			if line := events.Text(); line != "" {
				return line
			}
		}
		t.Fatalf("the stream ended: %v", events.Err())
		return ""
	}
	if got := next(); got != "data: one" {
		t.Errorf("first event %q", got)
	}
	e.prompt(t, "release")
	if got := next(); got != "data: two" {
		t.Errorf("second event %q", got)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	e := start(t, nil)
	base := e.URL + "/runtimes/"
	escaped := url.QueryEscape(runtimeARN)
	bearer := func(changes map[string]any) string { return "Bearer " + testpool.Token(t, e.front, changes) }
	tests := []struct {
		name, address string
		headers       []string
		status        int
		code          string
	}{
		{"unknown runtime", base + url.QueryEscape(runtimeARN+"x") + "/invocations", nil, 404, "ResourceNotFoundException"},
		{"unknown endpoint", base + escaped + "/invocations?qualifier=prod", nil, 404, "ResourceNotFoundException"},
		{"id without account", base + "central_ops-0123456789/invocations", nil, 400, "ValidationException"},
		{"id with another account", base + "central_ops-0123456789/invocations?accountId=222222222222", nil, 404, "ResourceNotFoundException"},
		{"no token", e.InvocationURL(), []string{"Authorization", ""}, 401, "UnauthorizedException"},
		{"expired", e.InvocationURL(), []string{"Authorization", bearer(map[string]any{"exp": 1})}, 403, "AccessDeniedException"},
		{"another client", e.InvocationURL(), []string{"Authorization", bearer(map[string]any{"client_id": "x"})}, 403, "AccessDeniedException"},
		{"short session id", e.InvocationURL(), []string{runtimefront.SessionHeader, "short"}, 400, "ValidationException"},
		{"long session id", e.InvocationURL(), []string{runtimefront.SessionHeader, strings.Repeat("x", 257)}, 400, "ValidationException"},
		{"long traceparent", e.InvocationURL(), []string{"Traceparent", strings.Repeat("x", 129)}, 400, "ValidationException"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			resp := e.do(t, tt.address, `{"prompt":"echo"}`, tt.headers...)
			var body struct{ Message string }
			if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != tt.status || resp.Header.Get("X-Amzn-Errortype") != tt.code || body.Message == "" {
				t.Errorf("%s %s %q, want %d %s", resp.Status, resp.Header.Get("X-Amzn-Errortype"), body.Message, tt.status, tt.code)
			}
			challenge := fmt.Sprintf(`Bearer resource_metadata="%s%s/invocations/.well-known/oauth-protected-resource?qualifier=DEFAULT"`, base, escaped)
			if got := resp.Header.Get("WWW-Authenticate"); (tt.status == 401) != (got == challenge) {
				t.Errorf("WWW-Authenticate %q", got)
			}
		})
	}
	t.Run("id with the account", func(t *testing.T) {
		t.Parallel()
		if resp := e.do(t, base+"central_ops-0123456789/invocations?accountId=111111111111", `{"prompt":"echo"}`); resp.StatusCode != http.StatusOK {
			t.Error(resp.Status)
		}
	})
}

func TestErrorsOfTheAgentBecome424(t *testing.T) {
	t.Parallel()
	e := start(t, nil)
	resp := e.prompt(t, "fail")
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusFailedDependency || !strings.Contains(string(body), "Received error (500) from runtime") {
		t.Errorf("%s %s", resp.Status, body)
	}
}

func TestHangingAgent(t *testing.T) {
	t.Parallel()
	e := start(t, func(c *runtimefront.Config) { c.InvocationTimeout = 100 * time.Millisecond })
	if resp := e.prompt(t, "hang"); resp.StatusCode != http.StatusGatewayTimeout {
		t.Error(resp.Status)
	}
}

func TestAgentThatDoesNotStart(t *testing.T) {
	t.Parallel()
	e := start(t, func(c *runtimefront.Config) { c.Env = map[string]string{"FAIL_AT_START": "1"} })
	resp := e.prompt(t, "echo")
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusFailedDependency || !strings.Contains(string(body), "exit status 3") {
		t.Errorf("%s %s", resp.Status, body)
	}
	if log := e.log.String(); !strings.Contains(log, "failing at start") {
		t.Errorf("log %q lacks what the agent printed", log)
	}
	if got := e.Sessions(); len(got) > 0 {
		t.Errorf("sessions %v", got)
	}
}

func TestMMDSv2IsRequired(t *testing.T) {
	t.Parallel()
	e := start(t, func(c *runtimefront.Config) { c.Record.Metadata.RequireMMDSV2 = false })
	if resp := e.prompt(t, "echo"); resp.StatusCode != http.StatusBadRequest || resp.Header.Get("X-Amzn-Errortype") != "ValidationException" {
		t.Error(resp.Status)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	e := start(t, nil)
	if err := e.Inject(runtimefront.Fault{Code: "ThrottlingException", Times: 1}); err != nil {
		t.Fatal(err)
	}
	if err := e.Inject(runtimefront.Fault{Code: "NoSuchException", Times: 1}); err == nil {
		t.Error("a code that the service does not have was taken")
	}
	if resp := e.prompt(t, "echo"); resp.StatusCode != http.StatusTooManyRequests {
		t.Error(resp.Status)
	}
	if resp := e.prompt(t, "echo"); resp.StatusCode != http.StatusOK {
		t.Errorf("after the fault: %s", resp.Status)
	}
}

func TestStartRefusesWhatTheControlPlaneRefuses(t *testing.T) {
	t.Parallel()
	_, err := runtimefront.Start(runtimefront.Config{
		Binary: t.TempDir(),
		Record: runtimefront.Record{
			RequestHeaders: runtimefront.RequestHeaderConfiguration{Allowlist: []string{"Cookie", "X-Amzn-Trace-Id", "Content-Type", "X-Fine"}},
			Lifecycle:      runtimefront.LifecycleConfiguration{IdleSeconds: 10},
			Environment:    map[string]string{"LONG": strings.Repeat("x", 5001)},
		},
	})
	if err == nil {
		t.Fatal("started")
	}
	for _, part := range []string{"is not executable", "customJWTAuthorizer", `"Cookie"`, `"X-Amzn-Trace-Id"`, `"Content-Type"`, "idleRuntimeSessionTimeout 10", "LONG"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q lacks %q", err, part)
		}
	}
	if strings.Contains(err.Error(), "X-Fine") {
		t.Errorf("error %q names X-Fine", err)
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
