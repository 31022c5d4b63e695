package quicconn

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/net/ipv4"
)

// SocketError says that a UDP socket works no more, and that all connections
// on it have ended. Accept, Dial and the streams of those connections fail with
// it. It does not heal: open another socket.
type SocketError struct {
	Addr net.Addr // the socket's own
	Err  error    // what reading it failed with; net.ErrClosed when it was closed
}

func (e *SocketError) Error() string {
	return fmt.Sprintf("quicconn: the UDP socket %v works no more, open another: %v", e.Addr, e.Err)
}

// Unwrap gives what reading failed with.
func (e *SocketError) Unwrap() error { return e.Err }

// Socket is a UDP socket from which any number of connections are dialled.
type Socket struct {
	transport *quic.Transport
	conn      net.PacketConn
	reads     *reads
}

// NewSocket takes over a UDP socket; closing the Socket closes it.
func NewSocket(conn net.PacketConn) *Socket {
	r := newReads(conn.LocalAddr())
	return &Socket{&quic.Transport{Conn: outlive(conn, r, nil), ConnectionIDLength: idLength}, conn, r}
}

// Done is closed when the socket works no more: by Close, or because it has
// failed, which shows once something was dialled from it. Err says why.
func (s *Socket) Done() <-chan struct{} { return s.reads.dead }

// Err is the *SocketError by which the socket works no more; nil until Done.
func (s *Socket) Err() error { return s.reads.failure() }

// Close ends all connections of the socket. Twice is nil.
func (s *Socket) Close() error {
	s.reads.end(net.ErrClosed)
	_ = s.transport.Close()
	if err := s.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("quicconn: %w", err)
	}
	return nil
}

const (
	// readTries and readPause are how often a read that fails is tried again,
	// and how long after: a kernel that is out of memory for a moment is no
	// reason to lose every connection.
	readTries = 100
	readPause = 10 * time.Millisecond
)

// reads judges how a socket's reads went. Its methods judge and end may be
// called by different goroutines, judge by one at a time.
type reads struct {
	addr  net.Addr
	inRow int // reads that failed, since the last one that did not
	once  sync.Once
	dead  chan struct{} // closed when err is set
	err   error
}

func newReads(addr net.Addr) *reads { return &reads{addr: addr, dead: make(chan struct{})} }

// judge gives nil for an error that the socket may outlive, after a pause, and
// otherwise what the read is to fail with.
func (r *reads) judge(err error) error {
	switch {
	case err == nil:
		r.inRow = 0
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return err // how quic-go ends a read when it closes
	case !errors.Is(err, net.ErrClosed) && r.inRow < readTries:
		r.inRow++
		time.Sleep(readPause)
		return nil
	}
	r.end(err)
	return r.failure()
}

func (r *reads) end(err error) {
	r.once.Do(func() {
		r.err = &SocketError{Addr: r.addr, Err: err}
		close(r.dead)
	})
}

func (r *reads) failure() error {
	select {
	case <-r.dead:
		return r.err
	default:
		return nil
	}
}

// outlive gives conn as quic-go is to see it. quic-go gives up a socket, and
// all connections on it, at the first read that fails; this one is read again,
// and answers packets of connections that a server before this one had.
func outlive(conn net.PacketConn, r *reads, f *forgotten) net.PacketConn {
	if udp, ok := conn.(*net.UDPConn); ok {
		return &udpSocket{udp, ipv4.NewPacketConn(udp), r, f}
	}
	return &packetSocket{conn, r, f}
}

// udpSocket is a *net.UDPConn, which quic-go reads by ReadBatch where it can
// and by ReadFrom elsewhere.
type udpSocket struct {
	*net.UDPConn
	batch     *ipv4.PacketConn // of IPv6 too: messages are the same
	reads     *reads
	forgotten *forgotten
}

// ReadBatch reads packets until at least one has come.
func (s *udpSocket) ReadBatch(ms []ipv4.Message, flags int) (int, error) {
	for {
		n, err := s.batch.ReadBatch(ms, flags)
		if err != nil {
			if err = s.reads.judge(err); err != nil {
				return 0, err
			}
			continue
		}
		_ = s.reads.judge(nil)
		for i := range ms[:n] {
			if reset := s.forgotten.reset(ms[i].Buffers[0][:ms[i].N]); reset != nil {
				s.sendFrom(reset, &ms[i])
			}
		}
		return n, nil
	}
}

// ReadFrom reads one packet.
func (s *udpSocket) ReadFrom(p []byte) (int, net.Addr, error) {
	return readFrom(s.UDPConn, s.reads, s.forgotten, p)
}

// packetSocket is any other net.PacketConn.
type packetSocket struct {
	net.PacketConn
	reads     *reads
	forgotten *forgotten
}

// ReadFrom reads one packet.
func (s *packetSocket) ReadFrom(p []byte) (int, net.Addr, error) {
	return readFrom(s.PacketConn, s.reads, s.forgotten, p)
}

func readFrom(conn net.PacketConn, r *reads, f *forgotten, p []byte) (int, net.Addr, error) {
	for {
		n, addr, err := conn.ReadFrom(p)
		if err != nil {
			if err = r.judge(err); err != nil {
				return 0, nil, err
			}
			continue
		}
		_ = r.judge(nil)
		if reset := f.reset(p[:n]); reset != nil {
			_, _ = conn.WriteTo(reset, addr) // the peer asks again
		}
		return n, addr, nil
	}
}
