package lambdafront_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/central-ops/central-ops/e2e/local/issued"
	"github.com/central-ops/central-ops/e2e/local/lambdafront"
)

const (
	account = "111111111111"
	region  = "us-east-1"
	caller  = "arn:aws:sts::111111111111:assumed-role/gateway/session"
)

var bootstrap string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "lambdafront")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	bootstrap = filepath.Join(dir, "bootstrap")
	if out, err := exec.Command("go", "build", "-o", bootstrap, "./internal/testfunction").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the test function: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// gatewayRole is a credential that the store of every test knows.
var gatewayRole = issued.Credential{AccessKeyID: "ASIAGATEWAY", SecretAccessKey: "secret", SessionToken: "token", Account: account, PrincipalARN: caller}

type service struct {
	*lambdafront.Server
	client lambdafront.Client
	log    *buffer
}

func start(t *testing.T, change func(*lambdafront.Function)) service {
	t.Helper()
	log := new(buffer)
	f := lambdafront.Function{
		Name: "bridge", Bootstrap: bootstrap, Timeout: 30 * time.Second, Concurrency: 2, Log: log,
		Env: map[string]string{"TARGET_ROLE_NAME": "reader"},
	}
	if change != nil {
		change(&f)
	}
	store := issued.New()
	store.Add(gatewayRole)
	server, err := lambdafront.Start(lambdafront.Config{
		Account: account, Region: region, Credentials: store, Functions: []lambdafront.Function{f},
		Authorize: func(principal, function string) bool {
			name, _, _ := strings.Cut(strings.TrimPrefix(function, "arn:aws:lambda:us-east-1:111111111111:function:"), ":")
			return principal == caller && name == "bridge"
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return service{server, lambdafront.Client{URL: server.URL, Region: region, HTTP: http.DefaultClient}, log}
}

func (s service) invoke(t *testing.T, event string) lambdafront.Result {
	t.Helper()
	result, err := s.client.Invoke(t.Context(), gatewayRole, "bridge", []byte(event), nil)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// invocation mirrors what the test function reports.
type invocation struct {
	RequestID   string            `json:"request_id"`
	FunctionARN string            `json:"function_arn"`
	HasDeadline bool              `json:"has_deadline"`
	Custom      map[string]string `json:"custom"`
	Event       json.RawMessage   `json:"event"`
	Process     int               `json:"process"`
}

func decode[T any](t *testing.T, raw []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	return v
}

func TestInvokeReachesTheFunctionWithItsContext(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	clientContext := []byte(`{"custom":{"bedrockAgentCoreToolName":"bridge___query","bedrockAgentCorePropagatedHeaders":{"X-A":"1"}}}`)
	result, err := s.client.Invoke(t.Context(), gatewayRole, s.FunctionARN("bridge"), []byte(`{"do":"report"}`), clientContext)
	if err != nil {
		t.Fatal(err)
	}
	want := invocation{
		FunctionARN: "arn:aws:lambda:us-east-1:111111111111:function:bridge",
		HasDeadline: true,
		Custom:      map[string]string{"bedrockAgentCoreToolName": "bridge___query", "bedrockAgentCorePropagatedHeaders": `{"X-A":"1"}`},
		Event:       json.RawMessage(`{"do":"report"}`),
	}
	got := decode[invocation](t, result.Payload)
	if got.RequestID == "" {
		t.Error("no request id")
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(invocation{}, "RequestID", "Process")); diff != "" {
		t.Errorf("invocation mismatch (-want +got):\n%s", diff)
	}
}

func TestEnvironmentHoldsOnlyWhatLambdaSets(t *testing.T) {
	t.Parallel()
	s := start(t, func(f *lambdafront.Function) {
		f.Role = func() (issued.Credential, error) {
			return issued.Credential{AccessKeyID: "ASIAROLE", SecretAccessKey: "s", SessionToken: "t"}, nil
		}
	})
	got := decode[map[string]string](t, s.invoke(t, `{"do":"environment"}`).Payload)
	for _, name := range []string{"AWS_LAMBDA_RUNTIME_API", "AWS_LAMBDA_LOG_STREAM_NAME", "LAMBDA_TASK_ROOT", "_X_AMZN_TRACE_ID"} {
		if got[name] == "" {
			t.Errorf("%s is not set", name)
		}
		delete(got, name)
	}
	want := map[string]string{
		"TARGET_ROLE_NAME": "reader", "_HANDLER": "bootstrap", "LANG": "en_US.UTF-8", "TZ": ":UTC", "PATH": "/usr/local/bin:/usr/bin:/bin",
		"AWS_REGION": region, "AWS_DEFAULT_REGION": region, "AWS_LAMBDA_FUNCTION_NAME": "bridge", "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128", "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand", "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/bridge",
		"LAMBDA_RUNTIME_DIR": "/var/runtime", "AWS_ACCESS_KEY_ID": "ASIAROLE", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("environment mismatch (-want +got):\n%s", diff)
	}
}

func TestOneEnvironmentServesEventsInTurn(t *testing.T) {
	t.Parallel()
	for _, freeze := range []bool{false, true} {
		t.Run(fmt.Sprintf("freeze %t", freeze), func(t *testing.T) {
			t.Parallel()
			s := start(t, func(f *lambdafront.Function) { f.Freeze = freeze })
			first := decode[invocation](t, s.invoke(t, `{}`).Payload)
			second := decode[invocation](t, s.invoke(t, `{}`).Payload)
			if first.Process != second.Process || first.RequestID == second.RequestID {
				t.Errorf("first call: process %d, request %s; second: %d, %s", first.Process, first.RequestID, second.Process, second.RequestID)
			}
			if freeze {
				if err := s.RetireIdle("bridge"); err != nil {
					t.Fatal(err)
				}
				third := decode[invocation](t, s.invoke(t, `{}`).Payload)
				if third.Process == second.Process {
					t.Error("a retired environment was used again")
				}
			}
		})
	}
}

// stopped tells whether Linux has the process as stopped by a signal.
func stopped(t *testing.T, pid int) bool {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(stat, []byte(") "))
	return bytes.HasPrefix(rest, []byte("T"))
}

func TestFreezeIdleStopsTheProcessUntilTheNextEvent(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("whether a process is stopped is read from /proc, which only Linux has")
	}
	s := start(t, nil)
	pid := decode[invocation](t, s.invoke(t, `{}`).Payload).Process
	if err := s.FreezeIdle("bridge"); err != nil {
		t.Fatal(err)
	}
	for !stopped(t, pid) { // the signal is on its way; the test's deadline ends a wait in vain
		if t.Context().Err() != nil {
			t.Fatal("never stopped")
		}
	}
	if got := decode[invocation](t, s.invoke(t, `{}`).Payload).Process; got != pid {
		t.Errorf("served by process %d, want the frozen %d", got, pid)
	}
	if stopped(t, pid) {
		t.Error("still stopped after an event")
	}
}

func TestFunctionErrors(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	tests := []struct {
		name, event string
		want        map[string]any // subset of the payload
		message     string         // a part of errorMessage
	}{
		{"returned error", `{"do":"fail","text":"boom"}`, map[string]any{"errorType": "errorString"}, "boom"},
		{"panic", `{"do":"panic","text":"ouch"}`, map[string]any{"errorType": "string"}, "ouch"},
		{"exit", `{"do":"exit"}`, map[string]any{"errorType": "Runtime.ExitError"}, "Runtime exited with error: exit status 7"},
		{"answer too large", `{"do":"large","size":6291600}`, map[string]any{"errorType": "Function.ResponseSizeTooLarge"}, "exceeded maximum allowed payload size"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			result := s.invoke(t, tt.event)
			if result.FunctionError != "Unhandled" {
				t.Errorf("FunctionError = %q", result.FunctionError)
			}
			got := decode[map[string]any](t, result.Payload)
			if got["errorType"] != tt.want["errorType"] || !strings.Contains(fmt.Sprint(got["errorMessage"]), tt.message) {
				t.Errorf("payload %s", result.Payload)
			}
			if after := s.invoke(t, `{}`); after.FunctionError != "" {
				t.Errorf("the call after it failed: %s", after.Payload)
			}
		})
	}
}

func TestTimeoutKillsTheEnvironment(t *testing.T) {
	t.Parallel()
	s := start(t, func(f *lambdafront.Function) { f.Timeout = time.Second })
	pid := decode[invocation](t, s.invoke(t, `{}`).Payload).Process
	result := s.invoke(t, `{"do":"hang"}`)
	if got := decode[map[string]string](t, result.Payload); result.FunctionError != "Unhandled" || got["errorType"] != "Sandbox.Timedout" || !strings.Contains(got["errorMessage"], "Task timed out after 1.00 seconds") {
		t.Errorf("%s: %s", result.FunctionError, result.Payload)
	}
	if got := decode[invocation](t, s.invoke(t, `{}`).Payload).Process; got == pid {
		t.Error("the environment that timed out was used again")
	}
	want := lambdafront.Stats{Started: 2, Live: 1}
	if got, err := s.Stats("bridge"); err != nil || got != want {
		t.Errorf("Stats = %+v, %v, want %+v", got, err, want)
	}
}

func TestFailedStart(t *testing.T) {
	t.Parallel()
	s := start(t, func(f *lambdafront.Function) { f.Env = map[string]string{"FAIL_AT_START": "1"} })
	result := s.invoke(t, `{}`)
	if got := decode[map[string]string](t, result.Payload); result.FunctionError != "Unhandled" || !strings.Contains(got["errorMessage"], "exit status 3") {
		t.Errorf("%s: %s", result.FunctionError, result.Payload)
	}
	if log := s.log.String(); !strings.Contains(log, "failing at start") {
		t.Errorf("log %q lacks what the function printed", log)
	}
}

func TestConcurrencyIsBounded(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	var hanging sync.WaitGroup
	for range 2 {
		hanging.Go(func() {
			// Close cuts it off, by the killed process or by the connection, whichever is seen first.
			_, _ = s.client.Invoke(t.Context(), gatewayRole, "bridge", []byte(`{"do":"hang"}`), nil)
		})
	}
	s.log.await(t, "handling hang", 2)
	_, err := s.client.Invoke(t.Context(), gatewayRole, "bridge", []byte(`{}`), nil)
	want := &lambdafront.APIError{Status: 429, Code: "TooManyRequestsException", Message: "Rate Exceeded."}
	if diff := cmp.Diff(want, err, cmp.Comparer(sameError)); diff != "" {
		t.Errorf("third call (-want +got):\n%s", diff)
	}
	if err := s.Close(); err != nil { // ends the two
		t.Error(err)
	}
	hanging.Wait()
}

func sameError(a, b error) bool {
	var x, y *lambdafront.APIError
	return errors.As(a, &x) && errors.As(b, &y) && *x == *y
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	stranger, forged := gatewayRole, gatewayRole
	stranger.AccessKeyID = "ASIANOBODY"
	forged.SecretAccessKey = "guessed"
	tests := []struct {
		name          string
		cred          issued.Credential
		function      string
		payload       string
		clientContext []byte
		status        int
		code          string
	}{
		{"unknown key", stranger, "bridge", `{}`, nil, 403, "UnrecognizedClientException"},
		{"wrong secret", forged, "bridge", `{}`, nil, 403, "InvalidSignatureException"},
		{"function that the caller may not invoke", gatewayRole, "other", `{}`, nil, 403, "AccessDeniedException"},
		{"alias that the function does not have", gatewayRole, "bridge:canary", `{}`, nil, 404, "ResourceNotFoundException"},
		{"function of another account", gatewayRole, "arn:aws:lambda:us-east-1:222222222222:function:bridge", `{}`, nil, 404, "ResourceNotFoundException"},
		{"event that is not JSON", gatewayRole, "bridge", `{`, nil, 400, "InvalidRequestContentException"},
		{"client context that is not JSON", gatewayRole, "bridge", `{}`, []byte("x"), 400, "InvalidRequestContentException"},
		{"client context of more than 3,583 bytes", gatewayRole, "bridge", `{}`, []byte(`{"custom":{"a":"` + strings.Repeat("x", 2700) + `"}}`), 400, "InvalidRequestContentException"},
		{"event of more than 6 MB", gatewayRole, "bridge", `"` + strings.Repeat("x", lambdafront.MaxRequestBytes) + `"`, nil, 413, "RequestTooLargeException"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := s.client.Invoke(t.Context(), tt.cred, tt.function, []byte(tt.payload), tt.clientContext)
			var refused *lambdafront.APIError
			if !errors.As(err, &refused) || refused.Status != tt.status || refused.Code != tt.code {
				t.Errorf("got %v, want %d %s", err, tt.status, tt.code)
			}
		})
	}
}

func TestDeployRefusesWhatLambdaRefuses(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	err := s.Deploy(lambdafront.Function{
		Name: "bad", Bootstrap: t.TempDir(), Timeout: time.Hour,
		Env: map[string]string{"AWS_REGION": "x", "LONG": strings.Repeat("x", 5000)},
	})
	if err == nil {
		t.Fatal("deployed")
	}
	for _, part := range []string{"function bad", "is not executable", "timeout 1h0m0s", "AWS_REGION is reserved", "5015 bytes"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q lacks %q", err, part)
		}
	}
}

func TestCloseSendsSIGTERMToAFunctionThatAskedForIt(t *testing.T) {
	t.Parallel()
	s := start(t, func(f *lambdafront.Function) { f.Freeze = true })
	s.invoke(t, `{}`)
	if err := s.RetireIdle("bridge"); err != nil {
		t.Fatal(err)
	}
	if log := s.log.String(); !strings.Contains(log, "got SIGTERM") || strings.Contains(log, "error") {
		t.Errorf("log %q", log)
	}
}

// An extension that is told of invocations works on after the answer, and keeps its environment meanwhile.
func TestExtensionWorksAfterTheAnswer(t *testing.T) {
	t.Parallel()
	hold := filepath.Join(t.TempDir(), "go-on")
	s := start(t, func(f *lambdafront.Function) { f.Freeze, f.Env["WATCH"] = true, hold })
	first := decode[invocation](t, s.invoke(t, `{}`).Payload)
	s.log.await(t, "extension got INVOKE "+first.RequestID+" <nil>", 1)
	second := decode[invocation](t, s.invoke(t, `{}`).Payload)
	if second.Process == first.Process {
		t.Error("an environment whose extension is at work got another event")
	}
	if strings.Contains(s.log.String(), "extension done") {
		t.Error("the extension did not wait")
	}
	if err := os.WriteFile(hold, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.log.await(t, "extension done", 2)
	for range 5 {
		result, err := s.client.Invoke(t.Context(), gatewayRole, "bridge", []byte(`{}`), nil)
		for err != nil && strings.Contains(err.Error(), "TooManyRequestsException") { // both are just coming back
			result, err = s.client.Invoke(t.Context(), gatewayRole, "bridge", []byte(`{}`), nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		third := decode[invocation](t, result.Payload)
		if third.Process != first.Process && third.Process != second.Process {
			t.Error("an environment whose extension is done was not used again")
		}
	}
}

// buffer is a log that tests can wait on.
type buffer struct {
	mu      sync.Mutex
	b       bytes.Buffer
	changed chan struct{}
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// await returns when text was written n times.
func (b *buffer) await(t *testing.T, text string, n int) {
	t.Helper()
	for {
		b.mu.Lock()
		found := strings.Count(b.b.String(), text) >= n
		if b.changed == nil {
			b.changed = make(chan struct{})
		}
		changed := b.changed
		b.mu.Unlock()
		if found {
			return
		}
		select {
		case <-changed:
		case <-t.Context().Done():
			t.Fatalf("never saw %q %d times", text, n)
		}
	}
}

// A call by alias is the function's, and is authorized by the ARN with the alias, as IAM sees it.
func TestAlias(t *testing.T) {
	t.Parallel()
	store := issued.New()
	store.Add(gatewayRole)
	const live = "arn:aws:lambda:us-east-1:111111111111:function:bridge:live"
	server, err := lambdafront.Start(lambdafront.Config{
		Account: account, Region: region, Credentials: store,
		Authorize: func(_, function string) bool { return function == live },
		Functions: []lambdafront.Function{{Name: "bridge", Aliases: []string{"live"}, Bootstrap: bootstrap}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	client := lambdafront.Client{URL: server.URL, Region: region, HTTP: http.DefaultClient}
	for _, function := range []string{live, "bridge:live", "111111111111:function:bridge:live"} {
		if result, err := client.Invoke(t.Context(), gatewayRole, function, []byte(`{}`), nil); err != nil || result.FunctionError != "" {
			t.Errorf("%s: %v %s", function, err, result.Payload)
		}
	}
	_, err = client.Invoke(t.Context(), gatewayRole, "bridge", []byte(`{}`), nil)
	var refused *lambdafront.APIError
	if !errors.As(err, &refused) || refused.Code != "AccessDeniedException" {
		t.Errorf("the function without its alias: %v, want AccessDeniedException", err)
	}
}
