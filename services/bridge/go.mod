module github.com/central-ops/central-ops/services/bridge

go 1.26.0
