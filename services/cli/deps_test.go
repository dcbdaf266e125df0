package centralops

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The domain knows no network, no file and no terminal, and adapters do not know each other. What
// may be imported is listed, with the reason.
func TestDependencies(t *testing.T) {
	t.Parallel()
	const module = "github.com/central-ops/central-ops/services/cli"
	allowed := map[string][]string{
		module:                        {}, // plain types
		module + "/internal/bearer":   {module},
		module + "/internal/cognito":  {module, module + "/internal/bearer"}, // bearer says why a request got no answer
		module + "/internal/bridge":   {module, module + "/internal/bearer"},
		module + "/internal/gateway":  {module, module + "/internal/bearer", module + "/internal/bridge"}, // bridge says what its answers mean
		module + "/internal/runtime":  {module, module + "/internal/bearer", module + "/internal/bridge"},
		module + "/internal/profile":  {module},
		module + "/internal/markdown": {},
		module + "/internal/terminal": {},
		module + "/cmd/centralops":    nil, // wires everything
	}
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		may, listed := allowed[fields[0]]
		if !listed {
			t.Errorf("package %s is not listed here", fields[0])
		}
		for _, imported := range fields[1:] {
			if strings.HasPrefix(imported, module) && may != nil && !slices.Contains(may, imported) {
				t.Errorf("%s imports %s", fields[0], imported)
			}
			if fields[0] == module && (strings.Contains(imported, ".") || strings.HasPrefix(imported, "net") || imported == "os") {
				t.Errorf("the domain imports %s", imported)
			}
			if strings.Contains(imported, "aws-sdk-go") {
				t.Errorf("%s imports %s: the client sends tokens, never AWS credentials", fields[0], imported)
			}
		}
	}
}
