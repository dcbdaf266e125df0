module github.com/central-ops/central-ops/infra

go 1.26.0
