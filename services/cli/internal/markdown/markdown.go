// Package markdown shows an answer's markdown: rendered for a terminal, block by block as it comes
// in, and its last table as rows.
//
// It walks goldmark's tree itself instead of using a ready terminal renderer: those bring syntax
// highlighting and style sheets (6 MB, 20 ms at each start), and an answer has paragraphs, lists,
// tables and code. Text from outside may carry escape sequences, which would let a tag on an EC2
// instance write over what the person sees; Clean removes them, and Render and Table clean their
// input.
package markdown

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	extast "github.com/yuin/goldmark/extension/ast"
	gmparser "github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// Clean returns s without control characters other than line feed and tab, and without the
// characters that change the direction of text.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		if acts(r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, s)
}

// acts reports whether a terminal may take r for a command: a control character, or one that turns text around.
func acts(r rune) bool {
	return unicode.IsControl(r) && r != '\n' && r != '\t' || unicode.Is(unicode.Bidi_Control, r)
}

// EscapeJSON returns JSON text with \u escapes for what Clean removes: it is in strings only, and says the same.
func EscapeJSON(text string) string {
	var out strings.Builder
	for _, r := range text {
		if acts(r) {
			fmt.Fprintf(&out, `\u%04x`, r) // none is beyond U+FFFF
		} else {
			out.WriteRune(r)
		}
	}
	return out.String()
}

// CleanLine is Clean for text that has to stay in one line.
func CleanLine(s string) string { return strings.Join(strings.Fields(Clean(s)), " ") }

// parser is goldmark's own without definitions of references: those are no part of what is shown, and a log's line such as
// "[ERROR]: refused" would be one.
var parser = goldmark.New(goldmark.WithParser(gmparser.NewParser(
	gmparser.WithBlockParsers(gmparser.DefaultBlockParsers()...),
	gmparser.WithInlineParsers(gmparser.DefaultInlineParsers()...),
)), goldmark.WithExtensions(extension.Table, extension.Strikethrough)).Parser()

// Style says how to render. The zero value renders plain text without wrapping.
type Style struct {
	Width int  // columns; 0 means: do not wrap
	Color bool // use bold, colour and the like
}

// Escape sequences of the renderer: select graphic rendition.
const (
	bold, dim, italic, cyan, reset = "\x1b[1m", "\x1b[2m", "\x1b[3m", "\x1b[36m", "\x1b[0m"
)

// Render returns the markdown as a terminal shows it, ending in a line feed unless it is empty.
func Render(source string, style Style) string {
	src := []byte(Clean(source))
	r := &renderer{src: src, style: style}
	root := parser.Parse(text.NewReader(src))
	return r.blocks(root, style.Width)
}

type renderer struct {
	src   []byte
	style Style
}

// blocks renders the block children of n, an empty line between them.
func (r *renderer) blocks(n ast.Node, width int) string {
	var out strings.Builder
	for child := n.FirstChild(); child != nil; child = child.NextSibling() {
		block := r.block(child, width)
		if block == "" {
			continue
		}
		if _, tight := child.(*ast.TextBlock); out.Len() > 0 && !tight && !nestedList(child) {
			out.WriteString("\n")
		}
		out.WriteString(block)
	}
	return out.String()
}

// nestedList reports whether n is a list inside of a list's item.
func nestedList(n ast.Node) bool {
	_, isList := n.(*ast.List)
	_, inItem := n.Parent().(*ast.ListItem)
	return isList && inItem
}

func (r *renderer) block(n ast.Node, width int) string {
	switch n := n.(type) {
	case *ast.Heading:
		return r.wrap(r.paint(bold, r.inline(n)), width)
	case *ast.Paragraph, *ast.TextBlock:
		return r.wrap(r.inline(n), width)
	case *ast.List:
		return r.list(n, width)
	case *ast.Blockquote:
		return indent(r.blocks(n, narrower(width, 2)), r.paint(dim, "│ "), r.paint(dim, "│ "))
	case *ast.FencedCodeBlock, *ast.CodeBlock, *ast.HTMLBlock:
		var code strings.Builder
		for i := range n.Lines().Len() {
			line := n.Lines().At(i)
			code.Write(line.Value(r.src))
		}
		if html, ok := n.(*ast.HTMLBlock); ok && html.HasClosure() {
			code.Write(html.ClosureLine.Value(r.src)) // is none of its lines, and may have text before what closes it
		}
		return indent(strings.TrimRight(code.String(), "\n")+"\n", "    ", "    ")
	case *ast.ThematicBreak:
		return r.paint(dim, strings.Repeat("─", min(max(width, 3), 40))) + "\n"
	case *extast.Table:
		return r.table(n, width)
	default:
		return r.blocks(n, width)
	}
}

func (r *renderer) list(list *ast.List, width int) string {
	var out strings.Builder
	number := list.Start
	for item := list.FirstChild(); item != nil; item = item.NextSibling() {
		marker := "• "
		if list.IsOrdered() {
			marker = fmt.Sprintf("%d. ", number)
			number++
		}
		content := r.blocks(item, narrower(width, Width(marker)))
		if content == "" {
			content = "\n"
		}
		out.WriteString(indent(content, marker, strings.Repeat(" ", Width(marker))))
	}
	return out.String()
}

// inline renders the text inside a block.
func (r *renderer) inline(n ast.Node) string {
	var out strings.Builder
	for child := n.FirstChild(); child != nil; child = child.NextSibling() {
		switch child := child.(type) {
		case *ast.Text:
			out.WriteString(r.literal(child))
			if child.HardLineBreak() {
				out.WriteString("\n")
			} else if child.SoftLineBreak() {
				out.WriteString(" ")
			}
		case *ast.String:
			out.Write(child.Value)
		case *ast.CodeSpan:
			var code strings.Builder
			for part := child.FirstChild(); part != nil; part = part.NextSibling() {
				if text, ok := part.(*ast.Text); ok {
					code.Write(text.Value(r.src)) // in code, nothing stands for anything else
				}
			}
			out.WriteString(r.paint(cyan, code.String()))
		case *ast.Emphasis:
			style := italic
			if child.Level == 2 {
				style = bold
			}
			out.WriteString(r.paint(style, r.inline(child)))
		case *ast.Link:
			out.WriteString(r.address(child, child.Destination))
		case *ast.Image:
			out.WriteString(r.address(child, child.Destination))
		case *ast.AutoLink:
			out.Write(child.URL(r.src))
		case *ast.RawHTML:
			for i := range child.Segments.Len() {
				segment := child.Segments.At(i)
				out.Write(segment.Value(r.src))
			}
		default:
			out.WriteString(r.inline(child))
		}
	}
	return out.String()
}

// address returns the text of a link or an image and where it leads to. That is always shown: the text can claim to be another.
func (r *renderer) address(n ast.Node, destination []byte) string {
	label, target := r.inline(n), string(destination)
	switch label {
	case target:
		return label
	case "":
		return "(" + target + ")"
	default:
		return label + " (" + target + ")"
	}
}

// literal returns the text of n with escapes and entities resolved. They may stand for control
// characters (&#27;), so it is cleaned again.
func (r *renderer) literal(n *ast.Text) string {
	value := util.UnescapePunctuations(n.Value(r.src))
	value = util.ResolveEntityNames(util.ResolveNumericReferences(value))
	return Clean(string(value))
}

// minCell is the width below which a column is not made narrower: 12 digits of an account id.
const minCell = 12

// table renders rows in columns. Cells are wrapped, the widest first, until the table fits; if the
// terminal is too narrow for that, each row becomes a list of "header: cell".
func (r *renderer) table(n ast.Node, width int) string {
	var rows [][]string
	for row := n.FirstChild(); row != nil; row = row.NextSibling() {
		var cells []string
		for cell := row.FirstChild(); cell != nil; cell = cell.NextSibling() {
			cells = append(cells, r.inline(cell))
		}
		rows = append(rows, cells)
	}
	return Columns(rows, Style{Width: width, Color: r.style.Color})
}

// Columns lays rows out in columns; the first row is the header. Cells are taken as they are.
func Columns(rows [][]string, style Style) string {
	if len(rows) == 0 || len(rows[0]) == 0 {
		return ""
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			if i < len(widths) {
				widths[i] = max(widths[i], Width(cell))
			}
		}
	}
	const gap = 2
	if style.Width > 0 {
		over := gap*(len(widths)-1) - style.Width
		for _, w := range widths {
			over += w
		}
		for over > 0 {
			widest := 0
			for i, w := range widths {
				if w > widths[widest] {
					widest = i
				}
			}
			if widths[widest] <= minCell && len(rows) > 1 {
				return records(rows, style)
			}
			if widths[widest] <= 1 {
				break // narrower than it has columns
			}
			widths[widest]--
			over--
		}
	}
	var out strings.Builder
	for i, row := range rows {
		var cells [][]string
		height := 1
		for j, w := range widths {
			var cell string
			if j < len(row) {
				cell = row[j]
			}
			lines := wrap(cell, max(w, 1))
			cells = append(cells, lines)
			height = max(height, len(lines))
		}
		for line := range height {
			var text strings.Builder
			for j, lines := range cells {
				var part string
				if line < len(lines) {
					part = lines[line]
				}
				if i == 0 && style.Color {
					part = bold + part + reset
				}
				text.WriteString(part)
				if j < len(cells)-1 {
					text.WriteString(strings.Repeat(" ", widths[j]-Width(part)+gap))
				}
			}
			out.WriteString(strings.TrimRight(text.String(), " ") + "\n")
		}
		if i == 0 {
			var rule []string
			for _, w := range widths {
				rule = append(rule, strings.Repeat("─", w))
			}
			line := strings.Join(rule, strings.Repeat(" ", gap))
			if style.Color {
				line = dim + line + reset
			}
			out.WriteString(line + "\n")
		}
	}
	return out.String()
}

// records lays rows out one below the other.
func records(rows [][]string, style Style) string {
	var out strings.Builder
	r := &renderer{style: style}
	for i, row := range rows[1:] {
		if i > 0 {
			out.WriteString("\n")
		}
		for j, cell := range row {
			if j < len(rows[0]) {
				out.WriteString(r.wrap(r.paint(bold, rows[0][j])+": "+cell, style.Width))
			}
		}
	}
	return out.String()
}

func (r *renderer) paint(style, s string) string {
	if !r.style.Color || s == "" {
		return s
	}
	return style + s + reset
}

func (r *renderer) wrap(s string, width int) string {
	if s == "" {
		return ""
	}
	if width > 0 {
		s = strings.Join(wrap(s, width), "\n")
	}
	return s + "\n"
}

func narrower(width, by int) int {
	if width == 0 {
		return 0
	}
	return max(width-by, 1)
}

// indent puts first before the first line of s and rest before the others.
func indent(s, first, rest string) string {
	var out strings.Builder
	prefix := first
	for line := range strings.Lines(s) {
		out.WriteString(strings.TrimRight(prefix+strings.TrimSuffix(line, "\n"), " ") + "\n")
		prefix = rest
	}
	return out.String()
}

// Table returns the rows of the last table in the markdown, the header first, or nil if there is
// none. Cells are plain text.
func Table(source string) [][]string {
	src := []byte(Clean(source))
	r := &renderer{src: src}
	var last ast.Node
	_ = ast.Walk(parser.Parse(text.NewReader(src)), func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if table, ok := n.(*extast.Table); ok && entering {
			last = table
		}
		return ast.WalkContinue, nil
	}) // the walker above returns no error
	if last == nil {
		return nil
	}
	var rows [][]string
	for row := last.FirstChild(); row != nil; row = row.NextSibling() {
		var cells []string
		for cell := row.FirstChild(); cell != nil; cell = cell.NextSibling() {
			cells = append(cells, strings.TrimSpace(r.inline(cell)))
		}
		rows = append(rows, cells)
	}
	return rows
}

// Splitter cuts a growing text into whole blocks, so that each can be shown when it is complete.
// A block ends at an empty line that is in no code fence and that no indented line follows.
type Splitter struct {
	pending []byte
	scanned int    // bytes of pending that were looked at: its whole lines
	blank   bool   // the last of those ends a block, unless an indented line follows
	fence   string // of the code that the next line is in
}

// Add takes more text and returns the blocks that are complete now, as one text, or "".
func (s *Splitter) Add(text string) string {
	s.pending = append(s.pending, text...)
	end := 0
	for s.scanned < len(s.pending) {
		length := bytes.IndexByte(s.pending[s.scanned:], '\n')
		line := s.pending[s.scanned:]
		if length >= 0 {
			line = line[:length]
		}
		if s.blank && len(line) > 0 && line[0] != ' ' && line[0] != '\t' {
			end = s.scanned
		}
		if length < 0 {
			break
		}
		trimmed := bytes.TrimSpace(line)
		if mark := fenceOf(string(trimmed)); s.fence == "" {
			s.fence = mark
		} else if len(mark) >= len(s.fence) && mark[0] == s.fence[0] && len(mark) == len(trimmed) {
			s.fence = ""
		}
		s.blank = len(trimmed) == 0 && s.fence == ""
		s.scanned += length + 1
	}
	s.scanned -= end
	return s.take(end)
}

// fenceOf returns the backticks or tildes that a line begins with if they open a code fence, else "". Those that close one are
// of the same kind, no fewer, and alone in their line.
func fenceOf(line string) string {
	for _, mark := range []string{"`", "~"} {
		rest := strings.TrimLeft(line, mark)
		// What stands between backticks in one line is no fence.
		if n := len(line) - len(rest); n >= 3 && (mark == "~" || !strings.Contains(rest, mark)) {
			return line[:n]
		}
	}
	return ""
}

// Rest returns what is left.
func (s *Splitter) Rest() string {
	s.scanned, s.blank, s.fence = 0, false, ""
	return s.take(len(s.pending))
}

// Pending returns what is held back, without taking it.
func (s *Splitter) Pending() string { return string(s.pending) }

func (s *Splitter) take(n int) string {
	out := string(s.pending[:n])
	s.pending = s.pending[n:]
	return out
}
