package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// pulumi puts a program of that name on the PATH, which prints out if it is called as it should be.
func (c *cli) pulumi(out string) {
	c.t.Helper()
	script := "#!/bin/sh\n" + `[ "$*" = "stack output --json --stack dev" ] || { echo "error: no stack named '$5' found" >&2; exit 255; }` +
		"\n/bin/cat <<'END'\n" + out + "\nEND\n"
	if err := os.MkdirAll(filepath.Join(c.home, "bin"), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.home, "bin", "pulumi"), []byte(script), 0o755); err != nil {
		c.t.Fatal(err)
	}
}

func TestConfigureFromStack(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	c.pulumi(`{"region":"eu-west-1","userPoolId":"eu-west-1_AbC","userPoolClientId":"client1","runtimeArn":"` + testARN + `",
		"gatewayUrl":"https://gw.example.com/mcp","hostedUiUrl":"https://login.example.com","accounts":{"x":1}}`)
	if got := c.run("configure", "--from-stack", "dev", "--qualifier", "canary"); got.status != 0 || !strings.Contains(got.stderr, "Next: centralops login") {
		t.Fatalf("configure: %+v", got)
	}
	c.env = append(c.env, "CENTRALOPS_ENVIRONMENT=from-env")
	want := map[string][]string{ // value and source by setting
		"environment":      {"from-env", "CENTRALOPS_ENVIRONMENT"},
		"region":           {"eu-west-1", "--region"},
		"user_pool_id":     {"eu-west-1_AbC", "profile"},
		"client_id":        {"client1", "profile"},
		"cognito_endpoint": {"https://cognito-idp.eu-west-1.amazonaws.com", "default"},
		"hosted_ui":        {"https://login.example.com", "profile"},
		"discovery_url":    {"https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbC/.well-known/openid-configuration", "default"},
		"runtime_url":      {"https://bedrock-agentcore.eu-west-1.amazonaws.com", "default"},
		"runtime_arn":      {testARN, "profile"},
		"qualifier":        {"canary", "profile"},
		"gateway_url":      {"https://gw.example.com/mcp", "profile"},
		"mcp_endpoint":     {"https://aws-mcp.us-east-1.api.aws/mcp", "default"},
	}
	shown := c.run("configure", "--region", "eu-west-1", "--show")
	got := map[string][]string{}
	for line := range strings.Lines(shown.stdout) {
		if fields := strings.Fields(line); len(fields) == 3 && want[fields[0]] != nil {
			got[fields[0]] = fields[1:]
		}
	}
	if diff := cmp.Diff(want, got); diff != "" || shown.status != 0 {
		t.Errorf("configure --show mismatch (-want +got):\n%s\n%+v", diff, shown)
	}
}

func TestConfigureFaults(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		out    string
		args   []string
		stderr string
		status int
	}{
		"exports are missing": {`{"region":"eu-west-1","runtimeArn":"` + testARN + `"}`, []string{"--from-stack", "dev"},
			"centralops: read stack outputs: not_found: stack dev does not export userPoolId, userPoolClientId, gatewayUrl; try: pulumi up -s dev\n", 1},
		"no such stack": {`{}`, []string{"--from-stack", "prod"},
			"centralops: read stack outputs: unavailable: pulumi: error: no stack named 'prod' found; try: pulumi stack ls, in the folder of Pulumi.yaml (--pulumi-dir)\n", 1},
		"no JSON": {`oops`, []string{"--from-stack", "dev"},
			"centralops: read stack outputs: invalid: pulumi printed no JSON object: invalid character 'o' looking for beginning of value; try: pulumi stack output --json -s dev\n", 1},
		"two sources": {`{}`, []string{"--from-stack", "dev", "--from-file", "x"},
			"centralops: invalid: --from-stack and --from-file exclude each other; try: centralops configure --help\n", 2},
		"a stack without a name": {`{}`, []string{"--from-stack", ""},
			"centralops: invalid: --from-stack names no stack; try: centralops configure --from-stack <stack>\n", 2},
		"a file without a name": {`{}`, []string{"--from-file", ""},
			"centralops: invalid: --from-file names no file; try: centralops configure --from-file <file>\n", 2},
		"flags that are not enough": {`{}`, []string{"--region", "eu-west-1", "--gateway-url", "ftp://x"},
			`centralops: invalid: user_pool_id is not set (--user-pool-id); client_id is not set (--client-id); runtime_arn is not set (--runtime-arn); ` +
				`gateway_url "ftp://x" must begin with https://, because tokens travel there; try: centralops configure --from-stack <stack>, or centralops help settings` + "\n", 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCLI(t)
			c.pulumi(test.out)
			got := c.run(append([]string{"configure"}, test.args...)...)
			if diff := cmp.Diff(result{stderr: test.stderr, status: test.status}, got, cmp.AllowUnexported(result{})); diff != "" {
				t.Errorf("configure mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

// Ctrl-C ends a pulumi that takes its time, also one that has started what holds its output open.
func TestConfigureInterrupt(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	c.pulumi("")
	began := filepath.Join(c.home, "began")
	script := "#!/bin/sh\n/bin/sleep 60 &\necho $! > " + began + ".new\n/bin/mv " + began + ".new " + began + "\nwait\n"
	if err := os.WriteFile(filepath.Join(c.home, "bin", "pulumi"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := c.command("configure", "--from-stack", "dev")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(patience)
	for {
		raw, err := os.ReadFile(began)
		if err == nil {
			pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { syscall.Kill(pid, syscall.SIGKILL) })
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("pulumi was not started")
		}
		time.Sleep(10 * time.Millisecond)
	}
	sent := time.Now()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if got := status(t, cmd.Wait()); got != 1 || stderr.String() != "centralops: read stack outputs: cancelled\n" || time.Since(sent) > patience {
		t.Errorf("after %v: status %d, %q; want 1 and cancelled", time.Since(sent), got, stderr.String())
	}
}

func TestConfigureFromFile(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	c := newCLI(t)
	if got := c.run("configure", "--from-file", d.profile()); got.status != 0 {
		t.Fatalf("configure: %+v", got)
	}
	c.login(d) // with the current profile, no flags
	if got := c.run("whoami"); got.status != 0 || !strings.Contains(got.stdout, "Profile      local\n") {
		t.Errorf("whoami: %+v", got)
	}
	if got := c.run("__complete", "ask", "--profile", ""); !strings.HasPrefix(got.stdout, "local\n") {
		t.Errorf("completion of --profile: %+v", got)
	}
	file := filepath.Join(t.TempDir(), "p.json")
	if err := os.WriteFile(file, []byte(`{"name":"x","regoin":"us-east-1"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := c.run("configure", "--from-file", file); got.status != 2 || !strings.Contains(got.stderr, `unknown field "regoin"; try: centralops help settings`) {
		t.Errorf("configure with a misspelt member: %+v", got)
	}
}

// Scripts of every shell are generated, and the shells' own checks are not needed to see that they
// are complete: each calls back into the program.
func TestCompletion(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if got := newCLI(t).run("completion", shell); got.status != 0 || !strings.Contains(got.stdout, "__complete") {
			t.Errorf("completion %s: status %d", shell, got.status)
		}
	}
}
