// Package config reads the agent's configuration from its environment.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Authentication towards the Gateway.
const (
	AuthUser     = "user"     // the person's own token
	AuthWorkload = "workload" // an M2M token of the agent, with the person's token beside it
)

// Config is the agent's configuration. The variables named are those of the environment.
type Config struct {
	GatewayURL        string        // GATEWAY_URL: MCP endpoint; /mcp is appended if missing; required
	GatewayAuth       string        // GATEWAY_AUTH: AuthUser (default) or AuthWorkload
	OAuthProviderName string        // OAUTH_PROVIDER_NAME: credential provider; required with AuthWorkload
	OAuthScopes       []string      // OAUTH_SCOPES: separated by space or comma; may be empty
	Region            string        // AWS_REGION, else AWS_DEFAULT_REGION: where Bedrock is called; required
	ModelID           string        // MODEL_ID: inference profile id or ARN; default by Region, see DefaultModelID
	GuardrailID       string        // GUARDRAIL_ID: "" for none
	GuardrailVersion  string        // GUARDRAIL_VERSION: default DRAFT, with GUARDRAIL_ID
	MaxTurns          int           // MAX_TURNS: model turns of an invocation; default 10
	MaxToolCalls      int           // MAX_TOOL_CALLS: tool calls of an invocation; default 25
	MaxOutputTokens   int           // MAX_OUTPUT_TOKENS: output tokens of one turn; default 8192
	InvocationTimeout time.Duration // INVOCATION_TIMEOUT: wall time of an invocation; default 5m; at most 15m
	ToolTimeout       time.Duration // TOOL_TIMEOUT: one attempt at a tool call; default 40s
	Port              int           // PORT: default 8080; 0 takes a free one
	TokenIssuer       string        // TOKEN_ISSUER: "" to leave verification to the Runtime
	TokenClientIDs    []string      // TOKEN_CLIENT_IDS: separated by comma or space; empty for any
	TokenJWKSURL      string        // TOKEN_JWKS_URL: default the issuer's /.well-known/jwks.json
	TracesEndpoint    string        // OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, else OTEL_EXPORTER_OTLP_ENDPOINT; "" to record no traces
	LogLevel          slog.Level    // LOG_LEVEL: debug, info (default), warn, error
}

// maxInvocationTimeout is what the Runtime gives a synchronous request
// (https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/bedrock-agentcore-limits.html, read 2026-10).
const maxInvocationTimeout = 15 * time.Minute

// FromEnv reads the configuration through getenv. The error joins every fault found, each naming its
// variable, the rule and the value got; the configuration is then not to be used.
func FromEnv(getenv func(string) string) (Config, error) {
	r := reader{getenv: getenv}
	config := Config{
		GatewayURL:        r.gatewayURL("GATEWAY_URL"),
		GatewayAuth:       r.oneOf("GATEWAY_AUTH", AuthUser, AuthUser, AuthWorkload),
		OAuthProviderName: r.text("OAUTH_PROVIDER_NAME"),
		OAuthScopes:       r.list("OAUTH_SCOPES"),
		Region:            r.text("AWS_REGION"),
		ModelID:           r.text("MODEL_ID"),
		GuardrailID:       r.text("GUARDRAIL_ID"),
		GuardrailVersion:  r.text("GUARDRAIL_VERSION"),
		MaxTurns:          r.number("MAX_TURNS", 10, 1, 100),
		MaxToolCalls:      r.number("MAX_TOOL_CALLS", 25, 1, 1000),
		MaxOutputTokens:   r.number("MAX_OUTPUT_TOKENS", 8192, 1, 128_000),
		InvocationTimeout: r.duration("INVOCATION_TIMEOUT", 5*time.Minute, maxInvocationTimeout),
		ToolTimeout:       r.duration("TOOL_TIMEOUT", 40*time.Second, maxInvocationTimeout),
		Port:              r.number("PORT", 8080, 0, 65535),
		TokenIssuer:       r.url("TOKEN_ISSUER"),
		TokenClientIDs:    r.list("TOKEN_CLIENT_IDS"),
		TokenJWKSURL:      r.url("TOKEN_JWKS_URL"),
		LogLevel:          r.level("LOG_LEVEL"),
	}
	if !strings.EqualFold(r.text("OTEL_SDK_DISABLED"), "true") && r.text("OTEL_TRACES_EXPORTER") != "none" {
		config.TracesEndpoint = cmp.Or(r.endpoint("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), r.endpoint("OTEL_EXPORTER_OTLP_ENDPOINT"))
	}
	if config.Region == "" {
		config.Region = r.text("AWS_DEFAULT_REGION")
	}
	if config.Region == "" {
		r.fault("AWS_REGION", "is required: Bedrock is called in it", "")
	}
	if config.ModelID == "" {
		config.ModelID = DefaultModelID(config.Region)
	}
	if config.GatewayAuth == AuthWorkload && config.OAuthProviderName == "" {
		r.fault("OAUTH_PROVIDER_NAME", "is required with GATEWAY_AUTH=workload", "")
	}
	switch {
	case config.GuardrailID == "" && config.GuardrailVersion != "":
		r.fault("GUARDRAIL_VERSION", "is set without GUARDRAIL_ID", config.GuardrailVersion)
	case config.GuardrailID != "" && config.GuardrailVersion == "":
		config.GuardrailVersion = "DRAFT"
	}
	switch {
	case config.TokenIssuer == "" && (len(config.TokenClientIDs) > 0 || config.TokenJWKSURL != ""):
		r.fault("TOKEN_ISSUER", "is required with TOKEN_CLIENT_IDS or TOKEN_JWKS_URL, which alone verify nothing", "")
	case config.TokenIssuer != "" && config.TokenJWKSURL == "":
		config.TokenJWKSURL = strings.TrimSuffix(config.TokenIssuer, "/") + "/.well-known/jwks.json"
	}
	return config, errors.Join(r.faults...)
}

// DefaultModelID is the Sonnet 5 inference profile of the Region's geography, so that data stays in it;
// the global one where there is none. Sonnet 5 can only be used through a profile
// (https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html, read 2026-10).
func DefaultModelID(region string) string {
	const model = "anthropic.claude-sonnet-5"
	switch {
	case strings.HasPrefix(region, "us-"):
		return "us." + model
	case strings.HasPrefix(region, "eu-"):
		return "eu." + model
	case region == "ap-southeast-2" || region == "ap-southeast-4":
		return "au." + model
	}
	return "global." + model
}

// reader collects faults.
type reader struct {
	getenv func(string) string
	faults []error
}

// fault notes that a variable breaks a rule. got is "" when the variable is empty.
func (r *reader) fault(name, rule, got string) {
	if got == "" {
		r.faults = append(r.faults, fmt.Errorf("%s: %s", name, rule))
		return
	}
	r.faults = append(r.faults, fmt.Errorf("%s: %s, got %q", name, rule, got))
}

func (r *reader) text(name string) string { return strings.TrimSpace(r.getenv(name)) }

func (r *reader) list(name string) []string {
	items := strings.FieldsFunc(r.getenv(name), func(c rune) bool { return c == ',' || c == ' ' || c == '\t' || c == '\n' })
	if items == nil {
		items = []string{} // AgentCore Identity wants a list of scopes, be it empty
	}
	return items
}

func (r *reader) oneOf(name, fallback string, allowed ...string) string {
	value := r.text(name)
	if value == "" {
		return fallback
	}
	for _, candidate := range allowed {
		if value == candidate {
			return value
		}
	}
	r.fault(name, "must be one of "+strings.Join(allowed, ", "), value)
	return fallback
}

func (r *reader) number(name string, fallback, least, most int) int {
	value := r.text(name)
	if value == "" {
		return fallback
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		r.fault(name, fmt.Sprintf("must be a whole number from %d to %d", least, most), value)
		return fallback
	}
	return n
}

func (r *reader) duration(name string, fallback, most time.Duration) time.Duration {
	value := r.text(name)
	if value == "" {
		return fallback
	}
	d, err := time.ParseDuration(value)
	if err != nil || d <= 0 || d > most {
		r.fault(name, fmt.Sprintf("must be a duration such as 30s, above 0 and at most %s", most), value)
		return fallback
	}
	return d
}

func (r *reader) level(name string) slog.Level {
	switch value := strings.ToLower(r.text(name)); value {
	case "", "info":
		return slog.LevelInfo
	case "debug":
		return slog.LevelDebug
	case "warn", "warning":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	default:
		r.fault(name, "must be one of debug, info, warn, error", value)
		return slog.LevelInfo
	}
}

// url reads an absolute URL. Plain http is for loopback only: tokens and keys travel on it.
func (r *reader) url(name string) string {
	value := r.text(name)
	if value == "" {
		return ""
	}
	const rule = "must be an https URL without user or fragment (http is accepted for loopback)"
	parsed, err := url.Parse(value)
	if err != nil || parsed.Host == "" || parsed.User != nil || parsed.Fragment != "" {
		r.faults = append(r.faults, fmt.Errorf("%s: %s", name, rule)) // the value may hold a password
		return ""
	}
	if parsed.Scheme != "https" && (parsed.Scheme != "http" || !loopback(parsed.Hostname())) {
		r.fault(name, rule, parsed.Redacted())
		return ""
	}
	return value
}

// endpoint reads the URL of a collector. Spans hold no secrets, so plain http is accepted; what is no URL the
// OpenTelemetry SDK would replace by its default without a word.
func (r *reader) endpoint(name string) string {
	value := r.text(name)
	if value == "" {
		return ""
	}
	parsed, err := url.Parse(value)
	if err != nil || parsed.Host == "" || parsed.Scheme != "https" && parsed.Scheme != "http" {
		r.faults = append(r.faults, fmt.Errorf("%s: must be an http or https URL", name)) // the value may hold a password
		return ""
	}
	return value
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func (r *reader) gatewayURL(name string) string {
	if r.text(name) == "" {
		r.fault(name, "is required: the MCP endpoint of the Gateway", "")
		return ""
	}
	value := r.url(name)
	parsed, err := url.Parse(value)
	if value == "" || err != nil {
		return ""
	}
	parsed.Path = strings.TrimRight(parsed.Path, "/")
	if !strings.HasSuffix(parsed.Path, "/mcp") {
		parsed.Path += "/mcp"
	}
	return parsed.String()
}
