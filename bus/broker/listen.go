package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/edgekit/edgekit/bus/internal/wsframe"
)

// acceptPause is how long the broker waits after an Accept that failed.
const acceptPause = 100 * time.Millisecond

// listen opens all endpoints, or none.
func (b *Broker) listen(ctx context.Context) ([]net.Listener, error) {
	var all []net.Listener
	for _, e := range b.endpoints {
		l, err := b.listenAt(ctx, e)
		if e.scheme == "unix" && errors.Is(err, syscall.EROFS) {
			b.log.Warn("the MQTT broker's socket cannot be made on this disk; trying again", "socket", e.host, "every", latePause, "err", err)
			l, err = newLateListener(e.host, func() (net.Listener, error) { return b.listenAt(ctx, e) }), nil
		}
		if err != nil {
			for _, l := range all {
				_ = l.Close() // the first error is what counts
			}
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

func (b *Broker) listenAt(ctx context.Context, e endpoint) (net.Listener, error) {
	network := "tcp"
	if e.scheme == "unix" {
		network = "unix"
		if err := removeSocket(e.host); err != nil {
			return nil, err
		}
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, network, e.host)
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("bus/broker: address %s is in use, perhaps by another MQTT broker: stop that one, choose another address, or use it with MQTT mode external: %w", e.host, err)
		}
		return nil, fmt.Errorf("bus/broker: cannot listen at %s: %w", e.host, err)
	}
	if tcp, ok := l.Addr().(*net.TCPAddr); ok && !tcp.IP.IsLoopback() && !b.cfg.authenticates(e) {
		b.log.Warn("MQTT broker is open to the network without authentication", "address", l.Addr().String())
	}
	return l, nil
}

// removeSocket removes a socket that an earlier run left and that nobody serves.
func removeSocket(path string) error {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return nil // listening says what is wrong
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = conn.Close() // listening says that it is in use
		return nil
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("bus/broker: cannot remove the socket of an earlier run: %w", err)
	}
	return nil
}

// accept serves the connections of one listener until it is closed, and waits for them.
func (b *Broker) accept(ctx context.Context, l net.Listener, e endpoint) {
	var serving sync.WaitGroup
	defer serving.Wait()
	for {
		raw, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // too many open files, for example: they are closed again
			b.log.Warn("MQTT connection was not accepted", "err", err)
			select {
			case <-time.After(acceptPause):
			case <-ctx.Done():
			}
			continue
		}
		c := &conn{broker: b, net: raw, remote: host(raw.RemoteAddr()), read: make([]byte, idleBuffer)}
		if e.encrypted() {
			c.net = tls.Server(raw, b.cfg.TLS)
		}
		if !b.admit(c) {
			_ = raw.Close() // it is refused without a word
			continue
		}
		serving.Go(func() {
			defer b.dismiss(c)
			if e.path != "" && !b.upgrade(c, e.path) {
				_ = raw.Close() // it has failed
				return
			}
			b.serve(c)
		})
	}
}

// host is the address without its port; empty on this machine.
func host(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || tcp.IP.IsLoopback() {
		return ""
	}
	return tcp.IP.String()
}

// admit counts a new connection, or reports that there are too many.
func (b *Broker) admit(c *conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !b.running && b.addrs != nil:
		return false
	case b.pending >= b.cfg.MaxPending, c.remote != "" && b.pending >= b.cfg.MaxPending*3/4: // a part is for this machine
		b.bound("pending", "MQTT connections are closed: too many have not logged in yet")
		return false
	case c.remote != "" && b.addresses[c.remote] >= b.cfg.MaxPerAddress:
		b.bound("address", "MQTT connections are closed: one address has too many")
		return false
	}
	b.pending++
	c.waiting = true
	if c.remote != "" {
		b.addresses[c.remote]++
	}
	b.conns[c] = struct{}{}
	return true
}

// dismiss is the opposite of admit.
func (b *Broker) dismiss(c *conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.conns, c)
	b.loggedIn(c)
	if c.remote != "" {
		if b.addresses[c.remote]--; b.addresses[c.remote] == 0 {
			delete(b.addresses, c.remote)
		}
	}
}

// loggedIn takes a connection out of those that wait for their login.
func (b *Broker) loggedIn(c *conn) {
	if c.waiting {
		c.waiting = false
		b.pending--
	}
}

// upgrade makes a WebSocket of a connection.
func (b *Broker) upgrade(c *conn, path string) bool {
	if err := c.net.SetDeadline(time.Now().Add(connectTimeout)); err != nil {
		return false
	}
	ws, err := wsframe.Accept(c.net, path)
	if err != nil {
		b.log.Debug("WebSocket was not accepted", "err", err)
		return false
	}
	c.mu.Lock() // closeAll may end it now
	c.net = ws
	c.mu.Unlock()
	return true
}
