package main

import (
	"context"
	"encoding/json"
	"log/slog"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/topics"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/manager"
	"github.com/edgekit/edgekit/twin/devicesync"
)

// publishLinkState publishes each change of the link to devices and apps.
func publishLinkState(b *bus.Bus, mgr *manager.Manager, log *slog.Logger) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-b.Ready():
		case <-ctx.Done():
			return nil
		}
		for info := range mgr.Connections(ctx) {
			for _, m := range linkMessages(info) {
				if err := b.Publish(ctx, m); err != nil && ctx.Err() == nil {
					log.Warn("the link's state could not be published", "topic", m.Topic, "err", err)
				}
			}
		}
		return nil
	}
}

// passLinkState passes the state of the link to the syncer, which reports devices
// less often while the link is down.
func passLinkState(reports *devicesync.Syncer, mgr *manager.Manager) func(context.Context) error {
	return func(ctx context.Context) error {
		for info := range mgr.Connections(ctx) {
			reports.Connected(info.Connected)
		}
		return nil
	}
}

// linkMessages returns the messages for a state of the link: the state itself, and
// an empty one that clears the retained message of the state before. So one of
// the two topics holds a retained message at any time, and a later subscriber
// reads it.
func linkMessages(info hub.Info) []bus.Message {
	now, before := topics.Connected(info.Node), topics.Disconnected(info.Node)
	if !info.Connected {
		now, before = before, now
	}
	text, err := json.Marshal(topics.LinkMessage{Since: info.Since, Reason: info.Reason, Transport: info.Transport})
	if err != nil {
		text = []byte("{}")
	}
	return []bus.Message{
		{Topic: before, QoS: bus.AtLeastOnce, Retain: true},
		{Topic: now, Payload: text, QoS: bus.AtLeastOnce, Retain: true},
	}
}
