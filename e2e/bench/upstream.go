package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// authority signs the certificate of every service here. What is measured trusts it through the file at bundle.
type authority struct {
	bundle      string
	certificate tls.Certificate
}

// newAuthority makes a certificate for 127.0.0.1 and writes the bundle into dir: the certificates in roots, which are
// those that a Lambda function or a container trusts and has to read, and the new one.
func newAuthority(dir, roots string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "central-ops benchmark"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	public, err := os.ReadFile(roots)
	if err != nil {
		return nil, fmt.Errorf("read public root certificates: %w", err)
	}
	a := &authority{
		bundle:      filepath.Join(dir, "roots.pem"),
		certificate: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
	}
	return a, os.WriteFile(a.bundle, append(public, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...), 0o600)
}

// service is a handler behind TLS and HTTP/2 on a port of its own, as each AWS service has a host of its own. It keeps
// a record of every request and counts connections.
type service struct {
	URL string

	handler     http.Handler
	latency     time.Duration // added to every request
	caller      func(*http.Request) string
	server      *http.Server
	connections atomic.Int64

	mu       sync.Mutex
	requests []*request
}

// request is one request as the service saw it: from the arrival of its first bytes until the last of its answer were written,
// latency included.
type request struct {
	began, ended time.Time
	caller       string // what service.caller said
}

// serve starts a service. caller tells for the record who sent a request; nil for nobody.
func (a *authority) serve(h http.Handler, latency time.Duration, caller func(*http.Request) string) (*service, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &service{URL: "https://" + listener.Addr().String(), handler: h, latency: latency, caller: caller}
	s.server = &http.Server{
		Handler:     s,
		ConnContext: withWire,
		TLSConfig:   &tls.Config{Certificates: []tls.Certificate{a.certificate}},
		ErrorLog:    log.New(io.Discard, "", 0), // processes that are killed in a handshake
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				s.connections.Add(1)
			}
		},
	}
	go func() { _ = s.server.ServeTLS(wired{listener}, "", "") }() // ends with Close
	return s, nil
}

func (s *service) close() { _ = s.server.Close() } // nothing depends on how it ends

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	each, on := &request{}, wireOf(r)
	each.began, _ = on.came()
	if s.caller != nil {
		each.caller = s.caller(r)
	}
	if s.latency > 0 {
		timer := time.NewTimer(s.latency)
		select {
		case <-timer.C:
		case <-r.Context().Done():
			timer.Stop()
		}
	}
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		each.ended = time.Now()
		s.requests = append(s.requests, each)
		on.next(func(_, ended time.Time) {
			s.mu.Lock()
			defer s.mu.Unlock()
			each.ended = ended
		})
	}()
	s.handler.ServeHTTP(w, r)
}

// take returns the requests since the last take and forgets them.
func (s *service) take() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := make([]request, len(s.requests))
	for i, each := range s.requests {
		taken[i] = *each
	}
	s.requests = nil
	return taken
}

// busy returns for how long, between from and to, at least one of the requests was being handled: requests that ran at
// the same time count once.
func busy(requests []request, from, to time.Time) time.Duration {
	sorted := slices.SortedFunc(slices.Values(requests), func(a, b request) int { return a.began.Compare(b.began) })
	var sum time.Duration
	end := from
	for _, each := range sorted {
		began, ended := each.began, each.ended
		if began.Before(end) {
			began = end
		}
		if ended.After(to) {
			ended = to
		}
		if ended.After(began) {
			sum += ended.Sub(began)
			end = ended
		}
	}
	return sum
}

// collector takes OpenTelemetry traces over OTLP/HTTP and counts the requests.
type collector struct {
	URL    string
	server *http.Server
	posts  atomic.Int64
}

func startCollector() (*collector, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &collector{URL: "http://" + listener.Addr().String()}
	c.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return // the sender is gone
		}
		c.posts.Add(1)
		w.Header().Set("Content-Type", "application/x-protobuf") // an empty message: everything was taken
	})}
	go func() { _ = c.server.Serve(listener) }() // ends with Close
	return c, nil
}

func (c *collector) close() { _ = c.server.Close() }

// accessKey returns the access key id that a request is signed with, "" if it is not.
func accessKey(r *http.Request) string {
	_, rest, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	id, _, _ := strings.Cut(rest, "/")
	return id
}

// errNotMeasured begins what makes the benchmark fail, unlike a limit that is missed.
var errNotMeasured = errors.New("not measured")

// within runs measure with a deadline, so that a part that hangs ends the benchmark rather than the reader's patience.
func within(ctx context.Context, limit time.Duration, name string, measure func(context.Context) ([]Row, error)) ([]Row, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	rows, err := measure(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errNotMeasured, name, err)
	}
	return rows, nil
}
