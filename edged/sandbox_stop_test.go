package edged_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

// stopCounter is a runtime that counts by sandbox how often StopSandbox was called.
type stopCounter struct {
	*runtimetest.Runtime
	mu    sync.Mutex
	stops map[string]int
	fail  error // what StopSandbox returns, if not nil
}

func (r *stopCounter) StopSandbox(ctx context.Context, id string) error {
	r.mu.Lock()
	r.stops[id]++
	err := r.fail
	r.mu.Unlock()
	if err != nil {
		return err
	}
	return r.Runtime.StopSandbox(ctx, id)
}

// setFailure makes each StopSandbox fail; nil mends it.
func (r *stopCounter) setFailure(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = err
}

// counts lists how often each sandbox was stopped, the largest first.
func (r *stopCounter) counts() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []int
	for _, n := range r.stops {
		out = append(out, n)
	}
	slices.Sort(out)
	slices.Reverse(out)
	return out
}

// sandboxBench is a bench that has started, whose runtime counts, and a pod that has run there for
// a minute.
func sandboxBench(t *testing.T, policy corev1.RestartPolicy) (*bench, *stopCounter, *corev1.Pod) {
	b := newBench(t)
	rt := &stopCounter{Runtime: b.rt, stops: make(map[string]int)}
	b.edit = func(cfg *edged.Config) { cfg.Runtime = rt }
	b.start()
	p := newPod("web", busybox("serve"))
	p.Spec.RestartPolicy = policy
	b.put(p)
	settle(time.Minute)
	return b, rt, p
}

// TestDeadSandboxIsStopped: a sandbox that died by itself keeps its network, and so its
// address, until it is stopped. The agent stops each, once, whatever the pod does next: a
// kubelet stops all sandboxes of a pod before it makes a new one, and when the pod ends.
func TestDeadSandboxIsStopped(t *testing.T) {
	reboot := func(b *bench, meanwhile func()) {
		b.stop()
		b.rt.KillSandboxes()
		meanwhile()
		b.start()
	}
	for _, tt := range []struct {
		name     string
		policy   corev1.RestartPolicy
		trouble  func(b *bench, p *corev1.Pod)
		stops    []int // of each sandbox
		networks []string
		events   int // of the kind SandboxChanged
	}{
		{"reboot", corev1.RestartPolicyAlways, func(b *bench, _ *corev1.Pod) { reboot(b, func() {}) }, []int{1}, []string{"web"}, 1},
		{"two reboots", corev1.RestartPolicyAlways, func(b *bench, _ *corev1.Pod) {
			reboot(b, func() {})
			settle(time.Minute)
			reboot(b, func() {})
		}, []int{2, 1}, []string{"web"}, 2},
		{"the runtime lost it", corev1.RestartPolicyAlways, func(b *bench, _ *corev1.Pod) { b.rt.KillSandboxes() }, []int{1}, []string{"web"}, 1},
		{"the runtime lost it twice", corev1.RestartPolicyAlways, func(b *bench, _ *corev1.Pod) {
			b.rt.KillSandboxes()
			settle(time.Minute)
			b.rt.KillSandboxes()
		}, []int{1, 1}, []string{"web"}, 2},
		{"reboot of a pod that never restarts", corev1.RestartPolicyNever, func(b *bench, _ *corev1.Pod) { reboot(b, func() {}) }, []int{1}, nil, 0},
		{"deleted, then a reboot", corev1.RestartPolicyAlways, func(b *bench, p *corev1.Pod) { reboot(b, func() { b.del(p, 1) }) }, []int{1}, nil, 0},
		{"its object is gone after a reboot", corev1.RestartPolicyAlways, func(b *bench, p *corev1.Pod) { reboot(b, func() { b.remove(p.UID) }) }, []int{1}, nil, 0},
		{"deleted in order", corev1.RestartPolicyAlways, func(b *bench, p *corev1.Pod) { b.del(p, 1) }, []int{1}, nil, 0},
		{"finished, then a reboot", corev1.RestartPolicyNever, func(b *bench, _ *corev1.Pod) {
			b.rt.Exit("main", 0)
			settle(time.Minute)
			reboot(b, func() {})
		}, []int{2}, nil, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, rt, p := sandboxBench(t, tt.policy)
				defer func() { b.stop() }()
				tt.trouble(b, p)
				settle(5 * time.Minute)
				if got := rt.counts(); !slices.Equal(got, tt.stops) {
					t.Errorf("sandboxes were stopped %v times, want %v", got, tt.stops)
				}
				if got := b.rt.Networks(); !slices.Equal(got, tt.networks) {
					t.Errorf("networks that are held: %q, want %q", got, tt.networks)
				}
				if n := b.happened("SandboxChanged"); n != tt.events {
					t.Errorf("%d events SandboxChanged, want %d: %q", n, tt.events, b.events)
				}
				if tt.networks != nil && !b.isReady(p.UID) {
					t.Errorf("the pod does not run: %s", asJSON(t, b.status[p.UID]))
				}
			})
		})
	}
}

// TestDeadSandboxCannotBeStopped: the network plugin fails for ten minutes after a reboot.
// It is asked with pauses, no second sandbox is made beside the first, and once it works
// the pod runs, or is gone.
func TestDeadSandboxCannotBeStopped(t *testing.T) {
	for name, tt := range map[string]struct {
		policy  corev1.RestartPolicy
		deleted bool
	}{
		"runs again":     {policy: corev1.RestartPolicyAlways},
		"never restarts": {policy: corev1.RestartPolicyNever},
		"is deleted":     {policy: corev1.RestartPolicyAlways, deleted: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, rt, p := sandboxBench(t, tt.policy)
				defer func() { b.stop() }()
				b.stop()
				b.rt.KillSandboxes()
				if tt.deleted {
					b.del(p, 1)
				}
				rt.setFailure(errors.New("the network plugin does not answer"))
				b.start()
				settle(10 * time.Minute)
				if got := rt.counts(); len(got) != 1 || got[0] < 5 || got[0] > 40 {
					t.Errorf("tries to stop sandboxes: %v", got)
				}
				if all, err := rt.ListSandboxes(t.Context(), ""); err != nil || len(all) != 1 || b.gone[p.UID] {
					t.Errorf("sandboxes %+v, %v; pod gone %t", all, err, b.gone[p.UID])
				}
				rt.setFailure(nil)
				settle(time.Minute)
				switch {
				case tt.deleted && (!b.gone[p.UID] || len(b.rt.Networks()) > 0):
					t.Errorf("the pod does not go; networks %q", b.rt.Networks())
				case !tt.deleted && tt.policy == corev1.RestartPolicyNever && (b.phase(p.UID) != corev1.PodFailed || len(b.rt.Networks()) > 0):
					t.Errorf("%s, networks %q", b.phase(p.UID), b.rt.Networks())
				case !tt.deleted && tt.policy == corev1.RestartPolicyAlways && (!b.isReady(p.UID) || len(b.rt.Networks()) != 1):
					t.Errorf("the pod does not run: %s; networks %q", asJSON(t, b.status[p.UID]), b.rt.Networks())
				}
			})
		})
	}
}

// TestPruneFailureDelaysNothing: an old container cannot be removed. The pod's container,
// which exits after it ran for long, restarts at once all the same.
func TestPruneFailureDelaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		defer func() { b.stop() }()
		p := newPod("web", busybox("serve"))
		b.put(p)
		b.rt.FailWith(func(call string) error {
			if call == "RemoveContainer main" {
				return errors.New("device or resource busy")
			}
			return nil
		})
		for n := range int32(6) {
			settle(20 * time.Minute) // long enough for the next exit to have no back-off
			b.rt.Exit("main", 1)
			settle(time.Second)
			if c := b.container(p.UID); !b.isReady(p.UID) || c.RestartCount != n+1 {
				t.Fatalf("after exit %d: %+v", n+1, c)
			}
		}
	})
}
