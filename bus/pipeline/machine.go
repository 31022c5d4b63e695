package pipeline

import (
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline/internal/values"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// MachineConfig sets up a Machine. Sink is required.
type MachineConfig struct {
	Node   string
	Twins  Twins             // nil: steps that enrich from twins add null
	Tables map[string][]byte // the contents of tables with a configMapRef, by their names
	// Sink is called with each event that reaches a sink.
	Sink func(sink string, e Event)
	// Dead is called with each dead letter; nil drops them.
	Dead func(DeadLetter)
	// Trace is called with each event that goes out of a source or a step; nil means none.
	Trace func(step string, e Event)

	traced *atomic.Int32 // Trace is called only if it is not 0; nil means always
}

// Machine is a Plan at work: the steps with their state, without sources, queues, clock and
// goroutines. A Runner drives one; so does whoever tries a pipeline in virtual time. It is
// for one goroutine.
type Machine struct {
	plan    *Plan
	cfg     MachineConfig
	nodes   []*node
	holders []*node // steps with state, in the order of the plan

	base  time.Time // of the first call
	now   time.Time
	clock int64 // nanoseconds since 1970 that do not go back: the time of base, and what has passed since
	vars  Vars

	pushed int64 // events so far
	sample bool  // the time of steps is measured for the event at work
	inner  time.Duration
}

// node is a planNode at work.
type node struct {
	*planNode
	step  step
	state stateful // the step, if it has state
	stats StepStats

	eventSource, eventType string // of events that do not say
}

// step is a step at work. push handles one event and passes what comes out to Machine.out.
// An error makes the event a dead letter.
type step interface {
	push(m *Machine, n *node, e *Event) error
}

// stateful is a step with state in a store.
type stateful interface {
	advance(m *Machine, n *node)
	next() (int64, bool)
	keys() int
	// changes calls f with each key that has changed since the last call, nil if it is gone.
	changes(f func(key string, state []byte))
	restore(m *Machine, key string, state []byte) error
}

// letter is an error with the reason of a dead letter. Others have ReasonExpressionFailed.
type letter struct {
	reason string
	err    error
}

func (l *letter) Error() string { return l.err.Error() }
func (l *letter) Unwrap() error { return l.err }

// NewMachine returns a Machine without state. An error is about a table.
func NewMachine(p *Plan, cfg MachineConfig) (*Machine, error) {
	if cfg.Sink == nil {
		return nil, errors.New("pipeline: MachineConfig.Sink is required")
	}
	m := &Machine{plan: p, cfg: cfg, clock: math.MinInt64}
	for _, pn := range p.nodes {
		n := &node{planNode: pn, stats: StepStats{Name: pn.name, Kind: pn.kind, Part: [...]Part{PartSource, PartStep, PartSink}[pn.role]}}
		n.eventSource, n.eventType = m.eventSource(n.name), "io.edgekit."+n.kind
		m.nodes = append(m.nodes, n)
	}
	for _, i := range p.order {
		n := m.nodes[i]
		var err error
		if n.step, err = n.planNode.step.start(m, n); err != nil {
			return nil, fmt.Errorf("pipeline: step %s: %w", n.name, err)
		}
		if s, ok := n.step.(stateful); ok {
			n.state = s
			m.holders = append(m.holders, n)
		}
	}
	return m, nil
}

// setTime sets the time. Steps of the machine's clock do not move windows.
func (m *Machine) setTime(now time.Time) {
	if m.base.IsZero() {
		m.base = now
	}
	m.now = now
	m.clock = max(m.clock, m.base.UnixNano()+int64(now.Sub(m.base)))
}

// Push gives the machine events of a source at a time.
func (m *Machine) Push(now time.Time, source string, events ...Event) {
	m.Advance(now)
	i, ok := m.plan.byName[source]
	if !ok || m.nodes[i].role != roleSource {
		for _, e := range events {
			m.dead(source, &letter{v1alpha1.ReasonSourceFailed, fmt.Errorf("the pipeline has no source %q", source)}, &e)
		}
		return
	}
	for j := range events {
		m.guard(m.nodes[i], &events[j])
	}
}

// guard pushes one event. A panic makes it a dead letter.
func (m *Machine) guard(n *node, e *Event) {
	defer func() {
		if v := recover(); v != nil {
			n.stats.Dead++
			m.dead(n.name, &letter{v1alpha1.ReasonPanic, fmt.Errorf("%v\n%s", v, debug.Stack())}, e)
		}
	}()
	m.pushed++
	m.sample = m.pushed%sampled == 0
	m.inner = 0
	n.stats.In++
	if err := m.source(n, e); err != nil {
		n.stats.Dead++
		m.dead(n.name, err, e)
	}
}

// sampled is of how many events one is measured.
const sampled = 64

// source completes and decodes an event.
func (m *Machine) source(n *node, e *Event) error {
	if e.Source == "" {
		e.Source = n.eventSource
	}
	if e.Type == "" {
		e.Type = n.eventType
	}
	if e.Time.IsZero() {
		e.Time = m.now
	}
	if e.ID == "" {
		e.ID = strconv.FormatInt(m.now.UnixNano(), 36) + "-" + strconv.FormatInt(m.pushed, 36)
	}
	if raw, ok := e.Data.([]byte); ok && n.source.decoder != nil {
		if len(raw) > MaxEvent {
			return &letter{v1alpha1.ReasonEventTooLarge, fmt.Errorf("the payload has %d bytes, over the limit of %d", len(raw), MaxEvent)}
		}
		data, err := n.source.decoder.Decode(raw)
		if err != nil {
			return &letter{v1alpha1.ReasonDecodeFailed, err}
		}
		e.Data = data
	}
	list, ok := e.Data.([]any)
	if !n.source.each || !ok {
		return m.timed(n, e)
	}
	for i, data := range list {
		one := *e
		one.ID, one.Data = e.ID+"/"+strconv.Itoa(i), data
		if err := m.timed(n, &one); err != nil {
			n.stats.Dead++
			m.dead(n.name, err, &one)
		}
	}
	return nil
}

// Years that event times may be in: what nanoseconds since 1970 can hold.
const minYear, maxYear = 1700, 2250

// timed finds out the event's time and passes it on.
func (m *Machine) timed(n *node, e *Event) error {
	if size := e.Size(); size > MaxEvent {
		return &letter{v1alpha1.ReasonEventTooLarge, fmt.Errorf("the event has about %d bytes, over the limit of %d, or is too deep", size, MaxEvent)}
	}
	if n.source.time != nil {
		v, err := m.eval(n.source.time, e)
		if err != nil {
			return fmt.Errorf("time: %w", err)
		}
		if e.Time, err = Timestamp(v); err != nil {
			return fmt.Errorf("time: %w", err)
		}
	}
	if y := e.Time.Year(); y < minYear || y > maxYear {
		return fmt.Errorf("time: the year %d is out of range", y)
	}
	m.out(n, e)
	return nil
}

// Timestamp converts the result of an expression to a time: a time.Time, a text as in
// RFC 3339, or a number of milliseconds since 1970.
func Timestamp(v any) (time.Time, error) {
	var ms float64
	switch v := v.(type) {
	case time.Time:
		return v, nil
	case string:
		t, err := time.Parse(time.RFC3339Nano, v)
		if err != nil {
			return t, fmt.Errorf("%.40q is no time as in RFC 3339", v)
		}
		return t, nil
	case int64:
		return time.UnixMilli(v).UTC(), nil
	case uint64:
		ms = float64(v)
	case float64:
		ms = v
	default:
		return time.Time{}, fmt.Errorf("%s is no time, text or number", values.Short(v))
	}
	if !(math.Abs(ms) < 1e15) {
		return time.Time{}, fmt.Errorf("%g milliseconds are out of range", ms)
	}
	return time.UnixMicro(int64(ms * 1000)).UTC(), nil
}

// eval evaluates a program on an event.
func (m *Machine) eval(p Program, e *Event) (any, error) {
	m.vars.Event, m.vars.Node, m.vars.Now = e, m.cfg.Node, m.now
	return p.Eval(&m.vars)
}

// data is eval for what becomes data of an event: a time is a text as in RFC 3339 there.
func (m *Machine) data(p Program, e *Event) (any, error) {
	v, err := m.eval(p, e)
	if t, ok := v.(time.Time); ok {
		return t.UTC().Format(time.RFC3339Nano), err
	}
	return v, err
}

// out passes an event on to all that take it.
func (m *Machine) out(n *node, e *Event) {
	n.stats.Out++
	if m.cfg.Trace != nil && (m.cfg.traced == nil || m.cfg.traced.Load() > 0) {
		m.cfg.Trace(n.name, *e)
	}
	for i := range n.edges {
		edge := &n.edges[i]
		to := m.nodes[edge.to]
		if edge.suffix != "" {
			named := *e
			named.ID += edge.suffix
			m.in(to, &named)
			continue
		}
		m.in(to, e)
	}
}

// in gives an event to a step or a sink.
func (m *Machine) in(n *node, e *Event) {
	n.stats.In++
	if n.role == roleSink {
		m.cfg.Sink(n.name, *e)
		return
	}
	var err error
	if m.sample {
		before, began := m.inner, time.Now()
		err = n.step.push(m, n, e)
		took := time.Since(began)
		n.stats.Busy += (took - (m.inner - before)) * sampled
		m.inner = before + took
	} else {
		err = n.step.push(m, n, e)
	}
	if err != nil {
		n.stats.Dead++
		m.dead(n.name, err, e)
	}
}

// dead makes an event a dead letter.
func (m *Machine) dead(step string, err error, e *Event) {
	if m.cfg.Dead == nil {
		return
	}
	reason := v1alpha1.ReasonExpressionFailed
	var l *letter
	if errors.As(err, &l) {
		reason = l.reason
	}
	m.cfg.Dead(DeadLetter{Step: step, Reason: reason, Message: err.Error(), Time: m.now, Event: *e})
}

// Advance lets time pass: windows end. Call it at Next, or at any time.
func (m *Machine) Advance(now time.Time) {
	m.setTime(now)
	m.sample = false
	for _, n := range m.holders {
		if due, ok := n.state.next(); ok && due <= m.clock {
			m.advance(n)
		}
	}
}

// advance ends what is due in one step. A panic is the step's dead letter without event.
func (m *Machine) advance(n *node) {
	defer func() {
		if v := recover(); v != nil {
			n.stats.Dead++
			m.dead(n.name, &letter{v1alpha1.ReasonPanic, fmt.Errorf("%v\n%s", v, debug.Stack())}, &Event{})
		}
	}()
	n.state.advance(m, n)
}

// Next is when Advance has something to do; false means not before the next Push.
func (m *Machine) Next() (time.Time, bool) {
	first, any := int64(math.MaxInt64), false
	for _, n := range m.holders {
		if due, ok := n.state.next(); ok {
			first, any = min(first, due), true
		}
	}
	if !any {
		return time.Time{}, false
	}
	return m.now.Add(time.Duration(max(0, first-m.clock))), true
}

// Stats returns the counts of sources, steps and sinks, in the order of the spec.
func (m *Machine) Stats() []StepStats {
	out := make([]StepStats, len(m.nodes))
	for i, n := range m.nodes {
		out[i] = n.stats
		if n.state != nil {
			out[i].Keys = n.state.keys()
		}
	}
	return out
}

// eventSource is the attribute source of events that the machine makes.
func (m *Machine) eventSource(name string) string {
	s := "/pipelines/" + m.plan.ref.String() + "/" + name
	if m.cfg.Node != "" {
		s = "/nodes/" + m.cfg.Node + s
	}
	return s
}
