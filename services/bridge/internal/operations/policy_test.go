package operations

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/central-ops/central-ops/services/bridge/internal/operations/record"
)

type policyDocument struct {
	Version   string
	Statement []struct {
		Effect   string
		Action   []string
		Resource string
	}
}

// TestSessionPolicy checks the policy of every operation: its size and grammar, that it allows
// what an allowed operation needs, and that it allows nothing which any operation that is refused
// for what it does or returns needs.
func TestSessionPolicy(t *testing.T) {
	t.Parallel()
	tb := Load()
	forbidden := map[string][]string{} // IAM prefix -> actions behind refused operations
	needed := map[string]bool{}
	each(tb, func(op Operation) {
		for _, a := range op.Actions {
			if op.category == "" { // some are allowed with the right parameters only
				needed[a] = true
			}
		}
	})
	each(tb, func(op Operation) {
		for _, a := range op.Actions {
			if prefix, _, _ := strings.Cut(a, ":"); !needed[a] {
				forbidden[prefix] = append(forbidden[prefix], a)
			}
		}
	})
	// IAM takes no wildcard in the service prefix.
	grammar := regexp.MustCompile(`^[a-z0-9-]+:[A-Za-z0-9]+\*?$`)
	checked := map[string]bool{}
	longest := 0
	each(tb, func(op Operation) {
		policy := tb.SessionPolicy(op)
		var doc policyDocument
		if err := json.Unmarshal([]byte(policy), &doc); err != nil || len(doc.Statement) != 1 {
			t.Fatalf("%s: %s: %v", op, policy, err)
		}
		st := doc.Statement[0]
		allowable := op.category == "" || op.category == CategoryData
		if !covers(st.Action, describeRegions) {
			t.Errorf("%s: the Regions of the account cannot be asked: %s", op, policy)
		}
		for _, a := range op.Actions {
			if allowable != covers(st.Action, a) {
				t.Errorf("%s: allowable %v, but its policy says otherwise of %s", op, allowable, a)
			}
		}
		if checked[policy] {
			return
		}
		checked[policy] = true
		longest = max(longest, len(policy))
		if len(policy) > MaxSessionPolicy || doc.Version != "2012-10-17" || st.Effect != "Allow" || st.Resource != "*" {
			t.Errorf("%s: %d characters: %s", op, len(policy), policy)
		}
		for _, a := range st.Action {
			if !grammar.MatchString(a) {
				t.Errorf("%s: %q is not an action pattern of IAM", op, a)
			}
			prefix, _, _ := strings.Cut(a, ":")
			for _, f := range forbidden[prefix] {
				if op.category == "" && covers([]string{a}, f) {
					t.Errorf("%s: %s allows %s", op, a, f)
				}
			}
		}
	})
	t.Logf("%d distinct policies, the longest has %d characters", len(checked), longest)
	if len(checked) > 800 {
		t.Errorf("%d distinct policies", len(checked))
	}
}

// TestServicePolicies finds the services whose patterns do not fit and which therefore have a
// policy per operation: a regeneration that adds to them costs AssumeRole calls.
func TestServicePolicies(t *testing.T) {
	t.Parallel()
	tb := Load()
	var over []string
	for _, s := range tb.Services() {
		if len(policyText(tb.services[tb.index().byName[record.Fold(s)]]().Policy)) > MaxSessionPolicy {
			over = append(over, s)
		}
	}
	if got := strings.Join(over, " "); got != "connect" {
		t.Errorf("services without a policy of their own: %q, want connect only", got)
	}
}
