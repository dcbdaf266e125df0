package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	centralops "github.com/central-ops/central-ops/services/cli"
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
			if session == "" {
				session = centralops.NewSessionID()
			} else if err := centralops.CheckSessionID(session); err != nil {
				return err
			}
			question, err := a.question(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			p, store, err := a.profile("runtime_url", "runtime_arn", "qualifier")
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			client := a.client(p, store)
			view := a.newView(ctx, how, quiet, newDirectory(p, client))
			answer, err := a.agent(p, client).Invoke(ctx, session, question, view.event)
			return view.finish(answer, a.explained(err))
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&asJSON, "json", false, "print the whole answer as one JSON object")
	flags.BoolVar(&asMarkdown, "markdown", false, "print markdown, also in a terminal")
	flags.BoolVar(&asCSV, "csv", false, "print the rows of the answer's last table as CSV")
	flags.BoolVarP(&quiet, "quiet", "q", false, "show no progress")
	flags.StringVar(&session, "session", "", "continue the session with this `id`")
	timeoutFlag(cmd, &timeout, 5*time.Minute, "give up after this `time`")
	return cmd
}

// maxQuestion is the most bytes of a question; the agent takes a body of 1 MiB.
const maxQuestion = 1<<20 - 1<<10

func (a *app) question(ctx context.Context, arg string) (string, error) {
	if arg == "-" {
		read, err := untilInterrupted(ctx, "ask", func() (string, error) {
			raw, err := io.ReadAll(io.LimitReader(a.stdin, maxQuestion+1))
			if err != nil {
				err = fmt.Errorf("read the question: %w", err)
			}
			return string(raw), err
		})
		if err != nil {
			return "", err
		}
		if len(read) > maxQuestion {
			return "", usage("a shorter question", "the question has more than %d bytes", maxQuestion)
		}
		arg = read
	}
	if arg = strings.TrimSpace(arg); arg == "" {
		return "", usage(`centralops ask "Which accounts have instances running in eu-west-1?"`, "the question is empty")
	}
	return arg, nil
}
