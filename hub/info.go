package hub

import "time"

// Info is the client info that each side publishes when a node's link comes
// or goes. The edge hands it to meta, bus and twin; the cloud renews or stops
// renewing the node's lease by it.
type Info struct {
	Node      string
	Connected bool
	Since     time.Time // when Connected last changed
	Reason    string    // why the link went; empty while connected
	Epoch     uint64    // the session's epoch; a larger one fences all smaller ones of the node
	// Previous is, on an edge, the epoch of the node's session before this one; 0
	// if it is not known. Where it is not that of the program's own last session,
	// another program has had the node meanwhile, and may have reported otherwise.
	Previous  uint64
	Transport string // "quic", "websocket" or "mem"; empty while disconnected
}
