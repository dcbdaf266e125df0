package agent

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// maxSessions bounds the conversations in memory. On AgentCore a microVM serves one session
	// (https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-sessions.html, read
	// 2026-10), so only a process that serves many, as on a developer's machine, comes near it.
	maxSessions = 256
	// maxContextBytes bounds what a conversation sends to the model, in bytes of text. At 2.8 to
	// four bytes a token it is 100,000 to 145,000 tokens: inside the 200,000 of the smallest model
	// we list, with room for the system prompt, the tools and the answer.
	maxContextBytes = 400_000
	// maxResultBytes bounds one tool result, so that four of them fit a conversation.
	maxResultBytes = 100_000
)

// exchange is a question and all that followed until its answer. It begins with a user message and
// ends with an assistant message, and every tool call in it has its result: so exchanges can be
// dropped one by one, and what remains is a conversation that Bedrock accepts.
type exchange []Message

func (e exchange) size() int {
	total := 0
	for _, message := range e {
		total += message.size()
	}
	return total
}

// size returns the bytes of text in a message.
func (m Message) size() int {
	total := 0
	for _, block := range m.Blocks {
		total += len(block.Text)
		if r := block.Reasoning; r != nil {
			total += len(r.Text) + len(r.Signature) + len(r.Redacted)
		}
		if c := block.ToolCall; c != nil {
			total += len(c.ID) + len(c.Name) + len(c.Input)
		}
		if r := block.ToolResult; r != nil {
			total += len(r.ID) + len(r.Text)
		}
	}
	return total
}

// conversation is the memory of one session. While busy is not nil, the invocation that set it owns
// exchanges and toolbox; the rest is guarded by conversations.mu.
type conversation struct {
	owner    string
	busy     chan struct{} // closed when the invocation ends
	lastUsed time.Time

	exchanges []exchange
	toolbox   Toolbox
}

// conversations holds the sessions that this process serves.
type conversations struct {
	newToolbox func() Toolbox
	now        func() time.Time

	mu       sync.Mutex
	sessions map[SessionID]*conversation
}

// settling is how long an invocation waits for the one before it in its session. One whose client has gone ends as soon as it
// notices, and the person may have asked the next question by then.
const settling = 2 * time.Second

// acquire returns the session's conversation for one invocation; release gives it back. The first
// subject to use a session owns it: AgentCore itself does not bind a session to a person. Errors:
// forbidden (another's session), conflict (an invocation is running in it, and does not end soon),
// unavailable (too many sessions at work).
func (c *conversations) acquire(ctx context.Context, id SessionID, subject string) (*conversation, error) {
	settled := time.NewTimer(settling)
	defer settled.Stop()
	for {
		found, ended, err := c.open(id, subject)
		if found != nil || err != nil {
			return found, err
		}
		select {
		case <-ended:
		case <-ctx.Done():
			return nil, AsError(ctx.Err())
		case <-settled.C:
			return nil, &Error{
				Op: "open session", Code: CodeConflict,
				Message: "another question of this session is still being answered",
				Hint:    "wait for its answer, or ask in a new session",
			}
		}
	}
}

// open is acquire without the wait: a channel that is closed when the invocation ends that the session is busy with.
func (c *conversations) open(id SessionID, subject string) (*conversation, <-chan struct{}, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, ok := c.sessions[id]
	switch {
	case ok && found.owner != subject:
		return nil, nil, &Error{
			Op: "open session", Code: CodeForbidden,
			Message: "this session belongs to another person",
			Hint:    "use a session id of your own: a new random one of at least 33 characters",
		}
	case ok && found.busy != nil:
		return nil, found.busy, nil
	case !ok:
		if len(c.sessions) >= maxSessions && !c.evict() {
			return nil, nil, &Error{
				Op: "open session", Code: CodeUnavailable,
				Message: fmt.Sprintf("all %d sessions of this process are at work", maxSessions),
				Hint:    "try again in a minute",
			}
		}
		found = &conversation{owner: subject, toolbox: c.newToolbox()}
		c.sessions[id] = found
	}
	found.busy = make(chan struct{})
	return found, nil, nil
}

// evict removes the idle session that was used longest ago, and reports whether there was one.
func (c *conversations) evict() bool {
	var oldest SessionID
	var victim *conversation
	for id, candidate := range c.sessions {
		if candidate.busy == nil && (victim == nil || candidate.lastUsed.Before(victim.lastUsed)) {
			oldest, victim = id, candidate
		}
	}
	if victim == nil {
		return false
	}
	delete(c.sessions, oldest)
	go victim.toolbox.Close() // may speak to the Gateway; nobody waits for it
	return true
}

func (c *conversations) release(held *conversation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(held.busy)
	held.busy = nil
	held.lastUsed = c.now()
}

// fit drops the oldest exchanges until they and extra bytes are within the budget. It returns how
// many it dropped.
func (c *conversation) fit(extra int) int {
	total := extra
	for _, e := range c.exchanges {
		total += e.size()
	}
	dropped := 0
	for total > maxContextBytes && dropped < len(c.exchanges) {
		total -= c.exchanges[dropped].size()
		dropped++
	}
	c.exchanges = c.exchanges[dropped:]
	return dropped
}

// dropOldest drops half of the exchanges, at least one, and returns how many.
func (c *conversation) dropOldest() int {
	dropped := (len(c.exchanges) + 1) / 2
	c.exchanges = c.exchanges[dropped:]
	return dropped
}

// messages returns the remembered messages followed by current.
func (c *conversation) messages(current exchange) []Message {
	var all []Message
	for _, e := range c.exchanges {
		all = append(all, e...)
	}
	return append(all, current...)
}
