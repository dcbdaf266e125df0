package moto_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/central-ops/central-ops/e2e/local/iampolicy"
	"github.com/central-ops/central-ops/e2e/local/moto"
	"github.com/central-ops/central-ops/e2e/local/motoenv"
	"github.com/central-ops/central-ops/e2e/local/seed"
)

func TestIAMReadsRolesOfTheirAccount(t *testing.T) {
	t.Parallel()
	python := motoenv.Python(t)
	server, err := moto.Start(t.Context(), moto.Config{Python: python})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	made, err := seed.Run(t.Context(), seed.Config{
		Python: python, Endpoint: server.URL, ExternalID: "x-1",
		Accounts: []seed.Account{{ID: "111111111111"}, {ID: "222222222222"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	iam := moto.IAM{Endpoint: server.URL}
	role, err := iam.Role(t.Context(), made.TargetRoleARNs["222222222222"])
	if err != nil {
		t.Fatal(err)
	}
	if role.Account() != "222222222222" || !strings.HasPrefix(role.ID, "AROA") || len(role.Policies) != 3 {
		t.Errorf("role = account %s, id %s, %d policies; want 222222222222, AROA..., 3", role.Account(), role.ID, len(role.Policies))
	}
	for _, text := range append(role.Policies, role.Trust) {
		if _, err := iampolicy.Parse(text); err != nil {
			t.Errorf("seeded policy: %v\n%s", err, text)
		}
	}
	// What a role in another account, of another name or with another path would be.
	for _, arn := range []string{
		"arn:aws:iam::222222222222:role/central-ops-bridge",
		"arn:aws:iam::333333333333:role/CentralOpsTargetRole",
		"arn:aws:iam::222222222222:role/some/path/CentralOpsTargetRole",
	} {
		if _, err := iam.Role(t.Context(), arn); !errors.Is(err, iampolicy.ErrNoRole) {
			t.Errorf("Role(%s) = %v, want ErrNoRole", arn, err)
		}
	}
}
