package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// function is one Lambda execution environment: a bootstrap process and the Runtime API that it polls.
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
type function struct {
	process *exec.Cmd
	server  *http.Server
	started time.Time
	polled  chan time.Time // gets the time of the first poll, once
	exited  chan struct{}  // closed when the process has ended
	events  chan event
	timeout time.Duration // of the function: told with each event, not enforced; 0 means a minute

	watched atomic.Bool   // by an extension, which is told of invocations
	settled chan struct{} // gets a value when the extension asks for the next one
	told    chan string   // request ids, for the extension

	mu      sync.Mutex
	waiting map[string]chan outcome // by request id
	count   int
}

type event struct {
	id            string
	payload       []byte
	clientContext string
	sent          chan time.Time // gets the time when its first bytes went to the process
}

type outcome struct {
	payload []byte
	at      time.Time
	failed  bool
}

// answer is what a tool call led to.
type answer struct {
	payload      []byte
	began, ended time.Time // when the event's first bytes went to the process and when the answer's last ones came
}

func (a answer) elapsed() time.Duration { return a.ended.Sub(a.began) }

// startFunction starts command with env and returns at once; firstPoll tells when it is up. Its log lines are written
// and thrown away, so that their cost counts, or shown on log if that is not nil.
func startFunction(command, env []string, log io.Writer) (*function, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	f := &function{polled: make(chan time.Time, 1), exited: make(chan struct{}), events: make(chan event), settled: make(chan struct{}, 1), told: make(chan string, 1), waiting: map[string]chan outcome{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", f.next)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", f.finish(false))
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", f.finish(true))
	mux.HandleFunc("POST /2020-01-01/extension/register", func(w http.ResponseWriter, _ *http.Request) {
		f.watched.Store(true)
		w.Header().Set("Lambda-Extension-Identifier", "extension-1")
	})
	mux.HandleFunc("GET /2020-01-01/extension/event/next", f.nextOfExtension)
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", func(_ http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body) // what could not be read is missing from a message that is only shown
		fmt.Fprintf(os.Stderr, "init error: %s\n", text)
	})
	f.server = &http.Server{Handler: mux, ConnContext: withWire}
	go func() { _ = f.server.Serve(wired{listener}) }() // ends with Close

	f.process = exec.Command(command[0], command[1:]...)
	f.process.Env = append([]string{
		"AWS_LAMBDA_RUNTIME_API=" + listener.Addr().String(),
		"AWS_LAMBDA_FUNCTION_NAME=bench", "AWS_LAMBDA_FUNCTION_VERSION=$LATEST", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=256",
		"_HANDLER=bootstrap", "AWS_REGION=" + region, "AWS_DEFAULT_REGION=" + region, "AWS_EC2_METADATA_DISABLED=true",
	}, env...)
	f.process.Stdout, f.process.Stderr = log, log // nil is the null device
	f.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	f.started = time.Now()
	if err := f.process.Start(); err != nil {
		return nil, errors.Join(err, f.server.Close())
	}
	go func() {
		_ = f.process.Wait() // its state says the rest
		close(f.exited)
	}()
	return f, nil
}

func (f *function) next(w http.ResponseWriter, r *http.Request) {
	select {
	case f.polled <- time.Now():
	default:
	}
	if f.watched.Load() { // Lambda hands the process no invocation before its extension has come as well
		select {
		case <-f.settled:
		case <-r.Context().Done():
			return
		}
	}
	select {
	case <-r.Context().Done():
	case e := <-f.events:
		if f.watched.Load() {
			f.told <- e.id
		}
		header := w.Header()
		header.Set("Lambda-Runtime-Aws-Request-Id", e.id)
		header.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(time.Now().Add(cmp.Or(f.timeout, time.Minute)).UnixMilli(), 10))
		header.Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:"+region+":"+centralAccount+":function:bench")
		header.Set("Lambda-Runtime-Client-Context", e.clientContext)
		header.Set("Content-Type", "application/json")
		wireOf(r).next(func(began, _ time.Time) { e.sent <- began })
		_, _ = w.Write(e.payload) // a process that went away is noticed by invoke's deadline
	}
}

// nextOfExtension tells the extension of the next invocation.
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html
func (f *function) nextOfExtension(w http.ResponseWriter, r *http.Request) {
	f.settled <- struct{}{}
	select {
	case <-r.Context().Done():
	case id := <-f.told:
		fmt.Fprintf(w, `{"eventType":"INVOKE","requestId":%q}`, id)
	}
}

func (f *function) finish(failed bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		payload, err := io.ReadAll(r.Body)
		_, at := wireOf(r).came()
		f.mu.Lock()
		done := f.waiting[r.PathValue("id")]
		delete(f.waiting, r.PathValue("id"))
		f.mu.Unlock()
		w.WriteHeader(http.StatusAccepted)
		if done != nil {
			done <- outcome{payload: payload, at: at, failed: failed || err != nil}
		}
	}
}

// errExited says where the reason is.
var errExited = errors.New("the process has ended: its log says why (-log shows it)")

// firstPoll waits for the process to ask for its first event and returns how long that took from its start.
func (f *function) firstPoll(ctx context.Context) (time.Duration, error) {
	select {
	case at := <-f.polled:
		return at.Sub(f.started), nil
	case <-f.exited:
		return 0, errExited
	case <-ctx.Done():
		return 0, fmt.Errorf("no poll from the function: %w", ctx.Err())
	}
}

// invoke sends one tool call, with the person's token where the Gateway would put it, and waits for the answer.
func (f *function) invoke(ctx context.Context, tool, token string, arguments any) (answer, error) {
	payload, err := json.Marshal(arguments)
	if err != nil {
		return answer{}, err
	}
	clientContext, err := json.Marshal(map[string]any{"custom": map[string]any{
		"bedrockAgentCoreMessageVersion":    "1.0",
		"bedrockAgentCoreToolName":          "bridge___" + tool,
		"bedrockAgentCorePropagatedHeaders": map[string]string{"X-Amzn-Bedrock-AgentCore-Runtime-Custom-User-Token": token},
	}})
	if err != nil {
		return answer{}, err
	}
	if size := base64.StdEncoding.EncodedLen(len(clientContext)); size > 3583 {
		return answer{}, fmt.Errorf("client context of %d bytes: Lambda takes 3583", size)
	}
	done := make(chan outcome, 1)
	f.mu.Lock()
	f.count++
	id := "request-" + strconv.Itoa(f.count)
	f.waiting[id] = done
	f.mu.Unlock()

	e := event{id: id, payload: payload, clientContext: string(clientContext), sent: make(chan time.Time, 1)}
	select {
	case f.events <- e:
	case <-f.exited:
		return answer{}, errExited
	case <-ctx.Done():
		return answer{}, fmt.Errorf("the function does not poll: %w", ctx.Err())
	}
	var a answer
	select {
	case o := <-done:
		a.began = <-e.sent
		if o.failed || !bytes.HasPrefix(o.payload, []byte("{")) {
			return answer{}, fmt.Errorf("the function failed: %s", o.payload)
		}
		a.payload, a.ended = o.payload, o.at
		return a, nil
	case <-f.exited:
		return answer{}, errExited
	case <-ctx.Done():
		return answer{}, fmt.Errorf("no answer from the function: %w", ctx.Err())
	}
}

// peakMemory returns the largest resident set the process has had, in bytes.
func (f *function) peakMemory() (int64, error) { return statusBytes(f.process.Process.Pid, "VmHWM") }

// ask sends one query and holds its coverage to want answered targets.
func (f *function) ask(ctx context.Context, token string, want int, arguments map[string]any) (answer, error) {
	a, err := f.invoke(ctx, "query", token, arguments)
	if err != nil {
		return a, err
	}
	var got struct {
		OK       bool
		Coverage struct{ Targets, Answered int }
	}
	if err := json.Unmarshal(a.payload, &got); err != nil {
		return a, err
	}
	if !got.OK || got.Coverage.Answered != want || got.Coverage.Targets != want {
		return a, fmt.Errorf("want %d targets answered, got %.600s", want, a.payload)
	}
	return a, nil
}

// processorTime returns what the process has used so far, to a hundredth of a second.
func (f *function) processorTime() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", f.process.Process.Pid))
	if err != nil {
		return 0, err
	}
	// The fields after the command's name, which ends at the last parenthesis: utime and stime are 14 and 15 of all,
	// in ticks of 10 ms (https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html).
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat is not understood", f.process.Process.Pid)
	}
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// statusBytes reads a size from Linux's /proc/<pid>/status.
func statusBytes(pid int, field string) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			kilobytes, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kilobytes << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/%d/status has no %s", pid, field)
}

// stop kills the process and its children and waits for it.
func (f *function) stop() {
	_ = syscall.Kill(-f.process.Process.Pid, syscall.SIGKILL) // it may have ended by itself
	<-f.exited
	_ = f.server.Close()
}
