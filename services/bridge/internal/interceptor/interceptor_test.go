package interceptor

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func eventOf(t *testing.T, headers map[string]any) json.RawMessage {
	t.Helper()
	raw, err := json.Marshal(map[string]any{"interceptorInputVersion": "1.0", "mcp": map[string]any{
		"rawGatewayRequest": map[string]any{"body": "x"},
		"gatewayRequest": map[string]any{"path": "/mcp", "httpMethod": "POST", "headers": headers,
			"body": map[string]any{"jsonrpc": "2.0", "id": 7, "method": "tools/call"}}}})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestTokenTravels(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		headers map[string]any
		want    string
	}{
		"the bearer":                {map[string]any{"authorization": "Bearer person"}, "person"},
		"the client's value wins":   {map[string]any{"Authorization": "Bearer machine", strings.ToLower(UserTokenHeader): "person"}, "person"},
		"its scheme is dropped":     {map[string]any{"Authorization": "Bearer machine", UserTokenHeader: "bearer person"}, "person"},
		"an empty one is none":      {map[string]any{"Authorization": "Bearer person", UserTokenHeader: " "}, "person"},
		"the largest":               {map[string]any{"Authorization": "Bearer " + strings.Repeat("x", MaxToken)}, strings.Repeat("x", MaxToken)},
		"a list of one":             {map[string]any{"authorization": []string{"Bearer person"}, "x-other": []string{"a", "b"}}, "person"},
		"other values don't matter": {map[string]any{"Authorization": "Bearer person", "x-number": 5, "x-null": nil}, "person"},
		"the same twice is no harm": {map[string]any{"Authorization": "Bearer person", "authorization": "Bearer person"}, "person"},
	} {
		answer, err := Handle(t.Context(), eventOf(t, c.headers))
		if err != nil || answer.MCP.Request == nil {
			t.Errorf("%s: %+v, %v", name, answer, err)
			continue
		}
		if diff := cmp.Diff(c.want, answer.MCP.Request.Headers[UserTokenHeader]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		for header := range c.headers {
			_, kept := answer.MCP.Request.Headers[header]
			if credential := strings.EqualFold(header, "Authorization"); kept == credential && !strings.EqualFold(header, UserTokenHeader) {
				t.Errorf("%s: header %s is passed on: %v", name, header, kept)
			}
		}
		if body := string(answer.MCP.Request.Body); body != `{"id":7,"jsonrpc":"2.0","method":"tools/call"}` {
			t.Errorf("%s: the body changed to %s", name, body)
		}
		again, err := Handle(t.Context(), eventOf(t, answer.MCP.Request.Headers))
		if diff := cmp.Diff(answer, again); diff != "" || err != nil {
			t.Errorf("%s: a second time it answers otherwise: %v\n%s", name, err, diff)
		}
	}
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		headers map[string]any
		status  int
		says    []string
	}{
		"no token":       {nil, 401, []string{"no user token", "sign in"}},
		"another scheme": {map[string]any{"Authorization": "Basic abc"}, 401, []string{"no user token"}},
		"two lines":      {map[string]any{"Authorization": "Bearer a\r\nX: b"}, 401, []string{"characters"}},
		"not ASCII":      {map[string]any{UserTokenHeader: "tökén"}, 401, []string{"characters"}},
		"two in a list":  {map[string]any{"Authorization": []string{"Bearer a", "Bearer b"}}, 400, []string{"two different"}},
		"too large":      {map[string]any{"Authorization": "Bearer " + strings.Repeat("x", 2345)}, 400, []string{"2345 bytes", "2000", "groups"}},
		"one is empty":   {map[string]any{UserTokenHeader: "a", strings.ToLower(UserTokenHeader): ""}, 400, []string{"two different"}},
		"two different":  {map[string]any{UserTokenHeader: "a", strings.ToLower(UserTokenHeader): "b"}, 400, []string{"two different"}},
	} {
		var answer Answer
		var err error
		for range 20 { // whatever comes first out of the map
			if answer, err = Handle(t.Context(), eventOf(t, c.headers)); err != nil || answer.MCP.Request != nil || answer.MCP.Response == nil || answer.MCP.Response.StatusCode != c.status {
				t.Fatalf("%s: %+v, %v", name, answer, err)
			}
		}
		body, err := json.Marshal(answer.MCP.Response.Body)
		if err != nil || !strings.Contains(string(body), `"id":7`) || strings.Contains(string(body), "xxx") {
			t.Errorf("%s: body %s, %v", name, body, err)
		}
		for _, text := range c.says {
			if !strings.Contains(string(body), text) {
				t.Errorf("%s: %s doesn't say %q", name, body, text)
			}
		}
	}
	for _, raw := range []string{`[]`, `{}`, `{"mcp":{}}`} {
		if _, err := Handle(t.Context(), json.RawMessage(raw)); err == nil {
			t.Errorf("%s was taken for an event of the Gateway", raw)
		}
	}
}
