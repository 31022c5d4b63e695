package edged_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// TestDeletionsEndOneAfterTheOther deletes many pods at once on a runtime that has so
// many seconds of work for each, divided among those that wait: half of the pods are
// gone in about half of the time that all take.
func TestDeletionsEndOneAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 40
		b := newBench(t)
		b.start()
		defer func() { b.stop() }()
		var uids []types.UID
		for i := range n {
			p := newPod(fmt.Sprintf("web-%d", i), busybox("serve"))
			b.put(p)
			uids = append(uids, p.UID)
		}
		settle(10 * time.Second)
		cpu := shared{work: 50 * time.Millisecond}
		b.rt.FailWith(func(call string) error {
			if strings.HasPrefix(call, "StopSandbox ") || strings.HasPrefix(call, "RemoveSandbox ") {
				cpu.run()
			}
			return nil
		})
		for i, uid := range uids {
			p := newPod(fmt.Sprintf("web-%d", i), busybox("serve"))
			p.UID = uid
			b.del(p, 1)
		}
		began := time.Now()
		var gone []time.Duration
		for seen := make(map[types.UID]bool); len(seen) < n && time.Since(began) < time.Minute; settle(10 * time.Millisecond) {
			b.mu.Lock()
			for _, uid := range uids {
				if b.gone[uid] && !seen[uid] {
					seen[uid] = true
					gone = append(gone, time.Since(began))
				}
			}
			b.mu.Unlock()
		}
		if len(gone) < n {
			t.Fatalf("%d of %d pods are gone", len(gone), n)
		}
		slices.Sort(gone)
		if half, all := gone[n/2], gone[n-1]; half > all*7/10 {
			t.Errorf("half are gone after %s, all after %s", half, all)
		}
	})
}

// shared is one CPU that all calls share: each advances the slower the more there are.
type shared struct {
	work time.Duration
	mu   sync.Mutex
	n    int
}

func (s *shared) run() {
	s.mu.Lock()
	s.n++
	s.mu.Unlock()
	for left := s.work; left > 0; {
		pass(time.Millisecond)
		s.mu.Lock()
		left -= time.Millisecond / time.Duration(s.n)
		s.mu.Unlock()
	}
	s.mu.Lock()
	s.n--
	s.mu.Unlock()
}

// TestHungDeletionsDelayNobodyForLong has a runtime hang when it stops the sandboxes of
// many pods: another pod is deleted all the same.
func TestHungDeletionsDelayNobodyForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		defer func() { b.stop() }()
		for i := range 50 {
			b.put(newPod(fmt.Sprintf("hung-%d", i), busybox("serve")))
		}
		well := newPod("well", busybox("serve"))
		b.put(well)
		settle(10 * time.Second)
		var released bool
		var mu sync.Mutex
		b.rt.FailWith(func(call string) error {
			for strings.HasPrefix(call, "StopSandbox hung") {
				mu.Lock()
				done := released
				mu.Unlock()
				if done {
					break
				}
				pass(time.Second)
			}
			return nil
		})
		for i := range 50 {
			b.del(newPod(fmt.Sprintf("hung-%d", i), busybox("serve")), 1)
		}
		settle(time.Second)
		b.del(well, 1)
		settle(12 * time.Second) // twice a wait for a slot
		b.mu.Lock()
		gone := b.gone[well.UID]
		b.mu.Unlock()
		if !gone {
			t.Error("a pod waits for others that hang")
		}
		mu.Lock()
		released = true
		mu.Unlock()
		settle(time.Minute)
	})
}
