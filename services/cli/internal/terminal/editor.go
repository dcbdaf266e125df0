package terminal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// Editor reads lines from a terminal, with editing, and history by the arrow keys. The terminal is in raw
// mode only while ReadLine runs, so that in between Ctrl-C interrupts as usual. It is not safe for
// concurrent use.
type Editor struct {
	Dumb bool // the terminal would show escape sequences: it is not told to mark what is pasted

	in, out *os.File
	keys    *keyboard
	term    *term.Terminal
}

// maxTyped is how many characters of a line x/term takes as they are typed. It drops the others without a word; what is pasted
// between marks it takes whole.
const maxTyped = 4096

// ErrTooLong says that a typed line has more characters than were read.
var ErrTooLong = errors.New("the line is too long")

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
// lines is one line. Errors: io.EOF for Ctrl-D on an empty line, ErrInterrupted for Ctrl-C, ErrTooLong.
func (e *Editor) ReadLine(prompt string) (string, error) {
	begin, end := beginPaste, endPaste
	if e.Dumb {
		begin, end = "", ""
	}
	restore, err := raw(e.in, e.out, end)
	if err != nil {
		return "", err
	}
	defer restore()
	if width, height, err := term.GetSize(int(e.out.Fd())); err == nil && width > 0 {
		_ = e.term.SetSize(width, height) // fails only when it can't redraw, and nothing is drawn yet
	}
	e.term.SetPrompt(prompt)
	io.WriteString(e.out, begin)
	e.keys.interrupted = false
	line, err := e.term.ReadLine()
	switch {
	case e.keys.interrupted:
		return "", ErrInterrupted
	case err != nil:
		return "", err
	case utf8.RuneCountInString(line) == maxTyped:
		return "", ErrTooLong
	}
	return strings.TrimSpace(line), nil
}

// keyboard passes on what is typed. Line ends within what is pasted become spaces: the line editor of x/term would end the line
// there if something was typed before. For Ctrl-C it notes the fact and sends keys that empty the line
// and end it: the line editor ends on Ctrl-C too, but keeps the line for the next prompt.
type keyboard struct {
	in          io.Reader
	interrupted bool
	rest        []byte

	pasting bool // between the marks of a paste
	matched int  // bytes of the mark that comes next
	afterCR bool // a line feed now is the end of the line that has ended
}

const (
	ctrlC     = 0x03
	emptyLine = "\x05\x15\r" // to the end, delete to the beginning, enter

	pasteBegins, pasteEnds = "\x1b[200~", "\x1b[201~" // the marks, as the terminal sends them
)

func (k *keyboard) Read(p []byte) (int, error) {
	for len(k.rest) == 0 {
		buffer := make([]byte, len(p))
		n, err := k.in.Read(buffer)
		if err != nil {
			return 0, err
		}
		k.rest = k.typed(buffer[:n])
	}
	n := copy(p, k.rest)
	k.rest = k.rest[n:]
	return n, nil
}

// typed returns what the line editor gets for keys.
func (k *keyboard) typed(keys []byte) []byte {
	var out []byte
	interrupted := false
	for _, key := range keys {
		mark := pasteBegins
		if k.pasting {
			mark = pasteEnds
		}
		switch key {
		case mark[k.matched]:
			k.matched++
		case mark[0]:
			k.matched = 1
		default:
			k.matched = 0
		}
		if k.matched == len(mark) {
			k.pasting, k.matched = !k.pasting, 0
		}
		switch {
		case key == ctrlC:
			// In a paste it is no key. One that comes by itself is: of a paste whose end got lost there would be no way out.
			interrupted = interrupted || !k.pasting || len(keys) == 1
		case k.pasting && key == '\n' && k.afterCR:
		case k.pasting && (key == '\n' || key == '\r'):
			out = append(out, ' ')
		default:
			out = append(out, key)
		}
		k.afterCR = k.pasting && key == '\r'
	}
	if interrupted {
		out = []byte(emptyLine) // what was typed around it is dropped
		if k.pasting {
			out = []byte(pasteEnds + emptyLine)
		}
		k.interrupted, k.pasting, k.matched = true, false, 0
	}
	return out
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
