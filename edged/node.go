package edged

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// How a node's own condition is judged. The thresholds are the kubelet's.
const (
	memoryFloor     = 100 << 20 // bytes available
	diskFloor       = 10        // percent of the file system free
	inodeFloor      = 5         // percent of its inodes free
	pressureHold    = 5 * time.Minute
	imagesRefresh   = 5 * time.Minute
	maxImages       = 50
	maxImageNames   = 5
	healthTimeout   = 10 * time.Second
	nodeReportRetry = time.Second
)

// nodeReporter keeps the Node object true.
type nodeReporter struct {
	cfg Config
	log *slog.Logger

	mu     sync.Mutex
	host   machine
	ips    []string
	last   *corev1.Node // as last reported, maybe by a former Agent
	told   bool         // last was reported by this one
	unkept bool         // last could not be stored; it is reported anew when it can
	images []corev1.ContainerImage
	listed time.Time            // when images were listed
	since  map[string]time.Time // since when a pressure was last seen
	kick   chan struct{}

	features RuntimeFeatures // what the runtime said last
}

func newNodeReporter(cfg Config) *nodeReporter {
	return &nodeReporter{cfg: cfg, log: cfg.Logger, since: make(map[string]time.Time), kick: make(chan struct{}, 1)}
}

// load reads what the host says of itself.
func (n *nodeReporter) load() error {
	host, err := readMachine(n.cfg)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.host = host
	n.addressesLocked()
	return nil
}

// addressesLocked finds the node's addresses, again each time unless they are
// configured: machines at the edge change networks. One that has no network now
// keeps the addresses that it had, since its pods do.
func (n *nodeReporter) addressesLocked() {
	var ips []string
	for _, ip := range n.cfg.NodeIPs {
		ips = append(ips, ip.String())
	}
	if len(ips) > 0 {
		n.ips = ips
		return
	}
	ip, err := outboundIP()
	switch {
	case err == nil:
		n.ips = []string{ip.String()}
	case len(n.ips) == 0:
		n.log.Info("this machine has no network yet", "err", err)
		n.ips = []string{loopbackIP}
	}
}

// loopbackIP is the address of a node that never had another.
const loopbackIP = "127.0.0.1"

// recallAddressesLocked takes the addresses of the last report where the
// machine has none now.
func (n *nodeReporter) recallAddressesLocked() {
	if !slices.Equal(n.ips, []string{loopbackIP}) {
		return
	}
	var ips []string
	for _, a := range n.last.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			ips = append(ips, a.Address)
		}
	}
	if len(ips) > 0 {
		n.ips = ips
	}
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
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.allocatableLocked()
}

func (n *nodeReporter) allocatableLocked() corev1.ResourceList {
	out := n.host.capacity.DeepCopy()
	for name, q := range n.cfg.Reserved {
		if have, ok := out[name]; ok {
			have.Sub(q)
			if have.Sign() < 0 {
				have.Set(0)
			}
			out[name] = have
		}
	}
	return out
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
	tick := time.NewTicker(n.cfg.NodeCheck)
	defer tick.Stop()
	var retry <-chan time.Time
	n.recall(ctx)
	for {
		node := n.look(ctx)
		retry = nil
		if !n.reported(node) {
			err := n.cfg.Reports.Node(ctx, node)
			if err != nil && ctx.Err() == nil {
				n.log.Warn("cannot report the node for good; trying again", "err", err)
			}
			if err == nil || n.cfg.Unwritable() != nil {
				n.mu.Lock()
				n.last, n.told, n.unkept = node, true, err != nil
				n.mu.Unlock()
			} else {
				retry = time.After(nodeReportRetry)
			}
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
		}
	}
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
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last = last
	n.recallAddressesLocked()
}

// reported reports whether the cloud knows as much already. When a condition
// was last looked at is not news.
func (n *nodeReporter) reported(node *corev1.Node) bool {
	writable := n.cfg.Unwritable() == nil
	n.mu.Lock()
	defer n.mu.Unlock()
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
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	version, err := n.cfg.Runtime.Version(ctx)
	health := RuntimeHealth{}
	if err == nil {
		health, err = n.cfg.Runtime.Health(ctx)
	}
	if err == nil {
		n.listImages(ctx)
	}
	unwritable := n.cfg.Unwritable()
	if err == nil {
		n.setFeatures(health.Features)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addressesLocked()
	node := &corev1.Node{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{Name: n.cfg.NodeName, Annotations: maps.Clone(n.cfg.Annotations), Labels: ownLabels(n.cfg)},
		Spec:       corev1.NodeSpec{Taints: slices.Clone(n.cfg.Taints)},
	}
	st := &node.Status
	st.Capacity = n.host.capacity.DeepCopy()
	st.NodeInfo = n.host.info
	if version.Name != "" {
		st.NodeInfo.ContainerRuntimeVersion = version.Name + "://" + version.Version
	} else if n.last != nil {
		st.NodeInfo.ContainerRuntimeVersion = n.last.Status.NodeInfo.ContainerRuntimeVersion
	}
	for _, ip := range n.ips {
		st.Addresses = append(st.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip})
	}
	st.Addresses = append(st.Addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: n.cfg.NodeName})
	st.Images = n.images
	st.Conditions = n.conditionsLocked(health, err, unwritable)
	st.Allocatable = n.allocatableLocked()
	return node
}

// conditionsLocked judges the node. err is the runtime's.
func (n *nodeReporter) conditionsLocked(health RuntimeHealth, err, unwritable error) []corev1.NodeCondition {
	now := time.Now()
	low := map[string]bool{}
	if mem, err := memInfo(); err == nil {
		low["memory"] = mem["MemAvailable"] < memoryFloor
	}
	if total, free, inodes, inodesFree, err := diskSpace(n.cfg.Root); err == nil {
		low["disk"] = total > 0 && free*100/total < diskFloor || inodes > 0 && inodesFree*100/inodes < inodeFloor
	}
	for what, is := range low {
		if is {
			n.since[what] = now
		}
	}
	pressed := func(what string) bool { t, ok := n.since[what]; return ok && now.Sub(t) < pressureHold }
	pick := func(kind corev1.NodeConditionType, bad bool, yes, no [2]string) corev1.NodeCondition {
		text := no
		if bad {
			text = yes
		}
		return corev1.NodeCondition{Type: kind, Status: truth(bad), Reason: text[0], Message: text[1]}
	}
	ready := corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionFalse, Reason: "KubeletNotReady"}
	switch {
	case err != nil:
		ready.Message = fmt.Sprintf("container runtime is down: %v", err)
	case !health.RuntimeReady:
		ready.Message = "container runtime not ready: " + health.RuntimeMessage
	case !health.NetworkReady:
		ready.Message = "container runtime network not ready: " + health.NetworkMessage
	default:
		ready.Status, ready.Reason, ready.Message = corev1.ConditionTrue, "KubeletReady", "kubelet is posting ready status"
	}
	disk := pick(corev1.NodeDiskPressure, pressed("disk"), [2]string{"KubeletHasDiskPressure", "kubelet has disk pressure"}, [2]string{"KubeletHasNoDiskPressure", "kubelet has no disk pressure"})
	if unwritable != nil {
		disk = pick(corev1.NodeDiskPressure, true, [2]string{reasonUnwritable, unwritableMessage(unwritable)}, [2]string{})
	}
	list := []corev1.NodeCondition{
		pick(corev1.NodeMemoryPressure, pressed("memory"), [2]string{"KubeletHasInsufficientMemory", "kubelet has insufficient memory available"}, [2]string{"KubeletHasSufficientMemory", "kubelet has sufficient memory available"}),
		disk,
		pick(corev1.NodePIDPressure, false, [2]string{}, [2]string{"KubeletHasSufficientPID", "kubelet has sufficient PID available"}),
		ready,
	}
	for i := range list {
		c := &list[i]
		c.LastHeartbeatTime, c.LastTransitionTime = metav1.NewTime(now), metav1.NewTime(now)
		if n.last == nil {
			continue
		}
		j := slices.IndexFunc(n.last.Status.Conditions, func(o corev1.NodeCondition) bool { return o.Type == c.Type })
		if j >= 0 && n.last.Status.Conditions[j].Status == c.Status {
			c.LastTransitionTime = n.last.Status.Conditions[j].LastTransitionTime
		}
	}
	return list
}

// reasonUnwritable is the reason of a DiskPressure that passes when the node can
// store again; the other kind is held for a while.
const reasonUnwritable = "StoreUnwritable"

// unwritableMessage does not repeat how much is left on the disk: that changes
// all the time, and each change would be reported.
func unwritableMessage(err error) string {
	why := err.Error()
	switch {
	case errors.Is(err, syscall.ENOSPC):
		why = "its disk is full: make room on it"
	case errors.Is(err, syscall.EROFS):
		why = "its disk is read-only: mount it writable"
	}
	return "the node cannot store anything, pods run on as they are and nothing new is taken from the cloud: " + why
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
