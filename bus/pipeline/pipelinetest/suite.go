package pipelinetest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/meta"
)

// RunQueues tests an implementation of pipeline.Queues. open returns Queues on a store; it is
// called again on the same store as after a restart.
func RunQueues(t *testing.T, newStore func(t *testing.T) meta.Store, open func(t *testing.T, store meta.Store) pipeline.Queues) {
	start := func(t *testing.T) *queueSuite {
		s := &queueSuite{t: t, store: newStore(t), open: open}
		s.restart()
		return s
	}
	t.Run("events come in order, and again until they are removed", func(t *testing.T) {
		s := start(t)
		s.append(s.queue, true, "1", "2", "3")
		first := s.take("1 2")
		s.take("1 2")
		s.remove(first)
		s.take("3")
	})
	t.Run("what is not committed is not there", func(t *testing.T) {
		s := start(t)
		s.append(s.queue, false, "lost")
		s.append(s.queue, true, "1")
		s.take("1")
		if n := s.queue.Stats().Events; n != 1 {
			t.Errorf("%d events wait, want 1", n)
		}
	})
	t.Run("what waits is there after a restart", func(t *testing.T) {
		s := start(t)
		s.append(s.queue, true, "1", "2", "3")
		s.remove(s.take("1 2"))
		s.restart()
		s.take("3")
		if st := s.queue.Stats(); st.Events != 1 || st.Oldest.IsZero() || st.Blocked {
			t.Errorf("%+v", st)
		}
	})
	t.Run("Close ends Take and Stage", func(t *testing.T) {
		s := start(t)
		got := make(chan error, 1)
		go func() {
			_, err := s.queue.Take(t.Context())
			got <- err
		}()
		if err := errors.Join(s.queue.Close(), s.queue.Close()); err != nil {
			t.Error(err)
		}
		if err := <-got; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Take: %v, want net.ErrClosed", err)
		}
		if _, err := s.queue.Stage(t.Context(), s.events("1")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Stage: %v, want net.ErrClosed", err)
		}
	})
	t.Run("a context ends Take", func(t *testing.T) {
		s := start(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.queue.Take(ctx); err == nil {
			t.Error("Take gave a batch of nothing")
		}
	})
	t.Run("Prune removes what is not wanted", func(t *testing.T) {
		s := start(t)
		s.append(s.queue, true, "1")
		if err := s.queue.Close(); err != nil {
			t.Fatal(err)
		}
		asked := false
		err := s.queues.Prune(t.Context(), func(ref pipeline.Ref, sink string) bool {
			asked = asked || ref == s.ref() && sink == "up"
			return false
		})
		if err != nil || !asked {
			t.Fatalf("%v; asked for the queue: %t", err, asked)
		}
		s.restart()
		if n := s.queue.Stats().Events; n != 0 {
			t.Errorf("%d events are left", n)
		}
	})
}

// queueSuite is one test of RunQueues.
type queueSuite struct {
	t      *testing.T
	store  meta.Store
	open   func(t *testing.T, store meta.Store) pipeline.Queues
	queues pipeline.Queues
	queue  pipeline.Queue
}

func (s *queueSuite) ref() pipeline.Ref { return pipeline.Ref{Namespace: "plant", Name: "p"} }

// restart opens the queue of a sink with batches of two events.
func (s *queueSuite) restart() {
	s.t.Helper()
	if s.queue != nil {
		if err := s.queue.Close(); err != nil {
			s.t.Fatal(err)
		}
	}
	s.queues = s.open(s.t, s.store)
	q, err := s.queues.Open(s.t.Context(), s.ref(), &v1alpha1.Sink{Name: "up", Batch: &v1alpha1.BatchSpec{Events: 2}})
	if err != nil {
		s.t.Fatal(err)
	}
	s.queue = q
	s.t.Cleanup(func() { q.Close() })
}

func (s *queueSuite) events(ids ...string) (out []pipeline.Event) {
	for _, id := range ids {
		out = append(out, pipeline.Event{ID: id, Source: "s", Type: "t", Data: map[string]any{"id": id}})
	}
	return out
}

// append stages events one by one, and commits them or not.
func (s *queueSuite) append(q pipeline.Queue, commit bool, ids ...string) {
	s.t.Helper()
	for _, e := range s.events(ids...) {
		st, err := q.Stage(s.t.Context(), []pipeline.Event{e})
		if err != nil {
			s.t.Fatal(err)
		}
		if commit && len(st.Ops) > 0 {
			if _, err := s.store.Apply(s.t.Context(), st.Ops...); err != nil {
				s.t.Fatal(err)
			}
		}
		if st.Done != nil {
			st.Done(commit)
		}
	}
}

// take wants the events with the ids in the next batch.
func (s *queueSuite) take(ids string) pipeline.Batch {
	s.t.Helper()
	b, err := s.queue.Take(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	var have []string
	for _, e := range b.Events {
		have = append(have, e.ID)
		if data, ok := e.Data.(map[string]any); !ok || fmt.Sprint(data["id"]) != e.ID {
			s.t.Errorf("the data of event %s are %v", e.ID, e.Data)
		}
	}
	if got := strings.Join(have, " "); got != ids {
		s.t.Errorf("the batch has %s, want %s", got, ids)
	}
	if b.Since.IsZero() {
		s.t.Error("the batch does not say since when it waits")
	}
	return b
}

func (s *queueSuite) remove(b pipeline.Batch) {
	s.t.Helper()
	if err := s.queue.Remove(s.t.Context(), b); err != nil {
		s.t.Fatal(err)
	}
}
