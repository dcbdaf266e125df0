// Package extension does work after the answer to an invocation and before Lambda freezes the process.
//
// A process may be an internal extension of its own function. Lambda then tells it of each invocation besides handing that
// to the runtime. The caller gets the runtime's answer at once; the process is frozen, or gets the next invocation,
// only when the extension has asked for its next event as well.
//
//	POST /2020-01-01/extension/register    Lambda-Extension-Name: <name>      {"events":["INVOKE"]}
//	                                       200, Lambda-Extension-Identifier: <id>
//	GET  /2020-01-01/extension/event/next  Lambda-Extension-Identifier: <id>
//	                                       200, {"eventType":"INVOKE","requestId":"<the invocation's>",…}
//
// Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html.
package extension

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
)

const (
	name       = "central-ops-bridge"
	identifier = "Lambda-Extension-Identifier"
)

// Extension is a registered extension. Its methods are safe for concurrent use.
type Extension struct {
	http    *http.Client
	api, id string
	more    chan struct{} // gets a value when answered has grown

	mu       sync.Mutex
	answered map[string]bool // ids of invocations whose answer is on its way and whose event has not come
	ended    bool
}

// maxAnswered bounds answered: Lambda sends an event for every invocation, others who have this API may not.
const maxAnswered = 100

// Register registers an extension at api, the value of AWS_LAMBDA_RUNTIME_API. Lambda takes it until the runtime asks for its
// first invocation, and begins no invocation before Run.
func Register(ctx context.Context, api string) (*Extension, error) {
	e := &Extension{http: &http.Client{Transport: &http.Transport{}}, api: "http://" + api + "/2020-01-01/extension/",
		more: make(chan struct{}, 1), answered: map[string]bool{}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.api+"register", strings.NewReader(`{"events":["INVOKE"]}`))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Lambda-Extension-Name", name)
	response, err := e.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if e.id = response.Header.Get(identifier); response.StatusCode != http.StatusOK || e.id == "" {
		return nil, fmt.Errorf("register extension: HTTP %d", response.StatusCode)
	}
	return e, nil
}

// Run calls after for each invocation, once Answered has been called for it, until ctx ends or Lambda refuses an event, which it
// returns.
func (e *Extension) Run(ctx context.Context, after func(context.Context)) error {
	defer e.end()
	for {
		invocation, err := e.next(ctx)
		if err != nil {
			return err
		}
		for !e.take(invocation) {
			select {
			case <-e.more:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		after(ctx)
	}
}

// Answered says that the answer to an invocation is on its way. It returns false if nothing may be done after it: Run has ended,
// or Lambda has not told of an earlier invocation.
func (e *Extension) Answered(invocation string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended {
		return false
	}
	behind := len(e.answered)
	if behind == maxAnswered {
		clear(e.answered)
	}
	e.answered[invocation] = true
	select {
	case e.more <- struct{}{}:
	default:
	}
	return behind == 0
}

// take says whether invocation has been answered, and forgets it.
func (e *Extension) take(invocation string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	found := e.answered[invocation]
	delete(e.answered, invocation)
	return found
}

func (e *Extension) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended = true
}

// next waits for the next event and returns the id of its invocation.
func (e *Extension) next(ctx context.Context) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, e.api+"event/next", nil)
	if err != nil {
		return "", err
	}
	request.Header.Set(identifier, e.id)
	response, err := e.http.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	var event struct {
		Type      string `json:"eventType"`
		RequestID string `json:"requestId"`
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("next event of extension: HTTP %d", response.StatusCode)
	}
	if err := json.Unmarshal(body, &event); err != nil || event.Type != "INVOKE" {
		return "", fmt.Errorf("next event of extension: %.200q is no INVOKE", body)
	}
	return event.RequestID, nil
}
