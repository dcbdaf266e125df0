package main

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/central-ops/central-ops/services/bridge"
)

// TestEncodeJSONSaysTheSame holds the fast encoder to what encoding/json makes of everything that stands in answers.
func TestEncodeJSONSaysTheSame(t *testing.T) {
	t.Parallel()
	one := 1
	full := bridge.Answer{OK: true, Coverage: bridge.Coverage{Targets: 2, Answered: 1, Failed: 1}, Results: []bridge.Result{
		{AccountID: "111111111111", AccountName: "Central", Region: "us-east-1", Status: bridge.StatusOK, Count: &one, More: true,
			Data: []json.RawMessage{json.RawMessage(`{"a":1,"a":2}`)}, Receipt: &bridge.Receipt{RoleARN: "r", APICalls: 1}},
		{AccountID: "222222222222", Region: "global", Status: bridge.StatusFailed, Error: &bridge.Failure{Code: bridge.Internal, Message: "<&>"}},
		{AccountID: "333333333333", Status: bridge.StatusOK, Count: new(int), Data: []json.RawMessage{}},
	}, Groups: []bridge.Group{{Key: json.RawMessage(`null`), Count: 1, Accounts: []bridge.AccountID{"111111111111"}}}, Notes: []string{}}
	for name, value := range map[string]any{
		"answer":   full,
		"pointer":  &full,
		"empty":    &bridge.Answer{Results: []bridge.Result{}, Groups: []bridge.Group{}, Notes: []string{}},
		"accounts": []bridge.Account{{ID: "111111111111"}, {ID: "222222222222", Name: "n", Environment: "e", Tags: map[string]string{"k": "v"}}},
		"row": map[string]any{"b": 1.0, "a": []any{nil, true, 1e21, 1e-7, 123456789012.0, -0.5, "\u2028<>&\"\\\n\x00", "\xff"},
			"deep": map[string]any{}, "list": []any{}},
	} {
		fast, err := encodeJSON(value)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		slow, err := bridge.EncodeJSON(value)
		if err != nil {
			t.Fatal(err)
		}
		var got, want any
		if err := json.Unmarshal(fast, &got); err != nil {
			t.Errorf("%s: %s: %v", name, fast, err)
		}
		if err := json.Unmarshal(slow, &want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-encoding/json +ours):\n%s", name, diff)
		}
	}
}
