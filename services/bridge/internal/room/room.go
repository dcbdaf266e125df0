// Package room keeps the answers that are worked on at the same time within the function's memory.
//
// Accounts are asked many at a time, because most of their time is waiting. Their answers may come all at
// once, and each takes several times its size until its rows are made: those that there is no room for
// wait on the wire.
package room

import (
	"context"

	"golang.org/x/sync/semaphore"
)

// Room is so many bytes of answers. It is safe for concurrent use.
type Room struct {
	free *semaphore.Weighted
	size int64
}

// New returns a Room of size bytes.
func New(size int64) *Room { return &Room{semaphore.NewWeighted(size), size} }

// work is what one account's work holds of a Room. It belongs to one goroutine.
type work struct{ held int64 }

type key struct{}

// Enter returns the context of work that takes room, one step after the other, and the function that ends it.
func (r *Room) Enter(ctx context.Context) (context.Context, func()) {
	w := &work{}
	return context.WithValue(ctx, key{}, w), func() { r.leave(w) }
}

// Take waits until there is room for an answer of so many bytes, or all of the room if it is larger. What the
// same work took before is given back first: nobody waits for room who holds some. Work that did not Enter takes none.
func (r *Room) Take(ctx context.Context, bytes int64) error {
	w, ok := ctx.Value(key{}).(*work)
	if !ok {
		return nil
	}
	r.leave(w)
	wanted := min(bytes, r.size)
	if err := r.free.Acquire(ctx, wanted); err != nil {
		return err
	}
	w.held = wanted
	return nil
}

func (r *Room) leave(w *work) {
	r.free.Release(w.held)
	w.held = 0
}
