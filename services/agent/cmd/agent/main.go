// Command agent is the HTTP server in the Runtime's container. It takes its configuration from the
// environment (see the README of the module) and has no arguments.
//
// Exit status: 0 stopped by a signal, 1 failed, 2 wrong configuration.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	agent "github.com/central-ops/central-ops/services/agent"
	"github.com/central-ops/central-ops/services/agent/internal/config"
	"github.com/central-ops/central-ops/services/agent/internal/converse"
	"github.com/central-ops/central-ops/services/agent/internal/gateway"
	"github.com/central-ops/central-ops/services/agent/internal/httpapi"
	"github.com/central-ops/central-ops/services/agent/internal/identity"
	"github.com/central-ops/central-ops/services/agent/internal/telemetry"
	"github.com/central-ops/central-ops/services/agent/internal/workload"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcore"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/smithy-go/logging"
)

// version is the commit, set by the linker.
var version = "unknown"

func main() { os.Exit(run(context.Background(), os.Getenv, os.Stdout, os.Stderr)) }

// grace is how long running invocations may go on after a signal to stop. Containers commonly get 30 s
// before they are killed.
const grace = 20 * time.Second

func run(ctx context.Context, getenv func(string) string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	settings, err := config.FromEnv(getenv)
	if err != nil {
		fmt.Fprintf(stderr, "agent: wrong configuration:\n%v\n", err)
		return 2
	}
	log := slog.New(telemetry.Logs(slog.NewJSONHandler(stdout, &slog.HandlerOptions{Level: settings.LogLevel})))
	service, spans, err := build(ctx, settings, log)
	if err != nil {
		fmt.Fprintf(stderr, "agent: %v\n", err)
		return 1
	}
	defer func() {
		last, end := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer end()
		_ = spans.Shutdown(last) // what cannot be sent now is lost
	}()
	listener, err := net.Listen("tcp", ":"+strconv.Itoa(settings.Port))
	if err != nil {
		fmt.Fprintf(stderr, "agent: listen on PORT: %v\n", err)
		return 1
	}
	log.InfoContext(ctx, "agent listening", slog.String("address", listener.Addr().String()), slog.String("version", version),
		slog.String("model", settings.ModelID), slog.String("gateway_auth", settings.GatewayAuth))
	if err := serve(ctx, listener, service); err != nil {
		fmt.Fprintf(stderr, "agent: serve: %v\n", err)
		return 1
	}
	log.InfoContext(ctx, "agent stopped")
	return 0
}

// build wires the parts.
func build(ctx context.Context, settings config.Config, log *slog.Logger) (http.Handler, *telemetry.Telemetry, error) {
	sdk, err := awsconfig.LoadDefaultConfig(ctx,
		awsconfig.WithRegion(settings.Region),
		awsconfig.WithLogger(logging.Nop{}), // the SDK's own lines may quote requests
		awsconfig.WithRetryer(newRetryer),
	)
	if err != nil {
		return nil, nil, fmt.Errorf("AWS configuration: %w", err)
	}
	spans, err := telemetry.New(ctx, telemetry.Config{
		Endpoint: settings.TracesEndpoint, Version: version, ModelID: settings.ModelID, Region: settings.Region, Credentials: sdk.Credentials,
	})
	if err != nil {
		return nil, nil, err
	}
	model := converse.New(bedrockruntime.NewFromConfig(sdk, converse.SteadyBodies), converse.Config{
		ModelID: settings.ModelID, GuardrailID: settings.GuardrailID, GuardrailVersion: settings.GuardrailVersion,
	})

	gatewayConfig := gateway.Config{
		URL: settings.GatewayURL, ToolTimeout: settings.ToolTimeout, Version: version,
		Transport: spans.Transport(http.DefaultTransport),
	}
	newAuthorizer := func() gateway.Authorizer { return gateway.UserToken{} }
	if settings.GatewayAuth == config.AuthWorkload {
		identityClient := bedrockagentcore.NewFromConfig(sdk)
		newAuthorizer = func() gateway.Authorizer {
			return workload.New(identityClient, settings.OAuthProviderName, settings.OAuthScopes)
		}
	}
	newToolbox := func() agent.Toolbox { return spans.Toolbox(gateway.New(gatewayConfig, newAuthorizer())) }

	operator := agent.New(spans.Model(model), newToolbox, agent.Limits{
		MaxTurns: settings.MaxTurns, MaxToolCalls: settings.MaxToolCalls,
		MaxOutputTokens: settings.MaxOutputTokens, InvocationTimeout: settings.InvocationTimeout,
	}, log)
	verifier := identity.New(identity.Config{Issuer: settings.TokenIssuer, ClientIDs: settings.TokenClientIDs, JWKSURL: settings.TokenJWKSURL})
	api := httpapi.New(operator, verifier, httpapi.Config{
		Log:  log,
		Cost: func(usage agent.Usage) (float64, bool) { return agent.Cost(settings.ModelID, usage) },
	})
	return spans.Handler(api), spans, nil
}

// newRetryer retries refused requests with jittered back-off and slows down while Bedrock throttles.
func newRetryer() aws.Retryer {
	return retry.NewAdaptiveMode(func(options *retry.AdaptiveModeOptions) {
		options.StandardOptions = append(options.StandardOptions, converse.RetryOptions, func(standard *retry.StandardOptions) {
			standard.MaxAttempts = 5
			standard.MaxBackoff = 8 * time.Second
		})
	})
}

// serve answers until ctx ends, then lets running invocations finish within the grace and cancels the rest.
func serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	working, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	server := &http.Server{
		Handler:           handler,
		BaseContext:       func(net.Listener) context.Context { return working },
		ReadHeaderTimeout: 10 * time.Second,
		// No ReadTimeout: it would go on while a question is answered and then cancel it. The handler
		// bounds the reading of the body itself.
		// The handler sets its own deadline for each write; this one is for the answers of others, such as 404.
		WriteTimeout: time.Minute,
		IdleTimeout:  2 * time.Minute,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	graceful, end := context.WithTimeout(working, grace)
	defer end()
	err := server.Shutdown(graceful)
	if errors.Is(err, context.DeadlineExceeded) {
		cancel() // what is still running ends now, with an error to its client
		last, end := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer end()
		err = server.Shutdown(last)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return server.Close()
	}
	return err
}
