package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/central-ops/central-ops/e2e/local"
	"github.com/central-ops/central-ops/e2e/local/awsmcp"
	"github.com/central-ops/central-ops/e2e/local/bedrock"
	"github.com/central-ops/central-ops/e2e/local/gateway"
	"github.com/central-ops/central-ops/e2e/local/runtimefront"
	"github.com/central-ops/central-ops/e2e/local/stsfront"
)

// client is the client's binary, built when it is first needed.
var client = sync.OnceValues(func() (string, error) {
	file := filepath.Join(binaries, "centralops")
	build := exec.Command("go", "build", "-trimpath", "-o", file, "./cmd/centralops")
	build.Dir = "../services/cli"
	build.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	if printed, err := build.CombinedOutput(); err != nil {
		return "", errors.New(string(printed))
	}
	return filepath.Abs(file)
})

// diagnosis is what doctor --json prints.
type diagnosis struct {
	Checks []struct{ Name, Status, Detail, Next string }

	Findings []struct{ Statement, Assumption, State, Evidence string }
}

// failed returns the names of the checks that failed.
func (d diagnosis) failed() []string {
	var names []string
	for _, check := range d.Checks {
		if check.Status == "failed" {
			names = append(names, check.Name)
		}
	}
	return names
}

// doctor lets the client's doctor look at a platform for whom the token is of, and returns its exit status, too.
func doctor(t *testing.T, p *local.Platform, token string) (diagnosis, int) {
	t.Helper()
	binary, err := client()
	if err != nil {
		t.Fatal(err)
	}
	profile, err := json.Marshal(p.Stack)
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	file := filepath.Join(home, "profile.json")
	if err := os.WriteFile(file, profile, 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), binary, "doctor", "--json")
	command.Env = []string{"CENTRALOPS_CONFIG_DIR=" + home, "CENTRALOPS_PROFILE_FILE=" + file, "CENTRALOPS_ACCESS_TOKEN=" + token}
	var stderr bytes.Buffer
	command.Stderr = &stderr
	printed, err := command.Output()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	var found diagnosis
	if err := json.Unmarshal(printed, &found); err != nil {
		t.Fatalf("%v: %s%s", err, printed, stderr.String())
	}
	return found, command.ProcessState.ExitCode()
}

// On a healthy platform doctor finds nothing broken, and sees of the open questions what the stand-ins assume.
func TestDoctorOnHealthyPlatform(t *testing.T) {
	t.Parallel()
	p := platform(t)
	found, status := doctor(t, p, signIn(t, p, "alice").Access)
	if failed := found.failed(); len(failed) > 0 || status != 0 {
		t.Errorf("status %d, failed: %q: %+v", status, failed, found.Checks)
	}
	assumed := map[string]bool{}
	for _, row := range local.Assumptions() {
		assumed[row.ID] = true
	}
	for _, finding := range found.Findings {
		if finding.State != "confirmed" {
			t.Errorf("%s: %s: %s", finding.State, finding.Statement, finding.Evidence)
		}
		if finding.Assumption != "" && !assumed[finding.Assumption] {
			t.Errorf("%q names the assumption %s, which is in no table", finding.Statement, finding.Assumption)
		}
	}
	if len(found.Findings) == 0 {
		t.Error("no findings")
	}
}

// Where the Gateway takes the agent's tokens alone, doctor sees that, and what is behind it by way of the agent.
func TestDoctorByTheAgent(t *testing.T) {
	t.Parallel()
	o := options()
	o.GatewayAuth = "workload"
	p := startOwn(t, o)
	found, status := doctor(t, p, signIn(t, p, "alice").Access)
	if failed := found.failed(); len(failed) > 0 || status != 0 {
		t.Errorf("status %d, failed: %q: %+v", status, failed, found.Checks)
	}
	for _, finding := range found.Findings {
		if finding.State == "refuted" || finding.State == "unclear" && finding.Evidence != "the Gateway takes the agent's tokens alone" {
			t.Errorf("%s: %s: %s", finding.State, finding.Statement, finding.Evidence)
		}
	}
	p.STS.Inject(stsfront.Fault{Account: "333333333333", Denied: true})
	found, status = doctor(t, p, signIn(t, p, "bob").Access) // no role session is kept for him
	if failed := found.failed(); status != 1 || !slices.Equal(failed, []string{"target role 333333333333"}) {
		t.Errorf("a target role that does not trust the bridge: status %d, failed: %q: %+v", status, failed, found.Checks)
	}
}

// One thing is broken at a time, behind the client's back; doctor finds that one first and says what to do next.
func TestDoctorFindsWhatIsBroken(t *testing.T) {
	t.Parallel()
	p := startOwn(t, options())
	good := forge(t, p, func(map[string]any) {})
	for _, row := range []struct {
		name   string
		broken string
		status int
		token  string
		spoil  func()
		mend   func()
	}{
		{name: "token has expired", broken: "token claims", status: 1,
			token: forge(t, p, func(c map[string]any) { c["exp"] = time.Now().Add(-time.Minute).Unix() })},
		{name: "token is of another client", broken: "token claims", status: 1,
			token: forge(t, p, func(c map[string]any) { c["client_id"] = p.Seeded.OtherClientID })},
		{name: "token is too large to travel", broken: "token claims", status: 1,
			token: forge(t, p, func(c map[string]any) { c["cognito:groups"] = slices.Repeat([]string{"a-group-with-a-long-name"}, 60) })},
		{name: "model is refused", broken: "model access", status: 1, token: good,
			spoil: func() { p.Bedrock.Inject(bedrock.Fault{Exception: "AccessDeniedException"}) }},
		{name: "Gateway fails", broken: "Gateway tools/list", status: 1, token: good,
			spoil: func() {
				p.Gateway.Inject(gateway.Fault{Kind: gateway.Status, Method: "initialize", Times: 1, Status: http.StatusBadGateway})
			}},
		{name: "target role does not trust the bridge", broken: "target role 333333333333", status: 3,
			token: forge(t, p, func(c map[string]any) { c["username"], c["sub"] = "dora", "00000000-0000-4000-8000-00000000d04a" }), // no role session is kept for her
			spoil: func() { p.STS.Inject(stsfront.Fault{Account: "333333333333", Denied: true}) }, mend: p.STS.ClearFaults},
		{name: "AWS MCP Server is overloaded", broken: "AWS MCP Server", status: 1, token: good,
			spoil: func() {
				fault := awsmcp.Throttled
				fault.Tool = "aws___search_documentation"
				p.MCP.Inject(fault)
			}, mend: p.MCP.ClearFaults},
	} {
		if row.spoil != nil {
			row.spoil()
		}
		found, status := doctor(t, p, row.token)
		if row.mend != nil {
			row.mend()
		}
		check(t, row.name, found, status, row.broken, row.status)
	}
	if found, status := doctor(t, p, good); len(found.failed()) > 0 || status != 0 {
		t.Errorf("mended, status %d, failed: %q", status, found.failed())
	}

	// The bridge remembers which tools it missed, so this comes last.
	p.MCP.Inject(awsmcp.Fault{Method: "tools/list", Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: `{"jsonrpc":"2.0","id":2,"result":{"tools":[{"name":"aws___run_script"}]}}`})
	if found, status := doctor(t, p, good); !slices.Contains(found.failed(), "AWS MCP tool list") || status != 1 {
		t.Errorf("AWS MCP Server has dropped tools: status %d, failed: %q", status, found.failed())
	}
}

// What is wrong from the start: each on a platform of its own.
func TestDoctorFindsWhatIsMisconfigured(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		broken string
		change func(*local.Options)
	}{
		"Runtime wants another client": {"Runtime", func(o *local.Options) {
			o.Runtime = func(c *runtimefront.Config) {
				c.Record.AuthorizerConfiguration.CustomJWT.AllowedClients = []string{"another"}
			}
		}},
		"agent does not start": {"Runtime", func(o *local.Options) { o.AgentEnv = map[string]string{"MAX_TURNS": "many"} }},
		"Gateway wants another client": {"Gateway tools/list", func(o *local.Options) {
			o.Gateway = func(_ *gateway.Config, record *gateway.Record, _ []gateway.Target) {
				record.AuthorizerConfiguration.CustomJWT.AllowedClients = []string{"another"}
			}
		}},
		"bridge wants another client": {"bridge", func(o *local.Options) { o.BridgeEnv = map[string]string{"TOKEN_CLIENT_IDS": "another"} }},
	} {
		o := options()
		row.change(&o)
		p := startOwn(t, o)
		found, status := doctor(t, p, signIn(t, p, "alice").Access)
		check(t, name, found, status, row.broken, 1)
	}
}

func check(t *testing.T, name string, found diagnosis, status int, broken string, want int) {
	t.Helper()
	failed := found.failed()
	if len(failed) == 0 || failed[0] != broken || status != want {
		t.Errorf("%s: doctor finds %q broken with status %d, want %q first and %d: %+v", name, failed, status, broken, want, found.Checks)
	}
	for _, check := range found.Checks {
		if check.Status == "failed" && strings.TrimSpace(check.Next) == "" {
			t.Errorf("%s: %s has no next step", name, check.Name)
		}
	}
}
