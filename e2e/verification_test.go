package e2e_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/central-ops/central-ops/e2e/local"
)

// docs/verification.md names tests, and the stand-ins' assumptions by how their ids begin. Both must be there.
func TestVerificationNamesTests(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../docs/verification.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(raw)

	declared := map[string]bool{}
	declaration := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err = filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != ".." && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "node_modules" || entry.Name() == "build"):
			return filepath.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		source, err := os.ReadFile(path)
		for _, found := range declaration.FindAllSubmatch(source, -1) {
			declared[string(found[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`\bTest[A-Z]\w+`).FindAllString(page, -1)
	if len(named) < 10 {
		t.Errorf("the page names %d tests", len(named))
	}
	for _, name := range named {
		if !declared[name] {
			t.Errorf("the page names %s, which no test file declares", name)
		}
	}

	rows := map[string]bool{}
	for _, row := range local.Assumptions() {
		prefix, _, _ := strings.Cut(row.ID, "-")
		rows[prefix] = true
		if !strings.Contains(page, "`"+prefix+"-*`") {
			t.Errorf("the page says of no stand-in that it assumes %s", row.ID)
		}
	}
	for _, found := range regexp.MustCompile("`([a-z0-9]+)-\\*`").FindAllStringSubmatch(page, -1) {
		if !rows[found[1]] {
			t.Errorf("the page names assumptions %s-*, of which there are none", found[1])
		}
	}
}
