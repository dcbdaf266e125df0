// Package policy holds every IAM document of an environment and of a member account, as typed values.
//
// It knows nothing of Pulumi: a document goes in as plain values and comes out as JSON, so that golden files, the size
// budgets and the evaluator see exactly what is deployed. The CloudFormation template of the StackSet is made from the
// same documents as the member stack.
package policy

import (
	"encoding/json"
	"fmt"
)

// Limits of IAM, in characters without white space.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
const (
	MaxTrust   = 2048  // a role's trust policy, at the default quota
	MaxInline  = 10240 // all inline policies of one role together
	MaxManaged = 6144  // one managed policy
)

// Document is an IAM policy.
type Document struct {
	Version   string
	Statement []Statement
}

// Statement is one statement. Exactly one of Action and NotAction is set; Principal only in trust and resource policies.
type Statement struct {
	Sid       string
	Effect    string
	Principal *Principal `json:",omitempty"`
	Action    []string   `json:",omitempty"`
	NotAction []string   `json:",omitempty"`
	Resource  []string   `json:",omitempty"`
	Condition Condition  `json:",omitempty"`
}

// Principal is who a trust policy is about: an AWS service or exact IAM principals, never "*".
type Principal struct {
	Service []string `json:",omitempty"`
	AWS     []string `json:",omitempty"`
}

// Condition is operator -> key -> values.
type Condition map[string]map[string][]string

// New returns a document of the statements.
func New(statements ...Statement) Document {
	return Document{Version: "2012-10-17", Statement: statements}
}

// JSON is the document in IAM's own form, without white space. Map keys are sorted: the same document is the same text.
func (d Document) JSON() string {
	text, err := json.Marshal(d)
	if err != nil {
		panic(fmt.Sprintf("policy: %v", err)) // strings, slices and maps of strings always marshal
	}
	return string(text)
}

// Place is where an environment lives.
type Place struct {
	Partition string // aws, aws-cn, aws-us-gov
	Region    string
	Account   string // 12 digits
}

// ARN builds the ARN of a Regional resource at the place.
func (p Place) ARN(service, resource string) string {
	return fmt.Sprintf("arn:%s:%s:%s:%s:%s", p.Partition, service, p.Region, p.Account, resource)
}

// RoleARN is the ARN of a role without a path in the account.
func (p Place) RoleARN(account, name string) string {
	return fmt.Sprintf("arn:%s:iam::%s:role/%s", p.Partition, account, name)
}

func allow(sid string, actions, resources []string, condition Condition) Statement {
	return Statement{Sid: sid, Effect: "Allow", Action: actions, Resource: resources, Condition: condition}
}

func deny(sid string, actions, resources []string, condition Condition) Statement {
	return Statement{Sid: sid, Effect: "Deny", Action: actions, Resource: resources, Condition: condition}
}
