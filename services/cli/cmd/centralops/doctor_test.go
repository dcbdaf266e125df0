package main

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// diagnosis is what doctor --json prints.
type diagnosis struct {
	Checks   []check   `json:"checks"`
	Findings []finding `json:"findings"`
}

func (c *cli) doctor(args ...string) (diagnosis, int) {
	c.t.Helper()
	got := c.run(append([]string{"doctor", "--json"}, args...)...)
	var found diagnosis
	if err := json.Unmarshal([]byte(got.stdout), &found); err != nil {
		c.t.Fatalf("%v: %+v", err, got)
	}
	return found, got.status
}

// withStatus returns the names of the checks that ended with status.
func (d diagnosis) withStatus(status string) []string {
	var names []string
	for _, c := range d.Checks {
		if c.Status == status {
			names = append(names, c.Name)
		}
	}
	return names
}

var allChecks = []string{
	"configuration", "sign-in", "discovery document", "token claims", "Runtime refuses", "Runtime", "Gateway refuses",
	"Gateway tools/list", "gateway target", "model access", "bridge", "target role 111111111111", "target role 222222222222", "target role 333333333333",
	"AWS MCP Server", "AWS MCP tool list", "quotas",
}

func TestDoctorHealthy(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.answer = func(w http.ResponseWriter, _ *http.Request) { stream(w, complete...) }
	found, status := signedInCLI(t, d).doctor()
	if diff := cmp.Diff(allChecks, found.withStatus(checkOK)); diff != "" || status != 0 {
		t.Errorf("healthy deployment, status %d, checks that are ok (-want +got):\n%s\n%+v", status, diff, found.Checks)
	}
	want := []finding{
		{"the Runtime answers 403 to a token that does not pass", "runtime-bad-token-status", refuted, "it answered 401"},
		{"the Gateway answers 401 to a token that does not pass", "", confirmed, "it answered 401"},
		{"the Gateway serves MCP at /mcp only", "", confirmed, "without it, it answered 400"},
		{"the Gateway answers an unknown protocol version in initialize with one that it speaks, and in the header with 400",
			"gateway-version-fallback", confirmed, "initialize: 200, another version offered: true; the header: 400"},
		{"the Gateway refuses an unknown tool with a JSON-RPC error, not with a result", "", confirmed, "it answered 200, JSON-RPC error: true"},
		{"a page of tools/list holds more tools than the bridge has", "gateway-page-size", refuted, "6 tools came on 2 pages"},
		{"the object that a Lambda target returns arrives as its JSON text, not quoted again", "", confirmed, `the text begins with "{"`},
		{"a header of the client's that the target allows reaches a Lambda target", "gateway-client-headers-reach-lambda", confirmed, "the bridge refused what it carried"},
		{"the AWS MCP Server answers an unknown session with status 200 and JSON-RPC error -30001", "mcp-session-lost-status", confirmed, "it answered 200, -30001: true"},
		{"the AWS MCP Server answers a tool call without a session with status 400 and JSON-RPC error -32600", "mcp-missing-session", confirmed, "it answered 400, -32600: true"},
		{"the AWS MCP Server does not speak MCP 2026-07-28 yet", "mcp-discover", confirmed, "server/discover was answered with 200"},
		{"the AWS MCP Server offers no stream of its own messages (GET is 405)", "", confirmed, "it answered 405"},
	}
	if diff := cmp.Diff(want, found.Findings); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}

// One thing is broken at a time; doctor must find that one, not call another broken, and say what to
// do next.
func TestDoctorFindsWhatIsBroken(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		broken string // the first check that fails
		status int
		next   string // part of the next step
		with   func(*deployment, *cli)
	}{
		"profile without gateway_url": {"configuration", 1, "centralops configure", func(_ *deployment, c *cli) {
			c.env = append(c.env, "CENTRALOPS_GATEWAY_URL=nonsense")
		}},
		"sign-in has ended": {"sign-in", 1, "centralops login", func(d *deployment, c *cli) {
			c.run("logout")
		}},
		"discovery document is of another pool": {"discovery document", 1, "centralops configure", func(d *deployment, _ *cli) {
			d.wrongIssuer = "x"
		}},
		"discovery URL is wrong": {"discovery document", 1, "centralops configure", func(d *deployment, c *cli) {
			c.env = append(c.env, "CENTRALOPS_DISCOVERY_URL="+d.server.URL+"/us-east-1_Other/.well-known/openid-configuration")
		}},
		"keys were rotated": {"discovery document", 1, "centralops login", func(d *deployment, _ *cli) {
			d.keyID = "key2"
		}},
		"clock is wrong": {"discovery document", 1, "clock", func(d *deployment, _ *cli) {
			d.clockOff = time.Hour
		}},
		"token is of another client": {"token claims", 1, "centralops login", func(d *deployment, c *cli) {
			d.tokenClient = "another"
			c.login(d)
		}},
		"tokens have expired when they are issued": {"token claims", 1, "centralops login", func(d *deployment, c *cli) {
			d.tokenLife = -time.Minute
			c.login(d)
		}},
		"token is too large to travel": {"token claims", 1, "centralops login", func(d *deployment, c *cli) {
			d.groups = slices.Repeat([]string{"a-group-with-a-long-name"}, 60)
			c.login(d)
		}},
		"no authorizer": {"Runtime refuses", 1, "pulumi", func(d *deployment, _ *cli) {
			d.openDoors = true
		}},
		"nothing listens": {"discovery document", 1, "make local in another terminal, then centralops configure --from-file", func(d *deployment, c *cli) {
			d.server.Close()
		}},
		"runtime ARN is wrong": {"Runtime", 1, "centralops configure", func(d *deployment, c *cli) {
			c.env = append(c.env, "CENTRALOPS_RUNTIME_ARN="+testARN+"x")
		}},
		"no model access": {"model access", 1, "model access in the Bedrock console", func(d *deployment, _ *cli) {
			d.answer = func(w http.ResponseWriter, _ *http.Request) {
				stream(w, `{"type":"error","code":"forbidden","message":"AccessDeniedException: no access to the model","hint":"model access in the Bedrock console"}`)
			}
		}},
		"container does not start": {"model access", 1, "centralops doctor", func(d *deployment, _ *cli) {
			d.answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusFailedDependency) }
		}},
		"Gateway is gone": {"Gateway refuses", 1, "centralops configure", func(d *deployment, c *cli) {
			c.env = append(c.env, "CENTRALOPS_GATEWAY_URL="+d.server.URL+"/gone/mcp")
		}},
		"Gateway fails": {"Gateway tools/list", 1, "centralops doctor", func(d *deployment, _ *cli) {
			d.bridge.status = http.StatusInternalServerError
		}},
		"target is missing": {"gateway target", 1, "pulumi up", func(d *deployment, _ *cli) {
			d.bridge.tools = []string{}
		}},
		"target is of an old release": {"gateway target", 1, "pulumi up", func(d *deployment, _ *cli) {
			d.bridge.tools = bridgeTools[:2]
		}},
		"bridge fails": {"bridge", 1, "log group of the bridge", func(d *deployment, _ *cli) {
			d.bridge.fail = map[string]string{"list_accounts": ""}
		}},
		"bridge refuses the token": {"bridge", 1, "centralops login", func(d *deployment, _ *cli) {
			d.bridge.fail = map[string]string{"list_accounts": `{"ok":false,"error":{"code":"unauthenticated","message":"token of another issuer"}}`}
		}},
		"one role can't be assumed": {"target role 222222222222", 3, "trust policy", func(d *deployment, _ *cli) {
			d.bridge.states = map[string]string{"222222222222": "denied"}
		}},
		"AWS MCP Server does not answer": {"AWS MCP Server", 1, "again in a minute", func(d *deployment, _ *cli) {
			d.bridge.fail = map[string]string{"search_documentation": `{"ok":false,"error":{"code":"throttled","message":"429"}}`}
		}},
		"AWS MCP Server dropped a tool": {"AWS MCP tool list", 1, "newer release", func(d *deployment, _ *cli) {
			d.awsTools = awsMCPNeeds[1:]
		}},
		"Lambda quota is small": {"quotas", 1, "request-service-quota-increase", func(d *deployment, _ *cli) {
			d.bridge.quota = 10
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDeployment(t)
			d.answer = func(w http.ResponseWriter, _ *http.Request) { stream(w, complete...) }
			c := signedInCLI(t, d)
			test.with(d, c)
			found, status := c.doctor()
			failed := found.withStatus(checkFailed)
			if len(failed) == 0 || failed[0] != test.broken || status != test.status {
				t.Fatalf("failed checks %q with status %d, want %q first and %d\n%+v", failed, status, test.broken, test.status, found.Checks)
			}
			for _, c := range found.Checks {
				if c.Status == checkFailed && (c.Next == "" || c.Next == "centralops doctor") {
					t.Errorf("%s has the next step %q", c.Name, c.Next)
				}
				if c.Name == test.broken && !strings.Contains(c.Next, test.next) {
					t.Errorf("next step of %s is %q, want %q in it", c.Name, c.Next, test.next)
				}
			}
		})
	}
}

// Where the Gateway takes the agent's tokens alone, doctor sees to that, and looks at what is behind it by way of the agent.
func TestDoctorByTheAgent(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.answer = func(w http.ResponseWriter, _ *http.Request) { stream(w, complete...) }
	d.bridge.agents = true
	c := signedInCLI(t, d)
	c.env = append(c.env, "CENTRALOPS_GATEWAY_AUTH=workload")
	found, status := c.doctor()
	want := slices.DeleteFunc(slices.Clone(allChecks), func(name string) bool { return name == "gateway target" })
	if diff := cmp.Diff(want, found.withStatus(checkOK)); diff != "" || status != 0 {
		t.Errorf("healthy deployment, status %d, checks that are ok (-want +got):\n%s\n%+v", status, diff, found.Checks)
	}
	unseen := 0
	for _, f := range found.Findings {
		if f.Evidence == agentOnly {
			unseen++
		}
		if f.Evidence == agentOnly && f.State != unclear {
			t.Errorf("%+v: nothing was seen of it", f)
		}
	}
	if unseen != 6 {
		t.Errorf("%d findings say that the Gateway shows nothing, want 6: %+v", unseen, found.Findings)
	}
	d.bridge.states = map[string]string{"222222222222": "denied"}
	if found, status = c.doctor(); status != 3 || !slices.Equal(found.withStatus(checkFailed), []string{"target role 222222222222"}) {
		t.Errorf("a role that can't be assumed: status %d, failed %q", status, found.withStatus(checkFailed))
	}
	d.bridge.agents = false
	if found, status = c.doctor(); status != 1 || !slices.Equal(found.withStatus(checkFailed), []string{"Gateway tools/list"}) {
		t.Errorf("a Gateway that takes people's tokens all the same: status %d, failed %q", status, found.withStatus(checkFailed))
	}
}

// The AWS MCP Server takes few requests without a signature. Doctor waits for its turn, and in the end says who refused.
func TestDoctorWaitsItsTurn(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.answer = func(w http.ResponseWriter, _ *http.Request) { stream(w, complete...) }
	d.awsBusy = len(throttled)
	c := signedInCLI(t, d)
	if found, status := c.doctor(); status != 0 || len(found.withStatus(checkFailed)) > 0 {
		t.Errorf("status %d, %+v", status, found.Checks)
	}
	d.awsBusy = len(throttled) + 1
	found, status := c.doctor()
	if failed := found.withStatus(checkFailed); status != 1 || !slices.Equal(failed, []string{"AWS MCP tool list"}) {
		t.Fatalf("status %d, failed %q", status, failed)
	}
	for _, c := range found.Checks {
		if c.Name == "AWS MCP tool list" && (!strings.Contains(c.Detail, "the AWS MCP Server answered 429: Too many requests.") || c.Next != "again in a minute") {
			t.Errorf("%+v", c)
		}
	}
}

func TestDoctorHuman(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.bridge.states = map[string]string{"222222222222": "denied"}
	got := signedInCLI(t, d).run("doctor", "--no-model")
	for _, want := range []string{
		"✓ configuration            profile local, Region us-east-1\n",
		"- model access             because of --no-model\n",
		"✗ target role 222222222222 forbidden: denied: assume target role: AccessDenied; try: its trust policy must name the bridge role\n",
		"\n17 checks: 15 ok, 1 failed, 1 skipped.\n",
		"confirmed  the Gateway answers 401 to a token that does not pass (it answered 401)\n",
	} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("doctor lacks %q:\n%s", want, got.stdout)
		}
	}
	if got.status != 3 || len(d.asked()) != 0 {
		t.Errorf("status %d, want 3; asked %v", got.status, d.asked())
	}
}

// In a terminal, what does not fit goes on below its beginning.
func TestDoctorInTerminals(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.bridge.states = map[string]string{"222222222222": "denied"}
	c := signedInCLI(t, d)
	for width, want := range map[uint16]string{
		80: "✗ target role 222222222222 forbidden: denied: assume target role: AccessDenied;\n                           try: its trust policy must name the bridge role\n",
		40: "✗ target role 222222222222\n  forbidden: denied: assume target role:\n  AccessDenied; try: its trust policy\n  must name the bridge role\n",
	} {
		_, text := c.start(width, "doctor", "--no-model").end()
		shown := screen(text)
		if !strings.Contains(shown, want) {
			t.Errorf("in %d columns, want %q in:\n%s", width, want, shown)
		}
		for _, line := range strings.Split(shown, "\n") {
			if n := len([]rune(line)); n > int(width) {
				t.Errorf("line of %d columns in a terminal of %d: %q", n, width, line)
			}
		}
	}
}
