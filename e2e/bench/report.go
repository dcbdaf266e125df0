package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// Row is one number of the benchmark. Limit is what the project has promised for a quiet machine with 2 cores;
// 0 means that the number is shown for comparison only.
type Row struct {
	Name    string  `json:"name"`
	Value   float64 `json:"value"`
	Unit    string  `json:"unit"`
	Limit   float64 `json:"limit,omitempty"`
	Samples int     `json:"samples"`
	Note    string  `json:"note,omitempty"`
}

// Met tells whether the number keeps its promise; a row without a limit does.
func (r Row) Met() bool { return r.Limit == 0 || r.Value <= r.Limit }

func printTable(w io.Writer, rows []Row) error {
	table := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "what\tmeasured\tlimit\t\tsamples\tnote")
	for _, r := range rows {
		limit, verdict := "-", ""
		if r.Limit != 0 {
			limit, verdict = fmt.Sprintf("%.4g %s", r.Limit, r.Unit), "met"
			if !r.Met() {
				verdict = "MISSED"
			}
		}
		fmt.Fprintf(table, "%s\t%.4g %s\t%s\t%s\t%d\t%s\n", r.Name, r.Value, r.Unit, limit, verdict, r.Samples, r.Note)
	}
	return table.Flush()
}

func printJSON(w io.Writer, rows []Row) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(rows)
}

// quantile returns the q-quantile (nearest rank) of samples, which need not be sorted and must not be empty.
func quantile(samples []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(samples))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
