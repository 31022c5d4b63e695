package broker

import (
	"net"
	"sync"
	"time"
)

// latePause is how long the broker waits between two tries to make a socket.
const latePause = 5 * time.Second

// lateListener is the listener of a unix socket on a disk that could not be written when the broker
// began. The socket is made as soon as it can be; the broker's other endpoints work meanwhile.
type lateListener struct {
	path   string
	listen func() (net.Listener, error)

	mu     sync.Mutex
	made   net.Listener // nil until the socket is there
	closed chan struct{}
	once   sync.Once
}

func newLateListener(path string, listen func() (net.Listener, error)) *lateListener {
	return &lateListener{path: path, listen: listen, closed: make(chan struct{})}
}

// Accept makes the socket, however long that takes, and waits for a connection.
func (l *lateListener) Accept() (net.Conn, error) {
	for {
		made, err := l.tryListen()
		if err != nil {
			return nil, err
		}
		if made != nil {
			return made.Accept()
		}
		again := time.NewTimer(latePause)
		select {
		case <-again.C:
		case <-l.closed:
		}
		again.Stop()
	}
}

// tryListen returns the listener, nil if the socket cannot be made yet.
func (l *lateListener) tryListen() (net.Listener, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.closed:
		return nil, net.ErrClosed
	default:
	}
	if l.made == nil {
		made, err := l.listen()
		if err != nil {
			return nil, nil // it was logged at the first try
		}
		l.made = made
	}
	return l.made, nil
}

// Close ends Accept.
func (l *lateListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.made == nil {
		return nil
	}
	return l.made.Close()
}

// Addr is the socket's path.
func (l *lateListener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }
