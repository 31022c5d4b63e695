package nodecgroups

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/edgekit/edgekit/edged/cgroup"
	"github.com/edgekit/edgekit/edged/internal/allocatable"
	"github.com/edgekit/edgekit/edged/internal/lifecycle"
)

// interval is how often the cgroups are brought to what they should be, also without
// cause: the kubelet's periodicQOSCgroupUpdateInterval, and its pause after the limits of
// all pods could not be set.
const interval = time.Minute

// The events about the limits of all pods; the kubelet's.
const (
	eventEnforced    = "NodeAllocatableEnforced"
	eventNotEnforced = "FailedNodeAllocatableEnforcement"
)

// Config sets up a Keeper. Groups, Pods, Machine and Event are required.
type Config struct {
	Groups  func() *cgroup.Groups      // asked when Run has begun
	Pods    func() []*corev1.Pod       // those that hold resources
	Machine func() corev1.ResourceList // what the machine has: Machine of its capacity

	Reserved     corev1.ResourceList // kept from all pods together; nil keeps nothing
	Daemons      []Daemon            // whose cgroups are limited, too
	TieredMemory bool                // requests of memory are protected

	Event  func(kind, reason, message string) // records an event of the node
	Logger *slog.Logger                       // nil discards
}

// Daemon is a cgroup of daemons, limited to what is reserved for them.
type Daemon struct {
	Title        string // in events: System or Kube
	Group        string
	Reserved     corev1.ResourceList
	Compressible bool // only the CPU counts
}

// Keeper keeps the cgroups above those of the pods.
type Keeper struct {
	cfg   Config
	log   *slog.Logger
	dirty chan struct{} // holds a value: the pods have changed
	guard lifecycle.Guard
}

// New makes a Keeper. It does no I/O.
func New(cfg Config) *Keeper {
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Keeper{cfg: cfg, log: log, dirty: make(chan struct{}, 1)}
}

// Kick has the groups of the classes follow a change of the pods soon. It never blocks.
func (k *Keeper) Kick() {
	select {
	case k.dirty <- struct{}{}:
	default:
	}
}

// Run limits all pods together, and divides the CPU between the classes, until ctx ends;
// then it returns nil. A second call returns edged.ErrStarted.
func (k *Keeper) Run(ctx context.Context) error {
	if err := k.guard.Start(); err != nil {
		return err
	}
	enforced := false
	var failure string
	var last []allocatable.Tier
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			last = nil // what others changed is set back
			timer.Reset(interval)
		case <-k.dirty:
		}
		var err error
		if !enforced {
			err = k.enforce()
			enforced = err == nil
		}
		tiers := allocatable.Tiers(k.cfg.Pods(), allocatable.Options{CgroupV2: k.cfg.Groups().V2(), TieredMemory: k.cfg.TieredMemory})
		if !reflect.DeepEqual(tiers, last) {
			tierErr := k.setTiers(tiers)
			if err = errors.Join(err, tierErr); tierErr == nil {
				last = tiers
			}
		}
		if text := fmt.Sprint(err); err != nil && text != failure {
			k.log.Warn("cannot limit pods as a whole; they run without", "err", err)
			failure = text
		} else if err == nil {
			failure = ""
		}
	}
}

// setTiers sets the limits of the groups of the classes.
func (k *Keeper) setTiers(tiers []allocatable.Tier) error {
	var errs []error
	sizes := k.cfg.Groups().HugePageSizes()
	for _, t := range tiers {
		l := t.Limits
		// Pods have limits of huge pages of their own: the groups above them have none.
		if len(sizes) > 0 && t.Class != corev1.PodQOSGuaranteed {
			l.HugePages = make(map[string]uint64)
			for _, size := range sizes {
				l.HugePages[size] = 1 << 62
			}
		}
		errs = append(errs, k.cfg.Groups().SetUpTier(t.Class, l))
	}
	return errors.Join(errs...)
}

// enforce limits all pods together to what the node has, less what is reserved, and the
// daemons to what is reserved for them, where that is asked for. It says in an event what
// came of it.
func (k *Keeper) enforce() error {
	groups := k.cfg.Groups()
	err := groups.SetUpNode(allocatable.Pods(k.cfg.Machine(), k.cfg.Reserved))
	if err == nil {
		k.cfg.Event(corev1.EventTypeNormal, eventEnforced, "Updated Node Allocatable limit across pods")
	} else {
		k.cfg.Event(corev1.EventTypeWarning, eventNotEnforced, fmt.Sprintf("Failed to update Node Allocatable Limits: %v", err))
	}
	for _, d := range k.cfg.Daemons {
		failure := groups.UpdateGroup(d.Group, allocatable.Daemons(d.Reserved, allocatable.Options{CgroupV2: groups.V2(), Compressible: d.Compressible}))
		if failure == nil {
			k.cfg.Event(corev1.EventTypeNormal, eventEnforced, fmt.Sprintf("Updated limits on %s reserved cgroup %s", strings.ToLower(d.Title), d.Group))
			continue
		}
		k.cfg.Event(corev1.EventTypeWarning, eventNotEnforced, fmt.Sprintf("Failed to enforce %s Reserved Cgroup Limits on %q: %v", d.Title, d.Group, failure))
		err = errors.Join(err, failure)
	}
	return err
}

// Machine is a copy of a capacity, with the number of processes that the kernel lets there
// be.
func Machine(capacity corev1.ResourceList) corev1.ResourceList {
	list := capacity.DeepCopy()
	most := int64(0)
	for _, file := range []string{"/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"} {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && n > 0 && (most == 0 || n < most) {
			most = n
		}
	}
	if most > 0 && list != nil {
		list[allocatable.PIDs] = *resource.NewQuantity(most, resource.DecimalSI)
	}
	return list
}
