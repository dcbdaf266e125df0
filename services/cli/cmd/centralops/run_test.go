package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// binary is the real program, built once.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "centralops")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "centralops")
	build := exec.Command("go", "build", "-ldflags=-X main.version=test", "-o", binary, ".")
	build.Stderr = os.Stderr
	status := 1
	if err := build.Run(); err == nil {
		status = m.Run()
	} else {
		fmt.Fprintln(os.Stderr, "build centralops:", err)
	}
	os.RemoveAll(dir)
	os.Exit(status)
}

// cli runs the program for one person: with a configuration folder of its own and no environment
// but what the test sets.
type cli struct {
	t     *testing.T
	home  string
	env   []string
	stdin string
	dir   string // working directory; "" for the test's

	ignores string // a signal that the program is started to ignore, such as HUP; "" for none
}

func newCLI(t *testing.T, env ...string) *cli {
	home := t.TempDir()
	return &cli{t: t, home: home, env: append([]string{"HOME=" + home, "XDG_CONFIG_HOME=" + filepath.Join(home, ".config"), "PATH=" + home + "/bin"}, env...)}
}

// signedInCLI returns a person who is signed in to d.
func signedInCLI(t *testing.T, d *deployment) *cli {
	t.Helper()
	c := newCLI(t, "CENTRALOPS_PROFILE_FILE="+d.profile())
	c.login(d)
	return c
}

// login signs in as alice.
func (c *cli) login(d *deployment) {
	c.t.Helper()
	c.stdin = d.password + "\n"
	if r := c.run("login", "--username", "alice", "--password-stdin"); r.status != 0 {
		c.t.Fatalf("login: %+v", r)
	}
	c.stdin = ""
}

// result is how a run ended.
type result struct {
	stdout, stderr string
	status         int
}

func (c *cli) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(c.t.Context(), binary, args...)
	if c.ignores != "" {
		cmd = exec.CommandContext(c.t.Context(), "/bin/sh", append([]string{"-c", `trap "" ` + c.ignores + `; exec "$@"`, "sh", binary}, args...)...)
	}
	cmd.Env = c.env
	cmd.Dir = c.dir
	return cmd
}

// run runs the program with pipes.
func (c *cli) run(args ...string) result {
	c.t.Helper()
	cmd := c.command(args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(c.stdin), &stdout, &stderr
	syncState()
	err := cmd.Run()
	syncState()
	return result{status: status(c.t, err), stdout: stdout.String(), stderr: stderr.String()}
}

func status(t *testing.T, err error) int {
	t.Helper()
	var exited *exec.ExitError
	if errors.As(err, &exited) {
		return exited.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0
}

// session is the program in a terminal.
type session struct {
	t    *testing.T
	cmd  *exec.Cmd
	tty  *os.File
	read chan string // pieces of what the terminal shows; closed at its end
	all  strings.Builder
	seen int // offset in all behind the last thing waited for
}

// start runs the program in a terminal of cols columns.
func (c *cli) start(cols uint16, args ...string) *session {
	c.t.Helper()
	cmd := c.command(args...)
	syncState()
	cmd.Env = append([]string{"TERM=xterm-256color"}, cmd.Env...)
	tty, err := startInTerminal(cmd, &pty.Winsize{Rows: 40, Cols: cols})
	if err != nil {
		c.t.Fatal(err)
	}
	s := &session{t: c.t, cmd: cmd, tty: tty, read: make(chan string)}
	go func() {
		defer close(s.read)
		buffer := make([]byte, 4<<10)
		for {
			n, err := tty.Read(buffer)
			if n > 0 {
				s.read <- string(buffer[:n])
			}
			if err != nil {
				return // EIO: the other side is closed
			}
		}
	}()
	c.t.Cleanup(func() {
		cmd.Process.Kill()
		tty.Close()
		for range s.read { // lets the reader end
		}
	})
	return s
}

// startInTerminal starts cmd in a new terminal. The terminal is told not to throw output away on Ctrl-C: it does so just
// after it has sent the signal, and would now and then take what the program prints at once with it.
func startInTerminal(cmd *exec.Cmd, size *pty.Winsize) (*os.File, error) {
	control, terminal, err := pty.Open()
	if err != nil {
		return nil, err
	}
	defer terminal.Close() // the program has its own copy
	keep := exec.Command("stty", "noflsh")
	keep.Stdin = terminal
	if err := errors.Join(pty.Setsize(control, size), keep.Run()); err != nil {
		return nil, errors.Join(err, control.Close())
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, control.Close())
	}
	return control, nil
}

// patience is how long a terminal test waits before it calls a text missing. It never adds to a
// test that passes.
const patience = 20 * time.Second

// wait waits until the terminal shows text, after what was waited for before.
func (s *session) wait(text string) {
	s.t.Helper()
	deadline := time.After(patience)
	for {
		if i := strings.Index(s.all.String()[s.seen:], text); i >= 0 {
			s.seen += i + len(text)
			return
		}
		select {
		case piece, ok := <-s.read:
			if !ok {
				s.t.Fatalf("the program ended without showing %q; it showed:\n%q", text, s.all.String())
			}
			s.all.WriteString(piece)
		case <-deadline:
			s.t.Fatalf("waited in vain for %q; the terminal shows:\n%q", text, s.all.String())
		}
	}
}

// send types text.
func (s *session) send(text string) {
	s.t.Helper()
	if _, err := io.WriteString(s.tty, text); err != nil {
		s.t.Fatal(err)
	}
}

// end waits for the end of the program and returns its status and all that the terminal showed.
func (s *session) end() (int, string) {
	s.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case piece, ok := <-s.read:
			if !ok {
				syncState()
				return status(s.t, s.cmd.Wait()), s.all.String()
			}
			s.all.WriteString(piece)
		case <-deadline:
			s.t.Fatalf("the program does not end; the terminal shows:\n%q", s.all.String())
		}
	}
}

// cooked reports whether the terminal is as a shell left it: it shows what is typed, and Ctrl-C is a signal.
func (s *session) cooked() bool {
	s.t.Helper()
	show := exec.Command("stty", "-a")
	show.Stdin = s.tty
	modes, err := show.Output()
	if err != nil {
		s.t.Fatal(err)
	}
	words := strings.Fields(string(modes))
	return slices.Contains(words, "echo") && slices.Contains(words, "icanon") && slices.Contains(words, "isig")
}

// screen returns text without escape sequences and with plain line ends, status lines left out.
func screen(text string) string {
	var out []string
	for _, line := range strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n") {
		// A line that was cleared shows only what was written after the last clearing.
		if i := strings.LastIndex(line, "\r\x1b[K"); i >= 0 {
			line = line[i+len("\r\x1b[K"):]
		}
		out = append(out, line)
	}
	text = strings.Join(out, "\n")
	var plain strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\x1b' {
			for i++; i < len(text) && (text[i] == '[' || text[i] == ';' || text[i] == '?' || text[i] >= '0' && text[i] <= '9'); i++ {
			}
			continue
		}
		plain.WriteByte(text[i])
	}
	return plain.String()
}
