package gateway

import (
	"crypto/rand"
	"net/http"
	"time"
)

// A gateway with a session configuration demands the session id of initialize on every later request: 400 without
// one, 404 for one that has ended or is another subject's.
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/gateway-sessions.html

func (s *Server) openSession(subject string, life time.Duration) string {
	id := rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[id] = session{subject, s.config.Now().Add(life)}
	return id
}

func (s *Server) checkSession(r *http.Request, msg message, subject string) *rpcError {
	if s.config.Record.ProtocolConfiguration.MCP.Session == nil || msg.Method == "initialize" {
		return nil
	}
	id := r.Header.Get("Mcp-Session-Id")
	if id == "" {
		return &rpcError{http.StatusBadRequest, invalidRequest, "Mcp-Session-Id header is required"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if found, ok := s.sessions[id]; !ok || found.subject != subject || !s.config.Now().Before(found.expires) {
		return &rpcError{http.StatusNotFound, noSuchSession, "Session not found"}
	}
	return nil
}

func (s *Server) endSession(w http.ResponseWriter, r *http.Request) {
	token, ok := s.authorize(w, r)
	if !ok {
		return
	}
	if s.config.Record.ProtocolConfiguration.MCP.Session == nil {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	if fault := s.checkSession(r, message{}, token.Subject); fault != nil {
		writeError(w, nil, *fault)
		return
	}
	s.mu.Lock()
	delete(s.sessions, r.Header.Get("Mcp-Session-Id"))
	s.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}
