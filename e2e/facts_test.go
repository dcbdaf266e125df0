package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/central-ops/central-ops/e2e"
	"github.com/google/go-cmp/cmp"
)

func TestReadFactsReportsEveryFault(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "facts.json")
	if err := os.WriteFile(path, []byte(`{"ops":{"username":"ada"},"viewer":{"username":"bob"},"regions":["us-east-1"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := e2e.ReadFacts(path, func(string) string { return "" })
	if err == nil {
		t.Fatal("ReadFacts took them")
	}
	for _, want := range []string{"E2E_OPS_PASSWORD", "E2E_VIEWER_PASSWORD", "accounts: must", `got ["us-east-1"]`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %s:\n%v", want, err)
		}
	}
	if err := os.WriteFile(path, []byte(`{"opps":{}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := e2e.ReadFacts(path, os.Getenv); err == nil || !strings.Contains(err.Error(), `"opps"`) {
		t.Errorf("a member that is not known: %v, want an error that names it", err)
	}
}

// The names of the outputs are those that docs/deploy.md lists and infra exports.
func TestParseStack(t *testing.T) {
	t.Parallel()
	outputs := map[string]string{
		"region": "eu-west-1", "userPoolId": "pool", "userPoolClientId": "client", "hostedUiUrl": "https://pages", "runtimeUrl": "https://runtime", "runtimeArn": "arn:runtime/a",
		"runtimeQualifier": "live", "gatewayUrl": "https://gateway/mcp", "gatewayAuth": "workload", "discoveryUrl": "https://discovery", "mcpEndpoint": "https://mcp", "targetRoleName": "Role",
	}
	page, program := readTree(t, "docs/deploy.md"), readTree(t, "infra/environment.go")
	text := "{"
	for name, value := range outputs {
		text += `"` + name + `":"` + value + `",`
		if !strings.Contains(page, "`"+name+"`") || !strings.Contains(program, `"`+name+`"`) {
			t.Errorf("output %s: is not in docs/deploy.md and infra/environment.go", name)
		}
	}
	got, err := e2e.ParseStack("dev", []byte(text+`"imageUri":"image"}`))
	if err != nil {
		t.Fatal(err)
	}
	want := e2e.Stack{
		Name: "dev", Region: "eu-west-1", UserPoolID: "pool", ClientID: "client", HostedUI: "https://pages", RuntimeURL: "https://runtime", RuntimeARN: "arn:runtime/a",
		Qualifier: "live", GatewayURL: "https://gateway/mcp", GatewayAuth: "workload", DiscoveryURL: "https://discovery", MCPEndpoint: "https://mcp", TargetRole: "Role",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ParseStack mismatch (-want +got):\n%s", diff)
	}
	if address := got.InvocationsURL(); address != "https://runtime/runtimes/arn%3Aruntime%2Fa/invocations?qualifier=live" {
		t.Errorf("InvocationsURL = %s", address)
	}
	if _, err := e2e.ParseStack("dev", []byte(`{"region":"eu-west-1"}`)); err == nil || !strings.Contains(err.Error(), "runtimeArn: is missing") {
		t.Errorf("outputs that are missing: %v", err)
	}
}

// The client takes a stack for a profile, and refuses members that it does not know.
func TestStackIsAProfile(t *testing.T) {
	t.Parallel()
	u := newUserOf(t, e2e.Stack{
		Name: "dev", Region: "eu-west-1", UserPoolID: "eu-west-1_pool", ClientID: "client", CognitoEndpoint: "https://cognito", HostedUI: "https://pages",
		RuntimeURL: "https://runtime", RuntimeARN: "arn:aws:bedrock-agentcore:eu-west-1:111111111111:runtime/a", Qualifier: "live",
		GatewayURL: "https://gateway/mcp", GatewayAuth: "user", DiscoveryURL: "https://pool", MCPEndpoint: "https://mcp", TargetRole: "Reader",
	})
	if printed, _ := u.run("whoami"); !strings.Contains(printed, "you are not signed in to dev") {
		t.Errorf("printed %q", printed)
	}
}
