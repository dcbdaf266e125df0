// Package product builds the product's binaries for tests, and installs the emulator's Python environment.
package product

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Build makes the binaries of the tree at root in dir, laid out as local.Options.Binaries wants them, as `make build`
// does, and root's .venv if it isn't there.
func Build(root, dir string) error {
	for _, b := range []struct{ module, command, output, tags string }{
		{"services/bridge", "./cmd/bridge", "bridge/bootstrap", "lambda.norpc"},
		{"services/bridge", "./cmd/interceptor", "interceptor/bootstrap", "lambda.norpc"},
		{"services/agent", "./cmd/agent", "agent", ""},
		{"e2e", "./cmd/platform", "platform", ""},
	} {
		command := exec.Command("go", "build", "-trimpath", "-tags", b.tags, "-o", filepath.Join(dir, b.output), b.command)
		command.Dir = filepath.Join(root, b.module)
		command.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
		if output, err := command.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s in %s: %w\n%s", b.command, b.module, err, output)
		}
	}
	if output, err := exec.Command("make", "-C", root, "python").CombinedOutput(); err != nil {
		return fmt.Errorf("make python: %w\n%s", err, output)
	}
	return nil
}
