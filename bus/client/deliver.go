package client

import (
	"bytes"
	"slices"

	"github.com/eclipse/paho.golang/paho"

	"github.com/edgekit/edgekit/bus"
)

// deliver passes one message to each matching subscription.
func (c *Client) deliver(p paho.PublishReceived) (bool, error) {
	m := bus.Message{Topic: p.Packet.Topic, Payload: p.Packet.Payload, QoS: bus.QoS(p.Packet.QoS), Retain: p.Packet.Retain}
	readProperties(&m, p.Packet.Properties)
	matched := c.match(m.Topic)
	for i, deliver := range matched {
		if i > 0 { // each receiver owns its payload
			m.Payload = bytes.Clone(m.Payload)
		}
		deliver(m)
	}
	return len(matched) > 0, nil
}

// match finds the subscriptions for a topic: of those with one shared filter the next one.
func (c *Client) match(topic string) []func(bus.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var matched []func(bus.Message)
	var shared map[string][]int
	for id, s := range c.subs {
		inner := bus.Unshare(s.filter)
		switch {
		case !bus.Match(inner, topic):
		case inner == s.filter:
			matched = append(matched, s.deliver)
		default:
			if shared == nil {
				shared = make(map[string][]int)
			}
			shared[s.filter] = append(shared[s.filter], id)
		}
	}
	for _, ids := range shared {
		slices.Sort(ids)
		c.turn++
		matched = append(matched, c.subs[ids[c.turn%len(ids)]].deliver)
	}
	return matched
}
