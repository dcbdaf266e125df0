// Package bridge reads what the bridge's tools answer, whichever way they were called: through the Gateway, or where that takes
// the agent's tokens alone, through the agent.
package bridge

import (
	"context"
	"encoding/json"

	centralops "github.com/central-ops/central-ops/services/cli"
	"github.com/central-ops/central-ops/services/cli/internal/bearer"
)

// Caller is a way to the bridge.
type Caller interface {
	// Bridge calls a tool of the bridge by its own name and returns its answer, a JSON object that says {"ok":true,...}.
	// An answer that says {"ok":false} is an error of its code.
	Bridge(ctx context.Context, tool string, arguments any) (json.RawMessage, error)
}

// Check returns the error that an answer of the bridge's is, if it says {"ok":false}.
func Check(tool string, answer json.RawMessage) error {
	var envelope struct {
		OK    bool              `json:"ok"`
		Error *centralops.Error `json:"error"`
	}
	if err := json.Unmarshal(answer, &envelope); err != nil {
		return &centralops.Error{Op: tool, Code: centralops.Unavailable, Err: err,
			Message: "the answer is not what the bridge sends", Hint: "centralops doctor"}
	}
	if envelope.OK {
		return nil
	}
	failure := envelope.Error
	if failure == nil {
		failure = &centralops.Error{Code: centralops.Internal, Message: "the bridge said no, and not why"}
	}
	failure.Op = tool
	if failure.Hint == "" {
		failure.Hint = bearer.Hint(failure.Code)
	}
	return failure
}
