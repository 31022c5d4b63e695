package edged

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/edgekit/edgekit/edged/devices"
	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/userns"
	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/volume"
	"github.com/edgekit/edgekit/meta"
)

// DefaultVersion is the kubelet version that a node reports when Config does
// not say: the Kubernetes release whose behaviour this package follows.
const DefaultVersion = "v1.37.2-edgekit"

// Config sets up an Agent. NodeName, Runtime, Objects and Reports are required.
type Config struct {
	NodeName string          // the Node's name: a lower-case DNS name
	Runtime  runtime.Runtime // runs sandboxes and containers; see edged/cri
	Objects  Objects         // what the node must run
	Reports  Reports         // what is true on the node
	// Store is the node's store, in which the agent remembers what must survive it, below
	// meta.Local + "edged/"; the caller closes it. nil leaves that to the runtime.
	Store meta.Store
	// CSI finds the CSI drivers of the node; see edged/csi. nil is a node without any:
	// a pod with a driver's volume waits.
	CSI volume.CSI
	// Devices gives containers the devices of the node's device plugins; see
	// edged/deviceplugin. nil is a node without any: a pod that wants one is rejected. An
	// Agent needs one of its own.
	Devices *devices.Manager
	// ResourceClaims prepares the resource claims of pods; see edged/dra. nil is a node that
	// cannot: a pod with a claim waits, and an event says why.
	ResourceClaims ResourceClaims

	Root    string // folder of the pods' volumes; "" means /var/lib/edgekit/edged
	LogRoot string // folder of the pods' logs; "" means /var/log/pods

	// StaticPodDir is a folder of manifests of pods that the node runs with no
	// API server involved; "" means none. See edged/static.
	StaticPodDir string
	// StaticPodURL is a manifest of the same kind, or a list of them, on a web server; ""
	// means none. StaticPodURLHeader is sent with each request.
	StaticPodURL       string
	StaticPodURLHeader http.Header
	// StaticPodDirCheck and StaticPodURLCheck are how often these are looked at; 0 means 1 and
	// 20 seconds.
	StaticPodDirCheck, StaticPodURLCheck time.Duration

	// NodeIPs are addresses of the node, the primary one first. 0.0.0.0 and :: stand for the
	// address of that family that the machine uses, which is followed: both together are a node
	// with two families. None means the address of the default route, of either family.
	NodeIPs []netip.Addr
	// OutboundIP finds the node's address where NodeIPs has none; nil asks the
	// kernel which address it uses towards the default route.
	OutboundIP func() (netip.Addr, error)
	// WatchAddresses has the kernel say when the machine's addresses changed, on Linux; without
	// it they are looked at each NodeCheck. A goroutine then waits in a read, which stops the
	// clock of a testing/synctest bubble.
	WatchAddresses bool
	Labels         map[string]string   // labels of the Node besides those that every node has
	Annotations    map[string]string   // annotations of the Node; those of the domain edgekit.io are not the node's to set
	Taints         []corev1.Taint      // taints that the Node is registered with
	ProviderID     string              // spec.providerID of the Node when it registers; "" means none
	MaxPods        int                 // 0 means 110
	PodsPerCore    int                 // pods for each CPU, at most MaxPods in sum; 0 means no such limit
	Reserved       corev1.ResourceList // kept from pods, besides Resources.SystemReserved and KubeReserved
	Resources      Resources           // how the node divides its CPU, memory, processes and swap
	Topology       Topology            // which containers get CPUs and memory of their own; the zero value is none
	ClusterDNS     []netip.Addr        // name servers of pods with the ClusterFirst policy; none means the host's
	ClusterDomain  string              // DNS domain of the cluster; "" means cluster.local
	API            LocalAPI            // a Kubernetes API on the node for its pods; the zero value is none
	ResolvConf     string              // resolver file that pods get their servers from; "" means /etc/resolv.conf or, where that has loopback servers only, systemd-resolved's
	CgroupRoot     string              // cgroup under which the pods' cgroups are made; "" means the root
	PodCgroups     Toggle              // whether cgroups of the node, of classes and of pods are made and limited: the kubelet's cgroupsPerQOS
	Version        string              // kubelet version to report; "" means DefaultVersion
	MaxPulls       int                 // images pulled at the same time; 0 means 3
	// OfflineImages says whether a container whose pull policy is Always starts
	// with the image that the node has while the image's registry is out of
	// reach. Only a pod that names credentials with which this very image was
	// pulled before gets it, or any pod if it was pulled with none.
	OfflineImages Toggle
	// ImageVerification says when a pod that does not pull, by its pull policy, may
	// have an image that is on the node; "" means NeverVerifyPreloadedImages.
	ImageVerification ImageVerification
	// PreloadedImagesAllowlist names images for NeverVerifyAllowlistedImages, without tags,
	// as the kubelet's preloadedImagesVerificationAllowlist: "quay.io/acme/*".
	PreloadedImagesAllowlist []string
	// Credentials are asked, in order, for the credentials of images besides those in the
	// pods' pull secrets: image.ConfigFiles, credentialprovider.Providers, or your own.
	Credentials []CredentialSource
	// RegistryPullQPS is how many pulls begin per second on average, after a RegistryBurst
	// at once; 0 means any number. A pull beyond that waits.
	RegistryPullQPS float64
	RegistryBurst   int // 0 means 10
	// DialRegistry connects to a registry, only to see whether it is in reach; nil
	// means a net.Dialer.
	DialRegistry func(ctx context.Context, network, address string) (net.Conn, error)
	// AllowedSysctls lists namespaced sysctls beyond the safe ones that pods may
	// set, each a name or a prefix ending in "*".
	AllowedSysctls []string
	// SeccompDefault gives containers that name no seccomp profile the runtime's own
	// instead of none, as the kubelet's setting of that name.
	SeccompDefault bool
	// UserNamespacesIDsPerPod is how many user and group ids a pod with hostUsers: false
	// gets: a multiple of 65536; 0 means 65536. The ids are those of the user kubelet in
	// /etc/subuid and /etc/subgid, or else all from this number on.
	UserNamespacesIDsPerPod int64

	ContainerLogs ContainerLogs // rotation of the containers' logs, and links to them
	ImageGC       ImageGC       // when images that nobody uses are removed
	Shutdown      Shutdown      // how pods end before the machine shuts down; the zero value delays no shutdown
	// Eviction says when pods are evicted because the node is short of memory, disk or
	// process ids; the zero value means the kubelet's defaults.
	Eviction Eviction
	// NodeCheck is how often the node's own condition (runtime, memory, disk,
	// processes) and the limits of local storage are looked at; 0 means 10 seconds. It is
	// reported when it changes.
	NodeCheck time.Duration
	// NodeStatusMaxImages is how many images the Node shows, the largest first; 0 means 50,
	// a negative number none.
	NodeStatusMaxImages int
	// Trace hears of the steps of each pod, for traces; nil costs nothing.
	Trace PodTrace
	// MaxContainerRestartPeriod is the longest pause between restarts of a container that
	// keeps exiting, 1 second to 5 minutes; 0 means 5 minutes.
	MaxContainerRestartPeriod time.Duration
	// EventQPS is how many events of pods are reported in a second, EventBurst how many at
	// once, and as many of the node; more are dropped. EventQPS 0 means no limit, EventBurst 0 means 100.
	EventQPS, EventBurst int
	// Unwritable says why Reports cannot store anything now; nil if it can. An
	// Agent runs on with what it has then, and reports disk pressure, which keeps
	// new pods away. It is asked each NodeCheck. A nil func means that it always can.
	Unwritable func() error
	// Conditions gives further conditions of the Node, of parts of the program that are not the
	// agent's. It is asked each NodeCheck. A nil func means that there are none.
	Conditions func() []corev1.NodeCondition
	// KernelLog is the file of the kernel's messages, such as /dev/kmsg: when the kernel kills a
	// process because the whole machine is out of memory, there is an event SystemOOM of the
	// Node. "" watches none.
	KernelLog string
	// Relist is how often the runtime is asked for changes when it sends no
	// events; 0 means 1 second.
	Relist time.Duration
	Logger *slog.Logger // nil discards
}

// Toggle is on unless it is turned off.
type Toggle int

// The values of a Toggle.
const (
	On Toggle = iota
	Off
)

// The names of a TraceStep.
const (
	TraceVolumes = "volumes" // the pod's volumes and cgroup are set up
	TraceSandbox = "sandbox" // its sandbox is created and started
	TraceStart   = "start"   // a container is created and started; TraceImage lies within
	TraceImage   = "image"   // an image is brought to the node, unless it is there
	TraceStop    = "stop"    // a container, or the pod with its sandbox, is stopped
	TraceRemove  = "remove"  // what is left of a stopped container, sandbox or pod is removed
)

// TraceStep is a part of an agent's work for a pod.
type TraceStep struct {
	Name      string // TraceVolumes and so on
	Container string // the container's name, "" for one of the whole pod
	Image     string // of TraceImage
}

// PodTrace is called when a step of a pod begins. It returns the context of the step and what is called
// when the step has ended, with its error. Both calls come from a goroutine of the pod and must not
// block. The pod must not be changed.
type PodTrace func(ctx context.Context, pod *corev1.Pod, step TraceStep) (context.Context, func(error))

func (c Config) check() error {
	switch {
	case c.NodeName == "":
		return errors.New("edged: Config.NodeName is required")
	case len(validation.IsDNS1123Subdomain(c.NodeName)) > 0:
		return fmt.Errorf("edged: Config.NodeName %q is not a lower-case DNS name", c.NodeName)
	case c.Runtime == nil:
		return errors.New("edged: Config.Runtime is required: see edged/cri")
	case c.Objects == nil:
		return errors.New("edged: Config.Objects is required")
	case c.Reports == nil:
		return errors.New("edged: Config.Reports is required")
	case c.MaxPods < 0:
		return fmt.Errorf("edged: Config.MaxPods is %d: it must not be negative", c.MaxPods)
	case c.PodsPerCore < 0:
		return fmt.Errorf("edged: Config.PodsPerCore is %d: it must not be negative", c.PodsPerCore)
	case c.EventQPS < 0 || c.EventBurst < 0:
		return fmt.Errorf("edged: Config.EventQPS is %d and EventBurst %d: neither may be negative", c.EventQPS, c.EventBurst)
	case c.MaxContainerRestartPeriod != 0 && (c.MaxContainerRestartPeriod < time.Second || c.MaxContainerRestartPeriod > plan.MaxBackOff):
		return fmt.Errorf("edged: Config.MaxContainerRestartPeriod is %s: want 1s to 5m", c.MaxContainerRestartPeriod)
	}
	if err := c.checkImages(); err != nil {
		return err
	}
	for field, path := range map[string]string{
		"Root": c.Root, "LogRoot": c.LogRoot, "ResolvConf": c.ResolvConf, "StaticPodDir": c.StaticPodDir, "KernelLog": c.KernelLog,
	} {
		if path != "" && !filepath.IsAbs(path) {
			return fmt.Errorf("edged: Config.%s %q is not an absolute path", field, path)
		}
	}
	for key, value := range c.Labels {
		if errs := append(validation.IsQualifiedName(key), validation.IsValidLabelValue(value)...); len(errs) > 0 {
			return fmt.Errorf("edged: Config.Labels: %s=%s: %s", key, value, errs[0])
		}
	}
	if n := c.UserNamespacesIDsPerPod; n < 0 || n > math.MaxUint32 || n%userns.Unit != 0 {
		return fmt.Errorf("edged: Config.UserNamespacesIDsPerPod (--user-namespaces-ids-per-pod) is %d: use a multiple of %d", n, userns.Unit)
	}
	if err := c.checkDisk(); err != nil {
		return err
	}
	if _, err := c.Eviction.thresholds(); err != nil {
		return err
	}
	if err := c.Shutdown.check(); err != nil {
		return err
	}
	if err := c.Resources.check(); err != nil {
		return err
	}
	if err := c.checkTopology(); err != nil {
		return err
	}
	return c.checkRegistration()
}

func (c Config) withDefaults() Config {
	def := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	def(&c.Root, "/var/lib/edgekit/edged")
	def(&c.LogRoot, "/var/log/pods")
	def(&c.ClusterDomain, "cluster.local")
	def(&c.Version, DefaultVersion)
	if c.ImageVerification == "" {
		c.ImageVerification = NeverVerifyPreloadedImages
	}
	if c.MaxPods == 0 {
		c.MaxPods = 110
	}
	if c.MaxPulls <= 0 {
		c.MaxPulls = 3
	}
	if c.RegistryBurst == 0 {
		c.RegistryBurst = 10
	}
	if c.NodeCheck <= 0 {
		c.NodeCheck = 10 * time.Second
	}
	if c.EventBurst == 0 {
		c.EventBurst = 100
	}
	if c.Relist <= 0 {
		c.Relist = time.Second
	}
	if c.DialRegistry == nil {
		c.DialRegistry = new(net.Dialer).DialContext
	}
	if c.Unwritable == nil {
		c.Unwritable = func() error { return nil }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.NodeIPs = slices.Clone(c.NodeIPs)
	c.ClusterDNS = slices.Clone(c.ClusterDNS)
	c.Labels = maps.Clone(c.Labels)
	c.Annotations = maps.Clone(c.Annotations)
	c.StaticPodURLHeader = c.StaticPodURLHeader.Clone()
	c.Taints = slices.Clone(c.Taints)
	c.Reserved, c.Resources = c.Reserved.DeepCopy(), c.Resources.clone()
	c.Eviction, c.Topology = c.Eviction.clone(), c.Topology.clone()
	if c.Topology.CPUManagerReconcilePeriod == 0 {
		c.Topology.CPUManagerReconcilePeriod = 10 * time.Second
	}
	c.Shutdown.GracePeriodByPodPriority = maps.Clone(c.Shutdown.GracePeriodByPodPriority)
	c.AllowedSysctls = slices.Clone(c.AllowedSysctls)
	c.PreloadedImagesAllowlist, c.Credentials = slices.Clone(c.PreloadedImagesAllowlist), slices.Clone(c.Credentials)
	return c.withReservedCPUs()
}

// ownDomain is that of the annotations by which operators and cloudcore decide
// about a node.
const ownDomain = "edgekit.io/"

// checkRegistration checks what the Node is registered with, besides its labels.
func (c Config) checkRegistration() error {
	for key := range c.Annotations {
		if errs := validation.IsQualifiedName(strings.ToLower(key)); len(errs) > 0 {
			return fmt.Errorf("edged: Config.Annotations: %s: %s", key, errs[0])
		}
		if strings.HasPrefix(key, ownDomain) {
			return fmt.Errorf("edged: Config.Annotations: %s is not the node's to set: use kubectl in the cloud", key)
		}
	}
	type place struct {
		key    string
		effect corev1.TaintEffect
	}
	seen := make(map[place]bool)
	for _, t := range c.Taints {
		name := t.ToString()
		if errs := append(validation.IsQualifiedName(t.Key), validation.IsValidLabelValue(t.Value)...); len(errs) > 0 {
			return fmt.Errorf("edged: Config.Taints: %s: %s", name, errs[0])
		}
		switch t.Effect {
		case corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute:
		default:
			return fmt.Errorf("edged: Config.Taints: %s: the effect must be NoSchedule, PreferNoSchedule or NoExecute", name)
		}
		at := place{t.Key, t.Effect}
		if seen[at] {
			return fmt.Errorf("edged: Config.Taints: %s: there are two of this key and effect: leave one out", name)
		}
		seen[at] = true
	}
	return nil
}
