package mqtt

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/edgekit/edgekit/bus/topics"
	"github.com/edgekit/edgekit/meta/jsonlimit"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/history"
)

// TwinHistory is the action on which past values are requested with a HistoryRequest. They
// come on Result(TwinHistory) as HistoryMessages. KubeEdge has no such topic.
const TwinHistory = "twin/history"

// HistoryRequest asks for past values of a device.
type HistoryRequest struct {
	topics.Header
	Properties []string `json:"properties"`      // none means all that have a history
	From       int64    `json:"from,omitempty"`  // milliseconds since 1970, inclusive; 0 is open
	To         int64    `json:"to,omitempty"`    // milliseconds since 1970, inclusive; 0 is open
	Limit      int      `json:"limit,omitempty"` // values of each property; 0 means 1,000, the most is 10,000
	// After has, by property, the Next of an earlier answer that reached the limit.
	After map[string]uint64 `json:"after,omitempty"`
}

// HistoryMessage answers a HistoryRequest. A long answer comes in several messages of about 128
// KiB with the same event_id, all but the last with More.
type HistoryMessage struct {
	topics.Header
	History map[string][]PastValue `json:"history"` // by property, the oldest first
	Next    map[string]uint64      `json:"next,omitempty"`
	More    bool                   `json:"more,omitempty"`
}

// PastValue is a past actual value.
type PastValue struct {
	Value     string `json:"value"`
	Timestamp int64  `json:"timestamp"`       // when the edge stored it, in milliseconds since 1970
	Fault     string `json:"fault,omitempty"` // the limit of the model that it breaks
}

// maxHistoryProperties is how many properties one request may name.
const maxHistoryProperties = 256

// pastRequest is a HistoryRequest that waits for its answer.
type pastRequest struct {
	device, id string
	HistoryRequest
}

// decodeHistory reads a HistoryRequest.
func decodeHistory(payload []byte) (m HistoryRequest, err error) {
	if err := jsonlimit.Unmarshal(payload, &m); err != nil {
		return HistoryRequest{Header: topics.Header{EventID: eventID(payload)}}, fmt.Errorf("payload is not a history request: %w", explain(err))
	}
	const latest = 1 << 48
	switch {
	case m.From < 0 || m.To < 0 || m.From > latest || m.To > latest:
		return m, errors.New(`fields "from" and "to" must be milliseconds since 1970`)
	case m.Limit < 0 || m.Limit > history.MaxValues:
		return m, fmt.Errorf(`field "limit" is %d: it must be from 1 to %d`, m.Limit, history.MaxValues)
	case len(m.Properties) > maxHistoryProperties:
		return m, fmt.Errorf(`field "properties" names %d: at most %d may be named`, len(m.Properties), maxHistoryProperties)
	}
	for _, name := range m.Properties {
		if err := twin.CheckName(name); err != nil {
			return m, err
		}
	}
	for name, after := range m.After {
		if after > math.MaxInt64 {
			return m, fmt.Errorf(`field "after" of %.140q is not the "next" of an answer`, name)
		}
	}
	slices.Sort(m.Properties)
	m.Properties = slices.Compact(m.Properties)
	return m, nil
}

// past publishes past values in messages of about pageBytes.
func (b *Bridge) past(ctx context.Context, r pastRequest) {
	topic := topics.Device(r.device, topics.Result(TwinHistory))
	if r.id == "" {
		r.id = newEventID()
	}
	fail := func(err error) {
		m := &topics.ErrorMessage{Code: twin.CodeInternal, Reason: err.Error()}
		if coded := new(twin.Error); errors.As(err, &coded) {
			m.Code, m.Reason = coded.Code, coded.Reason
		}
		b.send(ctx, topic, r.id, b.cfg.Now(), m)
	}
	d, ok := b.cfg.Engine.Device(r.device)
	if !ok {
		fail(&twin.Error{Code: twin.CodeUnknown, Reason: "device is not known on this node"})
		return
	}
	names := r.Properties
	if len(names) == 0 {
		for _, p := range d.Properties(b.cfg.Now()) {
			if !p.Twin.Rule.History.IsZero() {
				names = append(names, p.Name)
			}
		}
	}
	m, size := &HistoryMessage{History: make(map[string][]PastValue)}, 0
	for _, name := range names {
		q := history.Query{Device: r.device, Property: name, Limit: r.Limit, After: r.After[name]}
		if r.From > 0 {
			q.From = time.UnixMilli(r.From)
		}
		if r.To > 0 {
			q.To = time.UnixMilli(r.To)
		}
		page, err := b.cfg.Engine.History(ctx, q)
		if err != nil {
			fail(err)
			return
		}
		m.History[name] = []PastValue{}
		for _, e := range page.Entries {
			if size > pageBytes {
				m.More = true
				b.send(ctx, topic, r.id, b.cfg.Now(), m)
				m, size = &HistoryMessage{History: make(map[string][]PastValue)}, 0
			}
			m.History[name] = append(m.History[name], PastValue{Value: e.Value, Timestamp: e.Time, Fault: e.Fault})
			size += 48 + len(name) + len(e.Value) + len(e.Fault)
		}
		if page.Next > 0 {
			if m.Next == nil {
				m.Next = make(map[string]uint64)
			}
			m.Next[name] = page.Next
		}
	}
	b.send(ctx, topic, r.id, b.cfg.Now(), m)
}
