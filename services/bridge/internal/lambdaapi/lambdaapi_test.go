package lambdaapi

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/lambdacontext"

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

// many is a bridge with n accounts, of some 1,700 bytes each.
type many int

func (n many) ListAccounts(context.Context, bridge.Person, string) ([]bridge.Account, error) {
	return slices.Repeat([]bridge.Account{{ID: "111111111111", Tags: map[string]string{"note": strings.Repeat("x", 1600)}}}, int(n)), nil
}

func (n many) Query(context.Context, bridge.Person, bridge.Query) (*bridge.Answer, error) {
	return nil, nil
}

func (n many) Verify(context.Context, string) (bridge.Person, error) { return bridge.Person{}, nil }

// TestAnswersFitIntoLambda: Lambda takes 6 MB for an answer and makes an error of a larger one.
func TestAnswersFitIntoLambda(t *testing.T) {
	t.Parallel()
	ctx := lambdacontext.NewContext(t.Context(), &lambdacontext.LambdaContext{
		ClientContext: lambdacontext.ClientContext{Custom: map[string]string{toolNameKey: "bridge___list_accounts"}}})
	for n, want := range map[many]bridge.Code{3500: "", 4000: bridge.Invalid} {
		encoded, outcome, err := New(n, n, nil, slog.New(slog.DiscardHandler), bridge.EncodeJSON, 1<<18).Handle(ctx, []byte(`{}`))
		var answer struct {
			Accounts []bridge.Account
			Error    *bridge.Failure
		}
		if err != nil || len(encoded) > 6<<20 || outcome.Code != want || json.Unmarshal(encoded, &answer) != nil {
			t.Fatalf("%d accounts: %d bytes, code %q, %v", n, len(encoded), outcome.Code, err)
		}
		if want == "" && len(answer.Accounts) != int(n) || want != "" && !strings.Contains(answer.Error.Hint, "filter") {
			t.Errorf("%d accounts: %d, %+v", n, len(answer.Accounts), answer.Error)
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
