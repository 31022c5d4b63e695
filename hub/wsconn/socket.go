package wsconn

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// corkSize is how many bytes a socket collects before it writes: a message, and what TLS
// adds to it at the edge.
const corkSize = 65 << 10

// corks are the buffers of sockets that are writing.
var corks = sync.Pool{New: func() any { b := make([]byte, 0, corkSize); return &b }}

// socket is the connection below a WebSocket: above TLS in the cloud, below it at the
// edge. It records when bytes arrive, and joins the many small writes of one message, so
// that the buffers that a connection keeps at rest can be tiny.
type socket struct {
	net.Conn
	heard atomic.Int64 // when bytes last arrived, Unix nanoseconds

	mu   sync.Mutex
	cork *[]byte // what is held back; nil unless corked
}

func newSocket(c net.Conn) *socket {
	s := &socket{Conn: c}
	s.heard.Store(time.Now().UnixNano())
	return s
}

func (s *socket) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if n > 0 {
		s.heard.Store(time.Now().UnixNano())
	}
	return n, err
}

func (s *socket) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cork == nil {
		return s.Conn.Write(p)
	}
	total := 0
	for {
		b := *s.cork
		n := min(len(p), corkSize-len(b))
		*s.cork = append(b, p[:n]...)
		total, p = total+n, p[n:]
		if len(p) == 0 {
			return total, nil
		}
		if err := s.emptyLocked(); err != nil {
			return total, err
		}
		if len(p) >= corkSize {
			n, err := s.Conn.Write(p)
			return total + n, err
		}
	}
}

func (s *socket) emptyLocked() error {
	if len(*s.cork) == 0 {
		return nil
	}
	_, err := s.Conn.Write(*s.cork)
	*s.cork = (*s.cork)[:0]
	return err
}

// hold makes later writes wait for release.
func (s *socket) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cork = corks.Get().(*[]byte)
}

// release writes what was collected.
func (s *socket) release() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.emptyLocked()
	corks.Put(s.cork)
	s.cork = nil
	return err
}
