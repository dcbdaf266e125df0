// Command bench measures the bridge, the agent and the client against the limits that the project has promised, and the bridge
// against a Python handler of the same job. docs/benchmarks.md says what each row means.
//
// Usage: bench [-build dir] [-python file] [-tools file] [-json file] [-only parts] [-strict] [-log]
//
// Exit status: 0 measured, 1 something could not be measured, or with -strict a limit was missed, 2 wrong usage.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() { os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)) }

// parts are what -only chooses from, in the order in which they run.
var parts = []string{"bridge", "python", "agent", "cli", "takeover", "load"}

// settings are the command line's.
type settings struct {
	build, python, tools, json string
	only                       []string
	strict, log                bool
}

func parse(args []string, stderr io.Writer) (settings, error) {
	var s settings
	var only string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&s.build, "build", "build", "`directory` with bridge/bootstrap, agent and centralops")
	flags.StringVar(&s.python, "python", ".venv/bin/python", "`interpreter` that has moto and boto3")
	flags.StringVar(&s.tools, "tools", "services/bridge/tools.json", "`file` with the bridge's tools, for the agent")
	flags.StringVar(&s.json, "json", "", "`file` that gets the numbers as JSON (default <build>/bench.json)")
	flags.StringVar(&only, "only", strings.Join(parts, ","), "`parts` to run")
	flags.BoolVar(&s.strict, "strict", false, "fail when a limit is missed")
	flags.BoolVar(&s.log, "log", false, "show the logs of what is measured on standard error")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	s.only = strings.Split(only, ",")
	for _, part := range s.only {
		if !slices.Contains(parts, part) {
			return s, fmt.Errorf("-only: unknown part %q: the parts are %s", part, strings.Join(parts, ", "))
		}
	}
	if flags.NArg() > 0 {
		return s, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if s.json == "" {
		s.json = filepath.Join(s.build, "bench.json")
	}
	return s, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	s, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return 2
	}
	report, err := measure(ctx, s, stderr)
	if err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return 1
	}
	if err := write(s.json, report); err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return 1
	}
	if err := printTable(stdout, report.Rows); err != nil {
		return 1
	}
	if late := missed(report.Rows); len(late) > 0 {
		names := make([]string, len(late))
		for i, r := range late {
			names[i] = r.Part + ": " + r.Name
		}
		fmt.Fprintf(stdout, "\nlimits missed: %s\n", strings.Join(names, "; "))
		if s.strict {
			return 1
		}
	} else {
		fmt.Fprintln(stdout, "\nall limits met")
	}
	fmt.Fprintf(stdout, "load average at the start: %s on %d cores; the numbers as JSON: %s\n", report.Load, report.Cores, s.json)
	return 0
}

// measure runs the parts. What has been measured before an error is dropped with it: half a table misleads.
func measure(ctx context.Context, s settings, stderr io.Writer) (Report, error) {
	report := Report{Date: time.Now().UTC().Truncate(time.Second), Cores: runtime.NumCPU(), Load: loadAverage()}
	b := bridge{bootstrap: filepath.Join(s.build, "bridge", "bootstrap")}
	if s.log {
		b.log = stderr
	}
	for _, binary := range []string{b.bootstrap, filepath.Join(s.build, "agent")} {
		if err := exists(binary); err != nil {
			return report, err
		}
	}
	dir, err := os.MkdirTemp("", "central-ops-bench")
	if err != nil {
		return report, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary directory

	roots, err := publicRoots(ctx, s.python)
	if err != nil {
		return report, err
	}
	if b.authority, err = newAuthority(dir, roots); err != nil {
		return report, err
	}
	if b.pool, err = newPool(); err != nil {
		return report, err
	}
	if b.token, err = b.pool.token("0b8f4f5e-1111-4222-8333-000000000001"); err != nil {
		return report, err
	}
	if b.traces, err = startCollector(); err != nil {
		return report, err
	}
	defer b.traces.close()
	p := baseline{python: s.python, authority: b.authority, pool: b.pool, token: b.token, log: b.log}
	o := operator{
		binary: filepath.Join(s.build, "agent"), tools: s.tools, authority: b.authority, pool: b.pool, token: b.token, traces: b.traces, log: b.log,
	}

	for _, part := range []struct {
		name    string
		limit   time.Duration
		measure func(context.Context) ([]Row, error)
	}{
		{"bridge", 2 * time.Minute, b.measure},
		{"python", 2 * time.Minute, p.measure},
		{"agent", time.Minute, o.measure},
		{"cli", time.Minute, (&terminal{binary: filepath.Join(s.build, "centralops"), token: b.token}).measure},
		{"takeover", 2 * time.Minute, func(ctx context.Context) ([]Row, error) { return withTable(ctx, s.python, b.takeover) }},
		{"load", 5 * time.Minute, b.load},
	} {
		if !slices.Contains(s.only, part.name) {
			continue
		}
		fmt.Fprintf(stderr, "measuring: %s\n", part.name)
		rows, err := within(ctx, part.limit, part.name, part.measure)
		if err != nil {
			return report, err
		}
		report.Rows = append(report.Rows, rows...)
	}
	report.Rows = append(report.Rows, ratios(report.Rows)...)
	return report, nil
}

func write(path string, report Report) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(printJSON(file, report), file.Close())
}

// loadAverage reads Linux's load averages, "unknown" elsewhere.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(text))
	if err != nil || len(fields) < 3 {
		return "unknown"
	}
	return strings.Join(fields[:3], " ")
}

// errNoBinary says how to get what is to be measured.
var errNoBinary = errors.New("is missing: run `make build`")

func exists(path string) error {
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("%s %w", strings.TrimPrefix(path, "./"), errNoBinary)
	}
	return nil
}
