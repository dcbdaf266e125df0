// Command testagent is the agent of runtimefront's tests: it does what the prompt says.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

func main() {
	if os.Getenv("FAIL_AT_START") != "" {
		fmt.Fprintln(os.Stderr, "failing at start")
		os.Exit(3)
	}
	server := &http.Server{Addr: "127.0.0.1:" + os.Getenv("PORT")}
	server.Handler = handler(server)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	select {} // closed by "exit slowly", which ends the process
}

func handler(server *http.Server) http.Handler {
	var mu sync.Mutex
	status := "Healthy"
	release := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ping", func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(w, `{"status":%q}`, status)
	})
	mux.HandleFunc("POST /invocations", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		var invocation struct {
			Prompt string `json:"prompt"`
		}
		if err := json.Unmarshal(body, &invocation); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Println("handling", invocation.Prompt)
		switch invocation.Prompt {
		case "fail":
			http.Error(w, "no", http.StatusInternalServerError)
		case "exit":
			os.Exit(7)
		case "exit slowly": // no connection is taken any more, but the process is still there
			_ = server.Close()
			time.Sleep(300 * time.Millisecond)
			os.Exit(7)
		case "busy":
			mu.Lock()
			status = "HealthyBusy"
			mu.Unlock()
		case "hang":
			<-r.Context().Done()
		case "stream": // the second event waits for another invocation, so nothing may hold the first one back
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "data: one\n\n")
			_ = http.NewResponseController(w).Flush() // net/http's own writer flushes
			<-release
			fmt.Fprint(w, "data: two\n\n")
		case "release":
			close(release)
		case "environment":
			reply(w, strings.Join(os.Environ(), "\n"))
		default:
			reply(w, map[string]any{"headers": r.Header, "body": string(body), "process": os.Getpid()})
		}
	})
	return mux
}

func reply(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // the caller may be gone
}
