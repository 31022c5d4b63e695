# make            prints all targets
# make demo       starts a real cluster and an edge node on this machine
# make test       runs all tests and checks
SHELL   := /bin/bash
BIN     := bin
TOOL    := go tool -modfile=$(CURDIR)/.tools/go.mod
# grpcnotrace leaves grpc's request traces out, which nothing reads: html/template and 650 KB of a program.
BUILD   := CGO_ENABLED=0 go build -trimpath -tags=grpcnotrace -ldflags='-s -w'
MODULES := bus/pipeline/extra cmd/cluster cmd/demo cmd/edgepipe cmd/release controller/console/pagetest controller/install/monitoring/alertstest controller/install/rendertest device/sinks examples/mappers examples/pipelines

.DEFAULT_GOAL := help
.PHONY: help
help: ## Print this help
	@awk -F ':.*## ' '/^## /{printf "\n%s\n", substr($$0, 4)} /^[a-z0-9-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' Makefile

## Try it
.PHONY: demo demo-down thermometer cluster-up cluster-down
demo: ## Start a real cluster and one edge node; run an app and a device on it (root, Debian)
	@cd cmd/demo && go run . up
demo-down: ## Remove everything that the demo made
	@cd cmd/demo && go run . down
thermometer: ## Run a driver, a twin and MQTT in one program: no cluster, no root
	@go run ./examples/thermometer
cluster-up: ## Start only the development cluster: control plane and container runtime (root)
	@cd cmd/cluster && go run . up
cluster-down: ## Remove the development cluster (root)
	@cd cmd/cluster && go run . down

## Build
.PHONY: build release generate packages mapper-images console
build: ## Build cloudcore, edgecore, edgectl and edgepipe into bin/
	@mkdir -p $(BIN)
	$(BUILD) -o $(BIN)/ ./cmd/cloudcore ./cmd/edgecore ./cmd/edgectl
	cd cmd/edgepipe && $(BUILD) -o $(CURDIR)/$(BIN)/ .
mapper-images: ## Build a container image of each mapper into bin/images, without a container engine
	@cd cmd/cluster && go run ./mapperimages --out $(CURDIR)/$(BIN)/images
console: ## Build the console's web page into controller/console/page/dist, which is committed (node, npm); SHOTS=1 makes the screenshots anew, NODES=100000 measures it with so many nodes (RESULT lines)
	cd controller/console/page && npm ci --no-audit --no-fund --ignore-scripts && npm run check && npm run build
	$(if $(SHOTS),cd controller/console/pagetest && SCREENSHOTS=1 go test -count=1 -run TestPages .)
	$(if $(NODES),cd controller/console/pagetest && NODES=$(NODES) go test -count=1 -v -run 'TestUse/mouse' . | grep -E '^(RESULT|---|ok|FAIL)')
release: ## Build programs, packages, images, the upgrade artefact, SBOMs and sums into bin/release, without a container engine: VERSION= ARCHS=amd64,arm64,arm,riscv64 KEY=file CERT=file INCLUDE=files, see cmd/release
	@cd cmd/release && go run . build $(if $(VERSION),--version=$(VERSION)) $(if $(ARCHS),--archs=$(ARCHS)) $(if $(KEY),--key=$(abspath $(KEY))) $(if $(CERT),--cert=$(abspath $(CERT))) $(if $(INCLUDE),--include=$(INCLUDE))
generate: ## Regenerate code and resource definitions
	go generate ./...
packages:
	@.ci/packages

## Test
.PHONY: skew test test-repeat test-alone unit race norace real lint arch api generated cross cross-quick cross-test release-check fleet console-fleet sites e2e e2e-autonomy e2e-pods e2e-volumes e2e-metrics compare-metrics e2e-modbus e2e-rules e2e-pipeline e2e-cluster conformance fuzz fuzz-quick attacks model crash twin-chaos churn churn-quick stock vm vm-upgrade monitoring
test: packages arch lint api generated cross-quick cross-test release-check race norace fuzz-quick real fleet e2e churn-quick ## Run all tests and checks; .ci/run runs this (root)
test-repeat: ## Run TARGET (test) N times (10) beside two busy loops; continue after failures and list them (RESULT lines)
	@MAKE="$(MAKE)" .ci/repeat $(or $(N),10) $(or $(TARGET),test)
test-alone: ## Run every test of the root module in a process of its own, so that none needs another one: PACKAGES=./edged/... (RESULT lines); 30 minutes
	@.ci/alone $(PACKAGES)
unit: ## Run the unit tests without the race detector
	go test ./...
	@for m in $(MODULES); do (cd $$m && go test $$(go list ./... | grep -v /e2e)) || exit 1; done
race: ## Run the unit tests with the race detector, in random order
	go test -race -shuffle=on -timeout 20m ./...
	@for m in $(MODULES); do (cd $$m && go test -race -shuffle=on $$(go list ./... | grep -v /e2e)) || exit 1; done
norace: ## Run the tests that are too slow or too large for the race detector: power cuts, kills, memory budgets (the disk tests need root)
	go test -count=1 -run 'TestPowerCut|TestKill$$|TestRandomDamage|TestEncryptedStore|TestMemory' ./meta/badgerstore ./hub/wsconn ./twin
	go test -count=1 -run '^TestAttack|^TestRealObjects' $$(grep -rl --include='*_test.go' '^func TestAttack' . | grep -vE '^./($(subst $() ,|,$(MODULES)))/' | xargs -n1 dirname | sort -u)
real: ## Run edged's tests against a containerd of their own: TESTS=regex; part of make test (root, Debian)
	@if [ "$$(id -u)" != 0 ]; then echo "real: skipped: containers need root"; exit 0; fi; \
	mkdir -p $(BIN) && go test -c $(REALFLAGS) -o $(CURDIR)/$(BIN)/edged.test ./edged && cd cmd/cluster && \
	go run . run sh -c 'cd $(CURDIR)/edged && exec $(CURDIR)/$(BIN)/edged.test -test.v -test.timeout 15m -test.run "$(or $(TESTS),^TestReal)"' > $(CURDIR)/$(BIN)/real.log 2>&1; \
	bad=$$?; [ $$bad = 0 ] && grep -E '^(--- |ok|PASS|RESULT)' $(CURDIR)/$(BIN)/real.log || cat $(CURDIR)/$(BIN)/real.log; exit $$bad
lint: ## Run the linters at their pinned versions
	@lint=$$($(TOOL) -n golangci-lint) && for m in . $(MODULES); do echo "lint $$m" && (cd $$m && $$lint run -c $(CURDIR)/.golangci.yml ./...) || exit 1; done
arch: ## Check the architecture: import direction, heavy dependencies, house style
	go test -count=1 .
api: ## Compare the exported API with the last closed version; list incompatible changes in .ci/api-changes
	@.ci/api
generated: ## Fail if generated files differ from what their sources produce
	@sum() { find device bus/rules bus/pipeline/v1alpha1 edged/jobs controller/devices/client controller/groups controller/sites controller/install/monitoring -name 'zz_generated*' -o -path '*crds*' -type f -o -path '*devices/client/*' -type f -o -name METRICS.md -o -name EVENTS.md -o -name TRACES.md | sort | xargs sha256sum; }; \
	before=$$(sum); go generate ./device/... ./bus/rules/... ./bus/pipeline/v1alpha1 ./edged/jobs/... ./controller/groups/... ./controller/sites/... ./controller/devices/client ./cmd/cloudcore ./cmd/edgecore ./cmd/internal/metricstest ./cmd/internal/tracing && [ "$$before" = "$$(sum)" ] || { echo "run 'make generate' and commit what it changed"; exit 1; }
cross-quick: ## The short form of cross, with the two platforms that differ most; part of make test
	@$(MAKE) --no-print-directory cross PLATFORMS="linux/arm windows/amd64"
cross: ## Build for other platforms: ARM for edge nodes, macOS and Windows for developers; each takes six minutes of processor time with an empty cache: PLATFORMS="linux/arm64 ..."
	@for t in $(or $(PLATFORMS),linux/arm64 linux/arm darwin/arm64 windows/amd64); do echo "build $$t"; \
		CGO_ENABLED=0 GOOS=$${t%/*} GOARCH=$${t#*/} go build ./... || exit 1; done
skew: ## Run edgecore and cloudcore of two earlier versions (.ci/skew-versions) with this tree's, both ways (root; needs 'make cluster-up' once; RESULT lines)
	SKEW=1 go test -count=1 -timeout 60m -v -run TestSkew ./cmd/internal/skew
release-check: ## Build a release twice in two folders and compare all bytes, run the commands of cmd/release/README.md on it: ARCHS= (amd64) FRESH=1 compiles all anew (RESULT lines); its short form is part of make test
	cd cmd/release && RELEASE_ARCHS=$(or $(ARCHS),amd64) RELEASE_FRESH=$(FRESH) go test -count=1 -timeout=60m -v ./e2e
cross-test: ## Run unit tests of chosen packages as programs for 32-bit ARM (v7) and riscv64, in an emulator: FULL=1 adds the store and the twins (Debian: qemu-user-static; RESULT lines); its short form is part of make test
	@.ci/cross-test $(if $(FULL),full)
model: ## Test the protocol against a model, with cuts and crashes at every effect on both ends: STEPS=n SEED=n (RESULT lines)
	STEPS=$(or $(STEPS),1000000) SEED=$(or $(SEED),1) go test -count=1 -timeout 0 -v -run TestModelRun ./hub
crash: ## Kill a process with an open store N times (2000) and cut its disk's power N/20 times (RESULT lines; the disk needs root)
	CRASH_KILLS=$(or $(N),2000) CRASH_CUTS=$$(($(or $(N),2000) / 20 + 1)) DAMAGE_SEEDS=$(or $(N),2000) \
		go test -count=1 -timeout 0 -v -run 'TestKill$$|TestPowerCut|TestRandomDamage' ./meta/badgerstore
fleet: ## Run 2,000 nodes on one server: memory of each, delivery, a restart of the server; 1,000 simulated nodes at three cloudcores and a real API server, with a browser clicking through the console
	NODES=2000 go test -count=1 -v -run 'TestFleet$$' ./hub/hubbench
	NODES=1000 PODS=1 TWINS=1 REST=5 CONSOLE=1 go test -count=1 -v -run 'TestFleetReal$$' ./cmd/cloudcore
sites: ## Run EdgeSyncs against a real API server with OBJECTS (10000) custom resources; the short form is part of make test
	OBJECTS=$(or $(OBJECTS),10000) go test -count=1 -v -run 'TestSites$$' ./controller/install
console-fleet: ## Have a real browser click through the console of a cloudcore with NODES=n (1000) simulated nodes and a real API server behind it (needs Chromium and 'make cluster-up' once; RESULT lines)
	CONSOLE=1 NODES=$(or $(NODES),1000) go test -count=1 -timeout 20m -v -run 'TestConsoleFleet$$' ./cmd/cloudcore
e2e: ## Run the end-to-end tests: real cluster, container runtime and network (root)
	cd cmd/demo && $(CURDIR)/.ci/failures go test -count=1 -timeout=30m -v ./e2e
e2e-autonomy: ## Cut a node off, reboot it, kill edgecore KILLS times (200): no container may restart; also policies, expiring certificates and tokens, a full disk; 22 minutes (root)
	cd cmd/demo && AUTONOMY_KILLS=$(or $(KILLS),200) $(CURDIR)/.ci/failures go test -count=1 -timeout=60m -v -run 'TestAutonomy$$' ./e2e
e2e-pods: ## Run the pod tests of e2e: phases, refused fields, probes while containerd restarts, starts without a link; 5 minutes (root)
	cd cmd/demo && PODS=1 $(CURDIR)/.ci/failures go test -count=1 -timeout=30m -v -run 'TestPods$$' ./e2e
e2e-volumes: ## Run the volume tests of e2e: local volumes, a StatefulSet on local-path-provisioner, an attached CSI volume, an image, an eviction; 3 minutes (root)
	cd cmd/demo && VOLUMES=1 $(CURDIR)/.ci/failures go test -count=1 -timeout=30m -v -run 'TestVolumes$$' ./e2e
e2e-metrics: ## Run the stock metrics-server: kubectl top shows the edge node, the autoscaler scales a Deployment (root; RESULT lines)
	cd cmd/demo && METRICS_SERVER=1 $(CURDIR)/.ci/failures go test -count=1 -timeout=60m -v -run 'TestMetrics$$' ./e2e
compare-metrics: ## Compare what edgecore and the stock kubelet show to Prometheus, with the same pods, against what kube-prometheus uses (root; RESULT lines)
	@cd cmd/demo && go run ./comparemetrics
e2e-modbus: ## Run the device test of e2e: a Modbus device follows the cloud and back, through a cut, all parts killed in any order; 10 minutes (root)
	cd cmd/demo && MODBUS=1 $(CURDIR)/.ci/failures go test -count=1 -timeout=30m -v -run 'TestModbus$$' ./e2e
e2e-rules: ## Run rules in the cluster: all pairs with curl and mosquitto's clients, and an outage of the link (root)
	cd cmd/demo && RULES=1 $(CURDIR)/.ci/failures go test -count=1 -timeout=30m -v -run 'TestRules$$' ./e2e
e2e-pipeline: ## 1,000 sensors at 10 Hz into edgepipe for three minutes of their time, with the link cut: all aggregates once, and the bytes on the link against raw messages (RESULT lines); SENSORS=1000
	cd cmd/edgepipe && SENSORS=$(or $(SENSORS),1000) go test -count=1 -timeout=60m -v -run 'TestSensors$$' .
e2e-cluster: ## Two edge nodes with node-exporter, fluent-bit, kube-state-metrics, Prometheus, metrics-server, CoreDNS, kube-proxy, an operator, an ingress and a StatefulSet, online and cut off; 15 minutes (root; RESULT lines)
	cd cmd/demo && CLUSTER=1 $(CURDIR)/.ci/failures go test -count=1 -timeout=100m -v -run 'TestCluster$$' ./e2e
monitoring: ## Build Prometheus and promtool (the first time only: 10 minutes on two busy cores), test the alerts, then have each fire and resolve in the real Prometheus; 5 minutes (root; needs 'make cluster-up' once; RESULT lines). Its promtool tests are part of make test where promtool was built
	cd controller/install/monitoring/alertstest && go run ./build && go test -count=1 . && go test -count=1 -timeout=30m -v ./e2e
conformance: ## Run Kubernetes' own tests against an edge node: the stream tests, or FOCUS=regex, for example '\[NodeConformance\]', or LABELS=filter of ginkgo, see cmd/demo/conformance; PROCS=n (root, Debian; RESULT lines)
	@cd cmd/demo && go run ./conformance $(if $(FOCUS),--focus='$(FOCUS)') $(if $(LABELS),--labels='$(LABELS)') $(if $(PROCS),--procs=$(PROCS))
churn: ## Start and delete PODS=n (500) pods while edgecore and containerd are killed, the disk is full and CNI fails; then look for leaks: SEED=n (RESULT lines; root)
	@cd cmd/demo && go run ./churn --pods=$(or $(PODS),500) --seed=$(or $(SEED),0)
churn-quick: ## The short form of churn; part of make test (root)
	@cd cmd/demo && go run ./churn --pods=50 --kills=2 --trouble=15s
vm: ## Run edgecore on emulated Debian machines with systemd, through power cuts: LEGS=2-cgroupfs,... PARTS=pods,... ARCH=arm64 SHORT=1 KEEP=1, see cmd/demo/vm (root, Debian; RESULT lines)
	@cd cmd/demo && go run ./vm --arch=$(or $(ARCH),amd64) $(if $(LEGS),--legs=$(LEGS)) $(if $(PARTS),--parts=$(PARTS)) $(if $(SHORT),--short) $(if $(KEEP),--keep)
vm-upgrade: ## Install the Debian package on an emulated machine, join, upgrade and return by NodeUpgradeJobs while the power is cut CUTS=n (12) times: ARCH=arm64 (root, Debian; RESULT lines)
	@cd cmd/demo && go run ./vm --upgrade --cuts=$(or $(CUTS),12) --arch=$(or $(ARCH),amd64) $(if $(LEGS),--legs=$(LEGS)) $(if $(PARTS),--parts=$(PARTS)) $(if $(KEEP),--keep)
stock: ## Run stock kubectl and kube-proxy against the node's own API, with a cloud and without (root)
	cd cmd/cluster/kube && CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o $(CURDIR)/$(BIN)/ k8s.io/kubernetes/cmd/kubectl k8s.io/kubernetes/cmd/kube-proxy
	go test -c -o $(BIN)/apiserver.test ./meta/apiserver
	KUBECTL=$(CURDIR)/$(BIN)/kubectl $(BIN)/apiserver.test -test.v -test.run TestKubectl
	KUBE_PROXY=$(CURDIR)/$(BIN)/kube-proxy unshare -n $(BIN)/apiserver.test -test.v -test.run TestKubeProxy
	@if command -v nft; then KUBE_PROXY_MODE=nftables KUBE_PROXY=$(CURDIR)/$(BIN)/kube-proxy unshare -n $(BIN)/apiserver.test -test.v -test.run TestKubeProxy; \
		else echo "no nft: kube-proxy is not tried in nftables mode"; fi
fuzz: ## Run every fuzz target for FUZZTIME (10s); continue after failures and list them (RESULT lines)
	@.ci/fuzz $(or $(FUZZTIME),10s)
fuzz-quick: ## Run every fuzz target for FUZZTIME (200x: 200 inputs) without coverage guidance; part of make test
	@.ci/fuzz $(or $(FUZZTIME),200x) quick
attacks: ## Search longer (STEPS=600) for the most that a hostile node or neighbour can do: TestAttack of each package (RESULT lines)
	@log=$$(mktemp) && trap "rm -f $$log" EXIT && set -o pipefail && \
	{ ATTACK_STEPS=$(or $(STEPS),600) go test -count=1 -timeout 60m -v -run '^TestAttack' $$(grep -rl --include='*_test.go' '^func TestAttack' . | grep -vE '^./($(subst $() ,|,$(MODULES)))/' | xargs -n1 dirname | sort -u) \
		| tee $$log | grep -E '^(DECODE|RESULT|FAIL|ok|---)|^ +--- FAIL|_test.go:'; bad=$$?; \
	awk '$$1 == "DECODE" && $$3 > worst { worst = $$3; name = $$2 } END { printf "worst decoder: %s\nRESULT attack_decode_multiple %s x\n", name, worst }' $$log; exit $$bad; }
twin-chaos: ## Kill edgecore's twin, mosquitto, mappers and connections KILLS=n (200) times in any order while UPDATES=n (1000000) are reported: SEED=n (RESULT lines); its short form is part of make test
	UPDATES=$(or $(UPDATES),1000000) KILLS=$(or $(KILLS),200) SEED=$(or $(SEED),1) go test -count=1 -timeout 0 -v -run 'TestChaos$$' ./twin/mqtt

## Measure (each target ends with lines: RESULT name value unit)
.PHONY: bench bench-agent bench-coldstart bench-link bench-fleet bench-fleet-real bench-streams bench-cp bench-rest bench-meta bench-bus bench-twin bench-device bench-pipeline
bench: ## Run the Go benchmarks of all packages
	go test -run '^$$' -bench . -benchmem ./...
bench-agent: ## Measure edgecore: memory at rest, start time, size, pods; PEER=kubelet adds the kubelet (root)
	@cd cmd/demo && go run ./bench
bench-coldstart: ## Measure a power-on with no network, expired certificates and 100 pods (root: it uses its own network namespace)
	go test -count=1 -v -run TestColdStart ./cmd/edgecore
bench-link: ## Measure the link: objects, round trips, streams, with delay and loss
	BENCH=1 go test -count=1 -v -run TestLink ./hub/hubbench
bench-streams: ## Measure kubectl logs, exec and cp through the cloud, against a kubelet API that is reached directly
	BENCH=1 go test -count=1 -v -run TestStreams ./controller/kubeletproxy
bench-cp: ## Measure kubectl cp into a container and back, against the stock kubelet in the same cluster (root)
	@cd cmd/demo && PEER=kubelet go run ./bench --starts=1 --pods=0 --copies=5
bench-fleet-real: ## Measure three cloudcores before a real API server with NODES=n (10000) simulated nodes of PODS=n (10) pods over TRANSPORT=ws|quic, and kill one of the three: TWINS=n RAMP=s REST=s LIMIT=s PROFILE=dir; '.ci/scale FILE' computes from its lines what larger fleets cost (RESULT lines; needs 'make cluster-up' once)
	cd cmd/cloudcore && NODES=$(or $(NODES),10000) PODS=$(or $(PODS),10) REST=$(or $(REST),60) LIMIT=$(or $(LIMIT),900) go test -count=1 -timeout 120m -v -run 'TestFleetReal$$' .
bench-fleet: ## Measure one server with NODES=n nodes over TRANSPORT=quic|ws: memory, CPU, delivery, restart; ONLY=rest (the first two), ONLY=delivery (the first three); PEER=quic-go adds a plain quic-go server
	BENCH=1 go test -count=1 -timeout 30m -v -run TestFleetMeasured ./hub/hubbench
bench-rest: ## Measure what a node at rest sends and receives, all layers counted (root)
	BENCH=1 go test -count=1 -v -run TestRestMeasured ./hub/hubbench
bench-bus: ## Measure the MQTT broker: messages of 64 bytes a second at QoS 0 and 1, in the same run on mochi-mqtt's server, memory of an idle client
	go test -count=1 -run '^$$' -bench 'QoS|Durable' -benchtime 500000x ./bus/broker
	go test -count=1 -run '^$$' -bench 'Idle' -benchtime 1x ./bus/broker
bench-meta: ## Measure the store: durable writes, list, open, memory, disk use with one hot key
	BENCH=1 go test -count=1 -timeout 30m -v -run TestMeasurements ./meta/badgerstore
bench-twin: ## Measure twins: updates in one program and over MQTT, durable (TWINBENCH=path of a client program); memory of 1,000 devices; bytes written by values at rest; 1,000 devices with 4 mappers while CHANGES=n (1000) reach them
	BENCH=1 go test -count=1 -timeout 30m -v -run '^(TestMeasured|TestMemory)$$' ./twin ./twin/mqtt
	BENCH=1 CHANGES=$(or $(CHANGES),1000) go test -count=1 -timeout 30m -v -run '^TestManyMappers$$' ./twin/mqtt
bench-pipeline: ## Measure pipelines: events a second of one core through filter and map, with and without decoding; memory of windows of 10,000 keys; durable writes and replay of a queue on disk; what an idle Pipeline adds to a node's resident memory
	go test -count=1 -run '^$$' -bench 'FilterMap' -benchtime 1000000x ./bus/pipeline
	go test -count=1 -run '^$$' -bench 'WindowKeys' -benchtime 5x ./bus/pipeline
	go test -count=1 -run '^$$' -bench 'Replay' -benchtime 1x ./bus/pipeline
	d=$$(mktemp -d) && (cd cmd/edgepipe && go build -trimpath -ldflags '-s -w' -o $$d/edgepipe . && BENCH=1 EDGEPIPE=$$d/edgepipe go test -count=1 -v -run '^TestIdle$$' .); r=$$?; rm -rf $$d; exit $$r
bench-device: ## Measure devices: values a second of a mapper to durable twins, start of 1,000 devices, writes to the API server for 10,000 devices that report once a second
	BENCH=1 go test -count=1 -timeout 30m -v -run '^TestMeasured$$' ./device/inprocess
	BENCH=1 go test -count=1 -timeout 30m -v -run '^TestStatusWrites$$' ./controller/devices
	cd examples/mappers && go test -count=1 -run '^$$' -bench '^BenchmarkPoints$$' -benchtime 2s ./modbus
