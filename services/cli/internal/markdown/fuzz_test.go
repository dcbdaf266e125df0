package markdown

import (
	"bytes"
	"encoding/csv"
	"strconv"
	"strings"
	"testing"
)

// FuzzCSV holds that cells come back from the file as they were, but for the apostrophe before what a spreadsheet would
// run as a formula.
func FuzzCSV(f *testing.F) {
	for _, cell := range []string{"a", "=1+1", " \t+cmd|' /C calc'!A0", "-5", "@SUM(1)", "a\"b,c\nd", "＝1", "\r=1", "0x1p-2", "-inf", ""} {
		f.Add(cell, "second")
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		var out bytes.Buffer
		if err := WriteCSV(&out, [][]string{{first, second, "end"}}); err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(&out).ReadAll()
		if err != nil || len(rows) != 1 || len(rows[0]) != 3 {
			t.Fatalf("%q, %q became %q (%v)", first, second, rows, err)
		}
		for i, cell := range []string{first, second} {
			got := rows[0][i]
			// encoding/csv reads \r\n inside quotes as \n.
			if want := strings.ReplaceAll(cell, "\r\n", "\n"); got != want && got != "'"+want {
				t.Errorf("cell %q came back as %q", cell, got)
			}
			if trimmed := strings.TrimSpace(got); trimmed != "" && strings.ContainsRune("=+-@", rune(trimmed[0])) {
				if _, err := strconv.ParseFloat(trimmed, 64); err != nil {
					t.Errorf("cell %q is written as %q, which a spreadsheet runs", cell, got)
				}
			}
		}
	})
}
