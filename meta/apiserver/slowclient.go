package apiserver

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// The bytes of an answer that a client does not read stay on its stream of the link, up to the
// window of the stream (2 MiB over QUIC), and count against the window that all streams of the
// node share, its state included (64 MiB). So few clients may be behind at a time, and none for
// long.
const (
	// slowestClient is the lowest rate, in bytes a second, at which a client reads an answer
	// that waits for it.
	slowestClient = 16 << 10
	// stalledAfter is how long a write takes until its client counts as one that does not read.
	stalledAfter = 500 * time.Millisecond
	// maxStalled is how many clients may not read at a time. One more, and the answer that
	// waits longest is cut off.
	maxStalled = 16
)

// stalled are the clients that do not read, the one that waits longest first.
type stalled struct {
	mu    sync.Mutex
	waits []*stall
}

// client watches the writes of an answer.
func (a *stalled) client(w http.ResponseWriter) *slowClient {
	control := http.NewResponseController(w)
	return &slowClient{ResponseWriter: w, control: control, stall: stall{of: a, cut: func() { _ = control.SetWriteDeadline(past) }}}
}

// past is a deadline that ends a write at once.
var past = time.Unix(1, 0)

// add notes that a write takes long. turn tells it from later ones.
func (a *stalled) add(s *stall, turn int64) {
	a.mu.Lock()
	if s.turn.Load() != turn {
		a.mu.Unlock()
		return // it has ended
	}
	a.waits = append(a.waits, s)
	var first *stall
	if len(a.waits) > maxStalled {
		first = a.waits[0]
		first.off.Store(true)
		a.waits = slices.Delete(a.waits, 0, 1)
	}
	a.mu.Unlock()
	if first != nil {
		first.cut()
	}
}

func (a *stalled) remove(s *stall) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if i := slices.Index(a.waits, s); i >= 0 {
		a.waits = slices.Delete(a.waits, i, i+1)
	}
}

// stall watches the writes to one client, which come one after another.
type stall struct {
	of   *stalled
	cut  func() // ends the write under way; any goroutine may call it
	turn atomic.Int64
	off  atomic.Bool // the client is cut off
}

var errStalled = errors.New("apiserver: too many clients do not read their answers, and this one has waited longest")

func (s *stall) write(write func() (int, error)) (int, error) {
	if s.off.Load() {
		return 0, errStalled
	}
	turn := s.turn.Load()
	timer := time.AfterFunc(stalledAfter, func() { s.of.add(s, turn) })
	n, err := write()
	s.turn.Add(1)
	if !timer.Stop() {
		s.of.remove(s)
	}
	if s.off.Load() {
		err = errStalled
	}
	return n, err
}

// slowClient ends an answer whose client does not read: all writes together may wait for
// writeWait, and longer by what slowestClient takes; and less where too many clients wait.
type slowClient struct {
	http.ResponseWriter
	control *http.ResponseController
	stall   stall
	written int64
	waited  time.Duration
}

func (w *slowClient) Write(b []byte) (int, error) {
	began := time.Now()
	rest := writeWait + time.Duration(w.written)*time.Second/slowestClient - w.waited
	if err := w.control.SetWriteDeadline(began.Add(rest)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	n, err := w.stall.write(func() (int, error) { return w.ResponseWriter.Write(b) })
	w.written += int64(n)
	w.waited += time.Since(began)
	return n, err
}

// Unwrap lets http.ResponseController through.
func (w *slowClient) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Hijack returns the connection of an upgraded request. A write to it may take any time, since a
// terminal may be stopped for an hour, but counts as one to a client that does not read.
func (w *slowClient) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buf, err := w.control.Hijack()
	if err != nil {
		return nil, nil, err
	}
	return &slowConn{Conn: conn, stall: stall{of: w.stall.of, cut: func() { _ = conn.SetWriteDeadline(past) }}}, buf, nil
}

// slowConn is a hijacked connection.
type slowConn struct {
	net.Conn
	stall stall
}

func (c *slowConn) Write(b []byte) (int, error) {
	return c.stall.write(func() (int, error) { return c.Conn.Write(b) })
}
