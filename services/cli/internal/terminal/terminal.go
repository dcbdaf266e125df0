// Package terminal is what a person sees and types: a status line that is written over, prompts
// without echo, and lines with editing and history. Nothing here is used when the stream is no
// terminal, except that prompts then say how to do without.
package terminal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/clipperhouse/displaywidth"
	"golang.org/x/term"
)

// Is reports whether f is a terminal.
func Is(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// defaultWidth is assumed for a terminal that does not tell its size.
const defaultWidth = 80

// Width returns the columns of the terminal f.
func Width(f *os.File) int {
	if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
		return width
	}
	return defaultWidth
}

// Status is a line at the bottom that is written over while something goes on. The zero value, and
// a nil *Status, show nothing. It is safe for concurrent use.
type Status struct {
	out   io.Writer
	width func() int

	mu     sync.Mutex
	line   string
	shown  bool
	closed bool
	since  time.Time // the time that is shown counts from here
	stop   chan struct{}
	done   chan struct{}
	undo   func() // what a signal that ends the program would do before
}

// NewStatus shows a status line on f, a terminal, and begins to turn its wheel. Close ends that.
func NewStatus(f *os.File) *Status {
	s := &Status{out: f, width: func() int { return Width(f) }, since: time.Now(), stop: make(chan struct{}), done: make(chan struct{})}
	s.undo = beforeEnd(s.end)
	go s.turn()
	return s
}

// wheel is what turns at the left of the line.
var wheel = []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}

const (
	clearLine = "\r\x1b[K"
	perTurn   = 100 * time.Millisecond
)

func (s *Status) turn() {
	defer close(s.done)
	ticks := time.NewTicker(perTurn)
	defer ticks.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-ticks.C:
			s.mu.Lock()
			s.draw()
			s.mu.Unlock()
		}
	}
}

// draw writes the line; s.mu is held.
func (s *Status) draw() {
	if s.line == "" {
		return
	}
	elapsed := time.Since(s.since)
	mark := wheel[int(elapsed/perTurn)%len(wheel)]
	line := mark + " " + s.line
	if elapsed >= time.Second {
		line += " " + elapsed.Truncate(time.Second).String()
	}
	// One column stays free: some terminals wrap a line that is exactly full.
	io.WriteString(s.out, clearLine+displaywidth.TruncateString(line, s.width()-1, "…"))
	s.shown = true
}

// Restart makes the time that the line shows begin at 0 again.
func (s *Status) Restart() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since = time.Now()
}

// Set replaces the text of the line; "" hides it. After Close it does nothing.
func (s *Status) Set(line string) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	if line == "" {
		s.hide()
	}
	s.line = strings.Join(strings.Fields(line), " ")
	s.draw()
}

func (s *Status) hide() {
	if s.shown {
		io.WriteString(s.out, clearLine)
		s.shown = false
	}
}

// Print calls write while the line is hidden, so that other output does not mix with it.
func (s *Status) Print(write func()) {
	if s == nil {
		write()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hide()
	write()
	s.draw()
}

// Close hides the line for good.
func (s *Status) Close() {
	if s == nil {
		return
	}
	s.undo()
	close(s.stop)
	<-s.done
	s.end()
}

// end hides the line and lets nothing show it again.
func (s *Status) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hide()
	s.line, s.closed = "", true
}

// Bar returns a bar of width cells, filled in the proportion of done to total.
func Bar(done, total, width int) string {
	if total <= 0 {
		return ""
	}
	filled := min(done*width/total, width)
	return strings.Repeat("█", filled) + strings.Repeat("░", width-filled)
}

// ErrInterrupted says that Ctrl-C, or Ctrl-D on an empty line, was typed at a prompt.
var ErrInterrupted = errors.New("interrupted")

// Prompts asks for one line after the other. What is typed, or pasted, ahead of a prompt is for that prompt. It is not safe for
// concurrent use.
type Prompts struct {
	In, Out *os.File // of a terminal

	afterCR bool // the line that was read last ended with a carriage return
}

// ReadSecret prompts and reads a line without showing it. The echo is
// off before the prompt is shown, so that nothing that is pasted early shows up either.
func (p *Prompts) ReadSecret(prompt string) (string, error) {
	return p.ask(func(t *term.Terminal) (string, error) { return t.ReadPassword(prompt) })
}

// ReadLine prompts and reads a line.
func (p *Prompts) ReadLine(prompt string) (string, error) {
	return p.ask(func(t *term.Terminal) (string, error) {
		t.SetPrompt(prompt)
		return t.ReadLine()
	})
}

// ask reads from a terminal in raw mode, in which Ctrl-C is a key like others. The signal that it would otherwise
// send does not end a read.
func (p *Prompts) ask(read func(*term.Terminal) (string, error)) (string, error) {
	restore, err := raw(p.In, p.Out, "")
	if err != nil {
		return "", err
	}
	defer restore()
	line, err := read(term.NewTerminal(stream{p, p.Out}, ""))
	if errors.Is(err, io.EOF) {
		io.WriteString(p.Out, "\r\n")
		return "", ErrInterrupted
	}
	return line, err
}

// Read reads one byte: what follows the line is not taken from the terminal, and is there for the next prompt.
func (p *Prompts) Read(b []byte) (int, error) {
	for {
		n, err := p.In.Read(b[:1])
		if err != nil || n == 0 {
			return n, err
		}
		rest := b[0] == '\n' && p.afterCR // of a line end of two characters
		p.afterCR = b[0] == '\r'
		if !rest {
			return n, nil
		}
	}
}

// raw puts the terminal in into raw mode until restore is called, which writes leave to out. A signal that ends the program
// does so after that: the shell would else get a terminal that does not show what is typed.
func raw(in, out *os.File, leave string) (restore func(), err error) {
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, fmt.Errorf("prompt: %w", err)
	}
	back := func() {
		io.WriteString(out, leave)
		_ = term.Restore(int(in.Fd()), before) // fails only if the terminal is gone
	}
	undo := beforeEnd(back)
	return func() {
		undo()
		back()
	}, nil
}

// beforeEnd calls tidy before a signal ends the program, until undo is called.
func beforeEnd(tidy func()) (undo func()) {
	ending, done := make(chan os.Signal, 1), make(chan struct{})
	for _, s := range []os.Signal{syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(s) { // as SIGHUP is under nohup: it ends nothing, then
			signal.Notify(ending, s)
		}
	}
	go func() {
		select {
		case <-done:
		case s := <-ending:
			tidy()
			signal.Reset(s)
			self, err := os.FindProcess(os.Getpid())
			if err != nil || self.Signal(s) != nil {
				os.Exit(1) // where a process can't send itself a signal
			}
		}
	}()
	return func() {
		signal.Stop(ending)
		close(done)
	}
}

// stream reads from one file and writes to another.
type stream struct {
	io.Reader
	io.Writer
}
