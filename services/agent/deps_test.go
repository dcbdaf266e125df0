package agent_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

type pkg struct {
	ImportPath string
	Imports    []string
	Doc        string
}

const module = "github.com/central-ops/central-ops/services/agent"

func packages(t *testing.T) []pkg {
	t.Helper()
	command := exec.Command("go", "list", "-json=ImportPath,Imports,Doc", "./...")
	output, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	decoder := json.NewDecoder(strings.NewReader(string(output)))
	for {
		var one pkg
		if err := decoder.Decode(&one); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
}

// The rules of the layout, each with its reason.
func TestDependencies(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		if p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
		for _, imported := range p.Imports {
			external := strings.Contains(strings.SplitN(imported, "/", 2)[0], ".")
			internal := strings.HasPrefix(imported, module+"/internal/")
			switch {
			case p.ImportPath == module && (external || imported == "os" || strings.HasPrefix(imported, "net/http")):
				t.Errorf("the domain imports %s: it must be testable and readable without any wire", imported)
			case strings.HasPrefix(p.ImportPath, module+"/internal/") && internal:
				t.Errorf("%s imports %s: adapters do not know each other, cmd wires them", p.ImportPath, imported)
			case strings.HasPrefix(imported, module+"/cmd/"):
				t.Errorf("%s imports %s: nothing imports a main", p.ImportPath, imported)
			case strings.HasSuffix(imported, "/internal/standin"):
				t.Errorf("%s imports the stand-ins: they are for tests", p.ImportPath)
			case strings.HasPrefix(imported, "github.com/central-ops/") && !strings.HasPrefix(imported, module):
				t.Errorf("%s imports %s: modules agree through files, environment and outputs", p.ImportPath, imported)
			}
		}
	}
}
