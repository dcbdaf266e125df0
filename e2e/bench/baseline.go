package main

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// handler is a Lambda function of the same job in Python, as simple as such functions are.
//
//go:embed baseline.py
var handler string

// inTurn is how a simple handler asks many accounts.
const inTurn = "one after the other"

// baseline measures handler with the same events on the same upstream.
type baseline struct {
	python    string
	authority *authority
	pool      *pool
	token     string
	log       io.Writer
}

func (p *baseline) start(x *cloud) (*function, error) {
	return startFunction([]string{p.python, "-I", "-c", handler}, []string{
		"AWS_ACCESS_KEY_ID=" + x.own.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + x.own.SecretAccessKey, "AWS_SESSION_TOKEN=" + x.own.SessionToken,
		"AWS_ENDPOINT_URL_STS=" + x.STS.URL, "AWS_MCP_ENDPOINT=" + x.MCP.URL + "/mcp",
		"AWS_CA_BUNDLE=" + p.authority.bundle, "EXTERNAL_ID=" + externalID,
	}, p.log)
}

func (p *baseline) measure(ctx context.Context) ([]Row, error) {
	rows, err := p.warmCalls(ctx)
	if err != nil {
		return nil, err
	}
	for _, threads := range []int{1, 16} {
		measured, err := p.fanOut(ctx, threads)
		if err != nil {
			return nil, err
		}
		rows = append(rows, measured...)
	}
	return rows, nil
}

func (p *baseline) warmCalls(ctx context.Context) ([]Row, error) {
	const accounts, each = 50, 6
	x, err := startCloud(ctx, p.authority, p.pool, accounts, conditions{})
	if err != nil {
		return nil, err
	}
	defer x.close()
	f, err := p.start(x)
	if err != nil {
		return nil, err
	}
	defer f.stop()
	poll, err := f.firstPoll(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := f.ask(ctx, p.token, accounts, query(x.accounts...)); err != nil {
		return nil, err
	}
	rows, err := singleCalls(ctx, "python", f, x, p.token, accounts*each)
	return append([]Row{{Part: "python", Name: "process start to first poll", Value: milliseconds(poll), Unit: "ms", Samples: 1}}, rows...), err
}

func (p *baseline) fanOut(ctx context.Context, threads int) ([]Row, error) {
	const accounts = 100
	x, err := startCloud(ctx, p.authority, p.pool, accounts, conditions{hop: 50 * time.Millisecond})
	if err != nil {
		return nil, err
	}
	defer x.close()
	f, err := p.start(x)
	if err != nil {
		return nil, err
	}
	defer f.stop()
	if _, err := f.firstPoll(ctx); err != nil {
		return nil, err
	}
	all := query(x.accounts...)
	all["threads"] = threads
	how := inTurn
	if threads > 1 {
		how = fmt.Sprintf("%d threads", threads)
	}
	var rows []Row
	for _, name := range []string{coldAll, warmAll} {
		a, err := f.ask(ctx, p.token, accounts, all)
		if err != nil {
			return nil, err
		}
		rows = append(rows, Row{Part: "python", Name: name + ", " + how, Value: milliseconds(a.elapsed()), Unit: "ms", Samples: 1})
	}
	return rows, nil
}

// ratios says how many times the handler's figures are the bridge's, for what both have been measured.
func ratios(rows []Row) []Row {
	find := func(part, name string) (float64, bool) {
		i := slices.IndexFunc(rows, func(r Row) bool { return r.Part == part && r.Name == name })
		if i < 0 {
			return 0, false
		}
		return rows[i].Value, true
	}
	var found []Row
	for _, pair := range []struct{ what, bridge, python string }{
		{"warm call, above the upstream's own time", warmCall, warmCall},
		{"warm call, processor time", warmTime, warmTime},
		{"100 accounts, cold, " + inTurn, coldAll, coldAll + ", " + inTurn},
		{"100 accounts, warm, " + inTurn, warmAll, warmAll + ", " + inTurn},
	} {
		ours, measured := find("bridge", pair.bridge)
		theirs, too := find("python", pair.python)
		if measured && too && ours > 0 {
			found = append(found, Row{Part: "ratio", Name: "Python to bridge: " + pair.what, Value: theirs / ours, Unit: "x", Samples: 1})
		}
	}
	return found
}

// publicRoots returns the file of public root certificates that the interpreter's certifi holds.
func publicRoots(ctx context.Context, python string) (string, error) {
	path, err := exec.CommandContext(ctx, python, "-I", "-c", "import certifi; print(certifi.where())").Output()
	if err != nil {
		return "", fmt.Errorf("%s has no certifi: %w\n  try: make python", python, err)
	}
	return strings.TrimSpace(string(path)), nil
}
