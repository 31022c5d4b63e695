package mqtt

import (
	"fmt"
	"time"

	"github.com/edgekit/edgekit/bus/topics"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// desired is the desired value of a property and the time that orders it. An
// empty text means that nothing is desired; its time still counts.
type desired struct {
	text string
	time int64
}

// skew is how far apart the times of two messages can be that have overtaken
// each other. Beyond it the edge's clock was set back, and the later message
// to arrive is the newer one.
const skew = int64(time.Minute / time.Millisecond)

// staleAt reports whether d is older than a value of the given time.
func (d desired) staleAt(held int64) bool { return d.time < held && held-d.time < skew }

// entry is one device of the node.
type entry struct {
	spec    schema.DeviceSpec
	model   schema.DeviceModelSpec
	desired map[string]desired
}

// How many bytes the two decoders allocate for a device and for a property besides its
// text: an entry and its places in maps.
const (
	entryCost   = 640
	desiredCost = 96
)

// deviceList is one message of a list of devices, or of a change of membership.
type deviceList struct {
	entries  map[string]*entry // by ID
	removed  []string          // IDs
	made     int64             // in milliseconds since 1970
	id       string            // event_id
	more     bool              // another message of the list follows
	revision int64
}

// decodeDetail reads a message of the list of devices.
func decodeDetail(payload []byte) (deviceList, error) {
	var m topics.DeviceListMessage
	budget := jsonlimit.NewBudget(len(payload))
	if err := budget.Unmarshal(payload, &m); err != nil {
		return deviceList{}, fmt.Errorf("list of devices: %w", err)
	}
	entries, err := decodeEntries(budget, m.Timestamp, m.Devices)
	if err != nil {
		return deviceList{}, fmt.Errorf("list of devices: %w", err)
	}
	return deviceList{entries: entries, made: m.Timestamp, id: m.EventID, more: m.More, revision: m.Revision}, nil
}

// decodeMembership reads which devices were added, changed and removed.
func decodeMembership(payload []byte) (deviceList, error) {
	var m topics.MembershipMessage
	budget := jsonlimit.NewBudget(len(payload))
	if err := budget.Unmarshal(payload, &m); err != nil {
		return deviceList{}, fmt.Errorf("change of membership: %w", err)
	}
	list := deviceList{made: m.Timestamp, id: m.EventID, revision: m.Revision}
	var err error
	if list.entries, err = decodeEntries(budget, m.Timestamp, m.Added, m.Changed); err != nil {
		return deviceList{}, fmt.Errorf("change of membership: %w", err)
	}
	if err := budget.Take("removed_devices", len(m.Removed)*entryCost); err != nil {
		return deviceList{}, fmt.Errorf("change of membership: %w", err)
	}
	for _, d := range m.Removed {
		list.removed = append(list.removed, d.ID)
	}
	return list, nil
}

// decodeEntries reads the devices of a message that was made at the given time.
func decodeEntries(budget *jsonlimit.Budget, made int64, lists ...[]topics.DeviceEntry) (map[string]*entry, error) {
	entries := make(map[string]*entry) // grows with what the budget allows
	for _, list := range lists {
		for _, d := range list {
			e, err := decodeEntry(budget, made, d)
			if err != nil {
				return nil, err
			}
			entries[d.ID] = e
		}
	}
	return entries, nil
}

func decodeEntry(budget *jsonlimit.Budget, made int64, d topics.DeviceEntry) (*entry, error) {
	if err := budget.Take("devices", entryCost+len(d.Twin)*desiredCost); err != nil {
		return nil, err
	}
	e := &entry{desired: make(map[string]desired, len(d.Twin))}
	if len(d.Spec) > 0 {
		if err := budget.Unmarshal(d.Spec, &e.spec); err != nil {
			return nil, fmt.Errorf("spec of %s: %w", d.ID, err)
		}
	}
	if len(d.Model) > 0 {
		if err := budget.Unmarshal(d.Model, &e.model); err != nil {
			return nil, fmt.Errorf("model of %s: %w", d.ID, err)
		}
	}
	for name, t := range d.Twin {
		e.desired[name] = desiredOf(t, made)
	}
	return e, nil
}

// desiredOf returns the desired value of a twin in a message of the given time. A
// twin that has none takes the time of the message.
func desiredOf(t *topics.Twin, sent int64) desired {
	if t == nil || t.Expected == nil {
		return desired{time: sent}
	}
	return desired{text: t.Expected.Text(), time: t.Expected.Time()}
}

// decodeDocument reads the desired values that have changed, and when the document was made, in
// milliseconds since 1970.
func decodeDocument(payload []byte) (changed map[string]desired, made int64, err error) {
	var m topics.TwinDocumentMessage
	budget := jsonlimit.NewBudget(len(payload))
	err = budget.Unmarshal(payload, &m)
	if err == nil {
		err = budget.Take("twin", len(m.Twin)*desiredCost)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("document: %w", err)
	}
	changed = make(map[string]desired, len(m.Twin))
	for name, t := range m.Twin {
		changed[name] = desiredOf(t.Current, m.Timestamp)
	}
	return changed, m.Timestamp, nil
}
