package device

import (
	"cmp"
	"maps"
	"slices"
	"sync/atomic"
)

// Stats counts what a Mapper has done since it was made. Names of devices and properties are
// not in it: Devices has what concerns one device. Package device/metrics exports it.
type Stats struct {
	Protocol string         // of the mapper
	States   map[string]int // number of devices by state; "" is that of devices with none yet

	Opens, OpenErrors   int64 // calls of Open
	Reads, ReadErrors   int64 // properties that were read
	InvalidValues       int64 // values that were read and not reported: another type, NaN, not in the transform
	Writes, WriteErrors int64 // calls of Write
	NotTaken            int64 // writes after which the device had another value
	Points              int64 // values that were reported
	Reports             int64 // reports that were taken
	ReportErrors        int64 // reports that were not
	Calls, CallErrors   int64 // of methods
	Panics              int64 // of drivers
	Stuck               int64 // calls of drivers that do not return, now
	Proposals           int64 // devices that were found and proposed, now
}

// counters are the counts of a mapper.
type counters struct {
	opens, openErrors, reads, readErrors, invalid atomic.Int64
	writes, writeErrors, notTaken                 atomic.Int64
	points, reports, reportErrors                 atomic.Int64
	calls, callErrors, panics, stuck, proposals   atomic.Int64
}

// count adds one to n, and one to failed if err is an error.
func count(n, failed *atomic.Int64, err error) {
	n.Add(1)
	if err != nil {
		failed.Add(1)
	}
}

// Stats returns the counts of the mapper.
func (m *Mapper) Stats() Stats {
	c := m.counts
	s := Stats{
		Protocol: m.cfg.Protocol, States: make(map[string]int),
		Opens: c.opens.Load(), OpenErrors: c.openErrors.Load(), Reads: c.reads.Load(), ReadErrors: c.readErrors.Load(),
		InvalidValues: c.invalid.Load(), Writes: c.writes.Load(), WriteErrors: c.writeErrors.Load(), NotTaken: c.notTaken.Load(),
		Points: c.points.Load(), Reports: c.reports.Load(), ReportErrors: c.reportErrors.Load(),
		Calls: c.calls.Load(), CallErrors: c.callErrors.Load(), Panics: c.panics.Load(), Stuck: c.stuck.Load(), Proposals: c.proposals.Load(),
	}
	for _, d := range m.Devices() {
		s.States[d.State]++
	}
	return s
}

// DeviceStatus is a device as its mapper sees it.
type DeviceStatus struct {
	ID         string
	State      string      // as the mapper has it; empty before the first Open
	Conditions []Condition // by type
}

// Devices returns the devices that the mapper drives, by ID.
func (m *Mapper) Devices() []DeviceStatus {
	m.mu.Lock()
	workers := slices.Collect(maps.Values(m.workers))
	m.mu.Unlock()
	list := make([]DeviceStatus, 0, len(workers))
	for _, w := range workers {
		w.mu.Lock()
		d := DeviceStatus{ID: w.dev.ID, State: w.current, Conditions: slices.Collect(maps.Values(w.conditions))}
		w.mu.Unlock()
		slices.SortFunc(d.Conditions, func(a, b Condition) int { return cmp.Compare(a.Type, b.Type) })
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b DeviceStatus) int { return cmp.Compare(a.ID, b.ID) })
	return list
}
