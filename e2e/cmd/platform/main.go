// Command platform runs the local platform: the whole of Central Ops on this machine.
//
// Usage:
//
//	platform demo -question "..."   start, sign in, ask one question, print the answer, stop
//	platform local                  start, print how to reach it, stay until interrupted
//	platform run COMMAND ARG...     start, run the command with a profile and tokens in its environment, stop
//	platform assumptions            print what the stand-ins take for granted about AWS, as a Markdown table
//
// It is run from the root of the repository, by `make demo` and `make local`, and finds the binaries in build/ and the
// emulator's Python in .venv/. MODEL, MODEL_ENDPOINT and MODEL_API_KEY choose the model; see the README.
//
// run sets CENTRALOPS_PROFILE_FILE, and EVALS_OPS_TOKEN and EVALS_VIEWER_TOKEN for `make evals`; its exit status is the
// command's.
//
// Exit status: 0 done, 1 failed, 2 wrong usage.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/central-ops/central-ops/e2e"
	"github.com/central-ops/central-ops/e2e/local"
)

func main() { os.Exit(run(context.Background(), os.Args[1:], os.Environ(), os.Stdout, os.Stderr)) }

// demoUser is the sample person who asks: she is in group ops and may query every account.
const demoUser = "alice"

func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	signal.Ignore(syscall.SIGPIPE) // a reader that goes away, as in "| head", must not keep us from stopping what we started

	flags := flag.NewFlagSet("platform", flag.ContinueOnError)
	flags.SetOutput(stderr)
	root := flags.String("root", ".", "`dir` of the repository")
	build := flags.String("build", "", "`dir` of the binaries (default build/ in the repository)")
	question := flags.String("question", "", "what demo asks")
	if len(args) == 0 {
		fmt.Fprintln(stderr, "platform: say what to do: demo, local, run or assumptions")
		return 2
	}
	if err := flags.Parse(args[1:]); err != nil {
		return 2
	}
	if *build == "" {
		*build = filepath.Join(*root, "build")
	}
	options := local.Options{
		Binaries: *build,
		Tools:    filepath.Join(*root, "services", "bridge", "tools.json"),
		Python:   filepath.Join(*root, ".venv", "bin", "python"),
		LogDir:   filepath.Join(*build, args[0], "logs"),
	}
	if args[0] == "demo" || args[0] == "local" {
		options.Trouble = stderr
	}
	if err := options.FromEnv(environ); err != nil {
		fmt.Fprintln(stderr, "platform:", err)
		return 2
	}
	var err error
	switch command := args[0]; command {
	case "demo":
		if strings.TrimSpace(*question) == "" {
			fmt.Fprintln(stderr, `platform: no question: try make demo Q="How many S3 buckets are there in all accounts?"`)
			return 2
		}
		err = demo(ctx, options, *question, stdout)
	case "local":
		err = stay(ctx, options, filepath.Join(*build, "local", "profile.json"), stdout)
	case "run":
		if flags.NArg() == 0 {
			fmt.Fprintln(stderr, "platform: run what? try platform run build/evals")
			return 2
		}
		err = with(ctx, options, filepath.Join(*build, "local", "run.json"), flags.Args(), environ, stdout, stderr)
		var ended *exec.ExitError
		if errors.As(err, &ended) {
			return ended.ExitCode()
		}
	case "assumptions":
		printAssumptions(stdout)
	default:
		fmt.Fprintf(stderr, "platform: %q is not a command: want demo, local, run or assumptions\n", command)
		return 2
	}
	switch {
	case err != nil && ctx.Err() != nil: // what a part says that was cut off tells nobody anything
		fmt.Fprintln(stderr, "platform: interrupted; everything that was started is stopped")
		return 1
	case err != nil:
		fmt.Fprintln(stderr, "platform:", err)
		return 1
	}
	return 0
}

// demo asks one question and prints the answer with its proof.
func demo(ctx context.Context, options local.Options, question string, stdout io.Writer) error {
	began := time.Now()
	printStart(stdout, options)
	platform, err := local.Start(ctx, options)
	if err != nil {
		return err
	}
	defer func() {
		platform.Close()
		fmt.Fprintf(stdout, "Stopped everything that was started; %.1f s in all.\n", time.Since(began).Seconds())
	}()

	tokens, err := platform.Stack.SignIn(ctx, demoUser, platform.Passwords[demoUser])
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "Signed in as %s by Cognito. Asking: %s\n\n", demoUser, question)
	answer, err := platform.Stack.Ask(ctx, tokens.Access, "", question)
	if err != nil {
		return err
	}
	printAnswer(stdout, answer)
	if answer.Error != nil {
		return fmt.Errorf("the question was not answered: %s\n  the logs are in %s", answer.Error.Code, options.LogDir)
	}
	return nil
}

// stay keeps the platform running until ctx ends and tells how to use it.
func stay(ctx context.Context, options local.Options, profile string, stdout io.Writer) error {
	alone, err := lock(profile + ".lock")
	if err != nil {
		return err
	}
	defer alone.Close()
	printStart(stdout, options)
	platform, err := local.Start(ctx, options)
	if err != nil {
		return err
	}
	defer func() {
		platform.Close()
		_ = os.Remove(profile) // it names ports that are closed now
		fmt.Fprintln(stdout, "Stopped everything that was started.")
	}()
	if err := writeProfile(platform.Stack, profile); err != nil {
		return err
	}
	printHowTo(stdout, platform, options, profile)
	select {
	case <-ctx.Done():
		return nil
	case <-platform.Moto.Done():
		return fmt.Errorf("the emulator (moto) ended by itself; its log is in %s", filepath.Join(options.LogDir, "moto.log"))
	}
}

// lock keeps a second platform from overwriting the profile of one that runs. It is given back when the file is closed or
// the process ends.
func lock(path string) (io.Closer, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("a local platform runs from this folder already\n  try: stop it by Ctrl-C where it runs, or use it: its profile is %s", strings.TrimSuffix(path, ".lock"))
	}
	return file, nil
}

// with runs a command against a platform of its own.
func with(ctx context.Context, options local.Options, profile string, command, environ []string, stdout, stderr io.Writer) error {
	platform, err := local.Start(ctx, options)
	if err != nil {
		return err
	}
	defer platform.Close()
	defer os.Remove(profile) // it names ports that are closed then
	if err := writeProfile(platform.Stack, profile); err != nil {
		return err
	}
	environ = append(environ, "CENTRALOPS_PROFILE_FILE="+profile)
	for variable, user := range map[string]string{"EVALS_OPS_TOKEN": "alice", "EVALS_VIEWER_TOKEN": "bob"} {
		tokens, err := platform.Stack.SignIn(ctx, user, platform.Passwords[user])
		if err != nil {
			return err
		}
		environ = append(environ, variable+"="+tokens.Access)
	}
	child := exec.CommandContext(ctx, command[0], command[1:]...)
	child.Env, child.Stdout, child.Stderr = environ, stdout, stderr
	child.Cancel = func() error { return child.Process.Signal(os.Interrupt) }
	return child.Run()
}

func writeProfile(stack e2e.Stack, profile string) error {
	encoded, err := json.MarshalIndent(stack, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(profile), 0o700); err != nil {
		return err
	}
	return os.WriteFile(profile, append(encoded, '\n'), 0o600)
}
