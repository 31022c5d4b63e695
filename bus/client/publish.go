package client

import (
	"bytes"
	"context"
	"fmt"

	"github.com/eclipse/paho.golang/paho"

	"github.com/edgekit/edgekit/bus"
)

// Publish queues m. It blocks while the queue is full and the broker is connected;
// the package comment has the rest.
func (c *Client) Publish(ctx context.Context, m bus.Message) error {
	return c.publish(ctx, m, nil)
}

// PublishConfirm queues m, which is never dropped, and blocks while the queue is full. It calls
// done when the broker has m: after PUBACK or PUBREC, whatever they say, or once m is sent
// with QoS 0. It implements bus.Confirmer.
func (c *Client) PublishConfirm(ctx context.Context, m bus.Message, done func()) error {
	return c.publish(ctx, m, func(byte) { done() })
}

// RefusedError says that the broker answered a message with a reason code of 0x80 or above (MQTT 5.0,
// 3.4.2.1): it does not pass the message on.
type RefusedError struct {
	Topic string
	Code  byte
}

// Error names the topic and the code.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("bus/client: the broker refuses a message on topic %.200q with reason code 0x%02x%s", e.Topic, e.Code, map[byte]string{
		0x87: ": the client may not publish there", 0x90: ": it takes no such topic", 0x97: ": a quota is used up", 0x99: ": the payload has another format",
	}[e.Code])
}

// PublishWait is Publish that waits. It returns nil when the broker has m, a *RefusedError when
// the broker does not take it, and the error of ctx when it ends first: m may still be published then.
func (c *Client) PublishWait(ctx context.Context, m bus.Message) error {
	answer := make(chan byte, 1)
	if err := c.publish(ctx, m, func(code byte) { answer <- code }); err != nil {
		return err
	}
	select {
	case code := <-answer:
		if code >= 0x80 {
			return &RefusedError{m.Topic, code}
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("bus/client: publish to %s: the broker has not answered: %w", m.Topic, ctx.Err())
	}
}

func (c *Client) publish(ctx context.Context, m bus.Message, done func(code byte)) error {
	if !c.running.Load() {
		return bus.ErrNotRunning
	}
	if err := m.Validate(); err != nil {
		return err
	}
	out := paho.Publish{Topic: m.Topic, Payload: m.Payload, QoS: byte(m.QoS), Retain: m.Retain}
	out.Properties = writeProperties(&m)
	var packet bytes.Buffer
	if _, err := out.Packet().WriteTo(&packet); err != nil {
		return fmt.Errorf("bus/client: publish to %s: %w", m.Topic, err)
	}
	for {
		wait := c.outbox.add(&entry{packet: packet.Bytes(), qos: byte(m.QoS), done: done})
		if wait == nil {
			return nil
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return fmt.Errorf("bus/client: publish to %s: queue of %d messages is full: %w", m.Topic, c.cfg.Queue, ctx.Err())
		}
	}
}
