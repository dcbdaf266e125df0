package config

import (
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func env(pairs ...string) func(string) string {
	values := make(map[string]string)
	for i := 0; i < len(pairs); i += 2 {
		values[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return values[name] }
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	got, err := FromEnv(env("GATEWAY_URL", "https://gw.example/", "AWS_REGION", "eu-west-1"))
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		GatewayURL: "https://gw.example/mcp", GatewayAuth: "user", OAuthScopes: []string{}, Region: "eu-west-1",
		ModelID: "eu.anthropic.claude-sonnet-5", MaxTurns: 10, MaxToolCalls: 25, MaxOutputTokens: 8192,
		InvocationTimeout: 5 * time.Minute, ToolTimeout: 40 * time.Second, Port: 8080, TokenClientIDs: []string{}, LogLevel: slog.LevelInfo,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("FromEnv mismatch (-want +got):\n%s", diff)
	}
}

func TestGatewayURL(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"https://gw.example":           "https://gw.example/mcp",
		"https://gw.example/mcp":       "https://gw.example/mcp",
		"https://gw.example/mcp/":      "https://gw.example/mcp",
		"http://127.0.0.1:9":           "http://127.0.0.1:9/mcp",
		"http://[::1]:9/x":             "http://[::1]:9/x/mcp",
		"http://gw.example":            "",
		"gw.example":                   "",
		"https://user:pw@gw.example":   "",
		"https://gw.example/#fragment": "",
	} {
		got, err := FromEnv(env("GATEWAY_URL", given, "AWS_REGION", "us-east-1"))
		if got.GatewayURL != want || (err == nil) != (want != "") {
			t.Errorf("GATEWAY_URL=%s: %q, %v; want %q", given, got.GatewayURL, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "pw") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

func TestEveryFaultIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := FromEnv(env(
		"GATEWAY_AUTH", "none", "MAX_TURNS", "0", "MAX_TOOL_CALLS", "many", "MAX_OUTPUT_TOKENS", "-1", "INVOCATION_TIMEOUT", "90",
		"TOOL_TIMEOUT", "0s", "PORT", "99999", "TOKEN_CLIENT_IDS", "a", "LOG_LEVEL", "loud", "GUARDRAIL_VERSION", "1",
		"OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4318",
	))
	if err == nil {
		t.Fatal("no error")
	}
	for _, name := range []string{
		"GATEWAY_URL", "GATEWAY_AUTH", "MAX_TURNS", "MAX_TOOL_CALLS", "MAX_OUTPUT_TOKENS", "INVOCATION_TIMEOUT", "TOOL_TIMEOUT", "PORT", "TOKEN_ISSUER", "LOG_LEVEL", "GUARDRAIL_VERSION",
		"AWS_REGION", "OTEL_EXPORTER_OTLP_ENDPOINT",
	} {
		if !strings.Contains(err.Error(), name+": ") {
			t.Errorf("%s is not reported in:\n%v", name, err)
		}
	}
	if _, err := FromEnv(env("GATEWAY_URL", "https://gw.example", "GATEWAY_AUTH", "workload")); err == nil || !strings.Contains(err.Error(), "OAUTH_PROVIDER_NAME: ") {
		t.Errorf("workload mode without a provider: %v", err)
	}
}

func TestDefaultModelID(t *testing.T) {
	t.Parallel()
	for region, want := range map[string]string{
		"us-west-2": "us.", "eu-central-1": "eu.", "ap-southeast-2": "au.", "ap-northeast-1": "global.", "": "global.",
	} {
		if got := DefaultModelID(region); got != want+"anthropic.claude-sonnet-5" {
			t.Errorf("DefaultModelID(%q) = %s, want %s…", region, got, want)
		}
	}
}

// Every variable that is read stands in the README's table, and every one in the table is read, but for those of the SDKs.
func TestVariablesAreReadAndDocumented(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	read := make(map[string]bool)
	_, _ = FromEnv(func(name string) string { read[name] = true; return "" }) // only what is read matters here
	for name := range read {
		if !strings.Contains(string(readme), name) {
			t.Errorf("%s is read but not in the README", name)
		}
	}
	_, table, found := strings.Cut(string(readme), "\n| variable |")
	table, _, _ = strings.Cut(table, "\n\n")
	names := regexp.MustCompile(`(?m)^\| (.*?) \|`).FindAllStringSubmatch(table, -1)
	if !found || len(names) < 10 {
		t.Fatalf("the README has no table of variables: %q", table)
	}
	for _, cell := range names {
		for _, name := range regexp.MustCompile("`([A-Z_]+)`").FindAllStringSubmatch(cell[1], -1) {
			if !read[name[1]] && !strings.HasPrefix(name[1], "AWS_ENDPOINT_URL_") {
				t.Errorf("%s is in the README but not read", name[1])
			}
		}
	}
}
