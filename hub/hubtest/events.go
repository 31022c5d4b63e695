package hubtest

import (
	"errors"
	"fmt"
	"strings"

	"github.com/edgekit/edgekit/hub"
)

// way is one direction of the event class.
type way struct {
	name string
	out  *Outbox
	in   *Inbox
}

// ways returns both directions of a session with node a.
func (r *rig) ways(e *edge) []way {
	return []way{
		{"up", e.outbox, r.dir.Inbox("a")},
		{"down", r.dir.Outbox("a"), e.inbox},
	}
}

// inSequence checks that each source's events came in order, each once, and
// returns the newest id of each.
func (r *rig) inSequence(in *Inbox) map[string]uint64 {
	r.Helper()
	last := map[string]uint64{}
	for _, e := range in.Log() {
		if e.ID <= last[e.Source] {
			r.Errorf("event %d of %s after %d", e.ID, e.Source, last[e.Source])
		}
		last[e.Source] = e.ID
	}
	return last
}

// eventsArrive checks that events of several sources arrive in order: those appended
// before the session and those after, small and large.
func eventsArrive(r *rig) {
	e := r.newEdge()
	for _, w := range r.ways(e) {
		for i := range 100 {
			w.out.Append(fmt.Sprint("s", i%3), key(fmt.Sprint(i)), "early")
		}
		w.out.Append("s0", key("large"), strings.Repeat("x", 300_000))
	}
	e = r.edgeWith("a", e, nil)
	r.connected(e)
	for _, w := range r.ways(e) {
		for i := range 400 {
			w.out.Append(fmt.Sprint("s", i%4), key(fmt.Sprint(i)), "late")
		}
		r.until(w.name+": all arrived", func() bool { return w.in.Len() == 501 })
		r.until(w.name+": all are acked", func() bool { return w.out.Len() == 0 })
		r.inSequence(w.in)
		for _, got := range w.in.Log() {
			if got.Source == "s0" && got.ID == 1 && (got.Key != key("0") || string(got.Body) != "early") {
				r.Errorf("%s: the first event is %+v", w.name, got)
			}
		}
	}
}

// eventsResume cuts the link again and again while events travel: each arrives
// once.
func eventsResume(r *rig) {
	e := r.up("a", nil)
	const rounds, each = 5, 200
	for round := range rounds {
		sessions := e.sessions()
		for _, w := range r.ways(e) {
			for i := range each {
				w.out.Append(fmt.Sprint("s", i%3), key(fmt.Sprint(round, i)), strings.Repeat("y", 100))
			}
		}
		r.tr.Cut("a")
		r.until("a new session", func() bool { return e.sessions() > sessions })
		r.connected(e)
	}
	for _, w := range r.ways(e) {
		r.until(w.name+": all arrived", func() bool { return w.in.Len() >= rounds*each })
		r.until(w.name+": all are acked", func() bool { return w.out.Len() == 0 })
		r.inSequence(w.in)
		if n := w.in.Len(); n != rounds*each {
			r.Errorf("%s: %d events arrived of %d", w.name, n, rounds*each)
		}
	}
}

// eventOverflow makes an outbox drop its oldest events while the node is offline: the
// rest arrives.
func eventOverflow(r *rig) {
	e := r.newEdge()
	e.outbox.Max = 10
	for i := range 25 {
		e.outbox.Append("s", key(fmt.Sprint(i)), "x")
	}
	e = r.edgeWith("a", e, nil)
	in := r.dir.Inbox("a")
	r.until("what was kept arrived", func() bool { return in.Len() == 10 && e.outbox.Len() == 0 })
	if first := in.Log()[0].ID; first != 16 || e.outbox.Dropped() != 15 {
		r.Errorf("the first event is %d, dropped were %d", first, e.outbox.Dropped())
	}
}

// eventFailures has an inbox that refuses one event for good, and cannot take
// those of one source for a while: the other sources do not wait.
func eventFailures(r *rig) {
	in := r.dir.Inbox("a")
	in.FailAppend(func(events []hub.Event) error {
		for _, e := range events {
			if e.Key == key("bad") {
				return &hub.Error{Code: hub.CodeInvalid, Text: "never"}
			}
			if e.Source == "stuck" {
				return errors.New("not now")
			}
		}
		return nil
	})
	e := r.up("a", nil)
	for i := range 1000 {
		e.outbox.Append("stuck", key(fmt.Sprint(i)), "x")
	}
	for i := range 50 {
		e.outbox.Append("free", key(fmt.Sprint(i)), "x")
	}
	e.outbox.Append("free", key("bad"), "x")
	e.outbox.Append("free", key("after"), "x")
	r.until("the other source arrived but for the bad event", func() bool { return in.Len() == 51 })
	r.until("it is acked with the bad one", func() bool { return e.outbox.AckedUpTo("free") == 52 })
	if e.outbox.AckedUpTo("stuck") != 0 {
		r.Error("events that were not applied were acked")
	}
	in.FailAppend(nil)
	r.until("the stuck source arrived", func() bool { return in.Len() == 1051 && e.outbox.Len() == 0 })
	r.inSequence(in)
}
