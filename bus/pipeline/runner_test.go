package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/pipelinetest"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
)

// world is a Runner with fakes: the source "in" and the sinks "out" and "out2".
type world struct {
	t       *testing.T
	store   meta.Store
	source  *pipelinetest.Source
	sink    *pipelinetest.Sink
	sink2   *pipelinetest.Sink
	queues  *pipelinetest.Queues
	env     pipeline.Env
	options pipeline.Options
	*pipeline.Runner
	stop func()
}

func newWorld(t *testing.T) *world {
	store := memstore.New()
	t.Cleanup(func() { store.Close() })
	w := &world{t: t, store: store, source: &pipelinetest.Source{}, sink: &pipelinetest.Sink{}, sink2: &pipelinetest.Sink{}, queues: &pipelinetest.Queues{}, options: options()}
	return w
}

func (w *world) config() pipeline.Config {
	ends := pipelinetest.Ends{
		Sources: map[string]pipeline.Source{"in": w.source},
		Sinks:   map[string]pipeline.Sink{"out": w.sink, "out2": w.sink2},
	}
	return pipeline.Config{Options: w.options, Openers: ends.Openers(), Queues: w.queues, Store: w.store, Env: w.env}
}

// run starts a Runner with pipelines; w.stop stops it.
func (w *world) run(pipelines ...*v1alpha1.Pipeline) {
	w.t.Helper()
	r, err := pipeline.New(w.config())
	if err != nil {
		w.t.Fatal(err)
	}
	w.Runner = r
	r.Apply(pipelines)
	ctx, cancel := context.WithCancel(w.t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		if err := r.Run(ctx); err != nil {
			w.t.Error(err)
		}
	})
	w.stop = func() {
		cancel()
		group.Wait()
	}
	synctest.Wait()
}

// pass lets time pass.
func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (w *world) emit(ids string, data ...any) {
	for i, d := range data {
		w.source.Emit(pipeline.Event{ID: fmt.Sprint(ids, i), Data: d})
	}
	w.pass(time.Second)
}

func (w *world) sent() string {
	var ids []string
	for _, e := range w.sink.Events() {
		ids = append(ids, e.ID)
	}
	return strings.Join(ids, " ")
}

func (w *world) only() pipeline.Status {
	w.t.Helper()
	all := w.Status()
	if len(all) != 1 {
		w.t.Fatalf("%+v", all)
	}
	return all[0]
}

func obj(v any) map[string]any { return map[string]any{"v": v} }

const filtered = ends + "  steps: [{name: s, filter: {expression: event.data.v > 1}}]"

func TestRunner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := parse(t, filtered)
		p.Generation = 3
		w.run(p)
		w.emit("a", obj(int64(1)), obj(int64(2)), obj("x"), obj(3.5))
		if w.sent() != "a1 a3" || w.source.Safe() != 4 {
			t.Errorf("sent %s, %d safe", w.sent(), w.source.Safe())
		}
		s := w.only()
		if s.State != pipeline.Running || s.Generation != 3 || len(s.Failures) != 1 || s.Failures[0].Step != "s" ||
			s.Failures[0].Reason != v1alpha1.ReasonExpressionFailed || s.Failures[0].Event != `{"id":"a2","data":{"v":"x"}}` {
			t.Errorf("%+v", s)
		}
		if dead := w.queues.Dead(s.Ref); len(dead) != 1 || dead[0].Event.ID != "a2" || dead[0].Step != "s" {
			t.Errorf("%+v", dead)
		}
		if out := s.Steps[2]; out.Name != "out" || out.In != 2 || out.Out != 2 {
			t.Errorf("%+v", out)
		}
		w.stop()
	})
}

func TestInvalidPipelineLeavesOthersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		bad := parse(t, ends+"  steps: [{name: s, filter: {expression: x}}, {name: u, filter: {expression: z}}]")
		bad.Name = "bad"
		w.run(bad, parse(t, filtered))
		w.emit("a", obj(2.0))
		all := w.Status()
		if w.sent() != "a0" || all[0].State != pipeline.Failed || len(all[0].Failures) != 2 || all[1].State != pipeline.Running {
			t.Errorf("%s\n%+v", w.sent(), all)
		}
		if f := all[0].Failures[1]; f.Step != "s" || f.Reason != v1alpha1.ReasonInvalid || !strings.Contains(f.Message, "spec.steps[0].filter.expression: ") {
			t.Errorf("%+v", f)
		}
		// Its correction runs.
		good := parse(t, filtered)
		good.Name = "bad"
		w.source = &pipelinetest.Source{} // of nobody
		w.Apply([]*v1alpha1.Pipeline{good})
		w.pass(time.Second)
		if s := w.only(); s.State != pipeline.Running || len(s.Failures) != 0 {
			t.Errorf("%+v", s)
		}
		w.stop()
	})
}

func TestSinkRetriesAndRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var up atomic.Bool
		w.sink.Fail(func(events []pipeline.Event) error {
			if !up.Load() {
				return errors.New("connection refused")
			}
			for i, e := range events {
				if e.ID == "a1" {
					return &pipeline.RefusedError{Index: i, Err: errors.New("bad value")}
				}
				if e.ID == "a4" {
					return fmt.Errorf("400: %w", pipeline.ErrRefused) // of the whole batch
				}
			}
			return nil
		})
		w.run(parse(t, ends))
		w.emit("a", 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
		w.pass(time.Hour)
		if s := w.only(); w.sent() != "" || s.State != pipeline.Running || s.Failures[0].Reason != v1alpha1.ReasonSinkRetrying || s.Steps[1].Retry < 50 || s.Steps[1].Queue.Events != 7 {
			t.Errorf("%s %+v", w.sent(), s)
		}
		up.Store(true)
		w.pass(2 * time.Minute)
		if w.sent() != "a0 a2 a3 a5 a6" {
			t.Error(w.sent())
		}
		s := w.only()
		dead := w.queues.Dead(s.Ref)
		if len(dead) != 2 || dead[0].Event.ID != "a1" || dead[0].Message != "bad value" || dead[1].Event.ID != "a4" || dead[0].Reason != v1alpha1.ReasonRefused {
			t.Errorf("%+v", dead)
		}
		if s.Steps[1].Queue.Events != 0 || len(s.Failures) != 1 || s.Failures[0].Count != 2 {
			t.Errorf("%+v", s)
		}
		w.stop()
	})
}

// TestSinkSendsPart: of a batch of which the sink has sent a part, the rest is sent again, or judged.
func TestSinkSendsPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var up atomic.Bool
		w.sink.Fail(func(events []pipeline.Event) error {
			switch first := events[0].ID; {
			case first == "a0" && len(events) == 7:
				return &pipeline.SentError{Sent: 3, Err: errors.New("connection reset")}
			case first == "a3" && !up.Load():
				return errors.New("connection refused")
			case first == "a3" && len(events) > 1:
				return &pipeline.SentError{Sent: 2, Err: fmt.Errorf("400: %w", pipeline.ErrRefused)}
			case first == "a5":
				return fmt.Errorf("400: %w", pipeline.ErrRefused)
			case first == "a0", first == "a3", first == "a6":
				return nil
			}
			return fmt.Errorf("a batch of %d from %s", len(events), events[0].ID)
		})
		w.run(parse(t, ends))
		w.emit("a", 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
		w.pass(time.Hour)
		if w.sent() != "a0 a1 a2" {
			t.Errorf("before the sink is there: %s", w.sent())
		}
		up.Store(true)
		w.pass(2 * time.Minute)
		if w.sent() != "a0 a1 a2 a3 a4 a6" {
			t.Error(w.sent())
		}
		if dead := w.queues.Dead(w.only().Ref); len(dead) != 1 || dead[0].Event.ID != "a5" {
			t.Errorf("%+v", dead)
		}
		w.stop()
	})
}

func TestEventsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sink.Fail(func([]pipeline.Event) error { return errors.New("no route to host") })
		w.run(parse(t, "  sources: [{name: in, mqtt: {topic: a}}]\n  sinks: [{name: out, retry: {for: 10m}, file: {path: x}}]"))
		w.emit("a", 1.0)
		w.pass(9 * time.Minute)
		if s := w.only(); s.Steps[1].Queue.Events != 1 {
			t.Errorf("%+v", s)
		}
		w.pass(3 * time.Minute)
		s := w.only()
		if dead := w.queues.Dead(s.Ref); s.Steps[1].Queue.Events != 0 || len(dead) != 1 || dead[0].Reason != v1alpha1.ReasonExpired {
			t.Errorf("%+v %+v", s, dead)
		}
		w.stop()
	})
}

// TestBackPressure wants a full queue with overflow Block to hold up the source, and nothing
// to be lost.
func TestBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.queues.Max = 10
		var up atomic.Bool
		w.sink.Fail(func([]pipeline.Event) error {
			if !up.Load() {
				return errors.New("down")
			}
			return nil
		})
		w.run(parse(t, "  sources: [{name: in, mqtt: {topic: a}}]\n  sinks: [{name: out, queue: {overflow: Block}, file: {path: x}}]"))
		for i := range 2000 {
			w.source.Emit(pipeline.Event{ID: fmt.Sprint(i), Data: 1.0})
		}
		w.pass(time.Minute)
		if safe := w.source.Safe(); safe > 1100 || !w.only().Steps[1].Queue.Blocked {
			t.Errorf("%d are safe, %+v", safe, w.only())
		}
		up.Store(true)
		w.pass(2 * time.Minute)
		if n := len(w.sink.Events()); n != 2000 || w.source.Safe() != 2000 {
			t.Errorf("%d were sent, %d safe", n, w.source.Safe())
		}
		w.stop()
	})
}

// blockingSink takes no notice of its context for a time.
type blockingSink struct{ d time.Duration }

func (s blockingSink) Send(context.Context, []pipeline.Event) error {
	time.Sleep(s.d)
	return nil
}

func (s blockingSink) Close() error { return nil }

// TestIsolation wants a sink that blocks, a source that panics and a sink that panics to be of
// no harm to another pipeline.
func TestIsolation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		cfg := w.config()
		fakes := cfg.Openers
		cfg.Openers.Source = func(spec *v1alpha1.Source, env pipeline.Env) (pipeline.Source, error) {
			switch env.Ref.Name {
			case "boom":
				return sourceFunc(func(context.Context, pipeline.Emit) error { panic("a defect") }), nil
			case "blocked", "sinkboom":
				return sourceFunc(func(ctx context.Context, emit pipeline.Emit) error {
					for i := 0; ; i++ {
						if emit(ctx, []pipeline.Event{{ID: fmt.Sprint(i), Data: obj(2.0)}}, nil) != nil {
							return nil
						}
						time.Sleep(time.Second)
					}
				}), nil
			}
			return fakes.Source(spec, env)
		}
		cfg.Openers.Sink = func(spec *v1alpha1.Sink, env pipeline.Env) (pipeline.Sink, error) {
			switch env.Ref.Name {
			case "blocked":
				return blockingSink{time.Hour}, nil
			case "sinkboom":
				s := &pipelinetest.Sink{}
				s.Fail(func([]pipeline.Event) error { panic("a defect") })
				return s, nil
			}
			return fakes.Sink(spec, env)
		}
		r, err := pipeline.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		w.Runner = r
		var all []*v1alpha1.Pipeline
		for _, name := range []string{"blocked", "boom", "good", "sinkboom"} {
			p := parse(t, filtered)
			p.Name, p.Spec.Sinks[0].File.Path = name, name
			all = append(all, p)
		}
		r.Apply(all)
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() { r.Run(ctx) })
		for i := range 100 {
			w.emit(fmt.Sprint(i, "-"), obj(2.0))
		}
		if n := len(w.sink.Events()); n != 100 {
			t.Errorf("%d events", n)
		}
		for _, s := range r.Status() {
			want := map[string]string{"boom": v1alpha1.ReasonSourceFailed, "sinkboom": v1alpha1.ReasonSinkRetrying}[s.Ref.Name]
			if want == "" && len(s.Failures) != 0 || want != "" && (len(s.Failures) != 1 || s.Failures[0].Reason != want) {
				t.Errorf("%+v", s)
			}
		}
		cancel()
		group.Wait()
	})
}

type sourceFunc func(ctx context.Context, emit pipeline.Emit) error

func (f sourceFunc) Run(ctx context.Context, emit pipeline.Emit) error { return f(ctx, emit) }

const minutes = ends + "  steps: [{name: m, window: {tumbling: 1m, aggregate: {sum: sum(event.data.v), count: count()}}}, {name: big, filter: {expression: event.data.sum > 0}}]"

// TestHotChange wants a window to go on when a pipeline changes, by the step's name, and to
// begin anew when the window itself has changed.
func TestHotChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run(parse(t, minutes))
		w.emit("a", obj(1.0), obj(2.0))
		// A step before it, another after it, and another sink.
		changed := parse(t, ends+`
  steps:
  - {name: pos, filter: {expression: event.data.v > 0}}
  - {name: m, window: {tumbling: 1m, lateness: 1s, aggregate: {sum: sum(event.data.v), count: count()}}}
`)
		w.Apply([]*v1alpha1.Pipeline{changed})
		w.pass(time.Second)
		w.emit("b", obj(4.0), obj(-1.0))
		w.pass(2 * time.Minute)
		events := w.sink.Events()
		if len(events) != 1 || events[0].Data.(map[string]any)["sum"] != 7.0 {
			t.Fatalf("%+v", events)
		}
		w.emit("c", obj(8.0))
		w.Apply([]*v1alpha1.Pipeline{parse(t, strings.Replace(minutes, "1m", "2m", 1))})
		w.pass(time.Second)
		w.emit("d", obj(16.0))
		w.pass(5 * time.Minute)
		events = w.sink.Events()
		if len(events) != 2 || events[1].Data.(map[string]any)["sum"] != 16.0 {
			t.Fatalf("%+v", events[1:])
		}
		w.stop()
	})
}

// TestWhatIsGoneIsRemoved looks into the store and the queues.
func TestWhatIsGoneIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		other := parse(t, ends+"  steps: [{name: d, dedupe: {within: 1h}}]")
		other.Name = "other"
		both := strings.Replace(minutes, "sinks: [", "sinks: [{name: out2, file: {path: y}}, ", 1)
		w.run(parse(t, both))
		w.emit("a", obj(1.0))
		count := func() int {
			entries, _, err := w.store.Keys(t.Context(), meta.Local+"pipeline-state/")
			if err != nil {
				t.Fatal(err)
			}
			return len(entries)
		}
		if n := count(); n != 4 { // version, signature, key, ids
			t.Errorf("%d records", n)
		}
		if names := strings.Join(w.queues.Names(), ","); names != "plant/p out,plant/p out2" {
			t.Error(names)
		}
		w.Apply([]*v1alpha1.Pipeline{parse(t, filtered)})
		w.pass(time.Second)
		if names := strings.Join(w.queues.Names(), ","); names != "plant/p out" {
			t.Error(names)
		}
		if n := count(); n != 2 { // version, ids
			t.Errorf("%d records", n)
		}
		w.Apply([]*v1alpha1.Pipeline{other})
		w.pass(time.Second)
		if names := strings.Join(w.queues.Names(), ","); names != "plant/other out" {
			t.Error(names)
		}
		if n := count(); n != 2 { // version, signature
			t.Errorf("%d records", n)
		}
		w.Apply(nil)
		w.pass(time.Second)
		if n := count(); n != 0 || len(w.queues.Names()) != 0 {
			t.Errorf("%d records, %v", n, w.queues.Names())
		}
		w.stop()
	})
}

func TestTooManyPipelines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var all []*v1alpha1.Pipeline
		for i := range 66 {
			p := parse(t, ends)
			p.Name = fmt.Sprintf("p%02d", i)
			p.Spec.Sinks[0].File.Path = p.Name
			all = append(all, p)
		}
		w.run(all...)
		w.pass(time.Second)
		status := w.Status()
		if len(status) != 66 || status[63].State != pipeline.Running || status[64].State != pipeline.Failed || status[64].Failures[0].Reason != v1alpha1.ReasonTooMany {
			t.Errorf("%d %+v", len(status), status[63:])
		}
		w.stop()
	})
}

func TestSourceIsOpenedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run(parse(t, ends))
		w.source.Fail(errors.New("the broker is away"))
		synctest.Wait()
		changed := w.Changed()
		if s := w.only(); s.State != pipeline.Running || s.Failures[0].Step != "in" || s.Failures[0].Reason != v1alpha1.ReasonSourceFailed {
			t.Errorf("%+v", s)
		}
		w.emit("a", 1.0)
		if s := w.only(); w.sent() != "a0" || len(s.Failures) != 0 {
			t.Errorf("%s %+v", w.sent(), s)
		}
		select {
		case <-changed:
		default:
			t.Error("the change was not said")
		}
		w.stop()
	})
}

// failingStore fails writes while it is away.
type failingStore struct {
	meta.Store
	mu   sync.Mutex
	away error
}

func (s *failingStore) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = err
}

func (s *failingStore) Apply(ctx context.Context, ops ...meta.Op) (uint64, error) {
	s.mu.Lock()
	err := s.away
	s.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return s.Store.Apply(ctx, ops...)
}

func TestStoreIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := &failingStore{Store: w.store}
		w.store = store
		w.run(parse(t, filtered))
		store.fail(errors.New("no space left on device"))
		w.emit("a", obj(2.0))
		if s := w.only(); w.sent() != "" || w.source.Safe() != 0 || s.Failures[0].Reason != v1alpha1.ReasonStoreFailed {
			t.Errorf("%s %+v", w.sent(), s)
		}
		store.fail(nil)
		w.pass(2 * time.Minute)
		if s := w.only(); w.sent() != "a0" || w.source.Safe() != 1 || len(s.Failures) != 0 {
			t.Errorf("%s %+v", w.sent(), s)
		}
		store.fail(meta.ErrFailed) // for good: the pipeline is started anew, again and again
		w.emit("b", obj(2.0))
		w.pass(time.Minute)
		if s := w.only(); s.State != pipeline.Failed || s.Failures[0].Reason != v1alpha1.ReasonStoreFailed {
			t.Errorf("%+v", s)
		}
		store.fail(nil)
		w.pass(2 * time.Minute)
		if s := w.only(); w.sent() != "a0 b0" || s.State != pipeline.Running {
			t.Errorf("%s %+v", w.sent(), s)
		}
		w.stop()
	})
}

func TestTap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run(parse(t, filtered))
		ref := pipeline.Ref{Namespace: "plant", Name: "p"}
		for _, req := range []pipeline.TapRequest{{Ref: ref, Step: "nobody"}, {Ref: pipeline.Ref{Name: "p"}, Step: "in"}} {
			if err := w.Tap(t.Context(), req, nil); !errors.Is(err, pipeline.ErrNotFound) {
				t.Errorf("%+v: %v", req, err)
			}
		}
		var group sync.WaitGroup
		seen := make(map[string]string)
		var mu sync.Mutex
		for _, step := range []string{"in", "s", "out"} {
			group.Go(func() {
				n := 2
				if step == "in" {
					n = 3
				}
				err := w.Tap(t.Context(), pipeline.TapRequest{Ref: ref, Step: step, Events: n, Bytes: 20}, func(e pipeline.TapEvent) error {
					mu.Lock()
					defer mu.Unlock()
					seen[step] += e.Event.ID + " "
					if s, ok := e.Event.Data.(map[string]any)["w"].(string); ok && len(s) > 30 {
						t.Errorf("%d bytes", len(s))
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		w.emit("a", obj(1.0), obj(2.0), map[string]any{"v": 3.0, "w": strings.Repeat("x", 1000)})
		group.Wait()
		if seen["in"] != "a0 a1 a2 " || seen["s"] != "a1 a2 " || seen["out"] != "a1 a2 " {
			t.Errorf("%v", seen)
		}
		// At most so many a second.
		skipped := int64(0)
		group.Go(func() {
			w.Tap(t.Context(), pipeline.TapRequest{Ref: ref, Step: "in", Events: 4, PerSec: 3}, func(e pipeline.TapEvent) error {
				skipped += e.Skipped
				return nil
			})
		})
		synctest.Wait()
		w.emit("b", obj(1.0), obj(1.0), obj(1.0), obj(1.0), obj(1.0))
		w.emit("c", obj(1.0))
		group.Wait()
		if skipped != 2 {
			t.Errorf("%d were skipped", skipped)
		}
		w.stop()
	})
}

func TestTablesOfConfigMaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var mu sync.Mutex
		content := ""
		w.env.Table = func(_ context.Context, namespace, name, key string) (string, error) {
			mu.Lock()
			defer mu.Unlock()
			if content == "" || namespace != "plant" || name != "cm" || key != "k" {
				return "", errors.New("not found")
			}
			return content, nil
		}
		p := parse(t, ends+"  tables: [{name: t, key: d, configMapRef: {name: cm, key: k}}]\n  steps: [{name: s, enrich: {table: {name: t, key: event.data.v, as: row}}}]")
		w.run(p)
		w.pass(time.Second)
		if s := w.only(); s.State != pipeline.Failed || !strings.Contains(s.Failures[0].Message, "the ConfigMap cm with its key k is not there") {
			t.Errorf("%+v", s)
		}
		for i, c := range []string{"d,max\nx,80\n", `[{"d":"x","max":81}]`} {
			mu.Lock()
			content = c
			mu.Unlock()
			w.Apply([]*v1alpha1.Pipeline{p}) // the program calls Apply when a ConfigMap changes
			w.pass(time.Second)
			w.emit(fmt.Sprint(i), obj("x"))
			events := w.sink.Events()
			if row, _ := events[len(events)-1].Data.(map[string]any)["row"].(map[string]any); len(events) != i+1 || row["max"] != int64(80+i) {
				t.Errorf("%+v", events)
			}
		}
		w.stop()
	})
}
