package cases

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// maxAdvances bounds how often time passes in one case.
const maxAdvances = 1 << 20

// Begin is when each case begins: a full day, so that windows begin with the case.
func Begin() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// Config sets up a run. The zero value will do.
type Config struct {
	Node   string            // the node's name
	Tables map[string][]byte // the contents of tables with a configMapRef, by their names
	// Trace is called with each event that goes out of a source or a step, and the time after the
	// begin of the case; nil means none.
	Trace func(at time.Duration, step string, e pipeline.Event)
}

// Output is an event that came to a sink, or became a dead letter.
type Output struct {
	At      time.Duration // after the begin of the case
	Sink    string        // for a dead letter the source, step or sink that it failed at
	Event   pipeline.Event
	Reason  string // of a dead letter; empty means that the event came to the sink
	Message string // of a dead letter
}

// Result says how a case went.
type Result struct {
	Name     string
	Failures []string // what differs, each of one or more lines; none means that the case passes
	Outputs  []Output // all that came to sinks and all dead letters, in their order
}

// Passed says whether the case passed.
func (r *Result) Passed() bool { return len(r.Failures) == 0 }

// String returns what differs, and what came instead.
func (r *Result) String() string {
	if r.Passed() {
		return r.Name + ": passed"
	}
	var b strings.Builder
	b.WriteString(r.Name + ": failed\n")
	for _, f := range r.Failures {
		b.WriteString("  " + strings.ReplaceAll(f, "\n", "\n  ") + "\n")
	}
	b.WriteString("  what came:\n")
	if len(r.Outputs) == 0 {
		b.WriteString("    nothing\n")
	}
	const most = 20
	for i, o := range r.Outputs {
		if i == most {
			fmt.Fprintf(&b, "    and %d more\n", len(r.Outputs)-most)
			break
		}
		b.WriteString("    " + o.String() + "\n")
	}
	return b.String()
}

// String is the output in one line.
func (o Output) String() string {
	if o.Reason != "" {
		return fmt.Sprintf("%v %s: dead letter %s (%s): %s", o.At, o.Sink, o.Reason, o.Message, text(o.Event.Data))
	}
	return fmt.Sprintf("%v %s: %s", o.At, o.Sink, text(o.Event.Data))
}

// Run runs one case. An error says that the case itself or a table is wrong.
func Run(plan *pipeline.Plan, test v1alpha1.Test, cfg Config) (*Result, error) {
	c := &run{result: &Result{Name: string(test.Name)}, now: Begin()}
	if err := check(plan.Spec(), test); err != nil {
		return nil, err
	}
	m, err := pipeline.NewMachine(plan, c.machine(test, cfg))
	if err != nil {
		return nil, err
	}
	last := time.Duration(0)
	for i, in := range test.Input {
		if in.At != nil {
			if in.At.Duration < last {
				return nil, fmt.Errorf("input %d comes at %v, before the input that precedes it", i, in.At.Duration)
			}
			last = in.At.Duration
		}
		if err := c.advance(m, last); err != nil {
			return nil, err
		}
		e, err := event(i, in, c.now)
		if err != nil {
			return nil, err
		}
		m.Push(c.now, string(in.Source), e)
	}
	end := last + time.Hour
	if test.Until != nil {
		end = test.Until.Duration
	}
	if err := c.advance(m, max(end, last)); err != nil {
		return nil, err
	}
	c.result.Failures = compare(test, c.result.Outputs)
	return c.result, nil
}

// run is a case under way.
type run struct {
	result   *Result
	now      time.Time
	advances int
}

func (c *run) at() time.Duration { return c.now.Sub(Begin()) }

func (c *run) machine(test v1alpha1.Test, cfg Config) pipeline.MachineConfig {
	out := pipeline.MachineConfig{Node: cfg.Node, Tables: cfg.Tables, Twins: twinsOf(test.Twins),
		Sink: func(sink string, e pipeline.Event) {
			c.result.Outputs = append(c.result.Outputs, Output{At: c.at(), Sink: sink, Event: e})
		},
		Dead: func(l pipeline.DeadLetter) {
			c.result.Outputs = append(c.result.Outputs, Output{At: c.at(), Sink: l.Step, Event: l.Event, Reason: l.Reason, Message: l.Message})
		},
	}
	if cfg.Trace != nil {
		out.Trace = func(step string, e pipeline.Event) { cfg.Trace(c.at(), step, e) }
	}
	return out
}

// advance lets time pass up to at, with a stop at each time at which the machine has something to do.
func (c *run) advance(m *pipeline.Machine, at time.Duration) error {
	until := Begin().Add(at)
	for {
		next, ok := m.Next()
		if !ok || next.After(until) {
			break
		}
		if c.advances++; c.advances > maxAdvances {
			return fmt.Errorf("the case has more than %d windows: make until shorter", maxAdvances)
		}
		if next.After(c.now) {
			c.now = next
		}
		m.Advance(c.now)
	}
	if until.After(c.now) {
		c.now = until
		m.Advance(c.now)
	}
	return nil
}

// check refuses names that the pipeline does not have.
func check(p *v1alpha1.Pipeline, test v1alpha1.Test) error {
	sources := map[v1alpha1.Name]bool{}
	for _, s := range p.Spec.Sources {
		sources[s.Name] = true
	}
	sinks, all := map[v1alpha1.Name]bool{}, map[v1alpha1.Name]bool{}
	for _, s := range p.Spec.Sinks {
		sinks[s.Name], all[s.Name] = true, true
	}
	for _, s := range p.Spec.Steps {
		all[s.Name] = true
	}
	var errs []error
	for i, in := range test.Input {
		if !sources[in.Source] {
			errs = append(errs, fmt.Errorf("input %d: the pipeline has no source %q", i, in.Source))
		}
		if (in.Data != nil && (in.Raw != "" || in.Base64 != nil)) || (in.Raw != "" && in.Base64 != nil) {
			errs = append(errs, fmt.Errorf("input %d has more than one of data, raw and base64", i))
		}
	}
	for field, list := range map[string][]v1alpha1.TestOutput{"expect": test.Expect, "notExpect": test.NotExpect} {
		for i, out := range list {
			switch {
			case out.DeadLetter != "" && !all[out.Sink] && !sources[out.Sink]:
				errs = append(errs, fmt.Errorf("%s %d: the pipeline has no source, step or sink %q", field, i, out.Sink))
			case out.DeadLetter == "" && !sinks[out.Sink]:
				errs = append(errs, fmt.Errorf("%s %d: the pipeline has no sink %q", field, i, out.Sink))
			}
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// event makes the event of an input.
func event(i int, in v1alpha1.TestInput, now time.Time) (pipeline.Event, error) {
	e := pipeline.Event{ID: in.ID, Source: "/test/" + string(in.Source), Type: EventType, Subject: in.Subject, Time: now}
	if e.ID == "" {
		e.ID = strconv.Itoa(i + 1)
	}
	switch {
	case in.Data != nil:
		if err := json.Unmarshal(in.Data.Raw, &e.Data); err != nil {
			return e, fmt.Errorf("input %d: data: %w", i, err)
		}
	case in.Base64 != nil:
		e.Data = in.Base64
	default:
		e.Data = []byte(in.Raw)
	}
	return e, nil
}

// EventType is the type of the events that come in.
const EventType = "io.edgekit.test"

// twins are the values of twins in a case.
type twinValues map[[2]string]pipeline.TwinValue

func twinsOf(list []v1alpha1.TestTwin) pipeline.Twins {
	all := fixed{values: twinValues{}}
	for _, t := range list {
		v := pipeline.TwinValue{Device: t.Device, Property: t.Property, Time: Begin()}
		if json.Unmarshal(t.Value.Raw, &v.Value) == nil { // the YAML was parsed
			all.values[[2]string{t.Device, t.Property}] = v
		}
	}
	return all
}
