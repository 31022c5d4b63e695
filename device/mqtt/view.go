package mqtt

import (
	"errors"
	"maps"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/topics"
)

// view is what a Link knows of the node's devices. One goroutine owns it.
type view struct {
	list, updated string // the topics of lists and of changes

	entries  map[string]*entry // by ID; nil before the first list
	revision int64             // of the newest message about membership
	missed   bool              // a message was missed: the list is to be requested

	doubted bool // the last list was older than a change, and was left out

	// unknown has the times of the newest documents about devices that are not in entries, by ID. If
	// the message that adds such a device was made before its document, this may have overtaken it.
	// It holds maxUnknown devices at most; forgotten is the newest time of those that it does not hold.
	unknown   map[string]int64
	forgotten int64

	pages   map[string]*entry // the list that is on its way, in several messages
	pagesID string            // its event_id
}

// apply takes a message and reports whether the devices have changed.
func (v *view) apply(m bus.Message) (changed bool, err error) {
	switch m.Topic {
	case v.list:
		return v.applyList(m.Payload)
	case v.updated:
		return v.applyMembership(m.Payload)
	}
	return v.applyDocument(m)
}

// applyList takes one message of the list of all devices. The list counts when its last
// message is here.
func (v *view) applyList(payload []byte) (bool, error) {
	list, err := decodeDetail(payload)
	if err != nil {
		v.pages, v.pagesID = nil, ""
		return false, err
	}
	if v.pages == nil || v.pagesID != list.id {
		v.pages, v.pagesID = make(map[string]*entry), list.id
	}
	maps.Copy(v.pages, list.entries)
	if list.more {
		return false, nil
	}
	if v.entries != nil && list.revision < v.revision && !v.doubted {
		// A change has overtaken the list. It is requested again. If that one is as old, the
		// revisions of the edge began anew.
		v.doubted, v.missed = true, true
		v.pages, v.pagesID = nil, ""
		return false, nil
	}
	v.doubted = false
	v.missed = list.revision < v.revision && v.entries == nil // a change has overtaken the first list
	v.doubtNew(v.pages, list.made)
	for id, e := range v.pages { // now, as documents may have come between the messages of the list
		if old := v.entries[id]; old != nil {
			e.keepNewer(old, list.made)
		}
	}
	v.entries, v.revision = v.pages, list.revision
	v.pages, v.pagesID = nil, ""
	return true, nil
}

// applyMembership takes the devices that were added, changed and removed. Before the first
// list there is nothing to change; the list that has it must not be an older one.
func (v *view) applyMembership(payload []byte) (bool, error) {
	m, err := decodeMembership(payload)
	if err != nil {
		v.missed = true
		return false, err
	}
	if v.entries == nil {
		v.revision = max(v.revision, m.revision)
		return false, nil
	}
	if v.missed = m.revision != v.revision+1; m.revision > v.revision {
		v.revision = m.revision
	}
	v.doubtNew(m.entries, m.made)
	for id, e := range m.entries {
		if old := v.entries[id]; old != nil {
			e.keepNewer(old, m.made)
		}
		v.entries[id] = e
	}
	for _, id := range m.removed {
		delete(v.entries, id)
	}
	return true, nil
}

// applyDocument takes changed values of one device.
func (v *view) applyDocument(m bus.Message) (bool, error) {
	id, _, ok := topics.ParseDevice(m.Topic)
	if !ok {
		return false, errors.New("topic names no device")
	}
	old := v.entries[id]
	if old == nil {
		return false, v.noteUnknown(id, m.Payload)
	}
	changed, _, err := decodeDocument(m.Payload)
	if err != nil {
		return false, err
	}
	e := &entry{spec: old.spec, model: old.model, desired: maps.Clone(old.desired)}
	for name, value := range changed {
		if !value.staleAt(old.desired[name].time) {
			e.desired[name] = value
		}
	}
	if maps.Equal(e.desired, old.desired) {
		return false, nil
	}
	v.entries[id] = e
	return true, nil
}

const (
	maxUnknown   = 256
	maxUnknownID = 2 * 256 // the longest ID of a device that the edge has: a namespace and a name
)

// noteUnknown takes a document about a device that is not known. It is another mapper's, or will
// be on the list that comes, or has overtaken that.
func (v *view) noteUnknown(id string, payload []byte) error {
	_, made, err := decodeDocument(payload)
	if err != nil {
		return err
	}
	if len(v.unknown) >= maxUnknown {
		for _, at := range v.unknown {
			v.forgotten = max(v.forgotten, at)
		}
		v.unknown = nil
	}
	switch {
	case len(id) > maxUnknownID:
		v.forgotten = max(v.forgotten, made)
	case v.unknown == nil:
		v.unknown = map[string]int64{id: made}
	default:
		v.unknown[id] = max(v.unknown[id], made)
	}
	return nil
}

// doubtNew requests the list again if a message from the given time adds devices and a document
// about one of them may have overtaken it: messages of different topics come in any order.
func (v *view) doubtNew(entries map[string]*entry, made int64) {
	doubt := false
	for id := range entries {
		if v.entries[id] == nil {
			newest := max(v.unknown[id], v.forgotten)
			doubt = doubt || newest != 0 && newest > made-commitTime
		}
		delete(v.unknown, id)
	}
	if doubt {
		v.missed, v.forgotten = true, 0
	}
}

// commitTime is the longest that the edge takes from the time that it gives to a value until a
// list has that value, in milliseconds.
const commitTime = 10_000

// keepNewer keeps the desired values of old that are newer than those of the list that e is
// from: their documents have overtaken the list.
func (e *entry) keepNewer(old *entry, made int64) {
	for name, value := range old.desired {
		newer := (desired{time: made}).staleAt(value.time)
		if listed, ok := e.desired[name]; ok && listed.time < value.time && made-value.time < commitTime {
			newer = newer || value.time <= made // stored while the list was made
		}
		if newer {
			e.desired[name] = value
		}
	}
}
