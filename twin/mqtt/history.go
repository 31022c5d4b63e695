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

// maxHistoryProperties is how many properties one request may name.
const maxHistoryProperties = 256

// pastQueue is how many requests for past values may wait.
const pastQueue = 16

// pastRequest is a topics.HistoryRequest that waits for its answer.
type pastRequest struct {
	device, id string
	topics.HistoryRequest
}

// decodeHistory reads a topics.HistoryRequest.
func decodeHistory(payload []byte) (m topics.HistoryRequest, err error) {
	if err := jsonlimit.Unmarshal(payload, &m); err != nil {
		return topics.HistoryRequest{Header: topics.Header{EventID: eventID(payload)}}, fmt.Errorf("payload is not a history request: %w", explain(err))
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

// answerPasts answers the requests for past values, one after the other, until ctx ends. They
// read the disk and may have many values: what changes must not wait for them.
func (b *Bridge) answerPasts(ctx context.Context) {
	for {
		select {
		case r := <-b.pasts:
			b.past(ctx, r)
		case <-ctx.Done():
			return
		}
	}
}

// past publishes past values in messages of about pageBytes.
func (b *Bridge) past(ctx context.Context, r pastRequest) {
	topic := topics.Device(r.device, topics.Result(topics.TwinHistory))
	r.id = orNew(r.id)
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
	m, size := &topics.HistoryMessage{History: make(map[string][]topics.PastValue)}, 0
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
		m.History[name] = []topics.PastValue{}
		for _, e := range page.Entries {
			if size > pageBytes {
				m.More = true
				b.send(ctx, topic, r.id, b.cfg.Now(), m)
				m, size = &topics.HistoryMessage{History: make(map[string][]topics.PastValue)}, 0
			}
			m.History[name] = append(m.History[name], topics.PastValue{Value: e.Value, Timestamp: e.Time, Fault: e.Fault})
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
