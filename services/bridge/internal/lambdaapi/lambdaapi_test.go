package lambdaapi

import (
	"encoding/json"
	"testing"

	"github.com/central-ops/central-ops/services/bridge"
)

func TestUserToken(t *testing.T) {
	t.Parallel()
	for headers, want := range map[string]string{
		`{"X-Amzn-Bedrock-AgentCore-Runtime-Custom-User-Token":"a"}`:                                                          "a",
		`{"x-amzn-bedrock-agentcore-runtime-custom-user-token":"Bearer a"}`:                                                   "a",
		`{"x-amzn-bedrock-agentcore-runtime-custom-user-token":["a"]}`:                                                        "a",
		`{"x-amzn-bedrock-agentcore-runtime-custom-user-token":"a","X-Amzn-Bedrock-AgentCore-Runtime-Custom-User-Token":"b"}`: "",
		`{"x-amzn-bedrock-agentcore-runtime-custom-user-token":"a","X-Amzn-Bedrock-AgentCore-Runtime-Custom-User-Token":""}`:  "",
		`{"Authorization":"Bearer a"}`: "",
		`"a"`:                          "",
		``:                             "",
	} {
		for range 20 { // whatever comes first out of the map
			if got := UserToken(headers); got != want {
				t.Fatalf("%s: got %q, want %q", headers, got, want)
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, event := range []string{`{}`, `null`, `[]`, `{"accounts":["all"],"service":"ec2","operation":"DescribeVpcs"}`,
		`{"accounts":["all"],"service":"s","operation":"o","params":{"a":{"b":[1e400]}},"limit":1.5}`, `{"params":"\ud800"}`, "\x00", `{"accounts":[{}]}`} {
		f.Add([]byte(event))
	}
	f.Fuzz(func(t *testing.T, event []byte) {
		for _, tool := range bridge.Tools() {
			a, raw, err := Decode(tool, event)
			if err != nil {
				if code := bridge.CodeOf(err); code != bridge.Invalid {
					t.Errorf("%s: %q: code %s", tool.Name, event, code)
				}
				continue
			}
			if !json.Valid(raw) || len(a.Params) > 0 && !json.Valid(a.Params) {
				t.Errorf("%s: %q was taken as %s", tool.Name, event, raw)
			}
		}
	})
}

func FuzzUserToken(f *testing.F) {
	f.Add(`{"X-Amzn-Bedrock-AgentCore-Runtime-Custom-User-Token":"Bearer eyJhbGciOiJub25lIn0.e30."}`)
	f.Fuzz(func(t *testing.T, headers string) {
		if token := UserToken(headers); token != "" && !json.Valid([]byte(headers)) {
			t.Errorf("a token out of %q", headers)
		}
	})
}
