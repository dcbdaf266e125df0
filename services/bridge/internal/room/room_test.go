package room_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/central-ops/central-ops/services/bridge/internal/room"
)

// TestNobodyWaitsForever: work that takes room again, or more than there is, still comes to its turn.
func TestNobodyWaitsForever(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := room.New(100)
		var mu sync.Mutex
		used := int64(0)
		var all sync.WaitGroup
		for i := range int64(20) {
			all.Go(func() {
				ctx, leave := r.Enter(t.Context())
				defer leave()
				for _, bytes := range []int64{60, 10 + 10*i} {
					if err := r.Take(ctx, bytes); err != nil {
						t.Error(err)
					}
					held := min(bytes, 100)
					mu.Lock()
					used += held
					if used > 100 {
						t.Errorf("%d of 100 bytes are in use", used)
					}
					mu.Unlock()
					time.Sleep(time.Second) // in the bubble's time
					mu.Lock()
					used -= held
					mu.Unlock()
				}
			})
		}
		all.Wait()
	})
}

func TestWaitingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	r := room.New(100)
	first, leave := r.Enter(t.Context())
	if err := r.Take(first, 100); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	second, leaveSecond := r.Enter(ctx)
	if err := r.Take(second, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v where there is no room", err)
	}
	leaveSecond()
	leave()
	third, leave := r.Enter(t.Context())
	defer leave()
	if err := r.Take(third, 100); err != nil {
		t.Errorf("what was given back is not free: %v", err)
	}
	if err := r.Take(t.Context(), 100); err != nil {
		t.Errorf("work that did not enter: %v", err)
	}
}
