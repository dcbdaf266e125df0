package e2e_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// Every shell command that the documentation shows is taken from its file and executed as it stands there, in a copy of
// the tree, by a reader who has typed all commands before it. Those that this machine can't run are listed with the
// reason. A command that is in neither list fails the test, and so does a row whose command is gone.

// use is what the test does with a command: it executes it, or it says why not.
type use struct {
	run    func(*reader, string)
	reason string
}

// documented is the table, by file and command. Files are in the order in which the reader reads them.
var documented = []struct {
	file     string
	commands map[string]use
}{
	{"README.md", map[string]use{
		`make demo Q="Which accounts have instances running in eu-west-1?"`: prints("Production (222222222222)", "3 of 3 targets answered"),
		"make demo":  prints("web-1", "1 of 1 target answered", "Stopped everything that was started"),
		"make local": {run: (*reader).startLocal},
		"build/centralops configure --from-file build/local/profile.json":            prints("Next: centralops login"),
		"build/centralops login --username alice":                                    {run: (*reader).login},
		`build/centralops ask "Which accounts have instances running in eu-west-1?"`: prints("Production", "3 of 3 targets answered"),
		"build/centralops chat":   {run: (*reader).chat},
		"build/centralops doctor": prints("✓ target role 333333333333", "✓ AWS MCP tool list"),

		"MODEL_ENDPOINT=http://127.0.0.1:11434/v1 MODEL=qwen3 make demo": not("needs a model server at that port; TestOpenAICompatibleModel does it at a free one"),
		"MODEL=bedrock make demo": not("needs AWS credentials with access to a model"),
		// Executed by the story, which has somebody to ask as.
		`CLIENT_ID=$(pulumi stack output userPoolClientId)`:                            not("TestCurlOfTheREADME runs it"),
		`COGNITO_URL=https://cognito-idp.$(pulumi stack output region).amazonaws.com/`: not("TestCurlOfTheREADME runs it"),
		`INVOCATIONS_URL=$(pulumi stack output runtimeUrl)/runtimes/$(pulumi stack output runtimeArn | sed 's/:/%3A/g; s,/,%2F,g')/invocations?qualifier=$(pulumi stack output runtimeQualifier)`: not("TestCurlOfTheREADME runs it"),
		`TOKEN=$(curl -s "$COGNITO_URL" -H 'Content-Type: application/x-amz-json-1.1' \
  -H 'X-Amz-Target: AWSCognitoIdentityProviderService.InitiateAuth' \
  -d '{"AuthFlow":"USER_PASSWORD_AUTH","ClientId":"'"$CLIENT_ID"'","AuthParameters":{"USERNAME":"'"$USERNAME"'","PASSWORD":"'"$PASSWORD"'"}}' \
  | python3 -c 'import json,sys; print(json.load(sys.stdin)["AuthenticationResult"]["AccessToken"])')`: not("TestCurlOfTheREADME runs it"),
		`curl -s "$INVOCATIONS_URL" -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \
  -d '{"prompt":"Which accounts may I query?"}'`: not("TestCurlOfTheREADME runs it"),
		"make e2e":        not("make test runs the same stories"),
		"make test":       inCI("make test"),
		"make verify":     inCI("make verify"),
		"make evals":      inCI("make evals"),
		"make fuzz":       inCI("make fuzz"),
		"make soak":       inCI("make soak"),
		"make e2e-pulumi": inCI("make e2e-pulumi"),
		"make bench":      inCI("make bench"),
	}},
	{"services/cli/README.md", map[string]use{
		"go build -o centralops ./cmd/centralops":                                prints(),
		"./centralops configure --from-file ../../build/local/profile.json":      prints("Next: centralops login"),
		"./centralops configure --from-stack dev --pulumi-dir ../..":             not("needs a deployed stack; TestConfigureFromStack in services/cli reads the outputs of a made-up one"),
		"./centralops login --username alice":                                    {run: (*reader).login},
		`./centralops ask "Which accounts have instances running in eu-west-1?"`: prints("Production", "3 of 3 targets answered"),
		`./centralops ask --csv "List all S3 buckets" > buckets.csv`:             {run: (*reader).bucketsCSV},
	}},
	{"services/agent/README.md", map[string]use{
		"go build -o agent ./cmd/agent": prints(),
		"GATEWAY_URL=$(pulumi -C ../.. stack output gatewayUrl) AWS_REGION=us-east-1 ./agent":                                                not("needs a deployed Gateway"),
		`curl -s localhost:8080/invocations -H "Authorization: Bearer $TOKEN" -d '{"prompt":"which accounts have instances in eu-west-1?"}'`: not("asks the agent of the line before"),
	}},
	{"docs/cli", map[string]use{
		`centralops ask "Which accounts have instances running in eu-west-1?"`:                prints("Production", "3 of 3 targets answered"),
		`centralops ask --csv "List all S3 buckets with their accounts" > buckets.csv`:        {run: (*reader).bucketsCSV},
		`centralops ask --json "How many Lambda functions run on Python 3.9?" | jq .coverage`: {run: (*reader).jq},
		"centralops accounts":                                                        prints("CentralOpsTargetRole"),
		"centralops accounts --list-only --json":                                     prints(`"id": "333333333333"`),
		"centralops chat":                                                            {run: (*reader).chat},
		"centralops configure --from-file build/local/profile.json":                  prints("Next: centralops login"),
		"centralops configure --profile dev --qualifier canary":                      {run: (*reader).otherProfile},
		"centralops configure --from-stack dev":                                      not("needs a deployed stack; TestConfigureFromStack in services/cli reads the outputs of a made-up one"),
		"centralops configure --show":                                                prints("gateway_url"),
		"centralops doctor":                                                          prints("✓ target role 333333333333"),
		"centralops doctor --json --no-model":                                        prints(`"findings"`),
		"centralops login":                                                           {run: (*reader).loginAsked},
		"centralops login --username alice":                                          {run: (*reader).login},
		"centralops login --browser":                                                 {run: (*reader).loginWithBrowser},
		"pass show central-ops | centralops login --username alice --password-stdin": prints("Signed in to local as alice."),
		"centralops logout":                                                          {run: (*reader).logout},
		"centralops whoami":                                                          prints("alice", "ops"),
		"centralops help ask":                                                        prints("centralops ask <question>"),
		"source <(centralops completion bash)":                                       prints(),
	}},
	{"docs/deploy.md", map[string]use{
		"centralops configure --from-stack dev": not("needs a deployed stack; TestConfigureFromStack in services/cli reads the outputs of a made-up one"),
	}},
}

// programs are what pages for a deployment show again and again; their commands need no row.
var programs = map[string]use{
	"aws":    not("needs an AWS account"),
	"pulumi": not("needs a Pulumi backend and an AWS account; make e2e-pulumi runs both projects on the emulator"),
	"cd":     not("the commands behind it say where they run"),
	"cat":    prints(), // writes a file that the next command reads
}

func prints(want ...string) use {
	return use{run: func(r *reader, command string) { r.expect(r.shell(command), want...) }}
}

func not(reason string) use { return use{reason: reason} }

// inCI says that .ci/run runs the command; the test checks that it does.
func inCI(command string) use {
	return use{reason: ".ci/run runs it", run: func(r *reader, _ string) { r.inCI(command) }}
}

func TestDocumentedCommands(t *testing.T) {
	t.Parallel()
	onlyLocal(t)
	if _, err := exec.LookPath("bash"); err != nil {
		t.Fatal("the documentation's commands need bash")
	}
	r := newReader(t)
	for _, document := range documented {
		found := r.commands(document.file)
		if len(found) == 0 && document.commands != nil {
			t.Errorf("%s shows no command: has the way of showing them changed?", document.file)
		}
		for _, command := range found {
			r.try(document.file, command, document.commands)
		}
		for command := range document.commands {
			if !slices.Contains(found, command) {
				t.Errorf("%s does not show %q any more: remove its row", document.file, command)
			}
		}
	}
	// No other page may show a command that nobody executes.
	listed := map[string]bool{}
	for _, document := range documented {
		listed[document.file] = true
	}
	for _, file := range r.pages() {
		if listed[file] || listed[filepath.Dir(file)] {
			continue
		}
		for _, command := range r.commands(file) {
			r.try(file, command, nil)
		}
	}
	r.stopLocal()
}

// reader types what the documentation shows.
type reader struct {
	t         *testing.T
	tree      string // copy of the repository
	dir       string // where a command is typed
	env       []string
	passwords map[string]string // that make local printed
	local     *exec.Cmd
	printed   *output // by make local
}

func newReader(t *testing.T) *reader {
	t.Helper()
	r := &reader{t: t, tree: t.TempDir(), passwords: map[string]string{}}
	for _, file := range trackedFiles(t) {
		r.copy(file)
	}
	// The emulator's Python environment is not part of the tree, and takes a network to install.
	python, err := filepath.Abs("../.venv")
	if err != nil {
		t.Fatal(err)
	}
	home, bin := t.TempDir(), t.TempDir()
	if err := os.Symlink(python, filepath.Join(r.tree, ".venv")); err != nil {
		t.Fatal(err)
	}
	// The reader's password manager.
	pass := "#!/bin/sh\n[ \"$*\" = 'show central-ops' ] && cat '" + filepath.Join(home, "password") + "'\n"
	// The reader's browser: the test is the one that goes on from the address.
	for name, script := range map[string]string{"pass": pass, "xdg-open": "#!/bin/sh\n", "open": "#!/bin/sh\n"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	r.env = append(os.Environ(), "CENTRALOPS_CONFIG_DIR="+filepath.Join(home, "centralops"), "TERM=xterm-256color",
		"PATH="+strings.Join([]string{bin, filepath.Join(r.tree, "build"), os.Getenv("PATH")}, string(os.PathListSeparator)))
	r.passwords["file"] = filepath.Join(home, "password")
	return r
}

func (r *reader) copy(file string) {
	r.t.Helper()
	from, to := filepath.Join("..", file), filepath.Join(r.tree, file)
	info, err := os.Stat(from)
	if err != nil {
		r.t.Fatal(err)
	}
	content, err := os.ReadFile(from)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(to, content, info.Mode().Perm()); err != nil {
		r.t.Fatal(err)
	}
	// make compares times.
	if err := os.Chtimes(to, info.ModTime(), info.ModTime()); err != nil {
		r.t.Fatal(err)
	}
}

// pages returns the tree's Markdown files.
func (r *reader) pages() []string {
	r.t.Helper()
	var pages []string
	err := filepath.WalkDir(r.tree, func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() && filepath.Ext(path) == ".md" {
			file, err := filepath.Rel(r.tree, path)
			pages = append(pages, file)
			return err
		}
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return pages
}

// commands returns what a page shows, or all pages of a folder show, each command once.
func (r *reader) commands(file string) []string {
	r.t.Helper()
	path := filepath.Join(r.tree, file)
	pages := []string{path}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		if pages, err = filepath.Glob(filepath.Join(path, "*.md")); err != nil {
			r.t.Fatal(err)
		}
	}
	var all []string
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, command := range shellCommands(string(text)) {
			if !slices.Contains(all, command) {
				all = append(all, command)
			}
		}
	}
	return all
}

// heredoc finds the word that ends a here-document.
var heredoc = regexp.MustCompile(`<<-?\s*'?(\w+)'?`)

// remark is a comment behind a command.
var remark = regexp.MustCompile(`\s+# .*$`)

// shellCommands returns the commands in the fenced blocks of a Markdown text that are marked as shell, and the examples
// in the help text of a command page. A command may go over several lines by \ or a here-document. Remarks are no part of it.
func shellCommands(text string) []string {
	var commands []string
	fence, example, end := "", false, ""
	for _, line := range strings.Split(text, "\n") {
		mark, isFence := strings.CutPrefix(strings.TrimSpace(line), "```")
		last := len(commands) - 1
		switch {
		case isFence && fence == "":
			fence, example = first(strings.TrimSpace(mark), "none"), false
		case isFence:
			fence, end = "", ""
		case fence == "text" && line == "Example:":
			example = true
		case fence == "text" && example && strings.HasPrefix(line, "  "):
			commands = append(commands, strings.TrimSpace(line))
		case fence != "sh":
		case end != "":
			commands[last] += "\n" + line
			if line == end {
				end = ""
			}
		case last >= 0 && strings.HasSuffix(commands[last], `\`):
			commands[last] += "\n" + remark.ReplaceAllString(line, "")
		case strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#"):
		default:
			commands = append(commands, remark.ReplaceAllString(line, ""))
			if word := heredoc.FindStringSubmatch(line); word != nil {
				end = word[1]
			}
		}
	}
	return commands
}

func first(values ...string) string {
	for _, value := range values {
		if value != "" {
			return value
		}
	}
	return ""
}

// try does with a command of a file what the table says.
func (r *reader) try(file, command string, table map[string]use) {
	r.t.Helper()
	check := exec.CommandContext(r.t.Context(), "bash", "-n", "-c", command)
	if printed, err := check.CombinedOutput(); err != nil {
		r.t.Errorf("%s: %q is no shell command: %s", file, command, printed)
		return
	}
	r.dir = r.tree
	if strings.HasPrefix(file, "services/") { // a module's page is read in its folder
		r.dir = filepath.Join(r.tree, filepath.Dir(file))
	}
	known, ok := table[command]
	if !ok {
		program, _, _ := strings.Cut(command, " ")
		known, ok = programs[program]
	}
	switch {
	case !ok:
		r.t.Errorf("%s shows %q: say in the table how it is executed, or why it can't be", file, command)
	case known.run == nil:
		r.t.Logf("%s: not executed: %s: %s", file, command, known.reason)
	default:
		began := time.Now()
		known.run(r, command)
		r.t.Logf("%s: %s (%.1f s)", file, command, time.Since(began).Seconds())
	}
}

// command returns a command as the reader's shell runs it.
func (r *reader) command(command string) *exec.Cmd {
	cmd := exec.CommandContext(r.t.Context(), "bash", "-o", "pipefail", "-c", command)
	cmd.Dir, cmd.Env = r.dir, r.env
	return cmd
}

// shell runs a command that needs nobody to type, and returns what it printed.
func (r *reader) shell(command string) string {
	r.t.Helper()
	printed, err := r.command(command).CombinedOutput()
	if err != nil {
		r.t.Fatalf("%s: %v\n%s", command, err, printed)
	}
	return string(printed)
}

func (r *reader) expect(printed string, want ...string) {
	r.t.Helper()
	for _, text := range want {
		if !strings.Contains(printed, text) {
			r.t.Errorf("no %q in:\n%s", text, printed)
		}
	}
}

// startLocal runs make local in the background until it says how to use it.
func (r *reader) startLocal(command string) {
	r.t.Helper()
	r.printed = &output{added: make(chan struct{}, 1)}
	r.local = r.command("exec " + command) // so that the signal below reaches make, as Ctrl-C in a terminal does
	r.local.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r.local.Stdout, r.local.Stderr = r.printed, r.printed
	if err := r.local.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(r.stopLocal)
	r.printed.await(r.t, "ask \"How many", 2*time.Minute)
	for _, line := range strings.Split(r.printed.String(), "\n") {
		if fields := strings.Fields(line); len(fields) > 3 && slices.Contains([]string{"alice", "bob", "carol"}, fields[0]) {
			r.passwords[fields[0]] = fields[len(fields)-1]
		}
	}
	if err := os.WriteFile(r.passwords["file"], []byte(r.passwords["alice"]+"\n"), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// stopLocal does to make local what Ctrl-C does: interrupts the whole foreground process group.
func (r *reader) stopLocal() {
	r.t.Helper()
	if r.local == nil {
		return
	}
	local := r.local
	r.local = nil
	if err := syscall.Kill(-local.Process.Pid, syscall.SIGINT); err != nil {
		r.t.Errorf("interrupt make local: %v", err)
	}
	_ = local.Wait() // make ends with the signal, as it should
	r.expect(r.printed.String(), "Stopped everything that was started.")
}

// keys is what the reader waits for and then types.
type keys struct{ wait, send string }

// types runs a command in a terminal and returns what the terminal showed.
func (r *reader) types(command string, script ...keys) (string, error) {
	r.t.Helper()
	return typed(r.t, r.command(command), script...)
}

// typed runs a command in a terminal and returns what the terminal showed.
func typed(t *testing.T, cmd *exec.Cmd, script ...keys) (string, error) {
	t.Helper()
	s := inTerminal(t, cmd)
	for _, step := range script {
		s.await(step.wait)
		if _, err := io.WriteString(s.terminal, step.send); err != nil {
			t.Fatalf("type %q: %v", step.send, err)
		}
	}
	return s.end()
}

// terminal is a command that runs in a terminal.
type terminal struct {
	t        *testing.T
	cmd      *exec.Cmd
	terminal *os.File
	shown    *output
	ended    chan struct{} // closed when the terminal shows no more
	seen     int           // where what was waited for last ends
}

func inTerminal(t *testing.T, cmd *exec.Cmd) *terminal {
	t.Helper()
	control, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 40, Cols: 110})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = control.Close() }) // it may be closed already
	s := &terminal{t: t, cmd: cmd, terminal: control, shown: &output{added: make(chan struct{}, 1)}, ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		_, _ = io.Copy(s.shown, control) // ends with EIO when the program closes the other side
	}()
	return s
}

// await returns what is shown up to text, behind what was waited for before.
func (s *terminal) await(text string) string {
	s.t.Helper()
	deadline := time.After(time.Minute)
	for {
		shown := s.shown.String()[s.seen:]
		if i := strings.Index(shown, text); i >= 0 {
			s.seen += i + len(text)
			return shown[:i]
		}
		select {
		case <-s.shown.added:
		case <-s.ended:
			if !strings.Contains(s.shown.String()[s.seen:], text) {
				s.t.Fatalf("the program ended without showing %q:\n%q", text, s.shown.String())
			}
		case <-deadline:
			s.t.Fatalf("the terminal does not show %q:\n%q", text, s.shown.String())
		}
	}
}

// end waits for the end of the program and returns all that was shown.
func (s *terminal) end() (string, error) {
	<-s.ended
	_ = s.terminal.Close() // nothing is written to it any more
	return s.shown.String(), s.cmd.Wait()
}

func (r *reader) login(command string) {
	r.t.Helper()
	r.signIn(command, keys{"Password: ", r.passwords["alice"] + "\r"})
}

// loginAsked signs in without naming the user.
func (r *reader) loginAsked(command string) {
	r.t.Helper()
	r.signIn(command, keys{"User name: ", "alice\r"}, keys{"Password: ", r.passwords["alice"] + "\r"})
}

func (r *reader) loginWithBrowser(command string) {
	r.t.Helper()
	shown, err := inBrowser(r.t, r.command(command), func(b *browser) { b.signsIn("alice", r.passwords["alice"]) })
	if err != nil || !strings.Contains(shown, "Signed in to local as alice.") {
		r.t.Fatalf("%s: %v\n%s", command, err, shown)
	}
}

func (r *reader) signIn(command string, script ...keys) {
	r.t.Helper()
	shown, err := r.types(command, script...)
	if err != nil || !strings.Contains(shown, "Signed in to local as alice.") || strings.Contains(shown, r.passwords["alice"]) {
		r.t.Fatalf("%s: %v\n%s", command, err, shown)
	}
}

// otherProfile changes a profile that is filled, and goes back to that of the local platform.
func (r *reader) otherProfile(command string) {
	r.t.Helper()
	r.shell("centralops configure --profile dev --from-file build/local/profile.json")
	r.expect(r.shell(command), "Profile dev is written")
	r.expect(r.shell("centralops configure --show"), "canary")
	r.shell("centralops configure --from-file build/local/profile.json")
}

// logout signs out, and in again for what comes after.
func (r *reader) logout(command string) {
	r.t.Helper()
	r.expect(r.shell(command), "Signed out of local.")
	if printed, err := r.command("centralops whoami").CombinedOutput(); err == nil {
		r.t.Errorf("still signed in after %s:\n%s", command, printed)
	}
	r.login("centralops login --username alice")
}

// chat asks, asks on, and exports.
func (r *reader) chat(command string) {
	r.t.Helper()
	file := strings.ReplaceAll(r.t.Name(), "/", "-") + fmt.Sprint(time.Now().UnixNano()) + ".md"
	shown, err := r.types(command, keys{"> ", "List EC2 instances in Production in us-east-1\r"}, keys{"web-1", ""}, keys{"\n> ", "and in Staging?\r"},
		keys{"web-test", ""}, keys{"\n> ", "/accounts\r"}, keys{"CentralOpsTargetRole", ""}, keys{"\n> ", "/export " + file + "\r"},
		keys{"Written to", ""}, keys{"\n> ", "\x04"})
	if err != nil {
		r.t.Fatalf("%s: %v\n%s", command, err, shown)
	}
	talk, err := os.ReadFile(filepath.Join(r.dir, file))
	if err != nil || !bytes.Contains(talk, []byte("## and in Staging?")) || bytes.Count(talk, []byte("**Coverage:**")) != 2 {
		r.t.Errorf("the export: %v\n%s", err, talk)
	}
}

func (r *reader) bucketsCSV(command string) {
	r.t.Helper()
	r.shell(command)
	rows, err := os.ReadFile(filepath.Join(r.dir, "buckets.csv"))
	if err != nil || bytes.Count(rows, []byte("\n")) < 2 || !bytes.Contains(rows, []byte("Production")) {
		r.t.Errorf("buckets.csv: %v\n%s", err, rows)
	}
}

func (r *reader) jq(command string) {
	r.t.Helper()
	if _, err := exec.LookPath("jq"); err != nil {
		r.t.Logf("not executed: %s: jq is not installed", command)
		return
	}
	r.expect(r.shell(command), `"answered": 3`)
}

// inCI checks that .ci/run runs the command.
func (r *reader) inCI(command string) {
	r.t.Helper()
	script, err := os.ReadFile(filepath.Join(r.tree, ".ci", "run"))
	if err != nil {
		r.t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^\s*(?:step|shown) ` + regexp.QuoteMeta(command) + `$`).Match(script) {
		r.t.Errorf(".ci/run does not run %q", command)
	}
}

func TestShellCommands(t *testing.T) {
	t.Parallel()
	got := shellCommands("a\n```sh\none   # remark\n\n# remark\ntwo \\\n  more # remark\ncat > f <<'X'\nin # here\nX\nthree\n```\n" +
		"```json\n{}\n```\n```text\nUsage:\n  no\n\nExample:\n\n  four --flag\n```\n```\nfive\n```\n")
	want := []string{"one", "two \\\n  more", "cat > f <<'X'\nin # here\nX", "three", "four --flag"}
	if !slices.Equal(got, want) {
		t.Errorf("commands %q, want %q", got, want)
	}
}
