package hub

import "context"

// Hello is what an edge says of itself when its session begins, with what the
// transport proved.
type Hello struct {
	Peer         Peer     // proven
	Node         string   // always Peer.Name; a session whose edge claims another name is refused
	Instance     string   // random, new for each start of the edge's program
	Version      string   // the edge program's version, for humans
	Capabilities []string // what the edge can do beyond the protocol version
}

// Directory decides about nodes in the cloud: who may connect, what each must
// hold, and where its reports go.
type Directory interface {
	// Attach is called once for each session, after the handshake. An error
	// refuses the session; an *Error reaches the edge as it is. The returned
	// Node belongs to this session alone.
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
	// Inbox takes the node's events, Outbox has those for the node; nil for
	// none. Events wait in an Outbox while the peer is one that knows of none.
	Inbox  Inbox
	Outbox Outbox
	// Claim records that this server is about to hold the node, where all
	// servers of the cloud see it: it reads the node's Claim, zero if there is
	// none, has decide say what to make of it, and stores that if nobody else
	// has stored anything meanwhile; otherwise it begins again. An error of
	// decide is returned as it is. Whoever stores also watches, and tells the
	// other servers by Server.Supersede. With one server it may be nil.
	Claim func(ctx context.Context, decide func(held Claim) (Claim, error)) error
	// Duplicate is called when a program with the node's identity was refused,
	// since another has the node; it comes again every few minutes for as long as
	// both run. It may take its time, within ctx. nil does nothing.
	Duplicate func(ctx context.Context, d Duplicate)
	// Connected is called with the session's client info when it stands and,
	// once more, when it has ended. It may be nil.
	Connected func(Info)
}

// Duplicate is a program that came with the identity of a node that another
// program has: both run. The likely causes are a cloned disk and a restored
// backup.
type Duplicate struct {
	Node     string
	Instance string // the program that was refused
	Address  string // from which it came; behind a proxy that is the proxy's
	Holder   Claim  // who has the node
}
