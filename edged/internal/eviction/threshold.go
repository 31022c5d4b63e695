package eviction

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// DefaultTransitionPeriod is how long a condition of the node stays after its
// threshold was last met, as the kubelet's evictionPressureTransitionPeriod.
const DefaultTransitionPeriod = 5 * time.Minute

// DefaultHard are the hard thresholds of a node where nothing is set: the kubelet's on
// Linux.
func DefaultHard() map[string]string {
	return map[string]string{
		string(MemoryAvailable): "100Mi", string(NodeFsAvailable): "10%", string(NodeFsInodesFree): "5%",
		string(ImageFsAvailable): "15%", string(ImageFsInodesFree): "5%",
	}
}

// Value is an amount, or a part of the capacity.
type Value struct {
	Quantity resource.Quantity
	Part     float64 // 0.1 for 10%; 0 means that Quantity counts
}

// of is the amount for a capacity.
func (v Value) of(capacity int64) resource.Quantity {
	if v.Part > 0 {
		return *resource.NewQuantity(int64(float64(capacity)*v.Part), resource.BinarySI)
	}
	return v.Quantity
}

// Threshold is met while less is left than its value.
type Threshold struct {
	Signal  Signal
	Value   Value
	Grace   time.Duration // how long it must be met before pods are evicted; 0 for a hard one
	Reclaim Value         // how much more must be free before it counts as over
}

// IsHard reports whether pods are evicted at once, with a grace period of a second.
func (t Threshold) IsHard() bool { return t.Grace == 0 }

// Settings are the kubelet's settings of thresholds, by the names of signals.
type Settings struct {
	// Hard, Soft and MinimumReclaim have quantities (500Mi) or percentages of the
	// capacity (10%). A nil Hard means DefaultHard, an empty one none.
	Hard, Soft, MinimumReclaim map[string]string
	// SoftGracePeriod has an entry for each signal of Soft.
	SoftGracePeriod map[string]time.Duration
	// MergeDefaults has signals that are not in Hard keep their default; without, they
	// have no hard threshold.
	MergeDefaults bool
}

// Thresholds reads the settings. Its errors name the kubelet's field and the signal.
func (s Settings) Thresholds() ([]Threshold, error) {
	hard := s.Hard
	if hard == nil || s.MergeDefaults {
		hard = DefaultHard()
		for name, text := range s.Hard {
			hard[name] = text
		}
	}
	out, err := parseThresholds("evictionHard", hard)
	if err != nil {
		return nil, err
	}
	soft, err := parseThresholds("evictionSoft", s.Soft)
	if err != nil {
		return nil, err
	}
	for name, grace := range s.SoftGracePeriod {
		if err := checkSignal("evictionSoftGracePeriod", name); err != nil {
			return nil, err
		}
		if grace < 0 {
			return nil, fmt.Errorf("evictionSoftGracePeriod: %s: %s is negative", name, grace)
		}
	}
	for i := range soft {
		grace, ok := s.SoftGracePeriod[string(soft[i].Signal)]
		if !ok {
			return nil, fmt.Errorf("evictionSoftGracePeriod: %s is missing: each signal of evictionSoft needs one, such as 90s", soft[i].Signal)
		}
		soft[i].Grace = grace
	}
	out = append(out, soft...)
	for name, text := range s.MinimumReclaim {
		if err := checkSignal("evictionMinimumReclaim", name); err != nil {
			return nil, err
		}
		v, err := parseValue(text)
		if err != nil {
			return nil, fmt.Errorf("evictionMinimumReclaim: %s: %w", name, err)
		}
		for i := range out {
			if string(out[i].Signal) == name {
				out[i].Reclaim = v
			}
		}
	}
	return withAllocatable(out), nil
}

// withAllocatable gives the memory of all pods together the hard threshold of the
// node's memory.
func withAllocatable(list []Threshold) []Threshold {
	for _, t := range list {
		if t.Signal == MemoryAvailable && t.IsHard() {
			t.Signal = AllocatableMemoryAvailable
			return append(list, t)
		}
	}
	return list
}

func checkSignal(field, name string) error {
	if slices.Contains(settable(), Signal(name)) {
		return nil
	}
	return fmt.Errorf("%s: %q is no signal: use one of %v", field, name, settable())
}

// parseThresholds reads one map of thresholds. 0% and 100% stand for no threshold.
func parseThresholds(field string, texts map[string]string) ([]Threshold, error) {
	var out []Threshold
	for name, text := range texts {
		if err := checkSignal(field, name); err != nil {
			return nil, err
		}
		if text == "0%" || text == "100%" {
			continue
		}
		v, err := parseValue(text)
		if err == nil && v.Part == 0 && v.Quantity.IsZero() {
			err = fmt.Errorf("%q is not positive: leave the signal out, or write 0%%, for no threshold", text)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", field, name, err)
		}
		out = append(out, Threshold{Signal: Signal(name), Value: v})
	}
	slices.SortFunc(out, func(a, b Threshold) int { return cmp.Compare(a.Signal.rank(), b.Signal.rank()) })
	return out, nil
}

// parseValue reads a quantity or a percentage.
func parseValue(text string) (Value, error) {
	if number, ok := strings.CutSuffix(text, "%"); ok {
		n, err := strconv.ParseFloat(number, 64)
		if err != nil || !(n >= 0 && n <= 100) {
			return Value{}, fmt.Errorf("%q is no percentage from 0%% to 100%%", text)
		}
		return Value{Part: n / 100}, nil
	}
	q, err := resource.ParseQuantity(text)
	if err != nil {
		return Value{}, fmt.Errorf("%q is neither a quantity such as 500Mi nor a percentage such as 10%%", text)
	}
	if q.Sign() < 0 {
		return Value{}, fmt.Errorf("%q is negative", text)
	}
	return Value{Quantity: q}, nil
}

// ForLayout gives containerfs the thresholds of the file system that writable layers are
// on, whatever was set for it: of nodefs where they are beside volumes. Elsewhere they
// are on the file system of another signal, and containerfs is not looked at (KEP-4191).
func ForLayout(list []Threshold, l Layout) []Threshold {
	out := slices.DeleteFunc(slices.Clone(list), func(t Threshold) bool {
		return t.Signal == ContainerFsAvailable || t.Signal == ContainerFsInodesFree
	})
	if !l.Split {
		return out
	}
	for _, t := range slices.Clone(out) {
		switch t.Signal {
		case NodeFsAvailable:
			t.Signal = ContainerFsAvailable
		case NodeFsInodesFree:
			t.Signal = ContainerFsInodesFree
		default:
			continue
		}
		out = append(out, t)
	}
	return out
}

// Reservation is what the hard thresholds keep free of a capacity: it is not
// allocatable.
// https://kubernetes.io/docs/tasks/administer-cluster/reserve-compute-resources/#eviction-thresholds
func Reservation(list []Threshold, capacity corev1.ResourceList) corev1.ResourceList {
	out := make(corev1.ResourceList)
	for _, t := range list {
		if !t.IsHard() || t.Signal != MemoryAvailable && t.Signal != NodeFsAvailable {
			continue
		}
		if have, ok := capacity[t.Signal.Resource()]; ok {
			out[t.Signal.Resource()] = t.Value.of(have.Value())
		}
	}
	return out
}
