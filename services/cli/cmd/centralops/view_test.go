package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	centralops "github.com/central-ops/central-ops/services/cli"
	"github.com/central-ops/central-ops/services/cli/internal/markdown"
)

// While a query runs, the status line says for how many accounts, and since when. The Gateway is asked for that beside
// the answer, once.
func TestStatusSaysHowManyAccounts(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	shown := make(chan struct{})
	d.answer = func(w http.ResponseWriter, r *http.Request) {
		stream(w, oneTable[:2]...)
		await(shown, r)
		stream(w, oneTable[2:]...)
	}
	s := signedInCLI(t, d).start(100, "ask", "what runs?")
	s.wait("query ec2:DescribeInstances in all (3 accounts), eu-west-1 ") // behind the blank stands the time, from 1 s on
	close(shown)
	if status, _ := s.end(); status != 3 {
		t.Errorf("status %d, want 3", status)
	}
}

// Of several calls the line counts those that have ended, and their targets.
func TestStatusCountsCalls(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	shown := make(chan struct{})
	d.answer = func(w http.ResponseWriter, r *http.Request) {
		stream(w, oneTable[1], `{"type":"tool_call","id":"t2","name":"bridge___query","input":{"accounts":["Production","Staging"],"service":"s3","operation":"ListBuckets"}}`,
			oneTable[2])
		await(shown, r)
		stream(w, `{"type":"tool_result","id":"t2","ok":true,"coverage":{"targets":2,"answered":2},"duration_ms":12345}`, oneTable[len(oneTable)-1])
	}
	s := signedInCLI(t, d).start(120, "ask", "what runs?")
	s.wait("█████░░░░░ 1/2 calls, 2/3 targets: query s3:ListBuckets in Production, Staging")
	close(shown)
	s.wait("✓ query s3:ListBuckets in Production, Staging  ██████████ 2 of 2 targets answered  12.3 s")
	s.end()
}

// A Gateway that does not answer costs the number of accounts and nothing else.
func TestAnswerNeedsNoGateway(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]behindGateway{"hangs": {hang: true}, "fails": {status: http.StatusInternalServerError}, "has no bridge": {tools: []string{}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDeployment(t)
			d.bridge = broken
			status, text := signedInCLI(t, d).start(100, "ask", "what runs?").end()
			if status != 3 || strings.Contains(text, "accounts)") || !strings.Contains(screen(text), "Receipts: ec2:DescribeInstances") {
				t.Errorf("status %d:\n%s", status, screen(text))
			}
		})
	}
}

// Where there is no status line, nobody asks how many accounts there are.
func TestNoStatusLineAsksNothing(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	c := signedInCLI(t, d)
	c.run("ask", "what runs?")
	c.start(100, "ask", "--quiet", "what runs?").end()
	c.run("ask", "--json", "what runs?")
	syncState()
	if d.called != 0 {
		t.Errorf("the Gateway was asked %d times", d.called)
	}
}

// A terminal that takes no commands gets none.
func TestDumbTerminal(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	c := signedInCLI(t, d)
	c.env = append(c.env, "TERM=dumb")
	for _, args := range [][]string{{"ask", "what runs?"}, {"accounts"}, {"doctor", "--no-model"}} {
		if _, text := c.start(80, args...).end(); strings.Contains(text, "\x1b") || !strings.Contains(text, "CentralOpsTargetRole") {
			t.Errorf("%q: %q", args, text)
		}
	}
}

func TestPreview(t *testing.T) {
	t.Parallel()
	for block, want := range map[string]string{
		"**Two** instances `run` in":                   "Two instances run in",
		"one two three four five six seven eight nine": "two three four five six seven eight nine",
		"| a | b |":                       "a table, 0 rows",
		"| a |\n|---|\n| 1":               "a table, 1 row",
		"| a |\n|---|\n| 1 |\n| 2 |\n| 3": "a table, 3 rows",
		"":                                "",
	} {
		if got := preview(block); got != want {
			t.Errorf("preview of %q: %q, want %q", block, got, want)
		}
	}
}

// Regions of an account stand in one row, so that a fan-out of hundreds of targets can be read; what failed comes first.
func TestReceiptsOfManyRegions(t *testing.T) {
	t.Parallel()
	var receipts []centralops.Receipt
	for _, account := range []string{"Central 111111111111", "Production 222222222222"} {
		name, id, _ := strings.Cut(account, " ")
		for i := range 17 {
			receipts = append(receipts, centralops.Receipt{AccountID: id, AccountName: name, Region: fmt.Sprintf("r-%d", i), Status: "ok",
				RoleARN: "arn:aws:iam::" + id + ":role/CentralOpsTargetRole", SourceIdentity: "alice", Operation: "ec2:DescribeInstances"})
		}
	}
	receipts[20].Status, receipts[20].Error = "timeout", &centralops.Error{Code: centralops.Timeout, Message: "no answer"}
	receipts[22].Status, receipts[22].Error = "timeout", &centralops.Error{Code: centralops.Timeout, Message: "no answer"}
	want := `**Receipts:** ec2:DescribeInstances as CentralOpsTargetRole for alice

| Account | Regions | Status |
|---|---|---|
| Production 222222222222 | r-3, r-5 | timeout: no answer |
| Central 111111111111 | 17 Regions | ok |
| Production 222222222222 | 15 Regions | ok |
`
	if diff := cmp.Diff(want, proof(centralops.Answer{Receipts: receipts}, markdown.Style{})); diff != "" {
		t.Errorf("receipts (-want +got):\n%s", diff)
	}
}
