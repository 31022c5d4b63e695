package edged

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/shutdown"
	"github.com/edgekit/edgekit/edged/static"
)

// Shutdown says how long pods have to end before the machine shuts down: the kubelet's
// settings shutdownGracePeriod*. The zero value delays no shutdown.
// https://kubernetes.io/docs/concepts/cluster-administration/node-shutdown/
type Shutdown struct {
	// GracePeriod is the time of the whole shutdown, GracePeriodCriticalPods the part of
	// it that only critical pods have. 0, or whole seconds.
	GracePeriod, GracePeriodCriticalPods time.Duration
	// GracePeriodByPodPriority has a time for the pods of each range of priorities, which
	// begins with the key. It excludes the two above. nil means none.
	GracePeriodByPodPriority map[int32]time.Duration
	// Dial connects to what delays a shutdown: logind.Dial of edged/shutdown/logind. It is
	// required where there is a grace period.
	Dial func(ctx context.Context) (shutdown.Logind, error)
	// ConfigDir is where logind reads files of its configuration; "" means
	// /etc/systemd/logind.conf.d.
	ConfigDir string
	// Flush is called after the last pod has ended, for what must be sent before the
	// machine goes. Its ctx ends when there is no more time. nil means that nothing is called.
	Flush func(ctx context.Context)
}

// on reports whether shutdowns are delayed.
func (s Shutdown) on() bool { return s.GracePeriod > 0 || len(s.GracePeriodByPodPriority) > 0 }

func (s Shutdown) check() error {
	whole, critical := s.GracePeriod, s.GracePeriodCriticalPods
	for field, d := range map[string]time.Duration{"GracePeriod": whole, "GracePeriodCriticalPods": critical} {
		if d < 0 || d%time.Second != 0 {
			return fmt.Errorf("edged: Config.Shutdown.%s is %s: want 0 or whole seconds", field, d)
		}
	}
	switch {
	case critical > whole:
		return fmt.Errorf("edged: Config.Shutdown.GracePeriodCriticalPods is %s, more than GracePeriod, which is %s and contains it: raise that", critical, whole)
	case whole > 0 && len(s.GracePeriodByPodPriority) > 0:
		return errors.New("edged: Config.Shutdown has both GracePeriod and GracePeriodByPodPriority: leave one of the two out")
	case s.on() && s.Dial == nil:
		return errors.New("edged: Config.Shutdown.Dial is required with a grace period: see edged/shutdown/logind")
	}
	return nil
}

// newShutdown makes what delays shutdowns; nil if nothing does.
func (a *Agent) newShutdown() (*shutdown.Manager, error) {
	s := a.cfg.Shutdown
	if !s.on() {
		return nil, nil
	}
	periods := shutdown.Periods(s.GracePeriod, s.GracePeriodCriticalPods)
	for priority, grace := range s.GracePeriodByPodPriority {
		periods = append(periods, shutdown.Period{Priority: priority, Grace: grace})
	}
	return shutdown.New(shutdown.Config{
		Dial: s.Dial, Periods: periods, Pods: endingPods{a}, ConfigDir: s.ConfigDir, StateFile: filepath.Join(a.cfg.Root, "graceful_node_shutdown_state"),
		Changed: func() { a.node.CheckNow() }, Flush: s.Flush, Event: a.events.Node, Logger: a.log,
	})
}

// shuttingDown reports whether the machine is about to shut down.
func (a *Agent) shuttingDown() bool { return a.shutdown != nil && a.shutdown.ShuttingDown() }

// notReady says why the node is not ready although its runtime is; "" if it is.
func (a *Agent) notReady() string {
	if a.shuttingDown() {
		return shutdown.NotReady
	}
	return ""
}

// endingPods are the pods of an Agent as a shutdown.Manager sees them.
type endingPods struct{ a *Agent }

// Active lists the pods that have not ended. They must not be changed.
func (e endingPods) Active() []*corev1.Pod { return evictablePods(e).Active() }

// End ends a pod before the shutdown.
func (e endingPods) End(uid types.UID, grace time.Duration) bool {
	w := evictablePods(e).worker(uid)
	return w != nil && w.endFor(&plan.Rejection{Reason: shutdown.Reason, Message: shutdown.Message, Disrupts: true}, &grace)
}

// HasEnded reports whether nothing of the pod runs, its volumes are gone and its last
// status is stored, which comes before the volumes.
func (e endingPods) HasEnded(uid types.UID) bool {
	w := evictablePods(e).worker(uid)
	if w == nil {
		return true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.alive && w.mem.TornDown
}

// Resume starts static pods again that a shutdown has ended, which did not come: nobody
// else would replace them.
func (e endingPods) Resume() {
	e.a.eachWorker(func(w *worker) {
		w.mu.Lock()
		ended := static.Is(w.pod) && w.rejected != nil && w.rejected.Reason == shutdown.Reason
		w.replaced = w.replaced || ended
		w.mu.Unlock()
		if ended {
			w.wakeUp()
		}
	})
}

// endedByShutdown reports whether a status is that of a pod that a shutdown has ended. A
// static pod runs again after the boot; what the API server shows of it is replaced.
func endedByShutdown(st *corev1.PodStatus) bool {
	return st.Phase == corev1.PodFailed && st.Reason == shutdown.Reason
}
