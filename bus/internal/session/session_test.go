package session

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestSession does random things to a session and compares with what a client may see:
// each message once, in order at first sending, under one identifier, and the same state
// after a restart at any time.
func TestSession(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		s := &Session{base: 65530} // identifiers wrap
		messages := map[uint64]*Message{}
		qos := map[uint64]byte{}
		pids := map[*Message]uint16{}
		open := map[*Message]string{} // sent or released
		finished := map[*Message]bool{}
		connected := false
		apply := func(ev Event) []Effect {
			var rest []Effect
			for _, e := range s.Step(ev, nil) {
				if e.Kind == Release {
					finished[e.Entry.Message] = true
					delete(open, e.Entry.Message)
				} else {
					rest = append(rest, e)
				}
			}
			return rest
		}
		for range 400 {
			switch r.IntN(7) {
			case 0, 1:
				m := &Message{Topic: fmt.Sprint(len(messages))}
				q := byte(1 + r.IntN(2))
				seq := s.Add(Entry{Message: m, QoS: q})
				messages[seq], qos[seq] = m, q
				if r.IntN(8) == 0 {
					m.Waiting = true
				}
			case 2:
				for _, m := range messages {
					m.Waiting = false
				}
				for d, ok := s.Next(0); ok; d, ok = s.Next(0) {
					if pid, was := pids[d.Message]; was && (pid != d.PID || !d.Dup) {
						t.Fatalf("%s: identifier %d, was %d, DUP %v", d.Message.Topic, d.PID, pid, d.Dup)
					}
					if finished[d.Message] || open[d.Message] == "released" {
						t.Fatalf("%s is sent again", d.Message.Topic)
					}
					pids[d.Message], open[d.Message] = d.PID, "sent"
					if s.inflight > s.window { // what is released may be more than a smaller window
						t.Fatalf("%d in flight", s.inflight)
					}
				}
			case 3, 4:
				for m, state := range open {
					seq := seqOf(messages, m)
					switch {
					case s.find(pids[m]) < 0: // not sent again on this connection
					case qos[seq] == 1:
						apply(Event{Kind: Puback, PID: pids[m]})
					case state == "sent":
						if e := apply(Event{Kind: Pubrec, PID: pids[m]}); len(e) != 1 || e[0].Kind != SendPubrel || e[0].Code != 0 {
							t.Fatalf("%v", e)
						}
						open[m] = "released"
					default:
						apply(Event{Kind: Pubcomp, PID: pids[m]})
					}
					break
				}
			case 5:
				if connected {
					apply(Event{Kind: Disconnected})
				} else {
					apply(Event{Kind: Connected, Window: 1 + r.IntN(5)})
				}
				connected = !connected
			case 6: // a restart
				var stored []Stored
				for seq, m := range messages {
					if !finished[m] {
						stored = append(stored, Stored{Seq: seq, Entry: Entry{Message: m, QoS: qos[seq]}})
					}
				}
				slices.SortFunc(stored, func(a, b Stored) int { return int(a.Seq) - int(b.Seq) })
				again, dropped := Restore(s.Cursor(), stored, nil)
				if len(dropped) > 0 || again.Len() != s.Len() || again.Bytes() != s.Bytes() {
					t.Fatalf("%d dropped, %d messages of %d", len(dropped), again.Len(), s.Len())
				}
				s, connected = again, false
			}
		}
		if s.Len() != len(messages)-len(finished) {
			t.Fatalf("%d messages, want %d", s.Len(), len(messages)-len(finished))
		}
	}
}

func seqOf(messages map[uint64]*Message, m *Message) uint64 {
	for seq, other := range messages {
		if other == m {
			return seq
		}
	}
	return 0
}

func TestStrangeAcknowledgements(t *testing.T) {
	s := &Session{}
	s.Add(Entry{Message: &Message{}, QoS: 1})
	for _, ev := range []Event{{Kind: Puback, PID: 1}, {Kind: Puback}, {Kind: Pubcomp, PID: 1}, {Kind: Puback, PID: 65535}} {
		if out := s.Step(ev, nil); len(out) != 0 || s.Len() != 1 {
			t.Errorf("%+v: %v", ev, out)
		}
	}
	if out := s.Step(Event{Kind: Pubrec, PID: 1}, nil); len(out) != 1 || out[0].Code != notFound {
		t.Errorf("%v", out)
	}
}
