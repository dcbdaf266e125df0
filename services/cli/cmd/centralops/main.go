// Command centralops asks questions about many AWS accounts and shows who answered.
//
// `centralops --help` lists the commands; docs/cli has a page for each. Answers go to standard
// output, everything else to standard error. Exit status: 0 complete, 3 partial (not every target
// that was asked for answered), 1 failed, 2 wrong usage.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"

	centralops "github.com/central-ops/central-ops/services/cli"
	"github.com/central-ops/central-ops/services/cli/internal/cognito"
	"github.com/central-ops/central-ops/services/cli/internal/markdown"
)

// version is the commit, set when the program is built.
var version = "unknown"

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr))
}

// run is the program; it returns the exit status.
func run(ctx context.Context, args []string, getenv func(string) string, stdin, stdout, stderr *os.File) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	a := &app{getenv: getenv, stdin: stdin, stdout: &output{file: stdout}, stderr: stderr}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(a.stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var status exitStatus
	if a.stdout.failed != nil && (err == nil || errors.As(err, &status)) {
		err = a.stdout.failed
	}
	switch {
	case err == nil:
		return centralops.ExitComplete
	case errors.As(err, &status):
		return int(status)
	}
	fmt.Fprintln(stderr, "centralops: "+markdown.CleanLine(centralops.Line(a.explained(err))))
	return statusOf(err)
}

// explained returns err with the next step that leads somewhere: with a token in the environment, signing in changes nothing.
func (a *app) explained(err error) error {
	var known *centralops.Error
	if strings.TrimSpace(a.getenv(accessToken)) == "" || !errors.As(err, &known) || known.Code != centralops.Unauthenticated ||
		known.Op == cognito.Op || !strings.HasPrefix(known.Hint, "centralops login") {
		return err
	}
	other := *known
	other.Hint = "another token in " + accessToken + ", or unset it and centralops login"
	return &other
}

// exitStatus ends the program with a status and no message, because the command has said it all.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// exit returns status as an error, nil if it is that of a complete answer.
func exit(status int) error {
	if status == centralops.ExitComplete {
		return nil
	}
	return exitStatus(status)
}

// statusOf returns the exit status for err. Errors without a code come from cobra (wrong
// arguments, unknown commands) only if they were marked so, see usage.
func statusOf(err error) int {
	var known *centralops.Error
	if errors.As(err, &known) && known.Usage {
		return centralops.ExitUsage
	}
	return centralops.ExitFailed
}
