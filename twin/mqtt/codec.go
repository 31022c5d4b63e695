package mqtt

import (
	"errors"
	"fmt"
	"time"

	"github.com/edgekit/edgekit/bus/topics"
	"github.com/edgekit/edgekit/meta/jsonlimit"
	"github.com/edgekit/edgekit/twin"
)

// eventID reads the event_id of a payload whose rest may be wrong.
func eventID(payload []byte) string {
	var m struct {
		EventID string `json:"event_id"`
	}
	if jsonlimit.Unmarshal(payload, &m) != nil {
		return ""
	}
	return m.EventID
}

// decodeUpdate reads a TwinUpdate.
func decodeUpdate(payload []byte) (patches map[string]*twin.Patch, id string, err error) {
	var m topics.TwinUpdateMessage
	if err := jsonlimit.Unmarshal(payload, &m); err != nil {
		return nil, eventID(payload), fmt.Errorf("payload is not a twin update: %w", err)
	}
	if m.Twin == nil {
		return nil, m.EventID, errors.New("payload has no twin")
	}
	patches = make(map[string]*twin.Patch, len(m.Twin))
	for name, t := range m.Twin {
		patch, err := decodePatch(t)
		if err != nil {
			return nil, m.EventID, fmt.Errorf("twin %.140s: %w", name, err)
		}
		patches[name] = patch
	}
	return patches, m.EventID, nil
}

// decodePatch returns the change that a twin of a request asks for.
func decodePatch(t *topics.Twin) (*twin.Patch, error) {
	if t == nil {
		return nil, nil
	}
	p := &twin.Patch{Optional: t.Optional, ExpectedVersion: decodeVersion(t.ExpectedVersion), ActualVersion: decodeVersion(t.ActualVersion)}
	if t.Metadata != nil {
		p.Type = t.Metadata.Type
	}
	if t.Expected != nil {
		if p.Expected = t.Expected.Value; p.Expected == nil {
			return nil, errors.New("expected has no value")
		}
	}
	if t.Actual != nil {
		if p.Actual = t.Actual.Value; p.Actual == nil {
			return nil, errors.New("actual has no value")
		}
	}
	return p, nil
}

func decodeVersion(v *topics.Version) *twin.Version {
	if v == nil {
		return nil
	}
	return &twin.Version{Cloud: v.Cloud, Edge: v.Edge}
}

// decodeState reads a StateUpdate.
func decodeState(payload []byte) (state, id string, err error) {
	var m topics.StateUpdateMessage
	if err := jsonlimit.Unmarshal(payload, &m); err != nil {
		return "", eventID(payload), fmt.Errorf("payload is not a state update: %w", err)
	}
	return m.State, m.EventID, nil
}

// encodeTwin returns a twin as clients see it: without versions.
func encodeTwin(t *twin.Twin) *topics.Twin {
	if t == nil || t.Deleted {
		return nil
	}
	return &topics.Twin{
		Expected: encodeValue(t.Expected), Actual: encodeValue(t.Actual),
		Optional: &t.Optional, Metadata: &topics.TypeMetadata{Type: t.Type},
	}
}

func encodeValue(v *twin.Value) *topics.Value {
	if v == nil {
		return nil
	}
	return &topics.Value{Value: &v.Value, Metadata: &topics.ValueMetadata{Timestamp: v.Time}}
}

func encodeTwins(twins map[string]*twin.Twin) map[string]*topics.Twin {
	out := make(map[string]*topics.Twin, len(twins))
	for name, t := range twins {
		out[name] = encodeTwin(t)
	}
	return out
}

// encodeDevice returns a device for membership messages, without its twins.
func encodeDevice(d twin.Device) topics.DeviceEntry {
	return topics.DeviceEntry{
		ID: d.ID, Name: d.Name(), Description: d.Member.Description,
		State: d.State, LastOnline: encodeTime(d.LastOnline),
	}
}

// encodeDeviceWithTwins returns a device with its twins; deleted ones are null.
func encodeDeviceWithTwins(d twin.Device) topics.DeviceEntry {
	w := encodeDevice(d)
	w.Twin = make(map[string]*topics.Twin, len(d.Twins))
	for name, t := range d.Twins {
		w.Twin[name] = encodeTwin(&t)
	}
	return w
}

func encodeTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
