package edged_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/cgroup"
	"github.com/edgekit/edgekit/edged/crilog"
	"github.com/edgekit/edgekit/edged/devices"
	"github.com/edgekit/edgekit/edged/dra"
	"github.com/edgekit/edgekit/edged/internal/events"
	"github.com/edgekit/edgekit/edged/internal/evictor"
	"github.com/edgekit/edgekit/edged/internal/lifecycle"
	"github.com/edgekit/edgekit/edged/internal/lifecycle/lifecycletest"
	"github.com/edgekit/edgekit/edged/internal/nodecgroups"
	"github.com/edgekit/edgekit/edged/internal/nodeusage"
	"github.com/edgekit/edgekit/edged/jobs"
	"github.com/edgekit/edgekit/edged/nodestatus"
	"github.com/edgekit/edgekit/edged/pleg"
	"github.com/edgekit/edgekit/edged/reclaim"
	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/runtimetest"
	"github.com/edgekit/edgekit/edged/server"
	"github.com/edgekit/edgekit/edged/shutdown"
	"github.com/edgekit/edgekit/edged/shutdown/shutdowntest"
	"github.com/edgekit/edgekit/edged/static"
	"github.com/edgekit/edgekit/edged/upgrade"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
)

// noEvents is a pleg.Source of a runtime that sends no events.
type noEvents struct{}

func (noEvents) Snapshot(context.Context) (map[string]pleg.Item, error) { return nil, nil }
func (noEvents) Events(context.Context, func(string)) error             { return pleg.ErrNoEvents }

// noPods is a server.Pods that has none.
type noPods struct{}

func (noPods) Pods() []*corev1.Pod                        { return nil }
func (noPods) Pod(string, string) *corev1.Pod             { return nil }
func (noPods) LogFile(*corev1.Pod, string, uint32) string { return "" }

// endedPods is a shutdown.Pods of a node without pods.
type endedPods struct{}

func (endedPods) Active() []*corev1.Pod             { return nil }
func (endedPods) End(types.UID, time.Duration) bool { return false }
func (endedPods) HasEnded(types.UID) bool           { return true }
func (endedPods) Resume()                           {}

// emptyNode is an evictor.NodeMeter and an evictor.Pods of a node without pods.
type emptyNode struct{}

func (emptyNode) Read(context.Context) nodeusage.Reading { return nodeusage.Reading{} }
func (emptyNode) Active() []*corev1.Pod                  { return nil }
func (emptyNode) Folders(*corev1.Pod) evictor.Folders    { return evictor.Folders{} }
func (emptyNode) Evict(types.UID, evictor.Eviction) bool { return false }
func (emptyNode) IsGone(types.UID) bool                  { return true }

// noReporter is a jobs.Reporter that takes nothing.
type noReporter struct{}

func (noReporter) Update(context.Context, meta.Object) error { return errors.New("no outbox") }
func (noReporter) Delete(context.Context, meta.Object) error { return errors.New("no outbox") }

// noClaims is a dra.ClaimReader of a node that no claim has been sent to.
type noClaims struct{}

func (noClaims) ResourceClaim(context.Context, string, string) ([]byte, error) {
	return nil, meta.ErrNotFound
}

// runners makes a value of each type that has a Run.
func runners(t *testing.T) map[string]func() (func(context.Context) error, error) {
	c := newCloud()
	rt := runtimetest.New()
	dir := t.TempDir()
	return map[string]func() (func(context.Context) error, error){
		"edged.Agent": func() (func(context.Context) error, error) {
			store := memstore.New()
			m, err1 := devices.New(devices.Config{Store: store})
			d, err2 := dra.New(dra.Config{Store: store, Claims: noClaims{}})
			a, err3 := edged.New(edged.Config{
				NodeName: "edge", Runtime: rt, Objects: c, Reports: c, Root: dir + "/root", LogRoot: dir + "/logs", Store: store, Devices: m, ResourceClaims: d,
			})
			return a.Run, errors.Join(err1, err2, err3)
		},
		"nodestatus.Reporter": func() (func(context.Context) error, error) {
			r, err := nodestatus.New(nodestatus.Config{NodeName: "edge", Root: dir, Runtime: rt, Reports: c})
			return r.Run, err
		},
		"pleg.Watcher": func() (func(context.Context) error, error) {
			w, err := pleg.New(pleg.Config{Source: noEvents{}, Changed: func(string) {}})
			return w.Run, err
		},
		"static.Folder": func() (func(context.Context) error, error) {
			f, err := static.New(static.Config{Dir: dir, Node: "edge"})
			return func(ctx context.Context) error { return f.Run(ctx, func([]*corev1.Pod) {}) }, err
		},
		"static.URL": func() (func(context.Context) error, error) {
			u, err := static.NewURL(static.URLConfig{URL: "http://127.0.0.1:1/", Node: "edge", File: dir + "/pods"})
			return func(ctx context.Context) error { return u.Run(ctx, func([]*corev1.Pod) {}) }, err
		},
		"shutdown.Manager": func() (func(context.Context) error, error) {
			m, err := shutdown.New(shutdown.Config{Dial: new(shutdowntest.Logind).Dial, Periods: shutdown.Periods(time.Second, 0), Pods: endedPods{}, ConfigDir: dir + "/logind"})
			return m.Run, err
		},
		"jobs.Runner": func() (func(context.Context) error, error) {
			r, err := jobs.New(jobs.Config{Store: memstore.New(), Reporter: noReporter{}})
			return r.Run, err
		},
		"upgrade.Settings": func() (func(context.Context) error, error) {
			s, err := upgrade.NewSettings(upgrade.SettingsConfig{DataDir: dir + "/data"})
			return s.Run, err
		},
		"upgrade.Upgrader": func() (func(context.Context) error, error) {
			u, err := upgrade.New(upgrade.Config{DataDir: dir + "/data", Release: upgrade.Release{Version: "v1.0.0"}})
			return u.Run, err
		},
		"crilog.Watcher": func() (func(context.Context) error, error) { return crilog.NewWatcher().Run, nil },
		"server.Server": func() (func(context.Context) error, error) {
			s, err := server.New(server.Config{Node: "edge", Pods: noPods{}, Runtime: serverRuntime{Runtime: rt}})
			return s.Run, err
		},
		"evictor.Evictor": func() (func(context.Context) error, error) {
			e, err := evictor.New(evictor.Config{Node: emptyNode{}, Pods: emptyNode{}})
			return e.Run, err
		},
		"events.Recorder": func() (func(context.Context) error, error) {
			return events.New("edge", c, slog.New(slog.DiscardHandler)).Run, nil
		},
		"nodecgroups.Keeper": func() (func(context.Context) error, error) {
			groups := cgroup.New(cgroup.Config{Mount: dir})
			return nodecgroups.New(nodecgroups.Config{
				Groups: func() *cgroup.Groups { return groups }, Pods: noPods{}.Pods, Machine: func() corev1.ResourceList { return nil }, Event: func(string, string, string) {},
			}).Run, nil
		},
		"reclaim.Images": func() (func(context.Context) error, error) {
			i, err := reclaim.NewImages(reclaim.ImagesConfig{Runtime: rt, Store: rt})
			return i.Run, err
		},
		"reclaim.Logs": func() (func(context.Context) error, error) {
			l, err := reclaim.NewLogs(reclaim.LogsConfig{Root: dir + "/logs", Runtime: rt})
			return l.Run, err
		},
	}
}

// serverRuntime is a runtime as edged/server needs one; no stream is opened.
type serverRuntime struct {
	runtime.Runtime
	runtime.Streams
}

// TestRunOnce holds every Run to one lifecycle: of two calls one returns
// edged.ErrStarted, the other returns nil when its context ends. One that comes later returns ErrStarted
// too.
func TestRunOnce(t *testing.T) {
	if !errors.Is(lifecycle.ErrStarted, edged.ErrStarted) {
		t.Error("edged.ErrStarted is another error than lifecycle.ErrStarted")
	}
	for name, build := range runners(t) {
		t.Run(name, func(t *testing.T) {
			run, err := build()
			if err != nil {
				t.Fatal(err)
			}
			lifecycletest.RunOnce(t, run)
			hubtest.RunEnds(t, 20*time.Millisecond, build)
		})
	}
}
