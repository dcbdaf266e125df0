module github.com/central-ops/central-ops/e2e

go 1.26.0
