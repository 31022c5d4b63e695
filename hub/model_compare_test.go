package hub_test

import (
	"strconv"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
)

// The checks of a world that is at rest.

// compare returns what is wrong with the world.
func (w *world) compare() (sum tally) {
	w.compareState(&sum)
	for _, m := range w.mails {
		w.compareMail(m, &sum)
	}
	w.compareAsks(&sum)
	return sum
}

// compareState compares what arrived with what was last sent, on both sides, and with
// what was acked.
func (w *world) compareState(sum *tally) {
	lost := func(format string, args ...any) {
		w.Errorf(format, args...)
		sum.lost++
	}
	if w.sink.Len() > len(w.truth) {
		w.Errorf("the edge holds %d objects of %d", w.sink.Len(), len(w.truth))
	}
	for k, v := range w.truth {
		if w.sink.Held(k) != strconv.Itoa(v) {
			lost("the edge holds %v at %q, the truth is %d", k, w.sink.Held(k), v)
		}
	}
	for k, v := range w.reported {
		if w.arrived.Held(k) != strconv.Itoa(v) {
			lost("the cloud has %v at %q, reported was %d", k, w.arrived.Held(k), v)
		}
	}
	for _, o := range w.outbox.Seen() {
		if o.Key.Name != "refused" && hubtest.CompareVersions(w.arrived.Held(o.Key), o.Version) < 0 {
			lost("the cloud acked %v at %s and has %q", o.Key, o.Version, w.arrived.Held(o.Key))
		}
	}
	for side, log := range map[string][]hub.Object{"edge": w.sink.Log(), "cloud": w.arrived.Log()} {
		last := map[hub.Key]string{}
		for _, o := range log {
			switch c := hubtest.CompareVersions(o.Version, last[o.Key]); {
			case c < 0:
				w.Errorf("%s: %v went from %s to %s", side, o.Key, last[o.Key], o.Version)
			case c == 0 && side == "edge" && !o.Deleted:
				// The cloud's Sink is Forgetful, and may get an object again.
				sum.doubled++
			}
			last[o.Key] = o.Version
		}
	}
}

// compareMail checks that each event was applied once, in the order of its source, and
// that its owner has forgotten it.
func (w *world) compareMail(m *mail, sum *tally) {
	last := map[string]uint64{}
	log := m.in.Log()
	for _, e := range log {
		if last[e.Source]+1 == m.refused && e.Source == "s0" {
			last[e.Source]++
		}
		switch {
		case e.ID <= last[e.Source]:
			w.Errorf("event %d of %s after %d", e.ID, e.Source, last[e.Source])
			sum.doubled++
		case e.ID != last[e.Source]+1:
			w.Errorf("event %d of %s after %d", e.ID, e.Source, last[e.Source])
			sum.lost++
		}
		last[e.Source] = e.ID
	}
	if n := m.sent - len(log); n > 0 {
		w.Errorf("%d events of %d are missing", n, m.sent)
		sum.lost += n
	}
	if m.out.Len() != 0 {
		w.Errorf("%d events are still in the outbox", m.out.Len())
	}
}

// compareAsks checks that each call and stream was served at most once, and not at all if
// the caller got ErrOffline.
func (w *world) compareAsks(sum *tally) {
	w.asks.mu.Lock()
	defer w.asks.mu.Unlock()
	for what, n := range w.asks.served {
		if n > 1 {
			w.Errorf("an ask of %d bytes was served %d times", len(what), n)
			sum.doubled++
		}
	}
	for _, what := range w.asks.unsent {
		if w.asks.served[what] > 0 {
			w.Errorf("an ask of %d bytes was served though it was not sent", len(what))
			sum.doubled++
		}
	}
	for _, complaint := range w.asks.wrong {
		w.Error(complaint)
		sum.lost++
	}
}
