package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// bridge measures the bridge's bootstrap.
type bridge struct {
	bootstrap string
	authority *authority
	pool      *pool
	token     string
	traces    *collector
	log       io.Writer
}

// accessPolicy lets the group of the benchmark's person ask everything but one environment, so that there are two
// rules to decide by.
const accessPolicy = `@id("ops-everything") permit(principal in Group::"ops", action == Action::"query", resource);
@id("nobody-sealed") forbid(principal, action, resource) when { resource.environment == "sealed" };`

// start starts one execution environment against x.
func (b *bridge) start(x *cloud, env ...string) (*function, error) {
	accounts, err := accountsJSON(x.accounts)
	if err != nil {
		return nil, err
	}
	return startFunction([]string{b.bootstrap}, append([]string{
		"AWS_ACCESS_KEY_ID=" + x.own.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + x.own.SecretAccessKey, "AWS_SESSION_TOKEN=" + x.own.SessionToken,
		"AWS_ENDPOINT_URL_STS=" + x.STS.URL, "AWS_MCP_ENDPOINT=" + x.MCP.URL + "/mcp", "AWS_MCP_REGION=" + region,
		"SSL_CERT_FILE=" + b.authority.bundle, "SSL_CERT_DIR=" + filepath.Dir(b.authority.bundle),
		"TARGET_ACCOUNTS=" + accounts, "ENVIRONMENT=dev", "EXTERNAL_ID=" + externalID, "ACCESS_POLICY=" + accessPolicy,
		"TOKEN_ISSUER=" + issuer, "TOKEN_CLIENT_IDS=" + clientID, "TOKEN_JWKS_URL=" + x.Keys.URL + "/.well-known/jwks.json",
		"OTEL_EXPORTER_OTLP_ENDPOINT=" + b.traces.URL,
	}, env...), b.log)
}

func accountsJSON(ids []string) (string, error) {
	type account struct {
		ID          string            `json:"id"`
		Name        string            `json:"name"`
		Environment string            `json:"environment"`
		Tags        map[string]string `json:"tags"`
	}
	accounts := make([]account, len(ids))
	for i, id := range ids {
		accounts[i] = account{id, "member-" + strconv.Itoa(i), []string{"prod", "staging"}[i%2], map[string]string{"team": "shop"}}
	}
	text, err := json.Marshal(accounts)
	return string(text), err
}

func query(accounts ...string) map[string]any {
	return map[string]any{"accounts": accounts, "service": "ec2", "operation": "DescribeInstances"}
}

// measure runs everything that is measured of the bridge but session sharing.
func (b *bridge) measure(ctx context.Context) ([]Row, error) {
	var rows []Row
	for _, part := range []func(context.Context) ([]Row, error){b.coldStart, b.warmCalls, b.fanOut, b.memory} {
		measured, err := part(ctx)
		if err != nil {
			return nil, err
		}
		rows = append(rows, measured...)
	}
	return rows, nil
}

// coldStart starts 20 processes and sends each the first call as soon as it polls, as Lambda does with the invocation
// that a start was for.
func (b *bridge) coldStart(ctx context.Context) ([]Row, error) {
	const starts = 20
	x, err := startCloud(ctx, b.authority, b.pool, 1, conditions{unlimited: true})
	if err != nil {
		return nil, err
	}
	defer x.close()
	var polls, firsts []float64
	for range starts {
		poll, first, err := b.startOnce(ctx, x)
		if err != nil {
			return nil, err
		}
		polls, firsts = append(polls, milliseconds(poll)), append(firsts, milliseconds(first))
	}
	return []Row{
		{Part: "bridge", Name: "process start to first poll, p50", Value: quantile(polls, 0.5), Unit: "ms", Limit: new(60.0), Samples: starts},
		{Part: "bridge", Name: "first call, above the upstream's own time, p50", Value: quantile(firsts, 0.5), Unit: "ms", Limit: new(10.0), Samples: starts,
			Note: "keys, AssumeRole, initialize, script; three TLS handshakes"},
	}, nil
}

func (b *bridge) startOnce(ctx context.Context, x *cloud) (poll, first time.Duration, err error) {
	x.server.EndSessions("")
	f, err := b.start(x)
	if err != nil {
		return 0, 0, err
	}
	defer f.stop()
	if poll, err = f.firstPoll(ctx); err != nil {
		return 0, 0, err
	}
	a, err := f.ask(ctx, b.token, 1, query(x.accounts[0]))
	if err != nil {
		return 0, 0, err
	}
	return poll, a.elapsed() - busy(x.take(), a.began, a.ended), nil
}

// warmCalls asks single accounts one after the other, everything being warm. They are many because the bridge keeps to
// the server's 10 requests/s for each.
func (b *bridge) warmCalls(ctx context.Context) ([]Row, error) {
	const accounts, each = 200, 5
	x, err := startCloud(ctx, b.authority, b.pool, accounts, conditions{})
	if err != nil {
		return nil, err
	}
	defer x.close()
	f, err := b.start(x)
	if err != nil {
		return nil, err
	}
	defer f.stop()
	if _, err := f.ask(ctx, b.token, accounts, query("all")); err != nil {
		return nil, err
	}
	rows, err := singleCalls(ctx, "bridge", f, x, b.token, accounts*each)
	if err == nil {
		rows[0].Limit, rows[1].Limit = new(0.5), new(2.0)
	}
	return rows, err
}

// The rows by which the bridge and the Python handler are compared.
const (
	warmCall = "warm call, above the upstream's own time, p50"
	warmTime = "warm call, processor time"
	coldAll  = "100 accounts, cold, 50 ms a hop"
	warmAll  = "100 accounts, warm, 50 ms a hop"
)

// singleCalls asks single accounts of x one after the other, n times, and returns three rows: the median and the 99th
// percentile of the time that is not the upstream's, and the processor time of a call.
func singleCalls(ctx context.Context, part string, f *function, x *cloud, token string, n int) ([]Row, error) {
	x.take()
	var above, total []float64
	before, err := f.processorTime()
	if err != nil {
		return nil, err
	}
	for i := range n {
		a, err := f.ask(ctx, token, 1, query(x.accounts[i%len(x.accounts)]))
		if err != nil {
			return nil, err
		}
		total = append(total, milliseconds(a.elapsed()))
		above = append(above, milliseconds(a.elapsed()-busy(x.take(), a.began, a.ended)))
	}
	after, err := f.processorTime()
	if err != nil {
		return nil, err
	}
	return []Row{
		{Part: part, Name: warmCall, Value: quantile(above, 0.5), Unit: "ms", Samples: n, Note: fmt.Sprintf("with the upstream's time: %.2g ms", quantile(total, 0.5))},
		{Part: part, Name: "warm call, above the upstream's own time, p99", Value: quantile(above, 0.99), Unit: "ms", Samples: n},
		{Part: part, Name: warmTime, Value: milliseconds((after - before) / time.Duration(n)), Unit: "ms", Samples: n, Note: "of the process, user and system; what a busy machine distorts least"},
	}, nil
}

// fanOut asks 100 accounts at 50 ms a hop: cold, right after the first poll, and warm.
func (b *bridge) fanOut(ctx context.Context) ([]Row, error) {
	const accounts, processes, repeats = 100, 5, 3
	var cold, warm, coldShare, warmShare, connections []float64
	for range processes {
		x, err := startCloud(ctx, b.authority, b.pool, accounts, conditions{hop: 50 * time.Millisecond})
		if err != nil {
			return nil, err
		}
		err = func() error {
			defer x.close()
			f, err := b.start(x)
			if err != nil {
				return err
			}
			defer f.stop()
			if _, err := f.firstPoll(ctx); err != nil {
				return err
			}
			for i := range 1 + repeats {
				before := ownCPU()
				a, err := f.ask(ctx, b.token, accounts, query("all"))
				if err != nil {
					return err
				}
				share := 100 * float64(ownCPU()-before) / float64(a.elapsed())
				if i == 0 {
					cold, coldShare = append(cold, milliseconds(a.elapsed())), append(coldShare, share)
				} else {
					warm, warmShare = append(warm, milliseconds(a.elapsed())), append(warmShare, share)
				}
			}
			made, requests := x.traffic()
			connections = append(connections, float64(made)/float64(requests))
			return nil
		}()
		if err != nil {
			return nil, err
		}
	}
	note := func(share []float64) string {
		return fmt.Sprintf("meanwhile the stand-ins took %.0f %% of one core", quantile(share, 0.5))
	}
	return []Row{
		{Part: "bridge", Name: coldAll, Value: quantile(cold, 0.5), Unit: "ms", Limit: new(900.0), Samples: len(cold), Note: note(coldShare)},
		{Part: "bridge", Name: warmAll, Value: quantile(warm, 0.5), Unit: "ms", Limit: new(300.0), Samples: len(warm), Note: note(warmShare)},
		{Part: "bridge", Name: "new connections per request", Value: quantile(connections, 0.5), Unit: "", Limit: new(0.1), Samples: len(connections),
			Note: fmt.Sprintf("one cold and %d warm queries over 100 accounts", repeats)},
	}, nil
}

// memory asks 500 accounts, cold and warm, and reads the peak of the resident set.
func (b *bridge) memory(ctx context.Context) ([]Row, error) {
	const accounts = 500
	x, err := startCloud(ctx, b.authority, b.pool, accounts, conditions{hop: 50 * time.Millisecond})
	if err != nil {
		return nil, err
	}
	defer x.close()
	f, err := b.start(x)
	if err != nil {
		return nil, err
	}
	defer f.stop()
	var cold time.Duration
	for i := range 3 {
		a, err := f.ask(ctx, b.token, accounts, query("all"))
		if err != nil {
			return nil, err
		}
		if i == 0 {
			cold = a.elapsed()
		}
	}
	peak, err := f.peakMemory()
	if err != nil {
		return nil, err
	}
	return []Row{{Part: "bridge", Name: "500 accounts, peak memory", Value: megabytes(peak), Unit: "MB", Limit: new(64.0), Samples: 1,
		Note: fmt.Sprintf("resident set; one cold query (%d ms) and two warm ones", cold.Milliseconds())}}, nil
}

// takeover measures the first query of a second execution environment, when a session takes 9 s to start and a script
// 1.3 s, and the first one has left its session in the table at endpoint.
func (b *bridge) takeover(ctx context.Context, endpoint string) ([]Row, error) {
	x, err := startCloud(ctx, b.authority, b.pool, 1, conditions{coldStart: 9 * time.Second, script: 1300 * time.Millisecond})
	if err != nil {
		return nil, err
	}
	defer x.close()
	var times []time.Duration
	for range 2 {
		f, err := b.start(x, "SESSION_TABLE="+sessionTable, "AWS_ENDPOINT_URL_DYNAMODB="+endpoint)
		if err != nil {
			return nil, err
		}
		defer f.stop()
		a, err := f.ask(ctx, b.token, 1, query(x.accounts[0]))
		if err != nil {
			return nil, err
		}
		times = append(times, a.elapsed())
	}
	return []Row{{Part: "bridge", Name: "second environment's first query", Value: times[1].Seconds(), Unit: "s", Limit: new(2.0), Samples: 1,
		Note: fmt.Sprintf("9 s session starts, 1.3 s scripts; the first environment took %.1f s", times[0].Seconds())}}, nil
}

// ownCPU is the processor time that this process, which runs the stand-ins, has used.
func ownCPU() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0 // cannot fail with this argument; the share is a note
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
