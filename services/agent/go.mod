module github.com/central-ops/central-ops/services/agent

go 1.26.0
