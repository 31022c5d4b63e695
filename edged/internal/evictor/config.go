package evictor

import (
	"context"
	"errors"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/internal/eviction"
	"github.com/edgekit/edgekit/edged/internal/nodeusage"
	"github.com/edgekit/edgekit/edged/runtime"
)

// Config sets up an Evictor. Node and Pods are required.
type Config struct {
	Node NodeMeter
	Pods Pods
	// Usage measures memory, processes and writable layers of pods; nil means that
	// nobody can.
	Usage runtime.Meter
	// Reclaimer removes what the node can do without before a pod is evicted; nil means
	// that there is nothing of the kind.
	Reclaimer Reclaimer

	Thresholds       []eviction.Threshold
	TransitionPeriod time.Duration // how long a condition stays; 0 means 5 minutes
	MaxGracePeriod   time.Duration // that a pod gets for a soft threshold
	Interval         time.Duration // between two passes; 0 means 10 seconds

	// NodeEvent records an event of the Node, PodEvent one of a pod; nil discards it.
	NodeEvent func(kind, reason, message string)
	PodEvent  func(pod *corev1.Pod, kind, reason, message string)
	// Changed is called after Pressures has changed, with no mutex held; nil means that
	// nothing is called.
	Changed func()
	// LastNode reads the Node as it was last reported, so that conditions are held over
	// a restart; nil means that nobody remembers.
	LastNode func(ctx context.Context) (*corev1.Node, error)
	Logger   *slog.Logger // nil discards
}

// NodeMeter measures the node; *nodeusage.Meter is one.
type NodeMeter interface {
	Read(ctx context.Context) nodeusage.Reading
}

// Reclaimer frees disk without ending a pod.
type Reclaimer interface {
	// RemoveDead removes the containers, folders and logs of pods that have ended.
	RemoveDead(ctx context.Context) error
	// ReclaimAll removes every image that no pod uses.
	ReclaimAll(ctx context.Context) (freedBytes uint64, err error)
}

// Pods are the pods of the node. The methods may be called at any time.
type Pods interface {
	// Active lists the pods that have not ended. They must not be changed.
	Active() []*corev1.Pod
	// Folders are those of a pod on the node's disk.
	Folders(pod *corev1.Pod) Folders
	// Evict ends a pod for good. It reports false where the pod has ended already.
	Evict(uid types.UID, e Eviction) bool
	// IsGone reports whether the containers and volumes of the pod are removed.
	IsGone(uid types.UID) bool
}

// Folders are where a pod writes to the disk, by the names of its volumes and containers.
type Folders struct{ Volumes, Logs map[string]string }

// Eviction is how a pod is ended.
type Eviction struct {
	Message  string
	Grace    time.Duration // at the most; the pod's own may be shorter
	Disrupts bool          // for the sake of the node: the pod gets the condition DisruptionTarget
}

func (c Config) withDefaults() (Config, error) {
	if c.Node == nil || c.Pods == nil {
		return c, errors.New("evictor: Config.Node and Pods are required")
	}
	if c.TransitionPeriod == 0 {
		c.TransitionPeriod = eviction.DefaultTransitionPeriod
	}
	if c.Interval <= 0 {
		c.Interval = 10 * time.Second // the kubelet's evictionMonitoringPeriod
	}
	if c.NodeEvent == nil {
		c.NodeEvent = func(string, string, string) {}
	}
	if c.PodEvent == nil {
		c.PodEvent = func(*corev1.Pod, string, string, string) {}
	}
	if c.Changed == nil {
		c.Changed = func() {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}
