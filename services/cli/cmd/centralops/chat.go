package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	centralops "github.com/central-ops/central-ops/services/cli"
	"github.com/central-ops/central-ops/services/cli/internal/bridge"
	"github.com/central-ops/central-ops/services/cli/internal/markdown"
	"github.com/central-ops/central-ops/services/cli/internal/runtime"
	"github.com/central-ops/central-ops/services/cli/internal/terminal"
)

func (a *app) chatCommand() *cobra.Command {
	var session string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "chat",
		Short: "Ask questions that build on each other",
		Long: `Reads questions from the terminal and shows the answers; each may refer to what was said before. Ctrl-C cancels
the question, not the program; Ctrl-D ends it. The arrow keys bring earlier lines back.

` + slashHelp(),
		Example: `  centralops chat`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !terminal.Is(a.stdin) || !terminal.Is(a.stdout.file) {
				return usage("centralops ask <question>", "chat needs a terminal")
			}
			if session == "" {
				session = centralops.NewSessionID()
			} else if err := centralops.CheckSessionID(session); err != nil {
				return err
			}
			p, store, err := a.profile("runtime_url", "runtime_arn", "qualifier", "gateway_url")
			if err != nil {
				return err
			}
			client := a.client(p, store)
			editor := terminal.NewEditor(a.stdin, a.stdout.file, store.HistoryPath(p.Name), completeSlash)
			editor.Dumb = a.getenv("TERM") == "dumb"
			c := &chat{app: a, editor: editor, agent: a.agent(p, client), session: session, timeout: timeout,
				bridge: wayToBridge(p, client), directory: newDirectory(p, client)}
			fmt.Fprintf(a.stdout, "Ask about your AWS accounts (%s). /help lists commands, Ctrl-D ends.\n", markdown.CleanLine(p.Name))
			// An interrupt cancels the program's context for good; here it is about one question.
			return c.loop(context.WithoutCancel(cmd.Context()))
		},
	}
	cmd.Flags().StringVar(&session, "session", "", "continue the session with this `id`")
	timeoutFlag(cmd, &timeout, 5*time.Minute, "give up on a question after this `time`")
	return cmd
}

// chat is one conversation at a terminal.
type chat struct {
	app    *app
	editor *terminal.Editor
	agent  *runtime.Client
	bridge bridge.Caller

	directory *directory
	session   string
	timeout   time.Duration
	said      []exchange
}

// exchange is a question and its answer.
type exchange struct {
	Question string
	Answer   centralops.Answer
	Err      error // nil if the answer is whole
}

// slashCommand is a line that is for this program, not for the agent.
type slashCommand struct {
	name, args, help string
	run              func(c *chat, ctx context.Context, arg string) error
}

// errQuit ends the chat.
var errQuit = errors.New("quit")

func slashCommands() []slashCommand {
	return []slashCommand{
		{"/accounts", "", "list your accounts and the state of their target roles", (*chat).accounts},
		{"/new", "", "begin a new session: earlier questions are forgotten", (*chat).renew},
		{"/export", "<file>", "write the conversation to a new file: .md, .json, or .csv for the last table", (*chat).export},
		{"/help", "", "list these commands", (*chat).help},
		{"/quit", "", "end the chat", func(*chat, context.Context, string) error { return errQuit }},
	}
}

// slashHelp returns the list of slash commands.
func slashHelp() string {
	var out strings.Builder
	out.WriteString("Commands in the chat:\n\n")
	for _, command := range slashCommands() {
		fmt.Fprintf(&out, "  %-16s %s\n", strings.TrimSpace(command.name+" "+command.args), command.help)
	}
	return strings.TrimRight(out.String(), "\n")
}

// completeSlash completes the name of a slash command, if only one begins with word.
func completeSlash(word string) string {
	found := ""
	for _, command := range slashCommands() {
		if strings.HasPrefix(command.name, word) {
			if found != "" {
				return word
			}
			found = command.name
			if command.args != "" {
				found += " "
			}
		}
	}
	return first(found, word)
}

// loop reads lines until the end.
func (c *chat) loop(ctx context.Context) error {
	for {
		line, err := c.editor.ReadLine("\n> ")
		switch {
		case errors.Is(err, io.EOF):
			fmt.Fprintln(c.app.stdout)
			return nil
		case errors.Is(err, terminal.ErrInterrupted):
			fmt.Fprintln(c.app.stdout, "Ctrl-D or /quit ends the chat.")
			continue
		case errors.Is(err, terminal.ErrTooLong):
			err = usage("the text pasted as a whole, or centralops ask - < <file>", "a line that is typed has fewer than 4096 characters; nothing was sent")
		case err != nil:
			return err
		case line == "":
			continue
		default:
			err = c.handle(ctx, line)
		}
		var status exitStatus
		switch {
		case errors.Is(err, errQuit):
			return nil
		case err != nil && !errors.As(err, &status): // a status alone was explained by what was printed
			fmt.Fprintln(c.app.stderr, markdown.CleanLine(centralops.Line(c.app.explained(err))))
		}
	}
}

// handle does what one line says. An interrupt cancels it.
func (c *chat) handle(ctx context.Context, line string) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	if !strings.HasPrefix(line, "/") {
		return c.ask(ctx, line)
	}
	name, arg, _ := strings.Cut(line, " ")
	for _, command := range slashCommands() {
		if command.name == name {
			return command.run(c, ctx, strings.TrimSpace(arg))
		}
	}
	return usage("/help", "there is no command %s", name)
}

func (c *chat) ask(ctx context.Context, question string) error {
	view := c.app.newView(ctx, formatHuman, false, c.directory)
	view.inChat = true
	answer, err := c.agent.Invoke(ctx, c.session, question, view.event)
	err = c.app.explained(err)
	c.said = append(c.said, exchange{question, answer, err})
	return view.finish(answer, err)
}

func (c *chat) accounts(ctx context.Context, _ string) error {
	states, err := c.app.accounts(ctx, c.bridge, true)
	if err != nil {
		return err
	}
	return writeAccounts(c.app.stdout, states, c.app.style())
}

func (c *chat) renew(context.Context, string) error {
	c.session, c.said = centralops.NewSessionID(), nil
	fmt.Fprintln(c.app.stdout, "New session "+c.session)
	return nil
}

func (c *chat) help(context.Context, string) error {
	fmt.Fprintln(c.app.stdout, slashHelp())
	return nil
}

// export writes the conversation to a file that must not exist yet, readable by its owner.
func (c *chat) export(_ context.Context, file string) error {
	var write func(io.Writer) error
	switch filepath.Ext(file) {
	case ".md":
		write = c.writeMarkdown
	case ".json":
		write = c.writeJSON
	case ".csv":
		rows := c.lastTable()
		if rows == nil {
			return &centralops.Error{Op: "/export", Code: centralops.NotFound, Message: "no answer so far has a table", Hint: "/export <file>.md"}
		}
		write = func(w io.Writer) error { return markdown.WriteCSV(w, rows) }
	default:
		return usage("/export answers.md", "the file's name must end in .md, .json or .csv, got %q", file)
	}
	if len(c.said) == 0 {
		return &centralops.Error{Op: "/export", Code: centralops.NotFound, Message: "nothing was said in this session yet", Hint: "a question first"}
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return &centralops.Error{Op: "/export", Code: centralops.Invalid, Message: err.Error(), Hint: "another file name", Err: err}
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return fmt.Errorf("/export: %w", err)
	}
	fmt.Fprintf(c.app.stdout, "Written to %s\n", markdown.CleanLine(file))
	return nil
}

func (c *chat) writeMarkdown(w io.Writer) error {
	var out strings.Builder
	fmt.Fprintf(&out, "# Central Ops session %s\n", c.session)
	for _, e := range c.said {
		fmt.Fprintf(&out, "\n## %s\n\n%s\n", markdown.CleanLine(e.Question), strings.TrimSpace(markdown.Clean(e.Answer.Response)))
		if text := proof(e.Answer, markdown.Style{}); text != "" {
			out.WriteString("\n" + text)
		}
		if e.Err != nil {
			fmt.Fprintf(&out, "\n**Failed:** %s\n", markdown.CleanLine(e.Err.Error()))
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func (c *chat) writeJSON(w io.Writer) error {
	type entry struct {
		Question string             `json:"question"`
		Answer   *centralops.Answer `json:"answer,omitempty"`
		Error    *centralops.Error  `json:"error,omitempty"`
	}
	entries := make([]entry, len(c.said))
	for i, e := range c.said {
		entries[i].Question = e.Question
		if e.Err != nil {
			entries[i].Error = failure(e.Err)
		}
		if e.Err == nil || e.Answer.Response != "" {
			entries[i].Answer = &c.said[i].Answer
		}
	}
	return encodeJSON(w, map[string]any{"session_id": c.session, "exchanges": entries})
}

// lastTable returns the rows of the last table of the conversation.
func (c *chat) lastTable() [][]string {
	for i := len(c.said) - 1; i >= 0; i-- {
		if rows := markdown.Table(c.said[i].Answer.Response); rows != nil {
			return rows
		}
	}
	return nil
}
