package cgroup

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// EmptyPods lists the uids of pods that have a group in which, and below which, no
// process is: they were left by a crash, or their pod is about to start. What cannot
// be read is left out.
func (g *Groups) EmptyPods() []string {
	tops, err := g.hierarchies()
	if err != nil {
		return nil
	}
	uids := make(map[string]bool)
	inUse := make(map[string]bool) // a pod has a group in each hierarchy
	for _, class := range []corev1.PodQOSClass{corev1.PodQOSGuaranteed, corev1.PodQOSBurstable, corev1.PodQOSBestEffort} {
		parent, suffix := g.Parent(class, ""), ""
		if g.cfg.Driver == driverSystemd {
			parent, suffix = strings.TrimSuffix(parent, ".slice"), ".slice"
		}
		dir, prefix := filepath.Split(parent)
		for _, top := range tops {
			entries, err := os.ReadDir(filepath.Join(top, dir))
			if err != nil {
				continue // this class has no pods, or the hierarchy is no such folder
			}
			for _, e := range entries {
				uid, ok := strings.CutPrefix(e.Name(), prefix)
				uid, ends := strings.CutSuffix(uid, suffix)
				if !ok || !ends || uid == "" || !e.IsDir() {
					continue
				}
				if g.cfg.Driver == driverSystemd {
					uid = strings.ReplaceAll(uid, "_", "-")
				}
				uids[uid] = true
				if busy(filepath.Join(top, dir, e.Name())) {
					inUse[uid] = true
				}
			}
		}
	}
	maps.DeleteFunc(uids, func(uid string, _ bool) bool { return inUse[uid] })
	return slices.Sorted(maps.Keys(uids))
}
