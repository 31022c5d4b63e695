package pipeline

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline/internal/aggregate"
	"github.com/edgekit/edgekit/bus/pipeline/internal/keyed"
	"github.com/edgekit/edgekit/bus/pipeline/internal/value"
	"github.com/edgekit/edgekit/bus/pipeline/internal/values"
	"github.com/edgekit/edgekit/bus/pipeline/internal/window"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// keyPlan is the key of a step with state.
type keyPlan struct {
	program Program // nil: one key for all
	max     int
}

func (p *keyPlan) key(m *Machine, e *Event) (string, error) {
	if p.program == nil {
		return "", nil
	}
	v, err := m.eval(p.program, e)
	if err != nil {
		return "", fmt.Errorf("key: %w", err)
	}
	return values.Key(v), nil
}

// table is the state of steps that forget the oldest key when they are full.
type table[T any] struct {
	*keyed.Table[T]
	encode func(T) []byte
	decode func(r *value.Reader) T
	at     func(T) int64 // when it was written
}

func (t *table[T]) advance(*Machine, *node) {}
func (t *table[T]) next() (int64, bool)     { return 0, false }
func (t *table[T]) keys() int               { return t.Len() }

func (t *table[T]) changes(f func(key string, state []byte)) {
	t.Changes(func(key string, v T, exists bool) {
		if !exists {
			f(key, nil)
			return
		}
		f(key, t.encode(v))
	})
}

// sort is called after the last restore.
func (t *table[T]) sort() {
	t.Sort(func(a, b T) int { return cmp.Compare(t.at(a), t.at(b)) })
}

func (t *table[T]) restore(_ *Machine, key string, state []byte) error {
	r := value.NewReader(state)
	v := t.decode(r)
	if r.Err() != nil || r.Len() > 0 {
		return value.ErrDamaged
	}
	t.Restore(key, v)
	return nil
}

type dedupePlan struct {
	keyPlan
	within int64
	sign   string
}

func (p *dedupePlan) signature() string { return p.sign }

func (p *dedupePlan) start(*Machine, *node) (step, error) {
	return &dedupeStep{p, table[int64]{keyed.New[int64](p.max),
		func(v int64) []byte { return binary.AppendVarint(nil, v) }, (*value.Reader).Int,
		func(v int64) int64 { return v }}}, nil
}

// dedupeStep has when each key passed.
type dedupeStep struct {
	*dedupePlan
	table[int64]
}

func (s *dedupeStep) push(m *Machine, n *node, e *Event) error {
	key := e.ID
	if s.program != nil {
		var err error
		if key, err = s.key(m, e); err != nil {
			return err
		}
	} else {
		key = values.Key(key)
	}
	old := func(at int64) bool { return at+s.within <= m.clock || at > m.clock+s.within }
	s.Expire(old)
	if at, ok := s.Get(key); ok && !old(at) {
		n.stats.Drop++
		return nil
	}
	s.Put(key, m.clock)
	m.out(n, e)
	return nil
}

type ratePlan struct {
	keyPlan
	events, per int64
	sign        string
}

type rate struct {
	start, n int64
}

func (p *ratePlan) signature() string { return p.sign }

func (p *ratePlan) start(*Machine, *node) (step, error) {
	return &rateStep{p, table[rate]{keyed.New[rate](p.max),
		func(v rate) []byte { return binary.AppendVarint(binary.AppendVarint(nil, v.start), v.n) },
		func(r *value.Reader) rate { return rate{r.Int(), r.Int()} },
		func(v rate) int64 { return v.start }}}, nil
}

// rateStep has how many passed since the first of each key.
type rateStep struct {
	*ratePlan
	table[rate]
}

func (s *rateStep) push(m *Machine, n *node, e *Event) error {
	key, err := s.key(m, e)
	if err != nil {
		return err
	}
	r, ok := s.Get(key)
	if !ok || r.start+s.per <= m.clock || r.start > m.clock {
		r = rate{start: m.clock}
	}
	if r.n >= s.events {
		n.stats.Drop++
		return nil
	}
	r.n++
	s.Put(key, r)
	m.out(n, e)
	return nil
}

type changePlan struct {
	keyPlan
	value Program // nil: all data
	band  float64
	every int64
	sign  string
}

// passed is the value that passed last.
type passed struct {
	at     int64
	number float64 // NaN if it is none
	text   string  // its encoding, or the hash of it
}

func (p *changePlan) signature() string { return p.sign }

func (p *changePlan) start(*Machine, *node) (step, error) {
	return &changeStep{changePlan: p, table: table[passed]{keyed.New[passed](p.max),
		func(v passed) []byte {
			b := binary.AppendVarint(nil, v.at)
			return value.AppendText(binary.AppendUvarint(b, math.Float64bits(v.number)), v.text)
		},
		func(r *value.Reader) passed { return passed{r.Int(), math.Float64frombits(r.Uint()), r.Text()} },
		func(v passed) int64 { return v.at }}}, nil
}

type changeStep struct {
	*changePlan
	table[passed]
	buf []byte
}

func (s *changeStep) push(m *Machine, n *node, e *Event) error {
	key, err := s.key(m, e)
	if err != nil {
		return err
	}
	v := e.Data
	if s.value != nil {
		if v, err = m.data(s.value, e); err != nil {
			return fmt.Errorf("value: %w", err)
		}
	}
	now := passed{at: m.clock, number: math.NaN()}
	if f, ok := values.Number(v); ok {
		now.number = f
	} else {
		if s.buf, err = value.Append(s.buf[:0], v); err != nil {
			return fmt.Errorf("value: %w", err)
		}
		if now.text = string(s.buf); len(s.buf) > 64 {
			sum := sha256.Sum256(s.buf)
			now.text = string(sum[:])
		}
	}
	if last, ok := s.Get(key); ok && !s.differs(last, now) && (s.every == 0 || last.at+s.every > m.clock && last.at <= m.clock) {
		n.stats.Drop++
		return nil
	}
	s.Put(key, now)
	m.out(n, e)
	return nil
}

func (s *changeStep) differs(last, now passed) bool {
	if math.IsNaN(last.number) || math.IsNaN(now.number) {
		return last.text != now.text || math.IsNaN(last.number) != math.IsNaN(now.number)
	}
	d := math.Abs(last.number - now.number)
	return d != 0 && d >= s.band
}

type aggregatePlan struct {
	name    string
	kind    aggregate.Kind
	program Program // nil for count
}

type windowPlan struct {
	keyPlan
	spec       window.Spec
	begin, end Program // of state windows
	aggregates []aggregatePlan
	texts      []string
	sign       string
}

func (p *windowPlan) signature() string { return p.sign }

func (p *windowPlan) start(m *Machine, n *node) (step, error) {
	s := &windowStep{windowPlan: p, m: m, n: n, values: make([]any, len(p.aggregates))}
	s.source = n.eventSource
	s.prefix = m.plan.ref.String() + "/" + n.name + "/"
	if m.cfg.Node != "" {
		s.prefix = m.cfg.Node + "/" + s.prefix
	}
	s.set = window.New(p.spec, s.emit)
	return s, nil
}

type windowStep struct {
	*windowPlan
	set    *window.Set
	m      *Machine
	n      *node
	source string
	prefix string // of ids
	values []any
}

func (s *windowStep) push(m *Machine, n *node, e *Event) error {
	key, err := s.key(m, e)
	if err != nil {
		return err
	}
	for i := range s.aggregates {
		a := &s.aggregates[i]
		if a.program == nil {
			continue
		}
		if s.values[i], err = m.data(a.program, e); err == nil {
			err = a.kind.Check(s.values[i])
		}
		if err != nil {
			return fmt.Errorf("aggregate[%q]: %w", a.name, err)
		}
	}
	w := window.Event{ID: e.ID, At: e.Time.UnixNano(), Values: s.values}
	if s.begin != nil {
		if w.Start, err = m.truth(s.begin, e); err != nil {
			return fmt.Errorf("state.start: %w", err)
		}
		if w.End, err = m.truth(s.end, e); err != nil {
			return fmt.Errorf("state.end: %w", err)
		}
	}
	late, err := s.set.Add(m.clock, key, w)
	switch {
	case errors.Is(err, window.ErrFuture):
		return &letter{v1alpha1.ReasonFutureTime, err}
	case err != nil:
		return &letter{v1alpha1.ReasonTooManyKeys, err}
	case late:
		n.stats.Late++
	}
	return nil
}

// emit makes the event of a window that has ended.
func (s *windowStep) emit(r window.Result) {
	data := make(map[string]any, len(r.Values)+2)
	for i, v := range r.Values {
		data[s.aggregates[i].name] = v
	}
	start, end := time.Unix(0, r.Start).UTC(), time.Unix(0, r.End).UTC()
	data["key"] = r.Key
	data["window"] = map[string]any{"start": start.Format(time.RFC3339Nano), "end": end.Format(time.RFC3339Nano)}
	id := s.prefix + r.Key + "/"
	if r.First != "" {
		id += r.First
	} else {
		id += strconv.FormatInt(start.UnixMilli(), 10)
	}
	s.m.out(s.n, &Event{ID: id, Source: s.source, Type: "io.edgekit.window", Subject: r.Key, Time: end, Data: data})
}

func (s *windowStep) advance(m *Machine, _ *node) { s.set.Advance(m.clock) }
func (s *windowStep) next() (int64, bool)         { return s.set.Next() }
func (s *windowStep) keys() int                   { return s.set.Keys() }

func (s *windowStep) changes(f func(key string, state []byte)) { s.set.Changes(f) }

func (s *windowStep) restore(m *Machine, key string, state []byte) error {
	return s.set.Restore(m.clock, key, state)
}
