package client

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"github.com/edgekit/edgekit/bus"
)

// acksInterval is how often acknowledgements of Consume are sent.
const acksInterval = 10 * time.Millisecond

// manual is the subscription of Consume.
type manual struct {
	filter string
	qos    bus.QoS
	handle func(m bus.Message, ack func())
	failed chan error // holds the first error
	cancel func()     // ends Consume
}

// fail ends Consume with an error.
func (m *manual) fail(err error) {
	select {
	case m.failed <- err:
	default:
	}
	m.cancel()
}

// refused ends Consume because the broker has refused the subscription.
func (m *manual) refused(err error) {
	m.fail(fmt.Errorf("bus/client: the broker refuses the subscription %s: see what its users may read: %w", m.filter, err))
}

// Consume is Run for a client with one subscription, whose messages are acknowledged when the
// program says so: it connects, and calls handle with each message that matches the filter, one
// at a time, until ctx ends, and then returns nil. An error of handle ends it and is returned,
// and so does the broker's refusal of the subscription. ack may be called once by any goroutine,
// in any order, also after handle has returned; the broker gets the acknowledgements in the order
// of the messages. A message that was not acknowledged comes again with the next connection, or
// the next Consume with the same ClientID within Config.SessionExpiry. Beyond
// Config.ReceiveMaximum of them the broker sends none.
//
// The client must have no other subscriptions. Publish works meanwhile.
func (c *Client) Consume(ctx context.Context, filter string, qos bus.QoS, handle func(ctx context.Context, m bus.Message, ack func()) error) error {
	if err := bus.ValidateFilter(filter); err != nil {
		return err
	}
	if handle == nil {
		return errors.New("bus/client: Consume needs a handler")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m := &manual{filter: filter, qos: qos, failed: make(chan error, 1), cancel: cancel}
	m.handle = func(msg bus.Message, ack func()) {
		if ctx.Err() != nil {
			return // it comes again
		}
		if err := handle(ctx, msg, ack); err != nil {
			m.fail(err)
		}
	}
	c.mu.Lock()
	if c.manual != nil || len(c.subs.Filters()) > 0 {
		c.mu.Unlock()
		return errors.New("bus/client: Consume needs a client without other subscriptions")
	}
	c.manual = m
	c.mu.Unlock()
	// The subscription is kept for resubscribe; its messages go to handle.
	stop, err := c.Subscribe(filter, func(bus.Message) {})
	if err != nil {
		return err
	}
	defer stop()
	err = c.Run(ctx)
	select {
	case failed := <-m.failed:
		return failed
	default:
		return err
	}
}

// consume passes a message to the handler of Consume.
func (c *Client) consume(p paho.PublishReceived, m bus.Message) {
	packet, from := p.Packet, p.Client
	c.manual.handle(m, func() {
		// After the connection has ended this does nothing: the message comes again.
		_ = from.Ack(packet)
	})
}

// EndSession ends the session of cfg.ClientID at the broker, with all that waits in it. A client
// that uses it is disconnected.
func EndSession(ctx context.Context, cfg Config) error {
	c, err := New(cfg)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := c.open(ctx, c.url)
	if err != nil {
		return fmt.Errorf("bus/client: %w", err)
	}
	client := paho.NewClient(paho.ClientConfig{ClientID: cfg.ClientID, Conn: conn, PacketTimeout: packetTimeout})
	connect := &paho.Connect{
		ClientID: cfg.ClientID, CleanStart: true, KeepAlive: uint16(min(c.cfg.Keepalive/time.Second, math.MaxUint16)),
		UsernameFlag: cfg.Username != "", Username: cfg.Username, PasswordFlag: len(cfg.Password) > 0, Password: cfg.Password,
	}
	if _, err := client.Connect(ctx, connect); err != nil {
		_ = conn.Close() // it was refused
		return fmt.Errorf("bus/client: %w", err)
	}
	if err := client.Disconnect(&paho.Disconnect{}); err != nil {
		return fmt.Errorf("bus/client: %w", err)
	}
	<-client.Done()
	return nil
}
