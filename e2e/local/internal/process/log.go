package process

import (
	"fmt"
	"io"
	"sync"
)

// Log lets several processes share one writer. Writes are serialized; what cannot be written is lost.
type Log struct {
	mu sync.Mutex
	to io.Writer
}

// NewLog returns a Log that writes to to; nil discards.
func NewLog(to io.Writer) *Log {
	if to == nil {
		to = io.Discard
	}
	return &Log{to: to}
}

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = l.to.Write(p)
	return len(p), nil
}

// Printf writes one line.
func (l *Log) Printf(format string, args ...any) {
	_, _ = fmt.Fprintf(l, format+"\n", args...)
}
