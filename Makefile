# make            prints what there is
# make demo       the whole, for real, on this machine
# make test       everything that decides
SHELL   := /bin/bash
BIN     := bin
TOOL    := go tool -modfile=$(CURDIR)/.tools/go.mod
BUILD   := CGO_ENABLED=0 go build -trimpath -ldflags='-s -w'
MODULES := cmd/cluster cmd/demo

.DEFAULT_GOAL := help
.PHONY: help
help: ## Print this help
	@awk -F ':.*## ' '/^## /{printf "\n%s\n", substr($$0, 4)} /^[a-z0-9-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' Makefile

## See it work
.PHONY: demo demo-down thermometer cluster-up cluster-down
demo: ## A real cluster and one edge node; an app and a device through it (root, Debian)
	@cd cmd/demo && go run . up
demo-down: ## Remove all that the demo made
	@cd cmd/demo && go run . down
thermometer: ## A driver, a twin and MQTT in seconds: no cluster, no root
	@go run ./examples/thermometer
cluster-up: ## Only the development cluster: control plane and container runtime
	@cd cmd/cluster && go run . up
cluster-down: ## Remove the development cluster
	@cd cmd/cluster && go run . down

## Build
.PHONY: build generate packages
build: ## cloudcore, edgecore and edgectl into bin/
	@mkdir -p $(BIN)
	$(BUILD) -o $(BIN)/ ./cmd/cloudcore ./cmd/edgecore ./cmd/edgectl
generate: ## Make generated code and resource definitions anew
	go generate ./...
packages:
	@.ci/packages

## Test
.PHONY: test test-repeat unit race norace lint arch generated cross fleet e2e e2e-autonomy e2e-pods e2e-metrics conformance fuzz fuzz-quick attacks model crash stock vm-stock vm-units
test: packages arch lint generated cross race norace fuzz-quick fleet e2e ## Everything that decides; what .ci/run runs
test-repeat: ## The same N=n times (10) beside two busy loops, TARGET=test; goes on after failures and lists them (RESULT lines)
	@MAKE="$(MAKE)" .ci/repeat $(or $(N),10) $(or $(TARGET),test)
unit: ## Unit tests, quick
	go test ./...
	@for m in $(MODULES); do (cd $$m && go test $$(go list ./... | grep -v /e2e)) || exit 1; done
race: ## Unit tests with the race detector, shuffled
	go test -race -shuffle=on -timeout 20m ./...
	@for m in $(MODULES); do (cd $$m && go test -race -shuffle=on $$(go list ./... | grep -v /e2e)) || exit 1; done
norace: ## What the race detector is too slow or too large for: power cuts, kills, budgets of memory (root for the disk)
	go test -count=1 -run 'TestPowerCut|TestKill$$|TestRandomDamage|TestEncryptedStore|TestMemory' ./meta/badgerstore ./hub/wsconn
	go test -count=1 -run '^TestAttack|^TestRealObjects' $$(grep -rl --include='*_test.go' '^func TestAttack' . | grep -vE '^./($(subst $() ,|,$(MODULES)))/' | xargs -n1 dirname | sort -u)
lint: ## Linters at their pinned versions
	@lint=$$($(TOOL) -n golangci-lint) && for m in . $(MODULES); do echo "lint $$m" && (cd $$m && $$lint run -c $(CURDIR)/.golangci.yml ./...) || exit 1; done
arch: ## The architecture: import direction, fences, gates of the house style
	go test -count=1 .
generated: ## Fails when generated files are not what their sources make
	@sum() { find device -name 'zz_generated*' -o -path '*crds*' -type f | sort | xargs sha256sum; }; \
	before=$$(sum); go generate ./device/... && [ "$$before" = "$$(sum)" ] || { echo "run 'make generate' and commit what it changed"; exit 1; }
cross: ## Builds for the other platforms: ARM for real, macOS and Windows for those who develop there
	@for t in linux/arm64 linux/arm darwin/arm64 windows/amd64; do echo "build $$t"; \
		CGO_ENABLED=0 GOOS=$${t%/*} GOARCH=$${t#*/} go build ./... || exit 1; done
model: ## Cuts, and deaths at every effect, on both ends of a link: STEPS=n SEED=n (RESULT lines)
	STEPS=$(or $(STEPS),1000000) SEED=$(or $(SEED),1) go test -count=1 -timeout 0 -v -run TestModelRun ./hub
crash: ## A store whose process is killed N=n times, and whose disk loses its power N/20 times (RESULT lines; the disk needs root)
	CRASH_KILLS=$(or $(N),2000) CRASH_CUTS=$$(($(or $(N),2000) / 20 + 1)) DAMAGE_SEEDS=$(or $(N),2000) \
		go test -count=1 -timeout 0 -v -run 'TestKill$$|TestPowerCut|TestRandomDamage' ./meta/badgerstore
fleet: ## 2,000 nodes on one server: memory of each, delivery, a restart of the server
	NODES=2000 go test -count=1 -v -run 'TestFleet$$' ./hub/hubbench
e2e: ## End to end: real cluster, container runtime and network (root)
	cd cmd/demo && $(CURDIR)/.ci/failures go test -count=1 -timeout=30m -v ./e2e
e2e-autonomy: ## A node cut off and rebooted, edgecore killed KILLS times (200): no container restarts; policies, a certificate and a token that end, a full disk; 22 minutes (root)
	cd cmd/demo && AUTONOMY_KILLS=$(or $(KILLS),200) $(CURDIR)/.ci/failures go test -count=1 -timeout=60m -v -run 'TestAutonomy$$' ./e2e
e2e-pods: ## What pods do, of e2e: phases and processes, what is refused, probes under a restart of containerd, starts with no link; 5 minutes (root)
	cd cmd/demo && PODS=1 $(CURDIR)/.ci/failures go test -count=1 -timeout=30m -v -run 'TestPods$$' ./e2e
e2e-metrics: ## Stock metrics-server: kubectl top shows the edge node, the autoscaler scales a Deployment by its figures (root; RESULT lines)
	cd cmd/demo && METRICS_SERVER=1 go test -count=1 -timeout=60m -v -run 'TestMetrics$$' ./e2e
conformance: ## Kubernetes' own tests against an edge node: those of streams, or FOCUS=regex, for example '\[NodeConformance\]'; PROCS=n (root, Debian; RESULT lines)
	@cd cmd/demo && go run ./conformance $(if $(FOCUS),--focus='$(FOCUS)') $(if $(PROCS),--procs=$(PROCS))
vm-stock: ## The agent on an emulated Debian 12 with its own containerd 1.6, for both cgroup drivers (root, Debian; RESULT lines)
	@.ci/stock-machine $(BIN)/stock-machine
vm-units: ## The systemd units of cloudcore and edgecore on that Debian, with their sandbox, and after a reboot with no network (root, Debian; RESULT lines)
	@.ci/stock-machine $(BIN)/stock-machine units
stock: ## Stock kubectl and kube-proxy against the node's own API, with a cloud and without (root)
	cd cmd/cluster/kube && CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o $(CURDIR)/$(BIN)/ k8s.io/kubernetes/cmd/kubectl k8s.io/kubernetes/cmd/kube-proxy
	go test -c -o $(BIN)/apiserver.test ./meta/apiserver
	KUBECTL=$(CURDIR)/$(BIN)/kubectl $(BIN)/apiserver.test -test.v -test.run TestKubectl
	KUBE_PROXY=$(CURDIR)/$(BIN)/kube-proxy unshare -n $(BIN)/apiserver.test -test.v -test.run TestKubeProxy
	@if command -v nft; then KUBE_PROXY_MODE=nftables KUBE_PROXY=$(CURDIR)/$(BIN)/kube-proxy unshare -n $(BIN)/apiserver.test -test.v -test.run TestKubeProxy; \
		else echo "no nft: kube-proxy is not tried in nftables mode"; fi
fuzz: ## Every fuzz target for FUZZTIME (10s); goes on after one that fails and ends with the list (RESULT lines)
	@.ci/fuzz $(or $(FUZZTIME),10s)
fuzz-quick: ## Every fuzz target for FUZZTIME (200x, that many inputs), without guidance: part of make test
	@.ci/fuzz $(or $(FUZZTIME),200x) quick
attacks: ## What a hostile node or neighbour can do at most: each package's TestAttack, with a longer search (RESULT lines)
	@log=$$(mktemp) && trap "rm -f $$log" EXIT && set -o pipefail && \
	{ ATTACK_STEPS=$(or $(STEPS),600) go test -count=1 -timeout 60m -v -run '^TestAttack' $$(grep -rl --include='*_test.go' '^func TestAttack' . | grep -vE '^./($(subst $() ,|,$(MODULES)))/' | xargs -n1 dirname | sort -u) \
		| tee $$log | grep -E '^(DECODE|RESULT|FAIL|ok|---)|^ +--- FAIL|_test.go:'; bad=$$?; \
	awk '$$1 == "DECODE" && $$3 > worst { worst = $$3; name = $$2 } END { printf "worst decoder: %s\nRESULT attack_decode_multiple %s x\n", name, worst }' $$log; exit $$bad; }

## Measure (each ends with lines: RESULT name value unit)
.PHONY: bench bench-agent bench-coldstart bench-link bench-fleet bench-streams bench-cp bench-rest bench-meta
bench: ## Go benchmarks of all packages
	go test -run '^$$' -bench . -benchmem ./...
bench-agent: ## edgecore: memory at rest, start, size, pods (PEER=kubelet adds the kubelet) (root)
	@cd cmd/demo && go run ./bench
bench-coldstart: ## Power on with no network, expired certificates and 100 pods (root: in a network of its own)
	go test -count=1 -v -run TestColdStart ./cmd/edgecore
bench-link: ## The link: objects, round trips, streams, with delay and loss
	BENCH=1 go test -count=1 -v -run TestLink ./hub/hubbench
bench-streams: ## kubectl logs, exec and cp through the cloud, against a kubelet API that is reached directly
	BENCH=1 go test -count=1 -v -run TestStreams ./controller/kubeletproxy
bench-cp: ## kubectl cp into a container and back, against the stock kubelet in the same cluster (root)
	@cd cmd/demo && PEER=kubelet go run ./bench --starts=1 --pods=0 --copies=5
bench-fleet: ## One server with NODES=n nodes over TRANSPORT=quic|ws: memory, CPU, delivery, restart (ONLY=rest: the first two, ONLY=delivery: three; PEER=quic-go adds a server that is quic-go alone)
	BENCH=1 go test -count=1 -timeout 30m -v -run TestFleetMeasured ./hub/hubbench
bench-rest: ## What a node at rest costs on the wire, all layers counted (root)
	BENCH=1 go test -count=1 -v -run TestRestMeasured ./hub/hubbench
bench-meta: ## The store: durable writes, list, open, memory, disk under a hot key
	BENCH=1 go test -count=1 -timeout 30m -v -run TestMeasurements ./meta/badgerstore
