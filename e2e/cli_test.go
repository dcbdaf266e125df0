package e2e_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The client's own end-to-end test, with a terminal, runs against the platform: sign in, ask, chat, export, and each
// setting broken in turn. It lives with the client and finds the platform by its profile, as a person's client would.
func TestClientOnPlatform(t *testing.T) {
	t.Parallel()
	p := platform(t)
	encoded, err := json.Marshal(p.Stack)
	if err != nil {
		t.Fatal(err)
	}
	profile := filepath.Join(t.TempDir(), "profile.json")
	if err := os.WriteFile(profile, encoded, 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-tags", "e2e", "-run", "TestOnPlatform", "./cmd/centralops")
	command.Dir = "../services/cli"
	command.Env = append(os.Environ(), "GOWORK=off", "CENTRALOPS_E2E_PROFILE="+profile,
		"CENTRALOPS_E2E_USERNAME=alice", "CENTRALOPS_E2E_PASSWORD="+p.Passwords["alice"])
	if printed, err := command.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, printed)
	}
}
