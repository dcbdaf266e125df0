package bridge_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/central-ops/central-ops/services/bridge"

// together are the packages under internal/ that may import another one, and why.
var together = map[string][]string{
	"internal/ask": {"internal/script"}, // writes and reads the script; script wraps nothing
}

// TestDependencyRules holds the layers apart: the domain knows the standard library only, an adapter
// wraps one dependency and knows no other adapter, and cmd/ alone puts them together.
func TestDependencyRules(t *testing.T) {
	t.Parallel()
	list := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "./...")
	list.Env = append(list.Environ(), "GOWORK=off")
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	packages := 0
	for {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages++
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		for _, imported := range p.Imports {
			within, ours := strings.CutPrefix(imported, module)
			within = strings.TrimPrefix(within, "/")
			first, _, _ := strings.Cut(imported, "/")
			switch {
			case name == "" && (strings.Contains(first, ".") || imported == "net/http" || imported == "os"):
				t.Errorf("the domain imports %s: it is standard library only, without os and net/http", imported)
			case strings.HasPrefix(imported, "github.com/central-ops/central-ops/") && !ours:
				t.Errorf("%s imports %s: no module imports another", name, imported)
			case strings.HasPrefix(within, "cmd/"):
				t.Errorf("%s imports %s: nothing imports a command", name, within)
			case strings.HasPrefix(name, "internal/") && strings.HasPrefix(within, "internal/") &&
				!strings.HasPrefix(name, "internal/operations") && !slices.Contains(together[name], within):
				t.Errorf("%s imports %s: an adapter knows no other", name, within)
			case imported == "os" && strings.HasPrefix(name, "internal/") && !strings.HasPrefix(name, "internal/operations/gen"):
				t.Errorf("%s imports os: cmd/ alone reads the environment", name)
			case name == "cmd/interceptor" && strings.Contains(imported, "aws-sdk-go"):
				t.Errorf("the interceptor imports %s: it runs before each request and stays small", imported)
			}
		}
	}
	if packages < 15 {
		t.Errorf("go list named %d packages only", packages)
	}
}
