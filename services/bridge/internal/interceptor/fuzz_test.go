package interceptor

import (
	"encoding/json"
	"strings"
	"testing"
)

// FuzzHandle holds that every event is either passed on with one token that can stand in a header, or refused.
func FuzzHandle(f *testing.F) {
	for _, event := range []string{
		`{"mcp":{"gatewayRequest":{"headers":{"Authorization":"Bearer a.b.c"},"body":{"id":1}}}}`, `{"mcp":{"gatewayRequest":{"headers":{"authorization":["Bearer a","Bearer b"]}}}}`,
		`{"mcp":{"gatewayRequest":{"headers":{"X-Amzn-Bedrock-AgentCore-Runtime-Custom-User-Token":"a\r\nb"},"body":[]}}}`, `{"mcp":{"gatewayRequest":null}}`, `{"mcp":[]}`, `null`,
		`{"mcp":{"gatewayRequest":{"headers":{"Authorization":7},"body":{"id":{"deep":[1]}}}}}`,
	} {
		f.Add([]byte(event))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		answer, err := Handle(t.Context(), raw)
		if err != nil {
			return
		}
		if (answer.MCP.Request == nil) == (answer.MCP.Response == nil) {
			t.Fatalf("%q is neither passed on nor refused, or both: %+v", raw, answer)
		}
		if _, err := json.Marshal(answer); err != nil {
			t.Errorf("%q: the answer can't be sent: %v", raw, err)
		}
		if answer.MCP.Request == nil {
			return
		}
		tokens := 0
		for name, value := range answer.MCP.Request.Headers {
			if !strings.EqualFold(name, UserTokenHeader) {
				continue
			}
			tokens++
			if token, ok := value.(string); !ok || token == "" || len(token) > MaxToken || strings.IndexFunc(token, notOfToken) >= 0 {
				t.Errorf("%q: passed on with the token %q", raw, value)
			}
		}
		if tokens != 1 {
			t.Errorf("%q: passed on with %d tokens", raw, tokens)
		}
	})
}
