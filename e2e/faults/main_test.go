// Package faults_test breaks each hop of the chain in turn and holds what comes of it: the answer while the fault
// lasts, and the answer to the next question when it is over. docs/fault-matrix.md is written by TestFaultMatrix.
package faults_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/central-ops/central-ops/e2e/internal/product"
)

var update = flag.Bool("update", false, "rewrite docs/fault-matrix.md by what the run shows")

// binaries is the folder with the product's binaries, built from this tree.
var binaries string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "central-ops-faults-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binaries = dir
	if err := product.Build("../..", dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}
