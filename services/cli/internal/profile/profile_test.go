package profile

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Every member of the profile but its name is a setting, once, under the same key; every setting has
// a flag, a variable, an export and a help text of its own.
func TestFieldsAreAllMembers(t *testing.T) {
	t.Parallel()
	var p Profile
	var members, keys []string
	for i := range reflect.TypeFor[Profile]().NumField() {
		key, _, _ := strings.Cut(reflect.TypeFor[Profile]().Field(i).Tag.Get("json"), ",")
		if key != "name" {
			members = append(members, key)
		}
	}
	seen := map[string]string{}
	for _, field := range Fields {
		keys = append(keys, field.Key)
		*field.Value(&p) = field.Key
		for _, name := range []string{"flag " + field.Flag, "export " + field.Export, "help " + field.Help, field.EnvName()} {
			if other, ok := seen[name]; ok || strings.HasSuffix(name, " ") {
				t.Errorf("%s: %q is empty or that of %s", field.Key, name, other)
			}
			seen[name] = field.Key
		}
	}
	slices.Sort(members)
	slices.Sort(keys)
	if diff := cmp.Diff(members, keys); diff != "" {
		t.Errorf("members and settings (-members +settings):\n%s", diff)
	}
	for i := range reflect.TypeFor[Profile]().NumField() {
		field := reflect.TypeFor[Profile]().Field(i)
		key, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if value := reflect.ValueOf(p).Field(i).String(); key != "name" && value != key {
			t.Errorf("setting %s sets %q", key, value)
		}
	}
}

// Tokens travel to these addresses: only TLS, or this machine, whatever a command is about. An access token goes to the
// Gateway beside an answer, and a refresh token to Cognito with any command.
func TestCheckURLs(t *testing.T) {
	t.Parallel()
	fields := []func(*Profile) *string{
		func(p *Profile) *string { return &p.RuntimeURL },
		func(p *Profile) *string { return &p.GatewayURL },
		func(p *Profile) *string { return &p.CognitoEndpoint },
		func(p *Profile) *string { return &p.HostedUI },
	}
	for url, ok := range map[string]bool{
		"https://example.com":       true,
		"http://127.0.0.1:8080":     true,
		"http://[::1]:8080/mcp":     true,
		"http://localhost/mcp":      true,
		"http://example.com":        false,
		"http://localhost.evil.com": false,
		"http://127.0.0.1.evil.com": false,
		"http://10.0.0.1":           false,
		"ftp://127.0.0.1":           false,
		"example.com":               false,
		"https://":                  false,
		"https://:443":              false,
		"https://alice:pw@host.com": false,
	} {
		for _, field := range fields {
			p := Profile{Region: "us-east-1"}
			*field(&p) = url
			if err := p.Check("region"); (err == nil) != ok {
				t.Errorf("%+v: %v", p, err)
			}
		}
	}
}

// To these other paths are added, so that a query would swallow them.
func TestCheckBases(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"https://example.com?x=1", "https://example.com/#x"} {
		p := Profile{Region: "us-east-1", RuntimeURL: url, CognitoEndpoint: url, HostedUI: url, GatewayURL: url}
		err := p.Check("region")
		if err == nil || strings.Count(err.Error(), "must end with its path") != 3 {
			t.Errorf("%s: %v; want three faults", url, err)
		}
	}
}

// A password in a URL is not shown.
func TestCheckShowsNoPassword(t *testing.T) {
	t.Parallel()
	p := Profile{Region: "us-east-1", RuntimeURL: "http://alice:hunter2@example.com"}
	if err := p.Check("region"); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("Check: %v", err)
	}
}

// What is wrong with a profile file is said in words of that file.
func TestReadFaults(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                          "it is empty",
		" \n":                       "it is empty",
		"[]":                        "it is no JSON object but of type array",
		`{"region":5}`:              "region must be text in quotes, not of type number",
		`{"region":"eu-west-1"}{}`:  "there is more behind its JSON object",
		`{"region":"eu-west-1"}x`:   "there is more behind its JSON object",
		"\ufeff" + `{"region":"x"}`: "",
	} {
		file := filepath.Join(t.TempDir(), "p.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Read(file)
		if (err == nil) != (want == "") || err != nil && !strings.HasSuffix(err.Error(), ": "+want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestComplete(t *testing.T) {
	t.Parallel()
	p := Profile{UserPoolID: "eu-west-1_AbC"}
	p.Complete()
	want := Profile{Region: "eu-west-1", UserPoolID: "eu-west-1_AbC", Qualifier: "DEFAULT", GatewayAuth: "user",
		RuntimeURL: "https://bedrock-agentcore.eu-west-1.amazonaws.com", CognitoEndpoint: "https://cognito-idp.eu-west-1.amazonaws.com",
		DiscoveryURL: "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbC/.well-known/openid-configuration",
		MCPEndpoint:  "https://aws-mcp.us-east-1.api.aws/mcp"}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Errorf("Complete mismatch (-want +got):\n%s", diff)
	}
	local := Profile{Region: "us-east-1", RuntimeURL: "http://127.0.0.1:1//"}
	local.Complete()
	if local.RuntimeURL != "http://127.0.0.1:1" {
		t.Errorf("slashes were left at the end of %s", local.RuntimeURL)
	}
	if local.MCPEndpoint != "" {
		t.Errorf("a deployment on this machine got the AWS MCP Server %s", local.MCPEndpoint)
	}
}

// What a stack does not export and this program can tell is not written: it may change.
func TestFromOutputsTakesNoDefaults(t *testing.T) {
	t.Parallel()
	got, err := FromOutputs("org/central-ops/dev", []byte(`{"userPoolId":"eu-west-1_AbC","userPoolClientId":"c","runtimeArn":"a","gatewayUrl":"g"}`))
	want := Profile{Name: "dev", Environment: "org/central-ops/dev", UserPoolID: "eu-west-1_AbC", ClientID: "c", RuntimeARN: "a", GatewayURL: "g"}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("FromOutputs: %v, mismatch (-want +got):\n%s", err, diff)
	}
}
