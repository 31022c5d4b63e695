package quicconn

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/edgekit/edgekit/hub/internal/load"
)

// initial is a packet that begins a connection with this id.
func initial(version quic.Version, id string, note byte) packet {
	b := make([]byte, minInitial)
	b[0] = headerForm | headerFixed
	if version == quic.Version2 {
		b[0] |= 0x10
	}
	binary.BigEndian.PutUint32(b[1:], uint32(version))
	b[5] = byte(len(id))
	copy(b[6:], id)
	b[len(b)-1] = note
	return packet{data: b, oob: []byte{note}, from: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(note)}}
}

var loopback = netip.MustParsePrefix("127.0.0.0/24")

// notes returns the notes of the packets that next returns.
func notes(l *initialQueue) (all []byte) {
	for {
		p, ok := l.next()
		if !ok {
			return all
		}
		all = append(all, p.oob[0])
	}
}

// TestInitialQueue: two connections of one network have a place. Others wait in the order
// of arrival, with copies of their first packets, until a place is free or they have
// waited for too long.
func TestInitialQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mark, woken := newMark(), atomic.Int32{}
		l := newInitialQueue(mark, 3, func() { woken.Add(1) })
		l.short = func(time.Time) bool { return false }
		holds := func(p packet, want bool) {
			t.Helper()
			if l.hold(p) != want {
				t.Errorf("a packet with note %d waits: %v", p.oob[0], !want)
			}
		}
		holds(initial(quic.Version1, "first..8", 1), false)
		holds(initial(quic.Version2, "second.8", 2), false)
		holds(initial(quic.Version1, "first..8", 3), false) // of one let in
		for i := range byte(maxFlight + 2) {
			holds(initial(quic.Version1, "third..8", 10+i), true)
		}
		holds(initial(quic.Version2, "fourth.8", 20), true)
		own, _ := mark.GenerateConnectionID()
		holds(initial(quic.Version1, string(own.Bytes()), 4), false) // of a connection that stands
		holds(initial(1234, "unknown8", 5), false)
		short := initial(quic.Version1, "short..8", 6)
		short.data = short.data[:minInitial-1]
		holds(short, false)

		if got := notes(l); got != nil {
			t.Errorf("%v go in where there is no place", got)
		}
		first, second := l.placed(loopback), l.placed(loopback)
		if l.placed(loopback) != nil {
			t.Error("three have a place")
		}
		first.Leave()
		if woken.Load() != 1 {
			t.Errorf("a reader was woken %d times", woken.Load())
		}
		holds(initial(quic.Version1, "fifth..8", 30), true) // no place is free for those who come later
		if got := notes(l); !slices.Equal(got, []byte{10, 11, 12}) {
			t.Errorf("%v go in next", got)
		}
		second.Leave()
		if got := notes(l); !slices.Equal(got, []byte{20}) {
			t.Errorf("%v go in then", got)
		}
		time.Sleep(maxQueueTime + time.Millisecond) // and the places are free again
		if got := notes(l); got != nil {
			t.Errorf("%v go in after too long", got)
		}
		holds(initial(quic.Version1, "fifth..8", 31), false) // from its edge, which asks again
		if l.placed(loopback) == nil || l.placed(loopback) != nil {
			t.Error("a place that was given back is taken")
		}
		if len(l.callers) != 1 || len(l.entered) != 1 {
			t.Errorf("%d connections are known, %d of them let in", len(l.callers), len(l.entered))
		}
	})
}

// TestInitialQueueFull: more connections begin than may wait. The queue keeps the first
// ones, and no memory for the others.
func TestInitialQueueFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newInitialQueue(newMark(), 1, func() {})
		l.short = func(time.Time) bool { return false }
		id := make([]byte, 8)
		for i := range 2 * maxWaiting {
			binary.BigEndian.PutUint64(id, uint64(i))
			if p := initial(quic.Version1, string(id), byte(i)); l.hold(p) != (i > 0) {
				t.Fatalf("connection %d waits: %v", i, i == 0)
			}
		}
		if n := load.Share(maxWaiting); len(l.waiting) != n || len(l.callers) != n+1 {
			t.Errorf("%d wait and %d are known", len(l.waiting), len(l.callers))
		}
		l.placed(loopback).Leave()
		if got := notes(l); !slices.Equal(got, []byte{1}) {
			t.Errorf("%v go in", got)
		}
	})
}

// TestInitialQueueShort: while the CPU is short fewer connections are under way, but
// always some.
func TestInitialQueueShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const places = 4 * fewestOf
		short := true
		l := newInitialQueue(newMark(), places, func() {})
		l.short = func(time.Time) bool { return short }
		for i := range byte(places + 1) {
			if p := initial(quic.Version1, "caller"+string([]byte{'a' + i/16, 'a' + i%16}), i); l.hold(p) != (i >= 4) {
				t.Errorf("connection %d waits: %v", i, i < 4)
			}
		}
		l.placed(loopback).Leave()
		if got := notes(l); !slices.Equal(got, []byte{4}) {
			t.Errorf("%v go in when one has left", got)
		}
		short = false
		if got := notes(l); len(got) != load.Share(places)-4 || l.entry.Taken() != load.Share(places) {
			t.Errorf("%v go in when the CPU is not short, and %d are under way", got, l.entry.Taken())
		}
	})
}

// TestInitialQueueShare: one network begins more connections than may wait. Another
// network is queued nevertheless, and comes first.
func TestInitialQueueShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const places = 4
		l := newInitialQueue(newMark(), places, func() {})
		l.short = func(time.Time) bool { return false }
		id := make([]byte, 8)
		for i := range 2 * maxWaiting {
			binary.BigEndian.PutUint64(id, uint64(i))
			l.hold(initial(quic.Version1, string(id), 1))
		}
		other := func(id string, note byte) {
			p := initial(quic.Version1, id, note)
			p.from = &net.UDPAddr{IP: net.IPv4(192, 0, 2, note)}
			if !l.hold(p) {
				t.Errorf("connection %d overtakes those that wait", note)
			}
		}
		other("other..1", 101)
		if got := notes(l); !slices.Equal(got, []byte{101}) {
			t.Fatalf("%v go in where one network has its share", got)
		}
		other("other..2", 102)
		l.placed(loopback).Leave()
		if got := notes(l); !slices.Equal(got, []byte{102}) {
			t.Errorf("%v go in, though the other network has less", got)
		}
		l.placed(load.Network(&net.UDPAddr{IP: net.IPv4(192, 0, 2, 1)})).Leave()
		if got := notes(l); !slices.Equal(got, []byte{1}) {
			t.Errorf("%v go in where nobody else waits", got)
		}
		time.Sleep(maxQueueTime + time.Millisecond)
		if l.next(); len(l.waiting) != 0 || len(l.line) != 0 {
			t.Errorf("%d wait, %d networks are counted, after all have given up", len(l.waiting), len(l.line))
		}
	})
}

// FuzzBeginning reads any packet.
func FuzzBeginning(f *testing.F) {
	f.Add(initial(quic.Version1, "12345678", 0).data)
	f.Add(initial(quic.Version2, "12345678901234567890", 0).data)
	f.Fuzz(func(t *testing.T, b []byte) {
		id, ok := beginning(b)
		if !ok {
			return
		}
		if wire := b[6 : 6+int(b[5])]; string(wire) != string(id.Bytes()) {
			t.Errorf("%x has the id %v", b, id)
		}
	})
}
