// Command evals asks a running environment the questions of package evals and prints how it did.
//
// Usage:
//
//	evals [flags]
//
// People sign in by access tokens from the environment: EVALS_OPS_TOKEN belongs to somebody who may query every sample account,
// EVALS_VIEWER_TOKEN to somebody who may query staging only. Questions of people without a token are not run, and
// the table says so.
//
// Exit status: 0 all that were run passed, 1 some failed or none was run, 2 wrong usage.
//
// Example, while `make local` runs in another terminal:
//
//	EVALS_OPS_TOKEN=... go run ./cmd/evals -profile ../build/local/profile.json
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"syscall"

	"github.com/central-ops/central-ops/e2e"
	"github.com/central-ops/central-ops/e2e/evals"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

// report is what -json prints.
type report struct {
	Summary evals.Summary  `json:"summary"`
	Results []evals.Result `json:"results"`
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()

	flags := flag.NewFlagSet("evals", flag.ContinueOnError)
	flags.SetOutput(stderr)
	profile := flags.String("profile", "build/local/profile.json", "`file` that names the Runtime, as make local writes it")
	runtimeURL := flags.String("runtime-url", "", "`url` of the Runtime, instead of the profile's")
	runtimeARN := flags.String("runtime-arn", "", "`arn` of the agent, instead of the profile's")
	only := flags.String("only", "", "run only cases whose id matches this regular `expression`")
	asJSON := flags.Bool("json", false, "print one JSON object instead of a table")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	fail := func(status int, err error) int {
		fmt.Fprintln(stderr, "evals:", err)
		return status
	}
	filter, err := regexp.Compile(*only)
	if err != nil {
		return fail(2, fmt.Errorf("-only: %w", err))
	}
	stack := e2e.Stack{RuntimeURL: *runtimeURL, RuntimeARN: *runtimeARN}
	if *runtimeURL == "" || *runtimeARN == "" {
		if stack, err = readProfile(*profile, *runtimeURL, *runtimeARN); err != nil {
			return fail(2, err)
		}
	}
	tokens := map[string]string{evals.Ops: getenv("EVALS_OPS_TOKEN"), evals.Viewer: getenv("EVALS_VIEWER_TOKEN")}
	if tokens[evals.Ops] == "" && tokens[evals.Viewer] == "" {
		return fail(2, fmt.Errorf("nobody can ask: set EVALS_OPS_TOKEN, EVALS_VIEWER_TOKEN or both to access tokens"))
	}
	cases, err := evals.Cases()
	if err != nil {
		return fail(1, err)
	}
	cases = slices.DeleteFunc(cases, func(c evals.Case) bool { return !filter.MatchString(c.ID) })

	results, err := evals.Run(ctx, evals.Runtime{Stack: stack}, tokens, cases)
	if err != nil {
		return fail(1, err)
	}
	summary := evals.Summarize(results)
	if *asJSON {
		encoder := json.NewEncoder(stdout)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(report{summary, results})
	} else {
		_, err = io.WriteString(stdout, evals.Table(results))
	}
	if err != nil {
		return fail(1, err)
	}
	if summary.Run == 0 || summary.Passed < summary.Run {
		return 1
	}
	return 0
}

// readProfile reads where the Runtime is; url and arn overrule it where they aren't empty.
func readProfile(path, url, arn string) (e2e.Stack, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return e2e.Stack{}, fmt.Errorf("%w: start the platform with make local, or name another file with -profile", err)
	}
	var stack e2e.Stack
	if err := json.Unmarshal(data, &stack); err != nil {
		return e2e.Stack{}, fmt.Errorf("profile %s: %w", path, err)
	}
	if url != "" {
		stack.RuntimeURL = url
	}
	if arn != "" {
		stack.RuntimeARN = arn
	}
	return stack, nil
}
