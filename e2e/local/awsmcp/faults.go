package awsmcp

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Fault makes the server misbehave for requests that it matches. Exactly one effect should be set; Delay goes with
// all of them but Hang and Reset.
type Fault struct {
	// Which requests: an empty field matches every request. Only POSTs can be hit.
	Account string // of the caller
	Tool    string // of tools/call, e.g. aws___run_script
	Method  string // e.g. initialize
	Skip    int    // let so many matching requests pass first
	Times   int    // then hit so many; 0 means until ClearFaults

	Delay time.Duration // wait before anything is sent: slow headers

	// Effects instead of an answer.
	Status int         // with Header and Body, sent as they are: 429, 401, 403, 503 ...
	Header http.Header // e.g. Retry-After
	Body   string      // e.g. a JSON-RPC error or nothing
	Hang   bool        // no answer until the client gives up
	Reset  bool        // the connection is cut

	// Effects on the answer.
	LoseSession bool // all sessions of the account end first
	SSE         bool // framed as a server-sent event
	CutSSE      bool // framed so, but cut off in the middle
	Pad         int  // so many bytes of blanks inside the JSON: a large answer
	InvalidUTF8 bool // a byte that is not UTF-8 inside the JSON

	// Effects on run_script.
	AsTask      bool   // the script becomes a task at once
	ScriptError string // the script is said to have raised this
	ColdStart   bool   // as in a new session
}

// Ready-made answers of overload and expired credentials.
var (
	// Throttled is 429 with the JSON-RPC error that the knowledge server is known to send.
	Throttled = Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Content-Type": {"application/json"}}, Body: `{"jsonrpc":"2.0","id":1,"result":null,"error":{"code":-32004,"message":"Too many requests. Please try again later."}}`}
	// ThrottledBare is 429 without a body.
	ThrottledBare = Fault{Status: http.StatusTooManyRequests}
	// Unavailable is 503 with a line of HTML, as load balancers answer.
	Unavailable = Fault{Status: http.StatusServiceUnavailable, Header: http.Header{"Content-Type": {"text/html"}}, Body: "<html><body><h1>503 Service Temporarily Unavailable</h1></body></html>"}
	// Unauthorized is 401 with JSON.
	Unauthorized = Fault{Status: http.StatusUnauthorized, Header: http.Header{"Content-Type": {"application/json"}}, Body: `{"message":"Authentication failed: Unable to verify your user identity"}`}
	// Expired is 403 as for credentials that ran out.
	Expired = Fault{Status: http.StatusForbidden, Header: http.Header{"Content-Type": {"application/json"}, "X-Amzn-Errortype": {"ExpiredTokenException"}}, Body: `{"__type":"ExpiredTokenException","message":"The security token included in the request is expired"}`}
)

// RetryAfter returns f with a Retry-After header of so many seconds.
func (f Fault) RetryAfter(seconds int) Fault {
	f.Header = f.Header.Clone()
	if f.Header == nil {
		f.Header = http.Header{}
	}
	f.Header.Set("Retry-After", fmt.Sprint(seconds))
	return f
}

// Inject adds a fault. When several match, the one that was added first is taken.
func (s *Server) Inject(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// ClearFaults removes all faults.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// fault returns the fault for a call and counts it.
func (s *Server) fault(c *call) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.faults {
		if f.Account != "" && f.Account != c.caller.Account || f.Tool != "" && f.Tool != c.tool || f.Method != "" && f.Method != c.Method {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		taken := *f
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
			}
		}
		return taken, true
	}
	return Fault{}, false
}

// instead carries out the effects that leave no answer; it is true when the request is done with.
func (f Fault) instead(w http.ResponseWriter, r *http.Request) bool {
	if f.Hang {
		<-r.Context().Done()
		return true
	}
	if f.Reset {
		panic(http.ErrAbortHandler)
	}
	if !sleep(r.Context().Done(), f.Delay) {
		return true
	}
	if f.Status == 0 {
		return false
	}
	for name, values := range f.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(f.Status)
	_, _ = w.Write([]byte(f.Body))
	return true
}

// send writes the answer, bent as the fault says.
func (f Fault) send(w http.ResponseWriter, status int, body []byte) {
	if f.Pad > 0 {
		body = append([]byte("{"+strings.Repeat(" ", f.Pad)), body[1:]...)
	}
	if f.InvalidUTF8 {
		body = append([]byte("{\"\xff\":0,"), body[1:]...)
	}
	if f.SSE || f.CutSSE {
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(status)
		frame := "event: message\ndata: " + string(body) + "\n\n"
		if f.CutSSE {
			_, _ = w.Write([]byte(frame[:len(frame)/2]))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write([]byte(frame))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// sleep waits for d; it is false when done came first.
func sleep(done <-chan struct{}, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-done:
		return false
	}
}
