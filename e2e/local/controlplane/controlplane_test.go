package controlplane_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/central-ops/central-ops/e2e/local/controlplane"
	"github.com/google/go-cmp/cmp"
)

// agentcorectl builds the true program once.
var agentcorectl = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "agentcorectl")
	if err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "agentcorectl"), "./cmd/agentcorectl")
	build.Dir, build.Env = "../../../infra", append(os.Environ(), "GOWORK=off")
	build.Stderr = os.Stderr
	return filepath.Join(dir, "agentcorectl"), build.Run()
})

func TestMain(m *testing.M) {
	status := m.Run()
	if path, err := agentcorectl(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path)) // a temporary folder
	}
	os.Exit(status)
}

// plane is a front with agentcorectl before it.
type plane struct {
	*controlplane.Server
	url string
	env []string // besides what every run gets
}

func start(t *testing.T, config controlplane.Config) plane {
	config.Account = "111111111111"
	s := controlplane.New(config)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return plane{Server: s, url: server.URL}
}

// run returns what the program printed, and its exit status.
func (p plane) run(t *testing.T, command, spec string) (map[string]any, string, int) {
	t.Helper()
	path, err := agentcorectl()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, append(strings.Fields(command), "-poll=1ms")...)
	cmd.Env = append([]string{"AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_REGION=us-east-1", "AWS_ENDPOINT_URL=" + p.url, "HOME=" + t.TempDir()}, p.env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(spec), &stdout, &stderr
	_ = cmd.Run() // the exit status says it
	answer := map[string]any{}
	if stdout.Len() > 0 {
		if err := json.Unmarshal(stdout.Bytes(), &answer); err != nil {
			t.Fatalf("%s printed %q: %v", command, stdout.String(), err)
		}
		if sorted, err := json.Marshal(answer); err != nil || stdout.String() != string(sorted)+"\n" {
			t.Errorf("%s printed %q, want one object with sorted keys on one line", command, stdout.String())
		}
	}
	return answer, stderr.String(), cmd.ProcessState.ExitCode()
}

func (p plane) must(t *testing.T, command, spec string) map[string]any {
	t.Helper()
	answer, stderr, status := p.run(t, command, spec)
	if status != 0 {
		t.Fatalf("%s: exit status %d: %s", command, status, stderr)
	}
	return answer
}

// get reads a resource as the service answers it.
func (p plane) get(t *testing.T, method, path, body string) map[string]any {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, p.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=test/20261124/us-east-1/bedrock-agentcore/aws4_request")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var out map[string]any
	if err := json.NewDecoder(response.Body).Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

const (
	authorizer  = `"authorizer":{"discoveryUrl":"https://issuer.example/.well-known/openid-configuration","allowedClients":["people"]}`
	gatewaySpec = `{"name":"Tools-dev","description":"tools","roleArn":"arn:aws:iam::111111111111:role/g",` + authorizer + `,"interceptorArn":"arn:i","supportedVersions":["2025-06-18"],"tags":{"a":"1"}}`
	runtimeSpec = `{"name":"agent_dev","roleArn":"arn:aws:iam::111111111111:role/r","imageUri":"r@sha256:1",` + authorizer + `,"environment":{"A":"1"},"requestHeaders":["Authorization"],"idleTimeoutSeconds":900,"maxLifetimeSeconds":28800}`
)

func TestGatewayAndTarget(t *testing.T) {
	t.Parallel()
	p := start(t, controlplane.Config{Looks: 3})
	first := p.must(t, "gateway apply", gatewaySpec)
	if diff := cmp.Diff(first, p.must(t, "gateway apply", gatewaySpec)); diff != "" {
		t.Errorf("a second apply answers otherwise (-first +second):\n%s", diff)
	}
	id := first["id"].(string)
	if !strings.HasPrefix(id, "tools-dev-") {
		t.Errorf("id = %s", id)
	}
	// A member that the specification does not know survives an update, though the service clears what is left out.
	other := `{"name":"Tools-dev","roleArn":"arn:aws:iam::111111111111:role/g","authorizerType":"CUSTOM_JWT","exceptionLevel":"DEBUG",` +
		`"policyEngineConfiguration":{"arn":"arn:aws:bedrock-agentcore:us-east-1:111111111111:policy-engine/x","mode":"ENFORCE"},` +
		`"authorizerConfiguration":{"customJWTAuthorizer":{"discoveryUrl":"https://issuer.example/.well-known/openid-configuration","allowedClients":["people"]}}}`
	p.get(t, http.MethodPut, "/gateways/"+id+"/", other)
	p.must(t, "gateway apply", strings.Replace(gatewaySpec, `"people"`, `"machine"`, 1))
	got := p.get(t, http.MethodGet, "/gateways/"+id+"/", "")
	for member, want := range map[string]any{"exceptionLevel": "DEBUG", "description": "tools", "policyEngineConfiguration": map[string]any{
		"arn": "arn:aws:bedrock-agentcore:us-east-1:111111111111:policy-engine/x", "mode": "ENFORCE"}} {
		if diff := cmp.Diff(want, got[member]); diff != "" {
			t.Errorf("%s after an update (-want +got):\n%s", member, diff)
		}
	}
	if text, _ := json.Marshal(got); !strings.Contains(string(text), `"allowedClients":["machine"]`) || !strings.Contains(string(text), `"arn:i"`) {
		t.Errorf("gateway after an update: %s", text)
	}

	target := `{"gatewayId":"` + id + `","name":"bridge","lambdaArn":"arn:f","tools":[{"name":"query","description":"q","inputSchema":{"type":"object"}}],"allowedRequestHeaders":["X-Amzn-Bedrock-AgentCore-Runtime-Custom-User-Token"]}`
	p.must(t, "target apply", target)
	records, err := p.Records()
	if err != nil || len(records.Gateways) != 1 || len(records.Gateways[0].Children) != 1 {
		t.Fatalf("Records = %+v, %v; want one gateway with one target", records, err)
	}
	var recorded map[string]any
	if err := json.Unmarshal(records.Gateways[0].Resource, &recorded); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p.get(t, http.MethodGet, "/gateways/"+id+"/", ""), recorded); diff != "" {
		t.Errorf("the record is not what Get answers (-get +record):\n%s", diff)
	}
	if _, stderr, status := p.run(t, "gateway delete -wait 5s", gatewaySpec); status == 0 || !strings.Contains(stderr, "it still has targets: bridge") {
		t.Errorf("deleting a gateway with a target: status %d: %s", status, stderr)
	}
	for range 2 { // absent is success
		p.must(t, "target delete", target)
		p.must(t, "gateway delete", gatewaySpec)
	}
	p.must(t, "target delete", target) // also when its gateway has gone
	if p.Left() != 0 {
		t.Errorf("%d resources are left", p.Left())
	}
}

func TestRuntimeAndEndpoint(t *testing.T) {
	t.Parallel()
	p := start(t, controlplane.Config{Looks: 2})
	first := p.must(t, "runtime apply", runtimeSpec)
	id := first["id"].(string)
	if got := p.get(t, http.MethodGet, "/runtimes/"+id+"/", ""); !cmp.Equal(got["metadataConfiguration"], any(map[string]any{"requireMMDSV2": true})) {
		t.Errorf("metadataConfiguration = %v", got["metadataConfiguration"])
	}
	if again := p.must(t, "runtime apply", runtimeSpec); again["version"] != first["version"] {
		t.Errorf("an apply that changes nothing made version %v of %v", again["version"], first["version"])
	}
	endpoint := `{"runtimeId":"` + id + `","name":"live","version":"` + first["version"].(string) + `"}`
	p.must(t, "endpoint apply", endpoint)
	second := p.must(t, "runtime apply", strings.Replace(runtimeSpec, "sha256:1", "sha256:2", 1))
	if second["version"] == first["version"] {
		t.Error("a new image is no new version")
	}
	moved := strings.Replace(endpoint, `"version":"`+first["version"].(string), `"version":"`+second["version"].(string), 1)
	if got := p.must(t, "endpoint apply", moved); got["version"] != second["version"] {
		t.Errorf("endpoint at version %v, want %v", got["version"], second["version"])
	}
	for range 2 {
		p.must(t, "endpoint delete", moved)
		p.must(t, "runtime delete", runtimeSpec)
	}
	if p.Left() != 0 {
		t.Errorf("%d resources are left", p.Left())
	}
}

func TestRetriesAndGivesUp(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	refusals := 0
	p := start(t, controlplane.Config{Refuse: func(method, path string) *controlplane.Fault {
		mu.Lock()
		defer mu.Unlock()
		if refusals++; method == http.MethodPost && path == "/gateways/" && refusals < 6 {
			return &controlplane.Fault{Status: 400, Code: "ValidationException", Message: "Gateway execution role lacks permission to invoke Lambda function"}
		}
		if strings.HasPrefix(path, "/runtimes") {
			return &controlplane.Fault{Status: 403, Code: "AccessDeniedException", Message: "not allowed"}
		}
		return nil
	}})
	_, stderr, status := p.run(t, "gateway apply", gatewaySpec)
	if status != 0 || !strings.Contains(stderr, "lacks permission to invoke Lambda function; trying again") {
		t.Errorf("a role that IAM has not spread: status %d: %s", status, stderr)
	}
	if _, stderr, status = p.run(t, "runtime apply", runtimeSpec); status != 1 || !strings.Contains(stderr, "try: the deployer's permissions are in docs/deployer-policy.json") {
		t.Errorf("no permission: status %d: %s", status, stderr)
	}
	slow := start(t, controlplane.Config{Looks: 1 << 30})
	if _, stderr, status = slow.run(t, "gateway apply -wait 5s", gatewaySpec); status != 3 || !strings.Contains(stderr, "still CREATING") {
		t.Errorf("never ready: status %d: %s", status, stderr)
	}
}

// TestMadeAnew has the first create of each kind fail: the apply says so, and the next one makes the resource anew.
func TestMadeAnew(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ command, spec, end string }{
		"gateway": {"gateway", gatewaySpec, "FAILED"},
		"runtime": {"runtime", runtimeSpec, "CREATE_FAILED"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var creates atomic.Int32
			p := start(t, controlplane.Config{Ends: func(status string) string {
				if status == "CREATING" && creates.Add(1) == 1 {
					return row.end
				}
				return ""
			}})
			if _, stderr, status := p.run(t, row.command+" apply", row.spec); status != 1 || !strings.Contains(stderr, "is "+row.end) {
				t.Errorf("a create that fails: status %d: %s", status, stderr)
			}
			if p.Left() != 1 {
				t.Fatalf("%d resources after a create that failed, want one", p.Left())
			}
			made := p.must(t, row.command+" apply", row.spec)
			if again := p.must(t, row.command+" apply", row.spec); !cmp.Equal(made, again) {
				t.Errorf("apply answers %v, then %v", made, again)
			}
			p.must(t, row.command+" delete", row.spec)
			if p.Left() != 0 {
				t.Errorf("%d resources are left", p.Left())
			}
		})
	}
}

// TestAdopts lets another deployment create the resource after the list and before the create: what exists is taken.
func TestAdopts(t *testing.T) {
	t.Parallel()
	const jwt = `"authorizerConfiguration":{"customJWTAuthorizer":{"discoveryUrl":"https://issuer.example/.well-known/openid-configuration","allowedClients":["people"]}}`
	for name, row := range map[string]struct{ command, spec, method, path, body, id string }{
		"gateway": {"gateway", gatewaySpec, http.MethodPost, "/gateways/", `{"name":"Tools-dev","roleArn":"r","authorizerType":"CUSTOM_JWT",` + jwt + `}`, "gatewayId"},
		"runtime": {"runtime", runtimeSpec, http.MethodPut, "/runtimes/", `{"agentRuntimeName":"agent_dev","roleArn":"r","agentRuntimeArtifact":{},"networkConfiguration":{},` + jwt + `}`, "agentRuntimeId"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var p plane
			var done atomic.Bool
			var first atomic.Value
			p = start(t, controlplane.Config{Refuse: func(method, path string) *controlplane.Fault {
				if method == row.method && path == row.path && done.CompareAndSwap(false, true) {
					first.Store(p.get(t, row.method, row.path, row.body)[row.id])
				}
				return nil
			}})
			got := p.must(t, row.command+" apply", row.spec)
			if got["id"] != first.Load() || p.Left() != 1 {
				t.Errorf("id = %v of %d resources, want %v of one", got["id"], p.Left(), first.Load())
			}
			if text, _ := json.Marshal(p.get(t, http.MethodGet, row.path+got["id"].(string)+"/", "")); !strings.Contains(string(text), "arn:aws:iam::111111111111:role/") {
				t.Errorf("what was adopted is not as specified: %s", text)
			}
		})
	}
}

// TestUpdatesKeepOtherMembers has somebody else set members that no specification knows. The service clears what an update
// leaves out, and so does the front.
func TestUpdatesKeepOtherMembers(t *testing.T) {
	t.Parallel()
	p := start(t, controlplane.Config{})
	const jwt = `"authorizerConfiguration":{"customJWTAuthorizer":{"discoveryUrl":"https://issuer.example/.well-known/openid-configuration","allowedClients":["people"]}}`
	gateway := p.must(t, "gateway apply", gatewaySpec)["id"].(string)
	runtime := p.must(t, "runtime apply", runtimeSpec)["id"].(string)
	spec := `{"gatewayId":"` + gateway + `","name":"bridge","lambdaArn":"arn:f","tools":[{"name":"query","description":"q","inputSchema":{"type":"object"}}],"allowedRequestHeaders":["X-A"]}`
	target := p.must(t, "target apply", spec)["id"].(string)
	for path, row := range map[string]struct {
		set, command, spec string
		want               map[string]any
	}{
		"/runtimes/" + runtime + "/": {
			`{"roleArn":"r","agentRuntimeArtifact":{"containerConfiguration":{"containerUri":"r@sha256:1"}},"networkConfiguration":{"networkMode":"PUBLIC"},` + jwt +
				`,"filesystemConfigurations":[{"sessionStorage":{"mountPath":"/mnt/data"}}]}`,
			"runtime apply", strings.Replace(runtimeSpec, "sha256:1", "sha256:2", 1),
			map[string]any{"filesystemConfigurations": []any{map[string]any{"sessionStorage": map[string]any{"mountPath": "/mnt/data"}}},
				"metadataConfiguration": map[string]any{"requireMMDSV2": true}}},
		"/gateways/" + gateway + "/targets/" + target + "/": {
			`{"name":"bridge","targetConfiguration":{"mcp":{"lambda":{"lambdaArn":"arn:f","toolSchema":{"inlinePayload":[{"name":"query","description":"q","inputSchema":{"type":"object"}}]}}}},"credentialProviderConfigurations":[{"credentialProviderType":"GATEWAY_IAM_ROLE"}],` +
				`"metadataConfiguration":{"allowedRequestHeaders":["X-A"],"allowedResponseHeaders":["X-B"],"allowedQueryParameters":["c"]}}`,
			"target apply", strings.Replace(spec, "arn:f", "arn:g", 1),
			map[string]any{"metadataConfiguration": map[string]any{"allowedRequestHeaders": []any{"X-A"}, "allowedResponseHeaders": []any{"X-B"}, "allowedQueryParameters": []any{"c"}}}},
	} {
		p.get(t, http.MethodPut, path, row.set)
		p.must(t, row.command, row.spec)
		got := p.get(t, http.MethodGet, path, "")
		for member, want := range row.want {
			if diff := cmp.Diff(want, got[member]); diff != "" {
				t.Errorf("%s: %s after an update (-want +got):\n%s", path, member, diff)
			}
		}
	}
}

// TestEndsBadly has what hangs under a gateway or runtime fail: at its create, at an update, and at the delete.
func TestEndsBadly(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ parent, parentSpec, command, spec, change, made, updated, deleted string }{
		"target": {"gateway", gatewaySpec, "target", `{"gatewayId":"ID","name":"bridge","lambdaArn":"arn:f","tools":[{"name":"query","description":"q","inputSchema":{"type":"object"}}]}`,
			`"arn:g"`, "FAILED", "UPDATE_UNSUCCESSFUL", "DELETE_UNSUCCESSFUL"},
		"endpoint": {"runtime", runtimeSpec, "endpoint", `{"runtimeId":"ID","name":"live","version":"1","description":"arn:f"}`, `"arn:g"`, "CREATE_FAILED", "UPDATE_FAILED", "DELETE_FAILED"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var bad sync.Map // status in between -> how it ends, once
			p := start(t, controlplane.Config{Ends: func(status string) string {
				if end, ok := bad.LoadAndDelete(status); ok {
					return end.(string)
				}
				return ""
			}})
			spec := strings.Replace(row.spec, "ID", p.must(t, row.parent+" apply", row.parentSpec)["id"].(string), 1)
			changed := strings.Replace(spec, `"arn:f"`, row.change, 1)
			for _, step := range []struct{ status, end, verb, spec string }{
				{"CREATING", row.made, "apply", spec}, {"UPDATING", row.updated, "apply", changed}, {"DELETING", row.deleted, "delete", changed},
			} {
				bad.Store(step.status, step.end)
				if _, stderr, status := p.run(t, row.command+" "+step.verb, step.spec); status != 1 || !strings.Contains(stderr, "is "+step.end+": the service gives no reason") {
					t.Errorf("%s: exit status %d: %s", step.end, status, stderr)
				}
				p.must(t, row.command+" "+step.verb, step.spec)
			}
			p.must(t, row.parent+" delete", row.parentSpec)
			if p.Left() != 0 {
				t.Errorf("%d resources are left", p.Left())
			}
		})
	}
}

// TestWrongAccount has the credentials belong to another account than the deployment: nothing is asked of AgentCore.
func TestWrongAccount(t *testing.T) {
	t.Parallel()
	who := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>` +
			`<Arn>arn:aws:iam::111111111111:user/ada</Arn><UserId>A</UserId><Account>111111111111</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`)) // the client has gone if this fails
	}))
	t.Cleanup(who.Close)
	var asked atomic.Int32
	p := start(t, controlplane.Config{Refuse: func(string, string) *controlplane.Fault { asked.Add(1); return nil }})
	p.env = []string{"AWS_ENDPOINT_URL_STS=" + who.URL}
	_, stderr, status := p.run(t, "gateway apply -account 222222222222", gatewaySpec)
	if status != 1 || !strings.Contains(stderr, "account 222222222222: failed: the credentials are of account 111111111111") || !strings.Contains(stderr, "try: set AWS_PROFILE") {
		t.Errorf("credentials of another account: status %d: %s", status, stderr)
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("AgentCore was asked %d times", n)
	}
	p.must(t, "gateway apply -account 111111111111", gatewaySpec)
}

var update = flag.Bool("update", false, "rewrite testdata/agentcorectl.ct")

// TestTranscript is what an operator sees of a gateway and a runtime from the first apply to the last delete.
func TestTranscript(t *testing.T) {
	t.Parallel()
	p := start(t, controlplane.Config{})
	suffix := regexp.MustCompile(`(central-ops-dev|central_ops_dev)-[a-z0-9]{10}`)
	target := regexp.MustCompile(`"id":"[A-Z0-9]{10}"`)
	var got strings.Builder
	run := func(command, spec string) map[string]any {
		answer, stderr, status := p.run(t, command, spec)
		out := ""
		if len(answer) > 0 {
			text, err := json.Marshal(answer) // run has checked that it was printed so
			if err != nil {
				t.Fatal(err)
			}
			out = string(text) + "\n"
		}
		text := suffix.ReplaceAllString(fmt.Sprintf("$ agentcorectl %s <<<'%s'\n%s%s", command, spec, out, stderr), "$1-abcdefghij")
		got.WriteString(target.ReplaceAllString(text, `"id":"ABCDEFGHIJ"`))
		if status != 0 {
			fmt.Fprintf(&got, "--> FAIL %d\n", status)
		}
		got.WriteByte('\n')
		return answer
	}
	const gateway = `{"name":"central-ops-dev","roleArn":"arn:aws:iam::111111111111:role/g",` + authorizer + `,"supportedVersions":["2025-06-18"]}`
	const runtime = `{"name":"central_ops_dev","roleArn":"arn:aws:iam::111111111111:role/r","imageUri":"r@sha256:1",` + authorizer + `,"idleTimeoutSeconds":900,"maxLifetimeSeconds":28800}`
	id := run("gateway apply", gateway)["id"]
	bridge := fmt.Sprintf(`{"gatewayId":"%s","name":"bridge","lambdaArn":"arn:f","tools":[{"name":"query","description":"q","inputSchema":{"type":"object"}}]}`, id)
	run("target apply", bridge)
	run("gateway apply", gateway) // nothing to do
	run("gateway apply", strings.Replace(gateway, "people", "machine", 1))
	run("gateway delete", gateway)
	run("target delete", bridge)
	run("gateway delete", gateway)
	run("gateway delete", gateway)
	version := run("runtime apply", runtime)
	live := fmt.Sprintf(`{"runtimeId":"%s","name":"live","version":"%s"}`, version["id"], version["version"])
	run("endpoint apply", live)
	run("endpoint apply", strings.Replace(live, `"version":"`, `"version":"9`, 1))
	run("runtime delete -wait 2s", runtime)
	run("endpoint delete", live)
	run("runtime delete", runtime)
	golden := filepath.Join("testdata", "agentcorectl.ct")
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("transcript mismatch (-want +got):\n%s", diff)
	}
}

func TestTags(t *testing.T) {
	t.Parallel()
	p := start(t, controlplane.Config{})
	arn := p.must(t, "gateway apply", strings.Replace(gatewaySpec, `{"a":"1"}`, `{"a":"1","b":"2"}`, 1))["arn"].(string)
	p.must(t, "gateway apply", strings.Replace(gatewaySpec, `{"a":"1"}`, `{"b":"3","c":"4"}`, 1))
	got := p.get(t, http.MethodGet, "/tags/"+url.PathEscape(arn), "")
	if diff := cmp.Diff(map[string]any{"tags": map[string]any{"b": "3", "c": "4"}}, got); diff != "" {
		t.Errorf("tags mismatch (-want +got):\n%s", diff)
	}
}

// TestProvider makes the provider of workload mode. The client's secret goes from Cognito to AgentCore and is never printed.
func TestProvider(t *testing.T) {
	t.Parallel()
	const secret = "a-secret-of-the-machine-client"
	cognito := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in map[string]string
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || r.Header.Get("X-Amz-Target") != "AWSCognitoIdentityProviderService.DescribeUserPoolClient" ||
			in["UserPoolId"] != "us-east-1_pool" || in["ClientId"] != "machine" {
			w.Header().Set("X-Amzn-ErrorType", "ResourceNotFoundException")
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		_, _ = w.Write([]byte(`{"UserPoolClient":{"ClientId":"machine","ClientSecret":"` + secret + `"}}`)) // the client has gone if this fails
	}))
	t.Cleanup(cognito.Close)
	front := controlplane.New(controlplane.Config{Account: "111111111111"})
	var carried atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if strings.Contains(string(body), `"clientSecret":"`+secret+`"`) {
			carried.Add(1)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		front.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	p := plane{Server: front, url: server.URL, env: []string{"AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER=" + cognito.URL}}
	spec := `{"name":"central-ops-dev","userPoolId":"us-east-1_pool","clientId":"machine","discoveryUrl":"https://issuer.example/.well-known/openid-configuration"}`
	for range 2 { // a create, then an update
		answer, stderr, status := p.run(t, "provider apply", spec)
		if status != 0 {
			t.Fatalf("status %d: %s", status, stderr)
		}
		want := map[string]any{"arn": "arn:aws:bedrock-agentcore:us-east-1:111111111111:token-vault/default/oauth2credentialprovider/central-ops-dev"}
		if diff := cmp.Diff(want, answer); diff != "" {
			t.Errorf("answer mismatch (-want +got):\n%s", diff)
		}
		if strings.Contains(stderr, secret) {
			t.Errorf("the secret is printed: %s", stderr)
		}
	}
	records, err := p.Records()
	if err != nil {
		t.Fatal(err)
	}
	kept := controlplane.Provider{ClientID: "machine", ClientSecret: secret}
	kept.Discovery.URL = "https://issuer.example/.well-known/openid-configuration"
	if diff := cmp.Diff(map[string]controlplane.Provider{"central-ops-dev": kept}, records.Providers); diff != "" {
		t.Errorf("Records mismatch (-want +got):\n%s", diff)
	}
	if got := p.get(t, http.MethodPost, "/identities/GetOauth2CredentialProvider", `{"name":"central-ops-dev"}`); strings.Contains(fmt.Sprint(got), secret) {
		t.Errorf("the secret is answered: %v", got)
	}
	if n := carried.Load(); n != 2 {
		t.Errorf("the secret reached AgentCore %d times, want 2", n)
	}
	_, stderr, status := p.run(t, "provider apply", strings.Replace(spec, `"machine"`, `"other"`, 1))
	if status != 1 || !strings.Contains(stderr, "read the secret of app client other") {
		t.Errorf("a client that does not exist: status %d: %s", status, stderr)
	}
	for range 2 {
		p.must(t, "provider delete", spec)
	}
	if p.Left() != 0 {
		t.Errorf("%d resources are left", p.Left())
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	p := start(t, controlplane.Config{})
	const jwt = `"roleArn":"r","authorizerType":"CUSTOM_JWT","authorizerConfiguration":{"customJWTAuthorizer":{"discoveryUrl":"https://x/.well-known/openid-configuration","allowedClients":["c"]}}`
	gateway := p.get(t, http.MethodPost, "/gateways/", `{"name":"one",`+jwt+`}`)["gatewayId"].(string)
	for p.get(t, http.MethodGet, "/gateways/"+gateway+"/", "")["status"] != "READY" {
	}
	target := func(tools, headers string) string {
		return `{"name":"t","credentialProviderConfigurations":[{"credentialProviderType":"GATEWAY_IAM_ROLE"}],"metadataConfiguration":{"allowedRequestHeaders":[` + headers + `]},` +
			`"targetConfiguration":{"mcp":{"lambda":{"lambdaArn":"arn:f","toolSchema":{"inlinePayload":[` + tools + `]}}}}}`
	}
	tool := func(schema string) string { return `{"name":"query","description":"q","inputSchema":` + schema + `}` }
	runtime := func(members string) string {
		return `{"agentRuntimeName":"a","roleArn":"r","agentRuntimeArtifact":{},"networkConfiguration":{},` + members + `}`
	}
	variables := `"A":"` + strings.Repeat("x", 5001) + `"`
	many := make([]string, 51)
	for i := range many {
		many[i] = fmt.Sprintf(`"A%d":""`, i)
	}
	targets := "/gateways/" + gateway + "/targets/"
	for name, row := range map[string]struct{ method, path, body, want string }{
		"name twice":              {"POST", "/gateways/", `{"name":"one",` + jwt + `}`, "already exists"},
		"gateway name":            {"POST", "/gateways/", `{"name":"a_b",` + jwt + `}`, "regular expression"},
		"nothing to check":        {"POST", "/gateways/", `{"name":"two","roleArn":"r","authorizerType":"CUSTOM_JWT","authorizerConfiguration":{"customJWTAuthorizer":{"discoveryUrl":"https://x/.well-known/openid-configuration"}}}`, "at least one of"},
		"runtime without network": {"PUT", "/runtimes/", `{"agentRuntimeName":"a","roleArn":"r","agentRuntimeArtifact":{}}`, "networkConfiguration"},
		"runtime name":            {"PUT", "/runtimes/", `{"agentRuntimeName":"a-b","roleArn":"r","agentRuntimeArtifact":{},"networkConfiguration":{}}`, "regular expression"},
		"tool with an enum":       {"POST", targets, target(tool(`{"type":"object","properties":{"a":{"type":"string","enum":["b"]}}}`), ""), "properties.a has the unknown member enum"},
		"tool with a default":     {"POST", targets, target(tool(`{"type":"array","items":{"type":"string","default":"b"}}`), ""), "items has the unknown member default"},
		"tool of no type":         {"POST", targets, target(tool(`{"properties":{}}`), ""), "type must be one of"},
		"tool of type null":       {"POST", targets, target(tool(`{"type":"null"}`), ""), "type must be one of"},
		"required is no list":     {"POST", targets, target(tool(`{"type":"object","required":true}`), ""), "wrong type"},
		"tool twice":              {"POST", targets, target(tool(`{"type":"object"}`)+","+tool(`{"type":"object"}`), ""), "two of that name"},
		"tool not described":      {"POST", targets, target(`{"name":"query","inputSchema":{"type":"object"}}`, ""), "are required"},
		"no tools":                {"POST", targets, target("", ""), "1 to 1000 tools"},
		"Authorization allowed":   {"POST", targets, target(tool(`{"type":"object"}`), `"authorization"`), "cannot be allowed"},
		"a header of AWS":         {"POST", targets, target(tool(`{"type":"object"}`), `"X-Amz-Date"`), "cannot be allowed"},
		"a header with a space":   {"POST", targets, target(tool(`{"type":"object"}`), `"X A"`), "cannot be allowed"},
		"eleven headers":          {"POST", targets, target(tool(`{"type":"object"}`), strings.Repeat(`"X-A",`, 10)+`"X-A"`), "at most 10"},
		"interceptors at a point": {"POST", "/gateways/", `{"name":"three",` + jwt + `,"interceptorConfigurations":[{"interceptionPoints":["REQUEST"]},{"interceptionPoints":["REQUEST"]}]}`, "has an interceptor already"},
		"fifty-one variables":     {"PUT", "/runtimes/", runtime(`"environmentVariables":{` + strings.Join(many, ",") + `}`), "at most 50"},
		"a variable too long":     {"PUT", "/runtimes/", runtime(`"environmentVariables":{` + variables + `}`), "at most 5000"},
		"header twice":            {"PUT", "/runtimes/", runtime(`"requestHeaderConfiguration":{"requestHeaderAllowlist":["Authorization","authorization"]}`), "there twice"},
		"a header of the Runtime": {"PUT", "/runtimes/", runtime(`"requestHeaderConfiguration":{"requestHeaderAllowlist":["X-Amzn-Bedrock-AgentCore-Runtime-Session-Id"]}`), "cannot be allowed"},
		"cookies":                 {"PUT", "/runtimes/", runtime(`"requestHeaderConfiguration":{"requestHeaderAllowlist":["Cookie"]}`), "cannot be allowed"},
		"no headers":              {"PUT", "/runtimes/", runtime(`"requestHeaderConfiguration":{"requestHeaderAllowlist":[]}`), "1 to 20"},
		"a session of a second":   {"PUT", "/runtimes/", runtime(`"lifecycleConfiguration":{"idleRuntimeSessionTimeout":1}`), "must be 60 to 28800"},
		"absent":                  {"GET", "/gateways/none-0123456789/", "", "not found"},
		"provider without config": {"POST", "/identities/CreateOauth2CredentialProvider", `{"name":"p","credentialProviderVendor":"CustomOauth2"}`, "oauth2ProviderConfigInput"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := p.get(t, row.method, row.path, row.body); !strings.Contains(got["message"].(string), row.want) {
				t.Errorf("message = %v, want one with %q", got["message"], row.want)
			}
		})
	}
}
