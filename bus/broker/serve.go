package broker

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/listeners"
)

// server is mochi's Listener over ours. mochi's own starts a goroutine for each
// connection and counts it only when it runs: Close then waits on a WaitGroup to
// which such a goroutine may add at the same time. This Close returns only when the
// accept loop and all connections have ended, and none starts after that.
type server struct {
	conns *listener
	log   *slog.Logger

	closing chan struct{} // closed by Close

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup // added to with mu, while not closed
}

var _ listeners.Listener = (*server)(nil)

// acceptPause is how long Serve waits after an Accept that failed.
const acceptPause = 100 * time.Millisecond

// listenerID is mochi's name of the listener.
const listenerID = "mqtt"

func newServer(conns *listener, log *slog.Logger) *server {
	return &server{conns: conns, log: log, closing: make(chan struct{})}
}

// Init implements listeners.Listener.
func (s *server) Init(*slog.Logger) error { return nil }

// Serve accepts connections until Close.
func (s *server) Serve(establish listeners.EstablishFn) {
	s.runJoined(func() {
		for {
			conn, err := s.conns.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil { // too many open files, for example: they are closed again
				s.log.Warn("MQTT connection was not accepted", "error", err)
				select {
				case <-time.After(acceptPause):
				case <-s.closing:
				}
				continue
			}
			started := s.spawn(func() {
				if err := establish(listenerID, conn); err != nil {
					s.log.Debug("MQTT connection ended", "address", conn.RemoteAddr().String(), "error", err)
				}
			})
			if !started {
				_ = conn.Close()
			}
		}
	})
}

// spawn runs f in a goroutine that Close waits for. It reports false after Close.
func (s *server) spawn(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.running.Go(f)
	return true
}

// runJoined runs f, and Close waits for it.
func (s *server) runJoined(f func()) {
	done := make(chan struct{})
	if s.spawn(func() { defer close(done); f() }) {
		<-done
	}
}

// Close ends the connections and waits for them.
func (s *server) Close(closeClients listeners.CloseFn) {
	s.mu.Lock()
	again := s.closed
	s.closed = true
	s.mu.Unlock()
	if !again {
		close(s.closing)
		closeClients(listenerID)
	}
	_ = s.conns.Listener.Close() // a second close does no harm
	s.running.Wait()
}

// ID implements listeners.Listener.
func (s *server) ID() string { return listenerID }

// Address implements listeners.Listener.
func (s *server) Address() string { return s.conns.Addr().String() }

// Protocol implements listeners.Listener.
func (s *server) Protocol() string { return s.conns.Addr().Network() }
