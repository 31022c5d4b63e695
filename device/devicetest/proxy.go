package devicetest

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// The ways in which a Proxy treats the connections between a driver and its device.
const (
	Pass   Fault = iota // what each sends reaches the other
	Hang                // the device's answers do not arrive
	Lie                 // the device's answers are garbled
	Drop                // connections are cut when the device answers
	Refuse              // all connections are cut, and new ones at once
)

// Fault is a way to treat connections.
type Fault int32

// Proxy is a TCP proxy between a driver and its device, which does to it what cables, switches
// and power supplies do. Make one with NewProxy. All methods may be called by several
// goroutines at once.
type Proxy struct {
	listener net.Listener
	device   string
	fault    atomic.Int32
	answers  atomic.Int64
	serving  sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
}

// NewProxy listens at an address of its own on loopback, for a device at the given address.
func NewProxy(device string) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: listener, device: device, conns: make(map[net.Conn]struct{})}
	p.serving.Go(p.accept)
	return p, nil
}

// Address is where the driver finds the device.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Answers is how many pieces of answers of the device have come through or been changed.
func (p *Proxy) Answers() int64 { return p.answers.Load() }

// Set changes how connections are treated. Drop and Refuse cut those that there are.
func (p *Proxy) Set(f Fault) {
	p.fault.Store(int32(f))
	if f == Drop || f == Refuse {
		p.cut()
	}
}

func (p *Proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

// Close ends the proxy and its connections. A second call returns nil.
func (p *Proxy) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	err := p.listener.Close()
	p.cut()
	p.serving.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (p *Proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		if Fault(p.fault.Load()) == Refuse || !p.add(conn) {
			conn.Close()
			continue
		}
		p.serving.Go(func() { p.serve(conn) })
	}
}

// add keeps a connection so that cut finds it. It reports false when the proxy is closed.
func (p *Proxy) add(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *Proxy) remove(c net.Conn) {
	c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// serve passes on what a driver and its device send until one of them ends.
func (p *Proxy) serve(driver net.Conn) {
	defer p.remove(driver)
	device, err := new(net.Dialer).DialContext(context.Background(), "tcp", p.device) // on this machine: it does not hang
	if err != nil || !p.add(device) {
		return
	}
	defer p.remove(device)
	var asking sync.WaitGroup
	asking.Go(func() {
		_, _ = io.Copy(device, driver) // it ends with either connection
		device.Close()
	})
	p.answer(driver, device)
	driver.Close()
	asking.Wait()
}

// answer passes on what the device sends, treated.
func (p *Proxy) answer(driver, device net.Conn) {
	buffer := make([]byte, 4096)
	for n := byte(1); ; n++ {
		size, err := device.Read(buffer)
		if err != nil {
			return
		}
		p.answers.Add(1)
		switch Fault(p.fault.Load()) {
		case Hang:
			continue
		case Drop, Refuse:
			return
		case Lie:
			for i := range buffer[:size] {
				if buffer[i] != '\n' { // else a protocol of lines would only wait
					buffer[i] ^= 1 + (n+byte(i))%7
				}
			}
		}
		if _, err := driver.Write(buffer[:size]); err != nil {
			return
		}
	}
}
