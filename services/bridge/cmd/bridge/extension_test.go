package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// watched is a runtime API that serves extensions, and a channel that gets a value whenever one asks for an event. It delivers at
// most so many events and then refuses.
func watched(t *testing.T, events int) (*runtimeAPI, <-chan struct{}) {
	r, came := newRuntimeAPI(t), make(chan struct{}, events+1)
	r.settled, r.told = make(chan struct{}, 1), make(chan string, 1)
	r.mux.HandleFunc("POST /2020-01-01/extension/register", func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		if req.Header.Get("Lambda-Extension-Name") == "" || string(body) != `{"events":["INVOKE"]}` {
			t.Errorf("an extension registers as %q for %s", req.Header.Get("Lambda-Extension-Name"), body)
		}
		w.Header().Set("Lambda-Extension-Identifier", "extension-1")
	})
	r.mux.HandleFunc("GET /2020-01-01/extension/event/next", func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Lambda-Extension-Identifier") != "extension-1" {
			t.Errorf("an event is asked for by %q", req.Header.Get("Lambda-Extension-Identifier"))
		}
		came <- struct{}{}
		r.settled <- struct{}{}
		if events--; events < 0 {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		select {
		case id := <-r.told:
			fmt.Fprintf(w, `{"eventType":"INVOKE","deadlineMs":1,"requestId":%q,"invokedFunctionArn":"a","tracing":{}}`, id)
		case <-req.Context().Done():
		case <-r.stopped:
		}
	})
	return r, came
}

// TestSpansFollowTheAnswer: the collector takes spans only once the answer has come, and Lambda may freeze the process only once
// they are sent.
func TestSpansFollowTheAnswer(t *testing.T) {
	t.Parallel()
	runtime, came := watched(t, 3)
	answered := make(chan struct{}, 1)
	runtime.ending = func(string) { answered <- struct{}{} }
	collector := newFakeCollector(t)
	patient := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-answered:
			collector.server.Config.Handler.ServeHTTP(w, r)
		case <-r.Context().Done():
			t.Error("spans were given up before the answer came")
		}
	}))
	t.Cleanup(patient.Close)
	b := startOn(t, runtime, "OTEL_EXPORTER_OTLP_ENDPOINT="+patient.URL)
	<-came
	for range 3 {
		if got := b.call(b.token("ops"), "query", describe); !got.OK {
			t.Fatalf("%+v", got)
		}
		<-came
		if got := collector.take(); got["tool call"] == nil || got["ask account"] == nil {
			t.Errorf("when the process may be frozen, the collector has %v", got)
		}
	}
}

// TestSpansComeBeforeTheAnswerWithoutExtension: also when Lambda ends the extension.
func TestSpansComeBeforeTheAnswerWithoutExtension(t *testing.T) {
	t.Parallel()
	collector := newFakeCollector(t)
	runtime, _ := watched(t, 1)
	b := startOn(t, runtime, "OTEL_EXPORTER_OTLP_ENDPOINT="+collector.server.URL)
	b.call(b.token("ops"), "query", describe)
	for more := b.logs.more(); !strings.Contains(b.logs.String(), "extension ended"); more = b.logs.more() {
		<-more
	}
	runtime.told = nil
	close(runtime.settled) // nobody asks any more
	collector.take()
	b.call(b.token("ops"), "query", describe)
	if got := collector.take(); got["tool call"] == nil {
		t.Errorf("with the answer, the collector has %v", got)
	}
}
