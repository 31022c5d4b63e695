package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/manager"
	twincloud "github.com/edgekit/edgekit/twin/cloud"
)

// Topics of the link's news, with the node's name after them. One of the two
// holds a retained message at any time, so that whoever subscribes later knows
// as well.
const (
	connectedTopic    = "$hw/events/connected/"
	disconnectedTopic = "$hw/events/disconnected/"
)

// linkNews is the payload.
type linkNews struct {
	Since     time.Time `json:"since"`
	Reason    string    `json:"reason,omitempty"`    // why the link went
	Transport string    `json:"transport,omitempty"` // while it stands
}

// publishLink tells devices and apps on the bus whether the node has its cloud.
func publishLink(b *bus.Bus, mgr *manager.Manager, log *slog.Logger) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-b.Ready():
		case <-ctx.Done():
			return nil
		}
		for info := range mgr.Connections(ctx) {
			for _, m := range newsOf(info) {
				if err := b.Publish(ctx, m); err != nil && ctx.Err() == nil {
					log.Warn("the link's state was not published", "topic", m.Topic, "error", err)
				}
			}
		}
		return nil
	}
}

// tellTwin tells the part that reports devices whether anybody is there to hear.
func tellTwin(reports *twincloud.Joiner, mgr *manager.Manager) func(context.Context) error {
	return func(ctx context.Context) error {
		for info := range mgr.Connections(ctx) {
			reports.Connected(info.Connected)
		}
		return nil
	}
}

// newsOf is what is published of an info: the news, and the end of what was
// retained before.
func newsOf(info hub.Info) []bus.Message {
	now, before := connectedTopic+info.Node, disconnectedTopic+info.Node
	if !info.Connected {
		now, before = before, now
	}
	text, err := json.Marshal(linkNews{info.Since, info.Reason, info.Transport})
	if err != nil {
		text = []byte("{}")
	}
	return []bus.Message{
		{Topic: before, QoS: bus.AtLeastOnce, Retain: true},
		{Topic: now, Payload: text, QoS: bus.AtLeastOnce, Retain: true},
	}
}
