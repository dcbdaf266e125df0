// Package telemetry gives an invocation one trace: a server span around it, a span for each model turn
// and one for each tool call, whose context travels on to the Gateway.
//
// Spans go out by OTLP over HTTP. CloudWatch's endpoint (https://xray.{region}.amazonaws.com/v1/traces)
// wants SigV4 for the service xray, everything else gets plain HTTP
// (https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch-OTLPEndpoint.html, read 2026-10).
// Endpoint, headers, sampler and resource attributes are read by the OpenTelemetry SDK from its standard
// OTEL_* variables. Without an endpoint nothing is recorded.
//
// The trace context comes in as traceparent or X-Amzn-Trace-Id, and goes out as traceparent.
//
// Attributes follow the gen_ai conventions. Prompts, tool arguments and results are never among them.
package telemetry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	agent "github.com/central-ops/central-ops/services/agent"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Config says where spans go.
type Config struct {
	Endpoint    string // the OTLP endpoint, for the choice of signing; "" to record nothing
	Version     string // of the agent
	ModelID     string
	Region      string // signing Region, if the endpoint's host does not name it
	Credentials aws.CredentialsProvider
}

// Telemetry makes spans. Its zero value is not usable; see New.
type Telemetry struct {
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
	provider   *sdktrace.TracerProvider // nil when nothing is recorded
	modelID    string
}

// New returns a Telemetry. Nothing is sent before the first span.
func New(ctx context.Context, config Config) (*Telemetry, error) {
	t := &Telemetry{
		tracer: noop.NewTracerProvider().Tracer("agent"),
		// The last one that finds something wins: traceparent before X-Amzn-Trace-Id.
		propagator: propagation.NewCompositeTextMapPropagator(xray{}, propagation.TraceContext{}),
		modelID:    config.ModelID,
	}
	if config.Endpoint == "" {
		return t, nil
	}
	var options []otlptracehttp.Option
	if region, ok := awsRegion(config.Endpoint, config.Region); ok {
		options = append(options, otlptracehttp.WithHTTPClient(&http.Client{
			Timeout:   10 * time.Second,
			Transport: &signer{base: http.DefaultTransport, region: region, credentials: config.Credentials, signer: v4.NewSigner()},
		}))
	}
	exporter, err := otlptracehttp.New(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("OTLP exporter: %w", err)
	}
	described, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "central-ops-agent"), attribute.String("service.version", config.Version)),
		resource.WithFromEnv(), // OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME win
	)
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	t.provider = sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(described))
	t.tracer = t.provider.Tracer("github.com/central-ops/central-ops/services/agent")
	return t, nil
}

// Shutdown sends what is left.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	if t.provider == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}

// flushTimeout bounds sending the spans of an invocation.
const flushTimeout = 3 * time.Second

// flush sends the spans now: the microVM may stop after an invocation without notice. It does not hold up
// the answer.
func (t *Telemetry) flush() {
	if t.provider == nil {
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
		defer cancel()
		_ = t.provider.ForceFlush(ctx) // spans that cannot be sent are lost, which costs nobody an answer
	}()
}

// Handler wraps the server.
func (t *Telemetry) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/invocations" {
			next.ServeHTTP(w, r)
			return
		}
		ctx := t.propagator.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		ctx, span := t.tracer.Start(ctx, "POST /invocations", trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
			attribute.String("http.request.method", "POST"),
			attribute.String("http.route", "/invocations"),
			attribute.String("session.id", r.Header.Get("X-Amzn-Bedrock-AgentCore-Runtime-Session-Id")),
		))
		defer t.flush()
		defer span.End()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// Transport wraps an HTTP client so that its requests carry the trace context.
func (t *Telemetry) Transport(base http.RoundTripper) http.RoundTripper {
	return carrier{base: base, propagator: t.propagator}
}

type carrier struct {
	base       http.RoundTripper
	propagator propagation.TextMapPropagator
}

func (c carrier) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	c.propagator.Inject(r.Context(), propagation.HeaderCarrier(r.Header))
	return c.base.RoundTrip(r)
}

// Model wraps a model so that each turn is a span.
func (t *Telemetry) Model(next agent.Model) agent.Model { return model{next: next, telemetry: t} }

type model struct {
	next      agent.Model
	telemetry *Telemetry
}

func (m model) Generate(ctx context.Context, request agent.Request, onText func(string)) (agent.Turn, error) {
	ctx, span := m.telemetry.tracer.Start(ctx, "chat "+m.telemetry.modelID, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("gen_ai.operation.name", "chat"),
		attribute.String("gen_ai.provider.name", "aws.bedrock"),
		attribute.String("gen_ai.request.model", m.telemetry.modelID),
		attribute.Int("gen_ai.request.max_tokens", request.MaxOutputTokens),
	))
	defer span.End()
	turn, err := m.next.Generate(ctx, request, onText)
	span.SetAttributes(
		attribute.StringSlice("gen_ai.response.finish_reasons", []string{string(turn.Stop)}),
		attribute.Int64("gen_ai.usage.input_tokens", turn.Usage.InputTokens),
		attribute.Int64("gen_ai.usage.output_tokens", turn.Usage.OutputTokens),
		attribute.Int64("gen_ai.usage.cache_read.input_tokens", turn.Usage.CacheReadTokens),
	)
	fail(span, err)
	return turn, err
}

// Toolbox wraps a toolbox so that each call is a span.
func (t *Telemetry) Toolbox(next agent.Toolbox) agent.Toolbox {
	return toolbox{Toolbox: next, telemetry: t}
}

type toolbox struct {
	agent.Toolbox
	telemetry *Telemetry
}

func (b toolbox) Tools(ctx context.Context, caller agent.Caller) ([]agent.Tool, error) {
	ctx, span := b.telemetry.tracer.Start(ctx, "tools/list", trace.WithSpanKind(trace.SpanKindClient))
	defer span.End()
	tools, err := b.Toolbox.Tools(ctx, caller)
	fail(span, err)
	return tools, err
}

func (b toolbox) Call(ctx context.Context, caller agent.Caller, call agent.ToolCall) (agent.ToolOutput, error) {
	ctx, span := b.telemetry.tracer.Start(ctx, "execute_tool "+call.Name, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("gen_ai.operation.name", "execute_tool"),
		attribute.String("gen_ai.tool.name", call.Name),
		attribute.String("gen_ai.tool.call.id", call.ID),
	))
	defer span.End()
	output, err := b.Toolbox.Call(ctx, caller, call)
	fail(span, err)
	return output, err
}

// fail marks a span with an error's code; its text may hold more than a trace should.
func fail(span trace.Span, err error) {
	if err == nil {
		return
	}
	code := string(agent.AsError(err).Code)
	span.SetStatus(codes.Error, code)
	span.SetAttributes(attribute.String("error.type", code))
}

// Logs wraps a handler so that lines written inside a span carry its trace id.
func Logs(next slog.Handler) slog.Handler { return logs{next} }

type logs struct{ slog.Handler }

func (l logs) Handle(ctx context.Context, record slog.Record) error {
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		record.AddAttrs(slog.String("trace_id", span.TraceID().String()))
	}
	return l.Handler.Handle(ctx, record)
}

func (l logs) WithAttrs(attributes []slog.Attr) slog.Handler {
	return logs{l.Handler.WithAttrs(attributes)}
}

func (l logs) WithGroup(name string) slog.Handler { return logs{l.Handler.WithGroup(name)} }

// awsRegion reports whether an endpoint is AWS's, and in which Region: the host is
// xray.{region}.amazonaws.com.
func awsRegion(endpoint, fallback string) (string, bool) {
	host := endpoint
	if _, rest, found := strings.Cut(host, "://"); found {
		host = rest
	}
	host, _, _ = strings.Cut(host, "/")
	host, _, _ = strings.Cut(host, ":")
	name, found := strings.CutSuffix(host, ".amazonaws.com")
	if !found {
		return "", false
	}
	if _, region, found := strings.Cut(name, "."); found {
		return region, true
	}
	return fallback, true
}

// signer signs requests for the service xray.
type signer struct {
	base        http.RoundTripper
	region      string
	credentials aws.CredentialsProvider
	signer      *v4.Signer
}

func (s *signer) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	credentials, err := s.credentials.Retrieve(r.Context())
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
	sum := sha256.Sum256(body)
	if err := s.signer.SignHTTP(r.Context(), credentials, r, hex.EncodeToString(sum[:]), "xray", s.region, time.Now()); err != nil {
		return nil, err
	}
	return s.base.RoundTrip(r)
}
