package window_test

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline/internal/aggregate"
	"github.com/edgekit/edgekit/bus/pipeline/internal/window"
)

const second = int64(time.Second)

// result is a window.Result that can be compared.
type result struct {
	key        string
	start, end int64
	count      int64
	sum        float64
	first      string
}

type event struct {
	at int64 // by its own time
	v  float64
}

// world feeds a Set and gathers its results.
type world struct {
	set   *window.Set
	out   []result
	late  int
	store map[string][]byte
	spec  window.Spec
}

func newWorld(spec window.Spec) *world {
	spec.Aggregates = []aggregate.Kind{aggregate.Count, aggregate.Sum}
	if spec.MaxKeys == 0 {
		spec.MaxKeys = 100
	}
	w := &world{spec: spec, store: make(map[string][]byte)}
	w.open()
	return w
}

func (w *world) open() {
	w.set = window.New(w.spec, func(r window.Result) {
		w.out = append(w.out, result{r.Key, r.Start, r.End, r.Values[0].(int64), r.Values[1].(float64), r.First})
	})
}

// restart makes a new Set of what was stored, as after a kill.
func (w *world) restart(t *testing.T, now int64) {
	t.Helper()
	w.save()
	w.open()
	for _, key := range slices.Sorted(maps.Keys(w.store)) {
		if err := w.set.Restore(now, key, w.store[key]); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) save() {
	w.set.Changes(func(key string, state []byte) {
		if state == nil {
			delete(w.store, key)
		} else {
			w.store[key] = state
		}
	})
}

func (w *world) add(t *testing.T, now int64, key string, e event) {
	t.Helper()
	late, err := w.set.Add(now, key, window.Event{ID: fmt.Sprint(e.at), At: e.at, Values: []any{nil, e.v}})
	if err != nil {
		t.Fatal(err)
	}
	if late {
		w.late++
	}
}

func sorted(rs []result) []result {
	slices.SortFunc(rs, func(a, b result) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.start, b.start), cmp.Compare(a.end, b.end))
	})
	return rs
}

// TestModel compares windows over time with a computation over all events at once: events
// come out of order within the lateness, in many keys, and the Set is restarted at any point.
func TestModel(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 21))
		spec := window.Spec{Lateness: int64(r.IntN(20)) * second}
		session := seed%3 == 0
		if session {
			spec.Kind, spec.Gap, spec.Max = window.Session, int64(1+r.IntN(10))*second, math.MaxInt64/4
		} else {
			spec.Kind, spec.Every = window.Hopping, int64(1+r.IntN(10))*second
			spec.Size = spec.Every * int64(1+r.IntN(4))
			if r.IntN(4) == 0 {
				spec.Size = spec.Every/2 + 1 // windows with time between them
			}
		}
		w := newWorld(spec)
		events := make(map[string][]event)
		newest := make(map[string]int64)
		now := int64(r.IntN(1000)) * second
		for range 200 {
			key := string(rune('a' + r.IntN(4)))
			if _, ok := newest[key]; !ok {
				newest[key] = int64(r.IntN(100)-50) * second // also before 1970
			}
			// Never later than the lateness allows, by the key's own time.
			e := event{at: newest[key] - r.Int64N(spec.Lateness+1) + 1, v: float64(r.IntN(100))}
			if r.IntN(3) > 0 {
				e.at = newest[key] + r.Int64N(4*second)
			}
			newest[key] = max(newest[key], e.at)
			w.add(t, now, key, e)
			events[key] = append(events[key], e)
			if r.IntN(20) == 0 {
				w.restart(t, now)
			}
		}
		now += 10000 * second
		w.set.Advance(now)
		var want []result
		for key, es := range events {
			if session {
				want = append(want, sessions(key, es, spec)...)
			} else {
				want = append(want, hops(key, es, spec)...)
			}
		}
		if have := sorted(w.out); !reflect.DeepEqual(have, sorted(want)) {
			t.Fatalf("seed %d, %+v:\nhave %v\nwant %v", seed, spec, have, want)
		}
		if w.late > 0 {
			t.Fatalf("seed %d: %d late", seed, w.late)
		}
		w.save()
		if w.set.Keys() != 0 || len(w.store) != 0 {
			t.Fatalf("seed %d: %d keys and %d records are left", seed, w.set.Keys(), len(w.store))
		}
	}
}

// hops is the windows of all events of a key.
func hops(key string, events []event, spec window.Spec) []result {
	all := make(map[int64]*result)
	for _, e := range events {
		from := int64(math.Floor(float64(e.at-spec.Size)/float64(spec.Every))) * spec.Every
		for start := from - spec.Every; start <= e.at; start += spec.Every {
			if start <= e.at-spec.Size {
				continue
			}
			if all[start] == nil {
				all[start] = &result{key: key, start: start, end: start + spec.Size}
			}
			all[start].count++
			all[start].sum += e.v
		}
	}
	var out []result
	for _, r := range all {
		out = append(out, *r)
	}
	return out
}

// sessions is the sessions of all events of a key.
func sessions(key string, events []event, spec window.Spec) (out []result) {
	events = slices.Clone(events)
	slices.SortFunc(events, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	last := int64(0)
	for i, e := range events {
		if i == 0 || e.at-last >= spec.Gap {
			out = append(out, result{key: key, start: e.at})
		}
		r := &out[len(out)-1]
		r.count++
		r.sum += e.v
		last, r.end = e.at, e.at+spec.Gap
	}
	return out
}

func TestWindows(t *testing.T) {
	tumbling := window.Spec{Kind: window.Hopping, Size: 60 * second, Every: 60 * second, Lateness: 10 * second}
	for _, c := range []struct {
		name string
		spec window.Spec
		run  func(t *testing.T, w *world)
		want []result
		late int
	}{
		{"it ends by the clock though nothing comes", tumbling, func(t *testing.T, w *world) {
			w.add(t, 1000*second, "a", event{at: 5 * second, v: 1})
			w.set.Advance(1064 * second)
			if len(w.out) != 0 {
				t.Error("it ended too early")
			}
			if due, ok := w.set.Next(); !ok || due != 1065*second {
				t.Errorf("next %d %v", due/second, ok)
			}
			w.set.Advance(1065 * second)
		}, []result{{"a", 0, 60 * second, 1, 1, ""}}, 0},
		{"late events are counted and in no window", tumbling, func(t *testing.T, w *world) {
			w.add(t, 0, "a", event{at: 5 * second, v: 1})
			w.add(t, 0, "a", event{at: 69 * second, v: 2})
			w.add(t, 0, "a", event{at: 6 * second, v: 4}) // within the lateness
			w.add(t, 0, "a", event{at: 70 * second, v: 8})
			w.add(t, 0, "a", event{at: 7 * second, v: 16})
			w.set.Advance(1000 * second)
		}, []result{{"a", 0, 60 * second, 2, 5, ""}, {"a", 60 * second, 120 * second, 2, 10, ""}}, 1},
		{"an event of a window that the clock ended is late", tumbling, func(t *testing.T, w *world) {
			w.add(t, 0, "a", event{at: 5 * second, v: 1})
			w.set.Advance(100 * second)
			w.add(t, 100*second, "a", event{at: 6 * second, v: 2})
			w.add(t, 100*second, "a", event{at: 61 * second, v: 4})
			w.set.Advance(1000 * second)
		}, []result{{"a", 0, 60 * second, 1, 1, ""}, {"a", 60 * second, 120 * second, 1, 4, ""}}, 1},
		{"a backlog of one key is not late by another", tumbling, func(t *testing.T, w *world) {
			w.add(t, 0, "live", event{at: 100000 * second, v: 1})
			w.add(t, 0, "back", event{at: 5 * second, v: 2})
			w.add(t, 0, "back", event{at: 65 * second, v: 4})
			w.set.Advance(1000 * second)
		}, []result{{"back", 0, 60 * second, 1, 2, ""}, {"back", 60 * second, 120 * second, 1, 4, ""}, {"live", 99960 * second, 100020 * second, 1, 1, ""}}, 0},
		{"a session is not longer than its max", window.Spec{Kind: window.Session, Gap: 10 * second, Max: 20 * second}, func(t *testing.T, w *world) {
			for i := range int64(6) {
				w.add(t, i*8*second, "a", event{at: i * 8 * second, v: 1})
			}
			w.set.Advance(1000 * second)
		}, []result{{"a", 0, 26 * second, 3, 3, ""}, {"a", 24 * second, 50 * second, 3, 3, ""}}, 0},
		{"an event joins two sessions", window.Spec{Kind: window.Session, Gap: 10 * second, Max: 100 * second, Lateness: 100 * second}, func(t *testing.T, w *world) {
			w.add(t, 0, "a", event{at: 0, v: 1})
			w.add(t, 0, "a", event{at: 18 * second, v: 2})
			w.add(t, 0, "a", event{at: 9 * second, v: 4})
			w.set.Advance(1000 * second)
		}, []result{{"a", 0, 28 * second, 3, 7, ""}}, 0},
		{"count", window.Spec{Kind: window.Count, N: 2}, func(t *testing.T, w *world) {
			for i := range int64(5) {
				w.add(t, 0, "a", event{at: i, v: float64(i)})
			}
			w.restart(t, 0)
			w.add(t, 0, "a", event{at: 5, v: 5})
		}, []result{{"a", 0, 1, 2, 1, "0"}, {"a", 2, 3, 2, 5, "2"}, {"a", 4, 5, 2, 9, "4"}}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(c.spec)
			c.run(t, w)
			if have := sorted(w.out); !reflect.DeepEqual(have, c.want) || w.late != c.late {
				t.Errorf("have %v, %d late\nwant %v, %d", have, w.late, c.want, c.late)
			}
		})
	}
}

func TestState(t *testing.T) {
	w := newWorld(window.Spec{Kind: window.State, Max: 100 * second})
	add := func(now int64, start, end bool) {
		if _, err := w.set.Add(now, "a", window.Event{ID: fmt.Sprint(now), At: now, Values: []any{nil, 1.0}, Start: start, End: end}); err != nil {
			t.Fatal(err)
		}
	}
	add(1, false, false)
	add(2, false, true)
	if w.set.Keys() != 0 {
		t.Error("a key without a window is held")
	}
	add(3, true, false)
	add(4, true, false)
	w.restart(t, 4)
	add(5, false, true)
	add(6, true, true) // a window of one event
	add(7, true, false)
	w.set.Advance(7 + 100*second)
	want := []result{{"a", 3, 5, 3, 3, "3"}, {"a", 6, 6, 1, 1, "6"}, {"a", 7, 7, 1, 1, "7"}}
	if have := sorted(w.out); !reflect.DeepEqual(have, want) {
		t.Errorf("have %v, want %v", have, want)
	}
}

func TestBounds(t *testing.T) {
	add := func(w *world, key string, now, at int64) error {
		_, err := w.set.Add(now, key, window.Event{At: at, Values: []any{nil, 1.0}})
		return err
	}
	t.Run("keys", func(t *testing.T) {
		w := newWorld(window.Spec{Kind: window.Hopping, Size: second, Every: second, MaxKeys: 3})
		for _, key := range []string{"a", "b", "c"} {
			if err := add(w, key, 0, 0); err != nil {
				t.Fatal(err)
			}
		}
		if err := add(w, "d", 0, 0); !errors.Is(err, window.ErrKeys) {
			t.Error(err)
		}
		w.set.Advance(2 * second) // all windows end; a, b and c are remembered for a while
		if w.set.Keys() != 3 || len(w.out) != 3 {
			t.Errorf("%d keys, %v", w.set.Keys(), w.out)
		}
		if err := add(w, "d", 2*second, 2*second); err != nil {
			t.Error(err)
		}
		if w.set.Keys() != 3 {
			t.Errorf("%d keys", w.set.Keys())
		}
	})
	t.Run("idle keys make room, however many are at work", func(t *testing.T) {
		w := newWorld(window.Spec{Kind: window.Hopping, Size: second, Every: second, MaxKeys: 300})
		for i := range 200 { // their windows end
			w.add(t, 0, fmt.Sprint("idle", i), event{})
		}
		w.set.Advance(2 * second)
		w.restart(t, 2*second)
		for i := range 300 {
			w.add(t, 2*second, fmt.Sprint("busy", i), event{at: 2 * second})
		}
		if err := add(w, "one more", 2*second, 2*second); !errors.Is(err, window.ErrKeys) {
			t.Error(err)
		}
		w.set.Advance(4 * second)
		if w.set.Keys() != 300 || len(w.out) != 500 {
			t.Errorf("%d keys, %d windows", w.set.Keys(), len(w.out))
		}
	})
	t.Run("open windows", func(t *testing.T) {
		w := newWorld(window.Spec{Kind: window.Hopping, Size: second, Every: second, Lateness: 20000 * second, MaxKeys: 1000})
		var err error
		n := 0
		for ; err == nil && n < 5000; n++ {
			err = add(w, "a", 0, int64(n)*second)
		}
		if !errors.Is(err, window.ErrOpen) || n != window.MostOpen(0)+1 {
			t.Errorf("%d: %v", n, err)
		}
	})
	t.Run("the future", func(t *testing.T) {
		w := newWorld(window.Spec{Kind: window.Hopping, Size: second, Every: second})
		const day = 24 * 3600 * second
		if err := add(w, "a", 0, 0); err != nil {
			t.Fatal(err)
		}
		if err := add(w, "a", 0, 30*day); !errors.Is(err, window.ErrFuture) {
			t.Error(err)
		}
		// The first event of a key had a wrong time: the next ones count.
		if err := add(w, "b", 0, 30*day); err != nil {
			t.Error(err)
		}
		w.add(t, 0, "b", event{at: second})
		if w.late != 0 {
			t.Error("late")
		}
		w.set.Advance(3600 * second)
		if due, ok := w.set.Next(); ok && due > day {
			t.Errorf("a window of the wrong time is open for another %d days", due/day)
		}
		// A node whose clock is wrong takes events of devices whose clocks are right.
		for i := range int64(10) {
			w.add(t, i*second, "c", event{at: 10000*day + i*second})
		}
		if w.late != 0 {
			t.Error("late")
		}
	})
}

// FuzzRestore gives a Set state that nobody has written.
func FuzzRestore(f *testing.F) {
	spec := window.Spec{Kind: window.Hopping, Size: second, Every: second, MaxKeys: 10, Aggregates: []aggregate.Kind{
		aggregate.Count, aggregate.Sum, aggregate.Stddev, aggregate.First, aggregate.Collect,
	}}
	set := window.New(spec, func(window.Result) {})
	for i := range int64(3) {
		if _, err := set.Add(0, "a", window.Event{At: i * second / 2, Values: []any{nil, 1.0, 2.0, "x", []any{"y", nil}}}); err != nil {
			f.Fatal(err)
		}
	}
	set.Changes(func(_ string, state []byte) { f.Add(state) })
	f.Fuzz(func(t *testing.T, state []byte) {
		set := window.New(spec, func(window.Result) {})
		if set.Restore(0, "a", state) == nil {
			set.Advance(math.MaxInt64 / 2)
			set.Changes(func(string, []byte) {})
		}
	})
}
