package edged

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What the Node tells of images, and how long the runtime has to answer.
const (
	imagesRefresh   = 5 * time.Minute
	maxImages       = 50
	maxImageNames   = 5
	healthTimeout   = 10 * time.Second
	nodeReportRetry = time.Second
)

// nodeReporter keeps the Node object true. No mutex of it is held while it asks
// the machine or the runtime: workers read what it knows while they hold their
// own.
type nodeReporter struct {
	cfg      Config
	log      *slog.Logger
	events   *recorder
	disk     *diskCheck
	outbound func() (netip.Addr, error)
	// addressesChanged is called, with no mutex held, after the node's addresses
	// have changed; the Agent sets it.
	addressesChanged func()
	// imagesListed is called with all images of the node; the Agent sets it.
	imagesListed func([]Image)
	kick         chan struct{} // holds a value: look at the node again soon

	// What follows belongs to run.
	last    *corev1.Node         // as last reported, maybe by a former Agent
	told    bool                 // last was reported by this one
	unkept  bool                 // last could not be stored; it is reported anew when it can
	deleted *corev1.Node         // what the API server had of the Node before it was deleted, until that is said
	since   map[string]time.Time // since when a pressure was last seen

	mu     sync.Mutex
	host   machine
	ips    []string
	images []corev1.ContainerImage
	listed time.Time // when images were listed

	features RuntimeFeatures // what the runtime said last
}

func newNodeReporter(cfg Config, events *recorder) *nodeReporter {
	return &nodeReporter{
		cfg: cfg, log: cfg.Logger, events: events, disk: newDiskCheck(cfg.Root, cfg.NodeCheck, diskSpaceOf), outbound: outboundIP,
		addressesChanged: func() {}, imagesListed: func([]Image) {}, since: make(map[string]time.Time), kick: make(chan struct{}, 1),
	}
}

// load reads what the host says of itself.
func (n *nodeReporter) load() error {
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

// findAddresses finds the node's addresses, again each time unless they are
// configured: machines at the edge change networks. One that has no network now
// keeps the addresses that it had, since its pods do.
func (n *nodeReporter) findAddresses() {
	if len(n.cfg.NodeIPs) > 0 {
		var ips []string
		for _, ip := range n.cfg.NodeIPs {
			ips = append(ips, ip.String())
		}
		n.setAddresses(ips)
		return
	}
	ip, err := n.outbound()
	switch {
	case err == nil:
		n.setAddresses([]string{ip.String()})
	case len(n.addresses()) == 0:
		n.log.Info("this machine has no network yet", "err", err)
		n.setAddresses([]string{loopbackIP})
	}
}

// setAddresses takes the node's addresses, primary first, and says so if they
// are others than before.
func (n *nodeReporter) setAddresses(ips []string) {
	n.mu.Lock()
	first, changed := n.ips == nil, !slices.Equal(n.ips, ips)
	n.ips = ips
	n.mu.Unlock()
	if changed && !first {
		n.log.Info("the node's addresses changed", "addresses", ips)
		n.addressesChanged()
	}
}

// loopbackIP is the address of a node that never had another.
const loopbackIP = "127.0.0.1"

// recallAddresses takes the addresses of the last report where the machine has
// none now.
func (n *nodeReporter) recallAddresses() {
	if !slices.Equal(n.addresses(), []string{loopbackIP}) {
		return
	}
	var ips []string
	for _, a := range n.last.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			ips = append(ips, a.Address)
		}
	}
	if len(ips) > 0 {
		n.setAddresses(ips)
	}
}

// familyFirst puts the addresses first that are of the family of the node's own
// primary address, as it is for a kubelet; what takes a pod's first address
// counts on that.
func familyFirst(ips, hosts []string) []string {
	if len(hosts) == 0 || len(ips) < 2 {
		return ips
	}
	host, err := netip.ParseAddr(hosts[0])
	if err != nil {
		return ips
	}
	other := func(text string) int {
		if ip, err := netip.ParseAddr(text); err == nil && ip.Is4() == host.Is4() {
			return 0
		}
		return 1
	}
	out := slices.Clone(ips)
	slices.SortStableFunc(out, func(a, b string) int { return other(a) - other(b) })
	return out
}

func (n *nodeReporter) addresses() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.ips)
}

func (n *nodeReporter) capacity() corev1.ResourceList {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.host.capacity
}

// allocatable is the capacity without what is reserved for the machine itself.
func (n *nodeReporter) allocatable() corev1.ResourceList {
	return allocatable(n.capacity(), n.cfg.Reserved)
}

// imagesChanged asks for another look at the images soon.
func (n *nodeReporter) imagesChanged() {
	n.mu.Lock()
	n.listed = time.Time{}
	n.mu.Unlock()
	select {
	case n.kick <- struct{}{}:
	default:
	}
}

// run reports the node now and whenever it changed, until ctx ends. first is
// closed after the first report.
func (n *nodeReporter) run(ctx context.Context, first chan struct{}) {
	defer n.disk.join()
	tick := time.NewTicker(n.cfg.NodeCheck)
	defer tick.Stop()
	deleted := n.nodeDeleted(ctx)
	n.recall(ctx)
	for {
		var retry <-chan time.Time
		if node := n.look(ctx); !n.reported(node) && !n.report(ctx, node) {
			retry = time.After(nodeReportRetry)
		}
		if first != nil && retry == nil {
			close(first)
			first = nil
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-n.kick:
		case <-retry:
		case was, ok := <-deleted:
			if !ok {
				deleted = nil
				continue
			}
			n.told, n.deleted = false, was
		}
	}
}

// report reports the node, and whether that is done.
func (n *nodeReporter) report(ctx context.Context, node *corev1.Node) bool {
	err := n.cfg.Reports.Node(ctx, node)
	if err != nil && ctx.Err() == nil {
		n.log.Warn("cannot report the node for good; trying again", "err", err)
	}
	if err != nil && n.cfg.Unwritable() == nil {
		return false
	}
	n.last, n.told, n.unkept = node, true, err != nil
	n.sayRegisteredAgain()
	return true
}

// recall reads what a former Agent last said of this node.
func (n *nodeReporter) recall(ctx context.Context) {
	reports, ok := n.cfg.Reports.(Recaller)
	if !ok {
		return
	}
	last, err := reports.LastNode(ctx)
	if err != nil {
		if !isMissing(err) && ctx.Err() == nil {
			n.log.Warn("cannot recall the last report of the node; its conditions begin anew", "err", err)
		}
		return
	}
	n.last = last
	n.recallAddresses()
}

// reported reports whether the cloud knows as much already. When a condition
// was last looked at is not news.
func (n *nodeReporter) reported(node *corev1.Node) bool {
	writable := n.cfg.Unwritable() == nil
	if !n.told || n.unkept && writable {
		return false
	}
	a, b := n.last.DeepCopy(), node.DeepCopy()
	for _, o := range []*corev1.Node{a, b} {
		for i := range o.Status.Conditions {
			o.Status.Conditions[i].LastHeartbeatTime = metav1.Time{}
		}
	}
	return equality.Semantic.DeepEqual(a, b)
}

// look composes the Node from what is true now.
func (n *nodeReporter) look(ctx context.Context) *corev1.Node {
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
		n.setFeatures(seen.health.Features)
	}
	seen.unwritable = n.cfg.Unwritable()
	seen.memory, seen.noMemory = memInfo()
	seen.disk, seen.noDisk = n.disk.space(ctx)
	n.findAddresses()
	return n.compose(seen)
}

// compose makes the Node of what was seen.
func (n *nodeReporter) compose(seen checks) *corev1.Node {
	node := &corev1.Node{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{Name: n.cfg.NodeName, Annotations: maps.Clone(n.cfg.Annotations), Labels: ownLabels(n.cfg)},
		Spec:       corev1.NodeSpec{Taints: slices.Clone(n.cfg.Taints)},
	}
	st := &node.Status
	for _, ip := range n.addresses() {
		st.Addresses = append(st.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip})
	}
	st.Addresses = append(st.Addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: n.cfg.NodeName})
	st.Conditions = n.conditions(seen)
	st.Allocatable = n.allocatable()
	n.mu.Lock()
	st.Capacity, st.NodeInfo, st.Images = n.host.capacity.DeepCopy(), n.host.info, n.images
	n.mu.Unlock()
	if v := seen.version; v.Name != "" {
		st.NodeInfo.ContainerRuntimeVersion = v.Name + "://" + v.Version
	} else if n.last != nil {
		st.NodeInfo.ContainerRuntimeVersion = n.last.Status.NodeInfo.ContainerRuntimeVersion
	}
	return node
}

// listImages keeps the largest images in the Node, for the scheduler.
func (n *nodeReporter) listImages(ctx context.Context) {
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
	n.imagesListed(all)
	slices.SortFunc(all, func(a, b Image) int { return cmp.Or(cmp.Compare(b.Size, a.Size), cmp.Compare(a.ID, b.ID)) })
	var out []corev1.ContainerImage
	for _, i := range all[:min(len(all), maxImages)] {
		names := slices.Concat(i.Digests, i.Tags)
		out = append(out, corev1.ContainerImage{Names: names[:min(len(names), maxImageNames)], SizeBytes: int64(min(i.Size, 1<<62))})
	}
	n.mu.Lock()
	n.images, n.listed = out, time.Now()
	n.mu.Unlock()
}
