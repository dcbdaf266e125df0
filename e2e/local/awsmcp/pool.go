package awsmcp

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"syscall"
)

//go:embed worker.py
var workerProgram string

// defaultWorkers is how many Python processes there are at most: one to run and one in reserve on two cores.
const defaultWorkers = 2

var errClosed = errors.New("the AWS MCP Server is closed")

// pool keeps Python processes warm. They are started when first needed; one that died or ran out of time is
// replaced by a new one at the next script.
type pool struct {
	python, endpoint string

	slots chan *worker // as many entries as there may be processes; nil stands for one that is not started
	ctx   context.Context
	stop  context.CancelFunc
}

func newPool(python, endpoint string, size int) *pool {
	if size <= 0 {
		size = defaultWorkers
	}
	p := &pool{python: python, endpoint: endpoint, slots: make(chan *worker, size)}
	p.ctx, p.stop = context.WithCancel(context.Background())
	for range size {
		p.slots <- nil
	}
	return p
}

// run waits for a free process and runs the script in it.
func (p *pool) run(ctx context.Context, s script) (scriptResult, error) {
	var w *worker
	select {
	case w = <-p.slots:
	case <-ctx.Done():
		return scriptResult{}, fmt.Errorf("wait for a sandbox: %w", ctx.Err())
	case <-p.ctx.Done():
		return scriptResult{}, errClosed
	}
	defer func() { p.slots <- w }()
	if w != nil && w.hasEnded() { // killed from outside while nothing ran in it
		w.kill()
		w = nil
	}
	if w == nil {
		started, err := startWorker(p.python, p.endpoint)
		if err != nil {
			return scriptResult{}, err
		}
		w = started
	}
	result, err := w.run(ctx, s)
	if err != nil {
		w.kill()
		w = nil
	}
	return result, err
}

// close ends all processes; scripts must have ended before.
func (p *pool) close() {
	p.stop()
	for range cap(p.slots) {
		if w := <-p.slots; w != nil {
			w.kill()
		}
		p.slots <- nil
	}
}

// worker is one Python process; it runs one script at a time.
type worker struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan []byte   // closed when the process's output ends
	ended chan struct{} // closed when the process has ended
	end   func()
}

func startWorker(python, endpoint string) (*worker, error) {
	cmd := exec.Command(python, "-I", "-c", workerProgram)
	cmd.Env = []string{
		"ENDPOINT=" + endpoint, "PATH=/usr/bin:/bin", "AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "NO_PROXY=*",
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start sandbox: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start sandbox: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start sandbox: %s: %w", python, err)
	}
	w := &worker{cmd: cmd, stdin: stdin, lines: make(chan []byte), ended: make(chan struct{})}
	stop := make(chan struct{})
	w.end = sync.OnceFunc(func() {
		close(stop)
		_ = stdin.Close()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-w.ended
	})
	go func() {
		defer close(w.ended)
		defer close(w.lines)
		reader := bufio.NewReaderSize(stdout, 1<<20)
		for {
			line, err := reader.ReadBytes('\n')
			if err != nil {
				break
			}
			select {
			case w.lines <- line:
			case <-stop:
			}
		}
		_ = cmd.Wait() // how it ended does not matter: it is replaced
	}()
	return w, nil
}

func (w *worker) hasEnded() bool {
	select {
	case <-w.ended:
		return true
	default:
		return false
	}
}

// kill ends the process and waits for it.
func (w *worker) kill() { w.end() }

// fromWorker is a line that a worker writes.
type fromWorker struct {
	Type      string         `json:"type"`
	ID        int            `json:"id"`
	Service   string         `json:"service"`
	Operation string         `json:"operation"`
	Region    string         `json:"region"`
	Params    map[string]any `json:"params"`
	Result    workerResult   `json:"result"`
}

type workerResult struct {
	scriptResult
	APICalls []workerCall `json:"api_calls"`
}

type workerCall struct {
	apiCall
	Region    string `json:"region"`
	RequestID string `json:"request_id"`
	ErrorCode string `json:"error_code"`
}

// run runs one script. After an error the process is in an unknown state and must be killed.
func (w *worker) run(ctx context.Context, s script) (scriptResult, error) {
	if err := w.send(map[string]any{
		"type": "run", "code": s.code, "region": s.region,
		"access_key": s.caller.AccessKeyID, "secret_key": s.caller.SecretAccessKey, "token": s.caller.SessionToken,
	}); err != nil {
		return scriptResult{}, err
	}
	for {
		select {
		case <-ctx.Done():
			return scriptResult{}, errors.New("TimeoutError: script execution timed out")
		case line, ok := <-w.lines:
			if !ok {
				return scriptResult{}, errors.New("the sandbox ended unexpectedly")
			}
			var m fromWorker
			if err := json.Unmarshal(line, &m); err != nil {
				return scriptResult{}, fmt.Errorf("read from sandbox: %w", err)
			}
			switch m.Type {
			case "done":
				return m.Result.plain(), nil
			case "authorize":
				if err := w.send(decision(m.ID, s.authorize(m.Service, m.Operation, m.Region, m.Params))); err != nil {
					return scriptResult{}, err
				}
			}
		}
	}
}

func decision(id int, err error) map[string]any {
	d := map[string]any{"type": "decision", "id": id, "allowed": err == nil}
	if refused, ok := errors.AsType[*apiError](err); ok {
		d["code"], d["message"] = refused.Code, refused.Message
	} else if err != nil {
		d["code"], d["message"] = "InternalFailure", err.Error()
	}
	return d
}

func (w *worker) send(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write to sandbox: %w", err)
	}
	if _, err := w.stdin.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write to sandbox: %w", err)
	}
	return nil
}

// plain moves what only the trail may see out of the JSON.
func (r workerResult) plain() scriptResult {
	out := r.scriptResult
	out.APICalls = make([]apiCall, len(r.APICalls))
	for i, c := range r.APICalls {
		c.region, c.requestID, c.errorCode, c.readOnly = c.Region, c.RequestID, c.ErrorCode, readOnly(c.Operation)
		out.APICalls[i] = c.apiCall
	}
	return out
}
