package wsconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"nhooyr.io/websocket"

	"github.com/edgekit/edgekit/hub"
)

const (
	transport   = "websocket"
	subprotocol = "edgekit.v1"
)

// errClosed is why a connection ended that this side closed.
var errClosed = errors.New("closed")

// Conn is one multiplexed WebSocket connection. At rest it costs two
// goroutines, which Close waits for, and no buffers but those of TLS.
type Conn struct {
	ws      *websocket.Conn
	socket  *socket
	peer    hub.Peer
	odd     uint64 // 1 at the edge, whose streams have odd ids
	budget  *memoryBudget
	slots   chan struct{}  // held by the streams opened here
	arrived chan struct{}  // has a token when accepted may not be empty
	ended   chan struct{}  // closed when err is set
	running sync.WaitGroup // receive and, while there is something to send, flush

	mu       sync.Mutex
	err      error  // why the connection ended; nil while it stands
	left     func() // called when it ends, unless nil; must not wait
	streams  map[uint64]*stream
	last     uint64    // id of the stream opened last here
	peerLast uint64    // and by the peer
	theirs   int       // streams of the peer in streams
	accepted []*stream // that AcceptStream has not returned yet
	notes    []*stream // that have control frames to send
	ready    []*stream // that have bytes to send
	flushing bool      // flush runs
	grown    int       // bytes of windows beyond their beginning
}

func newConn(ws *websocket.Conn, s *socket, peer hub.Peer, edge bool, g *memoryBudget) *Conn {
	ws.SetReadLimit(maxMessage)
	c := &Conn{
		ws: ws, socket: s, peer: peer, budget: g, slots: make(chan struct{}, maxStreams),
		arrived: make(chan struct{}, 1), ended: make(chan struct{}), streams: make(map[uint64]*stream),
	}
	if edge {
		c.odd = 1
	}
	c.running.Go(c.receive)
	return c
}

// OpenStream opens a stream to the peer, which learns of it when the stream is
// first used.
func (c *Conn) OpenStream(ctx context.Context) (hub.Stream, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-c.ended:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, c.errorLocked("open stream")
	}
	if c.last += 2; c.last == 2 {
		c.last = 2 - c.odd
	}
	s := c.addLocked(c.last, true)
	s.opening = true
	s.noteLocked()
	return s, nil
}

// AcceptStream waits for a stream of the peer.
func (c *Conn) AcceptStream(ctx context.Context) (hub.Stream, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c.mu.Lock()
		if len(c.accepted) > 0 {
			s := c.accepted[0]
			if c.accepted = c.accepted[1:]; len(c.accepted) == 0 {
				c.accepted = nil
			} else {
				notify(c.arrived)
			}
			c.mu.Unlock()
			return s, nil
		}
		err := c.err
		if err != nil {
			err = c.errorLocked("accept stream")
		}
		c.mu.Unlock()
		if err != nil {
			return nil, err
		}
		select {
		case <-c.arrived:
		case <-c.ended:
		case <-ctx.Done():
		}
	}
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Peer says who is at the other end, by its certificate.
func (c *Conn) Peer() hub.Peer { return c.peer }

// LastRead is when the last byte arrived, on whatever stream.
func (c *Conn) LastRead() time.Time { return time.Unix(0, c.socket.heard.Load()) }

// Close ends the connection at once and waits for its goroutines. Twice is
// nil.
func (c *Conn) Close() error {
	c.fail(errClosed)
	_ = c.ws.CloseNow() // says only that it was closed already
	c.running.Wait()
	return nil
}

// errorLocked makes the end of the connection recognizable as such.
func (c *Conn) errorLocked(doing string) error {
	return fmt.Errorf("wsconn: %s: %w: %w", doing, net.ErrClosed, c.err)
}

// fail ends the connection for the reason given, unless it has ended already. Calls that
// wait for the peer return.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	close(c.ended)
	for _, s := range c.streams {
		s.changed.Broadcast()
	}
	c.budget.release(c.grown)
	c.notes, c.ready = nil, nil
	if c.left != nil {
		c.left()
	}
}

// whenEnded has f called when the connection ends, or now if it has. f must
// not wait.
func (c *Conn) whenEnded(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left = f; c.err != nil {
		f()
	}
}

// addLocked makes a stream.
func (c *Conn) addLocked(id uint64, mine bool) *stream {
	w := windowOf(id)
	s := &stream{conn: c, id: id, mine: mine, window: w, room: w, credit: w}
	s.changed.L = &c.mu
	c.streams[id] = s
	return s
}

// dropLocked forgets a stream that both sides have closed.
func (c *Conn) dropLocked(s *stream) {
	delete(c.streams, s.id)
	if more := s.window - windowOf(s.id); more > 0 && c.err == nil {
		c.grown -= more
		c.budget.release(more)
	}
	if s.mine {
		<-c.slots
	} else {
		c.theirs--
	}
}

// background is the context of calls that only Close may end: nhooyr's WebSocket closes
// the connection when the context of a call ends.
func background() context.Context { return context.Background() }

// messages are the buffers of messages, in use only while one is read, waits
// to be read by its stream's user, or is written.
var messages = sync.Pool{New: func() any { b := make([]byte, maxMessage+1); return &b }}

// small are buffers for the messages of a connection that is not busy.
var small = sync.Pool{New: func() any { b := make([]byte, 2<<10); return &b }}

// receive reads messages until the connection ends.
func (c *Conn) receive() {
	busy := false // the last message was large
	for {
		kind, r, err := c.ws.Reader(background())
		if err == nil && kind != websocket.MessageBinary {
			err = violation("text message on a link")
		}
		if err == nil {
			busy, err = c.message(r, busy)
		}
		if err != nil {
			c.fail(err)
			_ = c.ws.CloseNow() // says only that it was closed already
			return
		}
	}
}

// message reads and handles one message, and reports whether it was large.
func (c *Conn) message(r io.Reader, large bool) (bool, error) {
	first := small.Get().(*[]byte)
	defer small.Put(first)
	n := 0
	if !large {
		var err error
		if n, err = io.ReadFull(r, *first); isEnd(err) {
			_, err = c.handle((*first)[:n], nil)
			return false, err
		} else if err != nil {
			return false, err
		}
	}
	buf := messages.Get().(*[]byte)
	copy(*buf, (*first)[:n])
	more, err := io.ReadFull(r, (*buf)[n:])
	kept := false
	if isEnd(err) { // always, since the buffer has room for more than the limit
		n += more
		kept, err = c.handle((*buf)[:n], buf)
	}
	if !kept {
		messages.Put(buf)
	}
	return n > len(*first), err
}

func isEnd(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// handle acts on the frames of a message. buf is the buffer of the message, if a stream
// may keep it; kept says that one did.
func (c *Conn) handle(b []byte, buf *[]byte) (kept bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(b) > 0 {
		f, rest, err := parseFrame(b)
		if err != nil {
			return kept, err
		}
		s := c.streams[f.id]
		switch {
		case f.kind == frameOpen:
			err = c.openedLocked(f.id)
		case s == nil:
			err = violation("frame of kind %d for stream %d, which is not open", f.kind, f.id)
		case len(f.data) >= maxMessage/2 && !s.closed:
			kept = true
			err = s.receivedLocked(f, buf)
		default:
			err = s.receivedLocked(f, nil)
		}
		if err != nil {
			return kept, err
		}
		b = rest
	}
	return kept, nil
}

func (c *Conn) openedLocked(id uint64) error {
	if id%2 == c.odd || id <= c.peerLast {
		return violation("stream %d opened after %d", id, c.peerLast)
	}
	if c.theirs >= maxStreams {
		return violation("more than %d streams", maxStreams)
	}
	c.peerLast = id
	c.theirs++
	c.accepted = append(c.accepted, c.addLocked(id, false))
	notify(c.arrived)
	return nil
}

// flushLocked starts flush, unless it runs.
func (c *Conn) flushLocked() {
	if !c.flushing && c.err == nil {
		c.flushing = true
		c.running.Go(c.flush)
	}
}

// flush sends messages until there is nothing more to send.
func (c *Conn) flush() {
	buf := messages.Get().(*[]byte)
	defer messages.Put(buf)
	for {
		b := c.fill((*buf)[:0])
		if len(b) == 0 {
			return
		}
		c.socket.hold()
		err := c.ws.Write(background(), websocket.MessageBinary, b)
		if released := c.socket.release(); err == nil {
			err = released
		}
		if err != nil {
			c.fail(err)
			c.socket.Close() // ends receive
			return
		}
	}
}

// fill makes the next message: the notes of streams, then bytes of those that have
// some, round robin.
func (c *Conn) fill(b []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.notes) > 0 && len(b) < maxMessage/2 {
		s := c.notes[0]
		c.notes = c.notes[1:]
		b = s.appendNotesLocked(b)
	}
	if len(c.notes) > 0 {
		return b // the open frame must precede the stream's bytes
	}
	c.notes = nil
	for len(c.ready) > 0 && len(b) < maxMessage-maxHeader {
		s := c.ready[0]
		c.ready = c.ready[1:]
		most := maxMessage - maxHeader - len(b)
		if len(c.ready) > 0 {
			most = min(most, slice)
		}
		b = s.appendDataLocked(b, most)
	}
	if len(c.ready) == 0 {
		c.ready = nil
	}
	if len(b) == 0 {
		c.flushing = false
	}
	return b
}
