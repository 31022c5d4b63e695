package mappertest

import (
	"context"
	"net"
	"sync"
	"testing"
)

// Proxy is a TCP proxy before a simulator that can be told to misbehave. All methods may be
// called by several goroutines at once.
type Proxy struct {
	listener net.Listener
	target   string
	conns    sync.WaitGroup

	mu       sync.Mutex
	accepted int
	open     map[net.Conn]bool
	refuse   bool          // close new connections at once
	hold     chan struct{} // not nil: hold what the simulator sends until it is closed
	release  func()        // ends hold
	damage   func([]byte)  // not nil: change what the simulator sends
}

// NewProxy listens on a free port of 127.0.0.1 and passes all connections to target until the
// test ends.
func NewProxy(t *testing.T, target string) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: listener, target: target, open: make(map[net.Conn]bool)}
	p.conns.Go(p.accept)
	t.Cleanup(func() {
		p.Refuse(true)
		listener.Close()
		p.mu.Lock()
		release := p.release
		p.mu.Unlock()
		if release != nil {
			release()
		}
		p.Drop()
		p.conns.Wait()
	})
	return p
}

// Addr is where the proxy listens.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Port is the port where the proxy listens.
func (p *Proxy) Port() int { return p.listener.Addr().(*net.TCPAddr).Port }

// Accepted is how many connections went through so far.
func (p *Proxy) Accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

// SetTarget changes where new connections go: a simulator may have to know the proxy's address
// before it listens.
func (p *Proxy) SetTarget(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// Drop closes all connections.
func (p *Proxy) Drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		c.Close()
	}
}

// Refuse closes all connections, and new ones at once, as long as it is set: the device is
// without power.
func (p *Proxy) Refuse(refuse bool) {
	p.mu.Lock()
	p.refuse = refuse
	p.mu.Unlock()
	if refuse {
		p.Drop()
	}
}

// Hold holds what the simulator sends until release is called: the device hangs.
func (p *Proxy) Hold() (release func()) {
	gate := make(chan struct{})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hold = gate
	p.release = sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.hold = nil
		close(gate)
	})
	return p.release
}

// Damage has change alter what the simulator sends; nil ends that.
func (p *Proxy) Damage(change func([]byte)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.damage = change
}

func (p *Proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.conns.Go(func() { p.serve(c) })
	}
}

// serve passes one connection on.
func (p *Proxy) serve(near net.Conn) {
	defer near.Close()
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	var dialer net.Dialer
	far, err := dialer.DialContext(context.Background(), "tcp", target) // a local port answers at once
	if err != nil {
		return
	}
	defer far.Close()
	p.mu.Lock()
	if p.refuse {
		p.mu.Unlock()
		return
	}
	p.open[near], p.open[far] = true, true
	p.accepted++
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.open, near)
		delete(p.open, far)
	}()
	var both sync.WaitGroup
	both.Go(func() { p.copy(far, near, false) })
	p.copy(near, far, true)
	both.Wait()
}

// copy passes bytes on until one end is closed, and then closes both.
func (p *Proxy) copy(to, from net.Conn, answers bool) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if answers {
			p.mu.Lock()
			hold, damage := p.hold, p.damage
			p.mu.Unlock()
			if hold != nil {
				<-hold
			}
			if damage != nil {
				damage(buf[:n])
			}
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}
