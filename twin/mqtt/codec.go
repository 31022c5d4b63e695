package mqtt

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"time"
	"unicode/utf8"

	"github.com/edgekit/edgekit/bus/topics"
	"github.com/edgekit/edgekit/meta/jsonlimit"
	"github.com/edgekit/edgekit/twin"
)

// eventID reads the event_id of a payload whose rest may be wrong: of one that is not JSON as
// a whole, if it is before the fault.
func eventID(payload []byte) string {
	var m struct {
		EventID string `json:"event_id"`
	}
	if jsonlimit.Unmarshal(payload, &m) == nil {
		return m.EventID
	}
	return findEventID(payload)
}

// findEventID looks for the event_id at the top level of what may be no JSON. It makes nothing
// but the id.
func findEventID(p []byte) string {
	depth, colon, found := 0, false, false // colon: a value follows; found: it is that of event_id
	for i := 0; i < len(p); i++ {
		switch p[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case ':':
			colon = colon || depth == 1
		case ',':
			if depth == 1 {
				colon, found = false, false
			}
		case '"':
			end := i + 1
			for ; end < len(p) && p[end] != '"'; end++ {
				if p[end] == '\\' {
					end++
				}
			}
			if end >= len(p) {
				return ""
			}
			text := p[i : end+1]
			if i = end; depth == 1 && !colon {
				found = string(text) == `"event_id"`
			} else if depth == 1 && found {
				var id string
				if len(text) > 1024 || json.Unmarshal(text, &id) != nil {
					return ""
				}
				return id
			}
		}
	}
	return ""
}

// explain says what is wrong with JSON without the names of Go's types. Values are text also
// where they are numbers: that is what clients get wrong most often.
func explain(err error) error {
	var mismatch *json.UnmarshalTypeError
	if !errors.As(err, &mismatch) {
		return err
	}
	want := "an object"
	switch mismatch.Type.Kind() {
	case reflect.String:
		want = `text in quotes, for example "21"`
	case reflect.Bool:
		want = "true or false"
	case reflect.Slice:
		want = "a list"
	case reflect.Int, reflect.Int64, reflect.Uint64:
		want = "a whole number"
	}
	return fmt.Errorf("field %q is of type %s: it must be %s", mismatch.Field, mismatch.Value, want)
}

// decodeUpdate reads a TwinUpdate.
func decodeUpdate(payload []byte) (patches map[string]*twin.Patch, id string, err error) {
	if patches, id, ok := quickUpdate(payload); ok {
		return patches, id, nil
	}
	return slowUpdate(payload)
}

// slowUpdate reads every TwinUpdate.
func slowUpdate(payload []byte) (patches map[string]*twin.Patch, id string, err error) {
	var m topics.TwinUpdateMessage
	if !utf8.Valid(payload) { // encoding/json would replace what it cannot read
		return nil, eventID(payload), errors.New("payload is not UTF-8")
	}
	if err := jsonlimit.Unmarshal(payload, &m); err != nil {
		return nil, eventID(payload), fmt.Errorf("payload is not a twin update: %w", explain(err))
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
		if t.Actual.Metadata != nil {
			p.Measured = t.Actual.Metadata.Measured
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
func decodeState(payload []byte) (r twin.SetState, id string, err error) {
	var m topics.StateUpdateMessage
	if err := jsonlimit.Unmarshal(payload, &m); err != nil {
		return r, eventID(payload), fmt.Errorf("payload is not a state update: %w", explain(err))
	}
	const longest = int64(math.MaxInt64 / time.Millisecond)
	if m.Within < 0 || m.Within > longest {
		return r, m.EventID, fmt.Errorf("field \"within\" is %d: it must be a number of milliseconds, from 0 to %d", m.Within, longest)
	}
	return twin.SetState{State: m.State, Within: time.Duration(m.Within) * time.Millisecond}, m.EventID, nil
}

// decodeConditions reads a ConditionsMessage.
func decodeConditions(payload []byte) (r twin.SetConditions, id string, err error) {
	var m topics.ConditionsMessage
	if err := jsonlimit.Unmarshal(payload, &m); err != nil {
		return r, eventID(payload), fmt.Errorf("payload is not a report of conditions: %w", explain(err))
	}
	if len(m.Conditions) == 0 || len(m.Conditions) > twin.MaxConditions {
		return r, m.EventID, fmt.Errorf("field \"conditions\" has %d elements: it must have 1 to %d", len(m.Conditions), twin.MaxConditions)
	}
	for _, c := range m.Conditions {
		r.Conditions = append(r.Conditions, twin.Condition{Type: c.Type, Status: c.Status, Reason: c.Reason, Message: c.Message})
	}
	return r, m.EventID, nil
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
	m := &topics.ValueMetadata{Timestamp: v.Time, Measured: v.Measured, Fault: v.Fault}
	if v.Fault != "" {
		m.Quality = string(twin.Bad)
	}
	return &topics.Value{Value: &v.Value, Metadata: m}
}

// encodeDevice returns a device for membership messages, without its twins.
func encodeDevice(d twin.Device, _ time.Time) topics.DeviceEntry {
	return topics.DeviceEntry{
		ID: d.ID, Name: d.Name(), Description: d.Member.Description,
		State: d.State, LastOnline: encodeTime(d.LastOnline),
	}
}

// markStale marks the actual values of a device that are stale.
func markStale(twins map[string]*topics.Twin, d twin.Device, now time.Time) {
	for name, t := range twins {
		if t != nil && t.Actual != nil && d.Quality(name, now) == twin.Stale {
			t.Actual.Metadata.Quality = string(twin.Stale)
		}
	}
}

// encodeDetail returns a device with its twins, of which deleted ones are null, its spec and
// its model.
func encodeDetail(d twin.Device, now time.Time) topics.DeviceEntry {
	w := encodeDevice(d, now)
	w.Spec, w.Model = d.Member.Spec, d.Member.Model
	w.Twin = make(map[string]*topics.Twin, len(d.Twins))
	for name, t := range d.Twins {
		w.Twin[name] = encodeTwin(&t)
	}
	markStale(w.Twin, d, now)
	return w
}

func encodeTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
