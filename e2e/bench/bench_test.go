package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestBusyCountsRequestsAtOnceOnce(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	requests := []request{
		{began: at(60), ended: at(70)},   // of its own
		{began: at(-10), ended: at(10)},  // began before the call
		{began: at(20), ended: at(40)},   //
		{began: at(30), ended: at(35)},   // within the one before
		{began: at(38), ended: at(50)},   // over the end of it
		{began: at(95), ended: at(120)},  // ended after the call
		{began: at(130), ended: at(140)}, // after the call
	}
	if got, want := busy(requests, at(0), at(100)), 55*time.Millisecond; got != want {
		t.Errorf("busy: got %s, want %s", got, want)
	}
	if got := busy(nil, at(0), at(100)); got != 0 {
		t.Errorf("busy without requests: got %s", got)
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	if got := quantile([]int{5, 1, 4, 2, 3}, 0.5); got != 3 {
		t.Errorf("median: got %d, want 3", got)
	}
	rows := []Row{
		{Part: "bridge", Name: warmCall, Value: 2, Unit: "ms", Limit: new(0.5)},
		{Part: "python", Name: warmCall, Value: 3, Unit: "ms"},
		{Part: "agent", Name: "errors", Limit: new(0.0)},
	}
	if late := missed(rows); len(late) != 1 || late[0].Name != warmCall {
		t.Errorf("missed: got %+v", late)
	}
	if found := ratios(rows); len(found) != 1 || found[0].Value != 1.5 {
		t.Errorf("ratios: got %+v", found)
	}
	var table bytes.Buffer
	if err := printTable(&table, rows); err != nil {
		t.Fatal(err)
	}
	if text := table.String(); strings.Count(text, "MISSED") != 1 || strings.Count(text, "met") != 1 {
		t.Errorf("table:\n%s", text)
	}
}
