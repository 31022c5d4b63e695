package twin_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/history"
)

func values(device string, pairs ...string) twin.Values {
	v := twin.Values{Device: device, Values: make(map[string]string)}
	for i := 0; i < len(pairs); i += 2 {
		v.Values[pairs[i]] = pairs[i+1]
	}
	return v
}

// TestReportDesireGet uses the engine with no MQTT.
func TestReportDesireGet(t *testing.T) {
	store := &counting{Store: memstore.New()}
	engine := run(t, store)
	ctx := t.Context()
	for _, id := range []string{"plant/a", "plant/b"} {
		must(t, engine.Put(ctx, id, twin.Put{Properties: []twin.Declaration{{Name: "x", Type: "int", Rule: twin.Rule{Maximum: "50"}}, {Name: "y", Rule: twin.Rule{ReadOnly: true}}}}))
	}
	must(t, engine.Report(ctx, values("plant/a", "x", "1", "y", "up"), values("plant/b", "x", "60")))
	must(t, engine.Desire(ctx, values("plant/a", "x", "40")))
	got, err := engine.Get("plant/a")
	must(t, err)
	if len(got) != 2 || got[0].Name != "x" || got[0].Twin.Actual.Value != "1" || got[0].Twin.Expected.Value != "40" || got[0].Quality != twin.Good || got[1].Device != "plant/a" {
		t.Errorf("got %+v", got)
	}
	if got, err := engine.Get("plant/b", "x"); err != nil || len(got) != 1 || got[0].Quality != twin.Bad {
		t.Errorf("got %+v %v", got, err)
	}
	for _, ask := range [][]string{{"plant/none"}, {"plant/a", "none"}} {
		if _, err := engine.Get(ask[0], ask[1:]...); !errors.Is(err, &twin.Error{Code: twin.CodeUnknown}) {
			t.Errorf("Get(%q): %v", ask, err)
		}
	}
	// Each device is stored whole or refused whole; the others are stored.
	err = engine.Report(ctx, values("plant/a", "x", "warm", "y", "down"), values("plant/none", "x", "1"), values("plant/b", "x", "3"))
	if !errors.Is(err, &twin.Error{Code: twin.CodeInvalid}) || !errors.Is(err, &twin.Error{Code: twin.CodeUnknown}) || !strings.Contains(err.Error(), "plant/a: twin: twin x: actual value") {
		t.Errorf("error %v", err)
	}
	a, _ := engine.Get("plant/a", "y")
	b, _ := engine.Get("plant/b", "x")
	if a[0].Twin.Actual.Value != "up" || b[0].Twin.Actual.Value != "3" {
		t.Errorf("y of a is %s, x of b is %s", a[0].Twin.Actual.Value, b[0].Twin.Actual.Value)
	}
	if err := engine.Desire(ctx, values("plant/a", "y", "up")); !errors.Is(err, &twin.Error{Code: twin.CodeForbidden}) {
		t.Errorf("a ReadOnly property is set: %v", err)
	}
}

// TestBatch reports many devices at once: in a few batches of the store.
func TestBatch(t *testing.T) {
	store := &counting{Store: memstore.New()}
	engine := run(t, store)
	var all []twin.Values
	for i := range 5000 { // more than the queue holds
		id := fmt.Sprint("plant/d", i%500)
		if i < 500 {
			must(t, engine.Put(t.Context(), id, twin.Put{}))
		}
		all = append(all, values(id, "x", fmt.Sprint(i)))
	}
	store.count.Store(0)
	must(t, engine.Report(t.Context(), all...))
	if d, _ := engine.Device("plant/d7"); d.Twins["x"].Actual.Value != "4507" {
		t.Errorf("last value is %s", d.Twins["x"].Actual.Value)
	}
	if n := store.count.Load(); n > 2500 {
		t.Errorf("%d batches", n)
	}
}

// TestWatch gets changes, deletions, states and membership in order.
func TestWatch(t *testing.T) {
	engine := run(t, memstore.New())
	ctx := t.Context()
	must(t, engine.Put(ctx, "plant/a", twin.Put{Properties: []twin.Declaration{{Name: "x", Type: "int"}}}))
	must(t, engine.Report(ctx, values("plant/a", "x", "1")))
	w, err := engine.Watch(twin.WatchOptions{Namespace: "plant", Current: true})
	must(t, err)
	defer w.Close()
	must(t, engine.Put(ctx, "other/b", twin.Put{}))
	must(t, engine.Report(ctx, values("plant/a", "x", "2", "z", "new")))
	must(t, engine.SetState(ctx, "plant/a", "online"))
	_, err = engine.Update(ctx, "plant/a", map[string]*twin.Patch{"z": nil})
	must(t, err)
	must(t, engine.Report(ctx, values("plant/a", "x", "2")))
	must(t, engine.Put(ctx, "plant/a", twin.Put{Member: twin.Member{Incarnation: "2"}}))
	must(t, engine.Remove(ctx, "plant/a"))
	want := []string{
		"plant/a/ state ", "plant/a/x 1", "plant/a/x 2", "plant/a/z new", "plant/a/ state online", "plant/a/z deleted", "plant/a/x 2",
		"plant/a/ gone", "plant/a/ state ", "plant/a/ gone",
	}
	var got []string
	for range want {
		c, err := w.Next(ctx)
		must(t, err)
		line := fmt.Sprintf("%s/%s", c.Property.Device, c.Property.Name)
		switch {
		case c.Gone:
			line += " gone"
		case c.Property.Name == "":
			line += " state " + c.State
		case c.Property.Twin.Deleted:
			line += " deleted"
		default:
			line += " " + c.Property.Twin.Actual.Value
		}
		got = append(got, line)
	}
	if got := strings.Join(got, "; "); got != strings.Join(want, "; ") {
		t.Errorf("got  %s\nwant %s", got, strings.Join(want, "; "))
	}
}

// TestWatchEnds ends a watch by Close, by its context and by the engine.
func TestWatchEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, stop := runUntil(t, memstore.New())
		for name, end := range map[string]func(*twin.Watcher){
			"close":  func(w *twin.Watcher) { w.Close(); w.Close() },
			"engine": func(*twin.Watcher) { stop() },
		} {
			w, err := engine.Watch(twin.WatchOptions{})
			must(t, err)
			ended := make(chan error, 1)
			go func() { _, err := w.Next(t.Context()); ended <- err }()
			synctest.Wait()
			if name == "close" {
				end(w)
				if err := <-ended; !errors.Is(err, twin.ErrClosed) {
					t.Errorf("%s: %v", name, err)
				}
				continue
			}
			defer func() {
				end(w)
				if err := <-ended; !errors.Is(err, twin.ErrClosed) {
					t.Errorf("%s: %v", name, err)
				}
			}()
		}
		if _, err := engine.Watch(twin.WatchOptions{Every: -1}); !errors.Is(err, &twin.Error{Code: twin.CodeInvalid}) {
			t.Errorf("negative: %v", err)
		}
	})
}

// TestSlowWatcher gets the newest value of each property and the count of the others.
func TestSlowWatcher(t *testing.T) {
	engine := run(t, memstore.New())
	ctx := t.Context()
	must(t, engine.Put(ctx, "plant/a", twin.Put{}))
	w, err := engine.Watch(twin.WatchOptions{Devices: []string{"plant/a"}, Properties: []string{"x", "y"}, Length: 10})
	must(t, err)
	defer w.Close()
	const n = 1000
	for i := range n {
		must(t, engine.Report(ctx, values("plant/a", "x", fmt.Sprint(i), "hidden", fmt.Sprint(i))))
		if i == 5 {
			must(t, engine.Report(ctx, values("plant/a", "y", "only")))
		}
	}
	seen, last, y := 0, "", ""
	for last != fmt.Sprint(n-1) {
		c, err := w.Next(ctx)
		must(t, err)
		switch seen += 1 + c.Missed; c.Property.Name {
		case "x":
			last = c.Property.Twin.Actual.Value
		case "y":
			y = c.Property.Twin.Actual.Value
		default:
			t.Errorf("got %+v", c)
		}
	}
	if seen != n+1 || y != "only" {
		t.Errorf("%d given or counted, want %d; y is %q", seen, n+1, y)
	}
}

// TestSampledWatch gets each property once a sample.
func TestSampledWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, _ := runUntil(t, memstore.New())
		ctx := t.Context()
		must(t, engine.Put(ctx, "plant/a", twin.Put{}))
		w, err := engine.Watch(twin.WatchOptions{Properties: []string{"x"}, Every: 10 * time.Second})
		must(t, err)
		defer w.Close()
		begin := time.Now()
		go func() {
			for i := range 31 {
				_ = engine.Report(ctx, values("plant/a", "x", fmt.Sprint(i)))
				time.Sleep(time.Second)
			}
		}()
		for i := 1; i <= 3; i++ {
			c, err := w.Next(ctx)
			must(t, err)
			at := time.Since(begin)
			if at < time.Duration(i)*10*time.Second || at > time.Duration(i)*10*time.Second+time.Second || c.Missed < 8 {
				t.Errorf("sample %d after %v: %+v", i, at, c)
			}
		}
		time.Sleep(time.Minute)
	})
}

// TestHeartbeat repeats what does not change, and leaves out equal reports.
func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, _ := runUntil(t, memstore.New())
		ctx := t.Context()
		must(t, engine.Put(ctx, "plant/a", twin.Put{}))
		must(t, engine.Report(ctx, values("plant/a", "x", "1")))
		w, err := engine.Watch(twin.WatchOptions{Properties: []string{"x"}, Heartbeat: time.Minute, SuppressEqual: true})
		must(t, err)
		defer w.Close()
		begin := time.Now()
		go func() {
			for i := range 150 { // once a second, changed after 90 s
				_ = engine.Report(ctx, values("plant/a", "x", fmt.Sprint(1+i/90)))
				time.Sleep(time.Second)
			}
		}()
		for i, want := range []struct {
			at       int
			repeated bool
			value    string
		}{{60, true, "1"}, {90, false, "2"}, {150, true, "2"}, {210, true, "2"}} {
			c, err := w.Next(ctx)
			must(t, err)
			if at := int(time.Since(begin).Seconds()); at != want.at || c.Repeated != want.repeated || c.Property.Twin.Actual.Value != want.value {
				t.Errorf("%d: after %d s %+v, want %+v", i, at, c, want)
			}
		}
	})
}

// TestHistory keeps past values over restarts and forgets those of other devices.
func TestHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		engine, stop := runUntil(t, store)
		ctx := t.Context()
		put := func(incarnation string, limit history.Limit) {
			t.Helper()
			must(t, engine.Put(ctx, "plant/a", twin.Put{Member: twin.Member{Incarnation: incarnation}, Properties: []twin.Declaration{
				{Name: "x", Type: "int", Rule: twin.Rule{History: limit, Maximum: "8"}}, {Name: "plain"}, {Name: "always", Rule: twin.Rule{History: limit, ReportAlways: true}},
			}}))
		}
		past := func(property string) (all []string) {
			t.Helper()
			page, err := engine.History(ctx, history.Query{Device: "plant/a", Property: property})
			must(t, err)
			for _, e := range page.Entries {
				all = append(all, e.Value+e.Fault)
			}
			return all
		}
		limit := history.Limit{Values: 5}
		put("1", limit)
		for i := range 10 {
			must(t, engine.Report(ctx, values("plant/a", "x", fmt.Sprint(i), "plain", fmt.Sprint(i), "always", "1")))
			must(t, engine.Report(ctx, values("plant/a", "x", fmt.Sprint(i)))) // unchanged
			time.Sleep(time.Second)
		}
		want := "[5 6 7 8 9value \"9\" is above the model's maximum 8]"
		if got := fmt.Sprint(past("x")); got != want {
			t.Errorf("history is %s, want %s", got, want)
		}
		if got := past("plain"); got != nil {
			t.Errorf("a property without history has %v", got)
		}
		if got := fmt.Sprint(past("always")); got != "[1 1 1 1 1]" {
			t.Errorf("always has %v", got)
		}
		stop()
		engine, stop = runUntil(t, store)
		if got := fmt.Sprint(past("x")); got != want {
			t.Errorf("after a restart %s, want %s", got, want)
		}
		put("1", history.Limit{})
		if got := past("x"); got != nil {
			t.Errorf("turned off, it has %v", got)
		}
		put("1", limit)
		must(t, engine.Report(ctx, values("plant/a", "x", "1")))
		put("2", limit)
		if got := past("x"); got != nil {
			t.Errorf("another device has %v", got)
		}
		must(t, engine.Report(ctx, values("plant/a", "x", "1")))
		must(t, engine.Remove(ctx, "plant/a"))
		if _, err := engine.History(ctx, history.Query{Device: "plant/a", Property: "x"}); !errors.Is(err, &twin.Error{Code: twin.CodeUnknown}) {
			t.Errorf("of a removed device: %v", err)
		}
		stop()
		records, _, err := store.Keys(ctx, "local/twin/history/")
		if err != nil || len(records) != 0 {
			t.Errorf("left: %v %v", records, err)
		}
	})
}

func TestHistoryConfig(t *testing.T) {
	for want, cfg := range map[string]twin.Config{"HistoryBytes": {HistoryBytes: 3}, "HistoryEvery": {HistoryEvery: -1}} {
		cfg.Store = memstore.New()
		if _, err := twin.New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	engine, err := twin.New(twin.Config{Store: memstore.New(), HistoryBytes: -1})
	if err != nil || engine == nil {
		t.Errorf("turned off: %v", err)
	}
}
