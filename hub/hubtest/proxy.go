package hubtest

import (
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Proxy forwards TCP connections to an address, and can delay, stall and break them: for
// suites of transports over TCP. Its methods may be called by several goroutines at once.
type Proxy struct {
	listener net.Listener
	dial     func(context.Context) (net.Conn, error) // to the target
	bytes    atomic.Int64

	mu      sync.Mutex
	weather Weather
	dice    *rand.Rand
	cutIn   int           // bytes until Cut; 0 for never
	flow    chan struct{} // closed while bytes may pass
	conns   map[net.Conn]struct{}
}

// NewProxy runs a Proxy to target on loopback until the test ends.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return newProxy(t, l, func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", target)
	})
}

func newProxy(t testing.TB, l net.Listener, dial func(context.Context) (net.Conn, error)) *Proxy {
	t.Helper()
	p := &Proxy{
		listener: l, dial: dial, dice: rand.New(rand.NewPCG(1, 1)),
		flow: make(chan struct{}), conns: make(map[net.Conn]struct{}),
	}
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

// Addr is the proxy's address.
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

// CutAfter breaks all connections after bytes more bytes have passed.
func (p *Proxy) CutAfter(bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutIn = bytes
}

// SetWeather changes what happens to bytes from now on.
func (p *Proxy) SetWeather(w Weather) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.weather = w
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
	far, err := p.dial(ctx)
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

// parcel is bytes on their way.
type parcel struct {
	data []byte
	due  time.Time
}

// retransmission is how much later than a round trip TCP delivers lost bytes.
const retransmission = 200 * time.Millisecond

// due is when bytes that are sent now arrive.
func (p *Proxy) due() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	delay, lost := p.weather.late(p.dice)
	if lost {
		delay += retransmission + 2*p.weather.Delay
	}
	return time.Now().Add(delay)
}

// pass moves bytes one way until either end fails, and then ends both.
func (p *Proxy) pass(ctx context.Context, from, to net.Conn) {
	under := make(chan parcel, 64) // the most that is under way
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(under)
	wg.Go(func() {
		defer from.Close()
		defer to.Close()
		for one := range under {
			if err := p.deliver(ctx, one, to); err != nil {
				from.Close()
			}
		}
	})
	for {
		buf := make([]byte, 32<<10)
		n, err := from.Read(buf)
		if n > 0 {
			under <- parcel{buf[:n], p.due()}
		}
		if err != nil {
			return
		}
	}
}

func (p *Proxy) deliver(ctx context.Context, one parcel, to net.Conn) error {
	if left := time.Until(one.due); left > 0 {
		select {
		case <-time.After(left):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	select {
	case <-p.flowing():
	case <-ctx.Done():
		return ctx.Err()
	}
	n := len(one.data)
	p.mu.Lock()
	cut := p.cutIn > 0 && p.cutIn <= n
	if cut {
		n = p.cutIn
	}
	p.cutIn = max(0, p.cutIn-n)
	p.mu.Unlock()
	p.bytes.Add(int64(n))
	_, err := to.Write(one.data[:n])
	if cut {
		p.Cut()
	}
	return err
}
