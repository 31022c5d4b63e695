package client

import (
	"context"
	"errors"

	"github.com/eclipse/paho.golang/paho"

	"github.com/edgekit/edgekit/bus"
)

// resubscribe makes all subscriptions on a new connection and then calls the
// functions of NotifyConnect. If the broker does not answer, the next connection tries again.
func (c *Client) resubscribe(ctx context.Context) {
	c.mu.Lock()
	conn := c.conn
	filters := c.subs.Filters()
	c.mu.Unlock()
	if conn == nil {
		return
	}
	request := &paho.Subscribe{}
	for _, filter := range filters {
		request.Subscriptions = append(request.Subscriptions, c.options(filter))
	}
	if len(filters) > 0 {
		if answer, err := conn.Subscribe(ctx, request); err != nil {
			if c.manual != nil && answer != nil {
				c.manual.refused(err)
				return
			}
			refused := refusedOf(filters, answer)
			if len(refused) == 0 || len(refused) == len(filters) {
				c.log.Warn("MQTT subscriptions failed", "err", err)
				if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
					c.Reconnect() // it answers pings, perhaps, and nothing else
					return
				}
				c.startSending(conn)
				return
			}
			c.log.Warn("the MQTT broker refuses some subscriptions: their messages do not come; give the user the right to subscribe", "filters", refused)
		}
	}
	c.log.Info("MQTT broker is connected")
	c.startSending(conn)
	c.notify.Call()
	select {
	case <-c.ready:
	default:
		close(c.ready)
	}
}

// refusedOf returns the filters that the broker has refused. Without an answer that is none.
func refusedOf(filters []string, answer *paho.Suback) (refused []string) {
	if answer == nil || len(answer.Reasons) != len(filters) {
		return nil
	}
	for i, code := range answer.Reasons {
		if code >= 0x80 {
			refused = append(refused, filters[i])
		}
	}
	return refused
}

// options are those of a subscription. A shared one must not have no local (MQTT 5, 3.8.3.1).
func (c *Client) options(filter string) paho.SubscribeOptions {
	o := paho.SubscribeOptions{Topic: filter, QoS: 2, NoLocal: c.cfg.NoLocal && bus.Unshare(filter) == filter}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.manual != nil {
		o.QoS, o.RetainHandling = byte(c.manual.qos), 1 // retained messages come with a new session only
	}
	if c.bridged[filter] > 0 {
		o.NoLocal, o.RetainAsPublished, o.RetainHandling = true, true, 1
	}
	return o
}
