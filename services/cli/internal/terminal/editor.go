package terminal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/term"
)

// Editor reads lines from a terminal, with editing, and history by the arrow keys. The terminal is in raw
// mode only while ReadLine runs, so that in between Ctrl-C interrupts as usual. It is not safe for
// concurrent use.
type Editor struct {
	in, out *os.File
	keys    *keyboard
	term    *term.Terminal
}

// NewEditor returns an editor on a terminal. Lines are added to the file history and taken from it;
// complete, if not nil, completes a word that begins with a slash.
func NewEditor(in, out *os.File, history string, complete func(word string) string) *Editor {
	keys := &keyboard{in: in}
	e := &Editor{in: in, out: out, keys: keys, term: term.NewTerminal(stream{keys, out}, "")}
	e.term.History = openHistory(history)
	if complete != nil {
		e.term.AutoCompleteCallback = func(line string, pos int, key rune) (string, int, bool) {
			if key != '\t' || pos != len(line) || !strings.HasPrefix(line, "/") {
				return "", 0, false
			}
			completed := complete(line)
			return completed, len(completed), true
		}
	}
	return e
}

// In between a terminal marks what is pasted, so that the line editor can tell it from keys.
const beginPaste, endPaste = "\x1b[?2004h", "\x1b[?2004l"

// ReadLine prompts and returns a line without white space around it. A pasted text of several
// lines is one line. Errors: io.EOF for Ctrl-D on an empty line, ErrInterrupted for Ctrl-C.
func (e *Editor) ReadLine(prompt string) (string, error) {
	restore, err := raw(e.in, e.out, endPaste)
	if err != nil {
		return "", err
	}
	defer restore()
	if width, height, err := term.GetSize(int(e.out.Fd())); err == nil && width > 0 {
		_ = e.term.SetSize(width, height) // fails only when it can't redraw, and nothing is drawn yet
	}
	e.term.SetPrompt(prompt)
	io.WriteString(e.out, beginPaste)
	e.keys.interrupted = false
	var pasted []string
	for {
		line, err := e.term.ReadLine()
		switch {
		case e.keys.interrupted:
			return "", ErrInterrupted
		case errors.Is(err, term.ErrPasteIndicator):
			pasted = append(pasted, line)
			continue
		case err != nil:
			return "", err
		}
		return strings.TrimSpace(strings.Join(append(pasted, line), " ")), nil
	}
}

// keyboard passes on what is typed. For Ctrl-C it notes the fact and sends keys that empty the line
// and end it: the line editor of x/term ends on Ctrl-C too, but keeps the line for the next prompt.
type keyboard struct {
	in          io.Reader
	interrupted bool
	rest        []byte
}

const (
	ctrlC     = 0x03
	emptyLine = "\x05\x15\r" // to the end, delete to the beginning, enter
)

func (k *keyboard) Read(p []byte) (int, error) {
	if len(k.rest) == 0 {
		buffer := make([]byte, len(p))
		n, err := k.in.Read(buffer)
		if err != nil {
			return 0, err
		}
		k.rest = buffer[:n]
		if i := bytes.IndexByte(k.rest, ctrlC); i >= 0 {
			k.interrupted = true
			k.rest = []byte(emptyLine) // what was typed around it is dropped
		}
	}
	n := copy(p, k.rest)
	k.rest = k.rest[n:]
	return n, nil
}

// maxHistory is how many lines a history keeps.
const maxHistory = 500

// history is the lines typed before, in a file that only its owner can read. It implements
// term.History. A file that can't be read or written costs the history, not the chat.
type history struct {
	file  string
	lines []string // the latest first
}

// openHistory reads the file; it need not exist.
func openHistory(file string) *history {
	raw, _ := os.ReadFile(file) // nothing when it fails
	h := &history{file: file}
	for line := range strings.Lines(string(raw)) {
		h.lines = append(h.lines, strings.TrimSuffix(line, "\n"))
	}
	slices.Reverse(h.lines)
	if len(h.lines) > maxHistory {
		h.lines = h.lines[:maxHistory]
		h.rewrite()
	}
	return h
}

// rewrite puts the lines that are kept in the place of all that were ever typed. Like Add it does what it can.
func (h *history) rewrite() {
	var text strings.Builder
	for _, line := range slices.Backward(h.lines) {
		text.WriteString(line + "\n")
	}
	fresh := h.file + ".new"
	if os.WriteFile(fresh, []byte(text.String()), 0o600) == nil {
		_ = os.Rename(fresh, h.file)
	}
}

func (h *history) Len() int { return len(h.lines) }

func (h *history) At(i int) string { return h.lines[i] }

func (h *history) Add(line string) {
	line = strings.TrimSpace(line)
	if line == "" || len(h.lines) > 0 && h.lines[0] == line {
		return
	}
	h.lines = append([]string{line}, h.lines...)
	if os.MkdirAll(filepath.Dir(h.file), 0o700) != nil {
		return
	}
	f, err := os.OpenFile(h.file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	fmt.Fprintln(f, line)
}
