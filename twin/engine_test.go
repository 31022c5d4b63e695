package twin_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run runs an engine on the store until the test ends.
func run(tb testing.TB, store meta.Store) *twin.Engine {
	tb.Helper()
	engine, _ := runUntil(tb, store)
	return engine
}

// runUntil also returns a func that ends it.
func runUntil(tb testing.TB, store meta.Store) (*twin.Engine, func()) {
	tb.Helper()
	engine, err := twin.New(twin.Config{Store: store})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(tb.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := engine.Run(ctx); err != nil {
			tb.Errorf("Run: %v", err)
		}
	}()
	stop := func() { cancel(); <-ended }
	tb.Cleanup(stop)
	<-engine.Ready()
	return engine, stop
}

func TestRestart(t *testing.T) {
	store := memstore.New()
	engine, stop := runUntil(t, store)
	ctx := t.Context()
	must(t, engine.Put(ctx, "plant/boiler", twin.Put{Properties: []twin.Declaration{{Name: "target", Type: "int", Desired: twin.Text("45")}}}))
	must(t, engine.SetState(ctx, "plant/boiler", "online"))
	if _, err := engine.Update(ctx, "plant/boiler", map[string]*twin.Patch{"a/b:c": {Actual: twin.Text("")}, "gone": {Actual: twin.Text("1")}}); err != nil {
		t.Fatal(err)
	}
	if _, err := engine.Update(ctx, "plant/boiler", map[string]*twin.Patch{"gone": nil}); err != nil {
		t.Fatal(err)
	}
	must(t, engine.Put(ctx, "plant/other", twin.Put{}))
	must(t, engine.Remove(ctx, "plant/other"))
	must(t, engine.Remove(ctx, "plant/other")) // twice is fine
	before := engine.Devices()
	stop()
	if err := engine.SetState(ctx, "plant/boiler", "offline"); !errors.Is(err, twin.ErrClosed) {
		t.Errorf("after Run: %v, want ErrClosed", err)
	}

	again := run(t, store)
	got := again.Devices()
	got[0].LastReport, before[0].LastReport = time.Time{}, time.Time{} // Run sets it anew
	if !reflect.DeepEqual(got, before) {
		t.Errorf("after a restart:\ngot  %+v\nwant %+v", got, before)
	}
}

func TestDamagedRecords(t *testing.T) {
	store := memstore.New()
	for _, key := range []string{"device/a/b", "twin/a/c/x", "twin/a", "device/a", "what/is/this"} {
		if _, err := store.Apply(t.Context(), meta.Op{Key: "local/twin/" + key, Value: []byte("{")}); err != nil {
			t.Fatal(err)
		}
	}
	engine := run(t, store)
	if got := engine.Devices(); len(got) != 0 {
		t.Errorf("devices of damaged records: %v", got)
	}
	must(t, engine.Put(t.Context(), "a/b", twin.Put{}))
}

// TestPipeline submits many requests at once; they are carried out in order,
// and in far fewer batches.
func TestPipeline(t *testing.T) {
	store := &counting{Store: memstore.New()}
	engine := run(t, store)
	must(t, engine.Put(t.Context(), "a/b", twin.Put{}))
	store.count.Store(0)
	const n = 500
	seen := make(chan string, n)
	stop := engine.Subscribe(func(c twin.Commit) { seen <- c.EventID })
	defer stop()
	for i := range n {
		must(t, engine.Submit(t.Context(), twin.Call{
			Device: "a/b", EventID: fmt.Sprint(i),
			Request: twin.Update{Twins: map[string]*twin.Patch{"n": {Actual: twin.Text(fmt.Sprint(i)), Type: "int"}}},
		}))
	}
	for i := range n {
		if got := <-seen; got != fmt.Sprint(i) {
			t.Fatalf("commit %d is of request %s", i, got)
		}
	}
	d, _ := engine.Device("a/b")
	if got := d.Twins["n"].Actual.Value; got != fmt.Sprint(n-1) {
		t.Errorf("last value is %s", got)
	}
}

// TestStoreFails: a change that cannot be stored is refused, and the twins stay as they
// were.
func TestStoreFails(t *testing.T) {
	store := &counting{Store: memstore.New()}
	engine := run(t, store)
	must(t, engine.Put(t.Context(), "a/b", twin.Put{}))
	store.fail.Store(true)
	err := engine.SetDesired(t.Context(), "a/b", map[string]string{"x": "1"})
	if !errors.Is(err, &twin.Error{Code: twin.CodeInternal}) {
		t.Errorf("got %v, want code 500", err)
	}
	if d, _ := engine.Device("a/b"); len(d.Twins) != 0 {
		t.Errorf("what was not stored is there: %v", d.Twins)
	}
	store.fail.Store(false)
	must(t, engine.SetDesired(t.Context(), "a/b", map[string]string{"x": "1"}))
}

// counting counts batches and fails on demand.
type counting struct {
	meta.Store
	count atomic.Int64
	fail  atomic.Bool
}

func (s *counting) Apply(ctx context.Context, ops ...meta.Op) (uint64, error) {
	s.count.Add(1)
	if s.fail.Load() {
		return 0, errors.New("disk full")
	}
	return s.Store.Apply(ctx, ops...)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add("device/a/b", `{"member":{"owner":"cloud"},"state":"online"}`)
	f.Add("twin/a/b/x/y", `{"expected":{"value":"1","time":2},"type":"int"}`)
	f.Add("twin//b", `{`)
	f.Add("device/a/b/c", `null`)
	f.Fuzz(func(t *testing.T, key, value string) {
		store := memstore.New()
		_, err := store.Apply(t.Context(),
			meta.Op{Key: "local/twin/device/a/b", Value: []byte(`{}`)},
			meta.Op{Key: "local/twin/" + key, Value: []byte(value)})
		if err != nil {
			t.Skip()
		}
		for _, d := range run(t, store).Devices() {
			if twin.CheckID(d.ID) != nil {
				t.Errorf("device %q", d.ID)
			}
		}
	})
}

// waiting is a store whose Apply waits until its context ends.
type waiting struct {
	meta.Store
	begun chan struct{}
}

func (w *waiting) Apply(ctx context.Context, ops ...meta.Op) (uint64, error) {
	if len(ops) == 0 {
		return w.Store.Apply(ctx)
	}
	close(w.begun)
	<-ctx.Done()
	return 0, context.Cause(ctx)
}

// TestEndDuringWrite ends the engine while the store is writing: that does not count as a
// failure of the store, and the caller gets ErrClosed.
func TestEndDuringWrite(t *testing.T) {
	store := &waiting{memstore.New(), make(chan struct{})}
	var log strings.Builder
	engine, err := twin.New(twin.Config{Store: store, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	notified := make(chan twin.Commit, 1)
	defer engine.Subscribe(func(c twin.Commit) { notified <- c })()
	ended, asked := make(chan error, 1), make(chan error, 1)
	go func() { ended <- engine.Run(ctx) }()
	go func() { asked <- engine.Put(t.Context(), "plant/boiler", twin.Put{}) }()
	<-store.begun
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	if err := <-asked; !errors.Is(err, twin.ErrClosed) {
		t.Errorf("Put: %v, want ErrClosed", err)
	}
	if log.Len() > 0 || len(notified) > 0 {
		t.Errorf("%d commits are notified, and the log has:\n%s", len(notified), &log)
	}
}
