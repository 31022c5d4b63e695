package join

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edgekit/edgekit/hub"
)

// GuardConfig sets up a Guard. Directory and Disconnect are required.
type GuardConfig struct {
	Directory hub.Directory // decides about nodes that are not revoked
	// Disconnect ends a node's session: hub.Server.Disconnect.
	Disconnect func(node string, reason *hub.Error) error
	// Ready, if not nil, is closed when all revoked keys were told; nodes that
	// come before are put off.
	Ready  <-chan struct{}
	Logger *slog.Logger // nil discards
}

// Guard is a hub.Directory that turns revoked keys away on every transport, and
// ends the sessions of those that are connected. It keeps the revoked keys and
// those of connected nodes in memory, so that a connection asks nobody. All
// methods may be called by several goroutines at once.
type Guard struct {
	cfg            GuardConfig
	refused, ended atomic.Uint64

	mu       sync.Mutex
	revoked  map[string]struct{}
	standing map[string]map[string]int // sessions by key hash and node
}

// NewGuard checks cfg and makes a Guard.
func NewGuard(cfg GuardConfig) (*Guard, error) {
	switch {
	case cfg.Directory == nil:
		return nil, errors.New("join: GuardConfig.Directory is required")
	case cfg.Disconnect == nil:
		return nil, errors.New("join: GuardConfig.Disconnect is required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Guard{cfg: cfg, revoked: make(map[string]struct{}), standing: make(map[string]map[string]int)}, nil
}

// Attach turns a revoked key away with hub.CodeForbidden, and asks the
// Directory about all others.
func (g *Guard) Attach(ctx context.Context, hello hub.Hello) (hub.Node, error) {
	if g.cfg.Ready != nil {
		select {
		case <-g.cfg.Ready:
		default:
			return hub.Node{}, &hub.Error{
				Code: hub.CodeUnavailable, RetryAfter: 2 * time.Second, Text: "the server has not yet read which keys are revoked",
			}
		}
	}
	if hello.Peer.Certificate == nil {
		return g.cfg.Directory.Attach(ctx, hello)
	}
	key := KeyHash(hello.Peer.Certificate)
	if g.isRevoked(key) {
		g.refused.Add(1)
		return hub.Node{}, &hub.Error{Code: hub.CodeForbidden, Text: ErrRevoked.Error()}
	}
	node, err := g.cfg.Directory.Attach(ctx, hello)
	if err != nil {
		return node, err
	}
	connected := node.Connected
	node.Connected = func(info hub.Info) {
		g.note(key, hello.Node, info.Connected)
		if connected != nil {
			connected(info)
		}
	}
	return node, nil
}

// note keeps count of who is connected. A key that was revoked since Attach is
// found here: Revoke has either seen the session or was before it.
func (g *Guard) note(key, node string, connected bool) {
	g.mu.Lock()
	nodes := g.standing[key]
	switch {
	case connected && nodes == nil:
		g.standing[key] = map[string]int{node: 1}
	case connected:
		nodes[node]++
	default:
		if nodes[node]--; nodes[node] <= 0 {
			delete(nodes, node)
		}
		if len(nodes) == 0 {
			delete(g.standing, key)
		}
	}
	_, revoked := g.revoked[key]
	g.mu.Unlock()
	if connected && revoked {
		g.end(node, key)
	}
}

func (g *Guard) isRevoked(key string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, is := g.revoked[key]
	return is
}

// Revoke makes the key with that hash worthless here and ends its sessions at
// once.
func (g *Guard) Revoke(keyHash string) {
	g.mu.Lock()
	g.revoked[keyHash] = struct{}{}
	var nodes []string
	for node := range g.standing[keyHash] {
		nodes = append(nodes, node)
	}
	g.mu.Unlock()
	for _, node := range nodes {
		g.end(node, keyHash)
	}
}

// end tells the node to go. It may come back and is told by Attach that this is
// for good: the node's newest session might be another key's by now, and that
// one must not be lost to it.
func (g *Guard) end(node, key string) {
	err := g.cfg.Disconnect(node, &hub.Error{Code: hub.CodeUnavailable, Text: ErrRevoked.Error()})
	if err != nil && !errors.Is(err, hub.ErrOffline) {
		g.cfg.Logger.Error("session of a revoked key was not ended", "node", node, "key", key, "error", err)
		return
	}
	g.ended.Add(1)
	g.cfg.Logger.Warn("node was revoked: its session ends", "node", node, "key", key)
}

// Restore takes a Revoke back.
func (g *Guard) Restore(keyHash string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.revoked, keyHash)
}

// GuardStats are a Guard's figures.
type GuardStats struct {
	Revoked int    // keys that are revoked now
	Refused uint64 // connections that were turned away
	Ended   uint64 // sessions that were ended
}

// Stats gives the Guard's figures.
func (g *Guard) Stats() GuardStats {
	g.mu.Lock()
	defer g.mu.Unlock()
	return GuardStats{Revoked: len(g.revoked), Refused: g.refused.Load(), Ended: g.ended.Load()}
}
