package edged_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/cri"
)

// timed is a runtime that says how long the calls took that end pods.
type timed struct {
	*cri.Client
	mu   sync.Mutex
	took map[string][]time.Duration
}

func (r *timed) time(verb string, call func() error) error {
	began := time.Now()
	err := call()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.took[verb] = append(r.took[verb], time.Since(began))
	return err
}

func (r *timed) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	return r.time("StopContainer", func() error { return r.Client.StopContainer(ctx, id, grace) })
}

func (r *timed) StopSandbox(ctx context.Context, id string) error {
	return r.time("StopSandbox", func() error { return r.Client.StopSandbox(ctx, id) })
}

func (r *timed) RemoveSandbox(ctx context.Context, id string) error {
	return r.time("RemoveSandbox", func() error { return r.Client.RemoveSandbox(ctx, id) })
}

// middle is the median and the largest of some times.
func middle(all []time.Duration) string {
	slices.Sort(all)
	if len(all) == 0 {
		return "none"
	}
	return fmt.Sprintf("p50 %.3f p99 %.3f s", all[len(all)/2].Seconds(), all[len(all)-1].Seconds())
}

// TestRealDeletion deletes twenty pods at once: all go, and the figures say which calls
// of the runtime that took.
func TestRealDeletion(t *testing.T) {
	const n = 20
	rt := &timed{took: make(map[string][]time.Duration)}
	r := startRealWith(t, cri.Config{})
	r.stop()
	rt.Client = r.runtime
	r.cfg.Runtime = rt
	r.start()
	var pods []*corev1.Pod
	for i := range n {
		pods = append(pods, newPod(fmt.Sprintf("gone-%d", i), busybox(waits)))
		r.put(pods[i])
	}
	r.wait(t, "all ready", realLimit, func() bool {
		return !slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return !r.isReady(p.UID) })
	})
	began := time.Now()
	for _, p := range pods {
		r.del(p, 1)
	}
	took := make(map[types.UID]time.Duration)
	r.wait(t, "all gone", realLimit, func() bool {
		for _, p := range pods {
			if r.gone[p.UID] && took[p.UID] == 0 {
				took[p.UID] = time.Since(began)
			}
		}
		return len(took) == n
	})
	var all []time.Duration
	for _, d := range took {
		all = append(all, d)
	}
	t.Logf("RESULT edged_pod_gone_20 %s", middle(all))
	rt.mu.Lock()
	defer rt.mu.Unlock()
	for _, verb := range []string{"StopContainer", "StopSandbox", "RemoveSandbox"} {
		t.Logf("%s: %d calls, %s", verb, len(rt.took[verb]), middle(rt.took[verb]))
	}
}
