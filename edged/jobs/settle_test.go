package jobs

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
	"github.com/edgekit/edgekit/edged/upgrade"
)

// TestSettling looks at a node minute by minute.
func TestSettling(t *testing.T) {
	type pods = map[string]bool
	type look struct {
		at      int // minutes
		pods    pods
		known   bool
		linked  bool
		missing string
		over    bool
		long    []string
	}
	for name, looks := range map[string][]look{
		"pods that are not known yet": {
			{at: 0, linked: true, missing: "the pods of this node are not known yet"},
			{at: 1, linked: true, known: true, pods: pods{"a/b": true}},
			{at: 9, linked: true, missing: "the pods of this node are not known yet"}, // the limit counts from here
			{at: 14, linked: true, missing: "the pods of this node are not known yet", over: true},
		},
		"a start after a power cut": {
			{at: 0, known: true, pods: pods{"a/b": false, "a/c": false}, linked: true, missing: "pods are not ready: a/b, a/c"},
			{at: 2, known: true, pods: pods{"a/b": true, "a/c": false}, linked: true, missing: "pods are not ready: a/c"},
			{at: 4, known: true, pods: pods{"a/b": true, "a/c": true}, linked: true},
		},
		"a pod that does not become ready": {
			{at: 0, known: true, pods: pods{"a/b": false}, linked: true, missing: "pods are not ready: a/b"},
			{at: 4, known: true, pods: pods{"a/b": false}, linked: true, missing: "pods are not ready: a/b"},
			{at: 5, known: true, pods: pods{"a/b": false}, linked: true, long: []string{"a/b"}},
			{at: 6, known: true, pods: pods{"a/b": true}, linked: true},
			{at: 7, known: true, pods: pods{"a/b": false}, linked: true, missing: "pods are not ready: a/b"},
			{at: 8, known: true, linked: true}, // gone
		},
		"pods that come one after another": {
			{at: 0, known: true, pods: pods{"a/b": false}, linked: true, missing: "pods are not ready: a/b"},
			{at: 3, known: true, pods: pods{"a/b": true, "a/c": false}, linked: true, missing: "pods are not ready: a/c"},
			{at: 5, known: true, pods: pods{"a/c": false}, linked: true, missing: "pods are not ready: a/c", over: true},
		},
		"a link that comes, and goes": {
			{at: 0, known: true},
			{at: 1, known: true, linked: true},
			{at: 2, known: true, missing: "there is no link to the cloud"},
			{at: 6, known: true, missing: "there is no link to the cloud"},
			{at: 7, known: true},
		},
		"a node that was never linked": {
			{at: 0, known: true},
			{at: 9, known: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := restore(settled{}, 5*time.Minute)
			begun := time.Now()
			for _, l := range looks {
				now := begun.Add(time.Duration(l.at) * time.Minute)
				before := s.settled()
				changed := s.observe(now, l.pods, l.known, l.linked)
				missing, over := s.waits(now, upgrade.Health{})
				is := s.settled()
				if missing.String() != l.missing || missing.pending() != (l.missing != "") || over != l.over || !slices.Equal(is.Unready, l.long) || changed != !reflect.DeepEqual(is, before) {
					t.Errorf("after %d minutes: %q, over %v, long %q, changed %v", l.at, missing, over, is.Unready, changed)
				}
				if missing, _ := s.waits(now, upgrade.Health{IgnorePods: true, IgnoreLink: true}); missing.pending() {
					t.Errorf("after %d minutes without a gate: %q", l.at, missing)
				}
			}
		})
	}
}

// TestUpgradeWaitsForPods: after a power cut a job waits until the pods are ready that were so
// before, and says so; a pod that was not ready before does not hold it up.
func TestUpgradeWaitsForPods(t *testing.T) {
	for name, run := range map[string]struct {
		kind string
		job  NodeJob
	}{
		"upgrade":  {v1alpha2.KindNodeUpgradeJob, upgradeJob("one")},
		"settings": {v1alpha2.KindConfigUpdateJob, configJob("one", map[string]v1alpha2.FieldValue{"max-pods": "50"})},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.pods = map[string]time.Duration{"default/web": 10 * time.Second, "default/slow": 4 * time.Minute, "default/broken": -1}
				p := w.start() // which the power cut ends
				time.Sleep(10 * time.Minute)
				p.cancel()
				p.end()
				w.put(run.job)
				p = w.start()
				time.Sleep(time.Minute)
				r := w.report(run.kind, "one")
				if r.Phase != v1alpha2.NodePending || r.Reason != ReasonSettling || !strings.Contains(r.Message, "default/slow") || strings.Contains(r.Message, "web, ") || strings.Contains(r.Message, "broken") {
					t.Errorf("after a minute: %+v", r.NodeTaskStatus)
				}
				time.Sleep(4 * time.Minute)
				p.end()
				w.live(w.ended(run.kind, "one"))
				r = w.report(run.kind, "one")
				if r.Phase != v1alpha2.NodeSuccessful || r.Reason != "" || strings.Contains(strings.Join(reasons(r), " "), "settled") {
					t.Errorf("%+v", r)
				}
				if len(w.asked) != 1 || !slices.Equal(w.asked[0], []string{"default/slow", "default/web"}) {
					t.Errorf("the gate asks for %q", w.asked)
				}
			})
		})
	}
}

// TestUpgradeWaitsNotForEver: a job goes on after SettleTimeout with what is ready, and its report
// says so to the end.
func TestUpgradeWaitsNotForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.pods = map[string]time.Duration{"default/web": 10 * time.Second, "default/slow": 20 * time.Minute}
		begun := time.Now()
		w.put(upgradeJob("one"))
		p := w.start()
		<-p.ctx.Done()
		p.end()
		if took := time.Since(begun); took < 5*time.Minute || took > 5*time.Minute+10*time.Second {
			t.Errorf("it waited %s", took)
		}
		w.live(w.ended(v1alpha2.KindNodeUpgradeJob, "one"))
		r := w.report(v1alpha2.KindNodeUpgradeJob, "one")
		if r.Phase != v1alpha2.NodeSuccessful || !strings.Contains(strings.Join(reasons(r), "\n"), "had not settled within 5m0s") || !strings.Contains(strings.Join(reasons(r), "\n"), "default/slow") {
			t.Errorf("%+v", r)
		}
	})
}

// TestUpgradeWaitsForLink: a node that had a link before a power cut waits for it, so that the gate
// asks for it. One that had none for long does not wait.
func TestUpgradeWaitsForLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.linkAfter = 2 * time.Minute
		p := w.start()
		time.Sleep(10 * time.Minute)
		p.cancel() // the power is cut
		p.end()
		w.put(upgradeJob("one"))
		begun := time.Now()
		p = w.start()
		<-p.ctx.Done()
		p.end()
		if took := time.Since(begun); took < 2*time.Minute || took > 3*time.Minute {
			t.Errorf("it waited %s for a link that came after 2 minutes", took)
		}
		w.live(w.ended(v1alpha2.KindNodeUpgradeJob, "one"))
		w.linkAfter = time.Hour // the cable is cut too
		p = w.start()
		time.Sleep(10 * time.Minute)
		p.cancel()
		p.end()
		w.put(configJob("two", map[string]v1alpha2.FieldValue{"max-pods": "50"}))
		begun = time.Now()
		p = w.start()
		<-p.ctx.Done()
		p.end()
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("it waited %s for a link that was not there before", took)
		}
		w.live(w.ended(v1alpha2.KindConfigUpdateJob, "two"))
	})
}

// TestSettlingJobStops: a job that waits for its pods can still be cancelled, and one that has lost
// its turn waits no more.
func TestSettlingJobStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.pods = map[string]time.Duration{"default/slow": 20 * time.Minute}
		job := upgradeJob("one")
		w.put(job)
		p := w.start()
		time.Sleep(time.Minute)
		job.Phase = v1alpha2.Download
		w.put(job)
		time.Sleep(10 * time.Minute)
		if r := w.report(v1alpha2.KindNodeUpgradeJob, "one"); r.Phase != v1alpha2.NodePending || r.Reason != "" || len(w.asked) != 0 {
			t.Errorf("without its turn: %+v", r.NodeTaskStatus)
		}
		job.Phase = v1alpha2.Cancelled
		w.put(job)
		time.Sleep(time.Minute)
		if r := w.report(v1alpha2.KindNodeUpgradeJob, "one"); r.Phase != v1alpha2.NodeFailure || r.Reason != v1alpha2.ReasonCancelled {
			t.Errorf("cancelled: %+v", r.NodeTaskStatus)
		}
		p.cancel()
		p.end()
	})
}

// TestSettlingJobPauses: a job that is paused while it waits for its pods no longer says that it waits for
// them. It does so again when it goes on.
func TestSettlingJobPauses(t *testing.T) {
	for name, run := range map[string]struct {
		kind string
		job  NodeJob
	}{
		"upgrade":  {v1alpha2.KindNodeUpgradeJob, upgradeJob("one")},
		"settings": {v1alpha2.KindConfigUpdateJob, configJob("one", map[string]v1alpha2.FieldValue{"max-pods": "50"})},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.pods = map[string]time.Duration{"default/slow": 20 * time.Minute}
				w.put(run.job)
				p := w.start()
				for _, phase := range []v1alpha2.Permission{v1alpha2.Apply, v1alpha2.Paused, v1alpha2.Apply} {
					run.job.Phase = phase
					w.put(run.job)
					time.Sleep(time.Minute)
					want := ReasonSettling
					if phase == v1alpha2.Paused {
						want = ""
					}
					if r := w.report(run.kind, "one"); r.Phase != v1alpha2.NodePending || r.Reason != want || (want == "") != (r.Message == "") {
						t.Errorf("%s: %+v", phase, r.NodeTaskStatus)
					}
				}
				p.cancel()
				p.end()
			})
		})
	}
}

func reasons(r Report) []string {
	var out []string
	for _, a := range r.ActionFlow {
		out = append(out, a.Reason)
	}
	return out
}
