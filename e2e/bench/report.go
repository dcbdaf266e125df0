package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// Report is what a run of the benchmark has measured; build/bench.json holds one.
type Report struct {
	Date  time.Time `json:"date"`
	Cores int       `json:"cores"`
	Load  string    `json:"load"` // the machine's load averages at the start: of 1, 5 and 15 min
	Rows  []Row     `json:"rows"`
}

// Row is one number of the benchmark. Limit is what the project has promised for a quiet machine with 2 cores;
// nil means that the number is shown for comparison only.
type Row struct {
	Part    string   `json:"part"` // one of parts, or ratio
	Name    string   `json:"name"`
	Value   float64  `json:"value"`
	Unit    string   `json:"unit"`
	Limit   *float64 `json:"limit,omitempty"`
	Samples int      `json:"samples"`
	Note    string   `json:"note,omitempty"`
}

// Met tells whether the number keeps its promise; a row without a limit does.
func (r Row) Met() bool { return r.Limit == nil || r.Value <= *r.Limit }

// missed returns the rows that don't keep their promise.
func missed(rows []Row) []Row {
	return slices.DeleteFunc(slices.Clone(rows), Row.Met)
}

func printTable(w io.Writer, rows []Row) error {
	table := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "part\twhat\tmeasured\tlimit\t\tsamples\tnote")
	for _, r := range rows {
		limit, verdict := "-", ""
		if r.Limit != nil {
			limit, verdict = number(*r.Limit)+" "+r.Unit, "met"
			if !r.Met() {
				verdict = "MISSED"
			}
		}
		fmt.Fprintf(table, "%s\t%s\t%s %s\t%s\t%s\t%d\t%s\n", r.Part, r.Name, number(r.Value), r.Unit, limit, verdict, r.Samples, r.Note)
	}
	return table.Flush()
}

// number shows three significant digits of small values and whole large ones.
func number(v float64) string {
	if v >= 1000 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

func printJSON(w io.Writer, report Report) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(report)
}

// quantile returns the q-quantile (nearest rank) of samples, which need not be sorted and must not be empty.
func quantile[T cmp.Ordered](samples []T, q float64) T {
	sorted := slices.Sorted(slices.Values(samples))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func megabytes(bytes int64) float64 { return float64(bytes) / (1 << 20) }
