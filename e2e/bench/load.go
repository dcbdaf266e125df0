package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// scale is how much faster than in AWS everything around the bridge is under load, its deadline included: a session's
// first script takes 9 s there, every other 1.3 s, a hop some 50 ms, and a query may take 28 s. The bridge's own work is not
// scaled, so a larger scale would make it look slower than it is.
const scale = 4

// spare is what the bridge leaves of a function's time. It is not scaled.
const spare = 2 * time.Second

// maxFrame is what Lambda takes of a function's answer.
const maxFrame = 6 << 20

// everywhere are the Regions that every account has enabled.
// https://docs.aws.amazon.com/global-infrastructure/latest/regions/aws-regions.html
var everywhere = []string{
	"us-east-1", "us-east-2", "us-west-1", "us-west-2", "ca-central-1", "sa-east-1", "eu-central-1", "eu-north-1", "eu-west-1", "eu-west-2",
	"eu-west-3", "ap-northeast-1", "ap-northeast-2", "ap-northeast-3", "ap-south-1", "ap-southeast-1", "ap-southeast-2",
}

// load asks 100 and 500 accounts in one Region and in 17, at the default concurrency and 500 accounts at the largest, too.
func (b *bridge) load(ctx context.Context) ([]Row, error) {
	var rows []Row
	for _, size := range []struct{ accounts, regions, concurrency int }{
		{100, 1, 64}, {100, 17, 64}, {500, 1, 64}, {500, 1, 256}, {500, 17, 64}, {500, 17, 256},
	} {
		measured, err := b.loadOnce(ctx, size.accounts, everywhere[:size.regions], size.concurrency)
		if err != nil {
			return nil, fmt.Errorf("%d accounts x %d Regions, %d at a time: %w", size.accounts, size.regions, size.concurrency, err)
		}
		rows = append(rows, measured...)
	}
	return rows, nil
}

// loadOnce asks one bridge the same three times. The first is cold; what was not answered then is cold the second time.
func (b *bridge) loadOnce(ctx context.Context, accounts int, regions []string, concurrency int) ([]Row, error) {
	x, err := startCloud(ctx, b.authority, b.pool, accounts, conditions{
		hop: 50 * time.Millisecond / scale, coldStart: 9 * time.Second / scale, script: 1300 * time.Millisecond / scale,
	})
	if err != nil {
		return nil, err
	}
	defer x.close()
	f, err := b.start(x, fmt.Sprintf("FANOUT_CONCURRENCY=%d", concurrency))
	if err != nil {
		return nil, err
	}
	defer f.stop()
	f.timeout = 28*time.Second/scale + spare
	if _, err := f.firstPoll(ctx); err != nil {
		return nil, err
	}
	arguments := query("all")
	arguments["regions"] = regions
	var rows []Row
	for _, state := range []string{"cold", "second time", "third time"} {
		standIns := ownCPU()
		used, err := f.processorTime()
		if err != nil {
			return nil, err
		}
		a, err := f.invoke(ctx, "query", b.token, arguments)
		if err != nil {
			return nil, err
		}
		var got struct {
			OK       bool
			Coverage struct{ Targets, Answered, Denied, Failed, Skipped int }
			Results  []struct {
				Account string `json:"account_id"`
				Region  string
			}
		}
		if err := json.Unmarshal(a.payload, &got); err != nil {
			return nil, err
		}
		distinct := map[string]bool{}
		for _, r := range got.Results {
			distinct[r.Account+r.Region] = true
		}
		if want := accounts * len(regions); !got.OK || got.Coverage.Targets != want || len(got.Results) != want || len(distinct) != want {
			return nil, fmt.Errorf("want %d targets, each once, got %d results for %d: %.300s", want, len(got.Results), len(distinct), a.payload)
		}
		if len(a.payload) > maxFrame {
			return nil, fmt.Errorf("the answer has %d bytes: Lambda takes %d", len(a.payload), maxFrame)
		}
		peak, err := f.peakMemory()
		if err != nil {
			return nil, err
		}
		processor, err := f.processorTime()
		if err != nil {
			return nil, err
		}
		connections, requests := x.traffic()
		rows = append(rows, Row{
			Part: "load", Name: fmt.Sprintf("%d x %d, %d at a time, %s", accounts, len(regions), concurrency, state),
			Value: milliseconds(a.elapsed()), Unit: "ms", Samples: 1,
			Note: fmt.Sprintf("%d of %d answered, %d failed, %d not asked; %.2g s of processor time; peak %.0f MB; %d connections so far, %d requests; answer of %.0f KB; stand-ins took %.0f %% of a core",
				got.Coverage.Answered, got.Coverage.Targets, got.Coverage.Failed, got.Coverage.Skipped, (processor - used).Seconds(), megabytes(peak), connections, requests,
				float64(len(a.payload))/1024, 100*float64(ownCPU()-standIns)/float64(a.elapsed())),
		})
	}
	return rows, nil
}
