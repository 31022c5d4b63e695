package replica

import (
	"errors"
	"time"

	"github.com/edgekit/edgekit/hub/internal/message"
)

// The owner's half of the state class.
//
// The life of a key: queued, loading, ready (loaded, but the window is full),
// flying (sent), done. A key that changes while it is loading or flying is queued
// again when that ends, so at most one version of a key is under way, and all changes
// in between travel as one.

const (
	// MaxLoads is how many objects are loaded at once, so that one which must
	// be read from far away does not hold up the others.
	MaxLoads = 8
	retryMin = 250 * time.Millisecond
	retryMax = 30 * time.Second
	// behindTries is how often a key is loaded before it is reported that the
	// owner is behind: for 8 seconds, by the pauses above.
	behindTries = 6
)

type statePhase uint8

const (
	awaitDigest   statePhase = iota // nothing known of the peer
	listing                         // the own Source is being listed
	awaitVersions                   // digests differ; the peer's list is coming
	comparedPhase                   // differences travel
)

func (p statePhase) String() string {
	return [...]string{"awaiting digest", "listing", "awaiting versions", "live"}[p]
}

// StateSenderConfig sets up a StateSender.
type StateSenderConfig struct {
	Compare     func(a, b string) int
	Acker       bool
	Window      int // the peer's
	WindowBytes int
	MaxFrame    int
	MaxKeys     int
	Size        func(seq uint64, o message.Object) int // of the frame that carries an object
}

// StateSender is the owner's half of the state class.
type StateSender struct {
	cfg   StateSenderConfig
	phase statePhase
	peer  message.Digest
	// held is the mirror: what the peer has or is being sent.
	held map[message.Key]string
	have map[message.Key]string // while comparing: what the Source listed
	work map[message.Key]*work  // only keys that are not at rest
	// queue holds the keys to be loaded, oldest first; ready the loaded ones
	// for which the window had no room; later those to be tried again.
	queue   []message.Key
	ready   []message.Object
	later   []message.Key
	loading int
	flight  []flying
	bytes   int // of flight
	seq     uint64
	timer   bool // a RetryAfter is under way
	landed  int  // objects that were acknowledged, until the session counts them
}

// flying is one object that was sent and not yet acknowledged.
type flying struct {
	seq      uint64
	key      message.Key
	version  string
	before   string // what the peer held before
	deleted  bool
	size     int
	returned bool // nacked, to be sent again
}

// NewStateSender makes one that waits for the peer's digest.
func NewStateSender(cfg StateSenderConfig) *StateSender {
	return &StateSender{cfg: cfg, held: map[message.Key]string{}, work: map[message.Key]*work{}}
}

// Progress is how many keys are not at rest now, and how many objects the peer has
// acknowledged since it was last asked for.
func (s *StateSender) Progress() (pending, landed int) {
	landed, s.landed = s.landed, 0
	return len(s.work), landed
}

// Step folds one event into the sender and returns what to do.
func (s *StateSender) Step(ev StateSenderEvent) []Effect {
	var fx []Effect
	switch ev := ev.(type) {
	case PeerDigest:
		if s.phase != awaitDigest {
			return append(fx, Fail{message.Violation("digest while %s", s.phase)})
		}
		s.phase, s.peer = listing, ev.Digest
		return append(fx, ListSource{})
	case SourceListed:
		fx = s.listed(fx, ev)
	case PeerVersions:
		fx = s.peerHolds(fx, ev)
	case KeyChanged:
		s.changed(ev.Key)
	case Loaded:
		fx = s.loaded(fx, ev)
	case PeerAcked:
		fx = s.acked(fx, ev.Seq)
	case PeerNacked:
		fx = s.nacked(fx, ev)
	case RetryDue:
		s.timer = false
		again := s.later
		s.later = nil
		for _, k := range again {
			s.enqueue(k, s.work[k].tries)
		}
	}
	return s.pump(fx)
}

// listed compares digests.
func (s *StateSender) listed(fx []Effect, ev SourceListed) []Effect {
	if ev.Digest != s.peer {
		s.phase, s.have = awaitVersions, ev.Entries
		return append(fx, AskVersions{})
	}
	s.phase = comparedPhase
	fx = append(fx, ReportEqual{})
	if !s.cfg.Acker {
		s.held = ev.Entries
		return fx
	}
	var same []message.Object
	for k, v := range ev.Entries {
		same = append(same, message.Object{Key: k, Version: v})
	}
	return delivered(fx, same)
}

// peerHolds takes a part of the peer's list and, with the last, works out the
// differences. Keys that the peer has and the Source did not list are loaded
// like any other: only Load says what is deleted.
func (s *StateSender) peerHolds(fx []Effect, ev PeerVersions) []Effect {
	if s.phase != awaitVersions {
		return append(fx, Fail{message.Violation("versions while %s", s.phase)})
	}
	if len(s.held)+len(ev.Entries) > s.cfg.MaxKeys {
		return append(fx, Fail{message.Violation("peer lists more than %d keys", s.cfg.MaxKeys)})
	}
	for _, e := range ev.Entries {
		s.held[e.Key] = e.Version
	}
	if !ev.Last {
		return fx
	}
	s.phase = comparedPhase
	var same []message.Object
	for k, v := range s.held {
		mine, listed := s.have[k]
		if !listed || s.cfg.Compare(mine, v) != 0 {
			s.changed(k)
			continue
		}
		if s.cfg.Acker {
			same = append(same, message.Object{Key: k, Version: v})
			delete(s.held, k)
		}
		delete(s.have, k)
	}
	for k := range s.have {
		s.changed(k)
	}
	s.have = nil
	return delivered(fx, same)
}

func delivered(fx []Effect, objects []message.Object) []Effect {
	if len(objects) == 0 {
		return fx
	}
	return append(fx, ReportDelivered{objects})
}

// loaded decides about one object. A version that is older than what the peer
// has never travels, nor does a delete of such a version: the owner's view is
// behind and is asked again.
func (s *StateSender) loaded(fx []Effect, ev Loaded) []Effect {
	s.loading--
	if ev.Err != nil {
		if errors.Is(ev.Err, message.ErrLagging) {
			return s.behind(fx, ev.Key, "")
		}
		s.postpone(ev.Key)
		return append(fx, ReportDropped{ev.Key, ev.Err})
	}
	if w := s.work[ev.Key]; w.dirty {
		s.enqueue(ev.Key, w.tries)
		return fx
	}
	o := ev.Object
	o.Key = ev.Key
	if s.cfg.Acker && o.Deleted && o.Version == "" {
		delete(s.held, ev.Key) // forgotten after its acknowledgement, not deleted
		s.settle(ev.Key)
		return fx
	}
	if held, known := s.held[ev.Key]; known && (o.Version != "" || !o.Deleted) {
		switch c := s.cfg.Compare(o.Version, held); {
		case c < 0:
			return s.behind(fx, ev.Key, o.Version)
		case c == 0 && !o.Deleted:
			if s.cfg.Acker {
				fx = append(fx, ReportDelivered{[]message.Object{{Key: o.Key, Version: o.Version}}})
				delete(s.held, o.Key)
			}
			s.settle(ev.Key)
			return fx
		}
	}
	if n := s.putSize(o); n > s.cfg.MaxFrame {
		s.settle(ev.Key)
		return append(fx, ReportDropped{ev.Key, message.TooLarge(n, s.cfg.MaxFrame)})
	}
	s.work[ev.Key].state = isReady
	s.ready = append(s.ready, o)
	return fx
}

// behind postpones a key of which the owner knows less than the peer, and reports
// it when that lasts.
func (s *StateSender) behind(fx []Effect, k message.Key, version string) []Effect {
	s.postpone(k)
	if s.work[k].tries == behindTries {
		fx = append(fx, ReportBehind{Key: k, Version: version, Held: s.held[k]})
	}
	return fx
}

func (s *StateSender) putSize(o message.Object) int { return s.cfg.Size(s.seq+1, o) }

// pump sends what the window has room for and loads what may come next.
func (s *StateSender) pump(fx []Effect) []Effect {
	for len(s.ready) > 0 {
		n := s.putSize(s.ready[0])
		if len(s.flight) > 0 && (len(s.flight) >= s.cfg.Window || s.bytes+n > s.cfg.WindowBytes) {
			break
		}
		fx = append(fx, s.launch(s.ready[0], n))
		s.ready = s.ready[1:]
	}
	if s.phase == comparedPhase {
		for len(s.queue) > 0 && s.loading+len(s.ready) < MaxLoads && len(s.flight)+s.loading+len(s.ready) < s.cfg.Window {
			k := s.queue[0]
			s.queue = s.queue[1:]
			s.work[k].state = isLoading
			s.loading++
			fx = append(fx, Load{k, s.held[k]})
		}
	}
	// Empty queues free their memory: most sessions are idle most of the time.
	if len(s.queue) == 0 {
		s.queue = nil
	}
	if len(s.ready) == 0 {
		s.ready = nil
	}
	if len(s.later) > 0 && !s.timer {
		s.timer = true
		fx = append(fx, RetryAfter{s.retryPause()})
	}
	return fx
}

// retryPause is how long to wait before the keys in later are tried again: as long as the
// key with the fewest failures has to.
func (s *StateSender) retryPause() time.Duration {
	tries := s.work[s.later[0]].tries
	for _, k := range s.later {
		tries = min(tries, s.work[k].tries)
	}
	return RetryPause(tries)
}

func (s *StateSender) launch(o message.Object, size int) Effect {
	before, known := s.held[o.Key]
	op := message.Update
	switch {
	case o.Deleted:
		op = message.Delete
	case !known:
		op = message.Insert
	}
	s.seq++
	s.held[o.Key] = o.Version
	s.work[o.Key].state = isFlying
	s.bytes += size
	s.flight = append(s.flight, flying{
		seq: s.seq, key: o.Key, version: o.Version, before: before, deleted: o.Deleted, size: size,
	})
	return SendObject{s.seq, op, o}
}

// acked ends the flight of all objects up to seq.
func (s *StateSender) acked(fx []Effect, seq uint64) []Effect {
	if seq > s.seq {
		return append(fx, Fail{message.Violation("ack of %d, but only %d were sent", seq, s.seq)})
	}
	var done []message.Object
	for len(s.flight) > 0 && s.flight[0].seq <= seq {
		f := s.flight[0]
		s.flight = s.flight[1:]
		s.bytes -= f.size
		if f.returned {
			s.land(f)
			continue
		}
		s.landed++
		if s.cfg.Acker {
			done = append(done, message.Object{Key: f.key, Version: f.version, Deleted: f.deleted})
		}
		if s.cfg.Acker || f.deleted {
			delete(s.held, f.key)
		}
		s.settle(f.key)
	}
	if len(s.flight) == 0 {
		s.flight = nil
	}
	return delivered(fx, done)
}

// land queues an object again that the peer gave back.
func (s *StateSender) land(f flying) {
	if f.before == "" {
		delete(s.held, f.key)
	} else {
		s.held[f.key] = f.before
	}
	s.postpone(f.key)
}

// nacked notes that the peer gave one object back. The ack that follows
// covers it.
func (s *StateSender) nacked(fx []Effect, ev PeerNacked) []Effect {
	for i := range s.flight {
		if f := &s.flight[i]; f.seq == ev.Seq {
			f.returned = !ev.Err.Final()
			return append(fx, ReportDropped{f.key, ev.Err})
		}
	}
	return append(fx, Fail{message.Violation("nack of %d, which is not under way", ev.Seq)})
}
