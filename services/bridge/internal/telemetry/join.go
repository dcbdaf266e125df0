package telemetry

import (
	"context"
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Join returns ctx in the trace that an invocation comes with: that of traceparent and tracestate
// (https://www.w3.org/TR/trace-context/), or else X-Ray's. What cannot be read is passed over.
//
// X-Ray's trace is joined only if it is sampled: Lambda sends Sampled=0 to each function whose own
// tracing is off, and the spans of such a call are to be sent all the same.
func Join(ctx context.Context, traceparent, tracestate, xray string) context.Context {
	joined := propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": traceparent, "tracestate": tracestate})
	if trace.SpanContextFromContext(joined).IsValid() {
		return joined
	}
	if parent := readXRay(xray); parent.IsValid() && parent.IsSampled() {
		return trace.ContextWithRemoteSpanContext(ctx, parent)
	}
	return ctx
}

// Inject sets the headers traceparent and tracestate if ctx is in a trace.
func Inject(ctx context.Context, headers http.Header) {
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(headers))
}

// readXRay reads X-Ray's trace header, Root=1-<8 hex>-<24 hex>;Parent=<16 hex>;Sampled=<0|1>; the result
// is not valid if that is not what it is.
// Source: https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader.
func readXRay(header string) trace.SpanContext {
	config := trace.SpanContextConfig{Remote: true}
	for field := range strings.SplitSeq(header, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		var err error
		switch name {
		case "Root":
			config.TraceID, err = trace.TraceIDFromHex(strings.ReplaceAll(strings.TrimPrefix(value, "1-"), "-", ""))
		case "Parent":
			config.SpanID, err = trace.SpanIDFromHex(value)
		case "Sampled":
			config.TraceFlags = config.TraceFlags.WithSampled(value == "1")
		}
		if err != nil {
			return trace.SpanContext{}
		}
	}
	return trace.NewSpanContext(config)
}
