package main

import (
	"context"
	_ "embed"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// handler is a Lambda function of the same job in Python, as simple as such functions are.
//
//go:embed baseline.py
var handler string

// baseline measures handler with the same events on the same upstream.
type baseline struct {
	bridge // for its cloud, its token and its check of answers
	python string
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
	if _, err := p.ask(ctx, f, accounts, query(x.accounts...)); err != nil {
		return nil, err
	}
	x.take()
	var above, total []float64
	for i := range accounts * each {
		a, err := p.ask(ctx, f, 1, query(x.accounts[i%accounts]))
		if err != nil {
			return nil, err
		}
		total = append(total, milliseconds(a.elapsed()))
		above = append(above, milliseconds(a.elapsed()-busy(x.take(), a.began, a.ended)))
	}
	return []Row{
		{Part: "python", Name: "process start to first poll", Value: milliseconds(poll), Unit: "ms", Samples: 1},
		{Part: "python", Name: "warm call, above the upstream's own time, p50", Value: quantile(above, 0.5), Unit: "ms", Samples: len(above),
			Note: fmt.Sprintf("with the upstream's time: %.2g ms", quantile(total, 0.5))},
		{Part: "python", Name: "warm call, above the upstream's own time, p99", Value: quantile(above, 0.99), Unit: "ms", Samples: len(above)},
	}, nil
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
	how := "one after the other"
	if threads > 1 {
		how = fmt.Sprintf("%d threads", threads)
	}
	var rows []Row
	for _, state := range []string{"cold", "warm"} {
		a, err := p.ask(ctx, f, accounts, all)
		if err != nil {
			return nil, err
		}
		rows = append(rows, Row{Part: "python", Name: "100 accounts, " + state + ", 50 ms a hop, " + how, Value: milliseconds(a.elapsed()), Unit: "ms", Samples: 1})
	}
	return rows, nil
}

// publicRoots returns the file of public root certificates that the interpreter's certifi holds.
func publicRoots(ctx context.Context, python string) (string, error) {
	path, err := exec.CommandContext(ctx, python, "-I", "-c", "import certifi; print(certifi.where())").Output()
	if err != nil {
		return "", fmt.Errorf("%s has no certifi: %w\n  try: make python", python, err)
	}
	return strings.TrimSpace(string(path)), nil
}
