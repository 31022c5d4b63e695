package manager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
)

// NodeConnection takes the link's client info: that it came or went. It is
// stored, so that a node which starts without a cloud can say since when it
// has been alone, and handed to those who called Connections.
func (m *Manager) NodeConnection(ctx context.Context, info hub.Info) error {
	m.linkMu.Lock()
	defer m.linkMu.Unlock()
	if last, _ := m.link.Value(); !info.Connected && info.Epoch != 0 && info.Epoch < last.Epoch {
		return nil // the late end of a session that a newer one has fenced
	}
	if info.Node == "" {
		info.Node = m.cfg.Node
	}
	if err := m.othersReported(ctx, info); err != nil {
		m.log.Warn("reports that another program may have overwritten are not sent again", "err", err)
	}
	m.linkAt.Store(0) // until it is known
	m.link.Publish(info)
	text, err := json.Marshal(info)
	var at uint64
	if err == nil {
		at, err = m.store.Apply(ctx, meta.Op{Key: connectionKey, Value: text})
	}
	if err != nil {
		return fmt.Errorf("meta/manager: %w", err)
	}
	m.linkAt.Store(at)
	return nil
}

// othersReported has all reports sent again when another program has had this
// node's session since this one's last: a copy of the node, or a newer state of it
// before a backup was restored. What that has reported in the node's name is
// what the cloud has now.
func (m *Manager) othersReported(ctx context.Context, info hub.Info) error {
	if !info.Connected || info.Previous == 0 {
		return nil
	}
	r, err := m.store.Get(ctx, connectionKey)
	if errors.Is(err, meta.ErrNotFound) {
		return nil // nothing was ever acknowledged
	}
	if err != nil {
		return fmt.Errorf("meta/manager: %w", err)
	}
	var last hub.Info
	if json.Unmarshal(r.Value, &last) == nil && last.Epoch == info.Previous {
		return nil
	}
	m.log.Info("another program has had this node's session meanwhile; all reports are sent again", "epoch", info.Previous, "own", last.Epoch)
	return m.MetaSync(ctx, meta.Key{})
}

// Connection returns what is known of the link now.
func (m *Manager) Connection() hub.Info {
	info, _ := m.link.Value()
	return info
}

// Connections returns a channel with the link's info, now and at each change. It
// holds one value, the newest; it is closed when ctx ends.
func (m *Manager) Connections(ctx context.Context) <-chan hub.Info { return m.link.Subscribe(ctx) }

// offline reports whether asking the cloud is of no use.
func (m *Manager) offline() bool {
	return m.cfg.Caller == nil || !m.Connection().Connected
}

// loadConnection recalls when the link was last seen, unless the link has
// already told.
func (m *Manager) loadConnection(ctx context.Context) error {
	r, err := m.store.Get(ctx, connectionKey)
	if errors.Is(err, meta.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var last hub.Info
	if err := json.Unmarshal(r.Value, &last); err != nil {
		m.log.Warn("stored link info cannot be read", "err", err)
		return nil
	}
	m.linkMu.Lock()
	defer m.linkMu.Unlock()
	if now := m.Connection(); now.Connected || !now.Since.IsZero() {
		return nil
	}
	m.link.Publish(hub.Info{Node: m.cfg.Node, Since: last.Since, Reason: "not connected since the start"})
	return nil
}
