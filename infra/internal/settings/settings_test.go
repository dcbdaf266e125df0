package settings_test

import (
	"testing"

	"github.com/central-ops/central-ops/infra/internal/settings"
	"github.com/google/go-cmp/cmp"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// TestKeys is not parallel: it sets what the engine sets for a program.
func TestKeys(t *testing.T) {
	for name, row := range map[string]struct {
		text  string
		want  []string
		fails bool
	}{
		"nothing":       {"", nil, false},
		"own namespace": {`{"central-ops:mfa":"ON","aws:region":"us-east-1","central-ops-member:externalId":"x1","central-ops:access":"{}"}`, []string{"access", "mfa"}, false},
		"no JSON":       {`{`, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(pulumi.EnvConfig, row.text)
			got, err := settings.Keys("central-ops")
			if diff := cmp.Diff(row.want, got); diff != "" || (err != nil) != row.fails {
				t.Errorf("Keys: %v, error %v (-want +got):\n%s", got, err, diff)
			}
		})
	}
}
