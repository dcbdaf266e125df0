package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/central-ops/central-ops/e2e"
)

// output keeps what a command has printed so far and tells when something was added.
type output struct {
	mu    sync.Mutex
	text  bytes.Buffer
	added chan struct{}
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.added <- struct{}{}:
	default:
	}
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// await returns when the output holds text; it fails the test when the command takes longer than limit.
func (o *output) await(t *testing.T, text string, limit time.Duration) {
	t.Helper()
	deadline := time.After(limit)
	for !strings.Contains(o.String(), text) {
		select {
		case <-o.added:
		case <-deadline:
			t.Fatalf("no %q after %v in:\n%s", text, limit, o)
		}
	}
}

func TestDemoPrintsAnswerCoverageAndReceipts(t *testing.T) {
	t.Parallel()
	printed, err := exec.CommandContext(t.Context(), filepath.Join(binaries, "platform"), "demo", "-root", "..", "-build", buildDir(t),
		"-question", "List EC2 instances in account 222222222222").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}
	for _, want := range []string{
		"web-1", "batch-1", "offline planner", "1 of 1 target answered; 0 denied, 0 failed, 0 skipped",
		"222222222222 Production us-east-1: ok: ec2:DescribeInstances as arn:aws:iam::222222222222:role/CentralOpsTargetRole for alice",
		"Stopped everything that was started",
	} {
		if !strings.Contains(string(printed), want) {
			t.Errorf("the demo does not print %q:\n%s", want, printed)
		}
	}
}

func TestPlatformRefusesWrongUsage(t *testing.T) {
	t.Parallel()
	onlyLocal(t)
	for name, row := range map[string]struct {
		args []string
		env  string
		want string
	}{
		"no command":            {nil, "", "demo, local, run or assumptions"},
		"unknown command":       {[]string{"start"}, "", `"start" is not a command`},
		"run without command":   {[]string{"run"}, "", "platform run"},
		"empty question":        {[]string{"demo", "-question", " "}, "", "make demo Q="},
		"endpoint but no model": {[]string{"demo", "-question", "x"}, "MODEL_ENDPOINT=http://127.0.0.1:1/v1", "MODEL"},
		"unknown model":         {[]string{"demo", "-question", "x"}, "MODEL=gpt", "MODEL_ENDPOINT"},
		"unknown token mode":    {[]string{"local"}, "GATEWAY_AUTH=both", "want user or workload"},
	} {
		command := exec.CommandContext(t.Context(), filepath.Join(binaries, "platform"), row.args...)
		command.Env = []string{row.env}
		printed, err := command.CombinedOutput()
		if command.ProcessState.ExitCode() != 2 || !strings.Contains(string(printed), row.want) || strings.Count(string(printed), "\n") != 1 {
			t.Errorf("%s: %v, printed %q; want status 2 and one line with %q", name, err, printed, row.want)
		}
	}
}

// `make local` until Ctrl-C: the curl that it prints works word for word, and afterwards no process and no port is left.
func TestLocalStaysUntilInterruptedAndLeavesNothing(t *testing.T) {
	t.Parallel()
	build := buildDir(t)
	printed := &output{added: make(chan struct{}, 1)}
	command := exec.CommandContext(t.Context(), filepath.Join(binaries, "platform"), "local", "-root", "..", "-build", build)
	command.Stdout, command.Stderr = printed, printed
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	printed.await(t, "ask \"How many", time.Minute)
	profile := filepath.Join(build, "local", "profile.json")
	encoded, err := os.ReadFile(profile)
	if err != nil {
		t.Fatal(err)
	}
	var stack e2e.Stack
	if err := json.Unmarshal(encoded, &stack); err != nil {
		t.Fatal(err)
	}

	if _, err := exec.LookPath("curl"); err != nil {
		t.Log("curl is not installed: the printed commands were not run")
	} else {
		shell := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", curls(printed.String()))
		answer, err := shell.CombinedOutput()
		if err != nil || !strings.Contains(string(answer), "web-1") || !strings.Contains(string(answer), `"coverage"`) {
			t.Errorf("the printed commands: %v\n%s", err, answer)
		}
	}

	// Another one would overwrite the profile, and remove it in the end.
	second, err := exec.CommandContext(t.Context(), filepath.Join(binaries, "platform"), "local", "-root", "..", "-build", build).CombinedOutput()
	if err == nil || !strings.Contains(string(second), "runs from this folder already") || !strings.Contains(string(second), profile) {
		t.Errorf("a second platform: %v\n%s", err, second)
	}
	if after, err := os.ReadFile(profile); err != nil || !bytes.Equal(after, encoded) {
		t.Errorf("after a second platform the profile is: %v\n%s", err, after)
	}

	children := descendants(t, command.Process.Pid)
	if len(children) == 0 && runtime.GOOS == "linux" {
		t.Error("found no process of the platform; the check below would mean nothing")
	} else if len(children) == 0 {
		t.Log("without /proc the platform's processes can't be listed: only the ports are checked")
	}
	if err := command.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := command.Wait(); err != nil {
		t.Errorf("after Ctrl-C: %v\n%s", err, printed)
	}
	for _, pid := range children {
		if err := syscall.Kill(pid, 0); err == nil {
			t.Errorf("process %d is left", pid)
		}
	}
	for _, address := range []string{stack.RuntimeURL, stack.GatewayURL, stack.CognitoEndpoint, stack.DiscoveryURL} {
		parsed, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if connection, err := net.Dial("tcp", parsed.Host); err == nil {
			_ = connection.Close()
			t.Errorf("%s still answers", address)
		}
	}
	if _, err := os.Stat(profile); !os.IsNotExist(err) {
		t.Errorf("the profile is left: %v", err)
	}
}

// Ctrl-C while the platform starts says that, and not what the parts say that were cut off.
func TestInterruptedStart(t *testing.T) {
	t.Parallel()
	build, root := buildDir(t), t.TempDir()
	tools, err := os.ReadFile("../services/bridge/tools.json")
	if err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string]string{
		"services/bridge/tools.json": string(tools),
		".venv/bin/python":           "#!/bin/sh\nread line\n", // never ready
	} {
		path = filepath.Join(root, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o700)); err != nil {
			t.Fatal(err)
		}
	}
	printed := &output{added: make(chan struct{}, 1)}
	command := exec.CommandContext(t.Context(), filepath.Join(binaries, "platform"), "local", "-root", root, "-build", build)
	command.Stdout, command.Stderr = printed, printed
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	printed.await(t, "Starting Central Ops", time.Minute)
	if err := command.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = command.Wait() // its status is looked at below
	if !strings.HasSuffix(printed.String(), "\nplatform: interrupted; everything that was started is stopped\n") || command.ProcessState.ExitCode() != 1 {
		t.Errorf("status %d, printed:\n%s", command.ProcessState.ExitCode(), printed)
	}
}

// A model server that does not answer is the likeliest mistake of a first try: its address and what to check are said.
func TestDemoSaysWhyTheModelDidNotAnswer(t *testing.T) {
	t.Parallel()
	const address = "127.0.0.1:1" // nobody listens there, and no other test is given that port
	command := exec.CommandContext(t.Context(), filepath.Join(binaries, "platform"), "demo", "-root", "..", "-build", buildDir(t), "-question", "How many buckets?")
	command.Env = append(os.Environ(), "MODEL_ENDPOINT=http://"+address+"/v1", "MODEL=qwen3")
	printed, err := command.CombinedOutput()
	for _, want := range []string{"The model endpoint can't be reached", address, "is MODEL_ENDPOINT right?", "the logs are in", filepath.Join("demo", "logs")} {
		if err == nil || !strings.Contains(string(printed), want) {
			t.Errorf("%v; the demo does not print %q:\n%s", err, want, printed)
		}
	}
}

// curls returns the shell commands that the platform prints, indented by two blanks, from the token to the answer.
func curls(printed string) string {
	_, commands, _ := strings.Cut(printed, "Get a token:")
	commands, _, _ = strings.Cut(commands, "Or use the client")
	return strings.ReplaceAll(commands, "Post the prompt:", "")
}

// buildDir is a folder like build/, with the binaries of this run, to keep logs and profile of a test apart.
func buildDir(t *testing.T) string {
	t.Helper()
	onlyLocal(t)
	dir := t.TempDir()
	for _, name := range []string{"agent", "bridge", "interceptor"} {
		if err := os.Symlink(filepath.Join(binaries, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// descendants returns the processes that pid started, and those that they started.
func descendants(t *testing.T, pid int) []int {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	parents := map[int]int{}
	for _, path := range stats {
		content, err := os.ReadFile(path)
		if err != nil {
			continue // it ended meanwhile
		}
		_, rest, _ := strings.Cut(string(content), ") ") // the name before may hold anything
		var state string
		var parent int
		if _, err := fmt.Sscan(rest, &state, &parent); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		child, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			t.Fatal(err)
		}
		parents[child] = parent
	}
	var found []int
	for child := range parents {
		for ancestor := parents[child]; ancestor > 1; ancestor = parents[ancestor] {
			if ancestor == pid {
				found = append(found, child)
				break
			}
		}
	}
	return found
}

// docs/assumptions.md is what `platform assumptions` prints, under its heading.
func TestAssumptionsPageIsUpToDate(t *testing.T) {
	t.Parallel()
	onlyLocal(t)
	printed, err := exec.CommandContext(t.Context(), filepath.Join(binaries, "platform"), "assumptions").Output()
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../docs/assumptions.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasSuffix(page, printed) {
		t.Error("docs/assumptions.md is out of date: replace its table by what build/platform assumptions prints")
	}
}
