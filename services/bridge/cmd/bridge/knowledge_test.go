package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// The server tells a failure of a knowledge tool as a success. The bridge does not.
func TestKnowledgeFailures(t *testing.T) {
	t.Parallel()
	b := start(t)
	structured := func(value string) string { return `{"structuredContent":` + value + `}` }
	for name, c := range map[string]struct{ result, says string }{
		"errorMessage":              {structured(`{"errorMessage":"boom"}`), "boom"},
		"in content":                {structured(`{"content":{"errorMessage":"boom"}}`), "boom"},
		"as text":                   {`{"content":[{"type":"text","text":"{\"content\":{\"errorMessage\":\"boom\"}}"}]}`, "boom"},
		"that is an object":         {structured(`{"content":{"errorMessage":{"message":"boom"}}}`), "boom"},
		"beside a list":             {structured(`{"content":[],"errorMessage":"boom"}`), "boom"},
		"in the result":             {structured(`{"content":{"result":{"errorMessage":"boom"}}}`), "boom"},
		"error":                     {structured(`{"content":{"error":"boom"}}`), "boom"},
		"status error":              {structured(`{"content":{"result":{"status":"ERROR","message":"boom"}}}`), "boom"},
		"isError inside":            {structured(`{"content":{"isError":true,"result":"boom"}}`), "boom"},
		"isError":                   {`{"isError":true,"content":[{"type":"text","text":"boom"}]}`, "boom"},
		"isError, without text":     {`{"isError":true,"content":[],"structuredContent":{"errorMessage":"boom"}}`, "boom"},
		"isError, without anything": {`{"isError":true}`, "no reason"},
		"nothing":                   {`{}`, "nothing"},
		"no text":                   {`{"content":[]}`, "nothing"},
		"null":                      {structured(`{"content":{"result":null}}`), "nothing"},
		"null, as text":             {`{"content":[{"type":"text","text":"null"}]}`, "nothing"},
	} {
		b.mcp.set(func(m *fakeMCP) { m.knows = func(string, json.RawMessage) any { return json.RawMessage(c.result) } })
		got := b.call(b.token("ops"), "retrieve_skill", `{"skill_name":"x"}`)
		if got.OK || got.Error == nil || got.Error.Code != "unavailable" || !strings.Contains(got.Error.Message, c.says) {
			t.Errorf("%s: ok %v %+v %v", name, got.OK, got.Error, got.Result)
		}
	}
	for name, result := range map[string]string{
		"no hit":              structured(`{"content":{"result":[]}}`),
		"no error":            structured(`{"content":{"result":["error"],"errorMessage":null,"error":""}}`),
		"a page not found":    structured(`{"content":{"result":[{"status":"ERROR","url":"https://x","error_code":"not_found"},{"status":"SUCCESS","content":"x"}]}}`),
		"a status that is ok": structured(`{"status":"success","result":1}`),
		"words":               `{"content":[{"type":"text","text":"errorMessage: none"}]}`,
	} {
		b.mcp.set(func(m *fakeMCP) { m.knows = func(string, json.RawMessage) any { return json.RawMessage(result) } })
		if got := b.call(b.token("ops"), "retrieve_skill", `{"skill_name":"x"}`); !got.OK || got.Result == nil {
			t.Errorf("%s: %+v", name, got.Error)
		}
	}
}

// What was checked is what is passed on: of a name that stands twice the last, and no null for what is left out.
func TestKnowledgeArguments(t *testing.T) {
	t.Parallel()
	b := start(t)
	for event, want := range map[string]string{
		`{"search_phrase":"x","topics":null,"limit":null}`:                    `{"search_phrase":"x"}`,
		`{"search_phrase":"y","search_phrase":"x <&> \u00e9","limit":5.0}`:    `{"limit":5,"search_phrase":"x <&> é"}`,
		`{"search_phrase":"x","limit":9007199254740992,"topics":["a",  "b"]}`: `{"limit":9007199254740992,"search_phrase":"x","topics":["a","b"]}`,
	} {
		var sent string
		b.mcp.set(func(m *fakeMCP) {
			m.knows = func(_ string, arguments json.RawMessage) any {
				sent = string(arguments)
				return json.RawMessage(`{"structuredContent":{"content":{"result":[]}}}`)
			}
		})
		if got := b.call(b.token("ops"), "search_documentation", event); !got.OK || sent != want {
			t.Errorf("%s: sent %s, want %s (%+v)", event, sent, want, got.Error)
		}
	}
	b.mcp.set(func(m *fakeMCP) {
		m.knows = func(_ string, arguments json.RawMessage) any {
			if want := `{"requests":[{"url":"https://x"}]}`; string(arguments) != want {
				t.Errorf("sent %s, want %s", arguments, want)
			}
			return json.RawMessage(`{"structuredContent":{"content":{"result":[]}}}`)
		}
	})
	b.call(b.token("ops"), "read_documentation", `{"requests":[{"url":"https://x","max_length":null}]}`)
}

// Which words an argument may be is the server's to say. It is the argument that is wrong then: neither the bridge nor a target role.
func TestKnowledgeArgumentsRefused(t *testing.T) {
	t.Parallel()
	b := start(t)
	said := func(text string) any {
		return map[string]any{"isError": true, "content": []any{map[string]any{"type": "text", "text": text}}}
	}
	for name, c := range map[string]struct {
		answer any
		code   string
		hint   string
	}{
		"invalid params":      {rpcRefusal{-32602, "Invalid params: resource_type must be one of product, api, cfn"}, "invalid", "check the arguments"},
		"validation error":    {said("1 validation error for get_regional_availability: resource_type: Input should be 'product', 'api' or 'cfn'"), "invalid", "check the arguments"},
		"Input validation":    {said("Input validation error: 'cheese' is not one of ['product', 'api', 'cfn']"), "invalid", "check the arguments"},
		"throttled":           {said("Throttling: Rate exceeded"), "throttled", "ask again"},
		"AccessDenied":        {said("AccessDenied"), "forbidden", "the bridge's own role"},
		"the tool is gone":    {rpcRefusal{-32602, "Unknown tool: aws___get_regional_availability"}, "unavailable", "bring the bridge up to date"},
		"the tool is removed": {rpcRefusal{-32600, "The tool has been removed, use another one."}, "unavailable", "bring the bridge up to date"},
	} {
		b.mcp.set(func(m *fakeMCP) { m.knows = func(string, json.RawMessage) any { return c.answer } })
		got := b.call(b.token("ops"), "get_regional_availability", `{"regions":["us-east-1"],"resource_type":"cheese"}`)
		if got.Error == nil || got.Error.Code != c.code || !strings.Contains(got.Error.Hint, c.hint) || strings.Contains(got.Error.Message+got.Error.Hint, "call AWS:") {
			t.Errorf("%s: %+v", name, got.Error)
		}
	}
}
