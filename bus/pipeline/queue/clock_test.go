package queue

import (
	"testing"
	"time"

	"github.com/edgekit/edgekit/meta/memstore"
)

// TestClockIsSetLater stores events on a machine without a battery for its clock, which begins in
// 1970 until the time comes from the network. They are neither too old nor tried for too long then.
func TestClockIsSetLater(t *testing.T) {
	clock := &manual{now: time.Unix(60, 0)}
	one := openQueue(t, newQueues(t, memstore.New(), clock), sinkSpec(batchOf(2), ageOf(time.Hour)))
	appendAll(t, one, events(0, 3)...)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	clock.add(now.Sub(clock.Now()))
	b, err := one.Take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Events) != 2 || !b.Since.Equal(now) {
		t.Errorf("%v since %s", idsOf(b), b.Since)
	}
	clock.add(time.Minute)
	if b, err = one.Take(t.Context()); err != nil || !b.Since.Equal(now) {
		t.Errorf("since %s the second time: %v", b.Since, err)
	}
	if err := one.Remove(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	want(t, drain(t, one), "2+")
	if s := one.Stats(); s.Dropped != 0 {
		t.Errorf("%+v", s)
	}
}
