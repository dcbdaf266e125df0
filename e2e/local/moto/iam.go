package moto

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/central-ops/central-ops/e2e/local/iampolicy"
)

// IAM reads roles from a moto server. It is safe for concurrent use.
type IAM struct {
	Endpoint string // the server's URL
}

// Role returns the role with its trust policy, inline policies and attached policies as they are now.
// A role that does not exist, also one with another path, is iampolicy.ErrNoRole.
func (m IAM) Role(ctx context.Context, arn string) (iampolicy.Role, error) {
	account, name := iampolicy.AccountOf(arn), iampolicy.RoleName(arn)
	var got struct {
		Role struct {
			Arn, RoleId, AssumeRolePolicyDocument string
			MaxSessionDuration                    int
			PermissionsBoundary                   struct{ PermissionsBoundaryArn string }
		} `xml:"GetRoleResult>Role"`
	}
	found, err := m.call(ctx, account, &got, "GetRole", "RoleName", name)
	if err != nil {
		return iampolicy.Role{}, err
	}
	if !found || got.Role.Arn != arn {
		return iampolicy.Role{}, fmt.Errorf("%w: %s", iampolicy.ErrNoRole, arn)
	}
	role := iampolicy.Role{
		ARN: arn, ID: got.Role.RoleId, Trust: unescape(got.Role.AssumeRolePolicyDocument),
		MaxSession: time.Duration(got.Role.MaxSessionDuration) * time.Second,
	}
	var inline struct {
		Names []string `xml:"ListRolePoliciesResult>PolicyNames>member"`
	}
	if _, err := m.call(ctx, account, &inline, "ListRolePolicies", "RoleName", name); err != nil {
		return iampolicy.Role{}, err
	}
	for _, policy := range inline.Names {
		var doc struct {
			Document string `xml:"GetRolePolicyResult>PolicyDocument"`
		}
		if _, err := m.call(ctx, account, &doc, "GetRolePolicy", "RoleName", name, "PolicyName", policy); err != nil {
			return iampolicy.Role{}, err
		}
		role.Policies = append(role.Policies, unescape(doc.Document))
	}
	var attached struct {
		ARNs []string `xml:"ListAttachedRolePoliciesResult>AttachedPolicies>member>PolicyArn"`
	}
	if _, err := m.call(ctx, account, &attached, "ListAttachedRolePolicies", "RoleName", name); err != nil {
		return iampolicy.Role{}, err
	}
	for _, policy := range attached.ARNs {
		text, err := m.managed(ctx, account, policy)
		if err != nil {
			return iampolicy.Role{}, err
		}
		role.Policies = append(role.Policies, text)
	}
	if boundary := got.Role.PermissionsBoundary.PermissionsBoundaryArn; boundary != "" {
		if role.Boundary, err = m.managed(ctx, account, boundary); err != nil {
			return iampolicy.Role{}, err
		}
	}
	return role, nil
}

// managed returns the default version of a managed policy.
func (m IAM) managed(ctx context.Context, account, arn string) (string, error) {
	var policy struct {
		Version string `xml:"GetPolicyResult>Policy>DefaultVersionId"`
	}
	if _, err := m.call(ctx, account, &policy, "GetPolicy", "PolicyArn", arn); err != nil {
		return "", err
	}
	var version struct {
		Document string `xml:"GetPolicyVersionResult>PolicyVersion>Document"`
	}
	if _, err := m.call(ctx, account, &version, "GetPolicyVersion", "PolicyArn", arn, "VersionId", policy.Version); err != nil {
		return "", err
	}
	return unescape(version.Document), nil
}

// call asks moto's IAM in the name of account. It is false when what was asked for does not exist.
func (m IAM) call(ctx context.Context, account string, out any, action string, params ...string) (bool, error) {
	err := call(ctx, m.Endpoint, "iam", "2010-05-08", account, out, action, params...)
	if errors.Is(err, errNotFound) {
		return false, nil
	}
	return err == nil, err
}

// unescape undoes the percent-encoding in which IAM answers documents.
func unescape(document string) string {
	if plain, err := url.PathUnescape(document); err == nil {
		return plain
	}
	return document
}
