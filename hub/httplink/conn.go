package httplink

import (
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
	// served is set on the server's side, where the session ends the stream with its
	// status; Close only ends the reads and writes under way.
	served bool
}

func newConn(s hub.Stream, local, remote string) *conn {
	return &conn{Stream: s, local: addr(local), remote: addr(remote), closed: make(chan struct{})}
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// ReadFrom copies r to the stream until r ends. io.Copy calls it for what an upgraded
// request sends.
func (c *conn) ReadFrom(r io.Reader) (int64, error) { return carry(c.Stream, r) }

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
