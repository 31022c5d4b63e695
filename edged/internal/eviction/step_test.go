package eviction

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// TestStep goes through observations of a node. Each line of a case is one observation:
// how much later it is, what is measured, and what must follow.
func TestStep(t *testing.T) {
	const memory, disk, pids = corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure
	value := func(text string) Value { return Value{Quantity: resource.MustParse(text)} }
	hard := func(s Signal, v string) Threshold { return Threshold{Signal: s, Value: value(v)} }
	type look struct {
		after      time.Duration
		seen       Observations
		conditions []corev1.NodeConditionType
		reclaim    Signal
	}
	have := func(s Signal, n int64) Observations { return Observations{s: {Available: n, Capacity: 1000}} }
	for name, tt := range map[string]struct {
		thresholds []Threshold
		state      State
		looks      []look
	}{
		"enough":           {thresholds: []Threshold{hard(MemoryAvailable, "100")}, looks: []look{{0, have(MemoryAvailable, 100), nil, ""}}},
		"nothing was seen": {thresholds: []Threshold{hard(MemoryAvailable, "100")}, looks: []look{{0, nil, nil, ""}}},
		"a hard threshold acts at once; its condition stays five minutes": {
			thresholds: []Threshold{hard(MemoryAvailable, "100")},
			looks: []look{
				{0, have(MemoryAvailable, 99), []corev1.NodeConditionType{memory}, MemoryAvailable},
				{10 * time.Second, have(MemoryAvailable, 100), []corev1.NodeConditionType{memory}, ""},
				{4*time.Minute + 49*time.Second, have(MemoryAvailable, 100), []corev1.NodeConditionType{memory}, ""},
				{time.Second, have(MemoryAvailable, 100), nil, ""},
			},
		},
		"a condition that comes again is held anew": {
			thresholds: []Threshold{hard(NodeFsAvailable, "100")},
			looks: []look{
				{0, have(NodeFsAvailable, 1), []corev1.NodeConditionType{disk}, NodeFsAvailable},
				{4 * time.Minute, have(NodeFsAvailable, 1), []corev1.NodeConditionType{disk}, NodeFsAvailable},
				{4 * time.Minute, have(NodeFsAvailable, 500), []corev1.NodeConditionType{disk}, ""},
				{time.Minute, have(NodeFsAvailable, 500), nil, ""},
			},
		},
		"a soft threshold sets the condition at once and acts after its grace period": {
			thresholds: []Threshold{{Signal: NodeFsAvailable, Value: Value{Part: 0.1}, Grace: time.Minute}},
			looks: []look{
				{0, have(NodeFsAvailable, 99), []corev1.NodeConditionType{disk}, ""},
				{50 * time.Second, have(NodeFsAvailable, 99), []corev1.NodeConditionType{disk}, ""},
				{10 * time.Second, have(NodeFsAvailable, 99), []corev1.NodeConditionType{disk}, NodeFsAvailable},
			},
		},
		"a soft threshold that was not met for a moment begins anew": {
			thresholds: []Threshold{{Signal: NodeFsAvailable, Value: Value{Part: 0.1}, Grace: time.Minute}},
			looks: []look{
				{0, have(NodeFsAvailable, 99), []corev1.NodeConditionType{disk}, ""},
				{50 * time.Second, have(NodeFsAvailable, 100), []corev1.NodeConditionType{disk}, ""},
				{10 * time.Second, have(NodeFsAvailable, 99), []corev1.NodeConditionType{disk}, ""},
			},
		},
		"the minimum reclaim keeps a threshold met": {
			thresholds: []Threshold{{Signal: NodeFsAvailable, Value: value("100"), Reclaim: value("50")}},
			looks: []look{
				{0, have(NodeFsAvailable, 120), nil, ""},
				{10 * time.Second, have(NodeFsAvailable, 99), []corev1.NodeConditionType{disk}, NodeFsAvailable},
				{10 * time.Second, have(NodeFsAvailable, 120), []corev1.NodeConditionType{disk}, NodeFsAvailable},
				{10 * time.Second, have(NodeFsAvailable, 150), []corev1.NodeConditionType{disk}, ""},
				{10 * time.Second, have(NodeFsAvailable, 120), []corev1.NodeConditionType{disk}, ""},
			},
		},
		"memory comes before disk, and disk before process ids": {
			thresholds: []Threshold{hard(PIDAvailable, "10"), hard(ImageFsInodesFree, "10"), hard(MemoryAvailable, "10")},
			looks: []look{
				{0, Observations{PIDAvailable: {5, 100}, ImageFsInodesFree: {5, 100}, MemoryAvailable: {5, 100}}, []corev1.NodeConditionType{disk, memory, pids}, MemoryAvailable},
				{10 * time.Second, Observations{PIDAvailable: {5, 100}, ImageFsInodesFree: {5, 100}, MemoryAvailable: {50, 100}}, []corev1.NodeConditionType{disk, memory, pids}, ImageFsInodesFree},
				{10 * time.Second, Observations{PIDAvailable: {5, 100}, ImageFsInodesFree: {50, 100}, MemoryAvailable: {50, 100}}, []corev1.NodeConditionType{disk, memory, pids}, PIDAvailable},
			},
		},
		"the memory of all pods": {
			thresholds: []Threshold{hard(AllocatableMemoryAvailable, "10")},
			looks:      []look{{0, have(AllocatableMemoryAvailable, 9), []corev1.NodeConditionType{memory}, AllocatableMemoryAvailable}},
		},
		"what an earlier run reported is held": {
			thresholds: []Threshold{hard(NodeFsAvailable, "100")}, state: Held([]corev1.NodeConditionType{disk}, time.Unix(1000, 0)),
			looks: []look{
				{time.Second, have(NodeFsAvailable, 500), []corev1.NodeConditionType{disk}, ""},
				{5 * time.Minute, have(NodeFsAvailable, 500), nil, ""},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			now, s := time.Unix(1000, 0), tt.state
			for i, l := range tt.looks {
				now = now.Add(l.after)
				var d Decision
				s, d = Step(s, Config{Thresholds: tt.thresholds, TransitionPeriod: DefaultTransitionPeriod}, l.seen, now)
				var reclaim Signal
				if d.Reclaim != nil {
					reclaim = d.Reclaim.Signal
				}
				if !slices.Equal(d.Conditions, l.conditions) || reclaim != l.reclaim {
					t.Errorf("look %d: %v, reclaim %q; want %v, %q", i, d.Conditions, reclaim, l.conditions, l.reclaim)
				}
			}
		})
	}
}

func TestIsRelieved(t *testing.T) {
	list := []Threshold{{Signal: NodeFsAvailable, Value: Value{Part: 0.1}, Reclaim: Value{Part: 0.05}}}
	for available, want := range map[int64]bool{99: false, 100: false, 149: false, 150: true} {
		if got := IsRelieved(list, Observations{NodeFsAvailable: {available, 1000}}); got != want {
			t.Errorf("%d of 1000: %t", available, got)
		}
	}
}

func TestReclaimsFirst(t *testing.T) {
	one, two, split := Layout{}, Layout{Images: true}, Layout{Images: true, Split: true}
	for _, tt := range []struct {
		s            Signal
		l            Layout
		dead, images bool
	}{
		{MemoryAvailable, one, false, false}, {PIDAvailable, two, false, false}, {NodeFsAvailable, one, true, true}, {ImageFsInodesFree, one, true, true},
		{NodeFsInodesFree, two, false, false}, {ImageFsAvailable, two, true, true},
		{NodeFsAvailable, split, true, false}, {ContainerFsAvailable, split, true, false}, {ImageFsAvailable, split, false, true},
	} {
		if dead, images := ReclaimsFirst(tt.s, tt.l); dead != tt.dead || images != tt.images {
			t.Errorf("%s %+v: %t, %t", tt.s, tt.l, dead, images)
		}
	}
}
