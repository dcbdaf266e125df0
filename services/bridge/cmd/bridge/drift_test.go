package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// logged waits until the log holds text.
func (b *box) logged(text string) {
	b.t.Helper()
	late := time.After(time.Minute)
	for {
		more := b.logs.more()
		if strings.Contains(b.logs.String(), text) {
			return
		}
		select {
		case <-more:
		case <-late:
			b.t.Fatalf("the log never held %q", text)
		}
	}
}

// startWithout runs a bridge whose upstream has lost a tool.
func startWithout(t *testing.T, tool string) *box {
	t.Helper()
	first := start(t)
	first.mcp.set(func(m *fakeMCP) {
		m.tools = slices.DeleteFunc(slices.Clone(m.tools), func(name string) bool { return name == tool })
	})
	second := start(t, "AWS_MCP_ENDPOINT="+first.mcp.server.URL+"/mcp", "AWS_ENDPOINT_URL_STS="+first.sts.server.URL)
	second.mcp, second.sts = first.mcp, first.sts
	second.logged("upstream tools drifted")
	return second
}

func TestQueryWithoutItsTool(t *testing.T) {
	t.Parallel()
	b := startWithout(t, "aws___run_script")
	got := b.call(b.token("ops"), "query", describe)
	if got.statuses() != "222/us-east-1=failed" || got.Results[0].Error == nil {
		t.Fatalf("%s %+v", got.statuses(), got.Error)
	}
	if failure := *got.Results[0].Error; failure.Code != "unavailable" || !strings.Contains(failure.Message, "aws___run_script") || !strings.Contains(failure.Hint, "bring the bridge up to date") {
		t.Errorf("%+v", failure)
	}
	if len(b.mcp.runs) != 0 {
		t.Error("the tool was called all the same")
	}
	if got := b.call(b.token("ops"), "search_documentation", `{"search_phrase":"x"}`); !got.OK {
		t.Errorf("a tool that is there: %+v", got.Error)
	}
}

func TestDocumentationWithoutItsTool(t *testing.T) {
	t.Parallel()
	b := startWithout(t, "aws___search_documentation")
	got := b.call(b.token("ops"), "search_documentation", `{"search_phrase":"x"}`)
	if got.OK || got.Error == nil || got.Error.Code != "unavailable" || !strings.Contains(got.Error.Message, "aws___search_documentation") || got.Error.Hint == "" {
		t.Errorf("%+v", got.Error)
	}
	got = b.call(b.token("ops"), "query", describe)
	if got.statuses() != "222/us-east-1=ok" || !slices.ContainsFunc(got.Notes, func(note string) bool {
		return strings.Contains(note, "aws___search_documentation is missing")
	}) {
		t.Errorf("%s, notes %q (%+v)", got.statuses(), got.Notes, got.Error)
	}
}
