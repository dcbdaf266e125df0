module github.com/central-ops/central-ops/services/cli

go 1.26.0
