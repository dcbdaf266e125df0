package main

import (
	"fmt"
	"slices"
	"strings"

	centralops "github.com/central-ops/central-ops/services/cli"
	"github.com/central-ops/central-ops/services/cli/internal/markdown"
)

// shownReceipts is how many rows of receipts are shown; --json has all receipts.
const shownReceipts = 20

// proof returns coverage and receipts as text: rendered for a terminal if style has a width, else
// markdown. It is empty if no account was asked.
func proof(answer centralops.Answer, style markdown.Style) string {
	var out strings.Builder
	if c := answer.Coverage; c != nil && c.Targets > 0 {
		fmt.Fprintf(&out, "**Coverage:** %s.", c)
		if !c.Complete() {
			out.WriteString(" The answer is partial.")
		}
		out.WriteString("\n\n")
	}
	if answer.StoppedBy != "" {
		fmt.Fprintf(&out, "**Stopped early** by the agent's bound %s. The answer is partial.\n\n", cell(answer.StoppedBy))
	}
	writeReceipts(&out, answer.Receipts)
	if style.Width > 0 {
		return markdown.Render(out.String(), style)
	}
	return out.String()
}

// receiptColumns are what a receipt says besides account and status, and how a sentence says it.
var receiptColumns = []struct {
	header, word string
	value        func(centralops.Receipt) string
}{
	{"Operation", "", func(r centralops.Receipt) string { return r.Operation }},
	{"Regions", "in", region},
	{"As", "as", func(r centralops.Receipt) string { return roleName(r.RoleARN) }},
	{"For", "for", func(r centralops.Receipt) string { return r.SourceIdentity }},
}

func region(r centralops.Receipt) string { return r.Region }

// receiptRow is receipts that differ in their Region only.
type receiptRow struct {
	cells   []string // account, what differs, status
	regions []string // each once
	count   int
	failed  bool
}

// writeReceipts writes receipts as a sentence with what is the same in all of them, and a table of what differs, Regions of
// an account together. Targets that did not answer come first: that is what a reader has to know.
func writeReceipts(out *strings.Builder, receipts []centralops.Receipt) {
	if len(receipts) == 0 {
		return
	}
	sentence := "**Receipts:**"
	header := []string{"Account"}
	var differ []func(centralops.Receipt) string
	manyRegions := len(distinct(receipts, region)) > 1
	for _, column := range receiptColumns {
		switch values := distinct(receipts, column.value); {
		case len(values) == 0:
		case len(values) == 1:
			sentence += strings.TrimRight(" "+column.word, " ") + " " + cell(values[0])
		case column.header == "Regions": // of an account together, below
		default:
			header = append(header, column.header)
			differ = append(differ, column.value)
		}
	}
	if manyRegions {
		header = append(header, "Regions")
	}
	header = append(header, "Status")
	fmt.Fprintf(out, "%s\n\n| %s |\n|%s\n", sentence, strings.Join(header, " | "), strings.Repeat("---|", len(header)))
	listed := 0
	rows := receiptRows(receipts, differ)
	for _, row := range rows[:min(len(rows), shownReceipts)] {
		listed += row.count
		cells := row.cells
		if manyRegions {
			cells = slices.Insert(slices.Clone(cells), len(cells)-1, someRegions(row.regions))
		}
		for i := range cells {
			cells[i] = cell(cells[i])
		}
		fmt.Fprintf(out, "| %s |\n", strings.Join(cells, " | "))
	}
	if more := len(receipts) - listed; more > 0 {
		fmt.Fprintf(out, "\n%d more receipts: --json has them all.\n", more)
	}
}

// receiptRows returns a row for each account, outcome and what else differs, those that failed first.
func receiptRows(receipts []centralops.Receipt, differ []func(centralops.Receipt) string) []receiptRow {
	var rows []receiptRow
	at := map[string]int{}
	for _, r := range receipts {
		cells := []string{strings.TrimSpace(r.AccountName + " " + r.AccountID)}
		for _, value := range differ {
			cells = append(cells, value(r))
		}
		cells = append(cells, why(r.Status, r.Error))
		key := strings.Join(cells, "\x00")
		i, ok := at[key]
		if !ok {
			i = len(rows)
			at[key] = i
			rows = append(rows, receiptRow{cells: cells, failed: r.Status != "" && r.Status != "ok"})
		}
		rows[i].count++
		if r.Region != "" && !slices.Contains(rows[i].regions, r.Region) {
			rows[i].regions = append(rows[i].regions, r.Region)
		}
	}
	slices.SortStableFunc(rows, func(a, b receiptRow) int {
		switch {
		case a.failed == b.failed:
			return 0
		case a.failed:
			return -1
		default:
			return 1
		}
	})
	return rows
}

// someRegions returns a few Regions by name, and more as their number.
func someRegions(regions []string) string {
	const shown = 3
	if len(regions) > shown {
		return fmt.Sprintf("%d Regions", len(regions))
	}
	return strings.Join(regions, ", ")
}

// distinct returns the values of receipts, each once; one that was never asked has none.
func distinct(receipts []centralops.Receipt, value func(centralops.Receipt) string) []string {
	var values []string
	for _, r := range receipts {
		if v := value(r); v != "" && !slices.Contains(values, v) {
			values = append(values, v)
		}
	}
	return values
}

// why returns a target's status with the reason for it.
func why(status string, err *centralops.Error) string {
	status = first(status, "ok")
	if err == nil {
		return status
	}
	return status + ": " + strings.TrimPrefix(first(err.Message, string(err.Code)), status+": ")
}

// roleName returns the name at the end of a role's ARN.
func roleName(arn string) string { return arn[strings.LastIndex(arn, "/")+1:] }

// cell returns s as the text of a cell of a markdown table.
func cell(s string) string {
	return strings.NewReplacer(`\`, `\\`, "|", `\|`, "`", "\\`", "*", `\*`, "_", `\_`, "<", `\<`, "[", `\[`).Replace(markdown.CleanLine(s))
}
