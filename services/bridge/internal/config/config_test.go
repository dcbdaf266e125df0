package config

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/central-ops/central-ops/services/bridge"
)

var least = map[string]string{
	"TARGET_ACCOUNTS": `[{"id":"111111111111","name":"A"}]`, "TOKEN_ISSUER": "https://pool.example/p",
	"TOKEN_CLIENT_IDS": "a, b", "ACCESS_POLICY": "permit(principal,action,resource);", "AWS_REGION": "eu-west-1",
}

// with returns the least configuration with changes; "" takes a variable out.
func with(changes map[string]string) func(string) string {
	values := maps.Clone(least)
	maps.Copy(values, changes)
	return func(name string) string { return values[name] }
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	got, err := FromEnv(with(nil))
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Accounts: []bridge.Account{{ID: "111111111111", Name: "A"}}, TargetRoleName: "CentralOpsTargetRole", Environment: "dev",
		Endpoint: "https://aws-mcp.us-east-1.api.aws/mcp", SigningRegion: "us-east-1", TokenIssuer: "https://pool.example/p",
		TokenClientIDs: []string{"a", "b"}, TokenJWKSURL: "https://pool.example/p/.well-known/jwks.json",
		Policy: "permit(principal,action,resource);", Concurrency: 64, MaxBytes: 262144, Region: "eu-west-1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{"": "central-ops-dev", "dev": "central-ops-dev", "staging": "central-ops-staging", " prod ": "central-ops-prod"} {
		got, err := FromEnv(with(map[string]string{"ENVIRONMENT": value}))
		if err != nil || got.SessionName() != want {
			t.Errorf("%q: session name %q, want %q (%v)", value, got.SessionName(), want, err)
		}
	}
	for _, value := range []string{"moon", "Dev", "production"} {
		if got, err := FromEnv(with(map[string]string{"ENVIRONMENT": value})); err == nil {
			t.Errorf("%q was taken: %q", value, got.SessionName())
		}
	}
}

func TestConcurrencyFollowsMemory(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		memory, set string
		want        int
	}{{"", "", 64}, {"128", "", 64}, {"256", "", 128}, {"512", "", 256}, {"3008", "", 256}, {"512", "1", 1}, {"128", "256", 256}} {
		got, err := FromEnv(with(map[string]string{"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": c.memory, "FANOUT_CONCURRENCY": c.set}))
		if err != nil || got.Concurrency != c.want {
			t.Errorf("%s MB, set to %q: %d at a time, want %d (%v)", c.memory, c.set, got.Concurrency, c.want, err)
		}
	}
}

func TestSigningRegion(t *testing.T) {
	t.Parallel()
	for endpoint, want := range map[string]string{
		"https://aws-mcp.ap-southeast-2.api.aws/mcp": "ap-southeast-2",
		"http://127.0.0.1:1234/mcp":                  "eu-west-1", // the bridge's own
	} {
		got, err := FromEnv(with(map[string]string{"AWS_MCP_ENDPOINT": endpoint}))
		if err != nil || got.SigningRegion != want {
			t.Errorf("%s: %q, %v", endpoint, got.SigningRegion, err)
		}
	}
}

func TestFaultsNameVariableRuleAndValue(t *testing.T) {
	t.Parallel()
	for variable, value := range map[string]string{
		"TARGET_ACCOUNTS": `[{"id":"11"}]`, "ACCOUNTS_TABLE": "a b", "TARGET_ROLE_NAME": "a b", "ENVIRONMENT": "moon", "AWS_MCP_ENDPOINT": "ftp://x",
		"AWS_MCP_REGION": "moon", "TOKEN_ISSUER": "pool", "TOKEN_JWKS_URL": "keys", "SESSION_TABLE": "a b", "ALLOW_DATA_READS": "GetObject",
		"FANOUT_CONCURRENCY": "257", "RESULT_MAX_BYTES": "12", "LOG_LEVEL": "loud", "AWS_REGION": "moon", "OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4318",
	} {
		_, err := FromEnv(with(map[string]string{variable: value}))
		if err == nil || !strings.Contains(err.Error(), variable+":") && !strings.Contains(err.Error(), variable+",") {
			t.Errorf("%s=%s: %v", variable, value, err)
		}
	}
	_, err := FromEnv(with(map[string]string{"EXTERNAL_ID": "not so secret value"}))
	if err == nil || !strings.Contains(err.Error(), "EXTERNAL_ID") || strings.Contains(err.Error(), "secret value") {
		t.Errorf("EXTERNAL_ID: %v", err)
	}
}

func TestFaultsHoldNoPassword(t *testing.T) {
	t.Parallel()
	for _, variable := range []string{"AWS_MCP_ENDPOINT", "TOKEN_ISSUER", "TOKEN_JWKS_URL"} {
		_, err := FromEnv(with(map[string]string{variable: "https://user:hunter 2@host.example/"}))
		if err == nil || !strings.Contains(err.Error(), variable) || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%v", err)
		}
	}
}

// TestReadmeHasAllVariables holds the README's table against what is read.
func TestReadmeHasAllVariables(t *testing.T) {
	t.Parallel()
	read := map[string]bool{}
	_, _ = FromEnv(func(name string) string { // every variable is read, whatever the faults
		read[name] = true
		return ""
	})
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for line := range strings.SplitSeq(string(text), "\n") {
		if first, _, ok := strings.Cut(strings.TrimPrefix(line, "| "), " | "); ok && strings.HasPrefix(line, "| `") {
			for _, match := range regexp.MustCompile("`([A-Z_]+)`").FindAllStringSubmatch(first, -1) {
				documented[match[1]] = true
			}
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(read)), slices.Sorted(maps.Keys(documented))); diff != "" {
		t.Errorf("variables (-read +documented):\n%s", diff)
	}
}
