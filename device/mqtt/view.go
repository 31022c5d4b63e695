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
	for id, e := range list.entries {
		if old := v.entries[id]; old != nil {
			e.keepNewer(old, list.made)
		}
		v.pages[id] = e
	}
	if list.more {
		return false, nil
	}
	v.entries, v.revision = v.pages, list.revision
	v.pages, v.pagesID = nil, ""
	return true, nil
}

// applyMembership takes the devices that were added, changed and removed. Before the first
// list there is nothing to change.
func (v *view) applyMembership(payload []byte) (bool, error) {
	m, err := decodeMembership(payload)
	if err != nil {
		v.missed = true
		return false, err
	}
	if v.entries == nil {
		return false, nil
	}
	if v.missed = m.revision != v.revision+1; m.revision > v.revision {
		v.revision = m.revision
	}
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
		return false, nil // not on the list yet, which will have it all
	}
	changed, err := decodeDocument(m.Payload)
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

// keepNewer keeps the desired values of old that are newer than the list that e
// is from: their documents have overtaken the list.
func (e *entry) keepNewer(old *entry, made int64) {
	for name, value := range old.desired {
		if (desired{time: made}).staleAt(value.time) {
			e.desired[name] = value
		}
	}
}
