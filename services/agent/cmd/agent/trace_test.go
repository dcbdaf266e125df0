package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/central-ops/central-ops/services/agent/internal/standin"

	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// One trace id runs from the Runtime's header over the agent's spans to the Gateway, and no span holds
// what was said.
func TestOneTrace(t *testing.T) {
	t.Parallel()
	for name, header := range map[string][]string{
		"traceparent":     {"traceparent", "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01"},
		"X-Amzn-Trace-Id": {"X-Amzn-Trace-Id", "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bodies := make(chan []byte, 16)
			collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err == nil && r.URL.Path == "/v1/traces" && r.Header.Get("Authorization") == "" {
					bodies <- body
				}
				w.Header().Set("Content-Type", "application/x-protobuf")
			}))
			defer collector.Close()
			b := start(t, &box{bedrock: &standin.Bedrock{Script: turns(t, query("a"), say("MODELWORDS"))}}, "OTEL_EXPORTER_OTLP_ENDPOINT="+collector.URL)
			b.ask("PROMPTWORDS", append(header, "WorkloadAccessToken", "WORKLOADTOKEN")...)
			b.stop()
			close(bodies)

			const traceID = "5759e988bd862e3fe1be46a994272793"
			names := make(map[string]int)
			for body := range bodies {
				for _, secret := range []string{"PROMPTWORDS", "MODELWORDS", "DescribeInstances", "i-1", "WORKLOADTOKEN", secretKey, strings.Split(token("alice"), ".")[1]} {
					if bytes.Contains(body, []byte(secret)) {
						t.Errorf("a span holds %s", secret)
					}
				}
				var request coltrace.ExportTraceServiceRequest
				if err := proto.Unmarshal(body, &request); err != nil {
					t.Fatal(err)
				}
				for _, resource := range request.ResourceSpans {
					for _, scope := range resource.ScopeSpans {
						for _, span := range scope.Spans {
							names[span.Name]++
							if got := hexOf(span.TraceId); got != traceID {
								t.Errorf("span %s has trace %s, want %s", span.Name, got, traceID)
							}
						}
					}
				}
			}
			for name, count := range map[string]int{"POST /invocations": 1, "tools/list": 1, "chat us.anthropic.claude-sonnet-5": 2, "execute_tool bridge___query": 1} {
				if names[name] != count {
					t.Errorf("%d spans %q, want %d; all: %v", names[name], name, count, names)
				}
			}
			if got := b.gateway.Calls()[0].Header.Get("Traceparent"); !strings.HasPrefix(got, "00-"+traceID) {
				t.Errorf("the Gateway got traceparent %q", got)
			}
			if !strings.Contains(b.logs.String(), `"trace_id":"`+traceID+`"`) {
				t.Error("the log does not name the trace")
			}
		})
	}
}

func hexOf(id []byte) string {
	const digits = "0123456789abcdef"
	var out strings.Builder
	for _, b := range id {
		out.WriteByte(digits[b>>4])
		out.WriteByte(digits[b&15])
	}
	return out.String()
}
