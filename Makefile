# Central Ops. `make` lists the targets. Every module is built and tested on its own (GOWORK=off), because
# that is how Pulumi's Go host and a reader who checks out one folder will build it.
SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export GOWORK    := off
MODULES := $(addprefix $(CURDIR)/,$(shell sed -n "s,^[[:space:]]\./,,p" go.work))
VERSION := $(shell git describe --always --dirty 2>/dev/null || echo unknown)
# Static, reproducible binaries; the bridge and the interceptor are Lambda bootstraps.
GOBUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags='-s -w -X main.version=$(VERSION)'

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

.PHONY: demo
demo: chain python ## start the local platform, ask one question, stop; Q="..." asks another
	@build/platform demo -question "$${Q:-List EC2 instances in account 222222222222}"

.PHONY: local
local: build python ## start the local platform and keep it until Ctrl-C
	@exec build/platform local

.PHONY: build
build: chain ## build every binary into build/
	@cd services/cli && $(GOBUILD) -o ../../build/centralops ./cmd/centralops
	@cd e2e && $(GOBUILD) -o ../build/evals ./cmd/evals

# What one question needs, and no more: a newcomer waits for it.
.PHONY: chain
chain:
	@command -v go >/dev/null || { echo "building needs Go 1.26 or newer as go on the PATH; try: https://go.dev/doc/install" >&2; exit 2; }
	@[ -x build/platform ] || echo "building; the first time it takes a minute or two" >&2
	@mkdir -p build/bridge build/interceptor
	@cd services/bridge && $(GOBUILD) -tags lambda.norpc -o ../../build/bridge/bootstrap ./cmd/bridge
	@cd services/bridge && $(GOBUILD) -tags lambda.norpc -o ../../build/interceptor/bootstrap ./cmd/interceptor
	@cd services/agent && $(GOBUILD) -o ../../build/agent ./cmd/agent
	@cd e2e && $(GOBUILD) -o ../build/platform ./cmd/platform

.PHONY: python
python: .venv/ready ## install the pinned Python packages of the emulator into .venv

# Debian's python3 comes without ensurepip; pip then installs into the environment from outside.
.venv/ready: e2e/local/requirements.txt
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "the emulator needs Python 3.10 or newer as python3 on the PATH, with pip; try: apt install python3 python3-pip, or python.org" >&2; exit 2; }
	@echo "installing the emulator (moto, boto3) into .venv" >&2
	@rm -rf .venv
	@if python3 -m venv .venv >/dev/null 2>&1; then pip=".venv/bin/python -m pip"; \
	 else rm -rf .venv; python3 -m venv --without-pip .venv; pip="python3 -m pip --python .venv/bin/python"; fi; \
	 $$pip install --quiet --disable-pip-version-check --require-hashes -r e2e/local/requirements.txt
	@touch $@

build/tools/%: e2e/go.mod
	@mkdir -p build/tools
	@cd e2e && go build -o ../$@ $$(go list -f '{{.ImportPath}}' tool | grep '/$*$$')

.PHONY: test
test: build python build/tools/gotestsum ## run every test of every module, with -race; ends with a count
	@rm -f build/count
	@GOTESTSUM_FORMAT=$${GOTESTSUM_FORMAT:-pkgname-and-test-fails} build/tools/gotestsum --raw-command \
	  --post-run-command '.ci/count build/count' -- .ci/gotest -race -shuffle=on -timeout=10m -- $(MODULES)

.PHONY: soak
soak: python ## ask half an hour of mixed questions as fast as they are answered; memory, threads and files must stay
	@cd e2e && go test -count=1 -timeout 20m -v -run TestSoak ./faults -soak $${QUESTIONS:-1800}

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (20s) each; a new target is found by itself
	@.ci/fuzz $(MODULES)

.PHONY: bench
bench: build python ## measure the promised speeds, and a Python handler beside the bridge; ARGS=-strict fails on a missed one
	@cd e2e && $(GOBUILD) -o ../build/bench ./bench
	@exec build/bench $(ARGS)

# With -race, so that what is compiled here is what `make test` needs: the largest dependency takes minutes.
.PHONY: verify
verify: build/tools/staticcheck ## gofmt, vet, staticcheck, tidy and a build of every module on its own, and of all in the workspace
	@unformatted=$$(gofmt -l $(MODULES)); [ -z "$$unformatted" ] || { echo "not gofmt'ed:"; echo "$$unformatted"; exit 1; }
	@export GOFLAGS=-race; for module in $(MODULES); do \
	  echo "verify $${module#$(CURDIR)/}"; cd $$module; \
	  go mod tidy -diff; go mod verify >/dev/null; go build ./...; go vet ./...; $(CURDIR)/build/tools/staticcheck ./...; \
	done
	@echo "verify the workspace"; GOWORK=$(CURDIR)/go.work go build $(addsuffix /...,$(MODULES))
	@dirty=$$(git status --porcelain); [ -z "$${CI:-}" ] || [ -z "$$dirty" ] || { echo "the tree changed:"; echo "$$dirty"; exit 1; }

.PHONY: evals
evals: build python ## ask the evaluation questions on the local platform; prints pass rate, turns, tokens, time
	@build/platform run build/evals -profile build/local/run.json

.PHONY: e2e
e2e: ## run the stories on the local platform; STACK=dev runs them on that Pulumi stack, see docs/live-stories.md
	@cd e2e && E2E_STACK="$(STACK)" go test -count=1 -timeout 30m -v .

.PHONY: evaluator
evaluator: infra/policy/simulate/node_modules/.package-lock.json ## install the evaluator that infra's tests judge the policies with; needs npm

infra/policy/simulate/node_modules/.package-lock.json: infra/policy/simulate/package-lock.json
	@cd infra/policy/simulate && npm ci --silent --no-audit --no-fund
	@touch $@

.PHONY: e2e-pulumi
e2e-pulumi: python evaluator ## deploy both Pulumi projects to the emulator, check what is there, run the stories on it; needs pulumi on PATH, and npm
	@cd infra && go test -count=1 ./policy
	@cd e2e && E2E_PULUMI=1 go test -count=1 -timeout 60m -v ./pulumi

.PHONY: clean
clean: ## remove what was built and installed
	@rm -rf build .venv
