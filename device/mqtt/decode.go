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

// decodeDetail reads the list of devices and when it was made.
func decodeDetail(payload []byte) (entries map[string]*entry, made int64, err error) {
	var m topics.DeviceListMessage
	budget := jsonlimit.NewBudget(len(payload))
	if err := budget.Unmarshal(payload, &m); err != nil {
		return nil, 0, fmt.Errorf("list of devices: %w", err)
	}
	entries = make(map[string]*entry) // grows with what the budget allows
	for _, d := range m.Devices {
		if err := budget.Take("devices", entryCost+len(d.Twin)*desiredCost); err != nil {
			return nil, 0, fmt.Errorf("list of devices: %w", err)
		}
		e := &entry{desired: make(map[string]desired, len(d.Twin))}
		if len(d.Spec) > 0 {
			if err := budget.Unmarshal(d.Spec, &e.spec); err != nil {
				return nil, 0, fmt.Errorf("spec of %s: %w", d.ID, err)
			}
		}
		if len(d.Model) > 0 {
			if err := budget.Unmarshal(d.Model, &e.model); err != nil {
				return nil, 0, fmt.Errorf("model of %s: %w", d.ID, err)
			}
		}
		for name, t := range d.Twin {
			e.desired[name] = desiredOf(t, m.Timestamp)
		}
		entries[d.ID] = e
	}
	return entries, m.Timestamp, nil
}

// desiredOf returns the desired value of a twin in a message of the given time. A
// twin that has none takes the time of the message.
func desiredOf(t *topics.Twin, sent int64) desired {
	if t == nil || t.Expected == nil {
		return desired{time: sent}
	}
	return desired{text: t.Expected.Text(), time: t.Expected.Time()}
}

// decodeDocument reads the desired values that have changed.
func decodeDocument(payload []byte) (map[string]desired, error) {
	var m topics.TwinDocumentMessage
	budget := jsonlimit.NewBudget(len(payload))
	err := budget.Unmarshal(payload, &m)
	if err == nil {
		err = budget.Take("twin", len(m.Twin)*desiredCost)
	}
	if err != nil {
		return nil, fmt.Errorf("document: %w", err)
	}
	changed := make(map[string]desired, len(m.Twin))
	for name, t := range m.Twin {
		changed[name] = desiredOf(t.Current, m.Timestamp)
	}
	return changed, nil
}
