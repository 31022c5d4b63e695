package hubtest

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// Proxy passes TCP connections on to an address, and can spoil them: for
// suites on transports over TCP. Its methods may be called by several
// goroutines at once.
type Proxy struct {
	listener net.Listener
	target   string
	bytes    atomic.Int64

	mu    sync.Mutex
	flow  chan struct{} // closed while bytes may pass
	conns map[net.Conn]struct{}
}

// NewProxy runs a Proxy to target on loopback until the test ends.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: l, target: target, flow: make(chan struct{}), conns: make(map[net.Conn]struct{})}
	close(p.flow)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { p.run(ctx, &wg) })
	t.Cleanup(func() {
		cancel()
		l.Close()
		p.Cut()
		wg.Wait()
	})
	return p
}

// Addr is where the proxy is reached.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Bytes is how many bytes have passed, both ways together.
func (p *Proxy) Bytes() int64 { return p.bytes.Load() }

// Cut breaks all connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

// Stall holds all bytes back until called with false.
func (p *Proxy) Stall(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.flow:
		if on {
			p.flow = make(chan struct{})
		}
	default:
		if !on {
			close(p.flow)
		}
	}
}

func (p *Proxy) flowing() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.flow
}

func (p *Proxy) run(ctx context.Context, wg *sync.WaitGroup) {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		wg.Go(func() { p.serve(ctx, near) })
	}
}

func (p *Proxy) serve(ctx context.Context, near net.Conn) {
	defer near.Close()
	far, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.target)
	if err != nil {
		return
	}
	defer far.Close()
	p.mu.Lock()
	p.conns[near], p.conns[far] = struct{}{}, struct{}{}
	p.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() { p.pass(ctx, near, far) })
	wg.Go(func() { p.pass(ctx, far, near) })
	wg.Wait()
	p.mu.Lock()
	delete(p.conns, near)
	delete(p.conns, far)
	p.mu.Unlock()
}

// pass moves bytes one way until either end fails, and then ends both.
func (p *Proxy) pass(ctx context.Context, from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		select {
		case <-p.flowing():
		case <-ctx.Done():
			return
		}
		if n > 0 {
			p.bytes.Add(int64(n))
			if _, werr := to.Write(buf[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
