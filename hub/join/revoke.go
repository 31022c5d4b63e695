package join

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
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
	// Names, if not nil, knows which key has a node's name; any other key is refused. It
	// is asked only about nodes whose key was not given to Hold. If it is a KeyReplacer,
	// a renewed key is confirmed when it is first used.
	Names Names
	// Ready, if not nil, is closed when all revoked keys were given to Revoke. Nodes that
	// connect before are asked to come back.
	Ready  <-chan struct{}
	Logger *slog.Logger // nil discards
}

// Guard is a hub.Directory that refuses revoked keys on every transport, and keys that do
// not have their node's name, and ends the sessions of those that are connected. It has
// the revoked keys, the keys that have names and the keys of connected nodes in memory,
// so that a connection costs no query. All methods may be called by several goroutines
// at once.
type Guard struct {
	cfg            GuardConfig
	refused, ended atomic.Uint64

	mu       sync.Mutex
	revoked  map[string]error          // why, by key hash
	holders  map[string][]string       // by node, as KeyReplacer.Keys gives them; only with Config.Names
	standing map[string]map[string]int // sessions by key hash and node
}

// errNotHolder refuses a key that does not have its node's name.
var errNotHolder = fmt.Errorf("%w: its name was freed, or belongs to another key now", ErrIdentity)

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
	return &Guard{
		cfg: cfg, revoked: make(map[string]error), holders: make(map[string][]string), standing: make(map[string]map[string]int),
	}, nil
}

// Attach refuses a revoked key, and one that does not have the node's name, with
// hub.CodeForbidden, and asks the Directory about all others.
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
	if why := g.isRevoked(key); why != nil {
		g.refused.Add(1)
		return hub.Node{}, &hub.Error{Code: hub.CodeForbidden, Text: why.Error()}
	}
	known, err := g.checkHolder(ctx, hello.Node, key)
	if err != nil {
		return hub.Node{}, err
	}
	node, err := g.cfg.Directory.Attach(ctx, hello)
	if err != nil {
		return node, err
	}
	connected := node.Connected
	node.Connected = func(info hub.Info) {
		g.countSession(key, hello.Node, info.Connected, known)
		if connected != nil {
			connected(info)
		}
	}
	return node, nil
}

// checkHolder refuses a key that does not have the node's name. The keys from Hold may be
// older than this key: then the store decides. It reports whether Hold knew the key.
func (g *Guard) checkHolder(ctx context.Context, node, key string) (known bool, _ error) {
	if g.cfg.Names == nil {
		return false, nil
	}
	g.mu.Lock()
	keys := g.holders[node]
	g.mu.Unlock()
	if known = slices.Contains(keys, key); !known {
		var err error
		if keys, err = namesKeys(ctx, g.cfg.Names, node); err != nil {
			g.cfg.Logger.Warn("a node is asked to come back: it is not known which key has its name", "node", node, "err", err)
			return false, &hub.Error{Code: hub.CodeUnavailable, RetryAfter: 5 * time.Second, Text: "the server cannot read who has the node's name"}
		}
	}
	if !slices.Contains(keys, key) {
		g.refused.Add(1)
		return false, &hub.Error{Code: hub.CodeForbidden, Text: errNotHolder.Error()}
	}
	if r, ok := g.cfg.Names.(KeyReplacer); ok && len(keys) > 1 && keys[0] == key {
		if err := r.Confirm(ctx, node, key); err != nil {
			g.cfg.Logger.Warn("a renewed key was not confirmed: the earlier key stays valid until the node connects again", "node", node, "err", err)
		}
	}
	return known, nil
}

// Hold sets which keys have the node's name, as KeyReplacer.Keys returns them; none for a
// name that was freed. If another machine has the name now, or none, the sessions of the
// other keys end at once. Without Config.Names it does nothing.
func (g *Guard) Hold(node string, keys []string) {
	if g.cfg.Names == nil {
		return
	}
	g.mu.Lock()
	had := g.holders[node]
	if len(keys) == 0 {
		delete(g.holders, node)
	} else {
		g.holders[node] = slices.Clone(keys)
	}
	// A machine that has renewed its key keeps the session that stands.
	renewed := slices.ContainsFunc(keys, func(k string) bool { return slices.Contains(had, k) })
	var gone []string
	if len(had) > 0 && !renewed {
		for key, nodes := range g.standing {
			if nodes[node] > 0 && !slices.Contains(keys, key) {
				gone = append(gone, key)
			}
		}
	}
	g.mu.Unlock()
	for _, key := range gone {
		g.endSession(node, key, errNotHolder)
	}
}

// countSession counts the sessions of a key. It also finds a key that was revoked since
// Attach, or has lost its name since: Revoke and Hold either saw this session, or came
// before it and are seen here.
func (g *Guard) countSession(key, node string, connected, known bool) {
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
	revoked := g.revoked[key]
	lost := known && !slices.Contains(g.holders[node], key)
	g.mu.Unlock()
	switch {
	case connected && revoked != nil:
		g.endSession(node, key, revoked)
	case connected && lost:
		g.endSession(node, key, errNotHolder)
	}
}

func (g *Guard) isRevoked(key string) (why error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.revoked[key]
}

// Revoke refuses the key with that hash from now on and ends its sessions at once.
func (g *Guard) Revoke(keyHash string) { g.RevokeBecause(keyHash, ErrRevoked) }

// RevokeBecause is Revoke with the error that the node is told, such as ErrRetired; nil
// means ErrRevoked.
func (g *Guard) RevokeBecause(keyHash string, why error) {
	if why == nil {
		why = ErrRevoked
	}
	g.mu.Lock()
	g.revoked[keyHash] = why
	var nodes []string
	for node := range g.standing[keyHash] {
		nodes = append(nodes, node)
	}
	g.mu.Unlock()
	for _, node := range nodes {
		g.endSession(node, keyHash, why)
	}
}

// endSession ends the node's session with a code that lets it come back; Attach then
// refuses the key for good. The node's newest session may be another key's by now, and
// that one must not be refused for good.
func (g *Guard) endSession(node, key string, why error) {
	err := g.cfg.Disconnect(node, &hub.Error{Code: hub.CodeUnavailable, Text: why.Error()})
	if err != nil && !errors.Is(err, hub.ErrOffline) {
		g.cfg.Logger.Error("session of a key that is no longer valid was not ended", "node", node, "key", key, "reason", why, "err", err)
		return
	}
	g.ended.Add(1)
	g.cfg.Logger.Warn("node's key is no longer valid: its session ends", "node", node, "key", key, "reason", why)
}

// Restore undoes Revoke.
func (g *Guard) Restore(keyHash string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.revoked, keyHash)
}

// GuardStats are what a Guard counts.
type GuardStats struct {
	Revoked int    // keys that are revoked now
	Refused uint64 // connections that were refused
	Ended   uint64 // sessions that were ended
}

// Stats returns what was counted so far.
func (g *Guard) Stats() GuardStats {
	g.mu.Lock()
	defer g.mu.Unlock()
	return GuardStats{Revoked: len(g.revoked), Refused: g.refused.Load(), Ended: g.ended.Load()}
}
