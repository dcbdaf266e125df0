package runtimefront

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/central-ops/central-ops/e2e/local/internal/process"
)

const (
	pingEvery = 20 * time.Millisecond // while an agent starts
	stopGrace = 10 * time.Second      // between SIGTERM and SIGKILL
)

// session is one agent process, which on AWS is a microVM. Its id stays usable after it ended and then gets a new one.
type session struct {
	id      string
	url     string           // set by start
	process *process.Process // set by start; nil if it could not start
	ready   chan struct{}    // closed when start has ended
	err     error            // of start; to be read after ready

	mu       sync.Mutex
	active   time.Time // when the last request began
	requests int       // in flight
	idle     *time.Timer
	lifetime *time.Timer
	ending   bool
}

// session returns the running session of that id, or starts one; release it after the request. The error is a *serviceError.
func (s *Server) session(ctx context.Context, id string) (*session, error) {
	s.mu.Lock()
	sess, ok := s.sessions[id]
	if ok && sess.crashed() {
		delete(s.sessions, id)
		go s.end(sess)
		ok = false
	}
	switch {
	case s.closed:
		s.mu.Unlock()
		return nil, &serviceError{"InternalServerException", "The service is being taken down."}
	case !ok && len(s.sessions) >= s.config.MaxSessions:
		s.mu.Unlock()
		if s.config.MakeRoom && s.makeRoom() {
			return s.session(ctx, id)
		}
		return nil, &serviceError{"ServiceQuotaExceededException", fmt.Sprintf("Maximum number of active sessions (%d) exceeded", s.config.MaxSessions)}
	case !ok:
		sess = &session{id: id, ready: make(chan struct{})}
		s.sessions[id] = sess
		go s.start(sess)
	}
	s.mu.Unlock()
	select {
	case <-sess.ready:
	case <-ctx.Done():
		return nil, &serviceError{"InternalServerException", "The caller is gone."}
	}
	if sess.err != nil {
		return nil, sess.err
	}
	if !sess.touch() {
		return nil, &serviceError{"RetryableConflictException", "The session is being stopped. Please try again."}
	}
	return sess, nil
}

// crashed tells whether the agent has ended by itself.
func (sess *session) crashed() bool {
	select {
	case <-sess.ready:
		return sess.err == nil && !sess.process.Alive()
	default:
		return false
	}
}

// touch notes the start of a request; it returns false if the session is ending.
func (sess *session) touch() bool {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	if sess.ending {
		return false
	}
	sess.active = time.Now()
	sess.requests++
	return true
}

// release notes the end of a request.
func (sess *session) release() {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	sess.requests--
}

// makeRoom ends the session that was used longest ago of those without a request, and returns false if there is none.
func (s *Server) makeRoom() bool {
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.sessions))
	s.mu.Unlock()
	var oldest *session
	var active time.Time
	for _, sess := range all {
		select {
		case <-sess.ready:
		default:
			continue
		}
		sess.mu.Lock()
		if sess.err == nil && !sess.ending && sess.requests == 0 && (oldest == nil || sess.active.Before(active)) {
			oldest, active = sess, sess.active
		}
		sess.mu.Unlock()
	}
	if oldest == nil {
		return false
	}
	if oldest.close(true) {
		s.stopProcess(oldest)
	}
	return true // or it was taken meanwhile: whoever asked looks again
}

// start runs the agent and waits until it is healthy.
func (s *Server) start(sess *session) {
	port, release, err := reservePort()
	if err == nil {
		defer release()
		err = s.launch(sess, port)
	}
	if err == nil {
		err = s.awaitHealthy(sess)
	}
	if err != nil {
		sess.err = &serviceError{"RuntimeClientError", "The agent runtime failed to start: " + err.Error()}
		s.mu.Lock()
		delete(s.sessions, sess.id)
		s.mu.Unlock()
		if sess.process != nil {
			sess.process.Stop(0)
		}
		close(sess.ready)
		return
	}
	sess.mu.Lock()
	sess.idle = time.AfterFunc(s.idleTimeout(), func() { s.checkIdle(sess, 0) })
	sess.lifetime = time.AfterFunc(s.maxLifetime(), func() { s.end(sess) })
	sess.mu.Unlock()
	close(sess.ready)
}

func (s *Server) idleTimeout() time.Duration {
	return time.Duration(cmp.Or(s.config.Record.Lifecycle.IdleSeconds, 900)) * time.Second
}

func (s *Server) maxLifetime() time.Duration {
	return time.Duration(cmp.Or(s.config.Record.Lifecycle.MaxSeconds, 28800)) * time.Second
}

func (s *Server) launch(sess *session, port int) error {
	variables, err := s.variables(port)
	if err != nil {
		return err
	}
	sess.url = "http://127.0.0.1:" + strconv.Itoa(port)
	sess.process, err = process.Start(process.Config{Path: s.config.Binary, Env: variables, Log: s.log})
	return err
}

// reservePort finds a free port that nobody else is given until release. A socket that is bound and does not listen keeps it:
// the system hands the port out to nobody, and who asks for it by number, as the agent does, may listen on it. Where that
// is not so (it is on Linux), the port is free, and not kept.
func reservePort() (port int, release func(), err error) {
	syscall.ForkLock.RLock()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return 0, nil, fmt.Errorf("reserve a port: %w", err)
	}
	release = sync.OnceFunc(func() { _ = syscall.Close(fd) })
	address := &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	var bound syscall.Sockaddr
	if err = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err == nil {
		err = syscall.Bind(fd, address)
	}
	if err == nil {
		bound, err = syscall.Getsockname(fd)
	}
	if err != nil {
		release()
		return 0, nil, fmt.Errorf("reserve a port: %w", err)
	}
	port = bound.(*syscall.SockaddrInet4).Port
	listener, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		release()
		return port, release, nil
	}
	return port, release, listener.Close()
}

func (s *Server) variables(port int) ([]string, error) {
	all := map[string]string{"PATH": "/usr/local/bin:/usr/bin:/bin"}
	maps.Copy(all, s.config.Record.Environment)
	maps.Copy(all, s.config.Env)
	all["PORT"] = strconv.Itoa(port)
	if s.config.Role != nil {
		cred, err := s.config.Role()
		if err != nil {
			return nil, fmt.Errorf("credentials of the role: %w", err)
		}
		all["AWS_ACCESS_KEY_ID"], all["AWS_SECRET_ACCESS_KEY"], all["AWS_SESSION_TOKEN"] = cred.AccessKeyID, cred.SecretAccessKey, cred.SessionToken
	}
	list := make([]string, 0, len(all))
	for name, value := range all {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return list, nil
}

func (s *Server) awaitHealthy(sess *session) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.config.StartTimeout)
	defer cancel()
	ticker := time.NewTicker(pingEvery)
	defer ticker.Stop()
	for {
		if _, err := s.ping(ctx, sess); err == nil {
			return nil
		}
		select {
		case <-ticker.C:
		case <-sess.process.Done():
			return errors.New("it ended: " + sess.process.ExitReason())
		case <-ctx.Done():
			return fmt.Errorf("/ping was not healthy within %s", s.config.StartTimeout)
		}
	}
}

// awaitEnd returns once it is known what became of an agent that a connection was lost to: it answers /ping, or its
// process has ended. Otherwise the session's next request would go to a process that is about to be gone.
func (s *Server) awaitEnd(sess *session) {
	ticker := time.NewTicker(pingEvery)
	defer ticker.Stop()
	for limit := time.After(stopGrace); ; {
		if _, err := s.ping(context.Background(), sess); err == nil {
			return
		}
		select {
		case <-ticker.C:
		case <-sess.process.Done():
			return
		case <-limit:
			return
		}
	}
}

// health is the answer of /ping.
type health struct {
	Status  string `json:"status"`              // Healthy or HealthyBusy
	Updated int64  `json:"time_of_last_update"` // Unix seconds; 0 if absent
}

func (s *Server) ping(ctx context.Context, sess *session) (health, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, sess.url+"/ping", nil)
	if err != nil {
		return health{}, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return health{}, err
	}
	defer resp.Body.Close()
	var h health
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&h); err != nil {
		return health{}, err
	}
	if resp.StatusCode != http.StatusOK || h.Status != "Healthy" && h.Status != "HealthyBusy" {
		return health{}, fmt.Errorf("/ping answered %s with status %q", resp.Status, h.Status)
	}
	return h, nil
}

// CheckIdle does what the idle timer does, as if passed more had gone by: it ends a session that has been idle for the
// idle timeout and does not say that it is busy, and otherwise winds the timer up again. It reports whether the session
// still runs.
func (s *Server) CheckIdle(id string, passed time.Duration) bool {
	sess := s.running(id)
	return sess != nil && s.checkIdle(sess, passed)
}

func (s *Server) checkIdle(sess *session, passed time.Duration) bool {
	h, err := s.ping(context.Background(), sess)
	sess.mu.Lock()
	last := sess.active
	if changed := time.Unix(h.Updated, 0); h.Updated > 0 && changed.After(last) {
		last = changed
	}
	left := s.idleTimeout() - time.Since(last) - passed
	if err == nil && h.Status == "HealthyBusy" {
		left = s.idleTimeout()
	}
	keep := err == nil && left > 0
	if keep {
		sess.idle.Reset(left)
	}
	sess.mu.Unlock()
	if !keep {
		s.end(sess)
	}
	return keep
}

func (s *Server) running(id string) *session {
	s.mu.Lock()
	sess := s.sessions[id]
	s.mu.Unlock()
	if sess == nil {
		return nil
	}
	<-sess.ready
	if sess.err != nil {
		return nil
	}
	return sess
}

// EndSession stops the session's agent and waits until it is gone; the id may be used again. It returns false if there
// is no such session, or if it is being ended already.
func (s *Server) EndSession(id string) bool {
	sess := s.running(id)
	return sess != nil && s.end(sess)
}

func (s *Server) end(sess *session) bool {
	if !sess.close(false) {
		return false
	}
	s.stopProcess(sess)
	return true
}

// close lets no further request in; it returns false if that is so already, or if there is a request and unused is wanted.
func (sess *session) close(unused bool) bool {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	if sess.ending || unused && sess.requests > 0 {
		return false
	}
	sess.ending = true
	sess.idle.Stop()
	sess.lifetime.Stop()
	return true
}

func (s *Server) stopProcess(sess *session) {
	sess.process.Stop(stopGrace)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions[sess.id] == sess {
		delete(s.sessions, sess.id)
	}
}

// Sessions returns the ids of the sessions that run or start now, sorted.
func (s *Server) Sessions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.sessions))
}
