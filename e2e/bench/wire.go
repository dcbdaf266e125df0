package main

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// wire is a server's side of a connection that knows when bytes came and went, so that what a stand-in spends on HTTP and TLS is
// not taken for time of what is measured.
type wire struct {
	net.Conn

	mu       sync.Mutex
	answered bool      // something was written since the last Read
	first    time.Time // when the bytes that have come since the last Write began to come
	last     time.Time // when bytes came last
	written  []func(began, ended time.Time)
}

func (c *wire) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if n > 0 {
		if c.answered || c.first.IsZero() {
			c.first, c.answered = now, false
		}
		c.last = now
	}
	return n, err
}

func (c *wire) Write(p []byte) (int, error) {
	began := time.Now()
	n, err := c.Conn.Write(p)
	ended := time.Now()
	c.mu.Lock()
	waiting := c.written
	c.written, c.answered = nil, true
	c.mu.Unlock()
	for _, tell := range waiting {
		tell(began, ended)
	}
	return n, err
}

// came returns when the request that is being handled began to come, and when the last of it came.
func (c *wire) came() (first, last time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.first, c.last
}

// next calls tell when the next Write, of at least a part of an answer, has ended.
func (c *wire) next(tell func(began, ended time.Time)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.written = append(c.written, tell)
}

// wired makes wires of the connections of a listener.
type wired struct{ net.Listener }

func (l wired) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &wire{Conn: c}, nil
}

type wireKey struct{}

// withWire is an http.Server's ConnContext: handlers find their wire by wireOf.
func withWire(ctx context.Context, c net.Conn) context.Context {
	if inner, ok := c.(interface{ NetConn() net.Conn }); ok { // TLS
		c = inner.NetConn()
	}
	return context.WithValue(ctx, wireKey{}, c)
}

func wireOf(r *http.Request) *wire { return r.Context().Value(wireKey{}).(*wire) }
