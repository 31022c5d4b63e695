package e2e

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/controller/install/monitoring"
	"github.com/edgekit/edgekit/controller/install/monitoring/alertstest"
	"github.com/edgekit/edgekit/meta"
)

// source says how real the cause of an alert is.
type source string

const (
	programs   source = "programs"   // at the real cloudcore or edgecore
	collectors source = "collectors" // at real parts with their real collector, in this test
)

// cause makes the cause of alerts and mends it.
type cause struct {
	alerts []string
	source source
	begin  func(t *testing.T)
	mend   func(t *testing.T)
}

// TestAlerts has each alert fire in the real Prometheus, since its cause is made, and resolve when it is
// mended. Each query of the dashboard returns series.
func TestAlerts(t *testing.T) {
	alertstest.Program(t, "..", "prometheus")
	w, s := newWorld(t), newStage(t)
	p := startPrometheus(
		t, w.discovery(), target{"cloudcore", w.cloudSees, "cloudcore", ""}, target{"cloudcore", s.cloud, "stage", ""},
		target{"edgecore", w.edgeSees, "edgecore", node}, target{"edgecore", w.secondSees, "edgecore-2", second},
		target{"edgecore", s.node, "stage", "stage"}, target{"mappers", s.mapper, "stage", ""},
	)
	w.callNode(t)
	until(t, time.Minute, func() string {
		if n, err := p.query(t.Context(), "up == 1"); n != 7 {
			return fmt.Sprintf("%d targets are up, want 7 (%v)", n, err)
		}
		return ""
	})
	if n, err := p.query(t.Context(), fmt.Sprintf(`edgekit_meta_connected{job="discovered",node=%q} == 1`, node)); n != 1 {
		t.Errorf("the node that cloudcore names is scraped through cloudcore %d times, want 1 (%v)", n, err)
	}
	counts := make(map[source]int)
	tested := make(map[string]bool)
	for i, phase := range [][]cause{slices.Concat([]cause{w.wrongClock()}, s.fleet.causes(), s.parts(), w.orders(), w.troubles()), {w.restarts(), w.leaderless()}, {w.away()}, {w.noCloudcore(s)}} {
		var names []string
		for _, c := range phase {
			names = append(names, c.alerts...)
			counts[c.source] += len(c.alerts)
			for _, name := range c.alerts {
				tested[name] = true
			}
		}
		for _, c := range phase {
			c.begin(t)
		}
		p.fire(t, 3*time.Minute, names...)
		for _, c := range slices.Backward(phase) { // the disk first, which the mending of others is stored on
			c.mend(t)
		}
		p.resolve(t, 3*time.Minute, names...)
		if i == 1 { // sessions have begun and ended
			checkDashboard(t, p)
		}
	}
	groups, err := monitoring.Groups(monitoring.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range groups {
		for _, r := range g.Rules {
			if r.Alert != "" && !tested[r.Alert] {
				t.Errorf("alert %s has no cause here", r.Alert)
			}
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		t.Logf("RESULT alerts_fired_%s %d count", kind, counts[kind])
	}
}

// parts are causes at real parts in this test.
func (s *stage) parts() []cause {
	return []cause{
		{
			[]string{"EdgekitCloudcoreBacklog", "EdgekitFleetBacklog"}, collectors,
			func(*testing.T) { s.fill() }, func(*testing.T) { s.release() },
		},
		{ // a cloud whose authority was made nearly ten years ago
			[]string{"EdgekitCertificateNearExpiry"}, collectors,
			func(t *testing.T) { s.useAuthority(t, 3640*24*time.Hour) }, func(t *testing.T) { s.useAuthority(t, 0) },
		},
		{ // a node without a link makes more events than its outbox holds; then it is connected
			[]string{"EdgekitNodeBacklog", "EdgekitNodeEventsDropped"}, collectors,
			func(t *testing.T) {
				for i := range 1100 {
					if err := s.manager.Append(t.Context(), meta.Key{Resource: "events", Namespace: "default", Name: strconv.Itoa(i)}, []byte("{}")); err != nil {
						t.Fatal(err)
					}
				}
			},
			func(*testing.T) { s.connect() },
		},
		{
			[]string{"EdgekitNodeFenced"}, collectors,
			func(*testing.T) { s.clone() }, func(*testing.T) { s.removeClone() },
		},
		{
			[]string{"EdgekitNodeCertificateNearExpiry"}, collectors,
			func(*testing.T) {}, // it has an hour left from the start
			func(t *testing.T) {
				if err := s.renew(); err != nil {
					t.Fatal(err)
				}
			},
		},
	}
}

// troubles are causes at the real programs that can be there at the same time.
func (w *world) troubles() []cause {
	filler := filepath.Join(w.disk, "filler")
	var endCalls func()
	return []cause{
		{
			[]string{"EdgekitNodeStoreNearFull", "EdgekitNodeStoreNotWritable"}, programs,
			func(t *testing.T) {
				fillDisk(t, filler)
				w.write(t) // something to store
			},
			func(t *testing.T) {
				if err := os.Remove(filler); err != nil {
					t.Fatal(err)
				}
				reaches(t, w.edgeSees, "edgekit_store_writable", "1") // else the jobs that end now are tried again minutes later
			},
		},
		{
			[]string{"EdgekitKubeletProxyErrors"}, programs,
			func(t *testing.T) { endCalls = w.exhaust(t) }, func(*testing.T) { endCalls() },
		},
	}
}

// leaderless is a Lease of jobs that no cloudcore gets. Jobs stand still meanwhile.
func (w *world) leaderless() cause {
	var end func()
	return cause{
		[]string{"EdgekitNoLeader"}, programs,
		func(t *testing.T) { end = w.stealLease(t) }, func(*testing.T) { end() },
	}
}

// fillDisk writes a file until the disk is full.
func fillDisk(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	for err == nil {
		_, err = f.Write(block)
	}
	t.Logf("the disk of the node is full: %v", err)
}

// write changes the pod, which the node then stores.
func (w *world) write(t *testing.T) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{"example.com/text":%q}}}`, time.Now().String())
	if _, err := w.client.CoreV1().Pods("default").Patch(t.Context(), "web", "application/merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// stealLease holds the Lease of jobs, as a cloudcore that hangs does, until the returned function is called.
func (w *world) stealLease(t *testing.T) (end func()) {
	t.Helper()
	leases := w.client.CoordinationV1().Leases(nodeNamespace)
	steal := func(ctx context.Context) error {
		lease, err := leases.Get(ctx, "edgekit-jobs", metav1.GetOptions{})
		if err != nil {
			return err
		}
		lease.Spec = coordinationv1.LeaseSpec{HolderIdentity: new("thief"), LeaseDurationSeconds: new(int32(15)), RenewTime: &metav1.MicroTime{Time: time.Now()}}
		_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
		return err
	}
	until(t, patience, func() string { return message(steal(t.Context())) })
	return running(t, func(ctx context.Context) error {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_ = steal(ctx) // a conflict: again in a second
			case <-ctx.Done():
				return leases.Delete(context.WithoutCancel(ctx), "edgekit-jobs", metav1.DeleteOptions{})
			}
		}
	})
}

// callNode asks the node for a log.
func (w *world) callNode(t *testing.T) {
	t.Helper()
	until(t, patience, func() string {
		r, err := w.log(t.Context(), false)
		if err != nil {
			return err.Error()
		}
		defer r.Close()
		_, err = io.Copy(io.Discard, r)
		return message(err)
	})
}

// exhaust follows a log, the one session that this cloudcore allows, and asks for more of them, until the
// returned function is called.
func (w *world) exhaust(t *testing.T) (end func()) {
	t.Helper()
	return running(t, func(ctx context.Context) error {
		held, err := w.log(ctx, true)
		if err != nil {
			return err
		}
		defer held.Close()
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if r, err := w.log(ctx, false); err == nil {
					r.Close()
				}
			case <-ctx.Done():
				return nil
			}
		}
	})
}

// restarts has edgecore start five times.
func (w *world) restarts() cause {
	return cause{
		[]string{"EdgekitNodeRestarts"}, programs,
		func(t *testing.T) {
			for range 5 {
				before := metric(t, w.edgeSees, "process_start_time_seconds")
				w.edgecore.stop()
				w.edgecore.start(t)
				until(t, patience, func() string {
					if now := metric(t, w.edgeSees, "process_start_time_seconds"); now == "" || now == before {
						return "edgecore does not serve its metrics"
					}
					return ""
				})
				pause(t, time.Second) // two scrapes
			}
		},
		func(*testing.T) {},
	}
}

// pause waits for time to pass in Prometheus, which has no other clock.
func pause(t *testing.T, d time.Duration) {
	t.Helper()
	began := time.Now()
	until(t, d+time.Minute, func() string {
		if time.Since(began) < d {
			return "time stands still"
		}
		return ""
	})
}

// away is a node whose power is cut.
func (w *world) away() cause {
	return cause{
		[]string{"EdgekitNodeAway", "EdgekitNodesAway", "EdgekitManyNodesAway"}, programs,
		func(*testing.T) { w.edgecore.stop() }, func(t *testing.T) { w.edgecore.start(t) },
	}
}

// noCloudcore stops the cloudcore, and the stage's.
func (w *world) noCloudcore(s *stage) cause {
	return cause{
		[]string{"EdgekitNoCloudcore", "EdgekitCloudcoreDown"}, programs,
		func(*testing.T) { w.cloudcore.stop(); s.serving.off.Store(true) },
		func(t *testing.T) { w.cloudcore.start(t); s.serving.off.Store(false) },
	}
}
