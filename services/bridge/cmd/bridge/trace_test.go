package main

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// fakeCollector takes spans by OTLP over HTTP.
type fakeCollector struct {
	server *httptest.Server
	mu     sync.Mutex
	spans  []*spans.Span
}

func newFakeCollector(t *testing.T) *fakeCollector {
	c := &fakeCollector{}
	c.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var export collector.ExportTraceServiceRequest
		if err := proto.Unmarshal(body, &export); err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("the collector got no spans at %s: %v", r.URL.Path, err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, resource := range export.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				c.spans = append(c.spans, scope.Spans...)
			}
		}
	}))
	t.Cleanup(c.server.Close)
	return c
}

// take returns the spans got since the last call, by name.
func (c *fakeCollector) take() map[string]*spans.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	byName := map[string]*spans.Span{}
	for _, span := range c.spans {
		byName[span.Name] = span
	}
	c.spans = nil
	return byName
}

func attributeOf(span *spans.Span, key string) string {
	for _, attribute := range span.GetAttributes() {
		if attribute.Key == key {
			return attribute.Value.GetStringValue()
		}
	}
	return ""
}

const (
	traceID  = "4bf92f3577b34da6a3ce929d0e0e4736"
	parentID = "00f067aa0ba902b7"
	parent   = "00-" + traceID + "-" + parentID + "-01"
	xray     = "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent=" + parentID + ";Sampled=1"
)

// callTraced calls a tool as the Gateway does when it lets the trace headers through.
func (b *box) callTraced(headers map[string]any, xray, event string) {
	b.t.Helper()
	all := map[string]any{"x-amzn-bedrock-agentcore-runtime-custom-user-token": b.token("ops")}
	for name, value := range headers {
		all[name] = value
	}
	b.runtime.mu.Lock()
	b.runtime.xray = xray
	b.runtime.mu.Unlock()
	b.runtime.invoke(b.t, map[string]any{"bedrockAgentCoreToolName": "bridge___query", "bedrockAgentCorePropagatedHeaders": all}, event, time.Minute)
}

func (b *box) lastRun() scriptRun {
	b.t.Helper()
	b.mcp.mu.Lock()
	defer b.mcp.mu.Unlock()
	if len(b.mcp.runs) == 0 {
		b.t.Fatal("no script was run")
	}
	return b.mcp.runs[len(b.mcp.runs)-1]
}

// TestOneTrace: the caller's span is the parent of the bridge's, and the bridge's that of the upstream's.
func TestOneTrace(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		headers map[string]any
		xray    string
	}{
		"traceparent":                {map[string]any{"traceparent": parent}, ""},
		"any case, as a list":        {map[string]any{"TraceParent": []string{parent}}, ""},
		"traceparent before X-Ray's": {map[string]any{"traceparent": parent}, "Root=1-00000000-000000000000000000000001;Parent=0000000000000001;Sampled=1"},
		"X-Ray's":                    {nil, xray},
		"traceparent is broken":      {map[string]any{"traceparent": "00-zz"}, xray},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			collector := newFakeCollector(t)
			b := start(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+collector.server.URL)
			b.callTraced(c.headers, c.xray, describe)
			got := collector.take()
			call, ask := got["tool call"], got["ask account"]
			if call == nil || ask == nil {
				t.Fatalf("spans: %v", got)
			}
			for _, span := range got {
				if id := hex.EncodeToString(span.TraceId); id != traceID {
					t.Errorf("%s is in trace %s, want %s", span.Name, id, traceID)
				}
			}
			if id := hex.EncodeToString(call.ParentSpanId); id != parentID {
				t.Errorf("the parent of the call is %s, want %s", id, parentID)
			}
			if string(ask.ParentSpanId) != string(call.SpanId) {
				t.Error("the account's span is not the call's child")
			}
			run := b.lastRun()
			if want := "00-" + traceID + "-" + hex.EncodeToString(ask.SpanId) + "-01"; run.Traceparent != want {
				t.Errorf("the upstream got traceparent %q, want %q", run.Traceparent, want)
			}
			if !strings.Contains(";"+run.SignedHeaders+";", ";traceparent;") {
				t.Errorf("traceparent is not signed: %s", run.SignedHeaders)
			}
			if attributeOf(call, "gen_ai.tool.name") != "query" || call.Status.GetCode() == spans.Status_STATUS_CODE_ERROR {
				t.Errorf("the call's span: %v", call)
			}
		})
	}
}

func TestRefusedCallIsMarked(t *testing.T) {
	t.Parallel()
	collector := newFakeCollector(t)
	b := start(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+collector.server.URL)
	b.callTraced(map[string]any{"traceparent": parent}, "", `{"accounts":["all"],"service":"ec2","operation":"TerminateInstances"}`)
	call := collector.take()["tool call"]
	if call == nil || attributeOf(call, "error.type") != "forbidden" || call.Status.GetCode() != spans.Status_STATUS_CODE_ERROR {
		t.Errorf("the span of a refused call: %v", call)
	}
}

// TestTraceGoesOnWithoutTelemetry: the bridge sends no spans, and still does not cut the trace.
func TestTraceGoesOnWithoutTelemetry(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.callTraced(map[string]any{"traceparent": parent}, "", describe)
	if got := b.lastRun().Traceparent; got != parent {
		t.Errorf("the upstream got traceparent %q, want the caller's", got)
	}
	b.callTraced(nil, xray, describe)
	if got := b.lastRun().Traceparent; got != parent {
		t.Errorf("the upstream got traceparent %q, want X-Ray's in that form", got)
	}
	b.callTraced(nil, "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent="+parentID+";Sampled=0", describe)
	if got := b.lastRun().Traceparent; got != "" {
		t.Errorf("the upstream got traceparent %q for a trace that nobody keeps", got)
	}
}
