package bridge

import (
	"context"
	"time"
)

// FanOut calls do for every item, at most limit at a time, each bounded by perItem, and returns
// one value per item in the order given. It returns when all have ended or ctx is done, whichever
// comes first, and does not wait for a call that ignores its context: for an item without a value
// by then it returns unfinished(item, started), started saying whether do was called.
//
// do is called from several goroutines; unfinished is not. limit must be positive.
func FanOut[T, R any](ctx context.Context, items []T, limit int, perItem time.Duration,
	do func(context.Context, T) R, unfinished func(item T, started bool) R) []R {
	type outcome struct {
		index int
		value R
	}
	results := make([]R, len(items))
	done := make([]bool, len(items))
	outcomes := make(chan outcome, len(items)) // room for all: a late call never blocks
	started := 0

	start := func() {
		index := started
		started++
		go func() {
			each, cancel := context.WithTimeout(ctx, perItem)
			defer cancel()
			outcomes <- outcome{index, do(each, items[index])}
		}()
	}
	for started < min(limit, len(items)) && ctx.Err() == nil {
		start()
	}
	receive := func(o outcome) {
		results[o.index], done[o.index] = o.value, true
	}
	for finished := 0; finished < started && ctx.Err() == nil; {
		select {
		case o := <-outcomes:
			receive(o)
			finished++
			if started < len(items) && ctx.Err() == nil {
				start()
			}
		case <-ctx.Done():
		}
	}
	for drained := false; !drained; { // what ended together with ctx still counts
		select {
		case o := <-outcomes:
			receive(o)
		default:
			drained = true
		}
	}
	for i := range items {
		if !done[i] {
			results[i] = unfinished(items[i], i < started)
		}
	}
	return results
}
