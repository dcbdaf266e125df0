// Package motoenv finds the Python of the local platform for tests that need moto.
package motoenv

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// Variable names the interpreter for tests; without it the .venv at the root of the repository is taken.
const Variable = "CENTRAL_OPS_PYTHON"

// Python returns an interpreter that can import moto, or skips the test and says how to get one.
func Python(t testing.TB) string {
	t.Helper()
	python := os.Getenv(Variable)
	if python == "" {
		_, file, _, _ := runtime.Caller(0)
		python = filepath.Join(filepath.Dir(file), "..", "..", "..", ".venv", "bin", "python")
	}
	if err := exec.Command(python, "-I", "-c", "import moto, boto3, flask").Run(); err != nil {
		t.Skipf("no Python with moto at %s (%v): make the .venv by `make demo`, or set %s", python, err, Variable)
	}
	return python
}
