package telemetry

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// xrayHeader is X-Ray's own trace header: Root=1-<8 hex>-<24 hex>;Parent=<16 hex>;Sampled=<0|1>
// (https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader, read 2026-10).
const xrayHeader = "X-Amzn-Trace-Id"

// xray reads the trace context from X-Ray's header. OpenTelemetry's own package for it is no longer kept.
// It writes nothing: what the agent calls understands traceparent.
type xray struct{}

var _ propagation.TextMapPropagator = xray{}

// Extract implements propagation.TextMapPropagator.
func (xray) Extract(ctx context.Context, carrier propagation.TextMapCarrier) context.Context {
	var config trace.SpanContextConfig
	for field := range strings.SplitSeq(carrier.Get(xrayHeader), ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		var err error
		switch name {
		case "Root":
			value, _ = strings.CutPrefix(value, "1-")
			config.TraceID, err = trace.TraceIDFromHex(strings.ReplaceAll(value, "-", ""))
		case "Parent":
			config.SpanID, err = trace.SpanIDFromHex(value)
		case "Sampled":
			config.TraceFlags = config.TraceFlags.WithSampled(value == "1")
		}
		if err != nil {
			return ctx
		}
	}
	config.Remote = true
	if parent := trace.NewSpanContext(config); parent.IsValid() {
		return trace.ContextWithRemoteSpanContext(ctx, parent)
	}
	return ctx
}

// Inject implements propagation.TextMapPropagator.
func (xray) Inject(context.Context, propagation.TextMapCarrier) {}

// Fields implements propagation.TextMapPropagator.
func (xray) Fields() []string { return []string{xrayHeader} }
