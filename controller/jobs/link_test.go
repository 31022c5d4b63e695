package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/controller"
	"github.com/edgekit/edgekit/controller/jobs"
	nodejobs "github.com/edgekit/edgekit/edged/jobs"
	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
	nodeupgrade "github.com/edgekit/edgekit/edged/upgrade"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/memconn"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/kube"
	"github.com/edgekit/edgekit/meta/manager"
	"github.com/edgekit/edgekit/meta/memstore"
)

const linkNode = "edge-7"

// machine is a node's machine: its disk, and the program that runs. Its jobs are done by a real
// jobs.Runner over a real session; only the change of the program and of the settings is a
// stand-in.
type machine struct {
	t     *testing.T
	net   *memconn.Network
	store meta.Store
	bad   bool // what is tried does not become healthy

	mu       sync.Mutex
	runner   *nodejobs.Runner
	version  string // that is committed
	program  trial
	settings trial
	pulls    []string
	restart  context.CancelFunc
	changed  chan struct{}
}

// trial is the state of a change on the disk.
type trial struct {
	id, version  string
	verified, on bool
	set          map[string]string
	outcome      *nodeupgrade.Outcome
}

func (tr *trial) phase() nodeupgrade.Phase {
	switch {
	case tr.on:
		return nodeupgrade.Trial
	case tr.verified:
		return nodeupgrade.Verified
	case tr.outcome != nil:
		return tr.outcome.Phase
	}
	return nodeupgrade.Idle
}

// newMachine starts a machine. It runs until the test stops it.
func newMachine(t *testing.T, net *memconn.Network, bad bool) (m *machine, stop func()) {
	m = &machine{t: t, net: net, store: memstore.New(), bad: bad, version: "v1.23.0", changed: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			m.life(ctx)
		}
	})
	return m, func() {
		cancel()
		wg.Wait()
		if err := m.store.Close(); err != nil {
			t.Error(err)
		}
	}
}

// life is one run of the program.
func (m *machine) life(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	mgr, err1 := manager.New(manager.Config{Store: m.store, Node: linkNode})
	objects, err2 := kube.New(kube.Config{Store: m.store, Manager: mgr, Node: linkNode})
	link, err3 := hub.NewClient(hub.ClientConfig{Dialer: m.net.Dialer(linkNode), Node: linkNode, Down: mgr.Down(), Up: mgr.StateOutbox(), Outbox: mgr.EventOutbox()})
	m.mu.Lock()
	m.restart = cancel
	version := m.version
	if m.program.on {
		version = m.program.version
	}
	runner, err4 := nodejobs.New(nodejobs.Config{
		Store: m.store, Reporter: mgr, Programs: linkPrograms{m, version}, Settings: linkSettings{m}, Images: m, Version: version,
		Usage: func(context.Context, string) (float64, error) { return 1, nil }, Restart: cancel,
	})
	m.runner = runner
	m.mu.Unlock()
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		m.t.Error(err)
		cancel()
		return
	}
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{mgr.Run, objects.Run, link.Run, runner.Run, m.judge, func(ctx context.Context) error {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: linkNode}}
		node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
		return objects.Node(ctx, node)
	}} {
		wg.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				m.t.Error(err)
			}
		})
	}
	wg.Wait()
}

// judge is the health gate: it ends a trial a minute after the start of the program.
func (m *machine) judge(ctx context.Context) error {
	timer := time.NewTimer(time.Minute)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, tr := range []*trial{&m.program, &m.settings} {
		if !tr.on {
			continue
		}
		phase, reason := nodeupgrade.Committed, ""
		switch {
		case m.bad:
			phase, reason = nodeupgrade.RolledBack, "not healthy: pods are not ready"
			m.restart()
		case tr == &m.program:
			m.version = tr.version
		}
		*tr = trial{outcome: &nodeupgrade.Outcome{ID: tr.id, Phase: phase, Reason: reason}, set: tr.set}
		close(m.changed)
		m.changed = make(chan struct{})
	}
	return nil
}

// PullImage is jobs.Images.
func (m *machine) PullImage(_ context.Context, image string, secrets []*corev1.Secret) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range secrets {
		image += " with " + string(s.Data[corev1.DockerConfigJsonKey])
	}
	m.pulls = append(m.pulls, image)
	return nil
}

// linkPrograms is jobs.Programs.
type linkPrograms struct {
	*machine
	running string
}

func (p linkPrograms) Download(_ context.Context, r nodeupgrade.Request) (nodeupgrade.Slot, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if want := "oci://registry.example/node:v1.24.0"; r.Source != want {
		return nodeupgrade.Base, fmt.Errorf("the source is %s, want %s", r.Source, want)
	}
	p.program.id, p.program.version, p.program.verified = r.ID, r.Version, true
	return nodeupgrade.A, nil
}

func (p linkPrograms) Discard(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.program.id, p.program.verified = "", false
	return nil
}

func (p linkPrograms) Switch(_ context.Context, slot nodeupgrade.Slot, h nodeupgrade.Health) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slot != nodeupgrade.A || !p.program.verified || h.Timeout != 5*time.Minute || h.Stable != time.Minute || h.IgnoreLink || h.IgnorePods {
		return fmt.Errorf("slot %s, %+v", slot, h)
	}
	p.program.verified, p.program.on = false, true
	return nil
}

func (p linkPrograms) Rollback(context.Context, string, string) error { return errors.ErrUnsupported }

func (p linkPrograms) Log() (string, error) { return "the pods are not ready\n", nil }

func (p linkPrograms) State() nodeupgrade.State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return nodeupgrade.State{Phase: p.program.phase(), ID: p.program.id, Version: p.running, Outcome: p.program.outcome}
}

func (p linkPrograms) Watch(ctx context.Context) iter.Seq[nodeupgrade.State] {
	return watchTrial(ctx, p.machine, p.State)
}

// linkSettings is jobs.Settings.
type linkSettings struct{ *machine }

func (s linkSettings) Check(map[string]string) (bool, error) { return true, nil }

func (s linkSettings) Switch(_ context.Context, id string, set map[string]string, h nodeupgrade.Health) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.Timeout != 5*time.Minute || h.Stable != time.Minute || h.IgnoreLink || h.IgnorePods {
		return fmt.Errorf("%+v", h)
	}
	s.settings.id, s.settings.set, s.settings.on = id, set, true
	return nil
}

func (s linkSettings) State() nodeupgrade.SettingsState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return nodeupgrade.SettingsState{Phase: s.settings.phase(), ID: s.settings.id, Outcome: s.settings.outcome}
}

func (s linkSettings) Watch(ctx context.Context) iter.Seq[nodeupgrade.SettingsState] {
	return watchTrial(ctx, s.machine, s.State)
}

func watchTrial[S any](ctx context.Context, m *machine, state func() S) iter.Seq[S] {
	return func(yield func(S) bool) {
		for ctx.Err() == nil {
			m.mu.Lock()
			changed := m.changed
			m.mu.Unlock()
			if !yield(state()) {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	}
}

// stored counts what the node has of jobs: NodeJobs, and what it remembers of them.
func (m *machine) stored(ctx context.Context) (down, local int) {
	m.t.Helper()
	for prefix, n := range map[string]*int{meta.Down + nodejobs.Resource + "/": &down, meta.Local + "jobs/record/": &local} {
		records, _, err := m.store.List(ctx, prefix)
		if err != nil {
			m.t.Fatal(err)
		}
		*n = len(records)
	}
	return down, local
}

// downText is what the node has from the cloud about jobs.
func (m *machine) downText(ctx context.Context) string {
	m.t.Helper()
	records, _, err := m.store.List(ctx, meta.Down+nodejobs.Resource+"/")
	if err != nil {
		m.t.Fatal(err)
	}
	var text strings.Builder
	for _, rec := range records {
		text.Write(rec.Value)
	}
	return text.String()
}

// startAll starts a whole cloudcore for the links of net.
func (c *cluster) startAll(t *testing.T, net *memconn.Network) (stop func()) {
	t.Helper()
	ctl, err := controller.New(controller.Config{Cloud: c.kube, NodeClient: c.kube, Dynamic: c.dyn, ID: "cloudcore-1", Jobs: &jobs.Config{WritesPerSecond: -1}})
	if err != nil {
		t.Fatal(err)
	}
	var mux hub.Mux
	ctl.Handle(&mux)
	server, err := hub.NewServer(hub.ServerConfig{Listener: net, Directory: ctl, Mux: &mux})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	run := func(f func(context.Context) error) {
		wg.Go(func() {
			if err := f(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	run(func(ctx context.Context) error { return ctl.Run(ctx, server) })
	<-ctl.Ready()
	run(server.Run)
	return func() { cancel(); wg.Wait() }
}

// TestBothHalves has the node's half and the cloud's half of jobs meet over a session of the hub.
func TestBothHalves(t *testing.T) {
	toV124 := func(more map[string]any) map[string]any {
		spec := map[string]any{"version": "v1.24.0", "image": "registry.example/node", "nodeNames": []any{linkNode}}
		for key, value := range more {
			spec[key] = value
		}
		return spec
	}
	for name, tt := range map[string]struct {
		kind    string
		spec    map[string]any
		bad     bool
		confirm bool
		phase   v1alpha2.NodeTaskPhase
		flow    string
		check   func(t *testing.T, m *machine, res *v1alpha2.NodeJobResult)
	}{
		"upgrade": {
			kind: upgrade, spec: toV124(nil), phase: v1alpha2.NodeSuccessful, flow: "Check True, WaitingConfirmation True, BackUp True, Upgrade True",
			check: func(t *testing.T, m *machine, res *v1alpha2.NodeJobResult) {
				if res.Status.CurrentVersion != "v1.24.0" || res.Status.HistoricVersion != "v1.23.0" || m.version != "v1.24.0" {
					t.Errorf("%+v; the node has %s", res.Status, m.version)
				}
			},
		},
		"confirmed upgrade": {
			kind: upgrade, spec: toV124(map[string]any{"requireConfirmation": true}), confirm: true,
			phase: v1alpha2.NodeSuccessful, flow: "Check True, WaitingConfirmation True, BackUp True, Upgrade True",
		},
		"bad upgrade": {
			kind: upgrade, spec: toV124(nil), bad: true, phase: v1alpha2.NodeRolledBack,
			flow: "Check True, WaitingConfirmation True, BackUp True, Upgrade False, RollBack True",
			check: func(t *testing.T, m *machine, res *v1alpha2.NodeJobResult) {
				if s := res.Status; s.CurrentVersion != "v1.23.0" || s.Reason != nodejobs.ReasonUnhealthy || !strings.Contains(s.Message, "pods") || !strings.Contains(s.Log, "pods") {
					t.Errorf("%+v", s)
				}
			},
		},
		"pull": {
			kind: prepull, spec: map[string]any{"imagePrePullTemplate": map[string]any{"images": []any{"a.example/x:1", "a.example/y:1"}, "nodeNames": []any{linkNode}, "imageSecrets": "shop/pull"}},
			phase: v1alpha2.NodeSuccessful, flow: "Check True, Pull True",
			check: func(t *testing.T, m *machine, res *v1alpha2.NodeJobResult) {
				slices.Sort(m.pulls)
				if len(res.Status.ImageStatus) != 2 || !slices.Equal(m.pulls, []string{`a.example/x:1 with {"auths":{}}`, `a.example/y:1 with {"auths":{}}`}) || len(m.runner.PinnedImages()) != 2 {
					t.Errorf("%+v; pulled: %q; pinned: %q", res.Status, m.pulls, m.runner.PinnedImages())
				}
			},
		},
		"settings": {
			kind: config, spec: map[string]any{"updateFields": map[string]any{"modules.edgeHub.heartbeat": "20"}, "nodeNames": []any{linkNode}},
			phase: v1alpha2.NodeSuccessful, flow: "Check True, BackUp True, Update True",
			check: func(t *testing.T, m *machine, _ *v1alpha2.NodeJobResult) {
				if m.settings.set["modules.edgeHub.heartbeat"] != "20" {
					t.Errorf("%v", m.settings.set)
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *cluster) {
				secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "pull"}, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{}}`)}}
				if _, err := c.kube.CoreV1().Secrets("shop").Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
				net := memconn.New(memconn.Config{})
				defer c.startAll(t, net)()
				m, stop := newMachine(t, net, tt.bad)
				defer stop()
				time.Sleep(10 * time.Second) // the node registers
				synctest.Wait()
				c.add(t, tt.kind, "j", tt.spec)
				if tt.confirm {
					until(t, "the node waits", nil, func() bool {
						st := c.status(t, tt.kind, "j")
						return st != nil && len(st.NodeStatus) == 1 && st.NodeStatus[0].Reason == nodejobs.ReasonWaitingForConfirmation
					})
					time.Sleep(time.Minute)
					synctest.Wait()
					if _, err := m.runner.Confirm(t.Context(), "j"); err != nil {
						t.Fatal(err)
					}
				}
				until(t, "the job ends", nil, ended(t, c, tt.kind, "j"))
				st, results := c.status(t, tt.kind, "j"), c.results(t)
				wantPhase := v1alpha2.JobCompleted
				if tt.bad {
					wantPhase = v1alpha2.JobFailure
				}
				if st.Phase != wantPhase || st.Nodes.Total != 1 || len(results) != 1 {
					t.Fatalf("%+v; %d results", st, len(results))
				}
				res := &results[0]
				var flow []string
				for _, a := range res.Status.ActionFlow {
					flow = append(flow, fmt.Sprint(a.Action, " ", a.Status))
				}
				if s := res.Status; s.Phase != tt.phase || !s.Reported || s.AcceptedTime == nil || s.FinishedTime == nil || s.ObservedAcceptedTime == nil || strings.Join(flow, ", ") != tt.flow {
					t.Errorf("flow %q; %+v", flow, s)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if tt.check != nil {
					tt.check(t, m, res)
				}
				if text := m.downText(t.Context()); strings.Contains(text, "dockerConfigJSON") {
					t.Errorf("after the end the node still has the pull secret: %s", text)
				}
				down, local := m.stored(t.Context())
				if keeps := tt.kind == prepull; (down == 1) != keeps || (local == 1) != keeps {
					t.Errorf("after the end the node has %d jobs and %d records", down, local)
				}
				if err := c.dyn.Resource(v1alpha2.GroupVersion().WithResource(resources[tt.kind])).Delete(t.Context(), "j", metav1.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if down, local := m.stored(t.Context()); down != 0 || local != 0 || len(m.runner.PinnedImages()) != 0 {
					t.Errorf("after the job is deleted the node has %d jobs and %d records, and pins %q", down, local, m.runner.PinnedImages())
				}
			})
		})
	}
}
