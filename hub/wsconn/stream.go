package wsconn

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// stream is one stream of a Conn, whose mu guards all but the two mutexes here.
type stream struct {
	conn *Conn
	id   uint64
	mine bool // opened here

	reading, writing sync.Mutex // held by the one Read and the one Write
	changed          sync.Cond  // whatever a Read or Write waits for

	closed     bool // by Close
	ended      bool // by CloseWrite
	peerEnded  bool
	peerClosed bool
	deadline   time.Time
	timer      *time.Timer // wakes the waiting Read or Write at the deadline

	// What arrived.
	in      []chunk
	unread  int  // bytes of in
	room    int  // how many more the peer may send
	window  int  // the most that room and unread may be together
	used    int  // bytes read for which the peer has no new credit yet
	starved bool // the peer has more, but no credit

	// What is to be sent.
	out      []byte // of the Write that waits
	credit   int    // how many bytes the peer takes
	reported bool   // the peer knows that credit is used up
	queued   bool   // in Conn.ready

	// Notes.
	noted   bool // in Conn.notes
	opening bool
	ending  bool
	closing bool
	grant   int
}

// chunk is bytes that arrived, and the buffer that they keep from the pool.
type chunk struct {
	data []byte
	buf  *[]byte
}

// Read returns what arrived, and io.EOF when the peer has ended or closed the
// stream and all is read.
func (s *stream) Read(p []byte) (int, error) {
	s.reading.Lock()
	defer s.reading.Unlock()
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.opening {
		c.flushLocked() // the peer may write first
	}
	for {
		switch {
		case s.closed:
			return 0, net.ErrClosed
		case s.expiredLocked():
			return 0, os.ErrDeadlineExceeded
		case len(s.in) > 0:
			return s.takeLocked(p), nil
		case s.peerEnded:
			return 0, io.EOF
		case c.err != nil:
			return 0, c.errorLocked("read")
		case len(p) == 0:
			return 0, nil
		}
		s.changed.Wait()
	}
}

// takeLocked copies without holding mu: only a Read removes from in, and new chunks are
// only appended.
func (s *stream) takeLocked(p []byte) int {
	data := s.in[0].data
	s.conn.mu.Unlock()
	n := copy(p, data)
	s.conn.mu.Lock()
	if s.closed {
		return n
	}
	head := &s.in[0]
	if head.data = head.data[n:]; len(head.data) == 0 {
		if head.buf != nil {
			messages.Put(head.buf)
		}
		*head = chunk{}
		if s.in = s.in[1:]; len(s.in) == 0 {
			s.in = nil
		}
	}
	s.unread -= n
	s.used += n
	s.creditLocked()
	return n
}

// creditLocked lets the peer send more when half of the window is read, or when
// it waits while all is read. In that case the window was too small.
func (s *stream) creditLocked() {
	if s.peerEnded || s.conn.err != nil {
		return
	}
	waits := s.starved && s.unread == 0
	if waits {
		s.growLocked()
	}
	if n := s.window - s.unread - s.room; n > 0 && (waits || s.used >= s.window/2) {
		s.used = 0
		s.room += n
		s.grant += n
		s.noteLocked()
		s.conn.flushLocked()
	}
}

func (s *stream) growLocked() {
	s.starved = false
	c := s.conn
	more := min(s.window, maxWindow-s.window, maxGrown-c.grown)
	if more > 0 && c.budget.reserve(more) {
		s.window += more
		c.grown += more
	}
}

// Write returns when all of p is on its way. Other streams are served meanwhile.
func (s *stream) Write(p []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	s.out = p
	for first := true; ; first = false {
		if err := s.unwritableLocked(); err != nil && (first || len(s.out) > 0) {
			n := len(p) - len(s.out)
			s.out = nil
			return n, err
		}
		if len(s.out) == 0 {
			s.out = nil
			return len(p), nil
		}
		if first {
			s.readyLocked()
		}
		s.changed.Wait()
	}
}

func (s *stream) unwritableLocked() error {
	switch {
	case s.closed:
		return net.ErrClosed
	case s.conn.err != nil:
		return s.conn.errorLocked("write")
	case s.ended, s.peerClosed:
		return io.ErrClosedPipe
	case s.expiredLocked():
		return os.ErrDeadlineExceeded
	}
	return nil
}

func (s *stream) readyLocked() {
	if !s.queued {
		s.queued = true
		s.conn.ready = append(s.conn.ready, s)
	}
	s.conn.flushLocked()
}

// appendDataLocked puts a data frame of at most that many bytes into a message.
func (s *stream) appendDataLocked(b []byte, most int) []byte {
	s.queued = false
	if s.closed {
		return b // its Write has not woken yet, and the peer may have forgotten the stream
	}
	n := min(len(s.out), s.credit, most)
	blocked := len(s.out) > n && s.credit == n
	if n == 0 && (!blocked || s.reported) {
		return b
	}
	f := frame{kind: frameData, id: s.id, data: s.out[:n]}
	if s.reported = blocked; blocked {
		f.kind = frameBlocked
	}
	b = appendFrame(b, f)
	s.out = s.out[n:]
	s.credit -= n
	switch {
	case len(s.out) == 0:
		s.changed.Broadcast()
	case !blocked:
		s.queued = true
		s.conn.ready = append(s.conn.ready, s)
	}
	return b
}

// CloseWrite tells the peer that no more bytes come. It waits for a Write under
// way.
func (s *stream) CloseWrite() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	if s.closed || s.ended || s.conn.err != nil {
		return nil
	}
	s.ended, s.ending = true, true
	s.noteLocked()
	s.conn.flushLocked()
	return nil
}

// Close ends both directions: the peer reads what was written and then the end,
// and can write no more. Twice is nil.
func (s *stream) Close() error {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.in, s.unread, s.grant = nil, 0, 0
	if s.timer != nil {
		s.timer.Stop()
	}
	s.changed.Broadcast()
	if s.opening {
		s.opening = false // the peer never hears of it
		c.dropLocked(s)
		return nil
	}
	s.closing = true
	s.noteLocked()
	c.flushLocked()
	if s.peerClosed {
		c.dropLocked(s)
	}
	return nil
}

// SetDeadline bounds every read and write.
func (s *stream) SetDeadline(t time.Time) error {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	s.deadline = t
	if left := time.Until(t); !t.IsZero() && left > 0 {
		s.timer = time.AfterFunc(left, s.wake)
	}
	s.changed.Broadcast()
	return nil
}

func (s *stream) wake() {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	s.changed.Broadcast()
}

func (s *stream) expiredLocked() bool {
	return !s.deadline.IsZero() && !time.Now().Before(s.deadline)
}

func (s *stream) noteLocked() {
	if !s.noted {
		s.noted = true
		s.conn.notes = append(s.conn.notes, s)
	}
}

// appendNotesLocked appends the stream's control frames to a message.
func (s *stream) appendNotesLocked(b []byte) []byte {
	s.noted = false
	if s.opening {
		b = appendFrame(b, frame{kind: frameOpen, id: s.id})
	}
	switch {
	case s.closing:
		b = appendFrame(b, frame{kind: frameClose, id: s.id})
	case s.ending:
		b = appendFrame(b, frame{kind: frameEnd, id: s.id})
	}
	if s.grant > 0 {
		b = appendFrame(b, frame{kind: frameCredit, id: s.id, n: uint64(s.grant)})
	}
	s.opening, s.ending, s.closing, s.grant = false, false, false, 0
	return b
}

// receivedLocked acts on a frame for this stream. buf is the buffer that the
// frame's bytes may stay in; nil has them copied.
func (s *stream) receivedLocked(f frame, buf *[]byte) error {
	switch f.kind {
	case frameData, frameBlocked:
		return s.dataLocked(f, buf)
	case frameCredit:
		if f.n > maxWindow || s.credit+int(f.n) > maxWindow {
			return violation("credit of %d bytes for stream %d", f.n, s.id)
		}
		s.credit += int(f.n)
		s.reported = false
		if len(s.out) > 0 {
			s.readyLocked()
		}
	case frameEnd:
		if s.peerEnded {
			return violation("stream %d ended twice", s.id)
		}
		s.peerEnded = true
		s.changed.Broadcast()
	case frameClose:
		if s.peerClosed {
			return violation("stream %d closed twice", s.id)
		}
		s.peerEnded, s.peerClosed = true, true
		s.changed.Broadcast()
		if s.closed {
			s.conn.dropLocked(s)
		}
	}
	return nil
}

func (s *stream) dataLocked(f frame, buf *[]byte) error {
	n := len(f.data)
	switch {
	case s.peerEnded:
		return violation("bytes after the end of stream %d", s.id)
	case n > s.room:
		return violation("%d bytes for stream %d, which takes %d", n, s.id, s.room)
	}
	s.room -= n
	s.starved = f.kind == frameBlocked
	if s.closed {
		return nil
	}
	s.unread += n
	last := len(s.in) - 1
	switch {
	case n == 0:
		s.creditLocked() // it waits, and all may be read
	case buf != nil:
		s.in = append(s.in, chunk{f.data, buf})
	case last >= 0 && s.in[last].buf == nil && cap(s.in[last].data)-len(s.in[last].data) >= n:
		s.in[last].data = append(s.in[last].data, f.data...)
	default:
		// Some room for what follows: many small frames cost little more than
		// what they carry.
		s.in = append(s.in, chunk{data: append(make([]byte, 0, max(n, 512)), f.data...)})
	}
	s.changed.Broadcast()
	return nil
}
