package mqtt

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// The payloads as a mapper sees them: only the fields that it needs.

type value struct {
	Value    string    `json:"value"`
	Metadata *metadata `json:"metadata,omitempty"`
}

type metadata struct {
	Timestamp int64 `json:"timestamp,omitempty"`
}

func (v *value) time() int64 {
	if v == nil || v.Metadata == nil {
		return 0
	}
	return v.Metadata.Timestamp
}

type expectation struct {
	Expected *value `json:"expected,omitempty"`
}

// detail is the payload of membership/detail/result.
type detail struct {
	Timestamp int64 `json:"timestamp"`
	Devices   []struct {
		ID    string                  `json:"id"`
		Twin  map[string]*expectation `json:"twin"`
		Spec  json.RawMessage         `json:"spec"`
		Model json.RawMessage         `json:"model"`
	} `json:"devices"`
}

// document is the payload of twin/update/document.
type document struct {
	Timestamp int64 `json:"timestamp"`
	Twin      map[string]struct {
		Current *expectation `json:"current"`
	} `json:"twin"`
}

// answer is the payload of a result; Code is 0 for success.
type answer struct {
	EventID string `json:"event_id"`
	Code    int    `json:"code"`
	Reason  string `json:"reason"`
}

type actual struct {
	Actual value `json:"actual"`
}

// report is the payload of twin/update.
type report struct {
	EventID   string            `json:"event_id"`
	Timestamp int64             `json:"timestamp"`
	Twin      map[string]actual `json:"twin"`
}

// stateReport is the payload of state/update.
type stateReport struct {
	EventID   string `json:"event_id"`
	Timestamp int64  `json:"timestamp"`
	State     string `json:"state"`
}

// request is the payload of a request without content.
type request struct {
	EventID   string `json:"event_id"`
	Timestamp int64  `json:"timestamp"`
}

// wish is what is expected of a property, with the time that orders it. An
// empty text is no wish, but a time to compare with all the same.
type wish struct {
	text string
	time int64
}

// skew is how far apart the times of two messages can be that have overtaken
// each other. Beyond it the edge's clock was set back, and the later message
// to arrive is the newer one.
const skew = int64(time.Minute / time.Millisecond)

// staleAt reports whether w was made before the time of something that is
// held already.
func (w wish) staleAt(held int64) bool { return w.time < held && held-w.time < skew }

// entry is one device of the node.
type entry struct {
	spec   device.Spec
	model  device.ModelSpec
	wishes map[string]wish
}

// What the two decoders make of a device and of a property besides what they
// read, in bytes: an entry with its places in maps.
const (
	entryCost = 640
	wishCost  = 96
)

// decodeDetail reads the list of devices and when it was made.
func decodeDetail(payload []byte) (entries map[string]*entry, made int64, err error) {
	var m detail
	budget := jsonlimit.NewBudget(len(payload))
	if err := budget.Unmarshal(payload, &m); err != nil {
		return nil, 0, fmt.Errorf("list of devices: %w", err)
	}
	entries = make(map[string]*entry) // grows with what the budget allows
	for _, d := range m.Devices {
		if err := budget.Take("devices", entryCost+len(d.Twin)*wishCost); err != nil {
			return nil, 0, fmt.Errorf("list of devices: %w", err)
		}
		e := &entry{wishes: make(map[string]wish, len(d.Twin))}
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
			e.wishes[name] = t.wish(m.Timestamp)
		}
		entries[d.ID] = e
	}
	return entries, m.Timestamp, nil
}

// wish gives the wish in a message of the given time. Without one the
// message's own time stands for it.
func (t *expectation) wish(sent int64) wish {
	if t == nil || t.Expected == nil {
		return wish{time: sent}
	}
	return wish{text: t.Expected.Value, time: t.Expected.time()}
}

// decodeDocument reads the wishes that have changed.
func decodeDocument(payload []byte) (map[string]wish, error) {
	var m document
	budget := jsonlimit.NewBudget(len(payload))
	err := budget.Unmarshal(payload, &m)
	if err == nil {
		err = budget.Take("twin", len(m.Twin)*wishCost)
	}
	if err != nil {
		return nil, fmt.Errorf("document: %w", err)
	}
	wishes := make(map[string]wish, len(m.Twin))
	for name, t := range m.Twin {
		wishes[name] = t.Current.wish(m.Timestamp)
	}
	return wishes, nil
}
