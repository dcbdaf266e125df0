package iampolicy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrNoRole is returned for a role that does not exist.
var ErrNoRole = errors.New("no such role")

// Role is an IAM role with its documents as text.
type Role struct {
	ARN        string
	ID         string        // unique id, AROA...
	Trust      string        // trust policy
	Policies   []string      // inline and attached identity policies
	Boundary   string        // permissions boundary; "" for none
	MaxSession time.Duration // 0 means one hour
}

// Account is the account that the role is in.
func (r Role) Account() string { return AccountOf(r.ARN) }

// AccountOf returns the account part of an ARN, "" if there is none.
func AccountOf(arn string) string {
	if parts := strings.SplitN(arn, ":", 6); len(parts) == 6 {
		return parts[4]
	}
	return ""
}

// RoleName returns the last part of a role's ARN, after its path.
func RoleName(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }

// StaticRoles are roles that are given rather than read from IAM, by ARN.
type StaticRoles map[string]Role

// Role returns the role with that ARN, or ErrNoRole.
func (s StaticRoles) Role(_ context.Context, arn string) (Role, error) {
	if r, ok := s[arn]; ok {
		return r, nil
	}
	return Role{}, fmt.Errorf("%w: %s", ErrNoRole, arn)
}

// Identity decides a request by everything that bounds a session of the role: its policies, its boundary, and the
// session policy if sessionPolicy is not "". A document that cannot be read is an error and nothing is allowed.
func (r Role) Identity(sessionPolicy string, request Request) (Decision, error) {
	layers := [][]string{r.Policies}
	if r.Boundary != "" {
		layers = append(layers, []string{r.Boundary})
	}
	if sessionPolicy != "" {
		layers = append(layers, []string{sessionPolicy})
	}
	result := Allowed
	for _, layer := range layers {
		documents := make([]Document, len(layer))
		for i, text := range layer {
			d, err := Parse(text)
			if err != nil {
				return ImplicitDeny, fmt.Errorf("role %s: %w", r.ARN, err)
			}
			documents[i] = d
		}
		switch d := Evaluate(documents, request); {
		case d == ExplicitDeny:
			return ExplicitDeny, nil
		case d == ImplicitDeny:
			result = ImplicitDeny
		}
	}
	return result, nil
}
