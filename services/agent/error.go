package agent

import (
	"context"
	"errors"
	"strings"
)

// Code classifies a failure. Codes are stable: clients switch on them.
type Code string

const (
	CodeInvalid         Code = "invalid"         // the request cannot be understood or is not allowed as it stands
	CodeUnauthenticated Code = "unauthenticated" // no token, or one that is not accepted (any more)
	CodeForbidden       Code = "forbidden"       // a known person without the right
	CodeNotFound        Code = "not_found"       // the thing named does not exist
	CodeConflict        Code = "conflict"        // something else holds it
	CodeThrottled       Code = "throttled"       // too many requests; later is fine
	CodeTimeout         Code = "timeout"         // no answer in time
	CodeUnavailable     Code = "unavailable"     // a part we need does not work now
	CodeInternal        Code = "internal"        // anything unclassified
)

// Error is a failure that someone outside the process will read.
type Error struct {
	Op      string // what was attempted, e.g. "call tool"; "" when the message says it
	Subject string // tool, session or variable; "" when none is involved
	Code    Code   // never ""
	Message string // one line, safe to show: no token, prompt, argument or result
	Hint    string // the reader's next step; "" if unknown
	Err     error  // cause, for errors.Is and As; not shown to clients
}

// Error returns "op: subject: code: message", leaving out what is empty. The hint is not part of it.
func (e *Error) Error() string {
	parts := make([]string, 0, 4)
	for _, part := range []string{e.Op, e.Subject, string(e.Code), e.Message} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ": ")
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// AsError returns err as an *Error. A context's end becomes timeout (deadline) or unavailable
// (cancelled); whatever is not classified becomes internal, with a plain sentence instead of its text.
func AsError(err error) *Error {
	var classified *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &classified):
		return classified
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Code: CodeTimeout, Message: "no answer in time", Hint: "ask again, or ask for less at once", Err: err}
	case errors.Is(err, context.Canceled):
		return &Error{Code: CodeUnavailable, Message: "the invocation was cancelled", Hint: "ask again", Err: err}
	}
	return &Error{
		Code:    CodeInternal,
		Message: "something went wrong inside the agent",
		Hint:    "ask again; if it stays, give the operator the session id and the time",
		Err:     err,
	}
}
