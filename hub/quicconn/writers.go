package quicconn

import (
	"net"
	"runtime"
	"sync"
)

// writers write the packets of all connections of a Listener. quic-go has a
// goroutine for each connection to do so, and a stack that was deep enough for a
// system call stays twice as large as one that waits for another goroutine's: 2
// KiB of every node. There are as many writers as CPUs, which is what can be
// written at the same time anyway.
type writers struct {
	conn    *net.UDPConn
	queue   chan *write
	spare   sync.Pool // of *write
	running sync.WaitGroup

	mu     sync.RWMutex // held for reading while a write is under way
	closed bool
}

// write is one call of WriteMsgUDP.
type write struct {
	b, oob  []byte
	addr    *net.UDPAddr
	n, oobn int
	err     error
	done    chan struct{} // has a token when it is done
}

// newWriters starts the writers, which stop ends.
func newWriters(conn *net.UDPConn) *writers {
	w := &writers{conn: conn, queue: make(chan *write)}
	w.spare.New = func() any { return &write{done: make(chan struct{}, 1)} }
	for range runtime.GOMAXPROCS(0) {
		w.running.Go(w.run)
	}
	return w
}

func (w *writers) run() {
	for c := range w.queue {
		c.n, c.oobn, c.err = w.conn.WriteMsgUDP(c.b, c.oob, c.addr)
		c.done <- struct{}{}
	}
}

// write is WriteMsgUDP. Its stack must stay small, so that it has no select and
// no defer.
func (w *writers) write(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error) {
	w.mu.RLock()
	if w.closed {
		w.mu.RUnlock()
		return 0, 0, net.ErrClosed
	}
	c := w.spare.Get().(*write)
	c.b, c.oob, c.addr = b, oob, addr
	w.queue <- c
	<-c.done
	w.mu.RUnlock()
	n, oobn, err = c.n, c.oobn, c.err
	c.b, c.oob, c.addr, c.err = nil, nil, nil, nil
	w.spare.Put(c)
	return n, oobn, err
}

// stop waits for what is being written, and fails what comes later.
func (w *writers) stop() {
	w.mu.Lock()
	again := w.closed
	w.closed = true
	w.mu.Unlock()
	if !again {
		close(w.queue)
	}
	w.running.Wait()
}
