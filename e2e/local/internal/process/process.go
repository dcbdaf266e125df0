// Package process runs the product's binaries as the local platform's Lambda and Runtime would: with nothing of
// this process's environment, in a process group of their own, and stoppable, freezable and waited for by id.
package process

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Config says what to run.
type Config struct {
	Path string    // of the binary
	Env  []string  // the whole environment, KEY=value
	Log  io.Writer // stdout and stderr; must be safe for concurrent use; nil discards
}

// Process is a running binary. All methods may be called concurrently and after it ended.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // why it ended; to be read after done is closed
}

// Start runs the binary in its own directory.
func Start(config Config) (*Process, error) {
	path, err := filepath.Abs(config.Path)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path)
	cmd.Dir = filepath.Dir(path)
	cmd.Env = config.Env
	if cmd.Env == nil {
		cmd.Env = []string{} // nil would mean to inherit
	}
	cmd.Stdout, cmd.Stderr = config.Log, config.Log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second // a grandchild may keep the pipes open
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	p := &Process{cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Alive tells whether the process has not ended yet.
func (p *Process) Alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// ExitReason waits for the end and returns "exit status 1", "signal: killed" and the like; "exit status 0" is a clean end.
func (p *Process) ExitReason() string {
	<-p.done
	if exit := (*exec.ExitError)(nil); p.err != nil && !errors.As(p.err, &exit) {
		return p.err.Error()
	}
	return p.cmd.ProcessState.String()
}

// Freeze suspends the process and its children until Thaw. It is as if their time stood still.
func (p *Process) Freeze() { p.signal(syscall.SIGSTOP) }

// Thaw ends a Freeze. It does nothing to a process that is not frozen.
func (p *Process) Thaw() { p.signal(syscall.SIGCONT) }

// Stop asks the process to end, kills it if it has not after grace, and returns when it is gone.
// Without grace it is killed at once.
func (p *Process) Stop(grace time.Duration) {
	if grace > 0 {
		p.signal(syscall.SIGTERM)
		p.signal(syscall.SIGCONT)
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-p.done:
			return
		case <-timer.C:
		}
	}
	p.signal(syscall.SIGKILL)
	<-p.done
}

// signal reaches the whole group. Once the process was waited for, its number may be someone else's.
func (p *Process) signal(sig syscall.Signal) {
	if p.Alive() {
		_ = syscall.Kill(-p.cmd.Process.Pid, sig) // it may have ended just now
	}
}
