package hub

import (
	"context"
	"time"
)

// Hello is what an edge sends when its session begins, with what the transport proved.
type Hello struct {
	Peer         Peer     // proven
	Node         string   // always Peer.Name; a session whose edge claims another name is refused
	Instance     string   // random, new for each start of the edge's program
	Version      string   // the edge program's version, for humans
	Capabilities []string // what the edge can do beyond the protocol version
}

// Directory decides about nodes in the cloud: which may connect, what each must hold, and
// where its reports go.
type Directory interface {
	// Attach is called once for each session, after the handshake. An error refuses the
	// session; an *Error reaches the edge unchanged. The returned Node belongs to this
	// session alone.
	Attach(ctx context.Context, hello Hello) (Node, error)
}

// DirectoryFunc makes a function a Directory.
type DirectoryFunc func(ctx context.Context, hello Hello) (Node, error)

// Attach calls f.
func (f DirectoryFunc) Attach(ctx context.Context, hello Hello) (Node, error) { return f(ctx, hello) }

// Node is one connected node as its session sees it.
type Node struct {
	Down Source // what the node must hold; nil for nothing
	Up   Sink   // where its reports go; nil refuses all of them
	// Inbox takes the node's events, Outbox has those for the node; nil for none. Events
	// wait in the Outbox while the peer's release does not support events.
	Inbox  Inbox
	Outbox Outbox
	// Claim records, where all servers of the cloud see it, that this server is about to
	// hold the node:
	//
	//  1. read the node's Claim, zero if there is none;
	//  2. call decide, and return its error as it is;
	//  3. store the result only if the stored Claim is still the one that was read
	//     (compare and swap); otherwise go back to 1.
	//
	// The store is also watched, and a changed Claim is reported to the other servers by
	// Server.Supersede. With one server Claim may be nil.
	Claim func(ctx context.Context, decide func(held Claim) (Claim, error)) error
	// Duplicate is called when a program with the node's identity was refused because
	// another has the node, and again every few minutes for as long as both run. It may
	// block until ctx ends. nil does nothing.
	Duplicate func(ctx context.Context, d Duplicate)
	// Connected is called with the session's client info when the session has begun, and
	// again when it has ended. It may be nil.
	Connected func(Info)
}

// Duplicate is a program that asked for a node while another program with the same
// identity has it: both run. The likely causes are a cloned disk and a restored backup.
type Duplicate struct {
	Node     string
	Instance string // the program that was refused
	Address  string // from which it connected; behind a proxy, the proxy's
	Holder   Claim  // the program that has the node
}

// Info is the client info that each side publishes when a node's link connects or
// disconnects. The edge passes it to meta, bus and twin. In the cloud it decides whether the
// node's Lease is renewed.
type Info struct {
	Node      string
	Connected bool
	Since     time.Time // when Connected last changed
	Reason    string    // why the link ended; empty while connected
	Epoch     uint64    // the session's epoch; a larger one fences all smaller ones of the node
	// Previous is, on an edge, the epoch of the node's session before this one; 0 if it is
	// not known. If the program's own last session had another epoch, another program has
	// had the node since, and may have sent other reports.
	Previous  uint64
	Transport string // "quic", "websocket" or "mem"; empty while disconnected
}
