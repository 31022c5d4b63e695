package queue

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("QUEUE_CHILD"); dir != "" {
		child(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

var ref = pipeline.Ref{Namespace: "plant", Name: "exceptions"}

// manual is a clock that a test sets; its timers are the machine's.
type manual struct {
	pipeline.SystemClock
	mu  sync.Mutex
	now time.Time
}

func newManual() *manual { return &manual{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *manual) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *manual) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newQueues(t testing.TB, store meta.Store, clock pipeline.Clock) *Queues {
	t.Helper()
	q, err := New(Config{Store: store, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func sinkSpec(change ...func(*v1alpha1.Sink)) *v1alpha1.Sink {
	s := &v1alpha1.Sink{Name: "up", Queue: &v1alpha1.QueueSpec{}, Batch: &v1alpha1.BatchSpec{}}
	for _, f := range change {
		f(s)
	}
	return s
}

func batchOf(n int32) func(*v1alpha1.Sink) { return func(s *v1alpha1.Sink) { s.Batch.Events = n } }
func sizeOf(text string) func(*v1alpha1.Sink) {
	return func(s *v1alpha1.Sink) { q := resource.MustParse(text); s.Queue.MaxSize = &q }
}
func overflowOf(o string) func(*v1alpha1.Sink) {
	return func(s *v1alpha1.Sink) { s.Queue.Overflow = o }
}
func ageOf(d time.Duration) func(*v1alpha1.Sink) {
	return func(s *v1alpha1.Sink) { s.Queue.MaxAge = &metav1.Duration{Duration: d} }
}
func keepFor(d time.Duration) func(*v1alpha1.Sink) {
	return func(s *v1alpha1.Sink) { s.Queue.Keep = &metav1.Duration{Duration: d} }
}
func lingerOf(d time.Duration) func(*v1alpha1.Sink) {
	return func(s *v1alpha1.Sink) { s.Batch.Linger = &metav1.Duration{Duration: d} }
}
func packedAs(kind string) func(*v1alpha1.Sink) {
	return func(s *v1alpha1.Sink) { s.Batch.Compression = kind }
}

func openQueue(t testing.TB, q *Queues, spec *v1alpha1.Sink) *queue {
	t.Helper()
	one, err := q.Open(t.Context(), ref, spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { one.Close() })
	return one.(*queue)
}

func event(n int) pipeline.Event {
	return pipeline.Event{
		ID: fmt.Sprint(n), Source: "edge-7/temps", Type: "reading", Subject: "plant/d1/temp", Time: time.Unix(int64(n), 5).UTC(),
		Data: map[string]any{"value": float64(n), "n": int64(n), "list": []any{nil, true, "x"}}, Extensions: map[string]string{"key": "d1"},
	}
}

func events(from, to int) (out []pipeline.Event) {
	for n := from; n < to; n++ {
		out = append(out, event(n))
	}
	return out
}

func appendAll(t testing.TB, q *queue, list ...pipeline.Event) {
	t.Helper()
	if err := q.Append(t.Context(), list); err != nil {
		t.Fatal(err)
	}
}

// take takes and removes one batch, and returns its ids, each with a "+" behind it if it has
// Resend set.
func take(t testing.TB, q *queue) (ids []string) {
	t.Helper()
	b, err := q.Take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Remove(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	return idsOf(b)
}

func idsOf(b pipeline.Batch) (ids []string) {
	for _, e := range b.Events {
		id := e.ID
		if e.Resend {
			id += "+"
		}
		ids = append(ids, id)
	}
	return ids
}

// drain takes and removes all that waits.
func drain(t testing.TB, q *queue) (ids []string) {
	t.Helper()
	for q.Stats().Events > 0 {
		ids = append(ids, take(t, q)...)
	}
	return ids
}

// empty fails if something can be taken.
func empty(t testing.TB, q *queue) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if b, err := q.Take(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Take gives %v, %v of an empty queue", idsOf(b), err)
	}
	if s := q.Stats(); s.Events != 0 {
		t.Errorf("%+v of an empty queue", s)
	}
}

func want(t testing.TB, got []string, expect ...string) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(expect) {
		t.Errorf("got %v, want %v", got, expect)
	}
}

// failing is a store that can be made to fail.
type failing struct {
	*memstore.Store
	mu   sync.Mutex
	fail error
}

func (f *failing) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = err
}

func (f *failing) Apply(ctx context.Context, ops ...meta.Op) (uint64, error) {
	f.mu.Lock()
	err := f.fail
	f.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return f.Store.Apply(ctx, ops...)
}
