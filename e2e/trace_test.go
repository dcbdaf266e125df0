package e2e_test

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/central-ops/central-ops/e2e/local"
)

// collector keeps the bodies of OTLP/HTTP exports, decompressed.
type collector struct {
	mu     sync.Mutex
	bodies [][]byte
	added  chan struct{} // has room for one: something came
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var source io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		source = unzipped
	}
	body, err := io.ReadAll(source)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	c.bodies = append(c.bodies, body)
	c.mu.Unlock()
	select {
	case c.added <- struct{}{}:
	default:
	}
}

// joined tells whether an export of the service holds the trace id.
func (c *collector) joined(service string, trace []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.bodies, func(body []byte) bool {
		return bytes.Contains(body, []byte(service)) && bytes.Contains(body, trace)
	})
}

// One question is one trace: the agent's spans, the bridge's, and what the bridge sends to the AWS MCP Server carry the trace id
// that the caller sent.
func TestOneTraceFromCallerToUpstream(t *testing.T) {
	t.Parallel()
	spans := &collector{added: make(chan struct{}, 1)}
	server := httptest.NewServer(spans)
	t.Cleanup(server.Close)
	var platform atomic.Pointer[local.Platform]
	traces := make(chan string, 64) // of the requests that reach the AWS MCP Server
	upstream := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		select {
		case traces <- r.In.Header.Get("traceparent"):
		default:
		}
		target, err := url.Parse(platform.Load().MCPURL)
		if err != nil {
			panic(err) // the platform's own URL
		}
		r.Out.URL.Scheme, r.Out.URL.Host = target.Scheme, target.Host // and the Host header as it was signed
		r.Out.Host = r.In.Host
	}})
	t.Cleanup(upstream.Close)
	o := options()
	o.BridgeEnv = map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": server.URL, "AWS_MCP_ENDPOINT": upstream.URL + "/mcp", "AWS_MCP_REGION": local.Region,
	}
	o.AgentEnv = map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": server.URL}
	p := startOwn(t, o)
	platform.Store(p)

	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.Stack.InvocationsURL(),
		bytes.NewReader([]byte(`{"prompt":"List S3 buckets in account 222222222222"}`)))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+signIn(t, p, "alice").Access)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("traceparent", "00-"+id+"-00f067aa0ba902b7-01")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if answer, err := io.ReadAll(response.Body); err != nil || !bytes.Contains(answer, []byte("orders")) {
		t.Fatalf("%s (%v)", answer, err)
	}

	joined := 0
	for len(traces) > 0 {
		switch got := <-traces; {
		case strings.HasPrefix(got, "00-"+id+"-"):
			joined++
		case got != "": // what the bridge does at its start belongs to no question
			t.Errorf("the AWS MCP Server got traceparent %q, want the caller's trace", got)
		}
	}
	if joined == 0 {
		t.Error("no request in the caller's trace reached the AWS MCP Server")
	}

	raw, err := hex.DecodeString(id)
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.After(20 * time.Second) // the agent sends its spans after the answer
	for _, service := range []string{"central-ops-agent", "central-ops-bridge"} {
		for !spans.joined(service, raw) {
			select {
			case <-spans.added:
			case <-deadline:
				t.Fatalf("no span of %s in the caller's trace", service)
			}
		}
	}
}
