package hub

import (
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/edgekit/edgekit/hub/internal/message"
	"github.com/edgekit/edgekit/hub/internal/wire"
)

// outgoing is what waits to be written to the control stream. Small frames go
// first; the windows of state and events bound the rest.
type outgoing struct {
	urgent  []wire.Frame
	opening uint64 // streams that are to be announced
	bulk    []wire.Frame
	rest    []byte // the unsent part of a large frame
	writing bool   // a goroutine runs write
	closing error  // set when the last frame was queued
}

// maxUrgent bounds the small frames that wait: a peer that asks for more
// without reading the answers is cut off.
const maxUrgent = 4096

func (s *session) urgentLocked(f wire.Frame) {
	if s.out.closing != nil { // a GoAway is the last frame
		return
	}
	if len(s.out.urgent) >= maxUrgent {
		s.failLocked(message.Violation("peer does not read"))
		return
	}
	s.out.urgent = append(s.out.urgent, f)
	s.writeLocked()
}

// announce announces a stream that is being opened, if both sides do so.
func (s *session) announce() {
	if !s.announced {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out.opening++
	s.writeLocked()
}

func (s *session) bulkLocked(f wire.Frame) {
	if s.out.closing != nil {
		return
	}
	s.out.bulk = append(s.out.bulk, f)
	s.writeLocked()
}

func (s *session) writeLocked() {
	if !s.out.writing && s.reason == nil {
		s.out.writing = true
		s.spawnLocked(s.write)
	}
}

// write writes what is queued and returns.
func (s *session) write() {
	err := wire.WithBuffer(func(b *[]byte) error {
		for {
			var packed []wire.Frame
			if *b, packed = s.fill((*b)[:0]); len(packed) > 0 {
				*b = s.pack(*b, packed)
			}
			if len(*b) == 0 {
				return nil
			}
			if _, err := s.control.Write(*b); err != nil {
				return err
			}
		}
	})
	if err != nil {
		s.fail(lost(err))
	}
}

// fill takes the next bytes to write: every small frame, then about one piece of the
// large ones, or the frames of a batch. The writer goroutine exits when nothing is
// queued.
func (s *session) fill(b []byte) ([]byte, []wire.Frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := &s.out
	if o.opening > 0 && o.closing == nil {
		b = s.append(b, wire.Opening{Count: o.opening})
	}
	o.opening = 0
	for _, f := range o.urgent {
		b = s.append(b, f)
	}
	o.urgent = nil
	if packed := s.takeBatch(); packed != nil {
		return b, packed
	}
	for len(b) < wire.PieceSize {
		if o.rest != nil {
			n := min(len(o.rest), wire.PieceSize)
			b = wire.AppendDelimited(b, wire.Fragment{Data: o.rest[:n], Last: n == len(o.rest)})
			if o.rest = o.rest[n:]; len(o.rest) == 0 {
				o.rest = nil
			}
			continue
		}
		if len(o.bulk) == 0 {
			o.bulk = nil
			break
		}
		f := o.bulk[0]
		o.bulk[0] = nil
		o.bulk = o.bulk[1:]
		if n := wire.Size(f); n > wire.PieceSize {
			o.rest = wire.AppendFrame(make([]byte, 0, n), f)
			s.stats.sent.add(classOf(f), 1, n)
			continue
		}
		b = s.append(b, f)
	}
	if len(b) == 0 {
		o.writing = false
	}
	return b, nil
}

// takeBatch takes the frames at the head of bulk that make a batch, or none;
// mu is held.
func (s *session) takeBatch() []wire.Frame {
	o := &s.out
	if !s.batches || o.rest != nil || len(o.bulk) == 0 {
		return nil
	}
	n, raw := 0, 0
	for ; n < len(o.bulk) && wire.Packable(o.bulk[n]); n++ {
		size := wire.Size(o.bulk[n])
		if size += protowire.SizeVarint(uint64(size)); raw+size > wire.MaxBatchRaw {
			break
		}
		raw += size
	}
	if raw < wire.MinBatchRaw {
		return nil
	}
	if s.packing.skip > 0 {
		s.packing.skip--
		return nil
	}
	packed := slices.Clone(o.bulk[:n])
	clear(o.bulk[:n])
	if o.bulk = o.bulk[n:]; len(o.bulk) == 0 {
		o.bulk = nil
	}
	return packed
}

// append appends a frame that goes out whole, and counts it.
func (s *session) append(b []byte, f wire.Frame) []byte {
	before := len(b)
	b = wire.AppendDelimited(b, f)
	s.stats.sent.add(classOf(f), 1, len(b)-before)
	return b
}

// maxUnpacked bounds for how many batches packing is left off after some that did
// not become smaller.
const maxUnpacked = 64

// packing records how well a session's batches compress.
type packing struct {
	skip int // batches to be left unpacked
	last int // how many were left the last time
}

// pack appends frames to b, as one batch if that is worth it.
func (s *session) pack(b []byte, frames []wire.Frame) []byte {
	k := &s.packing
	before := len(b)
	b, packed := wire.AppendBatch(b, frames)
	if !packed {
		// It does not compress: the next few are not tried.
		k.last = min(max(1, 2*k.last), maxUnpacked)
		k.skip = k.last
		for _, f := range frames {
			b = s.append(b, f)
		}
		return b
	}
	k.last = 0
	s.stats.sent.add(ofState, 0, len(b)-before) // as at the receiver, see count
	for _, f := range frames {
		s.stats.sent.add(classOf(f), 1, 0)
	}
	return b
}
