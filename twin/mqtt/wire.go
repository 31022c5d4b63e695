package mqtt

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/edgekit/edgekit/meta/jsonlimit"
	"github.com/edgekit/edgekit/twin"
)

// header is in every message.
type header struct {
	EventID   string `json:"event_id"`
	Timestamp int64  `json:"timestamp"` // milliseconds since 1970
}

type wireValue struct {
	Value    *string    `json:"value,omitempty"`
	Metadata *valueMeta `json:"metadata,omitempty"`
}

type valueMeta struct {
	Timestamp int64 `json:"timestamp,omitempty"`
}

type typeMeta struct {
	Type string `json:"type,omitempty"`
}

type wireVersion struct {
	Cloud uint64 `json:"cloud"`
	Edge  uint64 `json:"edge"`
}

type wireTwin struct {
	Expected        *wireValue   `json:"expected,omitempty"`
	Actual          *wireValue   `json:"actual,omitempty"`
	Optional        *bool        `json:"optional,omitempty"`
	Metadata        *typeMeta    `json:"metadata,omitempty"`
	ExpectedVersion *wireVersion `json:"expected_version,omitempty"`
	ActualVersion   *wireVersion `json:"actual_version,omitempty"`
}

type updateMessage struct {
	header
	Twin map[string]*wireTwin `json:"twin"`
}

type deltaMessage struct {
	header
	Twin  map[string]*wireTwin `json:"twin"`
	Delta map[string]string    `json:"delta"`
}

type documentMessage struct {
	header
	Twin map[string]wireTransition `json:"twin"`
}

type wireTransition struct {
	Last    *wireTwin `json:"last"`
	Current *wireTwin `json:"current"`
}

type errorMessage struct {
	header
	Code   int    `json:"code"`
	Reason string `json:"reason"`
}

type stateMessage struct {
	header
	State string `json:"state"`
}

type stateResult struct {
	header
	Device wireState `json:"device"`
}

type wireState struct {
	Name       string `json:"name"`
	State      string `json:"state"`
	LastOnline string `json:"lastOnlineTime,omitempty"`
}

type listMessage struct {
	header
	Devices []wireDevice `json:"devices"`
}

type membershipMessage struct {
	header
	Added   []wireDevice `json:"added_devices"`
	Removed []wireDevice `json:"removed_devices"`
}

// wireDevice is a device in membership messages. edgekit has no attributes;
// the field is there since readers expect it.
type wireDevice struct {
	ID          string               `json:"id"`
	Name        string               `json:"name"`
	Description string               `json:"description,omitempty"`
	State       string               `json:"state,omitempty"`
	LastOnline  string               `json:"last_online,omitempty"`
	Attributes  struct{}             `json:"attributes"`
	Twin        map[string]*wireTwin `json:"twin,omitempty"`
	Spec        json.RawMessage      `json:"spec,omitempty"`
	Model       json.RawMessage      `json:"model,omitempty"`
}

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
	var m updateMessage
	if err := jsonlimit.Unmarshal(payload, &m); err != nil {
		return nil, eventID(payload), fmt.Errorf("payload is not a twin update: %w", err)
	}
	if m.Twin == nil {
		return nil, m.EventID, errors.New("payload has no twin")
	}
	patches = make(map[string]*twin.Patch, len(m.Twin))
	for name, t := range m.Twin {
		patch, err := t.patch()
		if err != nil {
			return nil, m.EventID, fmt.Errorf("twin %.140s: %w", name, err)
		}
		patches[name] = patch
	}
	return patches, m.EventID, nil
}

func (t *wireTwin) patch() (*twin.Patch, error) {
	if t == nil {
		return nil, nil
	}
	p := &twin.Patch{Optional: t.Optional, ExpectedVersion: t.ExpectedVersion.version(), ActualVersion: t.ActualVersion.version()}
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

func (v *wireVersion) version() *twin.Version {
	if v == nil {
		return nil
	}
	return &twin.Version{Cloud: v.Cloud, Edge: v.Edge}
}

// decodeState reads a StateUpdate.
func decodeState(payload []byte) (state, id string, err error) {
	var m stateMessage
	if err := jsonlimit.Unmarshal(payload, &m); err != nil {
		return "", eventID(payload), fmt.Errorf("payload is not a state update: %w", err)
	}
	return m.State, m.EventID, nil
}

// encodeTwin gives a twin as clients see it: without versions.
func encodeTwin(t *twin.Twin) *wireTwin {
	if t == nil || t.Deleted {
		return nil
	}
	return &wireTwin{
		Expected: encodeValue(t.Expected), Actual: encodeValue(t.Actual),
		Optional: &t.Optional, Metadata: &typeMeta{Type: t.Type},
	}
}

func encodeValue(v *twin.Value) *wireValue {
	if v == nil {
		return nil
	}
	return &wireValue{Value: &v.Value, Metadata: &valueMeta{Timestamp: v.Time}}
}

func encodeTwins(twins map[string]*twin.Twin) map[string]*wireTwin {
	out := make(map[string]*wireTwin, len(twins))
	for name, t := range twins {
		out[name] = encodeTwin(t)
	}
	return out
}

// encodeDevice gives a device for membership messages, without its twins.
func encodeDevice(d twin.Device) wireDevice {
	return wireDevice{
		ID: d.ID, Name: d.Name(), Description: d.Member.Description,
		State: d.State, LastOnline: encodeTime(d.LastOnline),
	}
}

// withTwins adds the twins; deleted ones are null.
func (w wireDevice) withTwins(d twin.Device) wireDevice {
	w.Twin = make(map[string]*wireTwin, len(d.Twins))
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
