package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

//go:generate go test -run ^(TestCommandPages|TestErrors)$ -update .

var update = flag.Bool("update", false, "rewrite docs/cli and testdata")

// pagesDir holds a page for each command.
const pagesDir = "../../../../docs/cli"

// golden compares got with a file, or rewrites the file.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; go generate ./cmd/centralops writes it", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s mismatch (-want +got), go generate ./cmd/centralops rewrites it:\n%s", file, diff)
	}
}

// The pages in docs/cli are what --help prints, for every command.
func TestCommandPages(t *testing.T) {
	t.Parallel()
	root := (&app{}).root()
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	pages := map[string]bool{"README.md": true}
	index := "# The commands of centralops\n\nWritten by `go generate ./cmd/centralops` in services/cli from the commands themselves.\n\n| Command | |\n|---|---|\n"
	var write func(*cobra.Command)
	write = func(command *cobra.Command) {
		var help bytes.Buffer
		command.SetOut(&help)
		if err := command.Help(); err != nil {
			t.Fatal(err)
		}
		name := strings.ReplaceAll(command.CommandPath(), " ", "-") + ".md"
		pages[name] = true
		index += fmt.Sprintf("| [%s](%s) | %s |\n", command.CommandPath(), name, command.Short)
		golden(t, filepath.Join(pagesDir, name), fmt.Sprintf("# %s\n\n```text\n%s\n```\n", command.CommandPath(), strings.TrimSpace(help.String())))
		for _, sub := range command.Commands() {
			write(sub)
		}
	}
	write(root)
	golden(t, filepath.Join(pagesDir, "README.md"), index)

	files, err := filepath.Glob(filepath.Join(pagesDir, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !pages[filepath.Base(file)] {
			t.Errorf("%s is of no command", file)
		}
	}
}

// Every command has an example and tells what it does; --help prints it to standard output.
func TestHelp(t *testing.T) {
	t.Parallel()
	for _, command := range (&app{}).root().Commands() {
		if command.Runnable() && (command.Example == "" || command.Long == "") {
			t.Errorf("%s has no example or no long text", command.Name())
		}
		if !command.Runnable() {
			continue
		}
		got := newCLI(t).run(command.Name(), "--help")
		if got.status != 0 || got.stderr != "" || !strings.HasPrefix(got.stdout, command.Long[:20]) {
			t.Errorf("%s --help: %+v", command.Name(), got)
		}
	}
}
