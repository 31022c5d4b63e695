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
	Transport string    // "quic", "websocket" or "mem"; empty while disconnected
}
