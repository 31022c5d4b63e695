package nodestate

import "encoding/json"

// PathFound is where edgecore serves what its mappers have found: Found, as JSON.
const PathFound = "/debug/found-devices"

// FoundKind is the kind of a Found.
const FoundKind = "FoundDevices"

// Found has the devices that mappers of a node have found and nobody has declared.
type Found struct {
	Kind  string      `json:"kind"` // FoundKind
	Node  string      `json:"node"`
	Lists []FoundList `json:"lists"` // by protocol
}

// FoundList has those of one protocol.
type FoundList struct {
	Protocol  string        `json:"protocol"`
	Timestamp int64         `json:"timestamp"`         // when the mapper sent it, in milliseconds since 1970
	Devices   []FoundDevice `json:"proposals"`         // the form is that of package device
	Dropped   int           `json:"dropped,omitempty"` // devices for which edgecore had no room
}

// FoundDevice is one device as its mapper describes it: a Proposal of package device.
type FoundDevice = json.RawMessage
