package meta

import (
	"strings"
	"time"
)

// The store's areas. Every key of edgekit's own modules begins with one of them;
// a Store takes any key.
const (
	// Down holds what the cloud says that this node must hold: one Object
	// under Down + Key.Path() for each.
	Down = "down/"
	// Up is the outbox of the state class: what this node reports, one Object
	// under Up + Key.Path() for each. Its version on the link is the store
	// revision that wrote it.
	Up = "up/"
	// Acked holds, under Acked + Key.Path(), the revision of the Up object
	// that the cloud has made durable.
	Acked = "acked/"
	// Events holds the newest event of each name that this node reported, one
	// Object under Events + Key.Path() for each, also after it was sent: for
	// those who look at the node. meta/manager bounds it; what is to be sent is
	// elsewhere.
	Events = "events/"
	// Local holds what concerns this node alone, each user under a folder of
	// its own ("local/twin/", "local/tokens/").
	Local = "local/"
)

// Key names an object. It has the fields of hub.Key, so that one converts to
// the other; meta knows nothing of hub.
type Key struct {
	Resource  string // plural, lower case, with an optional sub-resource: "pods", "pods/status"
	Namespace string // empty for what belongs to no namespace
	Name      string
}

// String gives resource/namespace/name, for logs.
func (k Key) String() string { return k.Resource + "/" + k.Namespace + "/" + k.Name }

// Path gives the key as a path in one of the store's areas. The slash of a
// sub-resource becomes a colon, which no resource name holds: the path of
// {"pods/status", "a", "b"} is "pods:status/a/b", that of {"nodes", "", "n"}
// is "nodes//n". ParsePath reverses it.
func (k Key) Path() string {
	return strings.ReplaceAll(k.Resource, "/", ":") + "/" + k.Namespace + "/" + k.Name
}

// ParsePath reads a path that Key.Path made, without the area before it. It
// reports false for any other text.
func ParsePath(path string) (Key, bool) {
	resource, rest, ok := strings.Cut(path, "/")
	if !ok || resource == "" {
		return Key{}, false
	}
	namespace, name, ok := strings.Cut(rest, "/")
	if !ok || name == "" {
		return Key{}, false
	}
	return Key{Resource: strings.ReplaceAll(resource, ":", "/"), Namespace: namespace, Name: name}, true
}

// Object is the value stored for a key of the Down and Up areas.
type Object struct {
	Key     Key
	Version string    // the owner's version; empty in the Up area, where the record's revision counts
	Body    []byte    // the JSON of the object
	Deleted bool      // in the Up area: tell the cloud to delete it; Body may say how
	Stored  time.Time // when this node stored it
	// Confirmed is until when it was known to be what its owner has. It is not
	// stored: who answers from the store sets it.
	Confirmed time.Time
}
