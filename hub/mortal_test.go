package hub_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/memconn"
)

// Programs that die. All that a Client or Server does to the world passes
// through a life: each call to a Source, Sink, Outbox or Inbox, each dial and
// each single frame that is written. A life ends at one of these effects: in
// front of it, in the midst of it (half a frame is out), or right behind it,
// when it has taken place and the program has not learned of it. From then on
// the program does nothing more to the world and learns nothing of it, as after
// SIGKILL; what the fakes hold is what was durable.

// errDead is what a dead program gets for whatever it tries.
var errDead = errors.New("this program is dead")

// point is where an effect is cut off.
type point int

const (
	before point = iota
	amid
	behind
	numPoints
)

func (p point) String() string { return [...]string{"before", "amid", "behind"}[p] }

// manner is what the peer notices of a death.
type manner int

const (
	cutOff    manner = iota // the connection breaks, what was on its way is lost
	finished                // what was on its way arrives, and then the end
	powerless               // what was on its way arrives, and then nothing
	numManners
)

// doom says how a life ends. The zero value is a life without end.
type doom struct {
	kind   string // of the effect that it ends at; empty for any
	after  int    // which of them, counted from 1; 0 for none
	at     point
	manner manner
}

type life struct {
	cancel context.CancelFunc // of the program
	deaths *deaths
	unruly bool // what it writes is duplicated and reordered

	mu     sync.Mutex
	rnd    *rand.Rand
	doom   doom
	count  int  // of effects so far
	doomed bool // the last effect is under way
	dead   bool
	conns  []*mortalConn
}

// deaths counts which effects programs died at.
type deaths struct {
	mu   sync.Mutex
	at   map[string]int
	sent map[string]int // frames that came twice or late
}

func (d *deaths) note(where *map[string]int, what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if *where == nil {
		*where = make(map[string]int)
	}
	(*where)[what]++
}

func (l *life) isDead() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dead
}

// act has one effect take place, if the life lasts: whole, or half of it if it
// has a half.
func (l *life) act(kind string, whole func() error, half func()) error {
	l.mu.Lock()
	if l.dead {
		l.mu.Unlock()
		return errDead
	}
	if l.doom.kind == "" || l.doom.kind == kind {
		l.count++
	}
	last, at := l.count == l.doom.after && !l.doomed, l.doom.at
	l.doomed = l.doomed || last
	l.mu.Unlock()
	if last {
		l.deaths.note(&l.deaths.at, fmt.Sprint(kind, " ", at))
	}
	var err error
	switch {
	case !last || at == behind:
		err = whole()
	case at == amid && half != nil:
		half()
	}
	if last {
		l.die()
	}
	if l.isDead() { // also if it died of something else meanwhile
		return errDead
	}
	return err
}

// die ends the life now.
func (l *life) die() {
	l.mu.Lock()
	l.dead = true
	conns := l.conns
	l.mu.Unlock()
	for _, c := range conns {
		c.part(l.doom.manner)
	}
	l.cancel()
}

// bury closes what a dead program has left open.
func (l *life) bury() {
	l.mu.Lock()
	conns := l.conns
	l.mu.Unlock()
	for _, c := range conns {
		c.Conn.Close()
	}
}

// chance is true once in n times.
func (l *life) chance(n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unruly && l.rnd.IntN(n) == 0
}

func (l *life) pick(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rnd.IntN(n)
}

// take is act for what gives a result.
func take[T any](l *life, kind string, f func() (T, error)) (out T, err error) {
	err = l.act(kind, func() (err error) { out, err = f(); return err }, nil)
	return out, err
}

type mortalSource struct {
	hub.Source
	*life
}

func (s mortalSource) Versions(ctx context.Context) (iter.Seq2[hub.Key, string], error) {
	return take(s.life, "list the source", func() (iter.Seq2[hub.Key, string], error) { return s.Source.Versions(ctx) })
}

func (s mortalSource) Load(ctx context.Context, k hub.Key, held string) (hub.Object, error) {
	return take(s.life, "load", func() (hub.Object, error) { return s.Source.Load(ctx, k, held) })
}

type mortalAckedSource struct {
	mortalSource
	acker hub.Acker
}

func (s mortalAckedSource) Acked(ctx context.Context, acked []hub.Object) error {
	return s.act("tell the acker", func() error { return s.acker.Acked(ctx, acked) }, nil)
}

type mortalSink struct {
	hub.Sink
	*life
}

func (s mortalSink) Versions(ctx context.Context) (iter.Seq2[hub.Key, string], error) {
	return take(s.life, "list the sink", func() (iter.Seq2[hub.Key, string], error) { return s.Sink.Versions(ctx) })
}

func (s mortalSink) Apply(ctx context.Context, objects []hub.Object) error {
	return s.act("apply", func() error { return s.Sink.Apply(ctx, objects) }, nil)
}

type mortalOutbox struct {
	hub.Outbox
	*life
}

func (o mortalOutbox) Sources(ctx context.Context) (iter.Seq[string], error) {
	return take(o.life, "list the outbox", func() (iter.Seq[string], error) { return o.Outbox.Sources(ctx) })
}

func (o mortalOutbox) Next(ctx context.Context, source string, after uint64) (hub.Event, error) {
	return take(o.life, "read", func() (hub.Event, error) { return o.Outbox.Next(ctx, source, after) })
}

func (o mortalOutbox) Acked(ctx context.Context, source string, id uint64) error {
	return o.act("forget", func() error { return o.Outbox.Acked(ctx, source, id) }, nil)
}

type mortalInbox struct {
	hub.Inbox
	*life
}

func (i mortalInbox) Marks(ctx context.Context) (iter.Seq2[string, uint64], error) {
	return take(i.life, "list the marks", func() (iter.Seq2[string, uint64], error) { return i.Inbox.Marks(ctx) })
}

func (i mortalInbox) Append(ctx context.Context, source string, events []hub.Event) error {
	return i.act("append", func() error { return i.Inbox.Append(ctx, source, events) }, nil)
}

type mortalDirectory struct {
	*hubtest.Directory
	*life
}

func (d mortalDirectory) Attach(ctx context.Context, h hub.Hello) (hub.Node, error) {
	n, err := take(d.life, "attach", func() (hub.Node, error) { return d.Directory.Attach(ctx, h) })
	if err != nil {
		return hub.Node{}, err
	}
	n.Down, n.Up = mortalSource{n.Down, d.life}, mortalSink{n.Up, d.life}
	n.Inbox, n.Outbox = mortalInbox{n.Inbox, d.life}, mortalOutbox{n.Outbox, d.life}
	return n, nil
}

type mortalDialer struct {
	hub.Dialer
	*life
}

func (d mortalDialer) Dial(ctx context.Context) (hub.Conn, error) {
	c, err := take(d.life, "dial", func() (hub.Conn, error) { return d.Dialer.Dial(ctx) })
	if c == nil {
		return nil, err
	}
	return d.life.own(c, err)
}

type mortalListener struct {
	*memconn.Network
	*life
}

func (n mortalListener) Accept(ctx context.Context) (hub.Conn, error) {
	c, err := n.Network.Accept(ctx)
	if err != nil {
		return nil, err
	}
	return n.life.own(c, nil)
}

// own makes a connection the program's, if it still lives.
func (l *life) own(c hub.Conn, err error) (hub.Conn, error) {
	mine := &mortalConn{Conn: c, life: l}
	l.mu.Lock()
	l.conns = append(l.conns, mine)
	dead := l.dead
	l.mu.Unlock()
	if dead {
		mine.part(l.doom.manner)
		return mine, nil // it goes on as one whose peer has vanished
	}
	return mine, err
}

// mortalConn is a connection that ends with its program.
type mortalConn struct {
	hub.Conn
	life *life

	mu      sync.Mutex
	gone    bool
	streams []hub.Stream
}

// part is what the other side gets to see of a death. Streams wake up whoever
// waits on this side of them.
func (c *mortalConn) part(m manner) {
	c.mu.Lock()
	c.gone = true
	streams := c.streams
	c.mu.Unlock()
	if m == cutOff {
		c.Conn.Close()
	}
	for _, s := range streams {
		if m == finished {
			s.Close()
		}
		_ = s.SetDeadline(time.Unix(1, 0))
	}
}

func (c *mortalConn) Close() error {
	if c.life.isDead() {
		return nil
	}
	return c.Conn.Close()
}

func (c *mortalConn) OpenStream(ctx context.Context) (hub.Stream, error) {
	s, err := take(c.life, "open a stream", func() (hub.Stream, error) { return c.Conn.OpenStream(ctx) })
	if err != nil {
		return nil, err
	}
	return c.own(s)
}

func (c *mortalConn) AcceptStream(ctx context.Context) (hub.Stream, error) {
	s, err := c.Conn.AcceptStream(ctx)
	if err != nil {
		return nil, err
	}
	return c.own(s)
}

// own makes a stream the program's. The first of a connection carries frames;
// of the others some are late, so that they come in another order than they were
// opened in.
func (c *mortalConn) own(s hub.Stream) (hub.Stream, error) {
	late := time.Duration(0)
	if c.life.chance(4) {
		late = time.Duration(c.life.pick(30)) * time.Millisecond
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return nil, errDead
	}
	c.streams = append(c.streams, s)
	mortal := &mortalStream{Stream: s, life: c.life}
	if len(c.streams) == 1 {
		return &controlStream{mortalStream: mortal, turn: make(chan struct{}, 1)}, nil
	}
	mortal.late = late
	return mortal, nil
}

type mortalStream struct {
	hub.Stream
	life *life
	late time.Duration // of what is read first; used by the reader alone
}

func (s *mortalStream) Read(p []byte) (int, error) {
	if s.late > 0 {
		<-time.After(s.late)
		s.late = 0
	}
	n, err := s.Stream.Read(p)
	if s.life.isDead() {
		return 0, errDead
	}
	return n, err
}

func (s *mortalStream) Write(p []byte) (n int, err error) {
	err = s.life.act("write", func() (err error) { n, err = s.Stream.Write(p); return err }, func() { _, _ = s.Stream.Write(p[:len(p)/2]) })
	return n, err
}

func (s *mortalStream) CloseWrite() error {
	return s.life.act("close a stream's half", s.Stream.CloseWrite, nil)
}

func (s *mortalStream) Close() error {
	if s.life.isDead() {
		return nil
	}
	return s.Stream.Close()
}

func (s *mortalStream) SetDeadline(t time.Time) error {
	if s.life.isDead() {
		return errDead
	}
	return s.Stream.SetDeadline(t)
}

// controlStream writes frame by frame. A connection keeps the order of its
// bytes, so what may come twice, late or in another order is what the protocol
// leaves open: acknowledgements of both classes are cumulative, a pong answers
// any time, and there is no order between the events of different sources nor
// between the classes. That is where they are mixed. A put that comes twice is
// what no connection and no peer of ours brings: the session must end of it,
// without harm.
type controlStream struct {
	*mortalStream
	turn chan struct{} // guards the rest; not a mutex, which a bubble does not take for waiting
	told bool          // the first marks are out: from now on they acknowledge
	held [][]byte      // come late
	gone bool          // a write failed
}

// heldFor is the longest that a frame is held back.
const heldFor = 40 * time.Millisecond

// Frames by their number in message Frame.
const (
	frameGoodbye = 3
	framePong    = 5
	framePut     = 9
	frameAck     = 10
	frameMarks   = 16
	frameEvent   = 17
)

func frameName(n protowire.Number) string {
	names := [...]string{
		1: "hello", 2: "welcome", frameGoodbye: "goodbye", 4: "ping", framePong: "pong", 6: "digest", 7: "want", 8: "versions", framePut: "put",
		frameAck: "ack", 11: "nack", 12: "fragment", 13: "cancel", 14: "open", 15: "response", frameMarks: "marks", frameEvent: "event", 18: "refusal", 19: "batch",
	}
	return names[n]
}

func (s *controlStream) Write(p []byte) (int, error) {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	out := s.mix(p)
	if len(s.held) > 0 {
		time.AfterFunc(time.Duration(s.life.pick(int(heldFor))), s.release)
	}
	if err := s.writeLocked(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// release writes what was held back.
func (s *controlStream) release() {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	if out := s.held; !s.gone {
		s.held = nil
		_ = s.writeLocked(out)
	}
}

func (s *controlStream) writeLocked(frames [][]byte) error {
	for _, f := range frames {
		n, _ := frameOf(f)
		s.gone = s.gone || n == frameGoodbye
		err := s.life.act(frameName(n), func() error { _, err := s.Stream.Write(f); return err },
			func() { _, _ = s.Stream.Write(f[:s.life.pick(len(f))]) })
		if err != nil {
			s.gone = true
			return err
		}
	}
	return nil
}

// mix cuts p into frames and puts them in an order in which they may as well
// arrive.
func (s *controlStream) mix(p []byte) [][]byte {
	var out [][]byte
	for len(p) > 0 {
		size, n := binary.Uvarint(p)
		f := append([]byte(nil), p[:n+int(size)]...)
		p = p[len(f):]
		number, body := frameOf(f)
		switch number {
		case frameMarks:
			if !s.told {
				s.told = lastMarks(body)
				break
			}
			fallthrough
		case frameAck, framePong:
			if s.life.chance(4) {
				s.life.deaths.note(&s.life.deaths.sent, "late "+frameName(number))
				s.held = append(s.held, f)
				continue
			}
			if s.life.chance(8) {
				s.life.deaths.note(&s.life.deaths.sent, "twice "+frameName(number))
				s.held = append(s.held, f)
			}
		case frameEvent:
			if last := len(out) - 1; last >= 0 && eventSource(out[last]) != "" && eventSource(out[last]) != eventSource(f) && s.life.chance(2) {
				s.life.deaths.note(&s.life.deaths.sent, "earlier event")
				out = append(out[:last], f, out[last])
				continue
			}
			if s.life.chance(16) {
				s.life.deaths.note(&s.life.deaths.sent, "twice event")
				out = append(out, f)
			}
		case framePut:
			if s.life.chance(200) {
				s.life.deaths.note(&s.life.deaths.sent, "twice put")
				out = append(out, f)
			}
		case frameGoodbye: // nothing goes after it
			out, s.held = append(out, s.held...), nil
		}
		out = append(out, f)
	}
	return out
}

// frameOf gives a frame's number and its message.
func frameOf(f []byte) (protowire.Number, []byte) {
	_, n := binary.Uvarint(f)
	number, _, tag := protowire.ConsumeTag(f[n:])
	body, _ := protowire.ConsumeBytes(f[n+tag:])
	return number, body
}

// lastMarks reports whether these are the last of the first marks.
func lastMarks(body []byte) bool {
	for len(body) > 0 {
		number, typ, n := protowire.ConsumeTag(body)
		if number == 2 {
			return true
		}
		body = body[n:]
		body = body[protowire.ConsumeFieldValue(number, typ, body):]
	}
	return false
}

// eventSource is the source of an event's frame; empty for other frames.
func eventSource(f []byte) string {
	number, body := frameOf(f)
	for number == frameEvent && len(body) > 0 {
		field, typ, n := protowire.ConsumeTag(body)
		body = body[n:]
		if field == 4 {
			source, _ := protowire.ConsumeString(body)
			return source
		}
		body = body[protowire.ConsumeFieldValue(field, typ, body):]
	}
	return ""
}
