package hubtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/edgekit/edgekit/hub"
)

// OutboxSuite gives RunOutbox an implementation of hub.Outbox.
type OutboxSuite struct {
	// Open makes an empty Outbox; it is closed with t's cleanups.
	Open func(t *testing.T) hub.Outbox
	// Append adds an event of the source to an Outbox that Open or Reopen made
	// and returns when it is durable.
	Append func(ctx context.Context, o hub.Outbox, source, body string) error
	// Reopen ends an Outbox as a crash would and opens what it kept; nil for
	// one that keeps nothing.
	Reopen func(t *testing.T, o hub.Outbox) hub.Outbox
}

// RunOutbox checks an Outbox against hub's contract: each source has its order and
// growing ids, events stay until they are acknowledged and no longer, no id is used
// twice, subscribers are called.
func RunOutbox(t *testing.T, s OutboxSuite) {
	for _, tt := range []struct {
		name string
		test func(*testing.T, OutboxSuite)
	}{
		{"Order", outboxOrder}, {"Acked", outboxAcked}, {"Subscribe", outboxSubscribe}, {"Reopen", outboxReopen},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, s) })
	}
}

// read returns the bodies and ids of a source from after on.
func read(t *testing.T, o hub.Outbox, source string, after uint64) (bodies []string, ids []uint64) {
	t.Helper()
	for {
		e, err := o.Next(t.Context(), source, after)
		if errors.Is(err, io.EOF) {
			return bodies, ids
		}
		if err != nil {
			t.Fatal(err)
		}
		if e.ID <= after {
			t.Fatalf("event %d after %d", e.ID, after)
		}
		after = e.ID
		bodies, ids = append(bodies, string(e.Body)), append(ids, e.ID)
	}
}

func appendAll(t *testing.T, s OutboxSuite, o hub.Outbox, source string, bodies ...string) {
	t.Helper()
	for _, b := range bodies {
		if err := s.Append(t.Context(), o, source, b); err != nil {
			t.Fatal(err)
		}
	}
}

func wantBodies(t *testing.T, got []string, want ...string) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("have %q, want %q", got, want)
	}
}

func outboxOrder(t *testing.T, s OutboxSuite) {
	o := s.Open(t)
	appendAll(t, s, o, "a", "1", "2")
	appendAll(t, s, o, "b", "x")
	appendAll(t, s, o, "a", "3")
	bodies, ids := read(t, o, "a", 0)
	wantBodies(t, bodies, "1", "2", "3")
	bodies, _ = read(t, o, "a", ids[1])
	wantBodies(t, bodies, "3")
	bodies, _ = read(t, o, "b", 0)
	wantBodies(t, bodies, "x")
	bodies, _ = read(t, o, "c", 0)
	wantBodies(t, bodies)
	wantSources(t, o, "a", "b")
}

func wantSources(t *testing.T, o hub.Outbox, want ...string) {
	t.Helper()
	all, err := o.Sources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for source := range all {
		have[source] = true
	}
	for _, source := range want {
		if !have[source] {
			t.Errorf("source %q is not listed", source)
		}
	}
	if len(have) != len(want) {
		t.Errorf("sources are %v, want %v", have, want)
	}
}

func outboxAcked(t *testing.T, s OutboxSuite) {
	o := s.Open(t)
	appendAll(t, s, o, "a", "1", "2", "3")
	appendAll(t, s, o, "b", "x")
	_, ids := read(t, o, "a", 0)
	for range 2 { // an acknowledgement may come again
		if err := o.Acked(t.Context(), "a", ids[1]); err != nil {
			t.Fatal(err)
		}
	}
	bodies, _ := read(t, o, "a", 0)
	wantBodies(t, bodies, "3")
	if err := o.Acked(t.Context(), "a", ids[2]); err != nil {
		t.Fatal(err)
	}
	wantSources(t, o, "b")
	if err := o.Acked(t.Context(), "unknown", 1); err != nil {
		t.Error(err)
	}
	appendAll(t, s, o, "a", "4")
	bodies, after := read(t, o, "a", 0)
	wantBodies(t, bodies, "4")
	if after[0] <= ids[2] {
		t.Errorf("id %d was used before", after[0])
	}
}

func outboxSubscribe(t *testing.T, s OutboxSuite) {
	o := s.Open(t)
	var mu sync.Mutex
	calls := make(chan string, 16)
	count := 0
	stop := o.Subscribe(func(source string) {
		mu.Lock()
		defer mu.Unlock()
		count++
		select {
		case calls <- source:
		default:
		}
	})
	appendAll(t, s, o, "a", "1")
	if got := <-calls; got != "a" {
		t.Errorf("told of %q", got)
	}
	stop()
	mu.Lock()
	before := count
	mu.Unlock()
	appendAll(t, s, o, "a", "2")
	mu.Lock()
	defer mu.Unlock()
	if count != before {
		t.Error("told after the end of the subscription")
	}
}

func outboxReopen(t *testing.T, s OutboxSuite) {
	if s.Reopen == nil {
		t.Skip("keeps nothing")
	}
	o := s.Open(t)
	appendAll(t, s, o, "a", "1", "2", "3")
	_, ids := read(t, o, "a", 0)
	if err := o.Acked(t.Context(), "a", ids[0]); err != nil {
		t.Fatal(err)
	}
	o = s.Reopen(t, o)
	bodies, _ := read(t, o, "a", 0)
	wantBodies(t, bodies, "2", "3")
	// No id is used again, even when no event is left.
	if err := o.Acked(t.Context(), "a", ids[2]); err != nil {
		t.Fatal(err)
	}
	o = s.Reopen(t, o)
	wantSources(t, o)
	appendAll(t, s, o, "a", "4")
	bodies, after := read(t, o, "a", 0)
	wantBodies(t, bodies, "4")
	if after[0] <= ids[2] {
		t.Errorf("id %d was used before the restart", after[0])
	}
}

// InboxSuite gives RunInbox an implementation of hub.Inbox that keeps its marks.
type InboxSuite struct {
	// Open makes an Inbox without marks; it is closed with t's cleanups.
	Open func(t *testing.T) hub.Inbox
	// Reopen ends an Inbox as a crash would and opens what it kept; nil for
	// one that keeps nothing.
	Reopen func(t *testing.T, i hub.Inbox) hub.Inbox
	// Event makes an event that the Inbox applies; nil makes events with an arbitrary key
	// and body.
	Event func(source string, id uint64) hub.Event
}

// RunInbox checks an Inbox against hub's contract: each source's mark is the id of the
// last event that Append stored, also after a restart.
func RunInbox(t *testing.T, s InboxSuite) {
	if s.Event == nil {
		s.Event = func(source string, id uint64) hub.Event {
			return hub.Event{Source: source, ID: id, Key: key(fmt.Sprint(source, id)), Body: []byte("x")}
		}
	}
	i := s.Open(t)
	wantMarks(t, i, map[string]uint64{})
	for _, step := range []struct {
		source string
		ids    []uint64
	}{{"a", []uint64{1, 2, 5}}, {"b", []uint64{7}}, {"a", []uint64{6}}} {
		var events []hub.Event
		for _, id := range step.ids {
			events = append(events, s.Event(step.source, id))
		}
		if err := i.Append(t.Context(), step.source, events); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]uint64{"a": 6, "b": 7}
	wantMarks(t, i, want)
	if s.Reopen != nil {
		wantMarks(t, s.Reopen(t, i), want)
	}
}

func wantMarks(t *testing.T, i hub.Inbox, want map[string]uint64) {
	t.Helper()
	all, err := i.Marks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]uint64{}
	for source, id := range all {
		have[source] = id
	}
	if fmt.Sprint(have) != fmt.Sprint(want) {
		t.Errorf("marks are %v, want %v", have, want)
	}
}
