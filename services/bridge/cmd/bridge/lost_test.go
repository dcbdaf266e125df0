package main

import (
	"net/http"
	"strings"
	"testing"
)

// spoil lets change alter what every script returns.
func (b *box) spoil(change func(value map[string]any)) {
	b.mcp.set(func(m *fakeMCP) {
		m.fault = func(w http.ResponseWriter, _ *http.Request, id int64, run scriptRun) bool {
			value := m.value(run)
			change(value["return_value"].(map[string]any))
			toolResult(w, id, value)
			return true
		}
	})
}

// An answer that holds nothing about a target is no answer of it: neither is the target left out, nor has it no rows.
func TestNothingIsNoAnswer(t *testing.T) {
	t.Parallel()
	b := start(t)
	for name, region := range map[string]any{"no document": map[string]any{"calls": 1}, "null for a document": map[string]any{"document": nil, "calls": 1}, "null for the Region": nil,
		"a text": map[string]any{"document": "x", "calls": 1}, "a list": map[string]any{"document": []any{}, "calls": 1}} {
		b.spoil(func(value map[string]any) { value["regions"] = map[string]any{"us-east-1": region} })
		got := b.call(b.token("ops"), "query", describe)
		if got.statuses() != "222/us-east-1=failed" || got.Results[0].Error.Code != "unavailable" || !strings.Contains(got.Results[0].Error.Message, "nothing for this Region") {
			t.Errorf("%s: %s %+v", name, got.statuses(), got.Results)
		}
	}
	for name, enabled := range map[string]any{"null": nil, "empty": []string{}} {
		b.spoil(func(value map[string]any) { value["enabled"] = enabled })
		got := b.call(b.token("ops"), "query", `{"accounts":["Production","Staging"],"regions":["all"],"service":"ec2","operation":"DescribeInstances"}`)
		if got.statuses() != "222/all=failed 333/all=failed" || got.Results[0].Error.Code != "unavailable" {
			t.Errorf("enabled Regions %s: %s %+v", name, got.statuses(), got.Results)
		}
	}
}

// A Region that is named stands in the answer, even if "all" is named beside it and the account has not enabled it.
func TestNamedRegionsBesideAll(t *testing.T) {
	t.Parallel()
	b := start(t, `ACCESS_POLICY=permit(principal in Group::"ops", action, resource);
forbid(principal, action, resource) when { context.region == "me-south-1" };`)
	got := b.call(b.token("ops"), "query", `{"accounts":["Production"],"regions":["us-east-1","af-south-1","all","AF-South-1","me-south-1"],"service":"ec2","operation":"DescribeInstances"}`)
	if want := "222/eu-west-1=ok 222/us-east-1=ok 222/af-south-1=skipped 222/me-south-1=denied"; got.statuses() != want {
		t.Fatalf("got %s, want %s (%+v)", got.statuses(), want, got.Error)
	}
	if failure := got.Results[2].Error; !strings.Contains(failure.Message, "has not enabled this Region") || !strings.Contains(strings.Join(got.Notes, " "), "2 of 4 targets did not answer") {
		t.Errorf("%+v, notes %q", failure, got.Notes)
	}
	b.sts.mu.Lock()
	b.sts.deny["333333333333"] = true
	b.sts.mu.Unlock()
	if got := b.call(b.token("ops"), "query", `{"accounts":["Staging"],"regions":["af-south-1","all"],"service":"ec2","operation":"DescribeInstances"}`); got.statuses() != "333/all=denied" {
		t.Errorf("an account that was not asked: %s (%+v)", got.statuses(), got.Error)
	}
	if got := b.call(b.token("ops"), "query", `{"accounts":["Central"],"regions":["af-south-1","all"],"service":"ec2","operation":"DescribeRegions"}`); got.statuses() != "111/global=ok" {
		t.Errorf("one answer for all Regions: %s (%+v)", got.statuses(), got.Error)
	}
}
