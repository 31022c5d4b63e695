package twin_test

import (
	"testing"
	"time"

	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
)

// TestSourceTime has mappers say when a value was read: what is kept of it, and how old the
// value then is.
func TestSourceTime(t *testing.T) {
	now := time.Date(2026, 11, 30, 22, 0, 0, 0, time.UTC)
	at := now.UnixMilli()
	for _, tt := range []struct {
		name string
		said int64
		want int64
		late time.Duration // the value is good so long after it was stored, and then stale
	}{
		{"none", 0, 0, 10 * time.Second},
		{"when it was stored", at, at, 10 * time.Second},
		{"before", at - 4000, at - 4000, 6 * time.Second},
		{"long before", at - 60_000, at - 60_000, -50 * time.Second},
		{"a clock that is ahead", at + twin.MaxSkew.Milliseconds(), at, 10 * time.Second},
		{"a clock that is too far ahead", at + twin.MaxSkew.Milliseconds() + 1, 0, 10 * time.Second},
		{"a clock without a battery", 1000, 0, 10 * time.Second},
		{"seconds", now.Unix(), 0, 10 * time.Second},
		{"nanoseconds", now.UnixNano(), 0, 10 * time.Second},
		{"the greatest number", 1<<63 - 1, 0, 10 * time.Second},
		{"the least number", -1 << 63, 0, 10 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, _ := twin.Step(twin.Device{}, twin.Event{Device: "plant/boiler", Time: now, Request: twin.Put{
				Properties: []twin.Declaration{{Name: "temperature", Type: "int", Rule: twin.Rule{StaleAfter: 10 * time.Second}}},
			}})
			report := func(value string, at time.Time, said int64) []twin.Effect {
				next, effects := twin.Step(d, twin.Event{Device: d.ID, Time: at, Request: twin.Update{Twins: map[string]*twin.Patch{
					"temperature": {Actual: &value, Measured: said},
				}}})
				d = next
				return effects
			}
			report("21", now, tt.said)
			got := *d.Twins["temperature"].Actual
			if got.Measured != tt.want || got.Time != at {
				t.Errorf("the time is %d, measured %d; want %d, %d", got.Time, got.Measured, at, tt.want)
			}
			if q := d.Quality("temperature", now.Add(tt.late)); q != twin.Good {
				t.Errorf("after %v it is %q, want good", tt.late, q)
			}
			if q := d.Quality("temperature", now.Add(tt.late+time.Millisecond)); q != twin.Stale {
				t.Errorf("after more than %v it is %q, want stale", tt.late, q)
			}
			// The same value, read again, changes in its times only.
			for _, effect := range report("21", now.Add(time.Second), at+1000) {
				if _, ok := effect.(twin.Document); ok {
					t.Error("a value that was read again is a change")
				}
			}
			if got := d.Twins["temperature"].Actual.Measured; got != at+1000 {
				t.Errorf("read again, it was measured at %d, want %d", got, at+1000)
			}
		})
	}
}

// TestSourceTimeKept has the time of a measurement still be there after a restart, and after a
// change of the model.
func TestSourceTimeKept(t *testing.T) {
	store := memstore.New()
	engine, stop := runUntil(t, store)
	at := time.Now().Add(-time.Minute).UnixMilli()
	must(t, engine.Put(t.Context(), "plant/boiler", twin.Put{}))
	_, err := engine.Update(t.Context(), "plant/boiler", map[string]*twin.Patch{"temperature": {Actual: twin.Text("21"), Type: "int", Measured: at}})
	must(t, err)
	stop()
	engine = run(t, store)
	put := twin.Put{Properties: []twin.Declaration{{Name: "temperature", Type: "int", Rule: twin.Rule{Minimum: "0"}}}}
	for range 2 {
		d, ok := engine.Device("plant/boiler")
		if !ok || d.Twins["temperature"].Actual.Measured != at {
			t.Fatalf("the twin is %+v, want measured %d", d.Twins["temperature"].Actual, at)
		}
		must(t, engine.Put(t.Context(), "plant/boiler", put))
	}
}
