package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/edgekit/edgekit/cmd/internal/kubeletconfig"
)

var update = flag.Bool("update", false, "write KUBELET.md anew")

// kubeletFlags are the flags of the kubelet that are no field of its configuration, or have
// a name that does not lead to it: a field's path, or a reason.
var kubeletFlags = map[string]string{
	"bootstrap-kubeconfig":    "edgecore join gets the node's identity",
	"cert-dir":                "the identity is in --data-dir",
	"cloud-provider":          "there is no cloud provider in the agent; --provider-id, --node-labels and --register-with-taints say what an external one needs",
	"config":                  "--kubelet-config",
	"config-dir":              "--kubelet-config-dir",
	"exit-on-lock-contention": "the store has a lock",
	"experimental-allocatable-ignore-eviction": "not supported: the hard thresholds are always taken off the allocatable memory",
	"experimental-mounter-path":                "not supported",
	"help":                                     "--help",
	"hostname-override":                        "the node's name is given to edgecore join --node",
	"housekeeping-interval":                    "cgroups are read when a metric is asked for",
	"image-credential-provider-bin-dir":        "the same",
	"image-credential-provider-config":         "the same",
	"kubeconfig":                               "edgecore join gets the node's identity; the cloud's address is --cloud",
	"lock-file":                                "the store has a lock",
	"maximum-dead-containers":                  "one dead container of each is kept while its pod is there",
	"maximum-dead-containers-per-container":    "one dead container of each is kept while its pod is there",
	"minimum-container-ttl-duration":           "one dead container of each is kept while its pod is there",
	"node-ip":                                  "--node-ip; without it the address of the default route, which is followed",
	"node-labels":                              "--node-labels",
	"root-dir":                                 "--data-dir",
	"runtime-cgroups":                          "the systemd unit of the runtime sets it",
	"v":                                        "--log-level",
	"version":                                  "--version",

	"allowed-unsafe-sysctls": "allowedUnsafeSysctls", "anonymous-auth": "authentication.anonymous.enabled",
	"authentication-token-webhook": "authentication.webhook.enabled", "authentication-token-webhook-cache-ttl": "authentication.webhook.cacheTTL",
	"authorization-mode": "authorization.mode", "authorization-webhook-cache-authorized-ttl": "authorization.webhook.cacheAuthorizedTTL",
	"authorization-webhook-cache-unauthorized-ttl": "authorization.webhook.cacheUnauthorizedTTL", "client-ca-file": "authentication.x509.clientCAFile",
	"contention-profiling": "enableContentionProfiling", "event-qps": "eventRecordQPS", "image-gc-high-threshold": "imageGCHighThresholdPercent",
	"image-gc-low-threshold": "imageGCLowThresholdPercent", "kube-api-content-type": "contentType", "log-flush-frequency": "logging.flushFrequency",
	"log-json-info-buffer-size": "logging.options.json.infoBufferSize", "log-json-split-stream": "logging.options.json.splitStream",
	"log-text-info-buffer-size": "logging.options.text.infoBufferSize", "log-text-split-stream": "logging.options.text.splitStream",
	"logging-format": "logging.format", "vmodule": "logging.vmodule[].filePattern", "manifest-url": "staticPodURL", "manifest-url-header": "staticPodURLHeader",
	"minimum-image-ttl-duration": "imageMinimumGCAge", "pod-manifest-path": "staticPodPath", "pod-max-pids": "podPidsLimit", "registry-qps": "registryPullQPS",
	"reserved-cpus": "reservedSystemCPUs", "rotate-server-certificates": "serverTLSBootstrap", "register-with-taints": "registerWithTaints[].key",
	"reserved-memory": "reservedMemory[].numaNode",
}

// settingNames are the names of edgecore's flags with their other names.
func settingNames(t *testing.T) map[string]bool {
	t.Helper()
	p, err := kong.New(&cli{}, kong.Name("edgecore"))
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, f := range slices.Concat(p.Model.Flags, p.Model.DefaultCmd.Flags) {
		names[f.Name] = true
		for _, alias := range f.Aliases {
			names[alias] = true
		}
	}
	return names
}

// TestKubeletFields: what the table calls used is a setting of edgecore, and what it calls
// not yet is none.
func TestKubeletFields(t *testing.T) {
	names := settingNames(t)
	for _, f := range kubeletconfig.Fields() {
		switch {
		case f.Use == kubeletconfig.Used && f.Flag != "" && !names[f.Flag]:
			t.Errorf("%s is used by --%s, which edgecore does not have", f.Path, f.Flag)
		case f.Use == kubeletconfig.NotYet && names[f.Flag]:
			t.Errorf("%s: edgecore has --%s now: change NotYet to Used in kubeletconfig.Fields, then go test ./cmd/edgecore -run KubeletDoc -update", f.Path, f.Flag)
		}
	}
}

// use describes what edgecore does with a field.
func use(f kubeletconfig.Field) string {
	switch f.Use {
	case kubeletconfig.Used:
		if f.Flag == "" {
			return "used, with the field before"
		}
		return "`--" + f.Flag + "`"
	case kubeletconfig.NotYet:
		return "not yet: `--" + f.Flag + "`"
	case kubeletconfig.Otherwise:
		return "otherwise: " + f.Why
	case kubeletconfig.NotNeeded:
		return "not needed: " + f.Why
	}
	return "not supported: " + f.Why
}

// TestKubeletDoc holds KUBELET.md to the tables, and the table of flags to the kubelet's.
func TestKubeletDoc(t *testing.T) {
	text, err := os.ReadFile("testdata/kubelet-flags-1.37.txt")
	if err != nil {
		t.Fatal(err)
	}
	fields := make(map[string]kubeletconfig.Field)
	for _, f := range kubeletconfig.Fields() {
		fields[strings.ToLower(strings.ReplaceAll(f.Path, ".", ""))] = f
		fields[f.Path] = f
	}
	var doc strings.Builder
	doc.WriteString(kubeletDocHead)
	for _, f := range kubeletconfig.Fields() {
		fmt.Fprintf(&doc, "| %s | %s |\n", f.Path, use(f))
	}
	doc.WriteString(kubeletDocFlags)
	names := settingNames(t)
	seen := 0
	for name := range strings.FieldsSeq(string(text)) {
		seen++
		what, listed := kubeletFlags[name]
		if !listed {
			what = strings.ReplaceAll(name, "-", "")
		}
		f, ok := fields[what]
		switch {
		case ok && names[name]:
			what = "the same"
		case ok:
			what = use(f)
		case !listed:
			t.Errorf("--%s of the kubelet is not decided: add it to kubeletFlags", name)
		}
		fmt.Fprintf(&doc, "| --%s | %s |\n", name, what)
	}
	if seen < 130 {
		t.Errorf("only %d flags", seen)
	}
	if *update {
		if err := os.WriteFile("KUBELET.md", []byte(doc.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if have, err := os.ReadFile("KUBELET.md"); err != nil || string(have) != doc.String() {
		t.Errorf("KUBELET.md is old: go test ./cmd/edgecore -run KubeletDoc -update (%v)", err)
	}
}

const kubeletDocHead = `# A kubelet's settings, and edgecore's

<!-- Written by: go test ./cmd/edgecore -run KubeletDoc -update -->

` + "`edgecore --kubelet-config FILE`" + ` reads the file that a kubelet was configured by
(KubeletConfiguration, kubelet.config.k8s.io/v1beta1, YAML or JSON), and ` + "`--kubelet-config-dir`" + `
its drop-in files (*.conf, in the order of their names). The order in which settings count:

1. the command line of edgecore,
2. its environment (EDGECORE_...),
3. its own configuration file,
4. the kubelet's files, the last one first,
5. edgecore's defaults, which ` + "`edgecore config print`" + ` shows. Most are the kubelet's; swap and
   cgroup v1 are allowed, and the folder of static pods is looked at each second.

An unknown field, one that is given twice, a value of another type, and fields that
contradict each other are errors at the start, as for a kubelet. Fields that have no effect are named
in the log at the start, one line for each kind. Relative paths are relative to the file.

## Fields

| field | edgecore |
|---|---|
`

const kubeletDocFlags = `
## Flags

Of the kubelet's command line (1.37). "The same" is a flag of edgecore with this name and meaning.

| kubelet | edgecore |
|---|---|
`
