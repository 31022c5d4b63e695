package edged

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/edgekit/edgekit/edged/internal/diskusage"
	"github.com/edgekit/edgekit/edged/internal/placement"
	"github.com/edgekit/edgekit/edged/internal/podlogs"
	"github.com/edgekit/edgekit/edged/internal/topology"
	"github.com/edgekit/edgekit/edged/stats"
)

// Pods lists the pods that the node has now, each with the status that was
// reported last. They belong to the caller. Pods that are only being cleaned
// up, since their API object is gone, are not among them.
func (a *Agent) Pods() []*corev1.Pod {
	var out []*corev1.Pod
	a.eachWorker(func(w *worker) {
		if pod := w.snapshot(); pod != nil {
			out = append(out, pod)
		}
	})
	return out
}

// Pod is the pod of that name as Pods has it, nil if there is none. Of two
// with one name, which happens while one is being replaced, it is the one that
// stays.
func (a *Agent) Pod(namespace, name string) *corev1.Pod {
	var found *worker
	a.eachWorker(func(w *worker) {
		pod := w.spec()
		if pod.Namespace == namespace && pod.Name == name && (found == nil || found.spec().DeletionTimestamp != nil) {
			found = w
		}
	})
	if found == nil {
		return nil
	}
	return found.snapshot()
}

// LogFile is where the runtime writes what a container says, attempt being the
// container's restart count. The file need not exist.
func (a *Agent) LogFile(pod *corev1.Pod, container string, attempt uint32) string {
	return podlogs.File(a.cfg.LogRoot, pod, container, attempt)
}

// snapshot is a copy of the worker's pod with its newest status, nil if the API
// object is gone.
func (w *worker) snapshot() *corev1.Pod {
	w.mu.Lock()
	pod, reported, gone := w.pod, w.reportedStatus, w.deleted
	w.mu.Unlock()
	if gone || pod.Name == "" {
		return nil
	}
	pod = pod.DeepCopy()
	if reported != nil {
		others := pod.Status.Conditions
		reported.DeepCopyInto(&pod.Status)
		for _, c := range others { // which the node does not report
			if !slices.ContainsFunc(reported.Conditions, func(o corev1.PodCondition) bool { return o.Type == c.Type }) {
				pod.Status.Conditions = append(pod.Status.Conditions, c)
			}
		}
	}
	return pod
}

// PodsGroup is the control group of all pods, such as /kubepods; "" until the runtime has said how
// it makes groups.
func (a *Agent) PodsGroup() string { return a.groups.Top() }

// SystemInfo is what the Node says of the machine; it is empty before Run.
func (a *Agent) SystemInfo() corev1.NodeSystemInfo { return a.node.SystemInfo() }

// ActivePods lists the pods that hold resources of the node. They are shared and must not
// be changed.
func (a *Agent) ActivePods() []*corev1.Pod { return a.heldPods() }

// MemoryBlock is memory, or huge pages of a size, of a set of NUMA nodes.
type MemoryBlock struct {
	Type  string // memory, or hugepages-SIZE
	Size  uint64 // bytes
	Nodes []int  // lowest first
}

// OwnResources is what a container of a pod has alone: CPUs, lowest first, and memory. Both
// are empty without a policy that gives them (Config.Topology), and before the Agent is ready.
func (a *Agent) OwnResources(uid, container string) (cpus []int, memory []MemoryBlock) {
	cpus, blocks := a.readyPlacement().Own(uid, container)
	return cpus, memoryBlocks(blocks)
}

// AllocatableResources is what containers can have alone, given or not, as OwnResources.
func (a *Agent) AllocatableResources() (cpus []int, memory []MemoryBlock) {
	cpus, blocks := a.readyPlacement().Allocatable()
	return cpus, memoryBlocks(blocks)
}

// readyPlacement is the placement once the Agent is ready, and nil before.
func (a *Agent) readyPlacement() *placement.Placement {
	select {
	case <-a.ready: // from here on the placement is set
		return a.placement
	default:
		return nil
	}
}

func memoryBlocks(list []topology.Block) []MemoryBlock {
	var out []MemoryBlock
	for _, b := range list {
		out = append(out, MemoryBlock{Type: string(b.Resource), Size: b.Size, Nodes: b.Nodes.Nodes()})
	}
	return out
}

// VolumeStats says how full the pod's persistent volumes are, for the summary of
// edged/stats.
func (a *Agent) VolumeStats(ctx context.Context, pod *corev1.Pod) []statsapi.VolumeStats {
	return a.volumes.Stats(ctx, pod)
}

// filesPerSummary is how many files one DiskUsage looks at, most of all. Folders with more are
// counted over several.
const filesPerSummary = 20_000

// DiskUsage says what pods take of the node's disk, by their uids, for the summary of edged/stats:
// their empty directories, and the logs of their containers. One call at a time looks; another
// waits for it until ctx ends, and is then without a result.
func (a *Agent) DiskUsage(ctx context.Context) map[string]stats.DiskUsage {
	select {
	case a.diskMeter <- struct{}{}:
		defer func() { <-a.diskMeter }()
	case <-ctx.Done():
		return nil
	}
	var dirs []string
	folders := make(map[*corev1.Pod][2]map[string]string)
	all := evictablePods{a}
	for _, p := range all.Active() {
		f := all.Folders(p)
		folders[p] = [2]map[string]string{f.Volumes, f.Logs}
		for _, list := range folders[p] {
			for _, dir := range list {
				dirs = append(dirs, dir)
			}
		}
	}
	if a.diskFolders == nil {
		a.diskFolders = diskusage.New()
	}
	used := a.diskFolders.Measure(ctx, dirs, filesPerSummary)
	out := make(map[string]stats.DiskUsage)
	for p, lists := range folders {
		var d [2]map[string]stats.Disk
		for i, list := range lists {
			d[i] = make(map[string]stats.Disk, len(list))
			for name, dir := range list {
				d[i][name] = stats.Disk(used[dir])
			}
		}
		out[string(p.UID)] = stats.DiskUsage{Volumes: d[0], Logs: d[1]}
	}
	return out
}
