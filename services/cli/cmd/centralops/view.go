package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	centralops "github.com/central-ops/central-ops/services/cli"
	"github.com/central-ops/central-ops/services/cli/internal/bridge"
	"github.com/central-ops/central-ops/services/cli/internal/markdown"
	"github.com/central-ops/central-ops/services/cli/internal/profile"
	"github.com/central-ops/central-ops/services/cli/internal/terminal"
)

// view shows one answer while it comes.
type view struct {
	app       *app
	ctx       context.Context // of the question
	format    format
	style     markdown.Style // of standard output
	status    *terminal.Status
	directory *directory
	quiet     bool
	inChat    bool // the session is known; it is not printed

	blocks markdown.Splitter
	shown  bool // something of the answer was printed
	ended  bool // what was printed ends a line

	mu    sync.Mutex // guards what follows: accounts become known while the answer comes
	phase phase
	calls []call
	done  int                 // calls that have a result
	sum   centralops.Coverage // of the results so far
}

// phase is what goes on, as far as the events tell. The status line says how long for.
type phase int

const (
	asking phase = iota
	calling
	thinking
	answering
)

// call is a tool call and its result.
type call struct {
	centralops.ToolCall
	result *centralops.ToolResult
}

// newView returns the view of an answer to a question that ends with ctx. directory says how many accounts a tool call is for.
func (a *app) newView(ctx context.Context, how format, quiet bool, directory *directory) *view {
	v := &view{app: a, ctx: ctx, format: how, quiet: quiet, directory: directory}
	if how == formatHuman {
		v.style = a.style()
	}
	if !quiet {
		v.status = a.newStatus("asking")
	}
	return v
}

// event shows one event of the answer.
func (v *view) event(e centralops.Event) {
	switch e := e.(type) {
	case centralops.Text:
		v.text(e.Text)
	case centralops.ToolCall:
		v.flush()
		v.mu.Lock()
		v.calls = append(v.calls, call{ToolCall: e})
		v.progress()
		v.mu.Unlock()
		if v.status != nil && len(selectors(e)) > 0 {
			v.directory.ask(v.ctx, func() {
				v.mu.Lock()
				defer v.mu.Unlock()
				if v.phase == calling {
					v.progress()
				}
			})
		}
	case centralops.ToolResult:
		v.flush()
		v.mu.Lock()
		defer v.mu.Unlock()
		for i := range v.calls {
			if v.calls[i].ID == e.ID && v.calls[i].result == nil {
				v.calls[i].result = &e
				v.done++
				if e.Coverage != nil {
					v.sum.Targets += e.Coverage.Targets
					v.sum.Answered += e.Coverage.Answered
				}
				v.note(v.calls[i])
				break
			}
		}
		v.progress()
	}
}

// say shows line as what goes on in a phase; v.mu is held.
func (v *view) say(phase phase, line string) {
	if v.phase != phase {
		v.status.Restart()
	}
	v.phase = phase
	v.status.Set(line)
}

// progress says which calls run and what the others brought; v.mu is held. An agent's answer tells the start and the end of
// a call and nothing in between, so a bar only ever counts what has ended.
func (v *view) progress() {
	var running []string
	for _, c := range v.calls {
		if c.result == nil {
			running = append(running, v.directory.describe(c.ToolCall))
		}
	}
	if len(running) == 0 {
		v.say(thinking, "thinking")
		return
	}
	line := strings.Join(running, "; ")
	if len(v.calls) > 1 {
		counts := fmt.Sprintf("%d/%d calls", v.done, len(v.calls))
		if v.sum.Targets > 0 {
			counts += fmt.Sprintf(", %d/%d targets", v.sum.Answered, v.sum.Targets)
		}
		line = terminal.Bar(v.done, len(v.calls), barWidth) + " " + counts + ": " + line
	}
	v.say(calling, line)
}

// text shows a piece of the answer: at once when it is passed on as it is, block by block when it is
// rendered. Until a block is complete the status line shows its end.
func (v *view) text(s string) {
	switch {
	case v.format == formatJSON || v.format == formatCSV:
		return
	case v.style.Width == 0:
		v.print(markdown.Clean(s))
		return
	}
	v.show(v.blocks.Add(s))
	if v.status == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.say(answering, "answering … "+preview(v.blocks.Pending()))
}

// preview returns the end of a block that is not complete yet, without its markup.
func preview(block string) string {
	block = markdown.Clean(block)
	if rows := strings.Count(block, "\n|"); rows > 1 || strings.HasPrefix(block, "|") {
		if rows--; rows == 1 { // without header and rule
			return "a table, 1 row"
		}
		return fmt.Sprintf("a table, %d rows", max(rows, 0))
	}
	words := strings.Fields(strings.NewReplacer("*", "", "`", "", "_", " ").Replace(block))
	const shown = 8
	return strings.Join(words[max(len(words)-shown, 0):], " ")
}

// flush shows what is held back: what comes next is no part of that block.
func (v *view) flush() { v.show(v.blocks.Rest()) }

// show renders whole blocks.
func (v *view) show(blocks string) {
	if v.style.Width > 0 {
		v.style.Width = terminal.Width(v.app.stdout.file) // the window may be another size by now
	}
	rendered := markdown.Render(blocks, v.style)
	if rendered == "" {
		return
	}
	if v.shown {
		rendered = "\n" + rendered
	}
	v.print(rendered)
}

func (v *view) print(s string) {
	if s == "" {
		return
	}
	v.status.Print(func() { io.WriteString(v.app.stdout, s) })
	v.shown, v.ended = true, strings.HasSuffix(s, "\n")
}

// barWidth is the number of cells of a bar.
const barWidth = 10

// input is what a query of the bridge says about where it goes.
type input struct {
	Accounts  []string `json:"accounts"`
	Regions   []string `json:"regions"`
	Service   string   `json:"service"`
	Operation string   `json:"operation"`
}

// selectors returns the account selectors of a query, nil for another tool or for arguments that are none.
func selectors(c centralops.ToolCall) []string {
	var in input
	if json.Unmarshal(c.Input, &in) != nil || in.Operation == "" {
		return nil
	}
	return in.Accounts
}

// describe returns a tool call in words: "query ec2:DescribeInstances in all (34 accounts), eu-west-1". The number is left
// out as long as it is not known, and where the selectors say it.
func (d *directory) describe(c centralops.ToolCall) string {
	_, name := centralops.SplitTool(c.Name)
	var in input
	if json.Unmarshal(c.Input, &in) == nil && in.Operation != "" {
		name += " " + in.Service + ":" + in.Operation
		where := few(in.Accounts)
		if n, ok := d.count(in.Accounts); ok && len(where) > 0 {
			where[len(where)-1] += " (" + plural(n, "account") + ")"
		}
		if where = append(where, few(in.Regions)...); len(where) > 0 {
			name += " in " + strings.Join(where, ", ")
		}
	}
	return markdown.CleanLine(name)
}

// few returns a short form of a list.
func few(list []string) []string {
	const shown = 4
	short := append([]string{}, list[:min(len(list), shown)]...)
	if more := len(list) - shown; more > 0 {
		short = append(short, fmt.Sprintf("%d more", more))
	}
	return short
}

// plural returns n and the noun.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// note prints about a call that ended: a line, or two in a terminal that is too narrow for one.
func (v *view) note(c call) {
	if v.quiet {
		return
	}
	mark, what, outcome := "✓", (*directory)(nil).describe(c.ToolCall), "" // the outcome has the exact numbers
	if !c.result.OK {
		mark = "✗"
	}
	if coverage := c.result.Coverage; coverage != nil && coverage.Targets > 0 {
		if !coverage.Complete() {
			mark = "!"
		}
		outcome = fmt.Sprintf("%s %s  ", terminal.Bar(coverage.Answered, coverage.Targets, barWidth), coverage)
	} else if !c.result.OK {
		outcome = "failed  "
	}
	outcome += took(c.result.DurationMS)
	lines := []string{mark + " " + what + "  " + outcome}
	if terminal.Is(v.app.stderr) {
		if width := terminal.Width(v.app.stderr); markdown.Width(lines[0]) > width {
			lines = []string{markdown.Cut(mark+" "+what, width), markdown.Cut("  "+outcome, width)}
		}
	}
	v.status.Print(func() {
		if v.shown && !v.ended {
			io.WriteString(v.app.stdout, "\n")
			v.ended = true
		}
		fmt.Fprintln(v.app.stderr, strings.Join(lines, "\n"))
	})
}

// took returns a duration as a person reads it.
func took(ms int64) string {
	if ms < 1000 {
		return fmt.Sprintf("%d ms", ms)
	}
	return fmt.Sprintf("%.1f s", float64(ms)/1000)
}

// directory knows the accounts that the person may query. It asks the bridge for them once, in the background, and only
// when there is a call to be described: it delays nothing, and when it fails, descriptions lack a number. It is safe for
// concurrent use; a nil *directory knows nothing.
type directory struct {
	bridge bridge.Caller

	mu       sync.Mutex
	asked    bool
	accounts []centralops.Account // nil as long as they are not known
}

// newDirectory returns the directory of a profile's accounts; nil if it has no Gateway, or if a tool call would start a session
// of the agent's, which a number in a line is not worth.
func newDirectory(p profile.Profile, client *http.Client) *directory {
	if p.GatewayURL == "" || p.ByAgent() {
		return nil
	}
	return &directory{bridge: wayToBridge(p, client)}
}

// ask makes the accounts known and then calls known, unless they were asked for before.
func (d *directory) ask(ctx context.Context, known func()) {
	if d == nil {
		return
	}
	d.mu.Lock()
	asked := d.asked
	d.asked = true
	d.mu.Unlock()
	if asked {
		return
	}
	go func() {
		accounts, err := listAccounts(ctx, d.bridge)
		if err != nil {
			return
		}
		d.mu.Lock()
		d.accounts = accounts
		d.mu.Unlock()
		known()
	}()
}

// count returns how many of the accounts selectors stand for, if that is known and the selectors don't say it themselves.
func (d *directory) count(selectors []string) (n int, ok bool) {
	if d == nil {
		return 0, false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.accounts == nil || !centralops.Collective(selectors) {
		return 0, false
	}
	return centralops.CountSelected(d.accounts, selectors), true
}

// finish prints what comes after the answer and returns how the command ends.
func (v *view) finish(answer centralops.Answer, err error) error {
	v.flush()
	v.status.Close()
	if v.shown && !v.ended {
		io.WriteString(v.app.stdout, "\n")
	}
	switch v.format {
	case formatJSON:
		return v.finishJSON(answer, err)
	case formatCSV:
		if err != nil {
			return err
		}
		rows := markdown.Table(answer.Response)
		if rows == nil {
			return &centralops.Error{Op: "--csv", Code: centralops.NotFound, Message: "the answer has no table",
				Hint: "the question again with \"as a table\" added, or without --csv"}
		}
		if err := markdown.WriteCSV(v.app.stdout, rows); err != nil {
			return fmt.Errorf("write CSV: %w", err)
		}
		// Rows alone don't say that some are missing.
		fmt.Fprint(v.app.stderr, proof(answer, markdown.Style{}))
	default:
		if text := proof(answer, v.style); text != "" {
			if v.shown {
				text = "\n" + text
			}
			io.WriteString(v.app.stdout, text)
		}
		if err != nil {
			return err
		}
		if !v.quiet && !v.inChat {
			fmt.Fprintf(v.app.stderr, "Session: %s\n", markdown.CleanLine(answer.SessionID))
		}
	}
	return exit(v.exit(answer))
}

// exit returns the exit status of an answer. One for which tools were called in vain is no answer,
// although the agent says so in good words. Of a call whose result did not come only the answer's coverage tells.
func (v *view) exit(answer centralops.Answer) int {
	inVain := false
	for _, c := range v.calls {
		if c.result != nil && c.result.OK {
			return answer.Exit()
		}
		inVain = inVain || c.result != nil
	}
	if inVain {
		return centralops.ExitFailed
	}
	return answer.Exit()
}

// finishJSON prints one JSON object, also for a failure: then it has the member error, and what had
// come of the answer.
func (v *view) finishJSON(answer centralops.Answer, err error) error {
	var object any = answer
	if err != nil {
		members := map[string]any{}
		for name, raw := range answer.Members {
			members[name] = raw
		}
		if answer.Response != "" {
			members["response"] = answer.Response
		}
		members["error"] = failure(err)
		object = members
	}
	if err := v.app.printJSON(object); err != nil {
		return err
	}
	if err != nil {
		return err
	}
	return exit(v.exit(answer))
}

// failure returns err as JSON shows it.
func failure(err error) *centralops.Error {
	var known *centralops.Error
	if errors.As(err, &known) {
		return known
	}
	return &centralops.Error{Code: centralops.Internal, Message: err.Error()}
}
