package awsmcp

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/central-ops/central-ops/e2e/local/sigv4"
)

// output writes the answer to one request, bent by a fault if there is one.
type output struct {
	w     http.ResponseWriter
	fault Fault
}

// result answers with a JSON-RPC result.
func (o *output) result(c *call, result any) {
	o.write(http.StatusOK, reply{JSONRPC: "2.0", ID: c.ID, Result: result})
}

// fail answers with a JSON-RPC error.
func (o *output) fail(c *call, status int, err *rpcError) {
	o.write(status, reply{JSONRPC: "2.0", ID: c.ID, Error: err})
}

// toolResult is the result of tools/call. The text of the one content item is the JSON of the structured content.
type toolResult struct {
	Content           []textContent `json:"content"`
	StructuredContent any           `json:"structuredContent"`
	IsError           bool          `json:"isError"`
}

type textContent struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

// tool answers with a tool's result.
func (o *output) tool(c *call, structured any) {
	text, err := json.Marshal(structured)
	if err != nil {
		o.fail(c, http.StatusOK, &rpcError{codeInvalidParams, "The result cannot be shown as JSON."})
		return
	}
	o.result(c, toolResult{
		Content:           []textContent{{Type: "text", Text: string(text)}},
		StructuredContent: json.RawMessage(text),
	})
}

func (o *output) write(status int, answer reply) {
	body, err := json.Marshal(answer)
	if err != nil {
		http.Error(o.w, err.Error(), http.StatusInternalServerError)
		return
	}
	o.fault.send(o.w, status, body)
}

// writeJSON answers without regard to faults.
func writeJSON(w http.ResponseWriter, status int, v any) {
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(v); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // a client that went away needs no answer
}

// writeRefusal answers a request whose signature does not hold.
func writeRefusal(w http.ResponseWriter, err error) {
	refused, ok := errors.AsType[*sigv4.Error](err)
	if !ok {
		http.Error(w, "Internal Server Error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("X-Amzn-ErrorType", refused.Code)
	writeJSON(w, http.StatusForbidden, map[string]string{"__type": refused.Code, "message": refused.Message})
}

// writeUnauthorized answers an unsigned call of a tool that needs credentials.
func writeUnauthorized(w http.ResponseWriter, r *http.Request) {
	origin := "http://" + r.Host
	w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer realm=%q, resource_metadata=%q", origin+path, origin+"/.well-known/oauth-protected-resource"))
	writeJSON(w, http.StatusUnauthorized, map[string]string{"message": "Authentication failed: Unable to verify your user identity"})
}

// writeThrottled answers a request above the quota, in the words of the knowledge server, which are published.
func writeThrottled(w http.ResponseWriter, id json.RawMessage) {
	writeJSON(w, http.StatusTooManyRequests, reply{JSONRPC: "2.0", ID: id, Error: &rpcError{codeThrottled, "Too many requests. Please try again later."}})
}

// newID returns a random id of the form of a UUID.
func newID() string {
	b := make([]byte, 16)
	rand.Read(b)
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
