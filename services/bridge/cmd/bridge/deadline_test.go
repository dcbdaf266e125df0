package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// newSilence is a server that takes requests and never answers.
func newSilence(t *testing.T) *httptest.Server {
	ended := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-ended }))
	t.Cleanup(func() {
		close(ended)
		server.Close()
	})
	return server
}

// Whatever is silent, an answer comes before Lambda ends the invocation: what is begun in the background, with time of its own, is
// waited for no longer than the call has.
func TestSilenceIsToldInTime(t *testing.T) {
	t.Parallel()
	silence := newSilence(t).URL
	for name, c := range map[string]struct{ env, tool, event, code string }{
		"the pool's keys":                  {"TOKEN_JWKS_URL=" + silence, "query", describe, "unavailable"},
		"AWS MCP Server, a query":          {"AWS_MCP_ENDPOINT=" + silence, "query", describe, "timeout"},
		"AWS MCP Server, a knowledge tool": {"AWS_MCP_ENDPOINT=" + silence, "search_documentation", `{"search_phrase":"x"}`, "timeout"},
		"STS":                              {"AWS_ENDPOINT_URL_STS=" + silence, "query", describe, "timeout"},
		"the collector of spans":           {"OTEL_EXPORTER_OTLP_ENDPOINT=" + silence, "query", describe, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, c.env)
			const within = 4 * time.Second
			began := time.Now()
			got := b.callWithin(within, b.token("ops"), c.tool, c.event)
			if took := time.Since(began); took >= within {
				t.Errorf("the answer took %v of %v", took, within)
			}
			code := ""
			switch {
			case got.Error != nil:
				code = got.Error.Code
			case len(got.Results) == 1 && got.Results[0].Error != nil:
				code = got.Results[0].Error.Code
			}
			if code != c.code {
				t.Errorf("code %q, want %q: %+v %+v", code, c.code, got.Error, got.Results)
			}
		})
	}
}
