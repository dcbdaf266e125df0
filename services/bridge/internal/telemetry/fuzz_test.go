package telemetry

import (
	"testing"

	"go.opentelemetry.io/otel/trace"
)

// FuzzJoin holds that trace headers, whatever they are, lead into a valid trace or into none.
func FuzzJoin(f *testing.F) {
	f.Add("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "vendor=1", "")
	f.Add("", "", "Root=1-67891233-abcdef012345678912345678;Parent=463ac35c9f6413ad;Sampled=1")
	f.Add("00-00000000000000000000000000000000-0000000000000000-01", "a=b,a=c", "Root=;Parent=;Sampled=1;")
	f.Add("ff-x", "=", "Root=1-1-1;;=;Parent=-")
	f.Fuzz(func(t *testing.T, parent, state, xray string) {
		joined := trace.SpanContextFromContext(Join(t.Context(), parent, state, xray))
		if !joined.IsValid() && (joined.HasTraceID() || joined.HasSpanID()) {
			t.Errorf("half a trace: %v", joined)
		}
		if joined.IsValid() && !joined.IsRemote() {
			t.Errorf("a trace that nobody sent: %v", joined)
		}
	})
}
