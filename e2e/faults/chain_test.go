package faults_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/central-ops/central-ops/e2e"
	"github.com/central-ops/central-ops/e2e/local"
	"github.com/central-ops/central-ops/e2e/local/awsmcp"
	"github.com/central-ops/central-ops/e2e/local/bedrock"
	"github.com/central-ops/central-ops/e2e/local/gateway"
	"github.com/central-ops/central-ops/e2e/local/lambdafront"
	"github.com/central-ops/central-ops/e2e/local/oidc"
	"github.com/central-ops/central-ops/e2e/local/stsfront"
)

const question = "How many EC2 instances are there in all accounts in us-east-1?"

// chain is the whole platform, whose AWS calls are answered without Python.
type chain struct {
	*local.Platform
	t     *testing.T
	token string

	mu       sync.Mutex
	onScript func() // called before an AWS call is answered
}

// newChain starts the platform; change may alter how.
func newChain(t *testing.T, change func(*local.Options)) *chain {
	t.Helper()
	python, err := filepath.Abs("../../.venv/bin/python")
	if err != nil {
		t.Fatal(err)
	}
	c := &chain{t: t}
	options := local.Options{
		Binaries: binaries, Tools: "../../services/bridge/tools.json", Python: python,
		MCP: func(m *awsmcp.Config) { m.Python, m.Endpoint, m.Answer = "", "", c.answer },
	}
	change(&options)
	if c.Platform, err = local.Start(t.Context(), options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		if strays := c.Strays(); len(strays) > 0 {
			t.Errorf("the product tried to reach %s", strings.Join(strays, ", "))
		}
	})
	c.token = c.signIn("alice")
	return c
}

// impatient gives up on what hangs after a few seconds.
func impatient(o *local.Options) {
	o.AgentEnv = map[string]string{"TOOL_TIMEOUT": "9s"}
	o.Lambda = func(l *lambdafront.Config) {
		for i := range l.Functions {
			l.Functions[i].Timeout = short
		}
	}
}

func (c *chain) signIn(user string) (token string) {
	c.t.Helper()
	tokens, err := c.Stack.SignIn(c.t.Context(), user, c.Passwords[user])
	if err != nil {
		c.t.Fatal(err)
	}
	return tokens.Access
}

// answer is one instance, or one bucket, in every account.
func (c *chain) answer(_ context.Context, ask awsmcp.Ask) (json.RawMessage, error) {
	c.mu.Lock()
	hook := c.onScript
	c.mu.Unlock()
	if hook != nil {
		hook()
	}
	if ask.Operation == "ListBuckets" {
		return json.RawMessage(`{"Buckets":[{"Name":"bucket-of-` + ask.Account + `"}]}`), nil
	}
	return json.RawMessage(`{"Reservations":[{"Instances":[{"InstanceId":"i-` + ask.Account + `","State":{"Name":"running"}}]}]}`), nil
}

func (c *chain) setOnScript(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.onScript = f
}

// heal ends the faults that don't end by themselves.
func (c *chain) heal() {
	c.setOnScript(nil)
	c.MCP.ClearFaults()
	c.STS.ClearFaults()
	c.OIDC.SetOutage(false)
}

// process finds the one process of the product that has the variable.
func (c *chain) process(variable string) int {
	c.t.Helper()
	pids := processesWith(c.t, variable)
	if len(pids) != 1 {
		c.t.Fatalf("want one process with %s, found %v", variable, pids)
	}
	return pids[0]
}

func (c *chain) retireBridge() {
	c.t.Helper()
	if err := c.Lambda.RetireIdle(function); err != nil {
		c.t.Fatal(err)
	}
}

func (c *chain) agent() int  { return c.process("GATEWAY_URL=" + c.Stack.GatewayURL) }
func (c *chain) bridge() int { return c.process("AWS_MCP_ENDPOINT=" + c.MCPURL) }

// reply is what a person's client has after a question, streamed or not.
type reply struct {
	e2e.Answer
	cut bool // the stream ended without done or error
}

// ask asks in session, whose agent may be a new one.
func (c *chain) ask(session string) reply {
	c.t.Helper()
	return c.askAs(c.token, session, question)
}

func (c *chain) askAs(token, session, prompt string) reply {
	c.t.Helper()
	answer, err := c.Stack.Ask(c.t.Context(), token, session, prompt)
	if err != nil {
		c.t.Fatal(err)
	}
	return reply{Answer: answer}
}

// stream asks with server-sent events; at is called with the type of each frame.
func (c *chain) stream(session string, at func(kind string)) reply {
	c.t.Helper()
	got, err := c.streamAs(c.token, session, question, at)
	if err != nil {
		c.t.Fatal(err)
	}
	return got
}

func (c *chain) streamAs(token, session, prompt string, at func(kind string)) (reply, error) {
	body, err := json.Marshal(map[string]string{"prompt": prompt})
	if err != nil {
		return reply{}, err
	}
	request, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.Stack.InvocationsURL(), bytes.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "text/event-stream")
	request.Header.Set("X-Amzn-Bedrock-AgentCore-Runtime-Session-Id", session)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	got := reply{cut: true}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, isData := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if !isData {
			continue
		}
		var frame struct {
			Type string `json:"type"`
			Text string `json:"text"`
			e2e.Fault
		}
		if err := json.Unmarshal(data, &frame); err != nil {
			return got, fmt.Errorf("%s: %w", data, err)
		}
		switch frame.Type {
		case "text":
			got.Response += frame.Text
		case "error":
			got.cut, got.Error = false, &frame.Fault
		case "done":
			got.cut = false
			if err := json.Unmarshal(data, &got.Answer); err != nil {
				return got, fmt.Errorf("%s: %w", data, err)
			}
		}
		if at != nil {
			at(frame.Type)
		}
	}
	return got, nil
}

// check fails the test if a target has more receipts than one, or if receipts and coverage disagree.
func (c *chain) check(r reply) {
	c.t.Helper()
	seen, answered := map[string]bool{}, 0
	for _, receipt := range r.Receipts {
		target := receipt.AccountID + " in " + receipt.Region
		if seen[target] {
			c.t.Errorf("two receipts for %s", target)
		}
		seen[target] = true
		if receipt.Status == "ok" {
			answered++
		}
	}
	if r.Coverage != nil && (answered != r.Coverage.Answered || r.Coverage.Targets != r.Coverage.Answered+r.Coverage.Denied+r.Coverage.Failed+r.Coverage.Skipped) {
		c.t.Errorf("coverage %+v with %d receipts of answered targets", *r.Coverage, answered)
	}
}

// chainRow is a fault whose outcome is seen by a person only through the whole chain.
type chainRow struct {
	fault, where string
	inject       func(*chain)                         // before the question
	ask          func(c *chain, session string) reply // nil: without a stream
	want         string                               // coverage as covered writes it
	code         string                               // of the error
	says         string                               // in the answer's text or the error
	newBridge    bool                                 // the next question goes to a new execution environment
}

var whole = e2e.Coverage{Targets: 3, Answered: 3}

var chainRows = []chainRow{
	{
		fault: "one account denied", where: "STS",
		inject: func(c *chain) {
			c.retireBridge() // it has credentials
			c.STS.Inject(stsfront.Fault{Account: "333333333333", Denied: true})
		},
		want: "2 of 3 answered, 1 denied", says: "333333333333", newBridge: true,
	},
	{
		fault: "429 with Retry-After beyond the deadline, every account", where: "AWS MCP Server",
		inject: func(c *chain) { c.MCP.Inject(awsmcp.Throttled.RetryAfter(60)) },
		want:   "0 of 3 answered, 3 failed", says: "throttled",
	},
	{
		fault: "tools/call hangs once", where: "Gateway",
		inject: func(c *chain) {
			c.Gateway.Inject(gateway.Fault{Kind: gateway.Hang, Method: "tools/call", Times: 1})
		},
		want: covered(whole),
	},
	{
		fault: "tools/call hangs, twice", where: "Gateway",
		inject: func(c *chain) {
			c.Gateway.Inject(gateway.Fault{Kind: gateway.Hang, Method: "tools/call", Times: 2})
		},
		want: "none", says: "timeout",
	},
	{
		fault: "connection cut at tools/call, once", where: "Gateway",
		inject: func(c *chain) {
			c.Gateway.Inject(gateway.Fault{Kind: gateway.Drop, Method: "tools/call", Times: 1})
		},
		want: covered(whole),
	},
	{
		fault: "503 at initialize, twice", where: "Gateway",
		inject: func(c *chain) {
			c.Gateway.Inject(gateway.Fault{Kind: gateway.Status, Status: 503, Method: "initialize", Times: 2})
		},
		want: "none", code: "unavailable",
	},
	{
		fault: "bridge stopped until Lambda's timeout kills it", where: "Lambda",
		ask: func(c *chain, session string) reply {
			pid, over := c.bridge(), make(chan struct{})
			defer close(over)
			c.setOnScript(func() {
				_ = syscall.Kill(pid, syscall.SIGSTOP) // if it has ended, the outcome says so
				<-over                                 // the signal takes its time: without this answer the bridge is not done
			})
			return c.ask(session)
		},
		want: "none", says: "gave no result",
	},
	{
		fault: "throttled twice", where: "model",
		inject: func(c *chain) {
			c.Bedrock.Inject(bedrock.Fault{Exception: "ThrottlingException"}, bedrock.Fault{Exception: "ThrottlingException"})
		},
		want: covered(whole),
	},
	{
		fault: "throttled five times", where: "model",
		inject: func(c *chain) {
			for range 5 {
				c.Bedrock.Inject(bedrock.Fault{Exception: "ThrottlingException"})
			}
		},
		want: "none", code: "throttled",
	},
	{
		fault: "malformed tool use, once", where: "model",
		inject: func(c *chain) { c.Bedrock.Inject(bedrock.Fault{StopReason: "malformed_tool_use"}) },
		want:   covered(whole),
	},
	{
		fault: "malformed output, twice", where: "model",
		inject: func(c *chain) {
			c.Bedrock.Inject(bedrock.Fault{StopReason: "malformed_model_output"}, bedrock.Fault{StopReason: "malformed_model_output"})
		},
		want: "none", code: "unavailable",
	},
	{
		fault: "stream damaged before any text, once", where: "model",
		inject: func(c *chain) { c.Bedrock.Inject(bedrock.Fault{Corrupt: true, AfterEvents: 1}) },
		ask:    func(c *chain, session string) reply { return c.stream(session, nil) },
		want:   covered(whole),
	},
	{
		fault: "down; each process has yet to read the keys", where: "the user pool's keys",
		inject: func(c *chain) { c.OIDC.SetOutage(true) },
		want:   "none", code: "unavailable",
	},
	{
		fault: "rotated in the middle of a conversation, which goes on with a token of the new key", where: "the user pool's keys",
		ask: func(c *chain, session string) reply {
			c.check(c.ask(session)) // now every hop has the old keys
			if err := c.OIDC.Rotate(); err != nil {
				c.t.Fatal(err)
			}
			token, err := c.OIDC.Sign(map[string]any{
				"iss": oidc.Issuer(c.Seeded.UserPoolID), "sub": c.Seeded.Subjects["alice"], "username": "alice", "client_id": c.Seeded.ClientID,
				"token_use": "access", "cognito:groups": []string{"ops"}, "iat": time.Now().Add(-time.Minute).Unix(), "exp": time.Now().Add(time.Hour).Unix(),
			})
			if err != nil {
				c.t.Fatal(err)
			}
			return c.askAs(token, session, question)
		},
		want: covered(whole),
	},
	{
		fault: "session stopped by the Runtime (SIGTERM) in mid-stream", where: "agent",
		ask: func(c *chain, session string) reply {
			stopped := make(chan struct{})
			got := c.stream(session, atFirst("tool_call", func() {
				go func() { defer close(stopped); c.Runtime.EndSession(session) }()
			}))
			<-stopped
			return got
		},
		want: covered(whole),
	},
	{
		fault: "killed in mid-stream; the next question is in the same session", where: "agent",
		ask: func(c *chain, session string) reply {
			// The answer waits for the kill, or the stream could be over before it.
			killed := make(chan struct{})
			c.setOnScript(func() { <-killed })
			return c.stream(session, atFirst("tool_call", func() {
				if err := syscall.Kill(c.agent(), syscall.SIGKILL); err != nil {
					c.t.Error(err)
				}
				close(killed)
			}))
		},
		want: "none", says: cutStream,
	},
}

const cutStream = "the stream ends without `done`"

// newSession makes a session id that the Runtime takes, of at least 33 characters.
func newSession() string { return "fault-matrix-" + rand.Text() }

// atFirst returns a function that calls f when it is first called with kind.
func atFirst(kind string, f func()) func(string) {
	var once sync.Once
	return func(got string) {
		if got == kind {
			once.Do(f)
		}
	}
}

// runChain carries the rows out one after the other on one platform.
func runChain(t *testing.T, record func(int, line)) {
	c := newChain(t, impatient)
	session := newSession()
	if r := c.ask(session); r.Coverage == nil || *r.Coverage != whole {
		t.Fatalf("before any fault: %+v", r.Answer)
	}
	c.Runtime.EndSession(session)
	for i, row := range chainRows {
		t.Run(row.where+" "+row.fault, func(t *testing.T) {
			c.t = t
			if row.inject != nil {
				row.inject(c)
			}
			ask := row.ask
			if ask == nil {
				ask = (*chain).ask
			}
			session := newSession()
			defer c.Runtime.EndSession(session)
			record(i, row.judge(c, session, ask(c, session)))
		})
	}
	c.t = t
}

func (row chainRow) judge(c *chain, session string, got reply) line {
	c.t.Helper()
	c.check(got)
	coverage, code, said := "none", "", ""
	if got.Coverage != nil {
		coverage = covered(*got.Coverage)
	}
	switch {
	case got.Error != nil:
		code, said = got.Error.Code, sentence(got.Error)
	case got.cut:
		said = cutStream
	case got.Coverage == nil || *got.Coverage != whole:
		said = stable(got.Response[strings.LastIndex(got.Response, "\n\n")+2:]) // what the agent adds, whatever the model wrote
	}
	if coverage != row.want || code != row.code || !strings.Contains(said, row.says) {
		c.t.Errorf("%s, code %q: %s\nwant %s, code %q, saying %q", coverage, code, said, row.want, row.code, row.says)
	}
	c.heal()
	afterwards := ""
	if row.newBridge {
		c.retireBridge()
		afterwards = "for 30 s the same, as a refusal is remembered; of a new environment: "
	}
	next := c.ask(session)
	c.check(next)
	if next.Coverage == nil || *next.Coverage != whole {
		c.t.Errorf("the next question: %+v", next.Answer)
		return line{}
	}
	return line{row.fault, row.where, coverage, code, said, afterwards + covered(*next.Coverage)}
}
