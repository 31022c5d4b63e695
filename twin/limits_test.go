package twin_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
)

// countingStore counts the records that are written.
type countingStore struct {
	meta.Store
	written atomic.Int64
}

func (s *countingStore) Apply(ctx context.Context, ops ...meta.Op) (uint64, error) {
	s.written.Add(int64(len(ops)))
	return s.Store.Apply(ctx, ops...)
}

// TestUnchangedValues has a device report the same values each second for an hour: the
// timestamps move, and what is written is a hundredth.
func TestUnchangedValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &countingStore{Store: memstore.New()}
		engine, stop := runUntil(t, store)
		must(t, engine.Put(t.Context(), "plant/boiler", twin.Put{}))
		report := func(value string) {
			t.Helper()
			must(t, engine.SetState(t.Context(), "plant/boiler", "online"))
			if _, err := engine.Update(t.Context(), "plant/boiler", map[string]*twin.Patch{"a": {Actual: &value}, "b": {Actual: &value}}); err != nil {
				t.Fatal(err)
			}
		}
		report("1")
		before := store.written.Load()
		const seconds = 3600
		for range seconds {
			time.Sleep(time.Second)
			report("1")
		}
		if got := store.written.Load() - before; got > seconds/100+3 {
			t.Errorf("%d records were written for %d readings that changed nothing", got, seconds)
		}
		time.Sleep(time.Second)
		report("2")
		changed := store.written.Load()
		time.Sleep(time.Second)
		report("2")
		if got := store.written.Load(); got != changed {
			t.Errorf("%d records were written for equal values", got-changed)
		}
		want, _ := engine.Device("plant/boiler")
		stop() // writes the timestamps
		again := run(t, store)
		got, _ := again.Device("plant/boiler")
		if *got.Twins["a"].Actual != *want.Twins["a"].Actual || !got.LastOnline.Equal(want.LastOnline) {
			t.Errorf("after an orderly restart %+v, want %+v", got.Twins["a"].Actual, want.Twins["a"].Actual)
		}
	})
}

// TestSilentDevice has a driver die: its device becomes unknown, and its values stale.
func TestSilentDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, _ := runUntil(t, memstore.New())
		put := twin.Put{Member: twin.Member{ReportWithin: 30 * time.Second}, Properties: []twin.Declaration{
			{Name: "a", Rule: twin.Rule{StaleAfter: 10 * time.Second}}, {Name: "b", Type: "int", Rule: twin.Rule{Maximum: "5"}}}}
		must(t, engine.Put(t.Context(), "plant/boiler", put))
		must(t, engine.SetState(t.Context(), "plant/boiler", "online"))
		report := func(b string) {
			t.Helper()
			if _, err := engine.Update(t.Context(), "plant/boiler", map[string]*twin.Patch{"a": {Actual: twin.Text("1")}, "b": {Actual: &b}}); err != nil {
				t.Fatal(err)
			}
		}
		want := func(state string, a, b twin.Quality) {
			t.Helper()
			d, _ := engine.Device("plant/boiler")
			if qa, qb := d.Quality("a", time.Now()), d.Quality("b", time.Now()); d.State != state || qa != a || qb != b {
				t.Errorf("%s, a %s, b %s; want %s, %s, %s", d.State, qa, qb, state, a, b)
			}
		}
		report("5")
		want("online", twin.Good, twin.Good)
		report("6")
		want("online", twin.Good, twin.Bad)
		report("4")
		time.Sleep(11 * time.Second)
		want("online", twin.Stale, twin.Good)
		time.Sleep(30 * time.Second)
		want("unknown", twin.Stale, twin.Stale)
		if d, _ := engine.Device("plant/boiler"); time.Since(d.LastOnline) < 40*time.Second || time.Since(d.LastOnline) > 45*time.Second {
			t.Errorf("last online %v ago", time.Since(d.LastOnline))
		}
		report("3")
		want("online", twin.Good, twin.Good)
		if d, _ := engine.Device("plant/none"); d.Quality("a", time.Now()) != "" {
			t.Error("what does not exist has a quality")
		}
	})
}

// TestLimitsOfADevice has a client create twins, and values, without end.
func TestLimitsOfADevice(t *testing.T) {
	engine := run(t, memstore.New())
	must(t, engine.Put(t.Context(), "plant/boiler", twin.Put{Properties: []twin.Declaration{{Name: "declared"}}}))
	update := func(patches map[string]*twin.Patch) error {
		_, err := engine.Update(t.Context(), "plant/boiler", patches)
		return err
	}
	tooLarge := &twin.Error{Code: twin.CodeTooLarge}
	many := make(map[string]*twin.Patch)
	for i := range twin.MaxTwins - 1 {
		many[fmt.Sprint("p", i)] = &twin.Patch{Actual: twin.Text("x")}
	}
	must(t, update(many))
	if err := update(map[string]*twin.Patch{"one": {Actual: twin.Text("x")}}); !errors.Is(err, tooLarge) || !strings.Contains(err.Error(), "delete some") {
		t.Errorf("one more: %v", err)
	}
	must(t, update(map[string]*twin.Patch{"p7": nil})) // its record makes room
	must(t, update(map[string]*twin.Patch{"one": {Actual: twin.Text("x")}}))
	if d, _ := engine.Device("plant/boiler"); len(d.Twins) != twin.MaxTwins || d.Twins["p7"].Deleted {
		t.Errorf("%d twins, want %d without the deleted one", len(d.Twins), twin.MaxTwins)
	}
	large := make(map[string]*twin.Patch)
	for i := range twin.MaxBytes / twin.MaxValue {
		large[fmt.Sprint("p", 100+i)] = &twin.Patch{Actual: twin.Text(strings.Repeat("x", twin.MaxValue))}
	}
	if err := update(large); !errors.Is(err, tooLarge) || !strings.Contains(err.Error(), "limit is 1048576") {
		t.Errorf("too many bytes: %v", err)
	}
	delete(large, "p100")
	must(t, update(large))
	var wide []twin.Declaration
	for i := range twin.MaxTwins + 10 {
		wide = append(wide, twin.Declaration{Name: fmt.Sprint("w", i)})
	}
	must(t, engine.Put(t.Context(), "plant/boiler", twin.Put{Properties: wide})) // the owner has room
	must(t, update(map[string]*twin.Patch{"w1": {Actual: twin.Text("1")}}))
}
