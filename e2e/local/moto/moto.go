// Package moto runs the moto server, which emulates most of AWS's control planes, for the local platform.
//
// One server holds one backend per account. The account of a request is, in this order, the header
// x-moto-account-id, the account that an access key was made in, and Config.DefaultAccount.
// moto checks neither signatures nor permissions: the stand-ins in front of it do. Its data is gone when it stops.
package moto

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

//go:embed serve.py
var program string

// Config says how to run moto. Python is required.
type Config struct {
	Python string // interpreter that has the packages of requirements.txt

	DefaultAccount string        // account of requests that name none; "" means 111111111111
	Region         string        // AWS_DEFAULT_REGION of the process; "" means us-east-1
	ReadyTimeout   time.Duration // 0 means 2 min: the first start compiles every Python file
	Log            io.Writer     // the process's standard error; nil drops it

	// LoadManagedPolicies makes AWS's managed policies (SecurityAudit ...) known to IAM. It costs about a second
	// and some memory for every account that is touched.
	LoadManagedPolicies bool
}

// Server is a running moto.
type Server struct {
	URL string // http://127.0.0.1:<port>, no trailing slash
	PID int

	stdin io.Closer
	cmd   *exec.Cmd
	once  sync.Once
	done  chan struct{} // closed when the process has been waited for
	err   error         // of the process; valid after done
}

// Start starts moto and returns when it answers. The server lives until Close, not until ctx ends.
func Start(ctx context.Context, c Config) (*Server, error) {
	if c.Python == "" {
		return nil, errors.New("start moto: invalid: no Python interpreter given")
	}
	ctx, cancel := context.WithTimeout(ctx, orDefault(c.ReadyTimeout, 2*time.Minute))
	defer cancel()

	cmd := exec.Command(c.Python, "-I", "-c", program)
	cmd.Env = environ(c)
	cmd.Stderr = c.Log
	// A group of its own, so that Close ends whatever moto started and Ctrl-C at a terminal does not race with Close.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start moto: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start moto: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start moto: %s: %w\n  try: rm -rf .venv; make python", c.Python, err)
	}
	s := &Server{PID: cmd.Process.Pid, stdin: stdin, cmd: cmd, done: make(chan struct{})}
	port := make(chan int, 1)
	go func() {
		// Wait only after standard output was read to its end: os/exec closes the pipe in Wait.
		reader := bufio.NewReader(stdout)
		line, _ := reader.ReadBytes('\n')
		var hello struct{ Port int }
		if json.Unmarshal(line, &hello) == nil && hello.Port > 0 {
			port <- hello.Port
		}
		_, _ = io.Copy(io.Discard, reader)
		s.err = cmd.Wait()
		close(s.done)
	}()
	select {
	case p := <-port:
		s.URL = fmt.Sprintf("http://127.0.0.1:%d", p)
	case <-s.done:
		return nil, fmt.Errorf("start moto: %s: ended before it was ready: %v\n  try: rm -rf .venv; make python", c.Python, s.err)
	case <-ctx.Done():
		s.Close()
		return nil, fmt.Errorf("start moto: %s: timeout: not ready: %w", c.Python, ctx.Err())
	}
	if err := s.ping(ctx); err != nil {
		s.Close()
		return nil, fmt.Errorf("start moto: %s: %w", s.URL, err)
	}
	return s, nil
}

// ping asks moto's own API once: the port is bound before the answer to it can be given.
func (s *Server) ping(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/moto-api/data.json", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("unavailable: HTTP status %s", resp.Status)
	}
	return nil
}

// Close ends the process and its group and waits for it. It may be called many times, also after moto ended by itself.
func (s *Server) Close() {
	s.once.Do(func() {
		_ = s.stdin.Close()
		// The group's id is the pid, which stays taken until Wait returns; the emulator has nothing to save.
		_ = syscall.Kill(-s.PID, syscall.SIGKILL)
	})
	<-s.done
}

// Done is closed when the process has ended, by Close or by itself.
func (s *Server) Done() <-chan struct{} { return s.done }

// environ is the whole environment of the process: nothing of the developer's own AWS settings gets in.
func environ(c Config) []string {
	env := []string{
		"DEFAULT_ACCOUNT_ID=" + orDefault(c.DefaultAccount, "111111111111"),
		"AWS_DEFAULT_REGION=" + orDefault(c.Region, "us-east-1"),
		"AWS_ACCESS_KEY_ID=moto", "AWS_SECRET_ACCESS_KEY=moto",
		"AWS_EC2_METADATA_DISABLED=true",
		// The thousands of public images would double the time in which sample accounts are made; nothing needs them.
		"MOTO_EC2_LOAD_DEFAULT_AMIS=false",
		"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null",
		"PATH=/usr/bin:/bin", "NO_PROXY=*",
	}
	if c.LoadManagedPolicies {
		env = append(env, "MOTO_IAM_LOAD_MANAGED_POLICIES=true")
	}
	return env
}

func orDefault[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}
