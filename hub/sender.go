package hub

import (
	"errors"
	"slices"
	"time"
)

// The owner's half of the state class as a pure machine: it reads no clock and
// touches no Source, Sink or socket. step takes what happened and returns what
// must be done now, in order (machine.go); the session does it and reports back with
// further events. The machine belongs to one goroutine at a time.
//
// The life of a key: queued, loading, ready (loaded, but the window is full),
// flying (sent), gone. A key that changes while it is loading or flying is
// queued again when that ends, so at most one version of a key is under way
// and all that happened meanwhile travels as one.

const (
	// maxLoads is how many objects are loaded at once, so that one which must
	// be read from far away does not hold up the others.
	maxLoads = 8
	retryMin = 250 * time.Millisecond
	retryMax = 30 * time.Second
	// behindTries is how often a key is loaded before it is reported that the
	// owner is behind: for 8 seconds, by the pauses above.
	behindTries = 6
)

type senderPhase uint8

const (
	awaitDigest   senderPhase = iota // nothing known of the peer
	listing                          // the own Source is being listed
	awaitVersions                    // digests differ; the peer's list is coming
	live                             // differences travel
)

func (p senderPhase) String() string {
	return [...]string{"awaiting digest", "listing", "awaiting versions", "live"}[p]
}

type senderConfig struct {
	Compare     func(a, b string) int
	Acker       bool
	Window      int // the peer's
	WindowBytes int
	MaxFrame    int
	MaxKeys     int
	Size        func(seq uint64, o Object) int // of the frame that carries an object
}

type sender struct {
	cfg   senderConfig
	phase senderPhase
	peer  digestSum
	// held is the mirror: what the peer has or is being sent.
	held map[Key]string
	have map[Key]string // while comparing: what the Source listed
	work map[Key]*work  // only keys that are not at rest
	// queue holds the keys to be loaded, oldest first; ready the loaded ones
	// for which the window had no room; later those to be tried again.
	queue   []Key
	ready   []Object
	later   []Key
	loading int
	flight  []flying
	bytes   int // of flight
	seq     uint64
	timer   bool // an fxRetry is under way
	landed  int  // objects that were acknowledged, until the session counts them
}

type workState uint8

const (
	isQueued workState = iota
	isLoading
	isReady
	isFlying
	isLater
)

type work struct {
	state workState
	dirty bool // changed since it was loaded
	tries int  // how often it was postponed
}

// flying is one object that was sent and not yet acknowledged.
type flying struct {
	seq      uint64
	key      Key
	version  string
	before   string // what the peer held before
	deleted  bool
	size     int
	returned bool // nacked, to be sent again
}

func newSender(cfg senderConfig) *sender {
	return &sender{cfg: cfg, held: map[Key]string{}, work: map[Key]*work{}}
}

// compared reports whether both sides have been compared, so that differences
// travel.
func (s *sender) compared() bool { return s.phase == live }

// progress is how many keys are not at rest now, and how many objects the peer has
// acknowledged since it was last asked for.
func (s *sender) progress() (pending, landed int) {
	landed, s.landed = s.landed, 0
	return len(s.work), landed
}

// step folds one event into the sender and returns what to do.
func (s *sender) step(ev any) []any {
	var fx []any
	switch ev := ev.(type) {
	case evDigest:
		if s.phase != awaitDigest {
			return append(fx, fxFail{violation("digest while %s", s.phase)})
		}
		s.phase, s.peer = listing, ev.Digest
		return append(fx, fxList{})
	case evListed:
		fx = s.listed(fx, ev)
	case evVersions:
		fx = s.peerHolds(fx, ev)
	case evChanged:
		s.changed(ev.Key)
	case evLoaded:
		fx = s.loaded(fx, ev)
	case evAcked:
		fx = s.acked(fx, ev.Seq)
	case evNacked:
		fx = s.nacked(fx, ev)
	case evRetry:
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
func (s *sender) listed(fx []any, ev evListed) []any {
	if ev.Digest != s.peer {
		s.phase, s.have = awaitVersions, ev.Entries
		return append(fx, fxWant{})
	}
	s.phase = live
	if !s.cfg.Acker {
		s.held = ev.Entries
		return fx
	}
	var same []Object
	for k, v := range ev.Entries {
		same = append(same, Object{Key: k, Version: v})
	}
	return delivered(fx, same)
}

// peerHolds takes a part of the peer's list and, with the last, works out the
// differences. Keys that the peer has and the Source did not list are loaded
// like any other: only Load says what is deleted.
func (s *sender) peerHolds(fx []any, ev evVersions) []any {
	if s.phase != awaitVersions {
		return append(fx, fxFail{violation("versions while %s", s.phase)})
	}
	if len(s.held)+len(ev.Entries) > s.cfg.MaxKeys {
		return append(fx, fxFail{violation("peer lists more than %d keys", s.cfg.MaxKeys)})
	}
	for _, e := range ev.Entries {
		s.held[e.Key] = e.Version
	}
	if !ev.Last {
		return fx
	}
	s.phase = live
	var same []Object
	for k, v := range s.held {
		mine, listed := s.have[k]
		if !listed || s.cfg.Compare(mine, v) != 0 {
			s.changed(k)
			continue
		}
		if s.cfg.Acker {
			same = append(same, Object{Key: k, Version: v})
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

func delivered(fx []any, objects []Object) []any {
	if len(objects) == 0 {
		return fx
	}
	return append(fx, fxDelivered{objects})
}

// changed notes that a key must be looked at.
func (s *sender) changed(k Key) {
	w := s.work[k]
	switch {
	case w == nil:
		s.enqueue(k, 0)
	case w.state == isReady:
		// What was loaded is old already, and was not sent: load it anew.
		s.ready = slices.DeleteFunc(s.ready, func(o Object) bool { return o.Key == k })
		s.enqueue(k, 0)
	case w.state == isLater:
		// Most likely the owner has caught up.
		s.later = slices.DeleteFunc(s.later, func(l Key) bool { return l == k })
		s.enqueue(k, w.tries)
	case w.state == isLoading || w.state == isFlying:
		w.dirty = true
	}
}

func (s *sender) enqueue(k Key, tries int) {
	s.work[k] = &work{state: isQueued, tries: tries}
	s.queue = append(s.queue, k)
}

// settle ends the work on a key, or begins it again if it changed meanwhile.
func (s *sender) settle(k Key) {
	if w := s.work[k]; w != nil && w.dirty {
		s.enqueue(k, 0)
		return
	}
	delete(s.work, k)
}

// postpone tries the key again later.
func (s *sender) postpone(k Key) {
	s.work[k] = &work{state: isLater, tries: s.work[k].tries + 1}
	s.later = append(s.later, k)
}

// loaded decides about one object. A version that is older than what the peer
// has never travels, nor does a delete of such a version: the owner's view is
// behind and is asked again.
func (s *sender) loaded(fx []any, ev evLoaded) []any {
	s.loading--
	if ev.Err != nil {
		if errors.Is(ev.Err, ErrLagging) {
			return s.behind(fx, ev.Key, "")
		}
		s.postpone(ev.Key)
		return append(fx, fxDropped{ev.Key, ev.Err})
	}
	if w := s.work[ev.Key]; w.dirty {
		s.enqueue(ev.Key, w.tries)
		return fx
	}
	o := ev.Object
	o.Key = ev.Key
	if held, known := s.held[ev.Key]; known && (o.Version != "" || !o.Deleted) {
		switch c := s.cfg.Compare(o.Version, held); {
		case c < 0:
			return s.behind(fx, ev.Key, o.Version)
		case c == 0 && !o.Deleted:
			if s.cfg.Acker {
				fx = append(fx, fxDelivered{[]Object{{Key: o.Key, Version: o.Version}}})
				delete(s.held, o.Key)
			}
			s.settle(ev.Key)
			return fx
		}
	}
	if n := s.putSize(o); n > s.cfg.MaxFrame {
		s.settle(ev.Key)
		return append(fx, fxDropped{ev.Key, tooLarge(n, s.cfg.MaxFrame)})
	}
	s.work[ev.Key].state = isReady
	s.ready = append(s.ready, o)
	return fx
}

// behind postpones a key of which the owner knows less than the peer, and reports
// it when that lasts.
func (s *sender) behind(fx []any, k Key, version string) []any {
	s.postpone(k)
	if s.work[k].tries == behindTries {
		fx = append(fx, fxBehind{Key: k, Version: version, Held: s.held[k]})
	}
	return fx
}

func (s *sender) putSize(o Object) int { return s.cfg.Size(s.seq+1, o) }

// pump sends what the window has room for and loads what may come next.
func (s *sender) pump(fx []any) []any {
	for len(s.ready) > 0 {
		n := s.putSize(s.ready[0])
		if len(s.flight) > 0 && (len(s.flight) >= s.cfg.Window || s.bytes+n > s.cfg.WindowBytes) {
			break
		}
		fx = append(fx, s.launch(s.ready[0], n))
		s.ready = s.ready[1:]
	}
	if s.phase == live {
		for len(s.queue) > 0 && s.loading+len(s.ready) < maxLoads && len(s.flight)+s.loading+len(s.ready) < s.cfg.Window {
			k := s.queue[0]
			s.queue = s.queue[1:]
			s.work[k].state = isLoading
			s.loading++
			fx = append(fx, fxLoad{k, s.held[k]})
		}
	}
	// What is empty gives its memory back: most sessions rest most of the time.
	if len(s.queue) == 0 {
		s.queue = nil
	}
	if len(s.ready) == 0 {
		s.ready = nil
	}
	if len(s.later) > 0 && !s.timer {
		s.timer = true
		fx = append(fx, fxRetry{s.patience()})
	}
	return fx
}

// patience is how long to wait before the later keys are tried again: the one
// that failed the fewest times says so for all.
func (s *sender) patience() time.Duration {
	tries := s.work[s.later[0]].tries
	for _, k := range s.later {
		tries = min(tries, s.work[k].tries)
	}
	return min(retryMin<<min(tries-1, 16), retryMax)
}

func (s *sender) launch(o Object, size int) any {
	before, known := s.held[o.Key]
	op := Update
	switch {
	case o.Deleted:
		op = Delete
	case !known:
		op = Insert
	}
	s.seq++
	s.held[o.Key] = o.Version
	s.work[o.Key].state = isFlying
	s.bytes += size
	s.flight = append(s.flight, flying{
		seq: s.seq, key: o.Key, version: o.Version, before: before, deleted: o.Deleted, size: size,
	})
	return fxPut{s.seq, op, o}
}

// acked ends the flight of all objects up to seq.
func (s *sender) acked(fx []any, seq uint64) []any {
	if seq > s.seq {
		return append(fx, fxFail{violation("ack of %d, but only %d were sent", seq, s.seq)})
	}
	var done []Object
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
			done = append(done, Object{Key: f.key, Version: f.version, Deleted: f.deleted})
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

// land puts an object that the peer gave back in line again.
func (s *sender) land(f flying) {
	if f.before == "" {
		delete(s.held, f.key)
	} else {
		s.held[f.key] = f.before
	}
	s.postpone(f.key)
}

// nacked notes that the peer gave one object back. The ack that follows
// covers it.
func (s *sender) nacked(fx []any, ev evNacked) []any {
	for i := range s.flight {
		if f := &s.flight[i]; f.seq == ev.Seq {
			f.returned = !ev.Err.Final()
			return append(fx, fxDropped{f.key, ev.Err})
		}
	}
	return append(fx, fxFail{violation("nack of %d, which is not under way", ev.Seq)})
}
