package history

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
)

// open makes a Log on a store, all of whose properties have the limit.
func open(t *testing.T, store meta.Store, cfg Config, limit Limit) *Log {
	t.Helper()
	cfg.Store = store
	l, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Load(t.Context(), func(string, string) Limit { return limit }); err != nil {
		t.Fatal(err)
	}
	return l
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// values asks for everything, in pages.
func values(t *testing.T, l *Log, q Query) []Entry {
	t.Helper()
	var all []Entry
	for {
		page, err := l.Query(t.Context(), q)
		must(t, err)
		all = append(all, page.Entries...)
		if page.Next == 0 {
			return all
		}
		q.After = page.Next
	}
}

// TestAgainstModel appends at random, with flushes, restarts and queries, and compares with a
// plain list.
func TestAgainstModel(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		store := memstore.New()
		now := time.UnixMilli(1_000_000)
		limit := []Limit{{Values: 1 + rnd.IntN(200)}, {Duration: time.Duration(1+rnd.IntN(500)) * time.Second}, {Values: 100, Duration: time.Minute}}[rnd.IntN(3)]
		cfg := Config{Now: func() time.Time { return now }}
		l := open(t, store, cfg, limit)
		var model []Entry
		want := func() []Entry {
			kept := model
			if limit.Values > 0 {
				kept = kept[max(0, len(kept)-limit.Values):]
			}
			for limit.Duration > 0 && len(kept) > 0 && kept[0].Time < now.Add(-limit.Duration).UnixMilli() {
				kept = kept[1:]
			}
			return kept
		}
		for step := range 2000 {
			now = now.Add(time.Duration(rnd.IntN(1500)) * time.Millisecond)
			e := Entry{Time: now.UnixMilli(), Value: strings.Repeat("v", rnd.IntN(30)) + fmt.Sprint(step)}
			l.Append("plant/boiler", "a/b", limit, e)
			e.Seq = uint64(step + 1)
			model = append(model, e)
			switch rnd.IntN(40) {
			case 0, 1:
				must(t, l.Flush(t.Context()))
			case 2: // an orderly restart
				must(t, l.Flush(t.Context()))
				l = open(t, store, cfg, limit)
			case 3:
				got := values(t, l, Query{Device: "plant/boiler", Property: "a/b", Limit: 1 + rnd.IntN(50)})
				if w := want(); len(got)+len(w) > 0 && !reflect.DeepEqual(got, w) {
					t.Fatalf("seed %d, step %d: %d entries, want %d of %+v", seed, step, len(got), len(w), limit)
				}
			}
		}
		must(t, l.Flush(t.Context()))
		kept, _, err := store.Keys(t.Context(), area)
		must(t, err)
		if most := len(want())/10 + 20; len(kept) > most {
			t.Errorf("seed %d: %d chunks for %d values", seed, len(kept), len(want()))
		}
	}
}

// TestPowerCut loses what was appended since the last Flush, and nothing else.
func TestPowerCut(t *testing.T) {
	store, limit := memstore.New(), Limit{Values: 1000}
	l := open(t, store, Config{}, limit)
	for i := range 300 {
		if i%50 == 0 {
			must(t, l.Flush(t.Context()))
		}
		l.Append("a/b", "p", limit, Entry{Time: int64(i), Value: "x"})
	}
	got := values(t, open(t, store, Config{}, limit), Query{Device: "a/b", Property: "p"})
	if len(got) != 250 || got[0].Seq != 1 || got[249].Time != 249 {
		t.Errorf("%d entries after a power cut", len(got))
	}
}

// TestRange asks by time and limit.
func TestRange(t *testing.T) {
	limit := Limit{Values: 1000}
	l := open(t, memstore.New(), Config{}, limit)
	for i := range 100 {
		l.Append("a/b", "p", limit, Entry{Time: int64(i * 1000), Value: fmt.Sprint(i), Fault: "too hot"})
		if i%7 == 0 {
			must(t, l.Flush(t.Context()))
		}
	}
	at := func(second int64) time.Time { return time.UnixMilli(second * 1000) }
	got := values(t, l, Query{Device: "a/b", Property: "p", From: at(10), To: at(19), Limit: 3})
	if len(got) != 10 || got[0].Value != "10" || got[9].Value != "19" || got[3].Fault != "too hot" {
		t.Errorf("got %+v", got)
	}
	if got := values(t, l, Query{Device: "a/b", Property: "none"}); got != nil {
		t.Errorf("of nothing: %+v", got)
	}
	for _, bad := range []int{-1, MaxValues + 1} {
		if _, err := l.Query(t.Context(), Query{Limit: bad}); err == nil || !strings.Contains(err.Error(), "limit is") {
			t.Errorf("limit %d: %v", bad, err)
		}
	}
}

// TestTotal keeps the newest of all properties within MaxBytes, and the disk too.
func TestTotal(t *testing.T) {
	store, limit := memstore.New(), Limit{Duration: 1000 * time.Hour}
	l := open(t, store, Config{MaxBytes: 128 << 10}, limit)
	now := time.Now().UnixMilli()
	for i := range 20_000 {
		if l.Append("a/b", fmt.Sprint("p", i%10), limit, Entry{Time: now + int64(i), Value: fmt.Sprintf("%020d", i)}) {
			must(t, l.Flush(t.Context()))
		}
	}
	must(t, l.Flush(t.Context()))
	if l.Bytes() > 128<<10 || l.Bytes() < 64<<10 || l.Lost() != 0 {
		t.Errorf("%d bytes, %d lost", l.Bytes(), l.Lost())
	}
	records, _, err := store.List(t.Context(), area)
	must(t, err)
	size := 0
	for _, r := range records {
		size += len(r.Value)
	}
	if int64(size) != l.Bytes() {
		t.Errorf("the store has %d bytes, the log counts %d", size, l.Bytes())
	}
	got := values(t, l, Query{Device: "a/b", Property: "p9"})
	if len(got) == 0 || got[len(got)-1].Time != now+19_999 {
		t.Errorf("the newest is missing in %d entries", len(got))
	}
	again := open(t, store, Config{MaxBytes: 128 << 10}, limit)
	if again.Bytes() != l.Bytes() {
		t.Errorf("after a restart %d bytes, want %d", again.Bytes(), l.Bytes())
	}
}

// TestRemoved removes devices and properties, also those that were removed while the program
// did not run.
func TestRemoved(t *testing.T) {
	store, limit := memstore.New(), Limit{Values: 10}
	l := open(t, store, Config{}, limit)
	fill := func() {
		for _, p := range []string{"p", "q"} {
			l.Append("a/b", p, limit, Entry{Value: "1"})
		}
		l.Append("a/c", "p", limit, Entry{Value: "1"})
		must(t, l.Flush(t.Context()))
	}
	left := func() int {
		t.Helper()
		keys, _, err := store.Keys(t.Context(), area)
		must(t, err)
		return len(keys)
	}
	fill()
	l.RemoveDevice("a/b")
	l.Append("a/b", "p", limit, Entry{Value: "2"}) // it is back
	must(t, l.Flush(t.Context()))
	if got := values(t, l, Query{Device: "a/b", Property: "p"}); len(got) != 1 || got[0].Value != "2" || left() != 2 {
		t.Errorf("%+v, %d chunks", got, left())
	}
	l.Keep("a/c", "p", Limit{})
	must(t, l.Flush(t.Context()))
	if left() != 1 {
		t.Errorf("%d chunks, want 1", left())
	}
	fill()
	must(t, open(t, store, Config{}, Limit{}).Flush(t.Context()))
	if left() != 0 {
		t.Errorf("%d chunks of removed devices", left())
	}
}

// TestDamage has chunks that cannot be read: a line in the log, an empty history, and then it
// works again.
func TestDamage(t *testing.T) {
	for name, damage := range map[string]func([]byte) meta.Op{
		"bytes":     func(v []byte) meta.Op { return meta.Op{Value: append(v[:len(v)-1:len(v)-1], v[len(v)-1]^1)} },
		"truncated": func(v []byte) meta.Op { return meta.Op{Value: v[:len(v)/2]} },
		"empty":     func([]byte) meta.Op { return meta.Op{} },
		"gone":      func([]byte) meta.Op { return meta.Op{Delete: true} },
	} {
		t.Run(name, func(t *testing.T) {
			store, limit := memstore.New(), Limit{Values: 100}
			var lines strings.Builder
			l := open(t, store, Config{Logger: slog.New(slog.NewTextHandler(&lines, nil))}, limit)
			l.Append("a/b", "p", limit, Entry{Value: "value", Fault: "fault"})
			l.Append("a/b", "q", limit, Entry{Value: "good"})
			must(t, l.Flush(t.Context()))
			records, _, err := store.List(t.Context(), area+"a/b/p/")
			must(t, err)
			op := damage(records[0].Value)
			op.Key = records[0].Key
			if _, err := store.Apply(t.Context(), op); err != nil {
				t.Fatal(err)
			}
			if got := values(t, l, Query{Device: "a/b", Property: "p"}); got != nil {
				t.Errorf("got %+v", got)
			}
			if got := values(t, l, Query{Device: "a/b", Property: "q"}); len(got) != 1 {
				t.Errorf("the other property has %+v", got)
			}
			if !strings.Contains(lines.String(), "begins anew") || !strings.Contains(lines.String(), "property=p") {
				t.Errorf("log: %s", lines.String())
			}
			l.Append("a/b", "p", limit, Entry{Value: "new"})
			must(t, l.Flush(t.Context()))
			if got := values(t, open(t, store, Config{}, limit), Query{Device: "a/b", Property: "p"}); len(got) != 1 || got[0].Value != "new" {
				t.Errorf("after the damage %+v", got)
			}
		})
	}
	store := memstore.New()
	for _, key := range []string{"", "a", "a/b/p/0", "a/b/p/" + strings.Repeat("0", keyDigits), "a/b/" + strings.Repeat("z", keyDigits)} {
		if _, err := store.Apply(t.Context(), meta.Op{Key: area + key, Value: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	l := open(t, store, Config{}, Limit{Values: 1})
	must(t, l.Flush(t.Context()))
	if keys, _, _ := store.Keys(t.Context(), area); len(keys) != 0 {
		t.Errorf("left: %v", keys)
	}
}

// brokenStore refuses every write.
type brokenStore struct{ meta.Store }

func (brokenStore) Apply(context.Context, ...meta.Op) (uint64, error) {
	return 0, errors.New("no space left")
}

// TestStoreFails holds what waits within its bound, counts what is lost, and writes the rest
// when the store works again.
func TestStoreFails(t *testing.T) {
	limit := Limit{Duration: 1000 * time.Hour}
	l := open(t, brokenStore{memstore.New()}, Config{}, limit)
	now := time.Now().UnixMilli()
	const n = 100
	for i := range n {
		l.Append("a/b", "p", limit, Entry{Time: now, Value: strings.Repeat("x", 60<<10) + fmt.Sprint(i)})
		if err := l.Flush(t.Context()); err == nil {
			t.Fatal("the broken store took it")
		}
	}
	if l.waiting > waitingBytes || l.Lost() < n/2 {
		t.Errorf("%d bytes wait, %d are lost", l.waiting, l.Lost())
	}
	l.cfg.Store = memstore.New()
	must(t, l.Flush(t.Context()))
	got := values(t, l, Query{Device: "a/b", Property: "p"})
	if int64(len(got))+l.Lost() != n || !strings.HasSuffix(got[len(got)-1].Value, fmt.Sprint("x", n-1)) {
		t.Errorf("%d kept, %d lost", len(got), l.Lost())
	}
}

func TestNew(t *testing.T) {
	for want, cfg := range map[string]Config{"Store": {}, "MaxBytes": {Store: memstore.New(), MaxBytes: 5}} {
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	c, raw := encode([]Entry{{Seq: 1, Time: 5, Value: "a"}, {Seq: 2, Time: 3, Fault: "b"}})
	f.Add(raw[1:len(raw)-sumBytes], c.count)
	f.Add([]byte{0xff}, 3)
	f.Fuzz(func(t *testing.T, raw []byte, count int) {
		if count <= 0 || count > maxCount {
			return
		}
		c := chunk{seq: 1, newest: maxTime, count: min(count, len(raw)/3), bytes: len(raw)}
		_, _ = decode(c, raw)
		entries, err := decodeEntries(c, raw) // as if the sum were right
		if err != nil || len(entries) == 0 {
			return
		}
		again, out := encode(entries)
		if back, err := decode(again, out); err != nil || !reflect.DeepEqual(back, entries) {
			t.Errorf("%v: %+v", err, entries)
		}
	})
}

func FuzzParseKey(f *testing.F) {
	f.Add(series{"a/b", "p/q"}.key(chunk{seq: 1, oldest: 2, newest: 3, count: 4, bytes: 5}))
	f.Add(area + "a/b/")
	f.Fuzz(func(t *testing.T, key string) {
		if s, c, err := parseKey(key); err == nil && !strings.EqualFold(s.key(c), key) {
			t.Errorf("%q was read as %+v %+v", key, s, c)
		}
	})
}
