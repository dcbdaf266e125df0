package e2e_test

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What the documentation names must exist: tests, make targets, files that it links to. Threat model and verification
// page are claims about tests; a renamed test would leave them hollow.
func TestDocumentationNamesWhatExists(t *testing.T) {
	t.Parallel()
	files := trackedFiles(t)
	tests := declaredTests(t, files)
	targets := makeTargets(t)
	named := 0
	for _, file := range files {
		if filepath.Ext(file) != ".md" {
			continue
		}
		text := readTree(t, file)
		for _, match := range testName.FindAllString(text, -1) {
			named++
			if !tests[match] {
				t.Errorf("%s names %s, and there is no such test", file, match)
			}
		}
		for _, match := range makeTarget.FindAllStringSubmatch(text, -1) {
			if !slices.Contains(targets, match[1]) {
				t.Errorf("%s names `make %s`, and there is no such target", file, match[1])
			}
		}
		for _, match := range link.FindAllStringSubmatch(text, -1) {
			address, err := url.Parse(match[1])
			if err != nil {
				t.Errorf("%s links to %q: %v", file, match[1], err)
				continue
			}
			if address.Scheme != "" || address.Path == "" {
				continue // another site, or a heading of this page
			}
			if _, err := os.Stat(filepath.Join("..", filepath.Dir(file), filepath.FromSlash(address.Path))); err != nil {
				t.Errorf("%s links to %s: %v", file, match[1], err)
			}
		}
	}
	if named == 0 {
		t.Error("no page names a test: has the way of naming them changed?")
	}
}

// The runbook has a row for each alarm, and none for an alarm that is gone.
func TestRunbookKnowsAllAlarms(t *testing.T) {
	t.Parallel()
	declared := map[string]bool{}
	source := readTree(t, "infra/observability/observability.go")
	for _, pattern := range []string{`\{"([a-z]+-[a-z]+)", "[A-Z]`, `NewMetricAlarm\(ctx, name\+"-([a-z-]+)"`} {
		for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(source, -1) {
			declared[match[1]] = true
		}
	}
	_, alarms, _ := strings.Cut(readTree(t, "docs/runbook.md"), "## Alarms")
	alarms, _, _ = strings.Cut(alarms, "\n## ")
	explained := map[string]bool{}
	for _, match := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|").FindAllStringSubmatch(alarms, -1) {
		explained[match[1]] = true
	}
	if len(declared) == 0 || len(explained) == 0 {
		t.Fatalf("declared %v, explained %v: has the way of writing them changed?", declared, explained)
	}
	for name := range declared {
		if !explained[name] {
			t.Errorf("docs/runbook.md does not explain the alarm %s", name)
		}
	}
	for name := range explained {
		if !declared[name] {
			t.Errorf("docs/runbook.md explains the alarm %s, and infra declares none", name)
		}
	}
}

// Settings of a stack that the documentation names exist.
func TestDocumentedSettingsExist(t *testing.T) {
	t.Parallel()
	for prefix, source := range map[string]string{"central-ops": "infra/config.go", "central-ops-member": "infra/member/main.go"} {
		code, named := readTree(t, source), 0
		setting := regexp.MustCompile(`\b` + prefix + `:([a-zA-Z]+)(-?)`)
		for _, file := range trackedFiles(t) {
			if filepath.Ext(file) != ".md" {
				continue
			}
			for _, match := range setting.FindAllStringSubmatch(readTree(t, file), -1) {
				if match[2] == "-" {
					continue // a key of a tag, such as central-ops:target-role
				}
				named++
				if !strings.Contains(code, `"`+match[1]+`"`) {
					t.Errorf("%s names the setting %s, which %s does not read", file, match[0], source)
				}
			}
		}
		if named == 0 {
			t.Errorf("no page names a setting of %s", prefix)
		}
	}
}

// The reasons for which a documented command is not executed name tests, too.
func TestReasonsNameTestsThatExist(t *testing.T) {
	t.Parallel()
	tests := declaredTests(t, trackedFiles(t))
	for _, document := range documented {
		for command, use := range document.commands {
			for _, name := range testName.FindAllString(use.reason, -1) {
				if !tests[name] {
					t.Errorf("%s: %s: the reason names %s, and there is no such test", document.file, command, name)
				}
			}
		}
	}
}

var (
	testName   = regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark)[A-Z]\w+\b`)
	makeTarget = regexp.MustCompile("`make ([a-z0-9-]+)")
	link       = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	testFunc   = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
)

// trackedFiles returns the tree's files, also those that are not committed yet.
func trackedFiles(t *testing.T) []string {
	t.Helper()
	listed, err := exec.Command("git", "-C", "..", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		t.Fatalf("list the tree: %v", err)
	}
	files := strings.Split(strings.TrimRight(string(listed), "\x00"), "\x00")
	return slices.DeleteFunc(files, func(file string) bool {
		_, err := os.Stat(filepath.Join("..", file))
		return os.IsNotExist(err) // deleted, and not committed yet
	})
}

func readTree(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func declaredTests(t *testing.T, files []string) map[string]bool {
	t.Helper()
	tests := map[string]bool{}
	for _, file := range files {
		if !strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, match := range testFunc.FindAllStringSubmatch(readTree(t, file), -1) {
			tests[match[1]] = true
		}
	}
	return tests
}

func makeTargets(t *testing.T) []string {
	t.Helper()
	var targets []string
	for _, match := range regexp.MustCompile(`(?m)^([a-z0-9-]+):`).FindAllStringSubmatch(readTree(t, "Makefile"), -1) {
		targets = append(targets, match[1])
	}
	return targets
}
