package hubtest

import (
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Weather is what a PacketProxy does to the packets, each way.
type Weather struct {
	Delay   time.Duration // of each packet
	Jitter  time.Duration // up to which a packet may come later: the order changes
	Loss    float64       // share of packets that are lost, 0 to 1
	Blocked bool          // nothing passes
}

// PacketProxy passes UDP packets on to an address, and can spoil them: for
// suites on transports over UDP. Its methods may be called by several
// goroutines at once.
type PacketProxy struct {
	front  net.PacketConn
	target net.Addr
	bytes  atomic.Int64
	wg     sync.WaitGroup

	mu      sync.Mutex
	weather Weather
	dice    *rand.Rand
	backs   map[string]net.PacketConn // by the client's address
	closed  bool
}

// NewPacketProxy runs a PacketProxy to target on loopback until the test
// ends. What is lost depends on seed alone.
func NewPacketProxy(t testing.TB, target string, seed uint64) *PacketProxy {
	t.Helper()
	to, err := net.ResolveUDPAddr("udp", target)
	if err != nil {
		t.Fatal(err)
	}
	front, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &PacketProxy{
		front: front, target: to, backs: make(map[string]net.PacketConn),
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

// Addr is where the proxy is reached.
func (p *PacketProxy) Addr() string { return p.front.LocalAddr().String() }

// Bytes is how many bytes of payload have passed, both ways together.
func (p *PacketProxy) Bytes() int64 { return p.bytes.Load() }

// SetWeather changes what happens to packets from now on.
func (p *PacketProxy) SetWeather(w Weather) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.weather = w
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

// back is the socket by which the target knows a client.
func (p *PacketProxy) back(client net.Addr) net.PacketConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b := p.backs[client.String()]; b != nil || p.closed {
		return b
	}
	b, err := net.ListenPacket("udp", "127.0.0.1:0")
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

// pass sends one packet on, in the weather that is.
func (p *PacketProxy) pass(packet []byte, by net.PacketConn, to net.Addr) {
	p.mu.Lock()
	w := p.weather
	lost := w.Blocked || p.dice.Float64() < w.Loss
	delay := w.Delay
	if w.Jitter > 0 {
		delay += time.Duration(p.dice.Int64N(int64(w.Jitter)))
	}
	closed := p.closed
	p.mu.Unlock()
	if lost || closed {
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
