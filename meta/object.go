package meta

import (
	"strings"
	"time"
)

// The store's areas. Every key of edgekit's own modules begins with one of them;
// a Store takes any key.
const (
	// Down holds the objects that the cloud wants on this node: one Object
	// under Down + Key.Path() for each.
	Down = "down/"
	// Up is the outbox of state: what this node reports, one Object under
	// Up + Key.Path() for each. Its version on the link is the store's revision
	// at which it was written.
	Up = "up/"
	// Acked holds, under Acked + Key.Path(), the revision of the Up object that
	// the cloud has acknowledged.
	Acked = "acked/"
	// Events holds the newest event of each name that this node reported, one
	// Object under Events + Key.Path() for each. It keeps events that were sent,
	// for whoever inspects the node. meta/manager bounds it and keeps the queue
	// of unsent events elsewhere.
	Events = "events/"
	// Local holds what the cloud does not know of. Each module uses a folder of
	// its own ("local/twin/", "local/tokens/").
	Local = "local/"
)

// Key names an object. Its fields are those of hub.Key, so that Go converts one to
// the other; meta does not import hub.
type Key struct {
	Resource  string // plural, lower case, with an optional subresource: "pods", "pods/status"
	Namespace string // empty for cluster-scoped objects
	Name      string
}

// String returns resource/namespace/name, for logs.
func (k Key) String() string { return k.Resource + "/" + k.Namespace + "/" + k.Name }

// Path returns the key as a path below an area of the store. The slash before a
// subresource becomes a colon, which no resource name contains: the path of
// {"pods/status", "a", "b"} is "pods:status/a/b", that of {"nodes", "", "n"}
// is "nodes//n". ParsePath reverses it.
func (k Key) Path() string {
	return strings.ReplaceAll(k.Resource, "/", ":") + "/" + k.Namespace + "/" + k.Name
}

// ParsePath reads a path that Key.Path made, without the area. It reports false for
// any other string.
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
	Version string    // the owner's version; empty in the Up area, where the record's revision is the version
	Body    []byte    // the JSON of the object
	Deleted bool      // in the Up area: the cloud shall delete the object; Body may hold DeleteOptions
	Stored  time.Time // when this node stored it
	// Confirmed is the last time at which Body was known to be what the owner has.
	// It is not stored: whoever answers a query from the store sets it.
	Confirmed time.Time
}
