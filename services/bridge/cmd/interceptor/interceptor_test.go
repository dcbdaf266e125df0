package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// runtimeAPI is Lambda's runtime API for one process.
type runtimeAPI struct {
	events  chan string
	answers chan answer
}

type answer struct {
	status string // the last part of the path: "response" or "error"
	body   []byte
}

func (r runtimeAPI) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	if !strings.HasSuffix(request.URL.Path, "/invocation/next") {
		body, _ := io.ReadAll(request.Body)
		r.answers <- answer{request.URL.Path[strings.LastIndex(request.URL.Path, "/")+1:], body}
		w.WriteHeader(http.StatusAccepted)
		return
	}
	select {
	case event := <-r.events:
		w.Header().Set("Lambda-Runtime-Aws-Request-Id", "invocation-1")
		w.Header().Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(time.Now().Add(time.Minute).UnixMilli(), 10))
		_, _ = io.WriteString(w, event)
	case <-request.Context().Done():
	}
}

// TestBinary builds the interceptor as it is deployed and invokes it through a runtime API.
func TestBinary(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "bootstrap")
	build := exec.CommandContext(t.Context(), "go", "build", "-tags", "lambda.norpc", "-o", binary, ".")
	build.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	lambda := runtimeAPI{make(chan string), make(chan answer, 1)}
	server := httptest.NewServer(lambda)
	t.Cleanup(server.Close)
	var log bytes.Buffer
	command := exec.Command(binary)
	command.Env = []string{"AWS_LAMBDA_RUNTIME_API=" + strings.TrimPrefix(server.URL, "http://")}
	command.Stdout, command.Stderr = &log, &log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	stop := sync.OnceFunc(func() {
		_ = command.Process.Kill()
		_ = command.Wait() // killed
	})
	t.Cleanup(stop)
	invoke := func(headers string) map[string]any {
		t.Helper()
		event := fmt.Sprintf(`{"interceptorInputVersion":"1.0","mcp":{"gatewayRequest":{"path":"/mcp","httpMethod":"POST","headers":%s,
			"body":{"jsonrpc":"2.0","id":7,"method":"tools/call"}}}}`, headers)
		late := time.After(time.Minute)
		select {
		case lambda.events <- event:
		case <-late:
			t.Fatal("the interceptor doesn't ask for events")
		}
		select {
		case got := <-lambda.answers:
			var decoded struct {
				Version string `json:"interceptorOutputVersion"`
				MCP     map[string]any
			}
			if err := json.Unmarshal(got.body, &decoded); err != nil || got.status != "response" || decoded.Version != "1.0" {
				t.Fatalf("%s: %s", got.status, got.body)
			}
			return decoded.MCP
		case <-late:
			t.Fatal("no answer")
		}
		return nil
	}
	const header = "X-Amzn-Bedrock-AgentCore-Runtime-Custom-User-Token"
	for headers, want := range map[string]string{
		`{"authorization":"Bearer token-canary"}`:                                             "token-canary",
		`{"Authorization":"Bearer machine","` + strings.ToLower(header) + `":"token-canary"}`: "token-canary",
	} {
		request, _ := invoke(headers)["transformedGatewayRequest"].(map[string]any)
		set, _ := request["headers"].(map[string]any)
		if set[header] != want {
			t.Errorf("%s: got the headers %v", headers, set)
		}
	}
	refused := invoke(`{"authorization":"Bearer ` + strings.Repeat("x", 2001) + `"}`)
	if response, _ := refused["transformedGatewayResponse"].(map[string]any); response["statusCode"] == nil || refused["transformedGatewayRequest"] != nil {
		t.Errorf("a token that can't travel: %v", refused)
	}
	stop()
	if strings.Contains(log.String(), "token-canary") {
		t.Errorf("the log holds a token: %s", &log)
	}
}
