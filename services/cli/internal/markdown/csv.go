package markdown

import (
	"encoding/csv"
	"io"
	"strconv"
	"strings"
	"unicode"
)

// WriteCSV writes rows as CSV that is safe to open in a spreadsheet: a cell that a spreadsheet would
// run as a formula gets an apostrophe in front, unless it is a plain number.
// https://owasp.org/www-community/attacks/CSV_Injection
func WriteCSV(w io.Writer, rows [][]string) error {
	out := csv.NewWriter(w)
	for _, row := range rows {
		safe := make([]string, len(row))
		for i, cell := range row {
			safe[i] = safeCell(cell)
		}
		if err := out.Write(safe); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

func safeCell(cell string) string {
	// Spreadsheets skip leading white space, and the byte order mark that a file may begin with, and read full-width signs as
	// their narrow forms.
	start := strings.TrimLeftFunc(cell, func(r rune) bool { return unicode.IsSpace(r) || unicode.Is(unicode.Cf, r) })
	if start == "" || !strings.ContainsAny(firstRune(start), "=+-@|%＝＋－＠") && cell[0] != '\t' && cell[0] != '\r' {
		return cell
	}
	if _, err := strconv.ParseFloat(start, 64); err == nil && !strings.ContainsAny(start, "xX_nN") {
		return cell
	}
	return "'" + cell
}

func firstRune(s string) string {
	for _, r := range s {
		return string(r)
	}
	return ""
}
