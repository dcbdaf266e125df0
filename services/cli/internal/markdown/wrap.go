package markdown

import (
	"strings"

	"github.com/clipperhouse/displaywidth"
)

// columns counts the columns that text takes, escape sequences excepted.
var columns = displaywidth.Options{ControlSequences: true}

// Width returns how many columns of a terminal s takes.
func Width(s string) int { return columns.String(s) }

// Cut returns the head of s that fits into width columns, with an ellipsis if something is missing.
func Cut(s string, width int) string { return columns.TruncateString(s, width, "…") }

// Hang returns text behind head, wrapped to width columns, its further lines under its first one. Where that leaves too little
// room, text begins on a line of its own. Width 0 is no limit.
func Hang(head, text string, width int) string {
	if width == 0 {
		return head + text + "\n"
	}
	const least = 30 // columns for the text
	if Width(head)+least <= width {
		return indent(strings.Join(wrap(text, width-Width(head)), "\n")+"\n", head, strings.Repeat(" ", Width(head)))
	}
	return strings.TrimRight(head, " ") + "\n" + indent(strings.Join(wrap(text, max(width-2, 1)), "\n")+"\n", "  ", "  ")
}

// wrap breaks the lines of s at spaces so that none is wider than width; a word that is wider is
// broken too. A style that is on at a break is switched off before it and on again after it.
func wrap(s string, width int) []string {
	var lines []string
	var line strings.Builder
	used := 0    // columns of line
	active := "" // escape sequences that are on
	feed := func() {
		text := strings.TrimRight(line.String(), " ")
		if active != "" {
			text += reset
		}
		lines = append(lines, text)
		line.Reset()
		line.WriteString(active)
		used = 0
	}
	put := func(text string) {
		line.WriteString(text)
		used += Width(text)
		active = after(active, text)
	}
	for i, paragraph := range strings.Split(s, "\n") {
		if i > 0 {
			feed()
		}
		for j, word := range strings.Split(paragraph, " ") {
			if j > 0 {
				if used > 0 && used+1+Width(word) > width {
					feed()
				} else if used > 0 {
					put(" ")
				}
			}
			for left := Width(word); used+left > width; { // measured once: a word can be megabytes
				head := fit(word, max(width-used, 1))
				put(head)
				left -= Width(head)
				word = word[len(head):]
				if word == "" {
					break
				}
				feed()
			}
			put(word)
		}
	}
	feed()
	return lines
}

// fit returns the longest head of s that takes at most width columns, but at least one character.
func fit(s string, width int) string {
	end, used := 0, 0
	for characters := columns.StringGraphemes(s); characters.Next(); {
		used += characters.Width()
		if used > width && end > 0 {
			break
		}
		end += len(characters.Value())
	}
	return s[:end]
}

// after returns the escape sequences that are on after text, of those that this package writes.
func after(active, text string) string {
	for {
		start := strings.IndexByte(text, '\x1b')
		if start < 0 {
			return active
		}
		length := strings.IndexByte(text[start:], 'm')
		if length < 0 {
			return active
		}
		sequence := text[start : start+length+1]
		text = text[start+length+1:]
		if sequence == reset {
			active = ""
		} else {
			active += sequence
		}
	}
}
