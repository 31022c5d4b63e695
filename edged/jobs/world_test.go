package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
	"github.com/edgekit/edgekit/edged/upgrade"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
)

const (
	oldVersion = "v1.2.3"
	newVersion = "v1.3.0"
)

// world is a machine: what is on its disk, and what was reported to the cloud. A process of it may
// be killed before or after any change of the disk.
type world struct {
	t     *testing.T
	store meta.Store

	mu       sync.Mutex
	alive    *process
	reports  map[string]*Report // by the name of the key, as they are in the outbox
	deleted  []string           // reports that were deleted
	events   []string
	images   map[string]bool // that the node has
	pulls    []string        // images that were pulled, with the user
	program  machine         // of the program
	settings machine         // of the settings
	version  string          // that is committed
	bad      bool            // what is tried does not become healthy
	refuse   error           // of a download
	refused  error           // of settings
	failures map[string]int  // how often a pull fails
	usage    float64
	killAt   int // the change at which the process is killed; 0 never
	changes  int
	hang     chan struct{} // a download waits for it; nil for none
	// pods are those that the node is to run: how long after a start each is ready, negative for never.
	pods  map[string]time.Duration
	asked [][]string // the ready pods that each gate asks for
	// linkAfter is how long after a start there is a link; 0 for a node that has none.
	linkAfter time.Duration
}

// machine is the state of a trial on the disk.
type machine struct {
	id       string
	verified bool
	trial    bool
	started  bool
	outcome  *upgrade.Outcome
}

// process is one life of the program.
type process struct {
	w       *world
	ctx     context.Context
	cancel  context.CancelFunc
	dead    bool // killed: it changes nothing any more
	restart bool
	version string
	begun   time.Time
	changed chan struct{}
	runner  *Runner
	done    chan error
}

var errDead = fmt.Errorf("killed: %w", net.ErrClosed)

func newWorld(t *testing.T) *world {
	w := &world{t: t, store: memstore.New(), reports: make(map[string]*Report), images: make(map[string]bool), failures: make(map[string]int), version: oldVersion}
	t.Cleanup(func() {
		if err := w.store.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// point is a change of the disk: the process may be killed before or after it.
func (p *process) point(change func() error) error {
	w := p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changes++
	if !p.dead && w.changes == w.killAt {
		p.dead = true
		p.cancel()
	}
	if p.dead {
		return errDead
	}
	err := change()
	w.changes++
	if w.changes == w.killAt {
		p.dead = true
		p.cancel()
		return errDead
	}
	return err
}

// The store of a process.
type killable struct {
	meta.Store
	p *process
}

func (k killable) Apply(ctx context.Context, ops ...meta.Op) (rev uint64, err error) {
	if len(ops) == 0 {
		return k.Store.Apply(ctx)
	}
	err = k.p.point(func() error { rev, err = k.Store.Apply(ctx, ops...); return err })
	return rev, err
}

// Reporter.

func (p *process) Update(_ context.Context, o meta.Object) error {
	return p.point(func() error {
		report, err := DecodeReport(o.Body)
		if err != nil {
			return err
		}
		p.w.reports[o.Key.Name] = report
		return nil
	})
}

func (p *process) Delete(_ context.Context, o meta.Object) error {
	return p.point(func() error {
		delete(p.w.reports, o.Key.Name)
		p.w.deleted = append(p.w.deleted, o.Key.Name)
		return nil
	})
}

// Images.

func (p *process) PullImage(ctx context.Context, image string, secrets []*corev1.Secret) error {
	return p.point(func() error {
		user := ""
		for _, s := range secrets {
			user = "@" + s.Name
		}
		p.w.pulls = append(p.w.pulls, image+user)
		if p.w.failures[image] > 0 {
			p.w.failures[image]--
			return errors.New("the registry said no")
		}
		p.w.images[image] = true
		return ctx.Err()
	})
}

// programs is Programs.
type programs struct{ *process }

func (p programs) Download(ctx context.Context, r upgrade.Request) (upgrade.Slot, error) {
	p.w.mu.Lock()
	hang := p.w.hang
	p.w.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-ctx.Done():
			return upgrade.Base, ctx.Err()
		}
	}
	err := p.point(func() error {
		if p.w.refuse != nil {
			return p.w.refuse
		}
		m := &p.w.program
		if m.trial {
			return upgrade.ErrBusy
		}
		m.id, m.verified = r.ID, true
		return nil
	})
	return upgrade.A, err
}

func (p programs) Discard(context.Context) error {
	return p.point(func() error { p.w.program.id, p.w.program.verified = "", false; return nil })
}

func (p programs) Switch(_ context.Context, slot upgrade.Slot, h upgrade.Health) error {
	return p.point(func() error { return p.begin(&p.w.program, h) })
}

// begin begins a trial, and notes for which pods its gate asks.
func (p *process) begin(m *machine, h upgrade.Health) error {
	err := m.begin(h)
	if err == nil {
		var ready []string
		for key, is := range p.podsLocked() {
			if is {
				ready = append(ready, key)
			}
		}
		slices.Sort(ready)
		p.w.asked = append(p.w.asked, ready)
	}
	return err
}

// podsLocked says which pods are ready: it takes each its time after a start of the program, as
// after a power cut.
func (p *process) podsLocked() map[string]bool {
	out := make(map[string]bool)
	for key, after := range p.w.pods {
		out[key] = after >= 0 && time.Since(p.begun) >= after
	}
	return out
}

func (m *machine) begin(h upgrade.Health) error {
	switch {
	case h.IgnoreLink || h.IgnorePods:
		return errors.New("no gate")
	case m.trial:
		return upgrade.ErrBusy
	case !m.verified:
		return upgrade.ErrNothing
	}
	m.trial, m.verified = true, false
	return nil
}

func (p programs) Rollback(_ context.Context, id, reason string) error {
	return p.point(func() error {
		p.w.program.outcome = &upgrade.Outcome{ID: id, Phase: upgrade.RolledBack, Reason: reason}
		p.w.version = oldVersion
		return nil
	})
}

func (m *machine) phase() upgrade.Phase {
	switch {
	case m.trial:
		return upgrade.Trial
	case m.verified:
		return upgrade.Verified
	case m.outcome != nil:
		return m.outcome.Phase
	}
	return upgrade.Idle
}

func (p programs) State() upgrade.State {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	m := p.w.program
	s := upgrade.State{Phase: m.phase(), ID: m.id, Version: p.version, Outcome: m.outcome}
	if p.w.version != oldVersion {
		s.Before = oldVersion
	}
	return s
}

func (p programs) Watch(ctx context.Context) iter.Seq[upgrade.State] {
	return watch(ctx, p.process, p.State)
}

// watch is the Watch of both.
func watch[S any](ctx context.Context, p *process, state func() S) iter.Seq[S] {
	return func(yield func(S) bool) {
		for ctx.Err() == nil && yield(state()) {
			p.w.mu.Lock()
			changed := p.changed
			p.w.mu.Unlock()
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	}
}

func (p *process) again() {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.restart = true
	p.cancel()
}

func (p programs) Log() (string, error) {
	return "it goes wrong\nlevel=ERROR password=hunter2\n", nil
}

// settings is Settings.
type settings struct{ *process }

func (s settings) Check(set map[string]string) (bool, error) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	for key, value := range set {
		if key == "modules.none" {
			return false, &UnknownKeyError{Key: key}
		}
		if value == "same" {
			return false, nil
		}
	}
	return true, s.w.refused
}

func (s settings) Switch(_ context.Context, id string, _ map[string]string, h upgrade.Health) error {
	return s.point(func() error {
		m := &s.w.settings
		if m.trial && m.id == id {
			return nil
		}
		m.id, m.verified = id, true
		return s.begin(m, h)
	})
}

func (s settings) State() upgrade.SettingsState {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	m := s.w.settings
	return upgrade.SettingsState{Phase: m.phase(), ID: m.id, Outcome: m.outcome}
}

func (s settings) Watch(ctx context.Context) iter.Seq[upgrade.SettingsState] {
	return watch(ctx, s.process, s.State)
}

// boot is what the base does before the program runs.
func (m *machine) boot() {
	switch {
	case m.trial && m.started:
		m.end(upgrade.RolledBack, "it crashed, or the power was cut")
	case m.trial:
		m.started = true
	}
}

func (m *machine) end(phase upgrade.Phase, reason string) {
	m.outcome = &upgrade.Outcome{ID: m.id, Phase: phase, Reason: reason}
	m.trial, m.started, m.id = false, false, ""
}

// start starts the program.
func (w *world) start() *process {
	ctx, cancel := context.WithCancel(w.t.Context())
	p := &process{w: w, ctx: ctx, cancel: cancel, begun: time.Now(), changed: make(chan struct{}), done: make(chan error, 2)}
	w.mu.Lock()
	w.program.boot()
	w.settings.boot()
	p.version = w.version
	if w.program.trial {
		p.version = newVersion
	}
	w.alive = p
	w.mu.Unlock()
	runner, err := New(Config{
		Store: killable{w.store, p}, Reporter: p, Programs: programs{p}, Settings: settings{p}, Images: p, Version: p.version, Restart: p.again,
		Pods: func() (map[string]bool, bool) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return p.podsLocked(), len(w.pods) == 0 || time.Since(p.begun) > 2*time.Second
		},
		Linked: func() bool { return w.linkAfter > 0 && time.Since(p.begun) >= w.linkAfter },
		Usage:  func(context.Context, string) (float64, error) { return w.usage, nil },
		Event:  func(_, reason, _ string) { w.events = append(w.events, reason) }, // called with changes of the disk only, one at a time
	})
	if err != nil {
		w.t.Fatal(err)
	}
	p.runner = runner
	go func() { p.done <- runner.Run(ctx) }()
	go func() { p.judge(); p.done <- nil }()
	return p
}

// judge is the health gate.
func (p *process) judge() {
	w := p.w
	for _, m := range []*machine{&w.program, &w.settings} {
		w.mu.Lock()
		trial := m.trial
		w.mu.Unlock()
		if !trial || !sleep(p.ctx, time.Minute) {
			continue
		}
		err := p.point(func() error {
			if w.bad {
				m.end(upgrade.RolledBack, "not healthy: pods are not ready")
			} else {
				if m == &w.program {
					w.version = newVersion
				}
				m.end(upgrade.Committed, "")
			}
			close(p.changed)
			p.changed = make(chan struct{})
			return nil
		})
		if err == nil && w.bad {
			p.again()
		}
	}
}

// end waits until the process has ended.
func (p *process) end() {
	for range 2 {
		if err := <-p.done; err != nil && !errors.Is(err, net.ErrClosed) {
			p.w.t.Errorf("the process ends: %v", err)
		}
	}
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	if p.restart && !p.dead { // in order: a trial that is judged goes on
		p.w.program.started, p.w.settings.started = false, false
	}
}

// live lets the program run, and start again after each end, until done.
func (w *world) live(done func() bool) {
	w.t.Helper()
	for lives := 0; ; lives++ {
		if lives > 20 {
			w.t.Fatal("the program starts again and again")
		}
		p := w.start()
		stop := make(chan bool, 1)
		go func() {
			for range 100 {
				synctest.Wait()
				if p.ctx.Err() != nil || done() {
					break
				}
				if !sleep(p.ctx, 10*time.Second) {
					break
				}
			}
			stop <- done()
		}()
		<-stop
		finished := done() && !p.restarts()
		p.cancel()
		p.end()
		if finished {
			return
		}
	}
}

func (p *process) restarts() bool {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return p.restart || p.dead
}

// put has the cloud send a job.
func (w *world) put(job NodeJob) {
	w.t.Helper()
	if job.TimeoutSeconds == 0 {
		job.TimeoutSeconds = 300
	}
	body, err := json.Marshal(job)
	if err != nil {
		w.t.Fatal(err)
	}
	o := meta.Object{Key: meta.Key{Resource: Resource, Name: Key(job.Kind, job.Name)}, Version: "1", Body: body}
	if _, err := w.store.Apply(w.t.Context(), meta.Op{Key: meta.Down + o.Key.Path(), Value: meta.EncodeObject(o)}); err != nil {
		w.t.Fatal(err)
	}
}

// remove has the cloud take a job away.
func (w *world) remove(kind, name string) {
	w.t.Helper()
	if _, err := w.store.Apply(w.t.Context(), meta.Op{Key: meta.Down + meta.Key{Resource: Resource, Name: Key(kind, name)}.Path(), Delete: true}); err != nil {
		w.t.Fatal(err)
	}
}

// report is what was reported to the cloud about a job.
func (w *world) report(kind, name string) Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r := w.reports[Key(kind, name)]; r != nil {
		return *r
	}
	return Report{}
}

// ended reports whether the cloud has the last word of a job.
func (w *world) ended(kind, name string) func() bool {
	return func() bool { return w.report(kind, name).Phase.Final() }
}

// flow is the action flow of a report in short.
func (r Report) flow() []string {
	var out []string
	for _, a := range r.ActionFlow {
		out = append(out, fmt.Sprintf("%s %s", a.Action, a.Status))
	}
	return out
}

func equalFlow(r Report, want ...string) bool { return slices.Equal(r.flow(), want) }

func health() Health {
	var h Health
	h.Timeout.Duration, h.Stable.Duration, h.RequireLink, h.RequirePodsReady = 5*time.Minute, time.Minute, true, true
	return h
}

// upgradeJob is a job that may be applied.
func upgradeJob(name string) NodeJob {
	return NodeJob{Kind: v1alpha2.KindNodeUpgradeJob, Name: name, UID: "uid-" + name, Generation: 1, Phase: v1alpha2.Apply,
		Upgrade: &Upgrade{Version: newVersion, OCI: "registry.example/node", RollbackOnFailure: true, Health: health()}}
}

func configJob(name string, set map[string]v1alpha2.FieldValue) NodeJob {
	return NodeJob{Kind: v1alpha2.KindConfigUpdateJob, Name: name, UID: "uid-" + name, Generation: 1, Phase: v1alpha2.Apply,
		ConfigUpdate: &ConfigUpdate{UpdateFields: set, RollbackOnFailure: true, Health: health()}}
}

func pullJob(name string, images ...string) NodeJob {
	return NodeJob{Kind: v1alpha2.KindImagePrePullJob, Name: name, UID: "uid-" + name, Generation: 1, Phase: v1alpha2.Apply, ImagePrePull: &ImagePrePull{Images: images}}
}
