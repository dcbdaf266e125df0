package httpapi

import (
	"sync"
	"time"
)

// activity counts running invocations and remembers when the agent last became busy or idle.
type activity struct {
	now func() time.Time

	mu      sync.Mutex
	running int
	since   time.Time
}

func newActivity(now func() time.Time) *activity { return &activity{now: now, since: now()} }

func (a *activity) begin() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.running++; a.running == 1 {
		a.since = a.now()
	}
}

func (a *activity) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.running--; a.running == 0 {
		a.since = a.now()
	}
}

// state returns whether an invocation is running, and since when it is so. The time changes with the
// state only: a time that moved with each ping would keep the session from ever counting as idle.
func (a *activity) state() (busy bool, since time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.running > 0, a.since
}
