package wsconn

import (
	"crypto/tls"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/edgekit/edgekit/hub/internal/load"
)

// firstByte is how long a TCP connection may send nothing. A TLS client sends first.
const firstByte = 10 * time.Second

// Throttle wraps inner: it accepts TCP connections only as fast as those before complete
// their handshake, see ListenerConfig.Handshakes. Many that come at once then wait in
// the kernel, where that costs nothing. TLS goes on top:
//
//	err := srv.Serve(tls.NewListener(l.Throttle(socket), tlsConfig))
//
// A connection counts from its first byte on; silent ones take no place. One network (an
// IPv4 /24, an IPv6 /64) gets at most three quarters of the places. Connections that are
// used for something other than a link count for 3 s, or for 1 s while others wait. At
// most ListenerConfig.Pending connections that are not links may be open; beyond that
// the oldest ones of the network that has the most are closed.
//
// The first Accept starts goroutines; Close ends them and waits for them.
func (l *Listener) Throttle(inner net.Listener) net.Listener {
	return &throttled{
		Listener: inner, entry: l.entry, pending: l.pending, most: l.cfg.Handshakes, proxies: l.cfg.Proxies,
		ready: make(chan *entering), errs: make(chan error), room: make(chan struct{}, 1), closing: make(chan struct{}),
		admitting: make(map[*entering]struct{}),
	}
}

type throttled struct {
	net.Listener
	entry   *load.Admission
	pending *pending
	proxies []netip.Prefix
	most    int // connections that may wait for a place before no more are accepted

	ready   chan *entering
	errs    chan error    // of Listener.Accept
	room    chan struct{} // has one when fewer may wait than before
	begin   sync.Once
	end     sync.Once
	closing chan struct{}
	running sync.WaitGroup

	mu        sync.Mutex
	admitting map[*entering]struct{} // not returned by Accept yet
	waiting   int                    // of these, how many have sent a byte
}

// Accept waits for the next connection that has sent a byte and has a place.
func (t *throttled) Accept() (net.Conn, error) {
	t.begin.Do(func() { t.running.Go(t.accept) })
	select {
	case e := <-t.ready:
		return e, nil
	case err := <-t.errs:
		return nil, err
	case <-t.closing:
		return nil, net.ErrClosed
	}
}

// accept takes connections from the kernel while there is room for them.
func (t *throttled) accept() {
	for t.hasRoom() {
		conn, err := t.Listener.Accept()
		if err != nil {
			select {
			case t.errs <- err: // the caller decides whether it goes on
				continue
			case <-t.closing:
				return
			}
		}
		e := &entering{Conn: conn, network: load.Network(conn.RemoteAddr()), pending: t.pending}
		t.mu.Lock()
		t.admitting[e] = struct{}{} // before closing is looked at: Close sees it, or it sees Close
		t.mu.Unlock()
		t.pending.add(e)
		t.running.Go(func() { t.admit(e) })
	}
}

// hasRoom waits until few enough wait for a place. It reports false when the
// listener is closed.
func (t *throttled) hasRoom() bool {
	for {
		t.mu.Lock()
		room := t.waiting < t.most
		t.mu.Unlock()
		select {
		case <-t.closing:
			return false
		default:
		}
		if room {
			return true
		}
		select {
		case <-t.room:
		case <-t.closing:
		}
	}
}

// wait adds n to the count of connections that wait for a place.
func (t *throttled) wait(n int) {
	t.mu.Lock()
	t.waiting += n
	t.mu.Unlock()
	select {
	case t.room <- struct{}{}:
	default:
	}
}

// admit passes a connection to Accept once it has sent a byte and has a place.
func (t *throttled) admit(e *entering) {
	given := false
	defer func() {
		t.mu.Lock()
		delete(t.admitting, e)
		t.mu.Unlock()
		if !given {
			_ = e.Close()
		}
	}()
	if !e.listen(t.closing, t.proxies) {
		return
	}
	t.pending.spoke(e)
	t.wait(1)
	defer t.wait(-1)
	pass := t.entry.Enter(e.network, t.closing)
	if pass == nil || !t.pending.placed(e, pass) {
		return
	}
	select {
	case t.ready <- e:
		given = true
	case <-t.closing:
	}
}

// Close closes inner and all connections that Accept has not given out.
func (t *throttled) Close() error {
	t.begin.Do(func() {})
	t.end.Do(func() { close(t.closing) })
	err := t.Listener.Close()
	t.mu.Lock()
	for e := range t.admitting {
		_ = e.Conn.Close() // its reader ends
	}
	t.mu.Unlock()
	t.running.Wait()
	return err
}

// entering is a connection that counts until it has become a link, or is closed.
type entering struct {
	net.Conn
	network netip.Prefix // written with pending.mu, by admit alone
	pending *pending

	first  [1]byte
	unread bool     // first has a byte that Read has not given
	remote net.Addr // who a trusted balancer says that it is; nil means Conn's

	// Guarded by pending.mu.
	spoke bool
	pass  *load.Slot // nil while it has no place
	gone  bool       // it is not in pending
}

// listen waits for the first byte of the client, after the header of its balancer, if it
// has one.
func (e *entering) listen(closing <-chan struct{}, proxies []netip.Prefix) bool {
	select {
	case <-closing:
		return false
	default:
	}
	if e.Conn.SetReadDeadline(time.Now().Add(firstByte)) != nil {
		return false
	}
	if from(e.Conn.RemoteAddr(), proxies) {
		addr, err := readProxy(e.Conn)
		if err != nil {
			return false
		}
		if addr.IsValid() {
			e.remote = net.TCPAddrFromAddrPort(addr)
			e.pending.rename(e, load.Network(e.remote))
		}
	}
	n, err := e.Conn.Read(e.first[:])
	e.unread = n == 1
	return e.unread && err == nil && e.Conn.SetReadDeadline(time.Time{}) == nil
}

// from reports whether the address is in one of the networks.
func from(addr net.Addr, networks []netip.Prefix) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(tcp.AddrPort().Addr().Unmap()) })
}

// RemoteAddr is the client's, also behind a balancer.
func (e *entering) RemoteAddr() net.Addr {
	if e.remote != nil {
		return e.remote
	}
	return e.Conn.RemoteAddr()
}

// Read returns the first byte, and then the others.
func (e *entering) Read(p []byte) (int, error) {
	if !e.unread || len(p) == 0 {
		return e.Conn.Read(p)
	}
	e.unread = false
	return copy(p, e.first[:]), nil
}

func (e *entering) Close() error {
	e.pending.remove(e)
	return e.Conn.Close()
}

// inside stops counting a connection that has become a link.
func inside(conn net.Conn) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	if e, ok := conn.(*entering); ok {
		e.pending.remove(e)
	}
}
