package queue

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
)

// TestEventsComeBack stores events in each way to pack them, and takes the same after a
// restart.
func TestEventsComeBack(t *testing.T) {
	for _, kind := range []string{"", "none", "zstd", "gzip"} {
		store := memstore.New()
		list := events(0, 250)
		list[0].Time, list[0].Extensions, list[0].Data = time.Time{}, nil, nil
		list[1].Data = []byte{0, 1, 255}
		list[2].Data = uint64(1) << 63
		one := openQueue(t, newQueues(t, store, nil), sinkSpec(packedAs(kind)))
		appendAll(t, one, list...)
		if err := one.Close(); err != nil {
			t.Fatal(err)
		}
		one = openQueue(t, newQueues(t, store, nil), sinkSpec())
		if s := one.Stats(); s.Events != 250 || s.Oldest.IsZero() || s.Bytes < 1000 {
			t.Errorf("%q: %+v", kind, s)
		}
		var got []pipeline.Event
		for range 3 {
			b, err := one.Take(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, b.Events...)
			if err := one.Remove(t.Context(), b); err != nil {
				t.Fatal(err)
			}
		}
		for i := range got {
			got[i].Resend = false
		}
		if !reflect.DeepEqual(got, list) {
			t.Errorf("%q: %v", kind, got)
		}
		empty(t, one)
		if left, _, _ := store.Keys(t.Context(), one.prefix+"d/"); len(left) > 0 {
			t.Errorf("%q: %d records are left", kind, len(left))
		}
	}
}

// TestTakeAgain gives the same batch until it is removed, and a part of a record after that of
// the one before.
func TestTakeAgain(t *testing.T) {
	store := memstore.New()
	one := openQueue(t, newQueues(t, store, nil), sinkSpec(batchOf(3)))
	appendAll(t, one, events(0, 8)...)
	for _, expect := range []string{"[0 1 2]", "[0+ 1+ 2+]", "[0+ 1+ 2+]"} {
		b, err := one.Take(t.Context())
		if err != nil || fmt.Sprint(idsOf(b)) != expect {
			t.Fatalf("%v, %v, want %s", idsOf(b), err, expect)
		}
	}
	want(t, take(t, one), "0+", "1+", "2+")
	if s := one.Stats(); s.Events != 5 {
		t.Errorf("%+v", s)
	}
	b, _ := one.Take(t.Context())
	if err := one.Remove(t.Context(), pipeline.Batch{Events: b.Events}); err == nil {
		t.Error("a batch that was not taken is removed")
	}
	one.Close()
	one = openQueue(t, newQueues(t, store, nil), sinkSpec(batchOf(3)))
	want(t, take(t, one), "3+", "4+", "5+")
	want(t, take(t, one), "6+", "7+")
	empty(t, one)
}

// TestLiveBeforeBacklog sends live batches for each of the backlog after an outage, in the
// stated share, and all of the backlog when nothing is live.
func TestLiveBeforeBacklog(t *testing.T) {
	one := openQueue(t, newQueues(t, memstore.New(), nil), sinkSpec(batchOf(1), func(s *v1alpha1.Sink) { s.Queue.Live = 2 }))
	appendAll(t, one, events(0, 5)...)
	if _, err := one.Take(t.Context()); err != nil {
		t.Fatal(err)
	}
	want(t, take(t, one), "0+") // the outage is over
	appendAll(t, one, events(10, 15)...)
	var got []string
	for range 9 {
		got = append(got, take(t, one)...)
	}
	want(t, got, "10", "11", "1+", "12", "13", "2+", "14", "3+", "4+")
	empty(t, one)
	appendAll(t, one, event(20))
	want(t, take(t, one), "20")
}

// TestLongSend takes a batch that was with its sink for long for an outage.
func TestLongSend(t *testing.T) {
	clock := newManual()
	one := openQueue(t, newQueues(t, memstore.New(), clock), sinkSpec(batchOf(1)))
	appendAll(t, one, events(0, 2)...)
	b, err := one.Take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	clock.add(time.Minute)
	if err := one.Remove(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	appendAll(t, one, event(9))
	want(t, take(t, one), "9")
	want(t, take(t, one), "1+")
}

func TestOverflow(t *testing.T) {
	long := func(n int) pipeline.Event {
		e := event(n)
		e.Data = strings.Repeat("x", 10_000)
		return e
	}
	t.Run("DropOldest", func(t *testing.T) {
		store := memstore.New()
		one := openQueue(t, newQueues(t, store, nil), sinkSpec(batchOf(1), sizeOf("64Ki")))
		for n := range 20 {
			appendAll(t, one, long(n))
		}
		s := one.Stats()
		if s.Events != 6 || s.Dropped != 14 || s.Bytes > 64<<10 {
			t.Errorf("%+v", s)
		}
		if left, _, _ := store.Keys(t.Context(), one.prefix+"d/"); len(left) != 6 {
			t.Errorf("%d records are left", len(left))
		}
		one.Close()
		one = openQueue(t, newQueues(t, store, nil), sinkSpec(batchOf(1), sizeOf("64Ki")))
		if s := one.Stats(); s.Events != 6 {
			t.Errorf("after a restart: %+v", s)
		}
		want(t, drain(t, one), "14+", "15+", "16+", "17+", "18+", "19+")
	})
	t.Run("DropOldest of what is being sent", func(t *testing.T) {
		one := openQueue(t, newQueues(t, memstore.New(), nil), sinkSpec(batchOf(1), sizeOf("64Ki")))
		appendAll(t, one, long(0))
		b, err := one.Take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for n := range 10 {
			appendAll(t, one, long(n+1))
		}
		if err := one.Remove(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		want(t, drain(t, one), "5", "6", "7", "8", "9", "10")
		empty(t, one)
	})
	t.Run("DropOldest of very many for one", func(t *testing.T) {
		store := memstore.New()
		one := openQueue(t, newQueues(t, store, nil), sinkSpec(batchOf(1), sizeOf("1Mi")))
		for n := range 6000 {
			appendAll(t, one, pipeline.Event{ID: fmt.Sprint(n)})
		}
		big := long(6000)
		big.Data = strings.Repeat("x", 900<<10)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := one.Append(ctx, []pipeline.Event{big}); err != nil {
			t.Fatal(err) // it waits for the sink
		}
		s := one.Stats()
		left, _, _ := store.Keys(t.Context(), one.prefix+"d/")
		if s.Bytes > 1<<20 || s.Events+s.Dropped != 6001 || int64(len(left)) != s.Events {
			t.Errorf("%+v, %d records", s, len(left))
		}
	})
	t.Run("DropOldest for what is larger than the queue", func(t *testing.T) {
		one := openQueue(t, newQueues(t, memstore.New(), nil), sinkSpec(batchOf(1), sizeOf("64Ki")))
		appendAll(t, one, long(0), long(1))
		big := long(2)
		big.Data = strings.Repeat("x", 100_000)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := one.Append(ctx, []pipeline.Event{big}); err != nil {
			t.Fatal(err) // it waits for the sink
		}
		if s := one.Stats(); s.Events != 1 || s.Dropped != 2 {
			t.Errorf("%+v", s)
		}
		want(t, drain(t, one), "2")
	})
	t.Run("DropNewest", func(t *testing.T) {
		one := openQueue(t, newQueues(t, memstore.New(), nil), sinkSpec(batchOf(1), sizeOf("64Ki"), overflowOf(v1alpha1.DropNewest)))
		for n := range 20 {
			appendAll(t, one, long(n))
		}
		if s := one.Stats(); s.Events != 6 || s.Dropped != 14 {
			t.Errorf("%+v", s)
		}
		want(t, drain(t, one), "0", "1", "2", "3", "4", "5")
	})
	t.Run("Block", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			one := openQueue(t, newQueues(t, memstore.New(), nil), sinkSpec(batchOf(1), sizeOf("64Ki"), overflowOf(v1alpha1.Block)))
			ended := make(chan error, 1)
			go func() {
				for n := range 20 {
					if err := one.Append(t.Context(), []pipeline.Event{long(n)}); err != nil {
						ended <- err
						return
					}
				}
				ended <- nil
			}()
			synctest.Wait()
			if s := one.Stats(); s.Events != 6 || !s.Blocked || s.Dropped != 0 {
				t.Errorf("%+v", s)
			}
			for n := range 20 {
				want(t, take(t, one), fmt.Sprint(n))
			}
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("Block ends", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			one := openQueue(t, newQueues(t, memstore.New(), nil), sinkSpec(sizeOf("64Ki"), overflowOf(v1alpha1.Block)))
			for n := range 6 {
				appendAll(t, one, long(n))
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := one.Append(ctx, []pipeline.Event{long(7)}); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- one.Append(t.Context(), []pipeline.Event{long(7)}) }()
			synctest.Wait()
			one.Close()
			if err := <-ended; !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
			if _, err := one.Take(t.Context()); !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
			if err := one.Close(); err != nil {
				t.Error(err)
			}
		})
	})
}

func TestMaxAge(t *testing.T) {
	clock := newManual()
	one := openQueue(t, newQueues(t, memstore.New(), clock), sinkSpec(ageOf(time.Hour)))
	appendAll(t, one, event(0), event(1))
	clock.add(50 * time.Minute)
	appendAll(t, one, event(2))
	clock.add(20 * time.Minute)
	want(t, take(t, one), "2")
	empty(t, one)
	if s := one.Stats(); s.Dropped != 2 {
		t.Errorf("%+v", s)
	}
}

// TestLinger waits for a batch to fill, but not longer than it may, and not with what waited.
func TestLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := openQueue(t, newQueues(t, memstore.New(), nil), sinkSpec(batchOf(3), lingerOf(time.Second)))
		start := time.Now()
		appendAll(t, one, event(0))
		go func() {
			time.Sleep(300 * time.Millisecond)
			appendAll(t, one, event(1))
		}()
		want(t, take(t, one), "0", "1")
		if d := time.Since(start); d != time.Second {
			t.Errorf("after %v", d)
		}
		appendAll(t, one, event(2), event(3), event(4), event(5))
		start = time.Now()
		want(t, take(t, one), "2", "3", "4")
		if d := time.Since(start); d != 0 {
			t.Errorf("a full batch after %v", d)
		}
		want(t, take(t, one), "5")
	})
}

func TestReplaySent(t *testing.T) {
	clock := newManual()
	store := memstore.New()
	queues := newQueues(t, store, clock)
	one := openQueue(t, queues, sinkSpec(batchOf(2), keepFor(time.Hour)))
	begin := clock.Now()
	for n := range 6 {
		appendAll(t, one, event(n))
		clock.add(10 * time.Minute)
	}
	want(t, drain(t, one), "0", "1", "2", "3", "4", "5")
	if left, _, _ := store.Keys(t.Context(), one.prefix+"d/"); len(left) != 6 {
		t.Errorf("%d records are left", len(left))
	}
	n, err := queues.ReplaySent(t.Context(), ref, "up", begin.Add(20*time.Minute), begin.Add(40*time.Minute))
	if n != 2 || err != nil {
		t.Error(n, err)
	}
	if s := one.Stats(); s.Events != 2 {
		t.Errorf("%+v", s)
	}
	want(t, drain(t, one), "2+", "3+")
	clock.add(35 * time.Minute) // the first four are too old
	appendAll(t, one, event(6))
	want(t, take(t, one), "6")
	empty(t, one)
	if n, err := queues.ReplaySent(t.Context(), ref, "up", begin, time.Time{}); n != 3 || err != nil {
		t.Error(n, err)
	}
	want(t, drain(t, one), "4+", "5+", "6+")
	// What is kept makes room first.
	one.set.maxSize = one.Stats().Bytes + 10
	appendAll(t, one, events(10, 12)...)
	if s := one.Stats(); s.Events != 2 || s.Dropped != 0 {
		t.Errorf("%+v", s)
	}
}

func TestExportAndDrop(t *testing.T) {
	clock := newManual()
	store := memstore.New()
	queues := newQueues(t, store, clock)
	one := openQueue(t, queues, sinkSpec(batchOf(2)))
	appendAll(t, one, events(0, 3)...)
	clock.add(time.Minute)
	appendAll(t, one, events(3, 5)...)
	want(t, take(t, one), "0", "1")
	export := func(q *Queues) (ids []string) {
		if err := q.Export(t.Context(), ref, "up", func(e pipeline.Event) error { ids = append(ids, e.ID); return nil }); err != nil {
			t.Error(err)
		}
		return ids
	}
	want(t, export(queues), "2", "3", "4")
	stop := errors.New("enough")
	if err := queues.Export(t.Context(), ref, "up", func(pipeline.Event) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
	if n, err := queues.Drop(t.Context(), ref, "up", clock.Now()); n != 1 || err != nil {
		t.Error(n, err)
	}
	if s := one.Stats(); s.Events != 2 || s.Dropped != 1 {
		t.Errorf("%+v", s)
	}
	one.Close()
	other := newQueues(t, store, clock) // without the pipeline
	want(t, export(other), "3", "4")
	if n, err := other.Drop(t.Context(), ref, "up", time.Time{}); n != 2 || err != nil {
		t.Error(n, err)
	}
	empty(t, openQueue(t, queues, sinkSpec()))
	for _, f := range []func() error{
		func() error { return queues.Export(t.Context(), ref, "none", nil) },
		func() error {
			_, err := queues.Drop(t.Context(), pipeline.Ref{Name: "x"}, "up", time.Time{})
			return err
		},
		func() error {
			_, err := queues.ReplaySent(t.Context(), ref, "none", time.Time{}, time.Time{})
			return err
		},
	} {
		if err := f(); !errors.Is(err, pipeline.ErrNotFound) {
			t.Error(err)
		}
	}
}

// TestFailingStore: what the store does not take is not in the queue; what was sent and could
// not be removed is sent again.
func TestFailingStore(t *testing.T) {
	store := &failing{Store: memstore.New()}
	one := openQueue(t, newQueues(t, store, nil), sinkSpec(batchOf(2), sizeOf("64Ki")))
	appendAll(t, one, events(0, 4)...)
	before := one.Stats()
	store.set(syscall.ENOSPC)
	big := event(9)
	big.Data = strings.Repeat("x", 64_000)
	if err := one.Append(t.Context(), []pipeline.Event{big}); !meta.TakesNothing(err) {
		t.Error(err)
	}
	after := one.Stats()
	if before != after {
		t.Errorf("%+v became %+v", before, after)
	}
	b, err := one.Take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := one.Remove(t.Context(), b, meta.Op{Key: "dead", Value: []byte("x")}); !meta.TakesNothing(err) {
		t.Error(err)
	}
	if after := one.Stats(); before != after {
		t.Errorf("%+v became %+v", before, after)
	}
	store.set(nil)
	b, err = one.Take(t.Context())
	if want(t, idsOf(b), "0+", "1+"); err != nil {
		t.Error(err)
	}
	if err := one.Remove(t.Context(), b, meta.Op{Key: "dead", Value: []byte("x")}); err != nil {
		t.Error(err)
	}
	if r, err := store.Get(t.Context(), "dead"); string(r.Value) != "x" || err != nil {
		t.Error(r, err)
	}
	want(t, drain(t, one), "2+", "3+")
	appendAll(t, one, event(5))
	store.set(syscall.ENOSPC)
	want(t, take(t, one), "5") // noted when the store takes it again
	store.set(nil)
	empty(t, one)
	if left, _, _ := store.Keys(t.Context(), one.prefix+"d/"); len(left) > 0 {
		t.Errorf("%d records are left", len(left))
	}
}

// TestOpenFails: a store that cannot be written is said, and the queue can be opened later.
func TestOpenFails(t *testing.T) {
	store := &failing{Store: memstore.New()}
	queues := newQueues(t, store, nil)
	store.set(syscall.EROFS)
	if _, err := queues.Open(t.Context(), ref, sinkSpec()); !meta.TakesNothing(err) {
		t.Error(err)
	}
	store.set(nil)
	openQueue(t, queues, sinkSpec())
}

func TestSpecIsChecked(t *testing.T) {
	queues := newQueues(t, memstore.New(), nil)
	for part, change := range map[string]func(*v1alpha1.Sink){
		"queue.maxSize is 1024": sizeOf("1Ki"),
		"queue.maxAge":          ageOf(-time.Second),
		"queue.overflow":        overflowOf("drop"),
		"batch.linger":          lingerOf(2 * time.Hour),
		"zstd, gzip or none":    packedAs("lz4"),
		"has no name, or one":   func(s *v1alpha1.Sink) { s.Name = v1alpha1.Name(strings.Repeat("x", 2000)) },
	} {
		if _, err := queues.Open(t.Context(), ref, sinkSpec(change)); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: %v", part, err)
		}
	}
	openQueue(t, queues, sinkSpec())
	if _, err := queues.Open(t.Context(), ref, sinkSpec()); err == nil || !strings.Contains(err.Error(), "close it first") {
		t.Error(err)
	}
	if _, err := New(Config{}); err == nil {
		t.Error("no store is needed")
	}
}

// TestPrune removes the queues and dead letters of what is gone, and only those.
func TestPrune(t *testing.T) {
	store := memstore.New()
	queues := newQueues(t, store, nil)
	for _, ref := range []pipeline.Ref{{Namespace: "a", Name: "p"}, {Namespace: "a", Name: "p/x"}, {Name: "gone"}} {
		one, err := queues.Open(t.Context(), ref, sinkSpec())
		if err != nil {
			t.Fatal(err)
		}
		appendAll(t, one.(*queue), events(0, 3)...)
		one.Close()
		addDead(t, queues, ref, pipeline.DeadLetter{Step: "up", Event: event(1)})
	}
	err := newQueues(t, store, nil).Prune(t.Context(), func(ref pipeline.Ref, sink string) bool { return ref.Name == "p/x" })
	if err != nil {
		t.Fatal(err)
	}
	left, _, _ := store.Keys(t.Context(), Area)
	for _, e := range left {
		if !strings.Contains(e.Key, "/a/p%2Fx/") {
			t.Errorf("%s is left", e.Key)
		}
	}
	if len(left) != 5 { // two names, a record, the tail, a letter
		t.Errorf("%v are left", left)
	}
}
