package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
	"github.com/edgekit/edgekit/edged/upgrade"
)

const upgrades = v1alpha2.KindNodeUpgradeJob

// during runs a test while the program runs, in a bubble.
func during(t *testing.T, test func(t *testing.T, w *world, p *process)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.start()
		synctest.Wait()
		test(t, w, p)
		p.cancel()
		p.end()
	})
}

// wantReport waits for all work, and compares what was reported to the cloud.
func (w *world) wantReport(kind, name string, phase v1alpha2.NodeTaskPhase, reason string, flow ...string) {
	w.t.Helper()
	synctest.Wait()
	r := w.report(kind, name)
	if r.Phase != phase || r.Reason != reason || !equalFlow(r, flow...) {
		w.t.Errorf("%s: %s %s (%s) %q, want %s %s %q", name, r.Phase, r.Reason, r.Message, r.flow(), phase, reason, flow)
	}
}

// TestPermissions: a job is downloaded as soon as it may be, and applied when it may be.
func TestPermissions(t *testing.T) {
	during(t, func(t *testing.T, w *world, p *process) {
		job := upgradeJob("one")
		job.Phase = v1alpha2.Paused
		w.put(job)
		w.wantReport(upgrades, "one", v1alpha2.NodePending, "")
		job.Phase, job.Generation = v1alpha2.Download, 2
		w.put(job)
		w.wantReport(upgrades, "one", v1alpha2.NodePending, "", "Check True")
		if r := w.report(upgrades, "one"); !w.program.verified || r.AcceptedTime != nil || r.Generation != 2 {
			t.Errorf("%+v", r)
		}
		job.Phase = v1alpha2.Paused
		w.put(job)
		w.wantReport(upgrades, "one", v1alpha2.NodePending, "", "Check True")
		if p.restarts() || !w.program.verified {
			t.Error("a paused job goes on, or loses what was downloaded")
		}
		job.Phase = v1alpha2.Apply
		w.put(job)
		w.wantReport(upgrades, "one", v1alpha2.NodeInProgress, "", "Check True", "WaitingConfirmation True", "BackUp True", "Upgrade Unknown")
		if !p.restarts() || !w.program.trial {
			t.Error("the trial does not begin")
		}
	})
}

// TestConfirm: a job that needs a yes waits for it. The yes counts only while it is the node's turn.
func TestConfirm(t *testing.T) {
	during(t, func(t *testing.T, w *world, p *process) {
		if _, err := p.runner.Confirm(t.Context(), ""); !errors.Is(err, ErrNoJob) {
			t.Errorf("without a job: %v", err)
		}
		job := upgradeJob("one")
		job.Upgrade.RequireConfirmation = true
		w.put(job)
		w.wantReport(upgrades, "one", v1alpha2.NodePending, ReasonWaitingForConfirmation, "Check True", "WaitingConfirmation Unknown")
		waiting, ok := p.runner.Waiting()
		if !ok || waiting.Name != "one" || waiting.Version != newVersion || waiting.From != oldVersion || waiting.WaitingSince == nil || waiting.Finished() {
			t.Errorf("%+v", waiting)
		}
		job.Phase = v1alpha2.Download // the turn of another node
		w.put(job)
		w.wantReport(upgrades, "one", v1alpha2.NodePending, "", "Check True")
		if _, err := p.runner.Confirm(t.Context(), "one"); !errors.Is(err, ErrNoJob) {
			t.Errorf("out of turn: %v", err)
		}
		job.Phase = v1alpha2.Apply
		w.put(job)
		synctest.Wait()
		for _, name := range []string{"two", "configupdatejob/one"} {
			if _, err := p.runner.Confirm(t.Context(), name); !errors.Is(err, ErrNoJob) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if s, err := p.runner.Confirm(t.Context(), "NodeUpgradeJob/one"); err != nil || s.Name != "one" {
			t.Errorf("%+v, %v", s, err)
		}
		w.wantReport(upgrades, "one", v1alpha2.NodeInProgress, "", "Check True", "WaitingConfirmation True", "BackUp True", "Upgrade Unknown")
		if want := []string{"NodeUpgradeWaitingForConfirmation", "NodeUpgradeWaitingForConfirmation", "NodeUpgradeStarted"}; !slices.Equal(w.events, want) {
			t.Errorf("events %q", w.events)
		}
	})
}

// TestRefuse: somebody at the machine says no, while the job waits, downloads, or after it has begun.
func TestRefuse(t *testing.T) {
	during(t, func(t *testing.T, w *world, p *process) {
		job := upgradeJob("one")
		job.Upgrade.RequireConfirmation = true
		w.put(job)
		synctest.Wait()
		if _, err := p.runner.Refuse(t.Context(), Refusal{Reason: strings.Repeat("x", 2000)}); err == nil {
			t.Error("a long reason is taken")
		}
		if _, err := p.runner.Refuse(t.Context(), Refusal{Reason: "the arm\nmoves"}); err != nil {
			t.Fatal(err)
		}
		w.wantReport(upgrades, "one", v1alpha2.NodeFailure, ReasonRefused, "Check True", "WaitingConfirmation False")
		if r := w.report(upgrades, "one"); r.Message != "refused at the machine: the arm moves" || w.program.verified || p.restarts() {
			t.Errorf("%+v", r)
		}
		if _, err := p.runner.Refuse(t.Context(), Refusal{Job: "one"}); !errors.Is(err, ErrNoJob) {
			t.Errorf("again: %v", err)
		}
	})
	during(t, func(t *testing.T, w *world, p *process) {
		w.mu.Lock()
		w.hang = make(chan struct{})
		w.mu.Unlock()
		w.put(upgradeJob("one"))
		w.wantReport(upgrades, "one", v1alpha2.NodePending, ReasonDownloading, "Check Unknown")
		if _, err := p.runner.Refuse(t.Context(), Refusal{Job: "one"}); err != nil {
			t.Fatal(err)
		}
		w.wantReport(upgrades, "one", v1alpha2.NodeFailure, ReasonRefused, "Check False")
	})
}

// TestGoneJobs: a job that is cancelled, deleted or replaced before it has begun is undone.
func TestGoneJobs(t *testing.T) {
	for _, hang := range []bool{false, true} {
		for name, change := range map[string]func(w *world, job NodeJob){
			"cancelled": func(w *world, job NodeJob) { job.Phase = v1alpha2.Cancelled; w.put(job) },
			"deleted":   func(w *world, job NodeJob) { w.remove(job.Kind, job.Name) },
			"replaced":  func(w *world, job NodeJob) { job.UID, job.Phase = "other", v1alpha2.Paused; w.put(job) },
		} {
			during(t, func(t *testing.T, w *world, p *process) {
				w.mu.Lock()
				if hang {
					w.hang = make(chan struct{})
				}
				w.mu.Unlock()
				job := upgradeJob("one")
				job.Phase = v1alpha2.Download
				w.put(job)
				synctest.Wait()
				change(w, job)
				synctest.Wait()
				r := w.report(upgrades, "one")
				if w.program.verified {
					t.Errorf("%s: what was downloaded stays", name)
				}
				switch name {
				case "cancelled":
					if r.Phase != v1alpha2.NodeFailure || r.Reason != v1alpha2.ReasonCancelled {
						t.Errorf("%+v", r)
					}
				case "deleted":
					if len(w.reports) > 0 || !slices.Equal(w.deleted, []string{"nodeupgradejob.one"}) || len(p.runner.List().Items) > 0 {
						t.Errorf("%v, %q", w.reports, w.deleted)
					}
				case "replaced":
					if r.UID != "other" || r.Phase != v1alpha2.NodePending || len(r.ActionFlow) > 0 {
						t.Errorf("%+v", r)
					}
				}
			})
		}
	}
}

// TestGoneAfterSwitch: a job that goes after it has begun goes on to its end, and then is forgotten.
func TestGoneAfterSwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.put(upgradeJob("one"))
		w.live(func() bool {
			w.mu.Lock()
			trial, gone := w.program.trial, w.version == newVersion && slices.Contains(w.deleted, "nodeupgradejob.one")
			w.mu.Unlock()
			if trial {
				w.remove(upgrades, "one")
			}
			return gone
		})
		if w.program.outcome.Phase != upgrade.Committed || !slices.Contains(w.events, "NodeUpgradeSuccessful") {
			t.Errorf("%+v, %q", w.program.outcome, w.events)
		}
	})
}

// TestTwoJobs: of two upgrades the older goes first, and the younger says so; a pull need not wait.
func TestTwoJobs(t *testing.T) {
	during(t, func(t *testing.T, w *world, p *process) {
		first, second := upgradeJob("first"), upgradeJob("second")
		first.Phase = v1alpha2.Download
		w.put(first)
		w.wantReport(upgrades, "first", v1alpha2.NodePending, "", "Check True")
		w.put(second)
		w.put(pullJob("images", "a:1"))
		w.wantReport(upgrades, "second", v1alpha2.NodePending, v1alpha2.ReasonWaitingForJob)
		w.wantReport(v1alpha2.KindImagePrePullJob, "images", v1alpha2.NodeSuccessful, "", "Check True", "Pull True")
		if r := w.report(upgrades, "second"); !strings.Contains(r.Message, "NodeUpgradeJob first goes first") {
			t.Errorf("%q", r.Message)
		}
		if _, err := p.runner.Upgrade(t.Context(), LocalUpgrade{OCI: "registry.example/node:v1.3.0"}); err == nil || !strings.Contains(err.Error(), "edgectl refuse first") {
			t.Errorf("an upgrade at the machine: %v", err)
		}
		w.remove(upgrades, "first")
		w.wantReport(upgrades, "second", v1alpha2.NodeInProgress, "", "Check True", "WaitingConfirmation True", "BackUp True", "Upgrade Unknown")
	})
}

// TestRefusedUpgrades: what cannot work fails with a reason, and the node stays as it is.
func TestRefusedUpgrades(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(w *world, job *NodeJob)
		reason string
		text   string
	}{
		"version":  {func(_ *world, job *NodeJob) { job.Upgrade.Version = "latest" }, ReasonCheckFailed, "none like v1.2.3"},
		"usage":    {func(w *world, job *NodeJob) { w.usage, job.Upgrade.CheckItems = 90, []v1alpha2.CheckItem{"disk"} }, ReasonCheckFailed, "90% of disk"},
		"format":   {func(w *world, _ *NodeJob) { w.refuse = &upgrade.FormatError{Version: newVersion, Reason: "old store"} }, ReasonDownloadFailed, "old store"},
		"source":   {func(_ *world, job *NodeJob) { job.Upgrade.OCI = "" }, ReasonDownloadFailed, "upgrade-repository"},
		"platform": {func(_ *world, job *NodeJob) { job.Upgrade.PlatformDigests = map[string]v1alpha2.Digest{"pdp11": "x"} }, ReasonDownloadFailed, "other platforms"},
	} {
		during(t, func(t *testing.T, w *world, p *process) {
			job := upgradeJob("one")
			w.mu.Lock()
			tt.change(w, &job)
			w.mu.Unlock()
			w.put(job)
			sleep(t.Context(), cpuSample) // none of the tests measures, but a check item may take as long
			synctest.Wait()
			r := w.report(upgrades, "one")
			if r.Phase != v1alpha2.NodeFailure || r.Reason != tt.reason || !strings.Contains(r.Message, tt.text) || !equalFlow(r, "Check False") || p.restarts() || w.version != oldVersion {
				t.Errorf("%s: %+v", name, r)
			}
		})
	}
}

// TestUpToDate: an upgrade to the version that runs is done at once.
func TestUpToDate(t *testing.T) {
	during(t, func(t *testing.T, w *world, _ *process) {
		job := upgradeJob("one")
		job.Upgrade.Version, job.Phase = oldVersion, v1alpha2.Download
		w.put(job)
		w.wantReport(upgrades, "one", v1alpha2.NodeSuccessful, ReasonUpToDate, "Check True")
	})
}

// TestLocalUpgrade begins an upgrade at the machine, which the cloud does not hear of.
func TestLocalUpgrade(t *testing.T) {
	during(t, func(t *testing.T, w *world, p *process) {
		for _, bad := range []LocalUpgrade{{}, {File: "node.tar"}, {File: "/node.tar", OCI: "a/b:c"}} {
			if _, err := p.runner.Upgrade(t.Context(), bad); err == nil {
				t.Errorf("%+v is taken", bad)
			}
		}
		s, err := p.runner.Upgrade(t.Context(), LocalUpgrade{File: "/media/stick/node.tar"})
		if err != nil || !s.Local || !strings.HasPrefix(s.Name, "local-") {
			t.Fatalf("%+v, %v", s, err)
		}
		synctest.Wait()
		if !w.program.trial || len(w.reports) > 0 {
			t.Errorf("%+v, %v", w.program, w.reports)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var began Status
		w.live(func() bool {
			runner := w.alive.runner
			if began.UID == "" {
				began, _ = runner.Upgrade(context.Background(), LocalUpgrade{OCI: "registry.example/node:v1.3.0"})
			}
			all := runner.List().Items
			return len(all) == 1 && all[0].UID == began.UID && all[0].Phase == string(v1alpha2.NodeSuccessful)
		})
		if w.version != newVersion || len(w.reports) > 0 {
			t.Errorf("version %s, %v", w.version, w.reports)
		}
	})
}

// TestRollback goes back at the machine.
func TestRollback(t *testing.T) {
	during(t, func(t *testing.T, w *world, p *process) {
		if _, err := p.runner.Rollback(t.Context(), Rollback{}); err == nil || !strings.Contains(err.Error(), "nothing to go back to") {
			t.Errorf("the base: %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.version = newVersion
		p := w.start()
		synctest.Wait()
		if _, err := p.runner.Rollback(t.Context(), Rollback{To: "v1.0.0"}); err == nil || !strings.Contains(err.Error(), "go back to "+oldVersion) {
			t.Errorf("to another version: %v", err)
		}
		s, err := p.runner.Rollback(t.Context(), Rollback{To: oldVersion})
		if err != nil || s.Version != oldVersion || !p.restarts() || w.version != oldVersion {
			t.Errorf("%+v, %v", s, err)
		}
		id := w.program.outcome.ID
		if again, err := p.runner.Rollback(t.Context(), Rollback{}); err != nil || again.Version != s.Version || again.From != s.From || w.program.outcome.ID != id {
			t.Errorf("repeated: %+v, %v", again, err)
		}
		if _, err := p.runner.Rollback(t.Context(), Rollback{To: "v1.0.0"}); err == nil || !strings.Contains(err.Error(), "is going back to "+oldVersion) {
			t.Errorf("to another version then: %v", err)
		}
		p.end()
	})
}

// TestLateRefusal: an upgrade does not begin if it was refused, or lost its turn, just before.
func TestLateRefusal(t *testing.T) {
	during(t, func(t *testing.T, w *world, p *process) {
		p.cancel()
		if err := <-p.done; err != nil { // the runner has ended: the work of a job is called here
			t.Error(err)
		}
		p.done <- nil
		no := "no"
		for name, test := range map[string]struct {
			change func(*record)
			want   error
		}{
			"refused":            {func(r *record) { r.Refused = &no }, errGivenUp},
			"cancelled":          {func(r *record) { r.Job.Phase = v1alpha2.Cancelled }, errGivenUp},
			"another one's turn": {func(r *record) { r.Job.Phase = v1alpha2.Download }, nil},
			"not confirmed":      {func(r *record) { r.Confirmed = false }, nil},
		} {
			rec := &record{Job: upgradeJob("one"), Step: stepChecked, Confirmed: true, Report: Report{UID: "uid-one"}}
			upgrade := *rec.Job.Upgrade
			upgrade.RequireConfirmation = true
			rec.Job.Upgrade = &upgrade
			test.change(rec)
			p.runner.records["one"] = rec
			if err := p.runner.acceptUpgrade(t.Context(), "one"); !errors.Is(err, test.want) || p.runner.records["one"].Step != stepChecked || w.program.trial {
				t.Errorf("%s: step %q, %v", name, p.runner.records["one"].Step, err)
			}
		}
	})
}

// TestRefusedMeanwhile: a job that is refused, or whose permission is taken back, does not begin
// though the step that begins it is under way.
func TestRefusedMeanwhile(t *testing.T) {
	for name, job := range map[string]NodeJob{"upgrade": upgradeJob("one"), "settings": configJob("one", map[string]v1alpha2.FieldValue{"max-pods": "50"}), "pull": pullJob("one", "a")} {
		for _, refuse := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s refused %v", name, refuse), func(t *testing.T) {
				w := newWorld(t)
				p := &process{w: w, ctx: t.Context(), cancel: func() {}}
				r, err := New(Config{Store: killable{w.store, p}, Reporter: p, Programs: programs{p}, Settings: settings{p}, Images: p, Version: oldVersion, Restart: p.again})
				if err != nil {
					t.Fatal(err)
				}
				key := Key(job.Kind, job.Name)
				rec := &record{Job: job, Report: Report{UID: job.UID}}
				if job.Upgrade != nil {
					rec.Step, w.program.id, w.program.verified = stepChecked, job.UID, true
				}
				rec.say(v1alpha2.NodePending, "", "")
				r.records[key] = rec
				do := r.next(rec)
				if refuse {
					if _, err := r.Refuse(t.Context(), Refusal{Job: "one"}); err != nil {
						t.Fatal(err)
					}
				} else {
					next := rec.clone()
					next.Job.Phase = v1alpha2.Paused
					r.records[key] = next
				}
				if err := do(t.Context(), key); err != nil && !errors.Is(err, errGivenUp) {
					t.Fatal(err)
				}
				if got := r.records[key]; got.Step == stepSwitched || got.Step == stepAccepted || got.Report.AcceptedTime != nil || w.program.trial || w.settings.trial || len(w.pulls) > 0 {
					t.Errorf("it has begun: %+v", got)
				}
			})
		}
	}
}

// TestSourceOfVersion: a version with a plus sign has a tag without.
func TestSourceOfVersion(t *testing.T) {
	r := &Runner{cfg: Config{Repository: "registry.example/node"}}
	got, err := r.request(&record{Job: NodeJob{Upgrade: &Upgrade{Version: "v1.3.0+k8s"}}})
	if want := "oci://registry.example/node:v1.3.0_k8s"; err != nil || got.Source != want || got.Version != "v1.3.0+k8s" {
		t.Errorf("%+v, %v; want %s", got, err, want)
	}
}

// TestListStarting: jobs that are not read yet are not jobs that are gone.
func TestListStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r, err := New(Config{Store: w.store, Reporter: &process{w: w}})
		if err != nil {
			t.Fatal(err)
		}
		if l := r.List(); !l.Starting {
			t.Errorf("before Run: %+v", l)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		synctest.Wait()
		if l := r.List(); l.Starting {
			t.Errorf("in Run: %+v", l)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
