package edged

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/podspec"
)

// Annotations of a pod that has to wait for somebody at the site before it starts.
const (
	// HoldUpgradeAnnotation is KubeEdge's. With the value "true" no container of the pod
	// starts, and nothing of it is prepared, before the pod is released: see Agent.Unhold. A
	// pod that has started is never held again.
	HoldUpgradeAnnotation = "edge.kubeedge.io/hold-upgrade"
	// HoldTimeoutAnnotation is how long that is at most, such as "12h", from when the node
	// first saw the pod. Without it, or with a bad value, there is no limit.
	HoldTimeoutAnnotation = "edgekit.io/hold-timeout"
)

// ConditionHeldUpgrade is a condition of pods that are held: True with the reason
// HoldUpgradeEnabled. Other pods do not have it.
const ConditionHeldUpgrade = plan.ConditionHeldUpgrade

// ReleaseStore is what an Objects may implement besides, to remember which held pods were
// released. Without it a pod that is released, and has not begun to start, is held again
// after a restart of the agent.
type ReleaseStore interface {
	// Release notes that a pod is released. It returns when that is durable.
	Release(ctx context.Context, uid types.UID) error
	// Released reports whether that was noted.
	Released(ctx context.Context, uid types.UID) (bool, error)
}

// ErrNotHeld says that a pod has started, or need not wait.
var ErrNotHeld = errors.New("the pod is not held")

// NoPodError says that the node has no such pod.
type NoPodError struct{ Namespace, Name string }

// Error names the pod.
func (e *NoPodError) Error() string {
	return fmt.Sprintf("edged: there is no pod %s/%s on this node", e.Namespace, e.Name)
}

// NotFound reports true.
func (e *NoPodError) NotFound() bool { return true }

// Unhold releases a pod that HoldUpgradeAnnotation keeps from starting. It returns when that
// is durable. The error is a *NoPodError, wraps ErrNotHeld, or is that of the ReleaseStore.
func (a *Agent) Unhold(ctx context.Context, namespace, name string) error {
	var found *worker
	a.eachWorker(func(w *worker) {
		if pod := w.spec(); pod.Namespace == namespace && pod.Name == name && (found == nil || w.isHeld()) {
			found = w
		}
	})
	if found == nil {
		return &NoPodError{namespace, name}
	}
	if !found.isHeld() {
		return fmt.Errorf("edged: pod %s/%s: %w", namespace, name, ErrNotHeld)
	}
	return found.unhold(ctx)
}

// UnholdAll releases all pods that are held, and gives their names as NAMESPACE/NAME.
func (a *Agent) UnholdAll(ctx context.Context) ([]string, error) {
	var held []*worker
	a.eachWorker(func(w *worker) {
		if w.isHeld() {
			held = append(held, w)
		}
	})
	var names []string
	for _, w := range held {
		if err := w.unhold(ctx); err != nil {
			return names, err
		}
		pod := w.spec()
		names = append(names, pod.Namespace+"/"+pod.Name)
	}
	return names, nil
}

// hold is whether a pod waits for its release.
type hold struct {
	held     bool
	loaded   bool // the store was asked
	released bool
	badLimit string // the value of HoldTimeoutAnnotation that an event was about
}

func (w *worker) isHeld() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mem.hold.held
}

// unhold releases the pod.
func (w *worker) unhold(ctx context.Context) error {
	pod := w.spec()
	if store, ok := w.a.cfg.Objects.(ReleaseStore); ok {
		if err := store.Release(ctx, pod.UID); err != nil {
			return fmt.Errorf("edged: release of pod %s: %w", podspec.Title(pod), err)
		}
	}
	w.updateMemory(func(m *memory) { m.hold.released, m.hold.held = true, false })
	w.a.events.Pod(pod, corev1.EventTypeNormal, "UpgradeReleased", "The pod is released and starts.")
	w.wakeUp()
	return nil
}

// followHold decides whether the pod is held now. A store that cannot be read keeps it
// held. until is when that ends by itself; zero for never.
func (w *worker) followHold(ctx context.Context, end plan.Ending, now time.Time) (held bool, until time.Time) {
	pod := w.spec()
	w.mu.Lock()
	h := w.mem.hold
	w.mu.Unlock()
	was := h.held
	h.held = end == plan.EndNone && pod.Annotations[HoldUpgradeAnnotation] == "true" && len(w.view.Sandboxes) == 0 && len(w.view.Containers) == 0 && !hasEverRun(w.last)
	if h.held && !h.loaded {
		h.loaded = true
		if store, ok := w.a.cfg.Objects.(ReleaseStore); ok {
			released, err := store.Released(ctx, pod.UID)
			if err != nil {
				h.loaded, until = false, now.Add(reportRetry)
			}
			h.released = h.released || released
		}
	}
	if text := pod.Annotations[HoldTimeoutAnnotation]; h.held && text != "" {
		limit, err := time.ParseDuration(text)
		latest := deadlineStart(pod, w.start, now).Add(limit)
		switch {
		case err != nil || limit < 0:
			if h.badLimit != text {
				h.badLimit = text
				w.a.events.Pod(pod, corev1.EventTypeWarning, "InvalidHoldTimeout", fmt.Sprintf("annotation %s=%q is no duration, such as 12h: the pod is held without a limit", HoldTimeoutAnnotation, text))
			}
		case !now.Before(latest):
			h.held = false
		case until.IsZero() || latest.Before(until):
			until = latest
		}
	}
	w.updateMemory(func(m *memory) {
		h.released = h.released || m.hold.released
		h.held = h.held && !h.released
		m.hold = h
	})
	if h.held && !was {
		w.a.events.Pod(pod, corev1.EventTypeNormal, "UpgradeHeld", "The pod waits for its release: edgectl unhold pod "+pod.Name+" --in "+pod.Namespace)
	}
	return h.held, until
}

// hasEverRun reports whether any container of a pod ran, by its last status: also where the
// runtime has forgotten it.
func hasEverRun(last *corev1.PodStatus) bool {
	if last == nil {
		return false
	}
	return slices.ContainsFunc(slices.Concat(last.InitContainerStatuses, last.ContainerStatuses), func(c corev1.ContainerStatus) bool {
		return c.State.Running != nil || c.State.Terminated != nil || c.LastTerminationState.Terminated != nil
	})
}
