package kubeletconfig

import (
	"maps"
	"slices"
	"strconv"
	"time"
)

type refuser = func(path, format string, args ...any)

// checkPulls checks how many images are pulled at once.
func checkPulls(all map[string]value, refuse refuser) {
	most, ok := all["maxParallelImagePulls"]
	if !ok {
		return
	}
	n, _ := strconv.Atoi(most.text)
	switch {
	case n < 1:
		refuse("maxParallelImagePulls", "%d: want 1 or more", n)
	case n > 1 && all["serializeImagePulls"].text == "true":
		refuse("maxParallelImagePulls", "%d contradicts serializeImagePulls: true: set that to false", n)
	}
}

// checkShutdown checks the two forms of the graceful shutdown.
func checkShutdown(all map[string]value, refuse refuser) {
	period := func(path string) time.Duration {
		d, _ := time.ParseDuration(all[path].text)
		if d < 0 || d > 0 && d < time.Second {
			refuse(path, "%s: want 0 or at least 1s", d)
		}
		return d
	}
	whole, critical := period("shutdownGracePeriod"), period("shutdownGracePeriodCriticalPods")
	if critical > whole {
		refuse("shutdownGracePeriodCriticalPods", "%s is more than shutdownGracePeriod, which is %s and contains it: raise that", critical, whole)
	}
	list, ok := all["shutdownGracePeriodByPodPriority"]
	if !ok || len(list.items) == 0 {
		return
	}
	if whole > 0 || critical > 0 {
		refuse("shutdownGracePeriodByPodPriority", "contradicts shutdownGracePeriod: leave one of the two out")
	}
	seen := make(map[string]bool)
	for _, item := range list.items {
		if seen[item["priority"].text] {
			refuse("shutdownGracePeriodByPodPriority", "priority %s is there twice: leave one out", item["priority"].text)
		}
		seen[item["priority"].text] = true
	}
}

// checkRanges checks numbers that a kubelet refuses, also of fields without effect: a
// file that is wrong for a kubelet is wrong here.
func checkRanges(all map[string]value, refuse refuser) {
	ranges := map[string][2]int64{
		"nodeLeaseDurationSeconds": {1, 1 << 31}, "eventBurst": {0, 1 << 31}, "eventRecordQPS": {0, 1 << 31}, "healthzPort": {0, 65535},
		"port": {1, 65535}, "readOnlyPort": {0, 65535}, "registryBurst": {0, 1 << 31}, "registryPullQPS": {0, 1 << 31}, "kubeAPIQPS": {0, 1 << 31},
		"kubeAPIBurst": {0, 1 << 31}, "maxOpenFiles": {0, 1 << 62}, "oomScoreAdj": {-1000, 1000}, "iptablesMasqueradeBit": {0, 31},
		"iptablesDropBit": {0, 31}, "maxPods": {0, 1 << 31}, "podsPerCore": {0, 1 << 31}, "nodeStatusMaxImages": {-1, 1 << 31}, "evictionMaxPodGracePeriod": {0, 1 << 31},
	}
	for _, path := range slices.Sorted(maps.Keys(ranges)) {
		v, ok := all[path]
		if !ok || v.zero || v.file == "" {
			continue
		}
		least, most := ranges[path][0], ranges[path][1]
		if n, _ := strconv.ParseInt(v.text, 10, 64); n < least || n > most {
			refuse(path, "%d: want %d to %d", n, least, most)
		}
	}
}

// checkOthers checks what else contradicts itself.
func checkOthers(all map[string]value, refuse refuser) {
	if all["runOnce"].text == "true" {
		refuse("runOnce", "a kubelet that ends after the first pods is no node: leave it out")
	}
	if all["enableSystemLogQuery"].text == "true" && all["enableSystemLogHandler"].text == "false" {
		refuse("enableSystemLogQuery", "needs enableSystemLogHandler: true")
	}
	if cpus := all["reservedSystemCPUs"]; cpus.text != "" {
		for _, path := range []string{"systemReservedCgroup", "kubeReservedCgroup"} {
			if all[path].text != "" {
				refuse(path, "cannot be given with reservedSystemCPUs: leave one of the two out")
			}
		}
	}
	if len(all["preloadedImagesVerificationAllowlist"].list) > 0 && all["imagePullCredentialsVerificationPolicy"].text != "NeverVerifyAllowlistedImages" {
		refuse("preloadedImagesVerificationAllowlist", "needs imagePullCredentialsVerificationPolicy: NeverVerifyAllowlistedImages")
	}
	if list := all["enforceNodeAllocatable"].list; slices.Contains(list, "none") && len(list) > 1 {
		refuse("enforceNodeAllocatable", "none stands alone: leave the others or none out")
	}
	for _, t := range all["registerWithTaints"].items {
		if t["timeAdded"].file != "" {
			refuse("registerWithTaints", "timeAdded is the API server's to set: leave it out")
		}
	}
	if soft := all["evictionSoft"].pairs; len(soft) > 0 {
		grace := all["evictionSoftGracePeriod"].pairs
		for _, signal := range slices.Sorted(maps.Keys(soft)) {
			if grace[signal] == "" {
				refuse("evictionSoft", "%s has no time in evictionSoftGracePeriod: add one", signal)
			}
		}
	}
}
