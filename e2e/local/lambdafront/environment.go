package lambdafront

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/central-ops/central-ops/e2e/local/internal/loopback"
	"github.com/central-ops/central-ops/e2e/local/internal/process"
)

// initTimeout is how long an environment may take from its start to its first call of next.
const initTimeout = 10 * time.Second

// termGrace is what an environment with an extension gets between SIGTERM and SIGKILL; one without is killed at once.
// https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
const termGrace = 500 * time.Millisecond

var errThrottled = errors.New("concurrency used up")

// event is one call on its way through an environment.
type event struct {
	id            string
	payload       []byte
	clientContext string // JSON; "" when there is none
	traceID       string
	deadline      time.Time // set when the event is handed over
	outcome       chan outcome
}

// outcome is what came of it. payload is JSON.
type outcome struct {
	payload []byte
	failed  bool
}

// failure is an outcome in the service's own words.
func failure(kind, format string, args ...any) outcome {
	payload, err := json.Marshal(map[string]string{"errorType": kind, "errorMessage": fmt.Sprintf(format, args...)})
	if err != nil {
		panic(err) // two strings
	}
	return outcome{payload, true}
}

// function is a deployed Function and its environments.
type function struct {
	Function
	arn    string
	region string
	log    *process.Log

	mu      sync.Mutex
	live    map[*environment]bool
	idle    []*environment // the one used last is used first
	started int
	retired bool
}

func newFunction(f Function, arn, region string) *function {
	return &function{
		Function: f, arn: arn, region: region,
		log:  process.NewLog(f.Log),
		live: make(map[*environment]bool),
	}
}

// run passes the event to an idle environment, or to a new one. The error is errThrottled, or the platform's own fault.
func (f *function) run(e *event) (outcome, error) {
	env, err := f.acquire()
	if err != nil {
		return outcome{}, err
	}
	if env.process == nil {
		if err := env.start(); err != nil {
			f.drop(env)
			return outcome{}, err
		}
		if out, ok := env.awaitInit(e); !ok {
			f.drop(env)
			return out, nil
		}
	}
	out, reusable := env.handle(e)
	switch {
	case !reusable:
		f.drop(env)
	case env.watched():
		go func() { // the answer does not wait for it
			if env.settle(e.deadline) {
				f.release(env)
			} else {
				f.drop(env)
			}
		}()
	default:
		f.release(env)
	}
	return out, nil
}

func (f *function) acquire() (*environment, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.retired || len(f.live)-len(f.idle) >= f.Concurrency {
		return nil, errThrottled
	}
	for len(f.idle) > 0 {
		env := f.idle[len(f.idle)-1]
		f.idle = f.idle[:len(f.idle)-1]
		if env.process.Alive() {
			env.process.Thaw()
			return env, nil
		}
		delete(f.live, env)
		go env.end()
	}
	env := newEnvironment(f)
	f.live[env] = true
	f.started++
	return env, nil
}

func (f *function) release(env *environment) {
	f.mu.Lock()
	if !f.retired {
		if f.Freeze {
			env.process.Freeze()
		}
		f.idle = append(f.idle, env)
		f.mu.Unlock()
		return
	}
	f.mu.Unlock()
	f.drop(env)
}

func (f *function) drop(env *environment) {
	env.end()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.live, env)
}

func (f *function) freezeIdle() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, env := range f.idle {
		env.process.Freeze()
	}
}

func (f *function) retireIdle() {
	f.mu.Lock()
	idle := f.idle
	f.idle = nil
	for _, env := range idle {
		delete(f.live, env)
	}
	f.mu.Unlock()
	endAll(idle)
}

// retire ends every environment, busy or not, and lets no new one start.
func (f *function) retire() {
	f.mu.Lock()
	f.retired = true
	live := slices.Collect(maps.Keys(f.live))
	clear(f.live)
	f.idle = nil
	f.mu.Unlock()
	endAll(live)
}

func endAll(envs []*environment) {
	var wg sync.WaitGroup
	for _, env := range envs {
		wg.Go(env.end)
	}
	wg.Wait()
}

// environment is one execution environment: a process and the Runtime API that only it talks to.
//
//	GET  /2018-06-01/runtime/invocation/next            waits for an event
//	POST /2018-06-01/runtime/invocation/{id}/response   202
//	POST /2018-06-01/runtime/invocation/{id}/error      202
//	POST /2018-06-01/runtime/init/error                 202
//	POST /2020-01-01/extension/register                 200, Lambda-Extension-Identifier
//	GET  /2020-01-01/extension/event/next               waits for an INVOKE event, if registered for those, else for ever
//
// The invoker gets the answer when the runtime has given it and come for the next event. An extension that is told of invocations may still work then: the
// environment gets the next event, or is frozen, only when both the runtime and the extension have asked for one.
//
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html
type environment struct {
	function *function
	name     string // of the log stream

	life    sync.Mutex // held by start and end; guards ended
	api     *loopback.Server
	process *process.Process // nil until start
	waiting chan struct{}    // gets a value when the runtime has come for the next event
	events  chan *event
	settled chan struct{} // gets a value when the extension that watches has come for the next event
	invokes chan *event   // for that extension
	ended   bool          // by end

	mu        sync.Mutex
	current   *event
	initError []byte
	extension bool   // some is registered
	watcher   string // id of the extension that is told of invocations
}

func newEnvironment(f *function) *environment {
	return &environment{
		function: f,
		name:     strings.ReplaceAll(newRequestID(), "-", ""),
		waiting:  make(chan struct{}, 1),
		events:   make(chan *event),
		settled:  make(chan struct{}, 1),
		invokes:  make(chan *event, 1),
	}
}

func (env *environment) start() error {
	env.life.Lock()
	defer env.life.Unlock()
	if env.ended {
		return errors.New("the function is being taken down")
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", env.serveNext)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", env.serveResponse)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", env.serveError)
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", env.serveInitError)
	mux.HandleFunc("POST /2020-01-01/extension/register", env.serveRegister)
	mux.HandleFunc("GET /2020-01-01/extension/event/next", env.serveExtensionNext)
	api, err := loopback.Serve(mux)
	if err != nil {
		return err
	}
	env.api = api
	variables, err := env.variables()
	if err != nil {
		return err
	}
	p, err := process.Start(process.Config{Path: env.function.Bootstrap, Env: variables, Log: env.function.log})
	if err != nil {
		return err
	}
	env.process = p
	return nil
}

// variables are those that Lambda sets, over those that the function configures.
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
func (env *environment) variables() ([]string, error) {
	f := env.function
	all := map[string]string{"LANG": "en_US.UTF-8", "TZ": ":UTC", "PATH": "/usr/local/bin:/usr/bin:/bin"}
	maps.Copy(all, f.Env)
	maps.Copy(all, map[string]string{
		"_HANDLER":                        "bootstrap",
		"AWS_DEFAULT_REGION":              f.region,
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": strconv.Itoa(f.MemoryMB),
		"AWS_LAMBDA_FUNCTION_NAME":        f.Name,
		"AWS_LAMBDA_FUNCTION_VERSION":     "$LATEST",
		"AWS_LAMBDA_INITIALIZATION_TYPE":  "on-demand",
		"AWS_LAMBDA_LOG_GROUP_NAME":       "/aws/lambda/" + f.Name,
		"AWS_LAMBDA_LOG_STREAM_NAME":      "[$LATEST]" + env.name,
		"AWS_LAMBDA_RUNTIME_API":          strings.TrimPrefix(env.api.URL, "http://"),
		"AWS_REGION":                      f.region,
		"LAMBDA_RUNTIME_DIR":              "/var/runtime",
		"LAMBDA_TASK_ROOT":                filepath.Dir(f.Bootstrap),
	})
	if f.Role != nil {
		cred, err := f.Role()
		if err != nil {
			return nil, fmt.Errorf("function %s: credentials of its role: %w", f.Name, err)
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

// awaitInit waits until the runtime asks for its first event. If it does not come to that, the outcome says why.
func (env *environment) awaitInit(e *event) (outcome, bool) {
	timer := time.NewTimer(initTimeout)
	defer timer.Stop()
	select {
	case <-env.waiting:
		if env.watched() && !env.settle(time.Now().Add(initTimeout)) {
			return failure("Sandbox.Timedout", "RequestId: %s Error: an extension did not ask for its first event", e.id), false
		}
		return outcome{}, true
	case <-env.process.Done():
		env.mu.Lock()
		defer env.mu.Unlock()
		if env.initError != nil {
			return outcome{env.initError, true}, false
		}
		return env.crashed(e), false
	case <-timer.C:
		return failure("Sandbox.Timedout", "RequestId: %s Error: Task timed out after %.2f seconds", e.id, initTimeout.Seconds()), false
	}
}

// handle hands the event over and waits for its outcome and for the runtime to come back. An environment that was
// killed or crashed on the way is not reusable.
func (env *environment) handle(e *event) (out outcome, reusable bool) {
	f := env.function
	began := time.Now()
	e.deadline = began.Add(f.Timeout)
	env.mu.Lock()
	env.current = e
	env.mu.Unlock()
	f.log.Printf("START RequestId: %s Version: $LATEST", e.id)
	defer func() {
		f.log.Printf("END RequestId: %s", e.id)
		f.log.Printf("REPORT RequestId: %s\tDuration: %.2f ms\tMemory Size: %d MB", e.id, float64(time.Since(began).Microseconds())/1000, f.MemoryMB)
	}()
	timer := time.NewTimer(f.Timeout)
	defer timer.Stop()
	select {
	case env.events <- e:
	case <-env.process.Done():
		return env.crashed(e), false
	}
	if env.watched() {
		env.invokes <- e // there is room: the extension has taken the one before
	}
	select {
	case <-env.waiting:
		out, reusable = failure("Runtime.InvalidNext", "RequestId: %s Error: the runtime asked for the next event before it answered this one", e.id), true
	case <-env.process.Done():
		out = env.crashed(e)
	case <-timer.C:
		out = failure("Sandbox.Timedout", "RequestId: %s Error: Task timed out after %.2f seconds", e.id, f.Timeout.Seconds())
	}
	env.mu.Lock()
	defer env.mu.Unlock()
	env.current = nil // a late answer is refused
	select {
	case answered := <-e.outcome: // also from a process that ended after its answer, as a panicking one does
		return answered, reusable
	default:
		return out, false
	}
}

// watched tells whether an extension is told of invocations.
func (env *environment) watched() bool {
	env.mu.Lock()
	defer env.mu.Unlock()
	return env.watcher != ""
}

// settle waits until the extension that watches asks for its next event. It returns false if that does not come by the deadline, which
// ends the environment.
func (env *environment) settle(deadline time.Time) bool {
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-env.settled:
		return true
	case <-env.process.Done():
	case <-timer.C:
	}
	return false
}

// crashed is the outcome when the process ended.
func (env *environment) crashed(e *event) outcome {
	return failure("Runtime.ExitError", "RequestId: %s Error: Runtime exited with error: %s", e.id, env.process.ExitReason())
}

// end stops the process and the listener. It may be called more than once.
func (env *environment) end() {
	env.life.Lock()
	defer env.life.Unlock()
	if env.ended {
		return
	}
	env.ended = true
	if env.process != nil {
		env.process.Stop(env.grace())
	}
	if env.api != nil {
		_ = env.api.Close() // nobody is left to talk to it
	}
}

func (env *environment) grace() time.Duration {
	env.mu.Lock()
	defer env.mu.Unlock()
	if env.extension {
		return termGrace
	}
	return 0
}

func (env *environment) serveNext(w http.ResponseWriter, r *http.Request) {
	select {
	case env.waiting <- struct{}{}:
	default: // a runtime that asks twice at once
	}
	select {
	case e := <-env.events:
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Lambda-Runtime-Aws-Request-Id", e.id)
		h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(e.deadline.UnixMilli(), 10))
		h.Set("Lambda-Runtime-Invoked-Function-Arn", env.function.arn)
		h.Set("Lambda-Runtime-Trace-Id", e.traceID)
		if e.clientContext != "" {
			h.Set("Lambda-Runtime-Client-Context", e.clientContext)
		}
		_, _ = w.Write(e.payload) // the process may be gone, which handle sees
	case <-r.Context().Done():
	}
}

func (env *environment) serveResponse(w http.ResponseWriter, r *http.Request) {
	payload, err := io.ReadAll(io.LimitReader(r.Body, MaxResponseBytes+1))
	if err != nil {
		runtimeError(w, http.StatusBadRequest, "RequestBodyUnreadable", err.Error())
		return
	}
	if len(payload) > MaxResponseBytes {
		size := cmp.Or(r.ContentLength, int64(len(payload)))
		out := failure("Function.ResponseSizeTooLarge", "Response payload size (%d bytes) exceeded maximum allowed payload size (%d bytes).", max(size, int64(len(payload))), MaxResponseBytes)
		if env.answer(w, r, out) {
			runtimeError(w, http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "Exceeded maximum allowed payload size.")
		}
		return
	}
	if env.answer(w, r, outcome{payload, false}) {
		accepted(w)
	}
}

func (env *environment) serveError(w http.ResponseWriter, r *http.Request) {
	payload, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxResponseBytes))
	if err != nil {
		runtimeError(w, http.StatusBadRequest, "RequestBodyUnreadable", err.Error())
		return
	}
	if env.answer(w, r, outcome{payload, true}) {
		accepted(w)
	}
}

// answer settles the event in flight. If the request names another one it is refused, and answer returns false.
func (env *environment) answer(w http.ResponseWriter, r *http.Request, out outcome) bool {
	env.mu.Lock()
	defer env.mu.Unlock()
	if env.current == nil || env.current.id != r.PathValue("id") {
		runtimeError(w, http.StatusBadRequest, "InvalidRequestID", "Invalid request ID")
		return false
	}
	env.current.outcome <- out
	env.current = nil
	return true
}

func (env *environment) serveInitError(w http.ResponseWriter, r *http.Request) {
	payload, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxResponseBytes))
	if err != nil {
		runtimeError(w, http.StatusBadRequest, "RequestBodyUnreadable", err.Error())
		return
	}
	env.mu.Lock()
	env.initError = payload
	env.mu.Unlock()
	accepted(w)
}

func (env *environment) serveRegister(w http.ResponseWriter, r *http.Request) {
	var registration struct {
		Events []string `json:"events"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&registration); err != nil {
		runtimeError(w, http.StatusBadRequest, "InvalidRequestFormat", err.Error())
		return
	}
	watches := len(registration.Events) > 0
	if r.Header.Get("Lambda-Extension-Name") == "" || watches && !slices.Equal(registration.Events, []string{"INVOKE"}) {
		runtimeError(w, http.StatusForbidden, "Extension.InvalidRegistration", "an extension within the process needs a name, and has INVOKE events or none")
		return
	}
	id := newRequestID()
	env.mu.Lock()
	defer env.mu.Unlock()
	if watches && env.watcher != "" {
		runtimeError(w, http.StatusForbidden, "Extension.InvalidRegistration", "only one extension that watches is served here")
		return
	}
	env.extension = true
	if watches {
		env.watcher = id
	}
	w.Header().Set("Lambda-Extension-Identifier", id)
	reply(w, http.StatusOK, map[string]string{"functionName": env.function.Name, "functionVersion": "$LATEST", "handler": "bootstrap"})
}

func (env *environment) serveExtensionNext(w http.ResponseWriter, r *http.Request) {
	env.mu.Lock()
	watches := env.watcher != "" && r.Header.Get("Lambda-Extension-Identifier") == env.watcher
	env.mu.Unlock()
	if !watches {
		<-r.Context().Done()
		return
	}
	select {
	case env.settled <- struct{}{}:
	default: // an extension that asks twice at once
	}
	select {
	case e := <-env.invokes:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{ // the process may be gone
			"eventType": "INVOKE", "requestId": e.id, "deadlineMs": e.deadline.UnixMilli(), "invokedFunctionArn": env.function.arn,
		})
	case <-r.Context().Done():
	}
}

func accepted(w http.ResponseWriter) {
	reply(w, http.StatusAccepted, map[string]string{"status": "OK"})
}

func runtimeError(w http.ResponseWriter, status int, kind, message string) {
	reply(w, status, map[string]string{"errorType": kind, "errorMessage": message})
}

func reply(w http.ResponseWriter, status int, body map[string]string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the process may be gone
}
