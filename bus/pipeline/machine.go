package pipeline

import (
	"time"
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
}

// Machine is a Plan at work: the steps with their state, without sources, queues, clock and
// goroutines. A Runner drives one; so does whoever tries a pipeline in virtual time. It is
// for one goroutine.
type Machine struct {
	plan *Plan
	cfg  MachineConfig
}

// NewMachine returns a Machine without state. An error is about a table.
func NewMachine(p *Plan, cfg MachineConfig) (*Machine, error) {
	return &Machine{plan: p, cfg: cfg}, nil
}

// Push gives the machine events of a source at a time, which does not go back.
func (m *Machine) Push(now time.Time, source string, events ...Event) {}

// Advance lets time pass: windows end. Call it at Next, or at any time.
func (m *Machine) Advance(now time.Time) {}

// Next is when Advance has something to do; false means not before the next Push.
func (m *Machine) Next() (time.Time, bool) { return time.Time{}, false }

// Stats returns the counts of sources, steps and sinks, in the order of the spec.
func (m *Machine) Stats() []StepStats { return nil }
