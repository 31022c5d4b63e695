package quicconn_test

import (
	"errors"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/quicconn"
)

// shared returns a Dialer to a listener from a socket.
func shared(t *testing.T, c *cloud, to *quicconn.Listener, s *quicconn.Socket) *quicconn.Dialer {
	t.Helper()
	d, err := quicconn.NewDialer(quicconn.DialerConfig{Addr: to.Addr().String(), TLS: c.ClientTLS("edge-1"), Socket: s})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func isSocketError(err error) bool {
	_, ok := errors.AsType[*quicconn.SocketError](err)
	return ok
}

// TestSocketFails: the socket of a Listener fails. Accept returns the error, and does not
// wait for connections that cannot come.
func TestSocketFails(t *testing.T) {
	socket := loopback(t, 0)
	link, err := quicconn.Listen(quicconn.ListenerConfig{Socket: socket, TLS: newCloud(t).ServerTLS()})
	if err != nil {
		t.Fatal(err)
	}
	defer link.Close()
	accepted := make(chan error, 1)
	go func() {
		_, err := link.Accept(t.Context())
		accepted <- err
	}()
	socket.Close()
	if err := <-accepted; !isSocketError(err) || t.Context().Err() != nil {
		t.Errorf("Accept gives %v", err)
	}
}

// TestSharedSocketFails: the socket from which edges dial fails. The Socket, its
// connections and all later dials return the error at once, and another socket works.
func TestSharedSocketFails(t *testing.T) {
	c := newCloud(t)
	udp := loopback(t, 0)
	s := quicconn.NewSocket(udp)
	defer s.Close()
	edge, err := shared(t, c, c.link, s).Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer edge.Close()
	if s.Err() != nil {
		t.Errorf("a socket that works has failed: %v", s.Err())
	}
	udp.Close()
	<-s.Done()
	if !isSocketError(s.Err()) {
		t.Errorf("the socket failed with %v", s.Err())
	}
	if _, err := edge.AcceptStream(t.Context()); !isSocketError(err) || !errors.Is(err, net.ErrClosed) {
		t.Errorf("the connection ended with %v", err)
	}
	for range 2 {
		if _, err := shared(t, c, c.link, s).Dial(t.Context()); !isSocketError(err) {
			t.Errorf("Dial gives %v", err)
		}
	}
	other := quicconn.NewSocket(loopback(t, 0))
	again, err := shared(t, c, c.link, other).Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	for range 2 {
		if err := other.Close(); err != nil {
			t.Error(err)
		}
	}
	<-other.Done()
	if _, err := shared(t, c, c.link, other).Dial(t.Context()); !isSocketError(err) || !errors.Is(err, net.ErrClosed) {
		t.Errorf("Dial after Close gives %v", err)
	}
}

// sick is a socket whose next reads fail.
type sick struct {
	net.PacketConn
	fail atomic.Int32 // how many reads must fail
	seen atomic.Int32 // how many have failed
}

func (s *sick) ReadFrom(p []byte) (int, net.Addr, error) {
	n, addr, err := s.PacketConn.ReadFrom(p)
	if err == nil && s.fail.Load() > 0 {
		s.fail.Add(-1)
		s.seen.Add(1)
		return 0, nil, &net.OpError{Op: "read", Net: "udp", Err: os.NewSyscallError("recvmmsg", syscall.ENOBUFS)}
	}
	return n, addr, err
}

// TestSocketOutlivesErrors: reads fail on both sides for a moment, and no connection is
// lost.
func TestSocketOutlivesErrors(t *testing.T) {
	c := newCloud(t)
	near, far := &sick{PacketConn: loopback(t, 0)}, &sick{PacketConn: loopback(t, 0)}
	link := c.serve(quicconn.ListenerConfig{Socket: far})
	s := quicconn.NewSocket(near)
	t.Cleanup(func() { s.Close() })
	edge, err := shared(t, c, link, s).Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { edge.Close() })
	server, err := link.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	near.fail.Store(2)
	far.fail.Store(2)
	for _, way := range [][2]hub.Conn{{edge, server}, {server, edge}} {
		for near.seen.Load()+far.seen.Load() < 2 {
			say(t, way[0])
			if _, err := way[1].AcceptStream(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		say(t, way[0])
		if _, err := way[1].AcceptStream(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSocketGivesUp: reads fail for ever.
func TestSocketGivesUp(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	s := quicconn.NewSocket(broken{loopback(t, 0)})
	defer s.Close()
	if _, err := shared(t, c, c.link, s).Dial(t.Context()); !isSocketError(err) || !errors.Is(err, syscall.ENOMEM) {
		t.Errorf("Dial gives %v", err)
	}
	<-s.Done()
}

// broken is a socket from which nothing can be read.
type broken struct{ net.PacketConn }

func (broken) ReadFrom([]byte) (int, net.Addr, error) { return 0, nil, syscall.ENOMEM }

// TestDeadInBacklog: edges give up before they are accepted. Their places are free at
// once, and Accept returns only connections that are alive.
func TestDeadInBacklog(t *testing.T) {
	c := newCloud(t)
	link := c.serve(quicconn.ListenerConfig{Backlog: 2})
	addr := link.Addr().String()
	for i := range 20 { // their end may come late on a busy machine
		node := "edge-" + strconv.Itoa(i)
		refused := make(chan error, 3)
		var gone []hub.Conn
		for range cap(refused) { // one more than there are places
			conn, err := c.dialer(addr, "gone").Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			gone = append(gone, conn)
			go func() {
				_, err := conn.AcceptStream(t.Context())
				refused <- err
			}()
		}
		if err := <-refused; !errors.Is(err, &hub.Error{Code: hub.CodeUnavailable}) {
			t.Fatalf("where all places are taken: %v", err)
		}
		for _, conn := range gone {
			conn.Close()
		}
		edge, err := c.dialer(addr, node).Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		server, err := link.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		edge.Close()
		if server.Peer().Name == node {
			return
		}
	}
	t.Error("Accept brings connections that have ended")
}
