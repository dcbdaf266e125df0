// Package loopback serves HTTP to this machine only, which is all that the local platform ever does.
package loopback

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Server is a running HTTP server on a free port of 127.0.0.1.
type Server struct {
	// URL is http://127.0.0.1:<port>, without a slash at the end.
	URL string

	http *http.Server
	done chan struct{} // closed when Serve has returned
	err  error         // of Serve
}

// Serve starts h. The server runs until Close.
func Serve(h http.Handler) (*Server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen on 127.0.0.1: %w", err)
	}
	s := &Server{
		URL:  "http://" + listener.Addr().String(),
		http: &http.Server{Handler: h, ReadHeaderTimeout: 30 * time.Second},
		done: make(chan struct{}),
	}
	go func() {
		s.err = s.http.Serve(listener)
		close(s.done)
	}()
	return s, nil
}

// Close drops every connection and waits until the listener has ended. It may be called more than once.
func (s *Server) Close() error {
	closed := s.http.Close()
	<-s.done
	if !errors.Is(s.err, http.ErrServerClosed) {
		return s.err
	}
	return closed
}
