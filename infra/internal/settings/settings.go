// Package settings is what both Pulumi programs demand of their configuration, so that an environment and its member stacks
// take and refuse the same values.
package settings

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Pattern is a rule that a text must follow, and how it is told.
type Pattern struct {
	*regexp.Regexp
	Rule string
}

// The values that both sides of a target role's trust have.
var (
	AccountID      = Pattern{regexp.MustCompile(`^[0-9]{12}$`), "must have 12 digits"}
	OrganizationID = Pattern{regexp.MustCompile(`^o-[a-z0-9]{10,32}$`), "must look like o-a1b2c3d4e5"}
	ExternalID     = Pattern{regexp.MustCompile(`^[\w+=,.@:/-]{2,1000}$`), "must have 2 to 1000 letters, digits or any of _+=,.@:/-"}
	// Boundary is of roles: some organizations refuse those without one.
	Boundary = Pattern{regexp.MustCompile(`^arn:[a-z-]+:iam::([0-9]{12}|aws):policy/[\w+=,.@/-]+$`), "must be the ARN of a managed policy"}
	// RoleName leaves room in IAM's 64 characters for "-deny-9" behind it.
	RoleName = Pattern{regexp.MustCompile(`^[\w+=,.@-]{1,57}$`), "must have 1 to 57 letters, digits or any of _+=,.@-"}
)

// Keys is the keys of a namespace that the stack's configuration sets, in order. The SDK reads them by name only; it has
// them from the variable that is read here.
func Keys(namespace string) ([]string, error) {
	all := map[string]string{}
	if text := os.Getenv(pulumi.EnvConfig); text != "" {
		if err := json.Unmarshal([]byte(text), &all); err != nil {
			return nil, fmt.Errorf("read %s: %w", pulumi.EnvConfig, err)
		}
	}
	var keys []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if key, ok := strings.CutPrefix(name, namespace+":"); ok {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// Unknown is a fault for each key that nothing reads: one with a slip in it would leave its default in place without a word.
func Unknown(namespace string, keys, known []string) []error {
	var faults []error
	for _, key := range keys {
		if !slices.Contains(known, key) {
			faults = append(faults, fmt.Errorf("%s:%s: is no key; known: %s", namespace, key, strings.Join(slices.Sorted(slices.Values(known)), ", ")))
		}
	}
	return faults
}
