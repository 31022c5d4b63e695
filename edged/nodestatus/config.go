package nodestatus

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/runtime"
)

// Config sets up a Reporter. NodeName, Root, Runtime and Reports are required.
type Config struct {
	NodeName string  // the Node's name
	Root     string  // folder whose file system must answer; see DiskPressure
	Runtime  Runtime // gives its version, health and images
	Reports  Reports // stores the Node

	NodeIPs     []netip.Addr        // addresses of the node, primary first; 0.0.0.0 and :: mean the machine's of that family; none means that of OutboundIP
	Labels      map[string]string   // labels besides those that every node has
	Annotations map[string]string   // annotations of the Node
	Taints      []corev1.Taint      // taints that the Node is registered with
	ProviderID  string              // spec.providerID; "" means none
	MaxPods     int                 // 0 means 110
	PodsPerCore int                 // pods for each CPU, at most MaxPods in sum; 0 means no such limit
	MaxImages   int                 // how many images the Node shows; 0 means 50, a negative number none
	Reserved    corev1.ResourceList // what pods may not use
	Features    []string            // features of Kubernetes that the node declares to have (KEP-5328), sorted
	Version     string              // the kubelet version to report
	Interval    time.Duration       // how often the machine and its runtime are checked; 0 means 10 seconds

	// Pressures gives the conditions MemoryPressure, DiskPressure and PIDPressure that
	// are True now, and whether that is known yet. It is asked at each check. A nil func
	// means that none is ever True for want of memory, room or process ids.
	Pressures func() (conditions []corev1.NodeConditionType, known bool)
	// Conditions gives further conditions of the node, at each check: type, status, reason and
	// message. One that was reported with another status gets its time of transition here. A
	// nil func means that there are none.
	Conditions func() []corev1.NodeCondition
	// NotReady says why the node is not ready although its runtime is; "" if it is. It is
	// asked at each check. A nil func means that there is no other cause.
	NotReady func() string
	// Devices gives the node's capacity in devices of device plugins, and what pods can have
	// of it. A nil func means that there are none.
	Devices func() (capacity, allocatable corev1.ResourceList)
	// KeptFree is what of a capacity is not allocatable besides Reserved: the hard
	// thresholds of evictions. A nil func means nothing.
	KeptFree func(capacity corev1.ResourceList) corev1.ResourceList
	// VolumesInUse gives the volumes that the cloud has attached to the node and must not
	// detach. A nil func means that the cloud attaches none.
	VolumesInUse func() []corev1.UniqueVolumeName
	// Unwritable says why Reports cannot store anything now; nil if it can. A nil
	// func means that it always can.
	Unwritable func() error
	// OutboundIP finds the node's address where NodeIPs has none; nil asks the
	// kernel which address it uses towards the default route.
	OutboundIP func() (netip.Addr, error)
	// WatchAddresses has the kernel say when the addresses may have changed, on Linux; without
	// it they are looked at each Interval.
	WatchAddresses bool
	// AddressesChanged is called after the node's addresses changed, with no mutex
	// held. nil means that nothing is called.
	AddressesChanged func()
	// ImagesListed is called with all images of the node each time that they are
	// listed, with no mutex held. It must not change them. nil means that nobody wants
	// to know.
	ImagesListed func([]runtime.Image)
	// LastNode reads what was last reported, so that conditions keep the time of
	// their last transition. The error for a node that never was matches
	// interface{ NotFound() bool }. nil means that nobody remembers.
	LastNode func(ctx context.Context) (*corev1.Node, error)
	// NodeDeleted sends the Node as it was, each time that it was deleted in the API
	// server. nil means that nobody can say.
	NodeDeleted func(ctx context.Context) <-chan *corev1.Node
	// Event records an event of the Node; kind is corev1.EventTypeNormal or Warning.
	// nil discards it.
	Event  func(kind, reason, message string)
	Logger *slog.Logger // nil discards
}

// Runtime is the part of a runtime.Runtime that a Reporter asks.
type Runtime interface {
	Version(ctx context.Context) (runtime.Version, error)
	Health(ctx context.Context) (runtime.Health, error)
	ListImages(ctx context.Context) ([]runtime.Image, error)
}

// Reports stores the Node. It returns when that is durable.
type Reports interface {
	Node(ctx context.Context, node *corev1.Node) error
}

func (c Config) check() error {
	switch {
	case c.NodeName == "":
		return errors.New("edged/nodestatus: Config.NodeName is required")
	case c.Root == "":
		return errors.New("edged/nodestatus: Config.Root is required")
	case c.Runtime == nil:
		return errors.New("edged/nodestatus: Config.Runtime is required: see edged/cri")
	case c.Reports == nil:
		return errors.New("edged/nodestatus: Config.Reports is required")
	}
	return nil
}

func (c Config) withDefaults() Config {
	if c.MaxPods == 0 {
		c.MaxPods = 110
	}
	if c.MaxImages == 0 {
		c.MaxImages = maxImages
	}
	if c.Interval <= 0 {
		c.Interval = 10 * time.Second
	}
	if c.Unwritable == nil {
		c.Unwritable = func() error { return nil }
	}
	if c.Pressures == nil {
		c.Pressures = func() ([]corev1.NodeConditionType, bool) { return nil, true }
	}
	if c.NotReady == nil {
		c.NotReady = func() string { return "" }
	}
	if c.KeptFree == nil {
		c.KeptFree = func(corev1.ResourceList) corev1.ResourceList { return nil }
	}
	if c.Devices == nil {
		c.Devices = func() (_, _ corev1.ResourceList) { return nil, nil }
	}
	if c.OutboundIP == nil {
		c.OutboundIP = outboundIP
	}
	if c.AddressesChanged == nil {
		c.AddressesChanged = func() {}
	}
	if c.ImagesListed == nil {
		c.ImagesListed = func([]runtime.Image) {}
	}
	if c.Event == nil {
		c.Event = func(string, string, string) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.NodeIPs = slices.Clone(c.NodeIPs)
	c.Labels = maps.Clone(c.Labels)
	c.Annotations = maps.Clone(c.Annotations)
	c.Taints = slices.Clone(c.Taints)
	c.Features = slices.Clone(c.Features)
	c.Reserved = c.Reserved.DeepCopy()
	return c
}
