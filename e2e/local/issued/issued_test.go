package issued_test

import (
	"testing"
	"time"

	"github.com/central-ops/central-ops/e2e/local/issued"
	"github.com/google/go-cmp/cmp"
)

func TestStoreKeepsItsOwnCopy(t *testing.T) {
	t.Parallel()
	store := issued.New()
	tags := map[string]string{"team": "ops"}
	store.Add(issued.Credential{AccessKeyID: "ASIA1", SecretAccessKey: "s", Tags: tags})
	tags["team"] = "changed by the caller"

	got, ok := store.Lookup("ASIA1")
	if !ok {
		t.Fatal("Lookup: an added credential was not found")
	}
	want := issued.Credential{AccessKeyID: "ASIA1", SecretAccessKey: "s", Tags: map[string]string{"team": "ops"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Lookup mismatch (-want +got):\n%s", diff)
	}
	if _, ok := store.Lookup("ASIA2"); ok {
		t.Error("Lookup found a credential that was never added")
	}
}

func TestExpired(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name    string
		expires time.Time
		want    bool
	}{
		{"long-term keys never expire", time.Time{}, false},
		{"a second left", at.Add(time.Second), false},
		{"ends at this instant", at, true},
		{"ended", at.Add(-time.Second), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := (issued.Credential{Expires: tc.expires}).Expired(at); got != tc.want {
				t.Errorf("Expired = %t, want %t", got, tc.want)
			}
		})
	}
}
