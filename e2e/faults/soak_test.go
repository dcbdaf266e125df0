package faults_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/central-ops/central-ops/e2e"
	"github.com/central-ops/central-ops/e2e/local"
	"github.com/central-ops/central-ops/e2e/local/awsmcp"
)

// soakQuestions is how many questions TestSoak asks. 1800 is half an hour of one question a second.
var soakQuestions = flag.Int("soak", 96, "how many questions TestSoak asks; make soak asks 1800")

// people is how many sessions ask at once, each its next question when it has its answer.
const people = 4

// mixed are the questions, in turn. Those without a coverage ask no account.
var mixed = []struct {
	user, prompt string
	streamed     bool
	want         e2e.Coverage
}{
	{user: "alice", prompt: question, want: e2e.Coverage{Targets: 3, Answered: 3}},
	{user: "bob", prompt: question, want: e2e.Coverage{Targets: 3, Answered: 1, Denied: 2}},
	{user: "carol", prompt: "List EC2 instances in Production", want: e2e.Coverage{Targets: 1, Answered: 1}},
	{user: "alice", prompt: question, streamed: true, want: e2e.Coverage{Targets: 3, Answered: 3}},
	{user: "alice", prompt: "How many running instances are there in all accounts in us-east-1 and eu-west-1?", want: e2e.Coverage{Targets: 6, Answered: 6}},
	{user: "carol", prompt: "List S3 buckets in account 222222222222", want: e2e.Coverage{Targets: 1, Answered: 1}},
	{user: "alice", prompt: "documentation: how do I configure the timeout of a Lambda function?"},
	{user: "bob", prompt: "List EC2 instances in account 999999999999"},
}

// disturbances are what happens meanwhile, in turn, one for every 20 questions. None may cost an answer.
var disturbances = []func(*chain) error{
	func(c *chain) error { c.MCP.EndSessions(""); return nil },
	func(c *chain) error {
		f := awsmcp.Throttled
		f.Tool, f.Times = "aws___run_script", 1
		c.MCP.Inject(f)
		return nil
	},
	func(c *chain) error {
		c.MCP.Inject(awsmcp.Fault{Tool: "aws___run_script", Times: 1, Reset: true})
		return nil
	},
	func(c *chain) error { return c.Lambda.FreezeIdle(function) },
	func(c *chain) error {
		c.MCP.Inject(awsmcp.Fault{Tool: "aws___run_script", Times: 1, CutSSE: true})
		return nil
	},
}

// TestSoak asks mixed questions for long, with disturbances, and holds the memory, threads, file descriptors and
// goroutines of the product's processes to what they were after the first third.
func TestSoak(t *testing.T) {
	logs := t.TempDir()
	c := newChain(t, func(o *local.Options) {
		o.LogDir = logs
		o.AgentEnv = map[string]string{"GOTRACEBACK": "all"}
		o.BridgeEnv = map[string]string{"GOTRACEBACK": "all"}
	})
	s := &soak{chain: c, tokens: map[string]string{}}
	for user := range c.Passwords {
		s.tokens[user] = c.signIn(user)
	}

	const samples = 12
	var series []sample
	t.Logf("questions  %s", header())
	for i := range samples {
		s.ask((i+1)*(*soakQuestions)/samples - s.asked)
		if t.Failed() {
			return
		}
		series = append(series, s.sample())
		t.Logf("%9d  %s", s.asked, series[i])
	}
	for _, part := range parts {
		before, after := series[samples/3-1][part.name], series[samples-1][part.name]
		for _, late := range series[samples-3 : samples-1] { // the least of the last three: memory goes up and down with collections
			after.memory = min(after.memory, late[part.name].memory)
		}
		if after.processes > part.most || after.processes == 0 {
			t.Errorf("%s: %d processes, want 1 to %d", part.name, after.processes, part.most)
		}
		if limit := before.memory*5/4 + 8<<20; after.memory > limit {
			t.Errorf("%s: resident memory of %d MB, after the first third it was %d MB", part.name, after.memory>>20, before.memory>>20)
		}
		if after.files > before.files+8 {
			t.Errorf("%s: %d file descriptors, after the first third %d", part.name, after.files, before.files)
		}
		if after.threads > before.threads+8 {
			t.Errorf("%s: %d threads, after the first third %d", part.name, after.threads, before.threads)
		}
	}
	s.checkGoroutines(logs)
}

// soak is a run of TestSoak.
type soak struct {
	*chain
	tokens map[string]string

	asked int
}

// session is the session of a person's turn: each user has one for each of the people, so that none is asked twice at once.
func session(person int, user string) string {
	return fmt.Sprintf("soak-%d-of-%s-%s", person, user, strings.Repeat("x", 24))
}

// ask asks n more questions, by all people at once.
func (s *soak) ask(n int) {
	s.t.Helper()
	next := make(chan int)
	var all sync.WaitGroup
	for person := range people {
		all.Go(func() {
			for i := range next {
				s.one(person, i)
			}
		})
	}
	for i := range n {
		if (s.asked+i)%20 == 19 {
			if err := disturbances[(s.asked+i)/20%len(disturbances)](s.chain); err != nil {
				s.t.Error(err)
			}
		}
		next <- s.asked + i
	}
	close(next)
	all.Wait()
	s.asked += n
}

// one asks the i-th question. Every tenth is asked in a session of its own, which then ends.
func (s *soak) one(person, i int) {
	q := mixed[i%len(mixed)]
	id := session(person, q.user)
	if i%10 == 9 {
		id = newSession()
		defer s.Runtime.EndSession(id)
	}
	var got reply
	var err error
	if q.streamed {
		got, err = s.streamAs(s.tokens[q.user], id, q.prompt, nil)
	} else {
		got.Answer, err = s.Stack.Ask(s.t.Context(), s.tokens[q.user], id, q.prompt)
	}
	switch {
	case err != nil:
		s.t.Errorf("question %d: %v", i, err)
	case got.Error != nil || got.cut || got.Response == "":
		s.t.Errorf("question %d, %q: %+v, cut off: %v", i, q.prompt, got.Error, got.cut)
	case q.want.Targets > 0 && (got.Coverage == nil || *got.Coverage != q.want):
		s.t.Errorf("question %d, %q: coverage %+v, want %+v\n%s", i, q.prompt, got.Coverage, q.want, got.Response)
	}
	s.check(got)
}

// part is a kind of process of the product.
type part struct {
	name     string // of its log file, too
	variable func(*chain) string
	most     int // processes
}

var (
	bridgePart      = part{"bridge", func(c *chain) string { return "AWS_MCP_ENDPOINT=" + c.MCPURL }, people}
	interceptorPart = part{"interceptor", func(*chain) string { return "AWS_LAMBDA_FUNCTION_NAME=central-ops-interceptor" }, 2 * people}
	agentPart       = part{"agent", func(c *chain) string { return "GATEWAY_URL=" + c.Stack.GatewayURL }, 3 * people} // alice's, bob's and carol's

	parts = []part{bridgePart, interceptorPart, agentPart}
)

// usage is what the processes of one part hold: the most that any of them does.
type usage struct{ processes, memory, threads, files int }

// sample is the usage by part.
type sample map[string]usage

func header() string {
	var b strings.Builder
	for _, part := range parts {
		fmt.Fprintf(&b, "| %-11s n  MB thr  fd ", part.name)
	}
	return b.String()
}

func (s sample) String() string {
	var b strings.Builder
	for _, part := range parts {
		u := s[part.name]
		fmt.Fprintf(&b, "| %13d %3d %3d %3d ", u.processes, u.memory>>20, u.threads, u.files)
	}
	return b.String()
}

func (s *soak) sample() sample {
	s.t.Helper()
	all := sample{}
	for _, part := range parts {
		var u usage
		for _, pid := range s.children(part) {
			u.processes++
			u.memory = max(u.memory, status(s.t, pid, "VmRSS")<<10)
			u.threads = max(u.threads, status(s.t, pid, "Threads"))
			files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
			if err != nil {
				s.t.Error(err)
			}
			u.files = max(u.files, len(files))
		}
		all[part.name] = u
	}
	return all
}

// children are the part's processes that this process has started: other tests have some, too.
func (s *soak) children(p part) []int {
	s.t.Helper()
	return slices.DeleteFunc(processesWith(s.t, p.variable(s.chain)), func(pid int) bool {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)) // another test's process may have ended meanwhile
		return err != nil || !bytes.Contains(text, fmt.Appendf(nil, "\nPPid:\t%d\n", os.Getpid()))
	})
}

// status reads a number from /proc/<pid>/status.
func status(t *testing.T, pid int, field string) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("/proc/%d/status has no %s", pid, field)
	return 0
}

// goroutineLine begins a goroutine's stack in what a Go program prints on SIGQUIT.
var goroutineLine = regexp.MustCompile(`(?m)^goroutine \d+ .*\[`)

// checkGoroutines holds the goroutines of a bridge and an agent that have answered all along to those of new ones.
func (s *soak) checkGoroutines(logs string) {
	s.t.Helper()
	endSessions := func() {
		for _, id := range s.Runtime.Sessions() {
			s.Runtime.EndSession(id)
		}
	}
	for _, p := range []struct {
		part
		retire func() // ends the processes that have answered so far, and returns when all that they have said is in the log
	}{{bridgePart, s.retireBridge}, {agentPart, endSessions}} {
		soaked := s.goroutines(p.part, p.retire, logs)
		for range 3 {
			if r := s.chain.ask(session(0, "alice")); r.Error != nil {
				s.t.Fatalf("after the soak: %+v", r.Error)
			}
		}
		fresh := s.goroutines(p.part, p.retire, logs)
		s.t.Logf("%s: %d goroutines, a new process has %d", p.name, soaked, fresh)
		if soaked > fresh+10 {
			s.t.Errorf("%s: %d goroutines after %d questions, a new process has %d", p.name, soaked, s.asked, fresh)
		}
	}
}

// goroutines ends the oldest process of a part by SIGQUIT, on which a Go program prints the stack of each goroutine, and
// counts them. All other processes of the part end, too.
func (s *soak) goroutines(p part, retire func(), logs string) int {
	s.t.Helper()
	file := filepath.Join(logs, p.name+".log")
	before, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	pid := slices.Min(s.children(p))
	if err := syscall.Kill(pid, syscall.SIGQUIT); err != nil {
		s.t.Fatal(err)
	}
	_ = syscall.Kill(pid, syscall.SIGCONT) // if it is frozen; it may have ended already
	s.awaitEnd(pid, p)
	retire()
	after, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	n := len(goroutineLine.FindAll(bytes.TrimPrefix(after, before), -1))
	if n == 0 {
		s.t.Errorf("%s: no goroutines in its log after SIGQUIT", p.name)
	}
	return n
}

// awaitEnd waits until the process is gone.
func (s *soak) awaitEnd(pid int, p part) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for slices.Contains(processesWith(s.t, p.variable(s.chain)), pid) {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			s.t.Fatalf("process %d did not end on SIGQUIT", pid)
		}
	}
}
