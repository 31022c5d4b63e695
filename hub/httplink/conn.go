package httplink

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/edgekit/edgekit/hub"
)

// conn makes a net.Conn of a stream, as net/http wants one.
type conn struct {
	hub.Stream
	local, remote net.Addr
	once          sync.Once
	closed        chan struct{} // closed by Close
	// served is set on the server's side. The session then ends the stream in
	// good order; Close only ends the reads and writes under way.
	served bool
}

func newConn(s hub.Stream, local, remote string) *conn {
	return &conn{Stream: s, local: addr(local), remote: addr(remote), closed: make(chan struct{})}
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// The buffer with which ReadFrom copies.
const (
	firstCopy = 4 << 10
	mostCopy  = 60 << 10 // with the headers before it one message of a link over WebSocket
)

// ReadFrom writes what r gives. io.Copy calls it for what an upgraded request
// sends: a session at rest has a small buffer, one that carries many bytes a
// large one.
func (c *conn) ReadFrom(r io.Reader) (int64, error) {
	buf, total := make([]byte, firstCopy), int64(0)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			written, err := c.Write(buf[:n])
			if total += int64(written); err != nil {
				return total, err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return total, nil
		case err != nil:
			return total, err
		case n == len(buf) && n < mostCopy:
			buf = make([]byte, min(4*n, mostCopy))
		}
	}
}

// Close ends both directions.
func (c *conn) Close() error {
	var err error
	c.once.Do(func() {
		if c.served {
			err = c.Stream.SetDeadline(time.Unix(1, 0))
		} else {
			err = c.Stream.Close()
		}
		close(c.closed)
	})
	return err
}

// SetReadDeadline bounds writes too: a stream has one deadline. net/http sets
// it to end a read of its own while nobody writes.
func (c *conn) SetReadDeadline(t time.Time) error { return c.SetDeadline(t) }

// SetWriteDeadline bounds reads too.
func (c *conn) SetWriteDeadline(t time.Time) error { return c.SetDeadline(t) }

// addr names an end of a stream: a node, or the cloud.
type addr string

func (addr) Network() string  { return "hub" }
func (a addr) String() string { return string(a) }
