package operations

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/central-ops/central-ops/services/bridge/internal/operations/record"
)

// MaxSessionPolicy is how many characters STS takes as an inline session policy.
// Source: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html, member Policy.
const MaxSessionPolicy = 2048

// SessionPolicy is the compact IAM policy to assume the target role with for op. It caps the role
// session, whatever the role allows, to the allowed reads of the operation's service, and
// ec2:DescribeRegions, which tells the Regions of the account. All else is denied because nothing
// allows it; no Deny is needed, and none could be forgotten.
//
// IAM has no wildcard for a verb across services: the service prefix of an action must be
// literal (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_action.html),
// so "*:Describe*" is not to be had and one policy for everything cannot be said in the 2,048
// characters. One policy per operation would be tighter, but each distinct policy costs an
// AssumeRole per account and person. So there is one per service. Its patterns match what its
// allowed operations need, no action above access level Read, and none that stands only behind
// refused operations.
//
// A read of user data that the configuration allows is not in its service's policy: it has its own,
// of exactly its actions, and so has each operation of a service whose patterns do not fit
// (connect). For an operation that is always refused the policy allows ec2:DescribeRegions alone.
// There are under 800 distinct policies, of which a bridge sees about as many as services are
// asked about. None is longer than MaxSessionPolicy.
func (t *Table) SessionPolicy(op Operation) string {
	switch op.category {
	case "":
		if i, ok := t.index().byName[record.Fold(op.Service)]; ok {
			if p := policyText(t.services[i]().Policy); len(p) <= MaxSessionPolicy {
				return p
			}
		}
		return policyText(op.Actions)
	case CategoryData:
		return policyText(op.Actions)
	}
	return policyText(nil)
}

// describeRegions is in every policy: which Regions an account has is part of many queries.
const describeRegions = "ec2:DescribeRegions"

func policyText(actions []string) string {
	type statement struct{ Effect, Action, Resource any }
	covered := slices.ContainsFunc(actions, func(a string) bool {
		prefix, wild := strings.CutSuffix(a, "*")
		return a == describeRegions || wild && strings.HasPrefix(describeRegions, prefix)
	})
	if !covered {
		actions = append(slices.Clone(actions), describeRegions)
	}
	text, err := json.Marshal(struct {
		Version   string
		Statement []statement
	}{"2012-10-17", []statement{{"Allow", actions, "*"}}})
	if err != nil {
		panic("operations: policy: " + err.Error()) // strings always marshal
	}
	return string(text)
}
