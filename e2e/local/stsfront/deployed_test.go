package stsfront_test

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/central-ops/central-ops/e2e/local/iampolicy"
	"github.com/central-ops/central-ops/e2e/local/stsfront"
)

// The documents that are deployed, as the tests of infra hold them, and the names in them.
const (
	documents      = "../../../infra/policy/testdata/"
	deployedBridge = "arn:aws:iam::111111111111:role/central-ops-dev-bridge"
	organization   = "o-exampleorg"
	deployedID     = "central-ops-example"
)

// document is a policy that a condition can be taken out of.
type document struct {
	Version   string
	Statement []map[string]json.RawMessage
}

func readDocument(t *testing.T, name string) document {
	t.Helper()
	raw, err := os.ReadFile(documents + name)
	if err != nil {
		t.Fatal(err)
	}
	var d document
	if err := json.Unmarshal(raw, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d document) String() string {
	raw, err := json.Marshal(d)
	if err != nil {
		panic(err) // it was JSON before
	}
	return string(raw)
}

// without takes the condition key out of every statement; it must be in one.
func (d document) without(t *testing.T, key string) document {
	t.Helper()
	found := false
	for _, statement := range d.Statement {
		var conditions map[string]map[string]json.RawMessage
		if err := json.Unmarshal(statement["Condition"], &conditions); err != nil {
			t.Fatal(err)
		}
		for operator, keys := range conditions {
			if _, ok := keys[key]; ok {
				found = true
				if delete(keys, key); len(keys) == 0 {
					delete(conditions, operator)
				}
			}
		}
		raw, err := json.Marshal(conditions)
		if err != nil {
			t.Fatal(err)
		}
		statement["Condition"] = raw
	}
	if !found {
		t.Fatalf("no statement has the condition key %s", key)
	}
	return d
}

// Each condition of the deployed documents refuses what it is there for: with it the request is denied, without it, and
// with all others, it passes.
func TestDeployedDocumentsDecide(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name      string
		condition string // of target-trust.json; "" for a request that passes
		rights    string // of bridge.json, instead
		request   func(*sts.AssumeRoleInput)
		config    func(*stsfront.Config)
	}{
		{name: "what the bridge sends"},
		{name: "another external id", condition: "sts:ExternalId", request: func(in *sts.AssumeRoleInput) { in.ExternalId = aws.String("another") }},
		{name: "no external id", condition: "sts:ExternalId", request: func(in *sts.AssumeRoleInput) { in.ExternalId = nil }},
		{name: "no person", condition: "sts:SourceIdentity", request: func(in *sts.AssumeRoleInput) { in.SourceIdentity = nil }},
		{name: "another session name", condition: "sts:RoleSessionName", request: func(in *sts.AssumeRoleInput) { in.RoleSessionName = aws.String("admin") }},
		{name: "a tag that is not Central Ops' own", condition: "aws:TagKeys", request: func(in *sts.AssumeRoleInput) {
			in.Tags = append(in.Tags, types.Tag{Key: aws.String("department"), Value: aws.String("x")})
		}},
		{name: "the bridge's account left the organization", condition: "aws:PrincipalOrgID", config: func(c *stsfront.Config) {
			c.OrganizationOf = map[string]string{"111111111111": "o-other"}
		}},
		{name: "the member account left the organization", rights: "aws:ResourceOrgID", config: func(c *stsfront.Config) {
			c.OrganizationOf = map[string]string{"222222222222": "o-other"}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			assume := func(trust, rights document) string {
				w := build(t, func(w *world) {
					w.roles[bridgeARN] = iampolicy.Role{ARN: bridgeARN, ID: "AROABRIDGE"} // build issues it a session
					w.roles[deployedBridge] = iampolicy.Role{ARN: deployedBridge, ID: "AROADEPLOYED", Policies: []string{rights.String()}}
					w.roles[targetARN] = iampolicy.Role{ARN: targetARN, ID: "AROATARGET", Trust: trust.String()}
					w.config.OrganizationID, w.config.OrganizationOf = organization, nil
					if tc.config != nil {
						tc.config(&w.config)
					}
				})
				own, err := w.server.Issue(t.Context(), deployedBridge, "bridge-1", time.Hour)
				if err != nil {
					t.Fatal(err)
				}
				in := request()
				in.ExternalId = aws.String(deployedID)
				if tc.request != nil {
					tc.request(in)
				}
				_, err = w.client(own).AssumeRole(t.Context(), in)
				return code(err)
			}
			trust, rights, want := readDocument(t, "target-trust.json"), readDocument(t, "bridge.json"), ""
			if tc.condition != "" || tc.rights != "" {
				want = "AccessDenied"
			}
			if got := assume(trust, rights); got != want {
				t.Fatalf("with all conditions: %q, want %q", got, want)
			}
			switch {
			case tc.condition != "":
				trust = trust.without(t, tc.condition)
			case tc.rights != "":
				rights.Statement = rights.Statement[:1] // the others have no condition
				rights = rights.without(t, tc.rights)
			}
			if got := assume(trust, rights); got != "" {
				t.Errorf("without %s%s: %q, want it to pass", tc.condition, tc.rights, got)
			}
		})
	}
}
