package seed_test

import (
	"strings"
	"testing"

	"github.com/central-ops/central-ops/e2e/local/moto"
	"github.com/central-ops/central-ops/e2e/local/motoenv"
	"github.com/central-ops/central-ops/e2e/local/seed"
	"github.com/google/go-cmp/cmp"
)

func TestRun(t *testing.T) {
	t.Parallel()
	python := motoenv.Python(t)
	server, err := moto.Start(t.Context(), moto.Config{Python: python})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	const password = "Correct-Horse-7"
	config := seed.Config{
		Python:   python,
		Endpoint: server.URL,
		Accounts: []seed.Account{
			{ID: "111111111111", Name: "Central", Environment: "shared"},
			{ID: "222222222222", Name: "Production", Environment: "prod"},
		},
		Users:     []seed.User{{Username: "olivia", Password: password, Groups: []string{"ops"}}},
		Resources: true,
	}
	got, err := seed.Run(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	want := seed.Result{
		// moto makes these up.
		UserPoolID: got.UserPoolID, ClientID: got.ClientID, OtherClientID: got.OtherClientID,
		Subjects:      map[string]string{"olivia": got.Subjects["olivia"]},
		BridgeRoleARN: "arn:aws:iam::111111111111:role/central-ops-bridge",
		ServiceRoleARNs: map[string]string{
			"interceptor": "arn:aws:iam::111111111111:role/central-ops-interceptor",
			"agent":       "arn:aws:iam::111111111111:role/central-ops-agent",
			"gateway":     "arn:aws:iam::111111111111:role/central-ops-gateway",
		},
		TargetRoleARNs: map[string]string{
			"111111111111": "arn:aws:iam::111111111111:role/CentralOpsTargetRole",
			"222222222222": "arn:aws:iam::222222222222:role/CentralOpsTargetRole",
		},
		SessionTableARN: "arn:aws:dynamodb:us-east-1:111111111111:table/central-ops-sessions",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Run mismatch (-want +got):\n%s", diff)
	}
	for name, value := range map[string]string{"user pool": got.UserPoolID, "client": got.ClientID, "other client": got.OtherClientID, "subject": got.Subjects["olivia"]} {
		if value == "" {
			t.Errorf("%s has no id", name)
		}
	}

	// An environment that is there: a person more, in its pool.
	more, err := seed.Run(t.Context(), seed.Config{
		Python: python, Endpoint: server.URL, Accounts: config.Accounts, UserPoolID: got.UserPoolID,
		Users: []seed.User{{Username: "peter", Password: password, Groups: []string{"ops"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(seed.Result{UserPoolID: got.UserPoolID, Subjects: map[string]string{"peter": more.Subjects["peter"]}}, more); diff != "" || more.Subjects["peter"] == "" {
		t.Errorf("Run mismatch (-want +got):\n%s", diff)
	}

	_, err = seed.Run(t.Context(), config)
	if err == nil {
		t.Fatal("a second Run on the same server succeeded")
	}
	if strings.Contains(err.Error(), password) {
		t.Errorf("the error tells a password: %v", err)
	}
}

func TestRunReportsEveryFault(t *testing.T) {
	t.Parallel()
	_, err := seed.Run(t.Context(), seed.Config{Regions: []string{"us-east-1"}})
	if err == nil {
		t.Fatal("Run accepted an empty Config")
	}
	for _, want := range []string{"no Python", "no endpoint", "no accounts", "got 1 Regions"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not say %q:\n%v", want, err)
		}
	}
}
