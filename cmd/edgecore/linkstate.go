package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/manager"
	"github.com/edgekit/edgekit/twin/devicesync"
)

// Topics of the link's news, with the node's name after them. One of the two
// holds a retained message at any time, so that whoever subscribes later knows
// as well.
const (
	connectedTopic    = "$hw/events/connected/"
	disconnectedTopic = "$hw/events/disconnected/"
)

// linkState is the payload.
type linkState struct {
	Since     time.Time `json:"since"`
	Reason    string    `json:"reason,omitempty"`    // why the link went
	Transport string    `json:"transport,omitempty"` // while it stands
}

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
					log.Warn("the link's state was not published", "topic", m.Topic, "error", err)
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

// linkMessages gives the messages for a state of the link: the state itself, and
// an empty one that clears the retained message of the state before.
func linkMessages(info hub.Info) []bus.Message {
	now, before := connectedTopic+info.Node, disconnectedTopic+info.Node
	if !info.Connected {
		now, before = before, now
	}
	text, err := json.Marshal(linkState{info.Since, info.Reason, info.Transport})
	if err != nil {
		text = []byte("{}")
	}
	return []bus.Message{
		{Topic: before, QoS: bus.AtLeastOnce, Retain: true},
		{Topic: now, Payload: text, QoS: bus.AtLeastOnce, Retain: true},
	}
}
