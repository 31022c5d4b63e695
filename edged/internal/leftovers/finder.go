package leftovers

import (
	"context"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/internal/podcgroups"
	"github.com/edgekit/edgekit/edged/internal/podlogs"
	"github.com/edgekit/edgekit/edged/runtime"
)

// Lasting is for how long nobody must have owned a trace of a pod before the pod is an orphan.
const Lasting = time.Minute

// Config sets up a Finder. All fields are required.
type Config struct {
	NodeName string
	Runtime  runtime.Runtime
	Folders  func() []string // the uids of the pods that have a folder on the disk, or resource claims
	Groups   *podcgroups.Groups
	LogRoot  string // the folder of the pods' logs
	LogLinks string // the folder of the links to them; "" means none
	Logger   *slog.Logger
}

// Finder finds what is left of pods. New makes it.
type Finder struct {
	cfg Config

	mu      sync.Mutex
	unowned map[string]time.Time // since when what is on the disk belongs to nobody
}

// New makes a Finder.
func New(cfg Config) *Finder { return &Finder{cfg: cfg} }

// Scan is what is on the node, of any pod.
type Scan struct {
	Sandboxes  []runtime.Sandbox
	Containers []runtime.Container
	Folders    []string    // the uids of the pods that have a folder
	Traces     []types.UID // of the pods that have a folder of logs, or a cgroup without processes
	Dangling   []string    // links to logs that are gone
}

// Scan looks for what is on the node. Containers are listed before sandboxes, so that the sandbox
// of each is listed too if it is there. The error is the runtime's.
func (f *Finder) Scan(ctx context.Context) (Scan, error) {
	containers, err := f.cfg.Runtime.ListContainers(ctx, "")
	if err != nil {
		return Scan{}, err
	}
	sandboxes, err := f.cfg.Runtime.ListSandboxes(ctx, "")
	if err != nil {
		return Scan{}, err
	}
	dangling, err := podlogs.DanglingLinks(f.cfg.LogLinks, f.cfg.LogRoot)
	if err != nil {
		f.cfg.Logger.Warn("cannot look for links to logs that are gone", "err", err)
	}
	return Scan{Sandboxes: sandboxes, Containers: containers, Folders: f.cfg.Folders(), Traces: f.traces(), Dangling: dangling}, nil
}

// Orphans lists the pods of a scan that owned reports false for, by their uids, as far as they are
// known: enough to end them. links are those to logs that dangle for a while already. Sandboxes
// that carry another node's name belong to an agent that shares the runtime.
func (f *Finder) Orphans(s Scan, owned func(uid types.UID) bool, now time.Time) (orphans map[types.UID]*corev1.Pod, links []string) {
	orphans = make(map[types.UID]*corev1.Pod)
	note := func(pod *corev1.Pod) {
		if !owned(pod.UID) && orphans[pod.UID] == nil {
			orphans[pod.UID] = pod
		}
	}
	have := make(map[string]bool, len(s.Sandboxes))
	for _, sb := range s.Sandboxes {
		have[sb.ID] = true
		if f.mayBeOwn(sb.Annotations) {
			note(orphan(sb))
		}
	}
	for _, uid := range s.Folders {
		note(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid)}})
	}
	// Containers that have no sandbox any more: no sandbox shows their pods.
	for _, c := range s.Containers {
		if !have[c.SandboxID] && f.mayBeOwn(c.Annotations) {
			note(orphan(runtime.Sandbox{Namespace: c.Labels[runtime.LabelPodNamespace], Name: c.Labels[runtime.LabelPodName], PodUID: c.PodUID, Annotations: c.Annotations}))
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, uid := range f.lastingLocked(s, owned, now) {
		note(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: uid}})
	}
	for _, link := range s.Dangling {
		if since, ok := f.unowned[link]; ok && now.Sub(since) >= Lasting {
			links = append(links, link)
		}
	}
	return orphans, links
}

// RemoveLinks removes links to logs that are gone.
func (f *Finder) RemoveLinks(links []string) {
	for _, link := range links {
		if err := os.Remove(link); err != nil {
			f.cfg.Logger.Debug("cannot remove a link to a log that is gone", "link", link, "err", err)
		}
	}
}

// mayBeOwn reports whether what carries these annotations was made for a pod of this node.
func (f *Finder) mayBeOwn(annotations map[string]string) bool {
	node := annotations[runtime.AnnotationNode]
	return node == "" || node == f.cfg.NodeName
}

// orphan makes a pod of the labels of a sandbox: enough to stop it within its
// own grace period.
func orphan(s runtime.Sandbox) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name, UID: types.UID(s.PodUID)}}
	if n, err := strconv.ParseInt(s.Annotations[runtime.AnnotationPodGrace], 10, 64); err == nil && n >= 0 {
		p.Spec.TerminationGracePeriodSeconds = &n
	}
	return p
}

// traces lists the pods that have a folder of logs, or a cgroup without
// processes.
func (f *Finder) traces() []types.UID {
	var out []types.UID
	logs, err := podlogs.Pods(f.cfg.LogRoot)
	if err != nil {
		f.cfg.Logger.Warn("cannot look for logs of pods that are gone", "err", err)
	}
	for _, uid := range logs {
		out = append(out, types.UID(uid))
	}
	for _, uid := range f.cfg.Groups.EmptyPods() {
		out = append(out, types.UID(uid))
	}
	return out
}

// lastingLocked lists the traces of pods of which nothing else is on the node, and
// which nobody has owned for a while. Another agent that shares the machine has a
// sandbox soon after it made a cgroup or a folder; and uids alone are looked at
// which have the form of an API server's or of a static pod's, since people keep
// folders too. It also remembers since when links dangle. It needs f.mu.
func (f *Finder) lastingLocked(s Scan, owned func(types.UID) bool, now time.Time) []types.UID {
	present := make(map[types.UID]bool)
	for _, sb := range s.Sandboxes {
		present[types.UID(sb.PodUID)] = true
	}
	for _, c := range s.Containers {
		present[types.UID(c.PodUID)] = true
	}
	unowned := make(map[string]time.Time)
	since := func(name string) time.Time {
		at, ok := f.unowned[name]
		if !ok || at.After(now) {
			at = now
		}
		unowned[name] = at
		return at
	}
	var out []types.UID
	for _, uid := range s.Traces {
		if present[uid] || owned(uid) || !isPodUID(string(uid)) {
			continue
		}
		if now.Sub(since(string(uid))) >= Lasting {
			out = append(out, uid)
		}
	}
	for _, link := range s.Dangling {
		since(link)
	}
	f.unowned = unowned
	return out
}

// isPodUID reports whether a text has the form of a uid that an API server gives, or
// of the hash of a static pod's manifest.
func isPodUID(s string) bool {
	if len(s) != 36 && len(s) != 32 {
		return false
	}
	return strings.Trim(s, "0123456789abcdef-") == ""
}
