package hubtest

import (
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// PacketProxy forwards UDP packets to an address, and can delay, drop and redirect them:
// for suites of transports over UDP. Its methods may be called by several goroutines at
// once.
type PacketProxy struct {
	listen func() (net.PacketConn, error)
	front  net.PacketConn
	target net.Addr
	bytes  atomic.Int64
	wg     sync.WaitGroup

	mu      sync.Mutex
	weather Weather
	blocked bool
	largest int // bytes that a packet may have; 0 for any
	cutIn   int // bytes until cut; 0 for never
	cut     func()
	dice    *rand.Rand
	backs   map[string]net.PacketConn // by the client's address
	closed  bool
}

// NewPacketProxy runs a PacketProxy to target on loopback until the test ends. Which
// packets are lost depends on seed alone.
func NewPacketProxy(t testing.TB, target string, seed uint64) *PacketProxy {
	t.Helper()
	to, err := net.ResolveUDPAddr("udp", target)
	if err != nil {
		t.Fatal(err)
	}
	return newPacketProxy(t, func() (net.PacketConn, error) { return net.ListenPacket("udp", "127.0.0.1:0") }, to, seed)
}

func newPacketProxy(t testing.TB, listen func() (net.PacketConn, error), target net.Addr, seed uint64) *PacketProxy {
	t.Helper()
	front, err := listen()
	if err != nil {
		t.Fatal(err)
	}
	p := &PacketProxy{
		listen: listen, front: front, target: target, backs: make(map[string]net.PacketConn),
		dice: rand.New(rand.NewPCG(seed, seed)),
	}
	p.wg.Go(p.run)
	t.Cleanup(func() {
		p.mu.Lock()
		p.closed = true
		for _, b := range p.backs {
			b.Close()
		}
		p.mu.Unlock()
		front.Close()
		p.wg.Wait()
	})
	return p
}

// Addr is the proxy's address.
func (p *PacketProxy) Addr() string { return p.front.LocalAddr().String() }

// Bytes is how many bytes of payload have passed, both ways together.
func (p *PacketProxy) Bytes() int64 { return p.bytes.Load() }

// SetWeather changes what happens to packets from now on.
func (p *PacketProxy) SetWeather(w Weather) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.weather = w
}

// Block drops every packet, until called with false.
func (p *PacketProxy) Block(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.blocked = on
}

// Narrow drops packets of more than bytes bytes, as a path with a small MTU does; 0
// passes all.
func (p *PacketProxy) Narrow(bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.largest = bytes
}

// CutAfter calls cut once, after bytes more bytes have passed.
func (p *PacketProxy) CutAfter(bytes int, cut func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutIn, p.cut = bytes, cut
}

// Rebind moves every client to a new address, as a NAT does that forgot it.
func (p *PacketProxy) Rebind() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for client, b := range p.backs {
		b.Close()
		delete(p.backs, client)
	}
}

func (p *PacketProxy) run() {
	buf := make([]byte, 64<<10)
	for {
		n, client, err := p.front.ReadFrom(buf)
		if err != nil {
			return
		}
		if back := p.back(client); back != nil {
			p.pass(buf[:n], back, p.target)
		}
	}
}

// back is the socket from which the target gets a client's packets.
func (p *PacketProxy) back(client net.Addr) net.PacketConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b := p.backs[client.String()]; b != nil || p.closed {
		return b
	}
	b, err := p.listen()
	if err != nil {
		return nil
	}
	p.backs[client.String()] = b
	p.wg.Go(func() {
		buf := make([]byte, 64<<10)
		for {
			n, _, err := b.ReadFrom(buf)
			if err != nil {
				return
			}
			p.pass(buf[:n], p.front, client)
		}
	})
	return b
}

// pass forwards one packet in the present weather.
func (p *PacketProxy) pass(packet []byte, by net.PacketConn, to net.Addr) {
	p.mu.Lock()
	delay, lost := p.weather.late(p.dice)
	lost = lost || p.blocked || p.closed || p.largest > 0 && len(packet) > p.largest
	if p.cutIn > 0 && !lost {
		if p.cutIn -= len(packet); p.cutIn <= 0 {
			p.cutIn, lost = 0, true
			p.wg.Go(p.cut)
		}
	}
	p.mu.Unlock()
	if lost {
		return
	}
	p.bytes.Add(int64(len(packet)))
	if delay == 0 {
		_, _ = by.WriteTo(packet, to)
		return
	}
	packet = append([]byte(nil), packet...)
	time.AfterFunc(delay, func() { _, _ = by.WriteTo(packet, to) })
}
