package manager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
)

// NodeConnection receives the state of the link: connected or disconnected. It stores
// the state, so that a node that starts offline can say since when it is offline, and
// passes it to the channels of Connections.
func (m *Manager) NodeConnection(ctx context.Context, info hub.Info) error {
	m.linkMu.Lock()
	defer m.linkMu.Unlock()
	if last, _ := m.link.Value(); !info.Connected && info.Epoch != 0 && info.Epoch < last.Epoch {
		return nil // an old session ended late; a newer one has replaced it
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

// othersReported sends all reports again when another program had this node's session
// since this program's last one: a copy of the node, or the node before a backup was
// restored. The cloud then holds what that program reported.
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

// Connection returns the last known state of the link.
func (m *Manager) Connection() hub.Info {
	info, _ := m.link.Value()
	return info
}

// Connections returns a channel with the state of the link: the present one, and each
// change. The channel holds only the newest state. It is closed when ctx ends.
func (m *Manager) Connections(ctx context.Context) <-chan hub.Info { return m.link.Subscribe(ctx) }

// offline reports whether asking the cloud is of no use.
func (m *Manager) offline() bool {
	return m.cfg.Caller == nil || !m.Connection().Connected
}

// loadConnection reads the stored state of the link, unless the link has already
// reported a newer one.
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
