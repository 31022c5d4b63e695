// Package linkstate has the state of a node's link to the cloud as edgecore gives it to
// edgectl on the same machine, at Path of the node's own API.
package linkstate

import (
	"strings"
	"time"
)

// Path is where the node's own API has the state, as the JSON of a Link.
const Path = "/edgekit/v1/link/"

// Link is the state of the link.
type Link struct {
	Node      string    `json:"node"`
	Cloud     string    `json:"cloud"` // host:port
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since"`               // when the state began; zero if there was no link since the start
	Reason    string    `json:"reason,omitempty"`    // why there is no link, "" if it is not known
	Transport string    `json:"transport,omitempty"` // "quic" or "websocket", of a link
}

// String is the state in one line.
func (l Link) String() string {
	if l.Connected {
		return strings.TrimSpace("node " + l.Node + " is connected to " + l.Cloud + by(" over ", l.Transport))
	}
	return "node " + l.Node + " has no link to " + l.Cloud + by(": ", l.Reason)
}

func by(before, text string) string {
	if text == "" {
		return ""
	}
	return before + text
}
