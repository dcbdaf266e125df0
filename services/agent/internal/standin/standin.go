// Package standin has the services that the agent speaks to, for its tests: Bedrock's runtime API,
// AgentCore Gateway and AgentCore Identity. They are real HTTP servers that refuse what the services
// refuse and record what they were asked; each refusal of a malformed request is also kept as a
// violation, so that a test fails on it even if the agent copes.
//
// Nothing but tests imports this package.
package standin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
)

// record collects violations of a protocol.
type record struct {
	mu         sync.Mutex
	violations []string
}

func (r *record) violate(format string, arguments ...any) string {
	message := fmt.Sprintf(format, arguments...)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.violations = append(r.violations, message)
	return message
}

// Violations returns what the agent did against the protocol; empty is what a test wants.
func (r *record) Violations() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.violations...)
}

// signed reports whether a request carries a SigV4 signature for a service.
func signed(r *http.Request, service string) bool {
	authorization := r.Header.Get("Authorization")
	return strings.HasPrefix(authorization, "AWS4-HMAC-SHA256 ") && strings.Contains(authorization, "/"+service+"/aws4_request")
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // a client that has gone is a test's intent
}

// awsError answers as AWS's REST-JSON services do.
func awsError(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("X-Amzn-Errortype", code)
	writeJSON(w, status, map[string]string{"message": message})
}
