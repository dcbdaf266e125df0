// Package telemetry sends spans by OTLP over HTTP: one for each tool call and one for each account
// that it asks. Spans hold the tool, the account and how it ended; never arguments or results.
//
// The trace is the caller's, if an invocation names one, and goes on at the AWS MCP Server: Join, Inject.
// Both work when telemetry is off, too.
//
// It is off unless OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set; those and
// the other OTEL_ variables are read by the exporter. Requests to X-Ray's own OTLP endpoint,
// xray.<region>.amazonaws.com, are signed (service xray), as
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch-OTLPEndpoint.html asks.
//
// A Lambda is frozen between invocations, so the spans of a call are sent by Flush, in one request, bounded in
// time: a collector that doesn't answer costs the trace, not the query.
package telemetry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"regexp"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/central-ops/central-ops/services/bridge"
)

// patience bounds the sending of a call's spans.
const patience = 500 * time.Millisecond

// Tracer makes spans. It is safe for concurrent use.
type Tracer struct {
	tracer   trace.Tracer
	provider *sdktrace.TracerProvider // nil if off
}

// Off returns a tracer that does nothing.
func Off() *Tracer { return &Tracer{tracer: noop.NewTracerProvider().Tracer("bridge")} }

// New returns a tracer that sends spans through transport as the OTEL_ variables say. It touches no
// network.
func New(ctx context.Context, transport http.RoundTripper, credentials aws.CredentialsProvider, environment string) (*Tracer, error) {
	exporter, err := otlptracehttp.New(ctx,
		otlptracehttp.WithHTTPClient(&http.Client{Transport: signer{transport, credentials, v4.NewSigner()}}),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: false}))
	if err != nil {
		return nil, err
	}
	provider := sdktrace.NewTracerProvider(
		// Sent by Flush alone: a timer would fire in a frozen process.
		sdktrace.WithBatcher(exporter, sdktrace.WithBatchTimeout(time.Hour), sdktrace.WithMaxExportBatchSize(4096), sdktrace.WithMaxQueueSize(4096)),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "central-ops-bridge"), attribute.String("deployment.environment.name", environment))))
	return &Tracer{provider.Tracer("bridge"), provider}, nil
}

// Start begins the span of a tool call; the function ends it, with the tool's name and "" for a call
// that was answered.
func (t *Tracer) Start(ctx context.Context) (context.Context, func(tool string, code bridge.Code)) {
	ctx, span := t.tracer.Start(ctx, "tool call", trace.WithSpanKind(trace.SpanKindServer))
	return ctx, func(tool string, code bridge.Code) {
		span.SetAttributes(attribute.String("gen_ai.tool.name", tool))
		end(span, code)
	}
}

func end(span trace.Span, code bridge.Code) {
	if code != "" {
		span.SetAttributes(attribute.String("error.type", string(code)))
		span.SetStatus(codes.Error, string(code))
	}
	span.End()
}

// Flush sends what has been recorded. A failure is not reported: the trace is lost, nothing else.
func (t *Tracer) Flush(ctx context.Context) {
	if t.provider == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	_ = t.provider.ForceFlush(ctx)
}

// Asker wraps an asker with a span for each account.
func (t *Tracer) Asker(next bridge.Asker) bridge.Asker { return asker{next, t.tracer} }

type asker struct {
	next   bridge.Asker
	tracer trace.Tracer
}

func (a asker) Ask(ctx context.Context, person bridge.Person, account bridge.Account, ask bridge.Ask) (bridge.Report, error) {
	ctx, span := a.tracer.Start(ctx, "ask account", trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("cloud.account.id", string(account.ID)), attribute.String("rpc.method", ask.Operation.String()), attribute.Int("regions", len(ask.Regions))))
	report, err := a.next.Ask(ctx, person, account, ask)
	var code bridge.Code
	if err != nil {
		code = bridge.CodeOf(err)
	}
	end(span, code)
	return report, err
}

// xray matches the hosts that want requests signed.
var xray = regexp.MustCompile(`^xray\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?$`)

// signer signs requests to X-Ray and passes others on.
type signer struct {
	next        http.RoundTripper
	credentials aws.CredentialsProvider
	signer      *v4.Signer
}

func (s signer) RoundTrip(request *http.Request) (*http.Response, error) {
	match := xray.FindStringSubmatch(request.URL.Hostname())
	if match == nil {
		return s.next.RoundTrip(request)
	}
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return nil, err
	}
	request.Body.Close()
	signed := request.Clone(request.Context())
	signed.Body, signed.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	own, err := s.credentials.Retrieve(request.Context())
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256(body)
	if err := s.signer.SignHTTP(request.Context(), own, signed, hex.EncodeToString(hash[:]), "xray", match[1], time.Now()); err != nil {
		return nil, err
	}
	return s.next.RoundTrip(signed)
}
