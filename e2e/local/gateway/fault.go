package gateway

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
)

// FaultKind is what goes wrong.
type FaultKind int

// The kinds of fault.
const (
	Hang   FaultKind = iota // no answer until the client gives up
	Drop                    // the connection is cut without an answer
	Status                  // an answer with Fault.Status and no JSON
)

// Fault makes requests fail before the gateway looks at them.
type Fault struct {
	Kind   FaultKind
	Method string // JSON-RPC method; "" means any request
	Times  int    // how many requests; it is then over
	Status int    // for kind Status
	Header http.Header
}

// Inject adds a fault. Of several that fit a request, the one injected first counts.
func (s *Server) Inject(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

func (s *Server) withFaults(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, MaxPayloadBytes+1))
		if err != nil {
			return // the client is gone
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		f, ok := s.takeFault(body)
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		switch f.Kind {
		case Hang:
			<-r.Context().Done()
		case Drop:
			panic(http.ErrAbortHandler)
		case Status:
			for name, values := range f.Header {
				w.Header()[name] = values
			}
			http.Error(w, http.StatusText(f.Status), f.Status)
		}
	})
}

func (s *Server) takeFault(body []byte) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var msg message
	if len(s.faults) > 0 {
		_ = json.Unmarshal(body, &msg) // what cannot be read has no method
	}
	for _, f := range s.faults {
		if f.Times > 0 && (f.Method == "" || f.Method == msg.Method) {
			f.Times--
			return *f, true
		}
	}
	return Fault{}, false
}
