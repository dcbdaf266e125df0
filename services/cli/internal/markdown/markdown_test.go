package markdown

import (
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

const sample = "# Title\n\nSome **bold** and *slanted* text with `code` and a\nsoft break, [a link](https://aws.amazon.com).\n\n" +
	"1. one\n2. two\n   - nested\n\n> quoted\n\n```sh\nls  -l\n```\n\n| A | B |\n|---|--:|\n| x \\| y | `z` |\n\n---\n"

func TestRender(t *testing.T) {
	t.Parallel()
	want := `Title

Some bold and slanted text with code and
a soft break, a link
(https://aws.amazon.com).

1. one
2. two
   • nested

│ quoted

    ls  -l

A      B
─────  ─
x | y  z

────────────────────────────────────────
`
	if diff := cmp.Diff(want, Render(sample, Style{Width: 40})); diff != "" {
		t.Errorf("Render mismatch (-want +got):\n%s", diff)
	}
}

// What markdown has no picture for is shown as it is written: an answer repeats log lines and pages, and nothing of it may vanish.
func TestRenderLosesNothing(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		source, want string
		width        int
	}{
		"a line like a reference":  {"Log:\n\n[ERROR]: refused\n", "Log:\n\n[ERROR]: refused\n", 80},
		"a reference":              {"see [a][1]\n\n[1]: http://x.test\n", "see [a][1]\n\n[1]: http://x.test\n", 80},
		"the end of a comment":     {"<!-- one\ntwo -->\n\nafter\n", "    <!-- one\n    two -->\n\nafter\n", 80},
		"the end of preformatted":  {"<pre>\none\ntwo</pre>\n\nafter\n", "    <pre>\n    one\n    two</pre>\n\nafter\n", 80},
		"a comment in one line":    {"<!-- one -->\nafter\n", "    <!-- one -->\n\nafter\n", 80},
		"the address of a picture": {"![chart](http://x.test/y.png) ![](z.png)\n", "chart (http://x.test/y.png) (z.png)\n", 80},
		"a table without rows": {"| AccountAccount | InstanceInstance |\n|---|---|\n",
			"AccountA  Instance\nccount    Instance\n────────  ────────\n", 18},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, Render(test.source, Style{Width: test.width})); diff != "" {
				t.Errorf("Render mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

// A line that is broken inside of bold text is bold on both sides, and the break itself is not.
func TestRenderKeepsStyleOverBreaks(t *testing.T) {
	t.Parallel()
	want := "\x1b[1mone\x1b[0m\n\x1b[1mtwo\x1b[0m\nthree\n"
	if got := Render("**one two** three", Style{Width: 6, Color: true}); got != want {
		t.Errorf("Render = %q, want %q", got, want)
	}
}

func TestColumnsFitTheWidth(t *testing.T) {
	t.Parallel()
	rows := [][]string{{"ACCOUNT", "WHY"}, {"111122223333", strings.Repeat("日本 wide words ", 10)}, {"444455556666"}}
	for _, width := range []int{26, 30, 45, 80} {
		for line := range strings.Lines(Columns(rows, Style{Width: width})) {
			if got := Width(strings.TrimSuffix(line, "\n")); got > width {
				t.Errorf("width %d: line of %d columns: %q", width, got, line)
			}
		}
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	source := "| old |\n|---|\n| 1 |\n\ntext\n\n| Account | Note |\n|---|---|\n| **111** | a\\|b |\n| 222 | |\n"
	want := [][]string{{"Account", "Note"}, {"111", "a|b"}, {"222", ""}}
	if diff := cmp.Diff(want, Table(source)); diff != "" {
		t.Errorf("Table mismatch (-want +got):\n%s", diff)
	}
	if got := Table("no table"); got != nil {
		t.Errorf("Table of text without one = %q", got)
	}
}

func TestWriteCSV(t *testing.T) {
	t.Parallel()
	for cell, want := range map[string]string{
		"plain":         "plain",
		"-12.5":         "-12.5",
		"+3e2":          "+3e2",
		"-":             "'-",
		"=1+1":          "'=1+1",
		"  =1+1":        "'  =1+1",
		"\t=1":          "'\t=1",
		"@SUM(A1)":      "'@SUM(A1)",
		"+1+cmd|' /C'!": "'+1+cmd|' /C'!",
		"-2+3":          "'-2+3",
		"＝1":            "'＝1",
		"|calc":         "'|calc",
		"-inf":          "'-inf",
		"a,b":           `"a,b"`,
		"a=b":           "a=b",
		"\ufeff=1+1":    "'\ufeff=1+1", // of a file that begins so, a spreadsheet drops the first character
		"\u200b@SUM(A)": "'\u200b@SUM(A)",
	} {
		var out strings.Builder
		if err := WriteCSV(&out, [][]string{{cell}}); err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSuffix(out.String(), "\n"); got != want {
			t.Errorf("cell %q is written as %s, want %s", cell, got, want)
		}
	}
}

// However a text is cut into pieces, the blocks together are the text, and no block ends within a
// code fence.
func FuzzSplitter(f *testing.F) {
	f.Add(sample, 3)
	f.Add("a\n\n```\nb\n\nc\n```\n\nd", 1)
	f.Fuzz(func(t *testing.T, source string, step int) {
		if step < 1 {
			step = 1
		}
		var s Splitter
		var blocks []string
		for rest := source; rest != ""; {
			n := min(step, len(rest))
			blocks = append(blocks, s.Add(rest[:n]))
			rest = rest[n:]
		}
		blocks = append(blocks, s.Rest())
		if got := strings.Join(blocks, ""); got != source {
			t.Errorf("blocks are %q, want %q", got, source)
		}
	})
}

func TestSplitterShowsWholeBlocks(t *testing.T) {
	t.Parallel()
	var s Splitter
	var got []string
	for _, r := range "a\nb\n\n```\nc\n\nd\n```\n\n- e\n\n  f\n\ng" {
		if block := s.Add(string(r)); block != "" {
			got = append(got, block)
		}
	}
	got = append(got, s.Rest())
	want := []string{"a\nb\n\n", "```\nc\n\nd\n```\n\n", "- e\n\n  f\n\n", "g"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("blocks mismatch (-want +got):\n%s", diff)
	}
}

// A block that comes in many pieces takes no longer for each of them. What was looked at again for each took minutes here.
func TestSplitterReadsOnce(t *testing.T) {
	t.Parallel()
	var s Splitter
	const rows = 200_000
	for range rows {
		s.Add("| a | row of a table |\n")
	}
	if got := s.Rest(); strings.Count(got, "\n") != rows {
		t.Errorf("%d rows, want %d", strings.Count(got, "\n"), rows)
	}
}

// Only the fence that a code block began with ends it.
func TestSplitterKnowsFences(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"```\n~~~\n\nb\n```\n\n", "````\n```\n\nb\n````\n\n", "~~~\n```\n\nb\n~~~\n\n", "```\n```x\n\nb\n```\n\n", "```a``` b\n\n"} {
		var s Splitter
		if got := s.Add(code + "after"); got != code {
			t.Errorf("block is %q, want %q", got, code)
		}
		if got := s.Rest(); got != "after" {
			t.Errorf("rest is %q, want %q", got, "after")
		}
	}
}

// Nothing that an answer says reaches the terminal as a control character or turns text around, whatever it is.
func FuzzRenderIsClean(f *testing.F) {
	f.Add("&#27;[2J &#x9b;1m `a&#27;` [x](&#27;y)", 20)
	f.Add("a\x1b[2Jb \u202e| c |\n|---|\n| \x9b1m |\n", 20)
	f.Add("&rlm;111 - 222 \u061c333&#x200e;", 20)
	f.Fuzz(func(t *testing.T, source string, width int) {
		style := Style{Width: min(max(width, 0), 200)}
		for _, r := range Render(source, style) {
			if unicode.IsControl(r) && r != '\n' && r != '\t' || unicode.Is(unicode.Bidi_Control, r) {
				t.Fatalf("Render(%q) has %q", source, r)
			}
		}
	})
}
