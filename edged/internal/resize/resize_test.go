package resize

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/cgroup"
	"github.com/edgekit/edgekit/edged/internal/podtest"

	"github.com/edgekit/edgekit/edged/internal/metricstext"
)

// pod has one container, a, that requests and limits memory and cpu.
func pod(cpu, memory string) *corev1.Pod {
	p := podtest.New("Always", "a")
	p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: podtest.Resources("cpu", cpu, "memory", memory), Limits: podtest.Resources("cpu", cpu, "memory", memory)}
	return p
}

func TestAllocation(t *testing.T) {
	small, large := pod("100m", "64Mi"), pod("200m", "128Mi")
	a := Of(small)
	if !a.Granted(small) || a.Granted(large) || a.Apply(small) != small {
		t.Error("what is granted is not told from what is not")
	}
	got := a.Apply(large)
	if got.Spec.Containers[0].Resources.Limits.Memory().Value() != 64<<20 || large.Spec.Containers[0].Resources.Limits.Memory().Value() != 128<<20 {
		t.Errorf("applied: %+v, and the pod is %+v", got.Spec.Containers[0].Resources, large.Spec.Containers[0].Resources)
	}
	whole := pod("100m", "64Mi")
	whole.Spec.Resources = &corev1.ResourceRequirements{Limits: podtest.Resources("memory", "1Gi")}
	if a.Granted(whole) || a.Apply(whole).Spec.Resources != nil {
		t.Error("the resources of the pod as a whole do not count")
	}
	more := podtest.New("Always", "a", "b")
	more.Spec.Containers[0].Resources = small.Spec.Containers[0].Resources
	if !a.Granted(more) {
		t.Error("a container that is not in it differs")
	}
}

func TestNeedsRestart(t *testing.T) {
	c := &corev1.Container{ResizePolicy: []corev1.ContainerResizePolicy{{ResourceName: "cpu", RestartPolicy: corev1.NotRequired}, {ResourceName: "memory", RestartPolicy: corev1.RestartContainer}}}
	from := Amounts{CPURequest: 100, CPULimit: 100, MemoryRequest: 1, MemoryLimit: 2}
	for want, all := range map[bool][]Amounts{
		false: {from, {200, 100, 1, 2}, {100, 300, 1, 2}},
		true:  {{100, 100, 2, 2}, {100, 100, 1, 3}, {1, 1, 1, 1}},
	} {
		for _, to := range all {
			if NeedsRestart(c, from, to) != want {
				t.Errorf("to %+v: want %t", to, want)
			}
			if NeedsRestart(&corev1.Container{}, from, to) {
				t.Errorf("to %+v: without a policy", to)
			}
		}
	}
	whole := &corev1.ResourceRequirements{Limits: podtest.Resources("memory", "1Gi", "cpu", "2")}
	if a := AmountsOf(whole, corev1.ResourceRequirements{Limits: podtest.Resources("cpu", "1")}); a.MemoryLimit != 1<<30 || a.CPULimit != 1000 || a.CPURequest != 0 {
		t.Errorf("%+v", a)
	}
}

func TestDecide(t *testing.T) {
	restart := pod("100m", "64Mi")
	restart.Spec.Containers[0].ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: "memory", RestartPolicy: corev1.RestartContainer}}
	never := func(*corev1.Pod, *corev1.Container) bool { return false }
	always := func(*corev1.Pod, *corev1.Container) bool { return true }
	for name, tt := range map[string]struct {
		r      Request
		reason string
	}{
		"granted":                         {Request{Desired: pod("200m", "128Mi"), Allocated: pod("100m", "64Mi"), CanResize: true, Swaps: never}, ""},
		"no room":                         {Request{Desired: pod("200m", "128Mi"), Allocated: pod("100m", "64Mi"), CanResize: true, Swaps: never, Full: Reason{"OutOfmemory", "m"}}, "OutOfmemory"},
		"a runtime that cannot":           {Request{Desired: pod("200m", "128Mi"), Allocated: pod("100m", "64Mi"), Swaps: never}, "Infeasible"},
		"memory, with swap":               {Request{Desired: pod("100m", "128Mi"), Allocated: pod("100m", "64Mi"), CanResize: true, Swaps: always}, "Infeasible"},
		"cpu, with swap":                  {Request{Desired: pod("200m", "64Mi"), Allocated: pod("100m", "64Mi"), CanResize: true, Swaps: always}, ""},
		"memory, with swap and a restart": {Request{Desired: pod("100m", "128Mi"), Allocated: restart, CanResize: true, Swaps: always}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if v := Decide(tt.r); v.Reason != tt.reason || (v.Reason != "") != (v.Message != "") || (v.Reason == "Infeasible") != (v.Detail != "") {
				t.Errorf("%+v, want %q", v, tt.reason)
			}
		})
	}
}

func TestOrder(t *testing.T) {
	named := func(name, from, to string, priority int32, burstable bool, since time.Time) Pending {
		p := Pending{Desired: pod(to, "1Mi"), Allocated: pod(from, "1Mi"), Since: since}
		p.Desired.Name, p.Desired.Spec.Priority = name, &priority
		if burstable {
			p.Desired.Spec.Containers[0].Resources.Limits = nil
		}
		return p
	}
	t0 := time.Unix(1000, 0)
	all := []Pending{
		named("new", "1", "2", 0, true, time.Time{}), named("later", "1", "2", 0, true, t0.Add(time.Hour)), named("first", "1", "2", 0, true, t0),
		named("guaranteed", "1", "2", 0, false, time.Time{}), named("important", "1", "2", 10, true, time.Time{}), named("less", "2", "1", -5, true, time.Time{}),
	}
	Order(all)
	var got []string
	for _, p := range all {
		got = append(got, p.Desired.Name)
	}
	if want := []string{"less", "important", "guaranteed", "first", "later", "new"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestSteps(t *testing.T) {
	change := func(name string, from, to Amounts) Change {
		return Change{ID: name + "-id", Name: name, From: from, To: to}
	}
	a := change("a", Amounts{100, 100, 10, 10}, Amounts{200, 200, 20, 20})
	b := change("b", Amounts{200, 200, 20, 20}, Amounts{100, 100, 10, 10})
	for name, tt := range map[string]struct {
		from, to cgroup.Limits
		changes  []Change
		want     []string
	}{
		"up": {
			cgroup.Limits{CPUShares: 10, CPUQuota: 10, Memory: 10}, cgroup.Limits{CPUShares: 20, CPUQuota: 20, CPUPeriod: 5, Memory: 20}, []Change{a},
			[]string{"pod memory=20", "memory of a", "pod quota=20", "pod shares=20", "cpu of a"},
		},
		"down": {
			cgroup.Limits{CPUShares: 20, CPUQuota: 20, Memory: 20}, cgroup.Limits{CPUShares: 10, CPUQuota: 10, Memory: 10}, []Change{b},
			[]string{"memory of b", "pod memory=10", "cpu of b", "pod shares=10", "pod quota=10"},
		},
		"from one container to the other": {
			cgroup.Limits{CPUShares: 10, CPUQuota: 10, Memory: 10}, cgroup.Limits{CPUShares: 10, CPUQuota: 10, Memory: 10}, []Change{a, b},
			[]string{"memory of b", "memory of a", "cpu of b", "cpu of a"},
		},
		"memory up, cpu down": {
			cgroup.Limits{CPUShares: 10, CPUQuota: 10, Memory: 10}, cgroup.Limits{CPUShares: 5, CPUQuota: 5, Memory: 20}, []Change{change("c", Amounts{2, 2, 1, 1}, Amounts{1, 1, 2, 2})},
			[]string{"pod memory=20", "memory of c", "cpu of c", "pod shares=5", "pod quota=5"},
		},
		"the first limit of the pod": {
			cgroup.Limits{CPUShares: 10, CPUQuota: -1, Memory: -1}, cgroup.Limits{CPUShares: 10, CPUQuota: 5, Memory: 20}, []Change{b},
			[]string{"memory of b", "pod memory=20", "cpu of b", "pod quota=5"},
		},
		"no limit of the pod is wanted any more": {
			cgroup.Limits{CPUShares: 10, CPUQuota: 5, Memory: 20}, cgroup.Limits{CPUShares: 12}, nil, []string{"pod shares=12"},
		},
		"what protects the memory, with no limit": {
			cgroup.Limits{CPUShares: 10, CPUQuota: -1, Memory: -1}, cgroup.Limits{CPUShares: 10, Unified: map[string]string{"memory.low": "7"}}, nil, []string{"pod memory.low=7"},
		},
		"nothing": {cgroup.Limits{CPUShares: 10, CPUQuota: 5, Memory: 20}, cgroup.Limits{CPUShares: 10, CPUQuota: 5, Memory: 20}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, s := range Steps(tt.from, tt.to, tt.changes) {
				got = append(got, s.String())
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestCheckUsage(t *testing.T) {
	n := int64(50)
	lower := []Change{{Name: "a", From: Amounts{MemoryLimit: 100}, To: Amounts{MemoryLimit: 40}}}
	for name, tt := range map[string]struct {
		from, to int64
		changes  []Change
		used     Usage
		want     string
	}{
		"raised":            {100, 200, nil, Usage{}, ""},
		"enough":            {100, 60, []Change{{Name: "a", From: Amounts{MemoryLimit: 100}, To: Amounts{MemoryLimit: 60}}}, Usage{Pod: &n, Containers: map[string]int64{"a": 50}}, ""},
		"the pod uses more": {100, 50, nil, Usage{Pod: &n}, "cannot decrease memory limits: attempting to set pod memory limit (50) below current usage (50)"},
		"not known":         {100, 50, nil, Usage{}, "cannot decrease memory limits: missing pod memory usage"},
		"a container uses more": {
			100, 100, lower, Usage{Containers: map[string]int64{"a": 41}}, `cannot decrease memory limits: attempting to set container "a" memory limit (40) below current usage (41)`,
		},
		"both":        {100, 40, lower, Usage{Pod: &n}, `cannot decrease memory limits: [attempting to set pod memory limit (40) below current usage (50), missing container "a" memory usage]`},
		"first limit": {-1, 40, nil, Usage{Pod: &n}, "cannot decrease memory limits: attempting to set pod memory limit (40) below current usage (50)"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if err := CheckUsage(cgroup.Limits{Memory: tt.from}, cgroup.Limits{Memory: tt.to}, tt.changes, tt.used); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
			if Shrinks(cgroup.Limits{Memory: tt.from}, cgroup.Limits{Memory: tt.to}, tt.changes) != (name != "raised") {
				t.Error("shrinks")
			}
		})
	}
}

func TestEventMessage(t *testing.T) {
	got := EventMessage("Pod resize started", pod("100m", "100"), 3, "")
	if want := `Pod resize started: {"containers":[{"name":"a","resources":{"limits":{"cpu":"100m","memory":"100"},"requests":{"cpu":"100m","memory":"100"}}}],"generation":3}`; got != want {
		t.Errorf("%s", got)
	}
}

func TestRecord(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pod")
	if r, err := Load(dir); r != nil || err != nil {
		t.Errorf("no record: %v, %v", r, err)
	}
	r := Record{Allocated: Of(pod("100m", "64Mi")), Actuated: map[string]corev1.ResourceRequirements{"id": pod("1", "2").Spec.Containers[0].Resources}}
	for range 2 {
		if err := r.Store(dir); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Load(dir)
	if err != nil || !got.Allocated.Granted(pod("100m", "64Mi")) || !Same(got.Actuated["id"], r.Actuated["id"]) {
		t.Errorf("%+v, %v", got, err)
	}
	c := got.Clone()
	c.Allocated.Containers["a"].Limits["cpu"], c.Actuated["other"] = podtest.Resources("cpu", "7")["cpu"], corev1.ResourceRequirements{}
	if !got.Allocated.Granted(pod("100m", "64Mi")) || len(got.Actuated) != 1 {
		t.Error("a clone shares")
	}
	for _, text := range []string{"", "{", `{"allocated": 7}`, strings.Repeat(" ", maxRecord+1)} {
		if err := os.WriteFile(filepath.Join(dir, recordFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := Load(dir); r != nil || err == nil {
			t.Errorf("%.20q: %v, %v", text, r, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"allocated":{"containers":{"a":{"limits":{"cpu":"100m"}}}},"actuated":{"id":{}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if r, err := Parse(text); err == nil && !reflect.DeepEqual(r.Allocated, r.Clone().Allocated) {
			t.Errorf("%+v", r)
		}
	})
}

func TestMetrics(t *testing.T) {
	m := NewMetrics()
	m.Requested(pod("100m", "64Mi"), pod("200m", "32Mi"))
	m.Infeasible("swap_limitation")
	m.DeferredAccepted("pods_removed")
	m.Settled(pod("1", "1"), Accepted, 12*time.Second)
	m.Done(true, 20*time.Millisecond)
	var out strings.Builder
	collector := metricstext.Collect(func(ch chan<- prometheus.Metric) {
		m.Collect(ch, []State{{Pod: pod("1", "1"), Pending: corev1.PodReasonDeferred, InProgress: true}})
	})
	if err := metricstext.Write(&out, collector); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`kubelet_container_requested_resizes_total{operation="increase",requirement="limits",resource="cpu"} 1`,
		`kubelet_container_requested_resizes_total{operation="decrease",requirement="requests",resource="memory"} 1`,
		`kubelet_pod_infeasible_resizes_total{reason_detail="swap_limitation"} 1`,
		`kubelet_pod_deferred_accepted_resizes_total{retry_trigger="pods_removed"} 1`,
		`kubelet_pod_pending_resizes{priority_bucket="normal",reason="deferred"} 1`, "kubelet_pod_in_progress_resizes 1",
		`kubelet_pod_resize_duration_milliseconds_bucket{success="true",le="10"} 0`, `kubelet_pod_resize_duration_milliseconds_bucket{success="true",le="50"} 1`,
		`kubelet_pod_deferred_resize_duration_seconds_sum{priority_bucket="normal",resolution="accepted"} 12`,
	} {
		if !strings.Contains(out.String(), want+"\n") {
			t.Errorf("no %s in\n%s", want, out.String())
		}
	}
}
