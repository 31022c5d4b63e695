package quicconn

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/net/ipv4"
)

// SocketError says that a UDP socket no longer works, and that all connections on it have
// ended. Accept, Dial and the streams of those connections fail with it. It does not
// heal: open another socket.
type SocketError struct {
	Addr net.Addr // the socket's own
	Err  error    // what reading it failed with; net.ErrClosed when it was closed
}

// Error names the socket and what to do.
func (e *SocketError) Error() string {
	return fmt.Sprintf("quicconn: the UDP socket %v no longer works, open another: %v", e.Addr, e.Err)
}

// Unwrap returns what reading failed with.
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
	return &Socket{&quic.Transport{Conn: (&inbound{conn: conn, reads: r}).socket(), ConnectionIDLength: idLength}, conn, r}
}

// Done is closed when the socket no longer works: after Close, or because it has failed,
// which shows only after the first Dial from it. Err says why.
func (s *Socket) Done() <-chan struct{} { return s.reads.dead }

// Err is the *SocketError that says why the socket no longer works; nil until Done.
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

// reads decides which failed reads of a socket are final. One goroutine at a time may
// call judge; end and failure may be called by any.
type reads struct {
	addr  net.Addr
	inRow int // reads that failed, since the last one that did not
	once  sync.Once
	dead  chan struct{} // closed when err is set
	err   error
}

func newReads(addr net.Addr) *reads { return &reads{addr: addr, dead: make(chan struct{})} }

// judge returns nil, after a pause, for an error that may be temporary, so that the
// caller reads again; otherwise it returns the error that the read must return.
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

// inbound stands between a socket and quic-go. quic-go gives a socket and all its
// connections up at the first read that fails; inbound reads again. It answers packets of
// connections that an earlier server had, and queues the packets of new connections while
// there is no place for them.
type inbound struct {
	conn     net.PacketConn
	reads    *reads
	resetter *resetter     // nil answers nothing
	initials *initialQueue // nil queues nothing
	ended    atomic.Bool
}

// socket returns the socket that quic-go gets.
func (in *inbound) socket() net.PacketConn {
	if udp, ok := in.conn.(*net.UDPConn); ok {
		return &udpSocket{udp, ipv4.NewPacketConn(udp), in}
	}
	return &packetSocket{in.conn, in}
}

// past is a deadline that ends a read at once.
func past() time.Time { return time.Unix(1, 0) }

// wake ends a read under way, for there may be something else to be read.
func (in *inbound) wake() { _ = in.conn.SetReadDeadline(past()) }

// end is a deadline that quic-go sets, to read no more or, at zero, to read on.
func (in *inbound) end(t time.Time) error {
	in.ended.Store(!t.IsZero())
	return in.conn.SetReadDeadline(t)
}

// failed returns the error that a read must return, or nil if it must be tried again.
func (in *inbound) failed(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) && !in.ended.Load() { // by wake
		_ = in.conn.SetReadDeadline(time.Time{})
		if !in.ended.Load() { // else the line above may have taken its deadline away
			return nil
		}
	}
	return in.reads.judge(err)
}

// udpSocket is a *net.UDPConn, which quic-go reads by ReadBatch where it can
// and by ReadFrom elsewhere.
type udpSocket struct {
	*net.UDPConn
	batch *ipv4.PacketConn // of IPv6 too: messages are the same
	in    *inbound
}

// ReadBatch reads packets until at least one has come.
func (s *udpSocket) ReadBatch(ms []ipv4.Message, flags int) (int, error) {
	for {
		if n := s.in.fill(ms); n > 0 {
			return n, nil
		}
		n, err := s.batch.ReadBatch(ms, flags)
		if err != nil {
			if err = s.in.failed(err); err != nil {
				return 0, err
			}
			continue
		}
		_ = s.in.reads.judge(nil)
		held := 0
		for i := range ms[:n] {
			m := &ms[i]
			p := packet{m.Buffers[0][:m.N], m.OOB[:m.NN], m.Addr}
			if reset := s.in.resetter.reset(p.data); reset != nil {
				s.sendFrom(reset, m)
			}
			if s.in.initials.hold(p) {
				m.N = 0 // which quic-go passes over, as it must an empty packet
				held++
			}
		}
		if held < n {
			return n, nil
		}
	}
}

// fill appends packets of connections that got a place.
func (in *inbound) fill(ms []ipv4.Message) (n int) {
	for n < len(ms) {
		p, ok := in.initials.next()
		if !ok {
			break
		}
		m := &ms[n]
		m.N, m.NN, m.Addr = copy(m.Buffers[0], p.data), copy(m.OOB, p.oob), p.from
		n++
	}
	return n
}

// ReadFrom reads one packet.
func (s *udpSocket) ReadFrom(p []byte) (int, net.Addr, error) { return s.in.readFrom(p) }

// SetReadDeadline is called by quic-go, to end a read for good.
func (s *udpSocket) SetReadDeadline(t time.Time) error { return s.in.end(t) }

// packetSocket is any other net.PacketConn.
type packetSocket struct {
	net.PacketConn
	in *inbound
}

// ReadFrom reads one packet.
func (s *packetSocket) ReadFrom(p []byte) (int, net.Addr, error) { return s.in.readFrom(p) }

// SetReadDeadline is called by quic-go, to end a read for good.
func (s *packetSocket) SetReadDeadline(t time.Time) error { return s.in.end(t) }

func (in *inbound) readFrom(b []byte) (int, net.Addr, error) {
	for {
		if p, ok := in.initials.next(); ok {
			return copy(b, p.data), p.from, nil
		}
		n, addr, err := in.conn.ReadFrom(b)
		if err != nil {
			if err = in.failed(err); err != nil {
				return 0, nil, err
			}
			continue
		}
		_ = in.reads.judge(nil)
		if reset := in.resetter.reset(b[:n]); reset != nil {
			_, _ = in.conn.WriteTo(reset, addr) // the peer asks again
		}
		if !in.initials.hold(packet{data: b[:n], from: addr}) {
			return n, addr, nil
		}
	}
}
