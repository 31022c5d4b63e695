package client

import (
	"bytes"

	"github.com/eclipse/paho.golang/paho"

	"github.com/edgekit/edgekit/bus"
)

// deliver passes one message to each matching subscription.
func (c *Client) deliver(p paho.PublishReceived) (bool, error) {
	m := bus.Message{Topic: p.Packet.Topic, Payload: p.Packet.Payload, QoS: bus.QoS(p.Packet.QoS), Retain: p.Packet.Retain}
	readProperties(&m, p.Packet.Properties)
	if c.manual != nil { // it is set before the connection is made
		c.consume(p, m)
		return true, nil
	}
	matched := c.match(m.Topic)
	for i, deliver := range matched {
		if i > 0 { // each receiver owns its payload
			m.Payload = bytes.Clone(m.Payload)
		}
		deliver(m)
	}
	return len(matched) > 0, nil
}

// match finds the subscriptions for a topic.
func (c *Client) match(topic string) []func(bus.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.subs.Match(topic)
}
