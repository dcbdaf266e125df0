package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	centralops "github.com/central-ops/central-ops/services/cli"
	"github.com/central-ops/central-ops/services/cli/internal/markdown"
	"github.com/central-ops/central-ops/services/cli/internal/terminal"
)

// format is how an answer is printed.
type format int

const (
	formatHuman    format = iota // rendered in a terminal, as it came when piped; with coverage and receipts
	formatMarkdown               // as it came, with coverage and receipts as markdown
	formatJSON                   // the whole answer as one JSON object
	formatCSV                    // the rows of its last table
)

func (a *app) askCommand() *cobra.Command {
	var asJSON, asMarkdown, asCSV, quiet bool
	var session string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "ask <question>",
		Short: "Ask one question",
		Long: `Asks one question and shows the answer as it comes, then its coverage (how many targets answered; a target is
an account and a Region) and its receipts (who was asked, and as whom). Tool calls and progress go to
standard error. The question is read from standard input if it is "-".

A session is a conversation: a question with the session of an earlier answer may refer to it.`,
		Example: `  centralops ask "Which accounts have instances running in eu-west-1?"
  centralops ask --csv "List all S3 buckets with their accounts" > buckets.csv
  centralops ask --json "How many Lambda functions run on Python 3.9?" | jq .coverage`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("ask takes one question, in quotes; got %d arguments", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			how := formatHuman
			chosen := 0
			for _, option := range []struct {
				set    bool
				format format
			}{{asMarkdown, formatMarkdown}, {asJSON, formatJSON}, {asCSV, formatCSV}} {
				if option.set {
					how = option.format
					chosen++
				}
			}
			if chosen > 1 {
				return usage("centralops ask --help", "--json, --markdown and --csv exclude each other")
			}
			if timeout <= 0 {
				return usage("--timeout 5m", "--timeout must be more than 0, got %v", timeout)
			}
			if session == "" {
				session = centralops.NewSessionID()
			} else if err := centralops.CheckSessionID(session); err != nil {
				return err
			}
			question, err := a.question(args[0])
			if err != nil {
				return err
			}
			p, store, err := a.profile("runtime_url", "runtime_arn", "qualifier")
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			view := a.newView(how, quiet)
			answer, err := a.agent(p, a.client(p, store)).Invoke(ctx, session, question, view.event)
			return view.finish(answer, err)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&asJSON, "json", false, "print the whole answer as one JSON object")
	flags.BoolVar(&asMarkdown, "markdown", false, "print markdown, also in a terminal")
	flags.BoolVar(&asCSV, "csv", false, "print the rows of the answer's last table as CSV")
	flags.BoolVarP(&quiet, "quiet", "q", false, "show no progress")
	flags.StringVar(&session, "session", "", "continue the session with this `id`")
	flags.DurationVar(&timeout, "timeout", 5*time.Minute, "give up after this `time`")
	return cmd
}

// maxQuestion is the most bytes of a question that are read from standard input.
const maxQuestion = 1 << 20

func (a *app) question(arg string) (string, error) {
	if arg == "-" {
		raw, err := io.ReadAll(io.LimitReader(a.stdin, maxQuestion))
		if err != nil {
			return "", fmt.Errorf("read the question: %w", err)
		}
		arg = string(raw)
	}
	if arg = strings.TrimSpace(arg); arg == "" {
		return "", usage(`centralops ask "Which accounts have instances running in eu-west-1?"`, "the question is empty")
	}
	return arg, nil
}

// view shows one answer while it comes.
type view struct {
	app    *app
	format format
	style  markdown.Style // of standard output
	status *terminal.Status
	quiet  bool
	inChat bool // the session is known; it is not printed

	blocks markdown.Splitter
	shown  bool // something of the answer was printed
	ended  bool // what was printed ends a line
	calls  []call
	done   int // calls that have a result
}

// call is a tool call and its result.
type call struct {
	centralops.ToolCall
	result *centralops.ToolResult
}

func (a *app) newView(how format, quiet bool) *view {
	v := &view{app: a, format: how, quiet: quiet}
	if how == formatHuman {
		v.style = a.style(a.stdout)
	}
	if !quiet && terminal.Is(a.stderr) && a.getenv("TERM") != "dumb" {
		v.status = terminal.NewStatus(a.stderr)
		v.status.Set("asking")
	}
	return v
}

// event shows one event of the answer.
func (v *view) event(e centralops.Event) {
	switch e := e.(type) {
	case centralops.Text:
		v.text(e.Text)
	case centralops.ToolCall:
		v.calls = append(v.calls, call{ToolCall: e})
		v.flush()
		v.status.Set(v.working())
	case centralops.ToolResult:
		for i := range v.calls {
			if v.calls[i].ID == e.ID && v.calls[i].result == nil {
				v.calls[i].result = &e
				v.done++
				v.flush()
				v.note(v.calls[i])
				break
			}
		}
		v.status.Set(v.working())
	}
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
	pending := strings.Fields(markdown.Clean(v.blocks.Pending()))
	const words = 8
	if len(pending) > words {
		pending = pending[len(pending)-words:]
	}
	v.status.Set(strings.Join(append([]string{"answering …"}, pending...), " "))
}

// flush shows what is held back: what comes next is no part of that block.
func (v *view) flush() { v.show(v.blocks.Rest()) }

// show renders whole blocks.
func (v *view) show(blocks string) {
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

// working says what is going on: which calls run, and how many are done.
func (v *view) working() string {
	var running []string
	for _, c := range v.calls {
		if c.result == nil {
			running = append(running, describe(c.ToolCall))
		}
	}
	if len(running) == 0 {
		return "thinking"
	}
	line := strings.Join(running, "; ")
	if len(v.calls) > 1 {
		line = fmt.Sprintf("%s %d/%d calls: %s", terminal.Bar(v.done, len(v.calls), barWidth), v.done, len(v.calls), line)
	}
	return line
}

// barWidth is the number of cells of a bar.
const barWidth = 10

// describe returns a tool call in words: "query ec2:DescribeInstances in all, eu-west-1".
func describe(c centralops.ToolCall) string {
	_, name := centralops.SplitTool(c.Name)
	var input struct {
		Accounts  []string `json:"accounts"`
		Regions   []string `json:"regions"`
		Service   string   `json:"service"`
		Operation string   `json:"operation"`
	}
	if json.Unmarshal(c.Input, &input) == nil && input.Operation != "" {
		name += " " + input.Service + ":" + input.Operation
		if where := append(few(input.Accounts), few(input.Regions)...); len(where) > 0 {
			name += " in " + strings.Join(where, ", ")
		}
	}
	return markdown.CleanLine(name)
}

// few returns a short form of a list.
func few(list []string) []string {
	const shown = 4
	if len(list) <= shown {
		return list
	}
	return append(append([]string{}, list[:shown]...), fmt.Sprintf("%d more", len(list)-shown))
}

// note prints one line about a call that ended.
func (v *view) note(c call) {
	if v.quiet {
		return
	}
	mark, line := "✓", describe(c.ToolCall)
	if !c.result.OK {
		mark = "✗"
	}
	if coverage := c.result.Coverage; coverage != nil && coverage.Targets > 0 {
		if !coverage.Complete() {
			mark = "!"
		}
		line += fmt.Sprintf("  %s %s", terminal.Bar(coverage.Answered, coverage.Targets, barWidth), coverage)
	} else if !c.result.OK {
		line += "  failed"
	}
	line += fmt.Sprintf("  %d ms", c.result.DurationMS)
	v.status.Print(func() {
		if v.shown && !v.ended {
			io.WriteString(v.app.stdout, "\n")
			v.ended = true
		}
		fmt.Fprintln(v.app.stderr, mark+" "+line)
	})
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
		if err != nil {
			return err
		}
		if text := proof(answer, v.style); text != "" {
			if v.shown {
				text = "\n" + text
			}
			io.WriteString(v.app.stdout, text)
		}
		if !v.quiet && !v.inChat {
			fmt.Fprintf(v.app.stderr, "Session: %s\n", markdown.CleanLine(answer.SessionID))
		}
	}
	return exit(v.exit(answer))
}

// exit returns the exit status of an answer. One for which tools were called in vain is no answer,
// although the agent says so in good words.
func (v *view) exit(answer centralops.Answer) int {
	for _, c := range v.calls {
		if c.result != nil && c.result.OK {
			return answer.Exit()
		}
	}
	if len(v.calls) > 0 {
		return centralops.ExitFailed
	}
	return answer.Exit()
}

// finishJSON prints one JSON object, also for a failure: then it has the member error, and what had
// come of the answer.
func (v *view) finishJSON(answer centralops.Answer, err error) error {
	var object any = answer
	if err != nil {
		object = struct {
			Error    *centralops.Error `json:"error"`
			Response string            `json:"response,omitempty"`
		}{failure(err), answer.Response}
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

// shownReceipts is how many receipts are listed; --json has all.
const shownReceipts = 20

// proof returns coverage and receipts as text: rendered for a terminal if style has a width, else
// markdown. It is empty if no account was asked.
func proof(answer centralops.Answer, style markdown.Style) string {
	var out strings.Builder
	if c := answer.Coverage; c != nil && c.Targets > 0 {
		fmt.Fprintf(&out, "**Coverage:** %s.", c)
		if !c.Complete() {
			out.WriteString(" The answer is partial.")
		}
		out.WriteString("\n\n")
	}
	if answer.StoppedBy != "" {
		fmt.Fprintf(&out, "**Stopped early** by the agent's bound %s. The answer is partial.\n\n", cell(answer.StoppedBy))
	}
	writeReceipts(&out, answer.Receipts)
	if style.Width > 0 {
		return markdown.Render(out.String(), style)
	}
	return out.String()
}

// receiptColumns are what a receipt says besides account and status, and how a sentence says it.
var receiptColumns = []struct {
	header, word string
	value        func(centralops.Receipt) string
}{
	{"Operation", "", func(r centralops.Receipt) string { return r.Operation }},
	{"Region", "in", func(r centralops.Receipt) string { return r.Region }},
	{"As", "as", func(r centralops.Receipt) string { return roleName(r.RoleARN) }},
	{"For", "for", func(r centralops.Receipt) string { return r.SourceIdentity }},
}

// writeReceipts writes receipts as a sentence with what is the same in all of them, and a table of
// what differs. Targets that did not answer come first: that is what a reader has to know.
func writeReceipts(out *strings.Builder, receipts []centralops.Receipt) {
	if len(receipts) == 0 {
		return
	}
	sentence, header, rule := "**Receipts:**", "| Account |", "|---|"
	var differ []func(centralops.Receipt) string
	for _, column := range receiptColumns {
		values := map[string]bool{}
		for _, r := range receipts {
			if value := column.value(r); value != "" { // one that was never asked has no role
				values[value] = true
			}
		}
		switch len(values) {
		case 0:
		case 1:
			for value := range values {
				sentence += strings.TrimRight(" "+column.word, " ") + " " + cell(value)
			}
		default:
			header, rule = header+" "+column.header+" |", rule+"---|"
			differ = append(differ, column.value)
		}
	}
	fmt.Fprintf(out, "%s\n\n%s Status |\n%s---|\n", sentence, header, rule)
	listed := 0
	for _, wanted := range []bool{false, true} {
		for _, r := range receipts {
			if answered := r.Status == "" || r.Status == "ok"; answered != wanted || listed == shownReceipts {
				continue
			}
			listed++
			fmt.Fprintf(out, "| %s |", cell(strings.TrimSpace(r.AccountName+" "+r.AccountID)))
			for _, value := range differ {
				fmt.Fprintf(out, " %s |", cell(value(r)))
			}
			fmt.Fprintf(out, " %s |\n", cell(why(r.Status, r.Error)))
		}
	}
	if more := len(receipts) - listed; more > 0 {
		fmt.Fprintf(out, "\n%d more receipts: --json has them all.\n", more)
	}
}

// why returns a target's status with the reason for it.
func why(status string, err *centralops.Error) string {
	status = first(status, "ok")
	if err == nil {
		return status
	}
	return status + ": " + strings.TrimPrefix(first(err.Message, string(err.Code)), status+": ")
}

// roleName returns the name at the end of a role's ARN.
func roleName(arn string) string { return arn[strings.LastIndex(arn, "/")+1:] }

// cell returns s as the text of a cell of a markdown table.
func cell(s string) string {
	return strings.NewReplacer(`\`, `\\`, "|", `\|`, "`", "\\`", "*", `\*`, "_", `\_`, "<", `\<`, "[", `\[`).Replace(markdown.CleanLine(s))
}
