package edged

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/internal/eviction"
	"github.com/edgekit/edgekit/edged/internal/evictor"
	"github.com/edgekit/edgekit/edged/internal/nodeusage"
	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/podlogs"
	"github.com/edgekit/edgekit/edged/runtime"
)

// Eviction says when pods are evicted because the node is short of something. The fields
// are the kubelet's settings eviction*, and so are the signals that they name:
// memory.available, nodefs.available, nodefs.inodesFree, imagefs.available,
// imagefs.inodesFree, pid.available. nodefs is the file system of Config.Root, imagefs
// the one that the runtime keeps images on. (containerfs.* is accepted and has the
// thresholds of the file system that writable layers are on, as with a kubelet.)
// https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/
type Eviction struct {
	// Hard has quantities ("100Mi") or percentages of the capacity ("10%") of which a
	// pod is evicted at once when less is left. nil means memory.available<100Mi,
	// nodefs.available<10%, nodefs.inodesFree<5%, imagefs.available<15%,
	// imagefs.inodesFree<5%. A map that is not nil replaces all of these: an empty one
	// turns them off. "0%" turns one signal off.
	Hard map[string]string
	// MergeDefaults has signals that are not in Hard keep their default.
	MergeDefaults bool
	// Soft has thresholds that must be met for a while, which SoftGracePeriod says for
	// each. nil means none.
	Soft            map[string]string
	SoftGracePeriod map[string]time.Duration
	// MaxPodGracePeriod is how long a pod may take to stop that is evicted for a soft
	// threshold; its own grace period may be shorter. 0 means that it is stopped at once.
	MaxPodGracePeriod time.Duration
	// MinimumReclaim is how much more than a threshold must be free before it counts as
	// over. nil means nothing more.
	MinimumReclaim map[string]string
	// PressureTransitionPeriod is how long a condition such as DiskPressure stays after
	// its threshold was last met. 0 means 5 minutes.
	PressureTransitionPeriod time.Duration
}

// thresholds reads the settings.
func (e Eviction) thresholds() ([]eviction.Threshold, error) {
	if e.MaxPodGracePeriod < 0 || e.PressureTransitionPeriod < 0 {
		return nil, errors.New("edged: Config.Eviction: evictionMaxPodGracePeriod or evictionPressureTransitionPeriod is negative: use 0 or more")
	}
	s := eviction.Settings{Hard: e.Hard, Soft: e.Soft, SoftGracePeriod: e.SoftGracePeriod, MinimumReclaim: e.MinimumReclaim, MergeDefaults: e.MergeDefaults}
	list, err := s.Thresholds()
	if err != nil {
		return nil, fmt.Errorf("edged: Config.Eviction: %w", err)
	}
	return list, nil
}

func (e Eviction) clone() Eviction {
	e.Hard, e.Soft = maps.Clone(e.Hard), maps.Clone(e.Soft)
	e.SoftGracePeriod, e.MinimumReclaim = maps.Clone(e.SoftGracePeriod), maps.Clone(e.MinimumReclaim)
	return e
}

// newEvictor makes what evicts pods from the node.
func (a *Agent) newEvictor(thresholds []eviction.Threshold) (*evictor.Evictor, error) {
	files, _ := a.cfg.Runtime.(runtime.ImageStore)
	meter := nodeusage.New(nodeusage.Config{Root: a.cfg.Root, Runtime: files, PodsGroup: a.groups.Top, Logger: a.log})
	usage, _ := a.cfg.Runtime.(runtime.Meter)
	cfg := evictor.Config{
		Node: meter, Pods: evictablePods{a}, Usage: usage, Reclaimer: reclaimer{a}, Thresholds: thresholds,
		TransitionPeriod: a.cfg.Eviction.PressureTransitionPeriod, MaxGracePeriod: a.cfg.Eviction.MaxPodGracePeriod, Interval: a.cfg.NodeCheck,
		NodeEvent: a.events.Node, PodEvent: a.events.Pod, Changed: func() { a.node.CheckNow() }, Logger: a.log,
	}
	if reports, ok := a.cfg.Reports.(LastReports); ok {
		cfg.LastNode = reports.LastNode
	}
	return evictor.New(cfg)
}

// reclaimer frees disk for an Evictor without ending a pod.
type reclaimer struct{ a *Agent }

// RemoveDead removes what pods that are over have left.
func (r reclaimer) RemoveDead(ctx context.Context) error {
	err := r.a.disk.containers.RemoveDead(ctx)
	if err != nil && ctx.Err() == nil {
		r.a.events.Node(corev1.EventTypeWarning, "ContainerGCFailed", err.Error())
	}
	return err
}

// ReclaimAll removes every image that no pod uses.
func (r reclaimer) ReclaimAll(ctx context.Context) (freedBytes uint64, err error) {
	if r.a.disk.images == nil {
		return 0, nil // the runtime does not say where they are
	}
	return r.a.disk.images.ReclaimAll(ctx)
}

// evictablePods are the pods of an Agent as an Evictor sees them.
type evictablePods struct{ a *Agent }

// Active lists the pods that have not ended. They must not be changed.
func (e evictablePods) Active() []*corev1.Pod {
	var out []*corev1.Pod
	e.a.eachWorker(func(w *worker) {
		if p := w.active(); p != nil {
			out = append(out, p)
		}
	})
	slices.SortFunc(out, func(a, b *corev1.Pod) int { return strings.Compare(string(a.UID), string(b.UID)) })
	return out
}

// Folders are where the pod writes to the node's disk: what the API calls its local
// ephemeral storage, without the writable layers.
func (e evictablePods) Folders(pod *corev1.Pod) evictor.Folders {
	f := evictor.Folders{Volumes: make(map[string]string), Logs: make(map[string]string)}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.ConfigMap == nil && (v.EmptyDir == nil || v.EmptyDir.Medium != corev1.StorageMediumDefault) {
			continue
		}
		if dir, err := e.a.volumes.Path(pod, v.Name); err == nil {
			f.Volumes[v.Name] = dir
		}
	}
	logs := podlogs.Dir(e.a.cfg.LogRoot, pod)
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			f.Logs[list[i].Name] = filepath.Join(logs, list[i].Name)
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		f.Logs[pod.Spec.EphemeralContainers[i].Name] = filepath.Join(logs, pod.Spec.EphemeralContainers[i].Name)
	}
	return f
}

// Evict ends a pod for good. It reports false where the pod has ended already.
func (e evictablePods) Evict(uid types.UID, how evictor.Eviction) bool {
	w := e.worker(uid)
	return w != nil && w.evict(how)
}

// IsGone reports whether the containers and volumes of the pod are removed.
func (e evictablePods) IsGone(uid types.UID) bool {
	w := e.worker(uid)
	if w == nil {
		return true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.emptied
}

func (e evictablePods) worker(uid types.UID) *worker {
	e.a.mu.Lock()
	defer e.a.mu.Unlock()
	return e.a.workers[uid]
}

// active is the pod unless it has ended or was made to end; else nil.
func (w *worker) active() *corev1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.activeLocked()
}

// activeLocked is active; it needs w.mu.
func (w *worker) activeLocked() *corev1.Pod {
	ended := w.deleted || w.rejected != nil || w.mem.TornDown || plan.IsTerminal(w.pod.Status.Phase) ||
		w.reportedStatus != nil && plan.IsTerminal(w.reportedStatus.Phase)
	if ended || w.pod.Name == "" {
		return nil
	}
	return w.pod
}

// freesDisk reports whether what is left of an evicted pod must go although its status
// cannot be stored, since it may be what fills the disk of the store. The status is then
// kept in memory until it can be. It is lost if the program ends before, and the pod
// starts again.
func (w *worker) freesDisk(s plan.Situation) bool {
	if !s.Evicted || s.Ending != plan.EndFinished || w.a.cfg.Unwritable() == nil {
		return false
	}
	st := plan.PodStatus(w.facts(s, true))
	w.last, w.reported = &st, false
	return true
}

// evict has the pod become Failed with the reason Evicted, within a grace period. It
// reports false where the pod has ended already.
func (w *worker) evict(how evictor.Eviction) bool {
	return w.endFor(&plan.Rejection{Reason: eviction.Reason, Message: how.Message, Disrupts: how.Disrupts}, &how.Grace)
}

// endFor has the pod become Failed for a reason of the node, within a grace period; nil
// means the pod's own. It reports false where the pod has ended already.
func (w *worker) endFor(why *plan.Rejection, grace *time.Duration) bool {
	w.mu.Lock()
	ok := w.activeLocked() != nil
	if ok {
		w.rejected, w.graceLimit = why, grace
	}
	w.mu.Unlock()
	if ok {
		w.wakeUp()
	}
	return ok
}
