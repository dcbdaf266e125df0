package bedrock

import (
	"context"
	"time"
)

// Fault is what goes wrong with one request. The zero Fault is a request that goes well; the members can be combined.
type Fault struct {
	// Delay passes before anything is answered, or until the client gives up.
	Delay time.Duration

	// Exception is answered instead of the model: a type of the Converse API such as "ThrottlingException".
	// With AfterEvents and ConverseStream it ends the stream after that many events.
	Exception string
	// Abort drops the connection: before the answer or, with ConverseStream, after AfterEvents events.
	Abort bool
	// Corrupt damages the checksum of the event after AfterEvents events. Only for ConverseStream.
	Corrupt bool
	// AfterEvents counts events of a stream; 0 means before the answer begins. Converse has no events and fails at once.
	AfterEvents int

	// StopReason ends the answer in the middle of its first text or tool input, as max_tokens and malformed_tool_use do.
	StopReason string
}

// Inject queues faults: each following request takes one, in order of arrival, before its signature is checked. When the
// queue is empty, requests go well again.
func (s *Server) Inject(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, faults...)
}

// nextFault takes a fault off the queue.
func (s *Server) nextFault() Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.faults) == 0 {
		return Fault{}
	}
	f := s.faults[0]
	s.faults = s.faults[1:]
	return f
}

// wait lets d pass; it reports false if ctx ended before.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
