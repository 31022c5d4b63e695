# make            prints what there is
# make demo       the whole, for real, on this machine
# make test       everything that decides
SHELL := /bin/bash
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/edgekit
BIN   := bin
TOOL  := go tool -modfile=.tools/go.mod
BUILD := CGO_ENABLED=0 go build -trimpath -ldflags='-s -w'

.DEFAULT_GOAL := help
.PHONY: help
help: ## Print this help
	@awk -F ':.*## ' '/^## /{printf "\n%s\n", substr($$0, 4)} /^[a-z0-9-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' Makefile

## See it work
.PHONY: demo demo-down thermometer
demo: build ## Start a real cluster and an edge node; run an app and a device through it (root, Debian)
	@cd examples/demo && go run . up --bin $(CURDIR)/$(BIN)
demo-down: ## Remove all that the demo made
	@cd examples/demo && go run . down
thermometer: ## A driver, a twin and MQTT in seconds: no cluster, no root
	@go run ./examples/thermometer

## Build
.PHONY: build generate
build: ## Build cloudcore, edgecore and edgectl into bin/
	@mkdir -p $(BIN)
	@$(BUILD) -o $(BIN)/ ./cmd/cloudcore ./cmd/edgecore ./cmd/edgectl
generate: ## Make generated code and CRDs anew
	@go generate ./...

## Test
.PHONY: test unit race lint arch generated e2e fuzz
test: lint arch generated race e2e ## Everything: lint, arch, unit with -race, end to end
unit: ## Unit tests, quick
	go test ./...
race: ## Unit tests with the race detector, shuffled
	go test -race -shuffle=on -timeout 20m ./...
lint: ## Linters, at their pinned versions
	$(TOOL) golangci-lint run ./...
arch: ## The architecture: import direction, fences, gates of the house style
	go test -count=1 -run . .
