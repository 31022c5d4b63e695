package device

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ConnectionBy returns a Config.Connection: devices with the same texts in these fields of
// spec.protocol.configData share a connection. A device that lacks one of them shares none.
//
//	Connection: device.ConnectionBy("serialPort")
func ConnectionBy(fields ...string) func(Instance) string {
	return func(dev Instance) string {
		config := make(map[string]any)
		if len(fields) == 0 || dev.Spec.Protocol.Config.Decode(&config) != nil {
			return ""
		}
		key := ""
		for _, field := range fields {
			value, ok := config[field]
			if !ok || value == nil || value == "" {
				return ""
			}
			key += fmt.Sprintf("%v\x00", value)
		}
		return key
	}
}

// connectionFailures is after how many failures in a row, of whichever devices, a connection is
// left alone for a time.
const connectionFailures = 3

// connection is what several devices share: a serial line, a gateway. One call at a time uses
// it. When call after call fails it is left alone, with back-off: then one call tries it, and
// the others wait for what comes of that. All methods may be called by several goroutines at
// once, and on nil.
type connection struct {
	backoff time.Duration // the first
	slot    chan struct{} // has an element while a call uses the connection

	mu     sync.Mutex
	failed int
	next   time.Time     // no call before this
	cause  error         // of the last failure
	held   chan struct{} // closed while the call that uses the connection is stuck
}

func newConnection(first time.Duration) *connection {
	return &connection{backoff: first, slot: make(chan struct{}, 1), held: make(chan struct{})}
}

// waitError says that a connection is left alone until then.
type waitError struct {
	until time.Time
	cause error
}

func (e *waitError) Error() string {
	return "the shared connection has failed and is left alone for now: " + e.cause.Error()
}
func (e *waitError) Unwrap() error { return e.cause }

// acquire waits until no other call uses the connection.
func (c *connection) acquire(ctx context.Context) error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	held := c.held
	c.mu.Unlock()
	select {
	case c.slot <- struct{}{}:
	case <-held:
		return errors.New("the shared connection is in use by a driver of another device that does not return")
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// left is the error of a call while the connection is left alone.
func (c *connection) left() error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Until(c.next) > 0 {
		return &waitError{until: c.next, cause: c.cause}
	}
	return nil
}

// note takes what a call over the connection returned.
func (c *connection) note(err error) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		c.failed, c.next, c.cause = 0, time.Time{}, nil
	case errors.Is(err, ErrConnection):
		c.failed = max(c.failed+1, connectionFailures)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, errStuck):
		c.failed++
	}
	if err != nil && c.failed >= connectionFailures {
		c.next, c.cause = time.Now().Add(backoff(c.backoff, c.failed-connectionFailures)), err
	}
}

// release ends the use of the connection by a call.
func (c *connection) release() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.held:
		c.held = make(chan struct{})
	default:
	}
	<-c.slot
}

// hold says that the call that uses the connection is stuck.
func (c *connection) hold() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.held)
}

// connectionOf returns the connection of a device; nil if it shares none.
func (m *Mapper) connectionOf(dev Instance) *connection {
	if m.cfg.Connection == nil {
		return nil
	}
	key := m.cfg.Connection(dev)
	if key == "" {
		return nil
	}
	if m.connections[key] == nil {
		m.connections[key] = newConnection(m.cfg.Backoff)
	}
	return m.connections[key]
}
