package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/central-ops/central-ops/services/bridge"
	"github.com/central-ops/central-ops/services/bridge/internal/accounts"
	"github.com/central-ops/central-ops/services/bridge/internal/ask"
	"github.com/central-ops/central-ops/services/bridge/internal/assume"
	"github.com/central-ops/central-ops/services/bridge/internal/audit"
	"github.com/central-ops/central-ops/services/bridge/internal/awsmcp"
	"github.com/central-ops/central-ops/services/bridge/internal/config"
	"github.com/central-ops/central-ops/services/bridge/internal/extension"
	"github.com/central-ops/central-ops/services/bridge/internal/identity"
	"github.com/central-ops/central-ops/services/bridge/internal/lambdaapi"
	"github.com/central-ops/central-ops/services/bridge/internal/operations"
	"github.com/central-ops/central-ops/services/bridge/internal/policy"
	"github.com/central-ops/central-ops/services/bridge/internal/room"
	"github.com/central-ops/central-ops/services/bridge/internal/rows"
	"github.com/central-ops/central-ops/services/bridge/internal/sessions"
	"github.com/central-ops/central-ops/services/bridge/internal/source"
	"github.com/central-ops/central-ops/services/bridge/internal/telemetry"
)

const (
	// perAccount is the most time for one account: a sandbox that has to be started takes 9 to 15 s.
	perAccount = 24 * time.Second
	// warming bounds what is done ahead of the first call.
	warming = 10 * time.Second
)

// program is the bridge, wired.
type program struct {
	handler  *lambdaapi.Handler
	hub      *awsmcp.Hub
	verifier *identity.Verifier
	sts      *sts.Client
	tracer   *telemetry.Tracer
	after    *extension.Extension // nil: spans are sent before answers
	logger   *slog.Logger
}

// check returns the faults of c that only the policy language and the operation table show.
func check(c config.Config, table *operations.Table) error {
	var faults []error
	if c.Policy != "" {
		if _, err := policy.Parse(c.Policy); err != nil {
			faults = append(faults, fmt.Errorf("ACCESS_POLICY: %w", err))
		}
	}
	for _, read := range c.AllowDataReads {
		if err := checkDataRead(table, read); err != nil {
			faults = append(faults, fmt.Errorf("ALLOW_DATA_READS: %w", err))
		}
	}
	return errors.Join(faults...)
}

// wire makes the parts. It reads local files and asks Lambda's own API at most, never the network.
func wire(ctx context.Context, c config.Config, table *operations.Table, logs io.Writer) (*program, error) {
	// What costs the first call some 10 ms of computing is done now: Lambda gives a start more of the
	// processor than a call.
	var ahead sync.WaitGroup
	ahead.Go(func() { table.Decode("ec2") })
	ahead.Go(func() { _, _ = x509.SystemCertPool() }) // crypto/x509 keeps it; a handshake reports what is wrong with it
	defer ahead.Wait()

	logger := slog.New(requestHandler{slog.NewJSONHandler(logs, &slog.HandlerOptions{Level: c.LogLevel})}).
		With("environment", c.Environment)

	sdk, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRegion(c.Region))
	if err != nil {
		return nil, fmt.Errorf("read AWS configuration: %w", err)
	}
	// One pool for all hops, as large as the fan-out, so that no connection is made twice; with the
	// SDK's settings for AWS_CA_BUNDLE and proxies.
	base, ok := sdk.HTTPClient.(*awshttp.BuildableClient)
	if !ok {
		base = awshttp.NewBuildableClient()
	}
	base = base.WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConns = 0
		t.MaxIdleConnsPerHost = c.Concurrency
		t.MaxConnsPerHost = c.Concurrency
		t.IdleConnTimeout = 5 * time.Minute
		t.ForceAttemptHTTP2 = true
		t.HTTP2 = &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 3 * time.Second, MaxReceiveBufferPerStream: unread}
	})
	sdk.HTTPClient = base
	client := &http.Client{Transport: base.GetTransport(), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

	policies, err := accessPolicy(c, ssm.NewFromConfig(sdk), s3.NewFromConfig(sdk, func(o *s3.Options) { o.UsePathStyle = usePathStyle(o) }), logger)
	if err != nil {
		return nil, err
	}
	database := dynamodb.NewFromConfig(sdk)
	var directory bridge.Directory = accounts.Fixed(c.Accounts)
	leftOut := func() []string { return nil }
	if c.AccountsTable != "" {
		table := accounts.NewTable(database, c.AccountsTable, logger)
		directory, leftOut = table, table.Notes
	}
	var shared awsmcp.Sessions
	if c.SessionTable != "" {
		shared = sessions.New(database, c.SessionTable)
	}
	answers := room.New(roomOf(c.MemoryMB, c.Concurrency))
	upstream := awsmcp.New(client, shared, logger, awsmcp.Config{Endpoint: c.Endpoint, Region: c.SigningRegion, Trace: telemetry.Inject, Room: answers.Take})
	tokens := sts.NewFromConfig(sdk)
	roles := assume.New(tokens, assume.Config{
		Partition: partition(c.Region), RoleName: c.TargetRoleName, SessionName: c.SessionName(), ExternalID: c.ExternalID})

	tracer := telemetry.Off()
	if c.Tracing {
		if tracer, err = telemetry.New(ctx, base.GetTransport(), sdk.Credentials, c.Environment); err != nil {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_ENDPOINT: %w", err)
		}
	}
	hub := awsmcp.NewHub(upstream, sdk.Credentials, c.Region, logger)
	verifier := identity.New(client, identity.Config{Issuer: c.TokenIssuer, ClientIDs: c.TokenClientIDs, JWKSURL: c.TokenJWKSURL})
	core := bridge.New(directory, policies, newCatalog(table, c.AllowDataReads), rows.Compile,
		tracer.Asker(ask.New(roles, sandbox{upstream}, logger)), audit.New(logger), bridge.Config{
			Home: c.Region, Concurrency: c.Concurrency, PerAccount: perAccount, MaxBytes: c.MaxBytes, Notes: notes(leftOut, driftNotes(upstream)), Encode: encodeJSON, Enter: answers.Enter})
	p := &program{handler: lambdaapi.New(verifier, core, hub, logger, encodeJSON, c.MaxBytes), hub: hub, verifier: verifier, sts: tokens, tracer: tracer, logger: logger}
	if c.Tracing {
		p.sendSpansAfterAnswers(ctx, c.RuntimeAPI)
	}
	return p, nil
}

// sendSpansAfterAnswers makes the process an extension of its own function, so that nobody waits for the collector. A runtime API
// without extensions leaves things as they are: spans are sent before the answer.
func (p *program) sendSpansAfterAnswers(ctx context.Context, runtimeAPI string) {
	registered, err := extension.Register(ctx, runtimeAPI)
	if err != nil {
		p.logger.DebugContext(ctx, "spans are sent before answers", "error", err)
		return
	}
	p.after = registered
	go func() {
		if err := registered.Run(ctx, p.tracer.Flush); ctx.Err() == nil {
			p.logger.WarnContext(ctx, "extension ended, spans are sent before answers", "error", err)
		}
	}()
}

// Invoke implements lambda.Handler on the event's bytes, so that one which encoding/json does not take,
// such as objects nested deeper than it goes, is answered like other bad input.
func (p *program) Invoke(ctx context.Context, event []byte) ([]byte, error) {
	from := lambdaapi.TraceOf(ctx)
	ctx, end := p.tracer.Start(telemetry.Join(ctx, from.Parent, from.State, from.XRay))
	answer, outcome, err := p.handler.Handle(ctx, event)
	end(outcome.Tool, outcome.Code)
	if p.after == nil || !p.after.Answered(requestID(ctx)) {
		p.tracer.Flush(ctx)
	}
	return answer, err
}

// requestID is Lambda's id of the invocation that ctx belongs to; "" outside of one.
func requestID(ctx context.Context) string {
	if lambda, ok := lambdacontext.FromContext(ctx); ok {
		return lambda.AwsRequestID
	}
	return ""
}

// warm fetches what the first call would wait for, and checks the upstream's tools.
func (p *program) warm(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, warming)
	defer cancel()
	var all sync.WaitGroup
	all.Go(func() {
		if err := p.verifier.Warm(ctx); err != nil {
			p.logger.WarnContext(ctx, "user pool keys not read ahead", "code", bridge.CodeOf(err), "error", err)
		}
	})
	all.Go(func() {
		// Anybody may ask this; what is wanted is the connection, so whatever the answer, it is not asked again.
		once := func(o *sts.Options) { o.RetryMaxAttempts = 1 }
		if _, err := p.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}, once); err != nil {
			p.logger.DebugContext(ctx, "connection to STS not opened ahead", "error", err)
		}
	})
	all.Go(func() { p.hub.CheckTools(ctx) })
	all.Wait()
}

func accessPolicy(c config.Config, parameters source.SSM, objects source.S3, logger *slog.Logger) (bridge.Policies, error) {
	if c.Policy != "" {
		policies, err := policy.Parse(c.Policy)
		if err != nil {
			return nil, fmt.Errorf("ACCESS_POLICY: %w", err)
		}
		return policies, nil
	}
	return policy.Load(func(ctx context.Context) (string, error) {
		return source.Read(ctx, parameters, objects, c.PolicyParameter)
	}, logger), nil
}

// usePathStyle says whether S3 is somewhere that has no host name per bucket.
func usePathStyle(o *s3.Options) bool { return o.BaseEndpoint != nil }

func partition(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	default:
		return "aws"
	}
}

// requestHandler adds the Lambda request id to each line.
type requestHandler struct{ slog.Handler }

func (h requestHandler) Handle(ctx context.Context, record slog.Record) error {
	if id := requestID(ctx); id != "" {
		record.AddAttrs(slog.String("invocation", id))
	}
	return h.Handler.Handle(ctx, record)
}

func (h requestHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return requestHandler{h.Handler.WithAttrs(attrs)}
}

func (h requestHandler) WithGroup(name string) slog.Handler {
	return requestHandler{h.Handler.WithGroup(name)}
}
