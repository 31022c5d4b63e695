package eviction

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Observation is what is left of something now, and how much there is of it: bytes,
// inodes or process ids.
type Observation struct{ Available, Capacity int64 }

// Observations are by signal; what could not be measured is not there.
type Observations map[Signal]Observation

// Config is what Step decides by.
type Config struct {
	Thresholds       []Threshold
	TransitionPeriod time.Duration // see DefaultTransitionPeriod
}

// State is what one Step leaves for the next. The zero value is that of a node of which
// nothing is known. A State is not changed, only replaced.
type State struct {
	firstMet map[id]time.Time                       // since when thresholds are met
	lastMet  map[corev1.NodeConditionType]time.Time // when a condition was last caused
	met      []Threshold                            // those past their grace period that are not over yet
}

// id tells thresholds apart: a signal has one hard and one soft threshold at most.
type id struct {
	signal Signal
	hard   bool
}

func (t Threshold) id() id { return id{t.Signal, t.IsHard()} }

// Held is a State in which conditions were caused at that time: those that an earlier
// run reported.
func Held(conditions []corev1.NodeConditionType, at time.Time) State {
	s := State{lastMet: make(map[corev1.NodeConditionType]time.Time)}
	for _, c := range conditions {
		s.lastMet[c] = at
	}
	return s
}

// Decision is what follows from an observation.
type Decision struct {
	Conditions []corev1.NodeConditionType // those that are True, sorted
	Reclaim    *Threshold                 // what must be reclaimed now; nil for nothing
	Met        []Threshold                // all that are met, past their grace periods
}

// Step folds an observation into the state. A threshold that is past its grace period
// stays met until the minimum reclaim is free besides.
func Step(s State, cfg Config, seen Observations, now time.Time) (State, Decision) {
	met := slices.DeleteFunc(slices.Clone(cfg.Thresholds), func(t Threshold) bool { return !isMet(t, seen, false) })
	for _, t := range s.met {
		known := slices.ContainsFunc(met, func(o Threshold) bool { return o.id() == t.id() })
		if !known && isMet(t, seen, true) {
			met = append(met, t)
		}
	}
	next := State{firstMet: make(map[id]time.Time), lastMet: make(map[corev1.NodeConditionType]time.Time)}
	for c, at := range s.lastMet {
		next.lastMet[c] = at
	}
	for _, t := range met {
		since, ok := s.firstMet[t.id()]
		if !ok {
			since = now
		}
		next.firstMet[t.id()] = since
		next.lastMet[t.Signal.Condition()] = now
		if now.Sub(since) >= t.Grace {
			next.met = append(next.met, t)
		}
	}
	var d Decision
	for c, at := range next.lastMet {
		if now.Sub(at) < cfg.TransitionPeriod || now.Equal(at) {
			d.Conditions = append(d.Conditions, c)
		}
	}
	slices.Sort(d.Conditions)
	slices.SortStableFunc(next.met, func(a, b Threshold) int { return cmp.Compare(a.Signal.rank(), b.Signal.rank()) })
	d.Met = next.met
	if len(d.Met) > 0 {
		d.Reclaim = &d.Met[0]
	}
	return next, d
}

// IsRelieved reports whether no threshold is met any more, the minimum reclaim included:
// after something was reclaimed without an eviction.
func IsRelieved(list []Threshold, seen Observations) bool {
	return !slices.ContainsFunc(list, func(t Threshold) bool { return isMet(t, seen, true) })
}

// isMet compares a threshold with what is left. What was not observed meets none.
func isMet(t Threshold, seen Observations, withReclaim bool) bool {
	o, ok := seen[t.Signal]
	if !ok {
		return false
	}
	limit := t.Value.of(o.Capacity)
	if withReclaim {
		limit = limit.DeepCopy()
		limit.Add(t.Reclaim.of(o.Capacity))
	}
	return limit.CmpInt64(o.Available) > 0
}

// quantity is an amount in the form that messages show it in.
func quantity(r corev1.ResourceName, n int64) *resource.Quantity {
	if r == resourceInodes || r == resourcePIDs {
		return resource.NewQuantity(n, resource.DecimalSI)
	}
	return resource.NewQuantity(n, resource.BinarySI)
}
