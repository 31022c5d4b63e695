package eviction

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// show is a list of thresholds as text.
func show(list []Threshold) []string {
	var out []string
	for _, t := range list {
		value := func(v Value) string {
			if v.Part > 0 {
				return fmt.Sprintf("%g%%", v.Part*100)
			}
			return v.Quantity.String()
		}
		text := string(t.Signal) + "<" + value(t.Value)
		if !t.IsHard() {
			text += " for " + t.Grace.String()
		}
		if r := value(t.Reclaim); r != "0" {
			text += " +" + r
		}
		out = append(out, text)
	}
	return out
}

func TestThresholds(t *testing.T) {
	type m = map[string]string
	defaults := []string{"memory.available<100Mi", "nodefs.available<10%", "nodefs.inodesFree<5%", "imagefs.available<15%", "imagefs.inodesFree<5%", "allocatableMemory.available<100Mi"}
	for name, tt := range map[string]struct {
		set  Settings
		want []string
	}{
		"nothing is set":                    {Settings{}, defaults},
		"turned off":                        {Settings{Hard: m{}}, nil},
		"one is set":                        {Settings{Hard: m{"memory.available": "1Gi"}}, []string{"memory.available<1Gi", "allocatableMemory.available<1Gi"}},
		"one is merged":                     {Settings{Hard: m{"nodefs.available": "1Gi"}, MergeDefaults: true}, append([]string{defaults[0], "nodefs.available<1Gi"}, defaults[2:]...)},
		"one is turned off":                 {Settings{Hard: m{"memory.available": "0%"}, MergeDefaults: true}, defaults[1:5]},
		"100% is none":                      {Settings{Hard: m{"pid.available": "100%"}}, nil},
		"part of a percent":                 {Settings{Hard: m{"nodefs.available": "0.5%", "pid.available": "100"}}, []string{"nodefs.available<0.5%", "pid.available<100"}},
		"soft":                              {Settings{Hard: m{}, Soft: m{"nodefs.available": "20%"}, SoftGracePeriod: map[string]time.Duration{"nodefs.available": time.Minute}}, []string{"nodefs.available<20% for 1m0s"}},
		"soft memory is not of all pods":    {Settings{Hard: m{}, Soft: m{"memory.available": "20%"}, SoftGracePeriod: map[string]time.Duration{"memory.available": time.Minute}}, []string{"memory.available<20% for 1m0s"}},
		"minimum reclaim for hard and soft": {Settings{Hard: m{"nodefs.available": "1Gi"}, Soft: m{"nodefs.available": "2Gi"}, SoftGracePeriod: map[string]time.Duration{"nodefs.available": time.Minute}, MinimumReclaim: m{"nodefs.available": "500Mi"}}, []string{"nodefs.available<1Gi +500Mi", "nodefs.available<2Gi for 1m0s +500Mi"}},
		"minimum reclaim of nothing":        {Settings{Hard: m{}, MinimumReclaim: m{"nodefs.available": "0"}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := tt.set.Thresholds()
			if err != nil {
				t.Fatal(err)
			}
			if text := show(got); !slices.Equal(text, tt.want) {
				t.Errorf("%q, want %q", text, tt.want)
			}
		})
	}
}

// TestWrongSettings checks that each error names the kubelet's field, the signal and the
// remedy.
func TestWrongSettings(t *testing.T) {
	type m = map[string]string
	for name, tt := range map[string]struct {
		set  Settings
		want []string
	}{
		"no signal":               {Settings{Hard: m{"memory.free": "1Gi"}}, []string{"evictionHard", `"memory.free"`, "memory.available"}},
		"one that is not set":     {Settings{Hard: m{"allocatableMemory.available": "1Gi"}}, []string{"evictionHard", "is no signal"}},
		"no number":               {Settings{Hard: m{"memory.available": "much"}}, []string{"evictionHard", "memory.available", "500Mi"}},
		"negative":                {Settings{Hard: m{"memory.available": "-1"}}, []string{"evictionHard", "negative"}},
		"zero":                    {Settings{Hard: m{"memory.available": "0"}}, []string{"evictionHard", "0%"}},
		"over 100%":               {Settings{Soft: m{"memory.available": "101%"}}, []string{"evictionSoft", "100%"}},
		"no percentage":           {Settings{Hard: m{"memory.available": "NaN%"}}, []string{"evictionHard", "percentage"}},
		"soft without period":     {Settings{Soft: m{"memory.available": "10%"}}, []string{"evictionSoftGracePeriod", "memory.available", "90s"}},
		"negative period":         {Settings{SoftGracePeriod: map[string]time.Duration{"memory.available": -1}}, []string{"evictionSoftGracePeriod", "negative"}},
		"period of no signal":     {Settings{SoftGracePeriod: map[string]time.Duration{"x": 1}}, []string{"evictionSoftGracePeriod", `"x"`}},
		"reclaim of no signal":    {Settings{MinimumReclaim: m{"x": "1"}}, []string{"evictionMinimumReclaim", `"x"`}},
		"reclaim that is no such": {Settings{MinimumReclaim: m{"memory.available": "-1%"}}, []string{"evictionMinimumReclaim", "memory.available"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tt.set.Thresholds()
			for _, want := range tt.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v, want %q in it", err, want)
				}
			}
		})
	}
}

func FuzzThresholds(f *testing.F) {
	f.Add("memory.available", "10%")
	f.Add("pid.available", "1e3")
	f.Fuzz(func(t *testing.T, signal, text string) {
		list, err := Settings{Hard: map[string]string{signal: text}}.Thresholds()
		if err != nil {
			return
		}
		Step(State{}, Config{Thresholds: list}, Observations{Signal(signal): {Available: 5, Capacity: 10}}, time.Now())
	})
}

// TestForLayout: containerfs never has thresholds of its own (KEP-4191).
func TestForLayout(t *testing.T) {
	list, err := Settings{Hard: map[string]string{"nodefs.available": "10%", "nodefs.inodesFree": "5%", "imagefs.available": "15%", "containerfs.available": "50%"}}.Thresholds()
	if err != nil {
		t.Fatal(err)
	}
	plain := []string{"nodefs.available<10%", "nodefs.inodesFree<5%", "imagefs.available<15%"}
	for l, want := range map[Layout][]string{
		{}:                          plain,
		{Images: true}:              plain,
		{Images: true, Split: true}: append(slices.Clone(plain), "containerfs.available<10%", "containerfs.inodesFree<5%"),
	} {
		if got := show(ForLayout(list, l)); !slices.Equal(got, want) {
			t.Errorf("%+v: %q, want %q", l, got, want)
		}
	}
	if len(list) != 4 {
		t.Errorf("the list was changed: %q", show(list))
	}
}

func TestReservation(t *testing.T) {
	list, err := Settings{
		Hard: map[string]string{"memory.available": "100Mi", "nodefs.available": "10%", "imagefs.available": "15%", "pid.available": "10"},
		Soft: map[string]string{"memory.available": "1Gi"}, SoftGracePeriod: map[string]time.Duration{"memory.available": time.Minute},
	}.Thresholds()
	if err != nil {
		t.Fatal(err)
	}
	got := Reservation(list, corev1.ResourceList{"cpu": resource.MustParse("2"), "memory": resource.MustParse("1Gi"), "ephemeral-storage": resource.MustParse("1000")})
	if len(got) != 2 || got.Memory().Value() != 100<<20 || got.StorageEphemeral().Value() != 100 {
		t.Errorf("%v", got)
	}
	if got := Reservation(list, corev1.ResourceList{"memory": resource.MustParse("1Gi")}); len(got) != 1 {
		t.Errorf("of a disk that is not known: %v", got)
	}
}
