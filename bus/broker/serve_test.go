package broker

import (
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// flaky is a socket whose first Accept fails, and whose further ones give pipes.
type flaky struct {
	conns  chan net.Conn
	failed atomic.Bool
	done   chan struct{}
}

func (f *flaky) Accept() (net.Conn, error) {
	if !f.failed.Swap(true) {
		return nil, errors.New("too many open files")
	}
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.done:
		return nil, net.ErrClosed
	}
}

func (f *flaky) Close() error {
	select {
	case <-f.done:
	default:
		close(f.done)
	}
	return nil
}

func (f *flaky) Addr() net.Addr { return &net.TCPAddr{} }

// TestServe has connections begin while the server closes: Close waits for those that
// have begun, and none begins later. An Accept that fails once ends nothing.
func TestServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		socket := &flaky{conns: make(chan net.Conn), done: make(chan struct{})}
		conns := newListener(socket, nil, 1<<10, func(net.Addr) {})
		s := newServer(conns, slog.New(slog.DiscardHandler))
		var running, begun atomic.Int32
		go s.Serve(func(_ string, c net.Conn) error {
			begun.Add(1)
			running.Add(1)
			defer running.Add(-1)
			_, err := c.Read(make([]byte, 1))
			return errors.Join(err, c.Close())
		})
		here, there := net.Pipe()
		defer here.Close()
		socket.conns <- there
		synctest.Wait()
		if begun.Load() != 1 {
			t.Fatal("the connection after a failure was not accepted")
		}
		closed := 0
		for range 2 {
			s.Close(func(string) { closed++; conns.expire(0) })
			if running.Load() != 0 {
				t.Error("a connection goes on")
			}
		}
		if closed != 1 {
			t.Errorf("clients were closed %d times", closed)
		}
		s.Serve(func(string, net.Conn) error { begun.Add(1); return nil }) // returns
		if begun.Load() != 1 {
			t.Error("a connection began after the end")
		}
		conns.shutdown()
	})
}
