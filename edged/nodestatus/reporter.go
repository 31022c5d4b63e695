package nodestatus

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	goruntime "runtime"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/internal/hostinfo"
	"github.com/edgekit/edgekit/edged/internal/lifecycle"
	"github.com/edgekit/edgekit/edged/internal/notfound"
	"github.com/edgekit/edgekit/edged/runtime"
)

// What the Node shows of images, and how long the runtime has to answer.
const (
	imagesRefresh   = 5 * time.Minute
	maxImages       = 50
	maxImageNames   = 5
	healthTimeout   = 10 * time.Second
	nodeReportRetry = time.Second
)

// attachedByController has the attach-detach controller of the cluster attach volumes
// to the node, as a kubelet's enableControllerAttachDetach does:
// https://kubernetes.io/docs/reference/labels-annotations-taints/#volumes-kubernetes-io-controller-managed-attach-detach
const attachedByController = "volumes.kubernetes.io/controller-managed-attach-detach"

// Reporter keeps the Node object true. It holds no mutex while it asks the machine
// or the runtime: workers read what it knows while they hold their own.
type Reporter struct {
	cfg        Config
	log        *slog.Logger
	disk       *diskCheck
	guard      lifecycle.Guard
	kick       chan struct{} // holds a value: look at the node again soon
	first      chan struct{} // closed after the first report
	closeFirst func()

	// What follows belongs to run.
	last        *corev1.Node // as last reported, maybe by a former Agent
	hasReported bool         // last was reported by this one
	unstored    bool         // last could not be stored; it is reported anew when it can
	deleted     *corev1.Node // what the API server had of the Node before it was deleted, until that is said

	mu     sync.Mutex
	host   machine
	ips    []string
	images []corev1.ContainerImage
	listed time.Time // when images were listed

	features runtime.Features  // what the runtime said last
	handlers []runtime.Handler // likewise
	asked    bool              // the runtime has said these
}

// New checks cfg and makes a Reporter. It does no I/O.
func New(cfg Config) (*Reporter, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	first := make(chan struct{})
	return &Reporter{
		cfg: cfg, log: cfg.Logger, disk: newDiskCheck(cfg.Root, cfg.Interval, hostinfo.NearestSpace), kick: make(chan struct{}, 1),
		first: first, closeFirst: sync.OnceFunc(func() { close(first) }),
	}, nil
}

// Load reads the facts of the host that do not change, and the addresses. It must
// be called before Capacity and Allocatable; Run calls it if nobody has.
func (n *Reporter) Load() error {
	host, err := readMachine(n.cfg)
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.host = host
	n.mu.Unlock()
	n.findAddresses()
	return nil
}

// Capacity is what the machine has; nil before Load. It must not be changed.
func (n *Reporter) Capacity() corev1.ResourceList {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.host.capacity
}

// BootID is the kernel's name of this boot of the machine; "" before Load, or where the
// kernel has none.
func (n *Reporter) BootID() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.host.info.BootID
}

// Allocatable is the capacity without what is reserved for the machine itself, and
// without what Config.KeptFree says, and the healthy devices. It belongs to the caller.
func (n *Reporter) Allocatable() corev1.ResourceList {
	capacity := n.Capacity()
	out := allocatable(capacity, n.cfg.Reserved, n.cfg.KeptFree(capacity))
	if _, devices := n.cfg.Devices(); out != nil {
		maps.Copy(out, devices)
	}
	return out
}

// RefreshImages has the images listed again soon: one was pulled or removed.
func (n *Reporter) RefreshImages() {
	n.mu.Lock()
	n.listed = time.Time{}
	n.mu.Unlock()
	n.CheckNow()
}

// CheckNow has the node looked at soon, and reported if it changed. It never blocks.
func (n *Reporter) CheckNow() {
	select {
	case n.kick <- struct{}{}:
	default:
	}
}

// Ready is closed after the first report.
func (n *Reporter) Ready() <-chan struct{} { return n.first }

// Run reports the node now and whenever it changed, until ctx ends; then it
// returns nil. A second call returns edged.ErrStarted.
func (n *Reporter) Run(ctx context.Context) error {
	if err := n.guard.Start(); err != nil {
		return err
	}
	if n.Capacity() == nil {
		if err := n.Load(); err != nil {
			return err
		}
	}
	defer n.disk.join()
	tick := time.NewTicker(n.cfg.Interval)
	defer tick.Stop()
	var deleted <-chan *corev1.Node // never sends where nobody can say
	if n.cfg.NodeDeleted != nil {
		deleted = n.cfg.NodeDeleted(ctx)
	}
	n.loadLastReport(ctx)
	for {
		var retry <-chan time.Time
		if node := n.observe(ctx); !n.isReported(node) && !n.report(ctx, node) {
			retry = time.After(nodeReportRetry)
		}
		if retry == nil {
			n.closeFirst()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-n.kick:
		case <-retry:
		// The Node is gone in the API server: an unchanged report must go up again.
		case was, ok := <-deleted:
			if !ok {
				deleted = nil
				continue
			}
			n.hasReported, n.deleted = false, was
		}
	}
}

// report reports the node, and reports whether that is done. While nothing can be
// stored the cloud may have the report all the same; it is made again when the
// node can store.
func (n *Reporter) report(ctx context.Context, node *corev1.Node) bool {
	err := n.cfg.Reports.Node(ctx, node)
	if err != nil && ctx.Err() == nil {
		n.log.Warn("cannot report the node for good; trying again", "err", err)
	}
	// While nothing can be stored the error does not count: the report may have reached the
	// cloud from memory, and is repeated when the node can store.
	if err != nil && n.cfg.Unwritable() == nil {
		return false
	}
	n.recordPressures(n.last, node)
	n.last, n.hasReported, n.unstored = node, true, err != nil
	n.reportRegisteredAgain()
	return true
}

// loadLastReport reads what an Agent before this one last reported of the node.
func (n *Reporter) loadLastReport(ctx context.Context) {
	if n.cfg.LastNode == nil {
		return
	}
	last, err := n.cfg.LastNode(ctx)
	if err != nil {
		if !notfound.Is(err) && ctx.Err() == nil {
			n.log.Warn("cannot recall the last report of the node; its conditions begin anew", "err", err)
		}
		return
	}
	n.last = last
	n.restoreAddresses()
}

// isReported reports whether the cloud knows all of this already. The time at
// which a condition was last checked is not worth a report (KEP-589: the Lease
// says that the node is alive).
func (n *Reporter) isReported(node *corev1.Node) bool {
	writable := n.cfg.Unwritable() == nil
	if !n.hasReported || n.unstored && writable {
		return false
	}
	a, b := n.last.DeepCopy(), node.DeepCopy()
	// The time of a heartbeat differs each time: it is no reason to report.
	for _, o := range []*corev1.Node{a, b} {
		for i := range o.Status.Conditions {
			o.Status.Conditions[i].LastHeartbeatTime = metav1.Time{}
		}
	}
	return equality.Semantic.DeepEqual(a, b)
}

// observe makes the Node of what is true now.
func (n *Reporter) observe(ctx context.Context) *corev1.Node {
	health, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	var seen checks
	seen.version, seen.runtime = n.cfg.Runtime.Version(health)
	if seen.runtime == nil {
		seen.health, seen.runtime = n.cfg.Runtime.Health(health)
	}
	if seen.runtime == nil {
		n.listImages(health)
	}
	if seen.runtime == nil {
		n.SetHealth(seen.health)
	}
	seen.unwritable = n.cfg.Unwritable()
	seen.pressures, seen.measured = n.cfg.Pressures()
	_, seen.noDisk = n.disk.space(ctx)
	n.findAddresses()
	return n.compose(seen)
}

// compose makes the Node of what was observed.
func (n *Reporter) compose(seen checks) *corev1.Node {
	node := &corev1.Node{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{Name: n.cfg.NodeName, Annotations: maps.Clone(n.cfg.Annotations), Labels: Labels(n.cfg.NodeName, n.cfg.Labels)},
		Spec:       corev1.NodeSpec{Taints: slices.Clone(n.cfg.Taints)},
	}
	st := &node.Status
	if n.cfg.VolumesInUse != nil {
		if node.Annotations == nil {
			node.Annotations = make(map[string]string)
		}
		node.Annotations[attachedByController] = "true"
		st.VolumesInUse = n.cfg.VolumesInUse()
	}
	for _, ip := range n.Addresses() {
		st.Addresses = append(st.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip})
	}
	st.Addresses = append(st.Addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: n.cfg.NodeName})
	st.Conditions = n.conditions(seen)
	st.Allocatable = n.Allocatable()
	st.DeclaredFeatures = slices.Clone(n.cfg.Features)
	st.RuntimeHandlers, st.Features = n.runtimeAbilities()
	n.mu.Lock()
	st.Capacity, st.NodeInfo, st.Images = n.host.capacity.DeepCopy(), n.host.info, n.images
	n.mu.Unlock()
	devices, _ := n.cfg.Devices()
	maps.Copy(st.Capacity, devices)
	if v := seen.version; v.Name != "" {
		st.NodeInfo.ContainerRuntimeVersion = v.Name + "://" + v.Version
	} else if n.last != nil {
		st.NodeInfo.ContainerRuntimeVersion = n.last.Status.NodeInfo.ContainerRuntimeVersion
	}
	return node
}

// listImages puts the largest images into the Node. The scheduler prefers nodes
// that have a pod's image (ImageLocality).
func (n *Reporter) listImages(ctx context.Context) {
	n.mu.Lock()
	fresh := !n.listed.IsZero() && time.Since(n.listed) < imagesRefresh
	n.mu.Unlock()
	if fresh {
		return
	}
	all, err := n.cfg.Runtime.ListImages(ctx)
	if err != nil {
		n.log.Debug("cannot list images", "err", err)
		return
	}
	n.cfg.ImagesListed(all)
	// As a kubelet: the largest 50 images, 5 names each (nodeStatusMaxImages).
	slices.SortFunc(all, func(a, b runtime.Image) int { return cmp.Or(cmp.Compare(b.Size, a.Size), cmp.Compare(a.ID, b.ID)) })
	var out []corev1.ContainerImage
	for _, i := range all[:min(len(all), maxImages)] {
		names := slices.Concat(i.Digests, i.Tags)
		out = append(out, corev1.ContainerImage{Names: names[:min(len(names), maxImageNames)], SizeBytes: int64(min(i.Size, 1<<62))})
	}
	n.mu.Lock()
	n.images, n.listed = out, time.Now()
	n.mu.Unlock()
}

// Labels are the labels that an agent gives its Node: the well-known ones of a
// kubelet, and own.
// https://kubernetes.io/docs/reference/labels-annotations-taints/
func Labels(name string, own map[string]string) map[string]string {
	labels := map[string]string{
		corev1.LabelHostname: name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: goruntime.GOARCH,
		"beta.kubernetes.io/os": "linux", "beta.kubernetes.io/arch": goruntime.GOARCH,
	}
	maps.Copy(labels, own)
	return labels
}

// runtimeAbilities are what a Node shows of its runtime's handlers and features: until the
// runtime has answered, what was last reported.
func (n *Reporter) runtimeAbilities() ([]corev1.NodeRuntimeHandler, *corev1.NodeFeatures) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case !n.asked && n.last == nil:
		return nil, nil
	case !n.asked:
		return n.last.Status.RuntimeHandlers, n.last.Status.Features
	}
	// A runtime may give them in any order: the Node is reported when it changes.
	byName := make(map[string]runtime.Handler)
	for _, h := range n.handlers {
		byName[h.Name] = h
	}
	var out []corev1.NodeRuntimeHandler
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		h := byName[name]
		out = append(out, corev1.NodeRuntimeHandler{Name: h.Name, Features: &corev1.NodeRuntimeHandlerFeatures{
			RecursiveReadOnlyMounts: new(h.RecursiveReadOnlyMounts), UserNamespaces: new(h.UserNamespaces),
		}})
	}
	return out, &corev1.NodeFeatures{SupplementalGroupsPolicy: new(n.features.SupplementalGroupsPolicy)}
}

// SetFeatures notes what the runtime can do.
func (n *Reporter) SetFeatures(f runtime.Features) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.features, n.asked = f, true
}

// SetHealth notes what the runtime and its handlers can do.
func (n *Reporter) SetHealth(h runtime.Health) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.features, n.handlers, n.asked = h.Features, slices.Clone(h.Handlers), true
}

// Handlers are those that the runtime last said that it has. They must not be changed.
func (n *Reporter) Handlers() []runtime.Handler {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.handlers
}

// Features is what the runtime last said that it can do.
func (n *Reporter) Features() runtime.Features {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.features
}
