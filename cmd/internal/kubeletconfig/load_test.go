package kubeletconfig

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestLoad maps fields of every form.
func TestLoad(t *testing.T) {
	dir := t.TempDir()
	file := write(t, dir, "config.yaml", head+`
maxPods: 250
port: 10250
podsPerCore: 0
failSwapOn: no
seccompDefault: true
clusterDNS: [10.96.0.10, "fd00::10"]
staticPodPath: manifests
resolvConf: /run/systemd/resolve/resolv.conf
evictionHard: {memory.available: 200Mi, nodefs.available: "5%"}
evictionSoft: {}
systemReserved: {cpu: 100m, memory: 256Mi}
enforceNodeAllocatable: []
imageMinimumGCAge: 0s
imageGCHighThresholdPercent: 90
cpuCFSQuotaPeriod: 50ms
memorySwap: {swapBehavior: LimitedSwap}
crashLoopBackOff: {maxContainerRestartPeriod: 1m}
memoryThrottlingFactor: 0.9
registerWithTaints: [{key: a, value: b, effect: NoSchedule}, {key: c, effect: NoExecute}]
reservedMemory: [{numaNode: 0, limits: {memory: 500Mi, hugepages-1Gi: 1}}]
shutdownGracePeriodByPodPriority: [{priority: 0, shutdownGracePeriodSeconds: 20}, {priority: 2000000000, shutdownGracePeriodSeconds: 10}]
staticPodURL: https://site/pods
staticPodURLHeader: {X-Token: [one, two], A: [b]}
maxParallelImagePulls: 5
serializeImagePulls: false
logging: {format: json, verbosity: 2}
featureGates: {B: true, A: false}
authentication: {x509: {clientCAFile: /ca}, webhook: {enabled: true}}
`)
	cfg, err := Load(file, "")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"max-pods": "250", "fail-swap-on": "false", "seccomp-default": "true", "cluster-dns": []string{"10.96.0.10", "fd00::10"},
		"static-pod-dir": filepath.Join(dir, "manifests"), "resolv-conf": "/run/systemd/resolve/resolv.conf",
		"eviction-hard":   map[string]string{"memory.available": "200Mi", "nodefs.available": "5%"},
		"system-reserved": map[string]string{"cpu": "100m", "memory": "256Mi"}, "enforce-node-allocatable": []string{"none"},
		"image-gc-high-threshold-percent": "90", "cpu-cfs-quota-period": "50ms", "memory-swap-behavior": "LimitedSwap",
		"max-container-restart-period": "1m0s", "memory-throttling-factor": "0.9", "register-with-taints": []string{"a=b:NoSchedule", "c:NoExecute"},
		"reserved-memory":                       []string{"0:hugepages-1Gi=1,memory=500Mi"},
		"shutdown-grace-period-by-pod-priority": map[string]string{"0": "20s", "2000000000": "10s"},
		"manifest-url":                          "https://site/pods", "manifest-url-header": []string{"A:b", "X-Token:one", "X-Token:two"},
	}
	got := make(map[string]any)
	for name, s := range cfg.Settings {
		got[name] = s.Value
	}
	for _, f := range Fields() { // what siblings have added since
		if f.Use == Used && want[f.Flag] == nil {
			delete(got, f.Flag)
		}
	}
	for name := range want {
		if !reflect.DeepEqual(got[name], want[name]) {
			t.Errorf("%s: got %q, want %q", name, got[name], want[name])
		}
	}
	for name := range got {
		if want[name] == nil {
			t.Errorf("unexpected setting %s: %q", name, got[name])
		}
	}
	if s := cfg.Settings["max-pods"]; s.Field != "maxPods" || s.File != file+":4" {
		t.Errorf("%+v", s)
	}
	var log bytes.Buffer
	cfg.Unused(slog.New(slog.NewTextHandler(&log, nil)))
	for _, want := range []string{"port: cloudcore serves", "logging.verbosity: edgecore has --log-level", "(A, B)", "authentication.x509.clientCAFile"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%q is not in %s", want, log.String())
		}
	}
	if n := strings.Count(log.String(), "\n"); n > len(groups) {
		t.Errorf("%d lines", n)
	}
	if strings.Contains(log.String(), "podsPerCore") || strings.Contains(log.String(), "maxPods") {
		t.Errorf("%s", log.String())
	}
}

// TestDropIns merges the files of a folder: maps by key, the rest as a whole.
func TestDropIns(t *testing.T) {
	dir := t.TempDir()
	conf := filepath.Join(dir, "conf.d")
	if err := os.Mkdir(conf, 0o700); err != nil {
		t.Fatal(err)
	}
	file := write(t, dir, "config.json", `{"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"maxPods": 10, "clusterDNS": ["10.0.0.1", "10.0.0.2"], "systemReserved": {"cpu": "1", "memory": "1Gi"}, "providerID": "x"}`)
	write(t, conf, "20-b.conf", head+"maxPods: 30\nproviderID: null\n")
	write(t, conf, "10-a.conf", head+"maxPods: 20\nclusterDNS: [10.0.0.3]\nsystemReserved: {cpu: \"2\"}\n")
	write(t, conf, "30-c.yaml", "not: read")
	cfg, err := Load(file, conf)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"max-pods": "30", "cluster-dns": []string{"10.0.0.3"}, "system-reserved": map[string]string{"cpu": "2", "memory": "1Gi"}}
	if len(cfg.Settings) != len(want) {
		t.Errorf("%+v", cfg.Settings)
	}
	for name, value := range want {
		if !reflect.DeepEqual(cfg.Settings[name].Value, value) {
			t.Errorf("%s: %q", name, cfg.Settings[name].Value)
		}
	}
	if _, err := Load("", conf); err != nil {
		t.Errorf("the folder alone: %v", err)
	}
	if _, err := Load("", filepath.Join(dir, "none")); err == nil {
		t.Error("a folder that is not there")
	}
}

// TestRefused: each fault names the field and the remedy, with the file and line.
func TestRefused(t *testing.T) {
	tests := map[string]struct {
		text, want string
	}{
		"unknown":            {head + "maxPodz: 1", ":3: unknown field maxPodz"},
		"case":               {head + "maxpods: 1", "did you mean maxPods?"},
		"nested unknown":     {head + "authentication: {x509: {ca: /x}}", "unknown field authentication.x509.ca"},
		"item unknown":       {head + "registerWithTaints: [{name: a}]", "unknown field registerWithTaints[0].name"},
		"twice":              {head + "maxPods: 1\nmaxPods: 2", "maxPods is given twice"},
		"key twice":          {head + "evictionHard: {a: \"1\", a: \"2\"}", "a is given twice"},
		"number for text":    {head + "containerLogMaxSize: 10", "containerLogMaxSize: 10: want a text: put it in quotes"},
		"text for number":    {head + "maxPods: \"10\"", "without quotes"},
		"text for bool":      {head + "failSwapOn: \"true\"", "want true or false"},
		"no unit":            {head + "imageMinimumGCAge: 120", "with its unit"},
		"no list":            {head + "clusterDNS: 10.0.0.1", "clusterDNS: want a list"},
		"no object":          {head + "authentication: true", "authentication: want an object"},
		"quantity":           {head + "reservedMemory: [{numaNode: 0, limits: {memory: much}}]", "want a quantity"},
		"kind":               {"apiVersion: v1\nkind: Pod\n", "want kind: KubeletConfiguration"},
		"version":            {"apiVersion: kubelet.config.k8s.io/v1alpha1\nkind: KubeletConfiguration\n", "want kind: KubeletConfiguration of apiVersion: kubelet.config.k8s.io/v1beta1"},
		"empty":              {"", "want an object"},
		"no YAML":            {"{", "correct the YAML"},
		"pulls":              {head + "serializeImagePulls: true\nmaxParallelImagePulls: 3", "contradicts serializeImagePulls"},
		"critical":           {head + "shutdownGracePeriod: 10s\nshutdownGracePeriodCriticalPods: 20s", "raise that"},
		"two shutdowns":      {head + "shutdownGracePeriod: 10s\nshutdownGracePeriodByPodPriority: [{priority: 1, shutdownGracePeriodSeconds: 1}]", "leave one of the two out"},
		"same priority":      {head + "shutdownGracePeriodByPodPriority: [{priority: 1, shutdownGracePeriodSeconds: 1}, {priority: 1, shutdownGracePeriodSeconds: 2}]", "priority 1 is there twice"},
		"short shutdown":     {head + "shutdownGracePeriod: 10ms", "at least 1s"},
		"run once":           {head + "runOnce: true", "runOnce"},
		"log query":          {head + "enableSystemLogQuery: true\nenableSystemLogHandler: false", "needs enableSystemLogHandler"},
		"reserved cpus":      {head + "reservedSystemCPUs: 0-1\nkubeReservedCgroup: /kube", "cannot be given with reservedSystemCPUs"},
		"soft without grace": {head + "evictionSoft: {memory.available: 1Gi}", "evictionSoftGracePeriod"},
		"allow list":         {head + "preloadedImagesVerificationAllowlist: [a/*]", "needs imagePullCredentialsVerificationPolicy"},
		"none and more":      {head + "enforceNodeAllocatable: [none, pods]", "none stands alone"},
		"port":               {head + "port: 70000", "port: 70000: want 1 to 65535"},
		"negative":           {head + "maxPods: -1", "maxPods: -1: want 0"},
		"time of a taint":    {head + "registerWithTaints: [{key: a, effect: NoSchedule, timeAdded: \"2026-01-01T00:00:00Z\"}]", "timeAdded"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			file := write(t, t.TempDir(), "k.yaml", tt.text)
			_, err := Load(file, "")
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), file) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	file := write(t, t.TempDir(), "k.yaml", head+"a: 1\nb: 2\n")
	if _, err := Load(file, ""); err == nil || !strings.Contains(err.Error(), "unknown field a") || !strings.Contains(err.Error(), "unknown field b") {
		t.Errorf("not all faults: %v", err)
	}
}

// FuzzParse: no text makes the reader panic.
func FuzzParse(f *testing.F) {
	f.Add([]byte(head + "maxPods: 1\nevictionHard: {a: b}\nregisterWithTaints: [{key: a}]"))
	f.Add([]byte(head + "a: &a [*a]\nauthentication: *a"))
	f.Add([]byte(head + "authentication: &a {x509: *a}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		read, err := parse("f", text, shapes(Fields()))
		if err != nil {
			return
		}
		all := make(map[string]value)
		merge(all, read)
		if contradictions(all) == nil {
			decide(Fields(), all)
		}
	})
}
