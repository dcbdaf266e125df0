package faults_test

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/central-ops/central-ops/e2e"
	"github.com/central-ops/central-ops/e2e/local/awsmcp"
	"github.com/central-ops/central-ops/e2e/local/stsfront"
	gocmp "github.com/google/go-cmp/cmp"
)

// matrixFile is the table that the run must agree with.
const matrixFile = "../../docs/fault-matrix.md"

// line is a row of the table: what a fault led to.
type line struct {
	fault, where string
	coverage     string // of the answer while the fault lasts
	code         string // of the targets that failed, or of the refusal
	said         string // message and hint, of the first target that failed or of the refusal
	next         string // the answer to the next question
}

// row is a fault of which the bridge alone, as a function, can show what comes of it.
type row struct {
	fault, where string
	settings
	warm   bool           // a question went before, so that credentials, keys and MCP sessions are there
	inject func(*world)   // before the question
	asking func(w *world) // after the question, while the fault lasts
	want   e2e.Coverage   // zero: the question is refused as a whole
	code   string         // of every target that did not answer, or of the refusal
	// remembered: the bridge keeps a refusal for 30 s, for the person who was refused. Whoever asks then is another one.
	remembered bool
}

const (
	atMCP      = "AWS MCP Server"
	atSTS      = "STS"
	atKeys     = "the user pool's keys"
	atLambda   = "Lambda"
	atDynamoDB = "DynamoDB"

	second = "200000000001" // of the world's accounts
	script = "aws___run_script"
)

// short is the timeout of a function whose deadline a row waits for: the bridge answers 2 s before it. It is long enough for
// three accounts on a busy machine.
const short = 8 * time.Second

// rows are the faults around the bridge. Where nothing else is said, three accounts are asked and the bridge has 28 s.
var rows = []row{
	{
		fault: "429 three times in each account, then no more", where: atMCP,
		inject: func(w *world) {
			for _, account := range w.accounts {
				f := awsmcp.Throttled
				f.Account, f.Tool, f.Times = account, script, 3
				w.mcp.Inject(f)
			}
		},
		want: e2e.Coverage{Targets: 3, Answered: 3},
	},
	{
		fault: "429 to everything, without end", where: atMCP, warm: true, // it gives up before the deadline
		inject: func(w *world) { w.mcp.Inject(awsmcp.Throttled) },
		want:   e2e.Coverage{Targets: 3, Failed: 3}, code: "throttled",
	},
	{
		fault: "429 with Retry-After beyond the deadline, one account", where: atMCP,
		inject: func(w *world) {
			f := awsmcp.Throttled.RetryAfter(60)
			f.Account = second
			w.mcp.Inject(f)
		},
		want: e2e.Coverage{Targets: 3, Answered: 2, Failed: 1}, code: "throttled",
	},
	{
		fault: "503 once in each account", where: atMCP,
		inject: func(w *world) {
			for _, account := range w.accounts {
				f := awsmcp.Unavailable
				f.Account, f.Tool, f.Times = account, script, 1
				w.mcp.Inject(f)
			}
		},
		want: e2e.Coverage{Targets: 3, Answered: 3},
	},
	{
		fault: "503 to everything, without end", where: atMCP, // it gives up before the deadline
		inject: func(w *world) { w.mcp.Inject(awsmcp.Unavailable) },
		want:   e2e.Coverage{Targets: 3, Failed: 3}, code: "unavailable",
	},
	{
		fault: "hangs, one account", where: atMCP, warm: true, settings: settings{timeout: short},
		inject: func(w *world) { w.mcp.Inject(awsmcp.Fault{Account: second, Hang: true}) },
		want:   e2e.Coverage{Targets: 3, Answered: 2, Failed: 1}, code: "timeout",
	},
	{
		fault: "hangs, every account", where: atMCP, settings: settings{timeout: short},
		inject: func(w *world) { w.mcp.Inject(awsmcp.Fault{Hang: true}) },
		want:   e2e.Coverage{Targets: 3, Failed: 3}, code: "timeout",
	},
	{
		fault: "connection reset, once in each account", where: atMCP,
		inject: func(w *world) {
			for _, account := range w.accounts {
				w.mcp.Inject(awsmcp.Fault{Account: account, Tool: script, Times: 1, Reset: true})
			}
		},
		want: e2e.Coverage{Targets: 3, Answered: 3},
	},
	{
		fault: "connection reset, every time", where: atMCP,
		inject: func(w *world) { w.mcp.Inject(awsmcp.Fault{Reset: true}) },
		want:   e2e.Coverage{Targets: 3, Failed: 3}, code: "unavailable",
	},
	{
		fault: "headers come after 1 s", where: atMCP, warm: true,
		inject: func(w *world) { w.mcp.Inject(awsmcp.Fault{Tool: script, Delay: time.Second}) },
		want:   e2e.Coverage{Targets: 3, Answered: 3},
	},
	{
		fault: "headers come after the deadline, one account", where: atMCP, warm: true, settings: settings{timeout: short},
		inject: func(w *world) { w.mcp.Inject(awsmcp.Fault{Account: second, Tool: script, Delay: time.Minute}) },
		want:   e2e.Coverage{Targets: 3, Answered: 2, Failed: 1}, code: "timeout",
	},
	{
		fault: "server-sent events cut off, once in each account", where: atMCP,
		inject: func(w *world) {
			for _, account := range w.accounts {
				w.mcp.Inject(awsmcp.Fault{Account: account, Tool: script, Times: 1, CutSSE: true})
			}
		},
		want: e2e.Coverage{Targets: 3, Answered: 3},
	},
	{
		fault: "server-sent events cut off, every time", where: atMCP,
		inject: func(w *world) { w.mcp.Inject(awsmcp.Fault{Tool: script, CutSSE: true}) },
		want:   e2e.Coverage{Targets: 3, Failed: 3}, code: "unavailable",
	},
	{
		fault: "all MCP sessions end in the middle of a fan-out over 100 accounts", where: atMCP, warm: true,
		settings: settings{accounts: 100},
		inject:   func(w *world) { w.atScript(30, func() { w.mcp.EndSessions("") }) },
		want:     e2e.Coverage{Targets: 100, Answered: 100},
	},
	{
		fault: "all role sessions expire in the middle of a fan-out over 100 accounts", where: atSTS, warm: true,
		settings: settings{accounts: 100},
		inject:   func(w *world) { w.atScript(30, w.expireSessions) },
		want:     e2e.Coverage{Targets: 100, Answered: 100},
	},
	{
		fault: "clock 10 min ahead of the bridge's", where: atMCP, warm: true,
		inject: func(w *world) { w.mcpAhead.Store(int64(10 * time.Minute)) },
		want:   e2e.Coverage{Targets: 3, Failed: 3}, code: "unauthenticated",
	},
	{
		fault: "clock 10 min ahead of the bridge's", where: atSTS,
		inject: func(w *world) { w.stsAhead.Store(int64(10 * time.Minute)) },
		want:   e2e.Coverage{Targets: 3, Answered: 3},
	},
	{
		fault: "throttled once in each account", where: atSTS,
		inject: func(w *world) {
			for _, account := range w.accounts {
				w.sts.Inject(stsfront.Fault{Account: account, Times: 1, Error: stsfront.Throttled})
			}
		},
		want: e2e.Coverage{Targets: 3, Answered: 3},
	},
	{
		fault: "hangs, one account", where: atSTS, settings: settings{timeout: short},
		inject: func(w *world) { w.sts.Inject(stsfront.Fault{Account: second, Hang: true}) },
		want:   e2e.Coverage{Targets: 3, Answered: 2, Failed: 1}, code: "timeout",
	},
	{
		fault: "one account denied", where: atSTS,
		inject: func(w *world) { w.sts.Inject(stsfront.Fault{Account: second, Denied: true}) },
		want:   e2e.Coverage{Targets: 3, Answered: 2, Denied: 1}, code: "forbidden", remembered: true,
	},
	{
		fault: "half of 100 accounts denied", where: atSTS, settings: settings{accounts: 100},
		inject: func(w *world) {
			for i := 0; i < len(w.accounts); i += 2 {
				w.sts.Inject(stsfront.Fault{Account: w.accounts[i], Denied: true})
			}
		},
		want: e2e.Coverage{Targets: 100, Answered: 50, Denied: 50}, code: "forbidden", remembered: true,
	},
	{
		fault: "keys rotated, the old ones withdrawn", where: atKeys, warm: true,
		inject: func(w *world) {
			if err := w.keys.Rotate(); err != nil {
				w.t.Fatal(err)
			}
			w.keys.RetireOldKeys()
		},
		want: e2e.Coverage{Targets: 3, Answered: 3},
	},
	{
		fault: "down when the bridge starts", where: atKeys,
		inject: func(w *world) { w.keys.SetOutage(true) },
		code:   "unavailable",
	},
	{
		fault: "down when the bridge has the keys", where: atKeys, warm: true,
		inject: func(w *world) { w.keys.SetOutage(true) },
		want:   e2e.Coverage{Targets: 3, Answered: 3},
	},
	{
		fault: "process stopped in the middle of a fan-out until Lambda's timeout kills it", where: atLambda, warm: true,
		settings: settings{timeout: short},
		inject: func(w *world) {
			pid, over := w.bridgePID(), make(chan struct{})
			w.atScript(2, func() {
				_ = syscall.Kill(pid, syscall.SIGSTOP) // if it has ended, the outcome says so
				<-over                                 // the signal takes its time: without this answer the bridge is not done
			})
			w.over = func() { close(over) }
		},
		asking: func(w *world) { w.over() },
		code:   "Sandbox.Timedout",
	},
	{
		fault: "frozen for an hour: role sessions and MCP sessions ended, connections dead", where: atLambda, warm: true,
		inject: func(w *world) {
			if err := w.lambda.FreezeIdle(function); err != nil {
				w.t.Fatal(err)
			}
			w.expireSessions()
			w.mcp.EndSessions("")
			w.dropConnections()
		},
		asking: func(w *world) {
			if stats, err := w.lambda.Stats(function); err != nil || stats.Started != 1 {
				w.t.Errorf("%d environments, want the frozen one to answer (%v)", stats.Started, err)
			}
		},
		want: e2e.Coverage{Targets: 3, Answered: 3},
	},
	{
		fault: "session table throttled", where: atDynamoDB,
		settings: settings{env: map[string]string{"SESSION_TABLE": "sessions"}},
		inject:   func(w *world) { w.database.throttled.Store(true) },
		asking:   refusedSomething,
		want:     e2e.Coverage{Targets: 3, Answered: 3},
	},
	{
		fault: "accounts table throttled when the bridge starts", where: atDynamoDB,
		settings: settings{env: map[string]string{"TARGET_ACCOUNTS": "", "ACCOUNTS_TABLE": "accounts"}},
		inject:   func(w *world) { w.database.throttled.Store(true) },
		asking:   refusedSomething,
		code:     "unavailable",
	},
}

func refusedSomething(w *world) {
	if w.database.refused.Load() == 0 {
		w.t.Error("DynamoDB was not asked")
	}
}

// TestFaultMatrix runs every row and holds docs/fault-matrix.md to what it sees.
func TestFaultMatrix(t *testing.T) {
	var mu sync.Mutex
	seen := map[int]line{}
	record := func(i int, l line) {
		mu.Lock()
		defer mu.Unlock()
		seen[i] = l
	}
	t.Run("rows", func(t *testing.T) { // returns when the parallel rows have ended
		for i, r := range rows {
			t.Run(r.where+" "+r.fault, func(t *testing.T) {
				t.Parallel()
				record(i, r.run(t))
			})
		}
		t.Run("chain", func(t *testing.T) {
			t.Parallel()
			runChain(t, func(i int, l line) { record(len(rows)+i, l) })
		})
	})
	if t.Failed() {
		return
	}
	if len(seen) < len(rows)+len(chainRows) {
		t.Logf("%s is not compared: %d of %d rows were run", matrixFile, len(seen), len(rows)+len(chainRows))
		return
	}
	var lines []line
	for _, i := range slices.Sorted(maps.Keys(seen)) {
		lines = append(lines, seen[i])
	}
	compare(t, page(lines))
}

// run carries one row out.
func (r row) run(t *testing.T) line {
	w := newWorld(t, r.settings)
	whole := e2e.Coverage{Targets: len(w.accounts), Answered: len(w.accounts)}
	if r.warm {
		if a := w.ask(w.token(olivia)); a.Coverage != whole {
			t.Fatalf("before the fault: coverage %+v, error %+v %s", a.Coverage, a.Error, a.Last)
		}
	}
	r.inject(w)
	got := w.ask(w.token(olivia))
	w.check(got)
	if r.asking != nil {
		r.asking(w)
	}
	code, said := got.failure()
	if got.Coverage != r.want || code != r.code {
		t.Errorf("coverage %+v with code %q, want %+v with %q: %s", got.Coverage, code, r.want, r.code, said)
	}
	if code != "" && code != "Sandbox.Timedout" && !strings.Contains(said, "; ") {
		t.Errorf("%q has no hint", said)
	}
	w.heal()
	asker, next := olivia, ""
	if r.remembered {
		if a := w.ask(w.token(olivia)); a.Coverage != r.want {
			t.Errorf("the next question: coverage %+v, want that of the first", a.Coverage)
		}
		asker, next = peter, "for 30 s the same, as a refusal is remembered; another person's: "
	}
	a := w.ask(w.token(asker))
	w.check(a)
	if a.Coverage != whole {
		code, said := a.failure()
		t.Errorf("the next question: coverage %+v, %s %s", a.Coverage, code, said)
	}
	return line{r.fault, r.where, covered(got.Coverage), code, said, next + covered(a.Coverage)}
}

// failure returns the codes of what failed, and the first sentence about it with its hint.
func (a queryAnswer) failure() (code, said string) {
	switch {
	case a.Kill != "":
		return a.Kill, stable(a.Last)
	case a.Error != nil:
		return a.Error.Code, sentence(a.Error)
	}
	codes := map[string]bool{}
	for _, r := range a.Results {
		if r.Error != nil {
			codes[r.Error.Code] = true
			said = cmp.Or(said, sentence(r.Error))
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(codes)), ", "), said
}

func sentence(f *e2e.Fault) string {
	if f.Hint == "" {
		return stable(f.Message)
	}
	return stable(f.Message + "; " + f.Hint)
}

// unstable is what differs from run to run.
var unstable = []struct {
	pattern *regexp.Regexp
	to      string
}{
	{regexp.MustCompile(`127\.0\.0\.1:\d+(->127\.0\.0\.1:\d+)?`), "127.0.0.1:…"},
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "…"},
	{regexp.MustCompile(`us-east-1_\w+`), "<pool>"},
	{regexp.MustCompile(`(?i)request ?id: …`), "request …"},
	{regexp.MustCompile(`\d{8}T\d{6}Z`), "<time>"},
	// A connection that is cut is seen in the one or the other way, and so is the deadline: by the fan-out or by one of its calls.
	{regexp.MustCompile(`(unexpected )?EOF|read tcp \S+: read: connection reset by peer|http: server closed idle connection`), "EOF"},
	{regexp.MustCompile(`^(ask account|call the AWS MCP Server|assume target role): (no answer).*( within the time for this query).*(; ask again).*`), "… $2$3 …$4 …"},
}

func stable(text string) string {
	for _, u := range unstable {
		text = u.pattern.ReplaceAllString(text, u.to)
	}
	return strings.Join(strings.Fields(text), " ")
}

// covered writes coverage as a person would say it.
func covered(c e2e.Coverage) string {
	if c.Targets == 0 {
		return "none"
	}
	text := fmt.Sprintf("%d of %d answered", c.Answered, c.Targets)
	for _, part := range []struct {
		n    int
		what string
	}{{c.Denied, "denied"}, {c.Failed, "failed"}, {c.Skipped, "skipped"}} {
		if part.n > 0 {
			text += fmt.Sprintf(", %d %s", part.n, part.what)
		}
	}
	return text
}

const head = `# What goes wrong, and what comes of it

Each row is a fault that was made on purpose, and what the real binaries did about it. This page is written by the test that
makes the faults; a run that ends otherwise fails:

    cd e2e && go test ./faults -run TestFaultMatrix            # holds this page to the run
    cd e2e && go test ./faults -run TestFaultMatrix -update    # rewrites it

In every row the test has checked besides: each target stands in the answer exactly once and is counted once, a target without an
error has its rows, and the question after the fault is answered in full. So *next question* is the same everywhere, unless a
row says otherwise.

`

const betweenTables = `
## Through the whole chain

Asked as alice at the Runtime: "How many EC2 instances are there in all accounts in us-east-1?" The real agent, interceptor and bridge run on
the local platform; the offline planner answers for the model, and AWS calls are answered without Python. What is said is the answer's
last paragraph, which the agent adds whatever the model wrote, or the error with its hint.

`

func page(lines []line) string {
	var b strings.Builder
	b.WriteString(head)
	b.WriteString("## Around the bridge\n\nAsked of the bridge's binary as a Lambda function, as the Gateway would: `query` for ec2:DescribeInstances in all accounts.\n\n")
	writeTable(&b, lines[:len(rows)])
	b.WriteString(betweenTables)
	writeTable(&b, lines[len(rows):])
	return b.String()
}

func writeTable(b *strings.Builder, lines []line) {
	b.WriteString("| where | fault | coverage | code | what is said | next question |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, l := range lines {
		cells := []string{l.where, l.fault, l.coverage, cmp.Or(l.code, "-"), cmp.Or(l.said, "-"), l.next}
		for i := range cells {
			cells[i] = strings.NewReplacer("|", `\|`, "<", "&lt;").Replace(cells[i])
		}
		fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
	}
}

// compare holds the page to the run, or rewrites it.
func compare(t *testing.T, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(matrixFile, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(matrixFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s mismatch (-want +got); -update rewrites it:\n%s", matrixFile, diff)
	}
}
