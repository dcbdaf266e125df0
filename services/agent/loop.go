package agent

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// systemPrompt tells the model how to behave. It does not list accounts, so its size does not depend
// on how many there are; TestPromptBudget holds it and the tools to 2,500 tokens.
//
//go:embed prompt.md
var systemPrompt string

// Limits bounds one invocation.
type Limits struct {
	MaxTurns          int           // model turns; at least 1
	MaxToolCalls      int           // calls that go to the Gateway; at least 1
	MaxOutputTokens   int           // output tokens of one turn; at least 1
	InvocationTimeout time.Duration // wall time from the first byte of work to the answer
}

// The bounds as Answer.StoppedBy names them. The first four are their variables.
const (
	StoppedByTurns        = "MAX_TURNS"
	StoppedByToolCalls    = "MAX_TOOL_CALLS"
	StoppedByOutputTokens = "MAX_OUTPUT_TOKENS"
	StoppedByTime         = "INVOCATION_TIMEOUT"
	StoppedByContext      = "context_window"
	StoppedByGuardrail    = "guardrail"
	StoppedByFilter       = "content_filter"
)

// Agent answers invocations. It is safe for concurrent use.
type Agent struct {
	model    Model
	limits   Limits
	log      *slog.Logger
	now      func() time.Time
	sessions conversations
}

// New returns an Agent. newToolbox makes the Toolbox of a new session; it must not block.
func New(model Model, newToolbox func() Toolbox, limits Limits, log *slog.Logger) *Agent {
	return &Agent{
		model:  model,
		limits: limits,
		log:    log,
		now:    time.Now,
		sessions: conversations{
			newToolbox: newToolbox,
			now:        time.Now,
			sessions:   make(map[SessionID]*conversation),
		},
	}
}

// Run answers one invocation. events may be nil. The error, always an *Error, comes with whatever was
// done before it: coverage, receipts and usage. A bound that is hit is not an error: the answer then
// ends in a sentence that names the bound and says what was done so far.
func (a *Agent) Run(ctx context.Context, inv Invocation, events Events) (Answer, error) {
	answer := Answer{SessionID: inv.Session, Receipts: []Receipt{}}
	held, err := a.sessions.acquire(ctx, inv.Session, inv.Caller.Subject)
	if err != nil {
		return answer, err
	}
	defer a.sessions.release(held)

	ctx, cancel := context.WithTimeoutCause(ctx, a.limits.InvocationTimeout, errInvocationTimeout)
	defer cancel()

	r := &run{
		agent:  a,
		inv:    inv,
		events: events,
		conv:   held,
		answer: &answer,
		calls:  make(map[string]int),
		log:    a.log.With(slog.String("session", string(inv.Session)), slog.String("invocation", inv.ID)),
	}
	if inv.Direct != nil {
		err = r.direct(ctx, *inv.Direct)
	} else {
		err = r.do(ctx)
	}
	if err != nil {
		r.settle()
		return answer, AsError(err)
	}
	return answer, nil
}

// errInvocationTimeout is the cause of a context that ended by Limits.InvocationTimeout.
var errInvocationTimeout = errors.New("invocation timeout")

func timedOut(ctx context.Context) bool { return errors.Is(context.Cause(ctx), errInvocationTimeout) }

// run is the state of one invocation.
type run struct {
	agent  *Agent
	inv    Invocation
	events Events
	conv   *conversation
	answer *Answer
	log    *slog.Logger

	tools    []Tool
	current  exchange // this invocation's messages; becomes part of the conversation at the end
	asked    account
	calls    map[string]int // calls per tool, for "what was done so far"
	dropped  int            // exchanges that were dropped for space
	capped   bool           // a tool call was refused because of MaxToolCalls
	streamed bool           // some text was passed on

	malformed bool   // the model's output was malformed once
	begun     string // what it had written then, with which the response begins
}

func (r *run) do(ctx context.Context) error {
	r.current = exchange{{Role: RoleUser, Blocks: []Block{{Text: r.inv.Prompt}}}}
	tools, err := r.conv.toolbox.Tools(ctx, r.inv.Caller)
	if timedOut(ctx) {
		return r.stop(StoppedByTime)
	}
	if err != nil {
		return err
	}
	r.tools = tools

	for {
		r.dropped += r.conv.fit(r.current.size())
		turn, err := r.turn(ctx)
		if timedOut(ctx) {
			return r.stop(StoppedByTime)
		}
		if err != nil && AsError(err).Code == CodeConflict { // the context is too long for the model
			turn.Stop, err = StopContextExceeded, nil
		}
		if err != nil {
			return err
		}
		text, calls := turn.Message.parts()

		switch turn.Stop {
		case StopContextExceeded:
			// Text that was written may have been passed on: the same turn again would write it twice.
			if text == "" && len(r.conv.exchanges) > 0 && r.answer.Turns < r.agent.limits.MaxTurns {
				r.dropped += r.conv.dropOldest()
				continue
			}
		case StopGuardrail:
			return r.refuse(text, StoppedByGuardrail, "A guardrail stopped this answer.")
		case StopContentFiltered:
			return r.refuse(text, StoppedByFilter, "The model provider's content filter stopped this answer.")
		}

		if turn.malformed(calls) {
			if r.malformed {
				return errMalformed
			}
			r.malformed = true
			if r.answer.Turns >= r.agent.limits.MaxTurns {
				return r.stopWith(StoppedByTurns, text)
			}
			r.correct(text)
			continue
		}

		if turn.Stop == StopMaxTokens || turn.Stop == StopContextExceeded {
			turn.Message = turn.Message.withoutCutReasoning()
		}
		if len(turn.Message.Blocks) > 0 {
			r.current = append(r.current, turn.Message)
		}
		switch {
		case turn.Stop == StopContextExceeded:
			return r.stopWith(StoppedByContext, text)
		case turn.Stop == StopMaxTokens:
			return r.stopWith(StoppedByOutputTokens, text)
		case len(calls) == 0:
			return r.finish(text)
		}
		if r.answer.Turns >= r.agent.limits.MaxTurns {
			return r.stopWith(StoppedByTurns, text)
		}
		if r.answer.ToolCalls >= r.agent.limits.MaxToolCalls {
			return r.stopWith(StoppedByToolCalls, text)
		}
		if err := r.runTools(ctx, calls); err != nil {
			return err
		}
		if timedOut(ctx) {
			return r.stop(StoppedByTime)
		}
	}
}

// turn asks the model once.
func (r *run) turn(ctx context.Context) (Turn, error) {
	var onText func(string)
	if r.events != nil {
		first := true
		onText = func(text string) {
			if text == "" {
				return
			}
			if first && r.streamed {
				text = "\n\n" + text
			}
			first = false
			r.streamed = true
			r.events.Text(text)
		}
	}
	r.answer.Turns++
	turn, err := r.agent.model.Generate(ctx, Request{
		System:          systemPrompt + "\nToday is " + r.agent.now().UTC().Format(time.DateOnly) + " (UTC).\n",
		Tools:           r.tools,
		Messages:        r.conv.messages(r.current),
		MaxOutputTokens: r.agent.limits.MaxOutputTokens,
	}, onText)
	r.answer.Usage.add(turn.Usage)
	return turn, err
}

// parts returns the text and the tool calls of a model's message.
func (m Message) parts() (string, []ToolCall) {
	var text strings.Builder
	var calls []ToolCall
	for _, block := range m.Blocks {
		text.WriteString(block.Text)
		if block.ToolCall != nil {
			calls = append(calls, *block.ToolCall)
		}
	}
	return strings.TrimSpace(text.String()), calls
}

// withoutCutReasoning leaves out the reasoning whose signature did not come before the turn was cut off: sent back without
// one, it would be refused, and every later question of the session with it.
func (m Message) withoutCutReasoning() Message {
	m.Blocks = slices.DeleteFunc(slices.Clone(m.Blocks), func(block Block) bool {
		return block.Reasoning != nil && block.Reasoning.Signature == "" && block.Reasoning.Redacted == nil
	})
	return m
}

// malformed reports whether a turn cannot be used: the model says so, or that it wants a tool and names none.
func (t Turn) malformed(calls []ToolCall) bool {
	return t.Stop == StopMalformedOutput || t.Stop == StopMalformedToolUse || t.Stop == StopToolUse && len(calls) == 0
}

var errMalformed = &Error{
	Op: "ask the model", Code: CodeUnavailable,
	Message: "the model's output was malformed twice",
	Hint:    "ask again, more simply; if it stays, try another MODEL_ID",
}

// correct prepares to ask the model once more after malformed output. Text that it wrote may have been
// passed on, so it stays, and the model is asked to go on from it; without text the same is asked again.
func (r *run) correct(text string) {
	if text == "" {
		return
	}
	r.begun = text + "\n\n"
	r.current = append(r.current,
		Message{Role: RoleAssistant, Blocks: []Block{{Text: text}}},
		Message{Role: RoleUser, Blocks: []Block{{Text: "(Automatic message: the tool call after this text was malformed and did not run. " +
			"Go on from where the text ends, without repeating it.)"}}})
}

// outcome is what came of one tool call.
type outcome struct {
	index    int
	envelope Envelope
	result   ToolResult
	elapsed  time.Duration
	fatal    error // set when no later call can succeed either
}

// runTools runs the calls of one turn at once and appends their results, in the order of the calls,
// as one user message: Bedrock wants exactly one result for each call, all in the next message.
func (r *run) runTools(ctx context.Context, calls []ToolCall) error {
	done := make(chan outcome)
	for i, call := range calls {
		if r.events != nil {
			r.events.ToolCall(call)
		}
		refusal := r.check(call)
		if refusal == nil {
			r.answer.ToolCalls++
			r.calls[call.Name]++
		}
		turn := r.answer.Turns
		go func() { done <- r.call(ctx, turn, i, call, refusal) }()
	}

	results := make([]Block, len(calls))
	var fatal error
	for range calls {
		o := <-done
		coverage := r.asked.record(calls[o.index], o.envelope)
		if r.events != nil {
			r.events.ToolResult(ToolOutcome{
				ID: o.result.ID, OK: o.envelope.OK, Coverage: coverage, DurationMS: o.elapsed.Milliseconds(),
			})
		}
		if fatal == nil {
			fatal = o.fatal
		}
		results[o.index] = Block{ToolResult: &o.result}
	}
	if fatal != nil {
		return fatal
	}

	// Each result fits on its own; together they may still be too much.
	room := maxContextBytes - r.current.size()
	for i := range results {
		result := results[i].ToolResult
		switch {
		case len(result.Text) <= room:
		case len(r.inv.Prompt) > maxContextBytes-maxResultBytes: // no narrower query would help
			*result = refused(calls[i], Fault{Code: string(CodeInvalid), Message: fmt.Sprintf(
				"the question alone has %d bytes of the %d that a conversation may have: there is no room for the result", len(r.inv.Prompt), maxContextBytes),
				Hint: "the person has to ask a shorter question"})
		default:
			*result = refused(calls[i], tooLarge(len(result.Text), max(room, 0)))
		}
		room -= len(result.Text)
	}
	r.current = append(r.current, Message{Role: RoleUser, Blocks: results})
	return nil
}

// check returns why a call is not sent on, nil if it is. Nothing that the model writes can reach a
// tool that the Gateway did not list for this person.
func (r *run) check(call ToolCall) *Fault {
	known := slices.ContainsFunc(r.tools, func(tool Tool) bool { return tool.Name == call.Name })
	var arguments map[string]json.RawMessage
	switch {
	case !known:
		names := make([]string, len(r.tools))
		for i, tool := range r.tools {
			names[i] = tool.Name
		}
		return &Fault{Code: string(CodeNotFound), Message: "there is no such tool", Hint: "the tools are: " + strings.Join(names, ", ")}
	case json.Unmarshal(call.Input, &arguments) != nil || arguments == nil:
		return &Fault{Code: string(CodeInvalid), Message: "the tool's input is not a JSON object", Hint: "call it again with an object that matches its schema"}
	case r.answer.ToolCalls >= r.agent.limits.MaxToolCalls:
		r.capped = true
		return &Fault{
			Code:    string(CodeInvalid),
			Message: fmt.Sprintf("not run: the limit of %d tool calls for one question is reached", r.agent.limits.MaxToolCalls),
			Hint:    "answer from what you have and say what is missing",
		}
	}
	return nil
}

// errPanicked ends an invocation in whose tool call there is a bug.
var errPanicked = errors.New("tool call panicked")

// call runs one tool call, or answers it with refusal. It has a goroutine of its own, on which a panic would end the process
// and every session in it: it ends the invocation.
func (r *run) call(ctx context.Context, turn, index int, call ToolCall, refusal *Fault) (o outcome) {
	start := time.Now()
	o.index = index
	defer func() {
		if recover() == nil {
			return
		}
		fault := Fault{Code: string(CodeInternal), Message: "something went wrong inside the agent"}
		o = outcome{index: index, envelope: Envelope{Fault: &fault}, result: refused(call, fault), elapsed: time.Since(start), fatal: errPanicked}
		// The stack names functions and lines, and nothing of what was said.
		r.log.LogAttrs(ctx, slog.LevelError, "tool call panicked", slog.Int("turn", turn), slog.String("stack", string(debug.Stack())))
	}()
	tool := call.Name
	if refusal != nil {
		o.envelope = Envelope{Fault: refusal}
		o.result = refused(call, *refusal)
		if Code(refusal.Code) == CodeNotFound {
			tool = "unknown" // the name is the model's words, which do not belong into a log
		}
	} else {
		o.envelope, o.result, o.fatal = r.callGateway(ctx, call)
	}
	o.elapsed = time.Since(start)
	r.logCall(ctx, turn, tool, o)
	return o
}

// logCall writes the one line that a tool call leaves.
func (r *run) logCall(ctx context.Context, turn int, tool string, o outcome) {
	attributes := []slog.Attr{
		slog.Int("turn", turn),
		slog.String("tool", tool),
		slog.Bool("ok", o.envelope.OK),
		slog.Int64("duration_ms", o.elapsed.Milliseconds()),
	}
	if o.envelope.Fault != nil {
		attributes = append(attributes, slog.String("code", logCode(o.envelope.Fault.Code)))
	}
	if coverage := o.envelope.Coverage; coverage != nil {
		attributes = append(attributes, slog.Int64("targets", coverage.Targets), slog.Int64("answered", coverage.Answered))
	}
	r.log.LogAttrs(ctx, slog.LevelInfo, "tool call finished", attributes...)
}

func (r *run) callGateway(ctx context.Context, call ToolCall) (Envelope, ToolResult, error) {
	output, err := r.conv.toolbox.Call(ctx, r.inv.Caller, call)
	if err != nil {
		failure := AsError(err)
		fault := Fault{Code: string(failure.Code), Message: failure.Message, Hint: failure.Hint}
		if failure.Code != CodeUnauthenticated {
			err = nil
		}
		return Envelope{Fault: &fault}, refused(call, fault), err
	}
	envelope := ParseEnvelope(output)
	if fault := envelope.Fault; fault != nil && Code(fault.Code) == CodeUnauthenticated {
		// The person's token, which every other call would carry too: it has expired since the question came.
		return envelope, refused(call, *fault), &Error{Op: "call tool", Subject: call.Name, Code: CodeUnauthenticated,
			Message: oneLine(fault.Message, 300), Hint: oneLine(fault.Hint, 300)}
	}
	switch {
	case len(envelope.Text) > maxResultBytes:
		fault := tooLarge(len(envelope.Text), maxResultBytes)
		envelope.OK, envelope.Fault = false, &fault
		return envelope, refused(call, fault), nil
	case envelope.Text == "":
		envelope.Text = "(the tool returned nothing)"
	}
	return envelope, ToolResult{ID: call.ID, Name: call.Name, Text: envelope.Text, IsError: !envelope.OK}, nil
}

// tooLarge is the fault of a result that is not shown to the model at all: half of a result would be
// taken for the whole.
func tooLarge(size, limit int) Fault {
	return Fault{
		Code:    string(CodeInvalid),
		Message: fmt.Sprintf("the result has %d bytes and at most %d fit: it is not shown, not even in part", size, limit),
		Hint:    "narrow the query: fewer accounts or Regions, select only the fields needed, group_by to count, a smaller limit, or a filter for list_accounts",
	}
}

func refused(call ToolCall, fault Fault) ToolResult {
	text, err := json.Marshal(struct {
		OK    bool  `json:"ok"`
		Error Fault `json:"error"`
	}{Error: fault})
	if err != nil { // strings always marshal
		text = []byte(`{"ok":false}`)
	}
	return ToolResult{ID: call.ID, Name: call.Name, Text: string(text), IsError: true}
}

// logCode returns code if it is one of ours; a tool's own words do not belong into a log.
func logCode(code string) string {
	switch Code(code) {
	case CodeInvalid, CodeUnauthenticated, CodeForbidden, CodeNotFound, CodeConflict, CodeThrottled, CodeTimeout, CodeUnavailable:
		return code
	}
	return string(CodeInternal)
}

// finish ends the invocation with the model's answer.
func (r *run) finish(text string) error {
	if text == "" {
		text = "The model ended without an answer. " + r.soFar()
		r.current = r.current.closed(text)
		r.emit(text)
	}
	if r.capped {
		sentence := r.boundSentence(StoppedByToolCalls)
		r.answer.StoppedBy = StoppedByToolCalls
		r.emit(sentence)
		text += "\n\n" + sentence
	}
	r.complete(text)
	return nil
}

// stop is stopWith when the model's turn left no text.
func (r *run) stop(bound string) error { return r.stopWith(bound, "") }

// stopWith ends the invocation because of a bound. text is what the model wrote in its last turn.
func (r *run) stopWith(bound, text string) error {
	sentence := r.boundSentence(bound)
	r.answer.StoppedBy = bound
	r.current = r.current.closed(sentence)
	r.emit(sentence)
	if text != "" {
		sentence = text + "\n\n" + sentence
	}
	r.complete(sentence)
	return nil
}

// refuse ends the invocation because the model's provider would not let it answer. The exchange is
// not kept: sent along with the next question it would be refused again.
func (r *run) refuse(text, by, sentence string) error {
	sentence += " The question is not kept in the session. " + r.soFar()
	r.answer.StoppedBy = by
	r.current = nil
	r.emit(sentence)
	if text != "" {
		sentence = text + "\n\n" + sentence
	}
	r.complete(sentence)
	return nil
}

// complete appends the server's own notices, keeps the exchange and fills the answer.
func (r *run) complete(text string) {
	text = r.begun + text
	for _, notice := range []string{r.asked.notice(), r.droppedNotice()} {
		if notice != "" {
			r.emit(notice)
			text += "\n\n" + notice
		}
	}
	if len(r.current) > 0 {
		r.conv.exchanges = append(r.conv.exchanges, r.current)
	}
	r.answer.Response = text
	r.settle()
}

// settle copies what was asked into the answer.
func (r *run) settle() {
	r.answer.Coverage = r.asked.coverage
	if len(r.asked.receipts) > 0 {
		r.answer.Receipts = r.asked.receipts
	}
}

// emit passes on a sentence of the server's own.
func (r *run) emit(sentence string) {
	if r.events == nil {
		return
	}
	if r.streamed {
		sentence = "\n\n" + sentence
	}
	r.streamed = true
	r.events.Text(sentence)
}

// closed returns the exchange with an end: every tool call that has no result gets one that says so,
// and the last message is the assistant's, ending in sentence.
func (e exchange) closed(sentence string) exchange {
	closing := Block{Text: sentence}
	last := e[len(e)-1]
	if last.Role == RoleAssistant {
		_, calls := last.parts()
		if len(calls) == 0 {
			last.Blocks = append(slices.Clone(last.Blocks), closing)
			return append(e[:len(e)-1], last)
		}
		results := make([]Block, len(calls))
		for i, call := range calls {
			result := refused(call, Fault{Code: string(CodeUnavailable), Message: "not run: the invocation had ended"})
			results[i] = Block{ToolResult: &result}
		}
		e = append(e, Message{Role: RoleUser, Blocks: results})
	}
	return append(e, Message{Role: RoleAssistant, Blocks: []Block{closing}})
}

// boundSentence names the bound and says what was done so far.
func (r *run) boundSentence(bound string) string {
	limits := r.agent.limits
	var what, next string
	switch bound {
	case StoppedByTurns:
		what = fmt.Sprintf("the limit of %s for one question (MAX_TURNS)", plural(int64(limits.MaxTurns), "model turn"))
		next = "Ask for less at once, or ask again to go on from here."
	case StoppedByToolCalls:
		what = fmt.Sprintf("the limit of %s for one question (MAX_TOOL_CALLS)", plural(int64(limits.MaxToolCalls), "tool call"))
		next = "Ask for less at once, or ask again to go on from here."
	case StoppedByOutputTokens:
		what = fmt.Sprintf("the limit of %s for one turn (MAX_OUTPUT_TOKENS)", plural(int64(limits.MaxOutputTokens), "output token"))
		next = "The text ends there, and a tool call that it cut off was not run. Ask for a shorter answer, or for the rest."
	case StoppedByTime:
		what = fmt.Sprintf("the time limit of %s for one question (INVOCATION_TIMEOUT)", limits.InvocationTimeout)
		next = "Ask for fewer accounts or Regions at once."
	case StoppedByContext:
		what = "the model's context window"
		next = "Narrow the question, or begin a new session."
	}
	return fmt.Sprintf("Stopped by %s. %s %s", what, r.soFar(), next)
}

// soFar says what the invocation has done.
func (r *run) soFar() string {
	var out strings.Builder
	fmt.Fprintf(&out, "Done so far: %s, %s", plural(int64(r.answer.Turns), "model turn"), plural(int64(r.answer.ToolCalls), "tool call"))
	if len(r.calls) > 0 {
		var tools []string
		for _, name := range slices.Sorted(maps.Keys(r.calls)) {
			tools = append(tools, fmt.Sprintf("%s %d", name, r.calls[name]))
		}
		fmt.Fprintf(&out, " (%s)", strings.Join(tools, ", "))
	}
	if coverage := r.asked.coverage; coverage.Targets > 0 {
		fmt.Fprintf(&out, ", %d of %s answered", coverage.Answered, plural(coverage.Targets, "target"))
	}
	out.WriteString(".")
	return out.String()
}

// droppedNotice says that the conversation has lost its beginning.
func (r *run) droppedNotice() string {
	if r.dropped == 0 {
		return ""
	}
	return fmt.Sprintf("The conversation has outgrown its memory: the oldest %s and what belonged to %s were left out and are forgotten.",
		plural(int64(r.dropped), "question"), map[bool]string{true: "it", false: "them"}[r.dropped == 1])
}
