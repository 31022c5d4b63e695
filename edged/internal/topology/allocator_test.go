package topology

import (
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/cpuset"
)

// ctr is a container that requests, and is limited to, so many CPUs and so much memory.
func ctr(name, cpu, memory string) corev1.Container {
	list := corev1.ResourceList{}
	if cpu != "" {
		list[corev1.ResourceCPU] = resource.MustParse(cpu)
	}
	if memory != "" {
		list[corev1.ResourceMemory] = resource.MustParse(memory)
	}
	return corev1.Container{Name: name, Resources: corev1.ResourceRequirements{Requests: list, Limits: list}}
}

func sidecar(name, cpu, memory string) corev1.Container {
	c := ctr(name, cpu, memory)
	always := corev1.ContainerRestartPolicyAlways
	c.RestartPolicy = &always
	return c
}

func pod(uid string, containers ...corev1.Container) *corev1.Pod {
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: containers}}
	p.Name, p.UID = uid, types.UID(uid)
	return p
}

func withInit(p *corev1.Pod, containers ...corev1.Container) *corev1.Pod {
	p.Spec.InitContainers = containers
	return p
}

func allocator(t *testing.T, cfg Config) *Allocator {
	t.Helper()
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// given is what the containers have, such as "a=1,5 b=2,6"; of memory the nodes.
func given(a *Allocator, p *corev1.Pod) string {
	var out []string
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		text := c.Name
		if set, own := a.CPUs(string(p.UID), c.Name); own {
			text += "=" + set.String()
		}
		if nodes := a.Nodes(string(p.UID), c.Name); len(nodes) > 0 {
			text += fmt.Sprintf("@%v", nodes)
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

func TestCPUs(t *testing.T) {
	burstable := pod("b", ctr("a", "2", "1Gi"))
	burstable.Spec.Containers[0].Resources.Limits = nil
	whole := pod("w", ctr("a", "2", "1Gi"))
	whole.Spec.Resources = &whole.Spec.Containers[0].Resources
	for name, tt := range map[string]struct {
		box     string
		options CPUOptions
		pod     *corev1.Pod
		want    string // or the reason and the message of the rejection
		shared  string
	}{
		"two":             {"smt", CPUOptions{}, pod("p", ctr("a", "2", "1Gi")), "a=1,5", "0,2-4,6-7"},
		"one":             {"smt", CPUOptions{}, pod("p", ctr("a", "1", "1Gi")), "a=4", "0-3,5-7"},
		"two containers":  {"smt", CPUOptions{}, pod("p", ctr("a", "2", "1Gi"), ctr("b", "4", "1Gi")), "a=1,5 b=2-3,6-7", "0,4"},
		"beside a part":   {"smt", CPUOptions{}, pod("p", ctr("a", "2", "1Gi"), ctr("b", "500m", "1Gi")), "a=1,5 b", "0,2-4,6-7"},
		"a part":          {"smt", CPUOptions{}, pod("p", ctr("a", "1500m", "1Gi")), "a", "0-7"},
		"burstable":       {"smt", CPUOptions{}, burstable, "a", "0-7"},
		"pod-level":       {"smt", CPUOptions{}, whole, "a", "0-7"},
		"best effort":     {"smt", CPUOptions{}, pod("p", ctr("a", "", "")), "a", "0-7"},
		"init reused":     {"smt", CPUOptions{}, withInit(pod("p", ctr("a", "2", "1Gi")), ctr("i", "2", "1Gi"), ctr("j", "2", "1Gi")), "i=1,5 j=1,5 a=1,5", "0,2-4,6-7"},
		"a large init":    {"smt", CPUOptions{}, withInit(pod("p", ctr("a", "2", "1Gi")), ctr("i", "4", "1Gi")), "i=1-2,5-6 a=1,5", "0,3-4,7"},
		"sidecar kept":    {"smt", CPUOptions{}, withInit(pod("p", ctr("a", "2", "1Gi")), sidecar("s", "2", "1Gi"), ctr("i", "2", "1Gi")), "s=1,5 i=2,6 a=2,6", "0,3-4,7"},
		"all but one":     {"smt", CPUOptions{}, pod("p", ctr("a", "7", "1Gi")), "a=1-7", "0"},
		"too many":        {"smt", CPUOptions{}, pod("p", ctr("a", "2", "1Gi"), ctr("b", "6", "1Gi")), "UnexpectedAdmissionError: Allocate failed due to not enough cpus available to satisfy request: requested=6, available=5, which is unexpected", "0-7"},
		"strict":          {"smt", CPUOptions{Strict: true}, pod("p", ctr("a", "2", "1Gi")), "a=1,5", "2-4,6-7"},
		"half a core":     {"smt", CPUOptions{FullCores: true}, pod("p", ctr("a", "3", "1Gi")), "SMTAlignmentError: SMT Alignment Error: requested 3 cpus not multiple cpus per core = 2", "0-7"},
		"whole cores":     {"smt", CPUOptions{FullCores: true}, pod("p", ctr("a", "6", "1Gi")), "a=1-3,5-7", "0,4"},
		"a broken core":   {"smt", CPUOptions{FullCores: true}, pod("p", ctr("a", "8", "1Gi")), "SMTAlignmentError: SMT Alignment Error: not enough free physical CPUs: available physical CPUs = 6, requested CPUs = 8, CPUs per core = 2", "0-7"},
		"one cache":       {"ccd", CPUOptions{AlignCaches: true}, pod("p", ctr("a", "8", "1Gi")), "a=4-7,20-23", "0-3,8-19,24-31"},
		"over nodes":      {"two", CPUOptions{Distribute: true}, pod("p", ctr("a", "10", "1Gi")), "a=1-5,8-12", "0,6-7,13-15"},
		"whole over both": {"two", CPUOptions{Distribute: true, FullCores: true}, pod("p", ctr("a", "12", "1Gi")), "a=1-6,9-14", "0,7-8,15"},
	} {
		t.Run(name, func(t *testing.T) {
			a := allocator(t, Config{Machine: machine(t, tt.box), CPUs: true, Options: tt.options, ReservedCount: 1})
			var got string
			if refused := a.Admit(tt.pod); refused != nil {
				got = refused.Reason + ": " + refused.Message
			} else {
				got = given(a, tt.pod)
			}
			if shared := a.State().Shared.String(); got != tt.want || shared != tt.shared {
				t.Errorf("%s, shared %s, want %s, shared %s", got, shared, tt.want, tt.shared)
			}
			if a.Release(func(string, string) bool { return false }); a.State().Shared.Size()+map[bool]int{true: 1}[tt.options.Strict] != len(a.cfg.Machine.CPUs) {
				t.Errorf("not all came back: %s", a.State().Shared)
			}
		})
	}
}

func TestAlign(t *testing.T) {
	big, half := pod("p", ctr("a", "10", "1Gi")), pod("p", ctr("a", "4", "1Gi"), ctr("b", "5", "1Gi"))
	const topology = "TopologyAffinityError: Resources cannot be allocated with Topology locality"
	for name, tt := range map[string]struct {
		policy Policy
		scope  bool
		before *corev1.Pod
		pod    *corev1.Pod
		want   string
	}{
		"no policy":             {PolicyNone, false, nil, big, "a=1-3,5,7,9-11,13,15"},
		"best effort over both": {PolicyBestEffort, false, nil, big, "a=1-3,5,7,9-11,13,15@[0 1]"},
		// Its CPUs need both nodes, and its memory would have room on one.
		"restricted over both":       {PolicyRestricted, false, nil, big, topology},
		"restricted, all of both":    {PolicyRestricted, false, nil, pod("p", ctr("a", "10", "40Gi")), "a=1-3,5,7,9-11,13,15@[0 1]"},
		"single":                     {PolicySingleNode, false, nil, big, topology},
		"restricted, one is full":    {PolicyRestricted, false, pod("x", ctr("a", "6", "1Gi"), ctr("b", "6", "1Gi")), pod("p", ctr("a", "3", "1Gi")), topology},
		"best effort, one is full":   {PolicyBestEffort, false, pod("x", ctr("a", "6", "1Gi"), ctr("b", "6", "1Gi")), pod("p", ctr("a", "3", "1Gi")), "a"},
		"each container on one":      {PolicySingleNode, false, nil, half, ""},
		"a pod as a whole":           {PolicySingleNode, true, nil, half, topology},
		"a pod as a whole that fits": {PolicySingleNode, true, nil, pod("p", ctr("a", "4", "1Gi"), ctr("b", "4", "1Gi")), "a=1,3,9,11@[1] b=5,7,13,15@[1]"},
	} {
		t.Run(name, func(t *testing.T) {
			a := allocator(t, Config{
				Machine: machine(t, "two"), CPUs: true, ReservedCPUs: cpuset.New(0), Memory: tt.policy != PolicyNone,
				Policy: tt.policy, PodScope: tt.scope, ReservedMemory: map[int]map[corev1.ResourceName]uint64{0: {corev1.ResourceMemory: 1 << 30}},
			})
			if tt.before != nil {
				if refused := a.Admit(tt.before); refused != nil {
					t.Fatal(refused)
				}
			}
			var got string
			if refused := a.Admit(tt.pod); refused != nil {
				got = refused.Reason + ": " + refused.Message
			} else {
				got = given(a, tt.pod)
			}
			if !strings.HasPrefix(got, tt.want) || strings.HasPrefix(got, "T") != strings.HasPrefix(tt.want, "T") {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func TestMemory(t *testing.T) {
	for name, tt := range map[string]struct {
		before, pod *corev1.Pod
		want        string
	}{
		"one node":       {nil, pod("p", ctr("a", "1", "20Gi")), "a@[0]"},
		"both nodes":     {nil, pod("p", ctr("a", "1", "40Gi")), "a@[0 1]"},
		"the free node":  {pod("x", ctr("a", "1", "20Gi")), pod("p", ctr("a", "1", "20Gi")), "a@[1]"},
		"beside another": {pod("x", ctr("a", "1", "4Gi")), pod("p", ctr("a", "1", "4Gi")), "a@[0]"},
		"a node that is used alone": {
			pod("x", ctr("a", "1", "4Gi")), pod("p", ctr("a", "1", "40Gi")),
			"UnexpectedAdmissionError: Allocate failed due to [memorymanager] failed to get the default NUMA affinity, no NUMA nodes with enough memory is available, which is unexpected",
		},
		"nodes that are used together": {
			pod("x", ctr("a", "1", "40Gi")), pod("p", ctr("a", "1", "4Gi")),
			"a@[0 1]",
		},
		"more than is left of them": {
			pod("x", ctr("a", "1", "40Gi")), pod("p", ctr("a", "1", "40Gi")),
			"UnexpectedAdmissionError: Allocate failed due to [memorymanager] failed to get the default NUMA affinity, no NUMA nodes with enough memory is available, which is unexpected",
		},
		"init reused":  {nil, withInit(pod("p", ctr("a", "1", "30Gi")), ctr("i", "1", "30Gi")), "i@[0] a@[0]"},
		"sidecar kept": {nil, withInit(pod("p", ctr("a", "1", "30Gi")), sidecar("s", "1", "30Gi")), "s@[0] a@[1]"},
	} {
		t.Run(name, func(t *testing.T) {
			a := allocator(t, Config{Machine: machine(t, "two"), Memory: true, ReservedMemory: map[int]map[corev1.ResourceName]uint64{0: {corev1.ResourceMemory: 1 << 30}}})
			if tt.before != nil {
				if refused := a.Admit(tt.before); refused != nil {
					t.Fatal(refused)
				}
			}
			before := a.State()
			var got string
			if refused := a.Admit(tt.pod); refused != nil {
				got = refused.Reason + ": " + refused.Message
				if !reflect.DeepEqual(a.State(), before) {
					t.Errorf("something was given: %+v", a.State())
				}
			} else {
				got = given(a, tt.pod)
			}
			if got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			// No node is promised more than it has.
			for id, use := range a.memory.use() {
				if use.free[corev1.ResourceMemory] > 32<<30 {
					t.Errorf("node %d: %+v", id, use)
				}
			}
		})
	}
}

// device is a Provider with one device on a NUMA node.
type device struct {
	node     int
	released int
	given    []string
}

func (d *device) Hints(_ *corev1.Pod, c *corev1.Container) map[string][]Hint {
	if c.Name != "gpu" {
		return nil
	}
	return map[string][]Hint{"example.com/gpu": {{Nodes: MaskOf(d.node), Preferred: true}}}
}
func (d *device) PodHints(p *corev1.Pod) map[string][]Hint { return d.Hints(p, &p.Spec.Containers[0]) }
func (d *device) Allocate(_ *corev1.Pod, c *corev1.Container, on Hint) error {
	if c.Name == "broken" {
		return &Error{"DeviceError", "no device"}
	}
	d.given = append(d.given, fmt.Sprint(c.Name, on.Nodes.Nodes()))
	return nil
}
func (d *device) Release(*corev1.Pod) { d.released++ }

func TestProvider(t *testing.T) {
	d := &device{node: 0}
	a := allocator(t, Config{Machine: machine(t, "two"), CPUs: true, ReservedCPUs: cpuset.New(1), Policy: PolicySingleNode, Providers: []Provider{d}})
	p := pod("p", ctr("gpu", "2", "1Gi"))
	if refused := a.Admit(p); refused != nil || given(a, p) != "gpu=0,8" || !slices.Equal(d.given, []string{"gpu[0]"}) {
		t.Errorf("%v, %s, %v", refused, given(a, p), d.given)
	}
	refused := a.Admit(pod("q", ctr("a", "2", "1Gi"), ctr("broken", "1", "1Gi")))
	if refused == nil || refused.Reason != "DeviceError" || refused.Message != "no device" || d.released != 1 || len(a.State().CPUs) != 1 {
		t.Errorf("%v, %d, %+v", refused, d.released, a.State())
	}
}

func TestClosest(t *testing.T) {
	m := machine(t, "epyc")
	for closest, want := range map[bool]Mask{false: MaskOf(0, 2), true: MaskOf(2, 3)} {
		g := merger{policy: PolicyBestEffort, closest: closest, m: m}
		got, ok := g.merge([]map[string][]Hint{{"cpu": {{Nodes: MaskOf(0, 2), Preferred: true}, {Nodes: MaskOf(2, 3), Preferred: true}}}})
		if got.Nodes != want || !ok {
			t.Errorf("closest %v: %v", closest, got.Nodes.Nodes())
		}
	}
}

// TestRestart stores what is given, and finds it again.
func TestRestart(t *testing.T) {
	cfg := Config{
		Machine: machine(t, "two"), CPUs: true, Memory: true, ReservedCount: 2, Policy: PolicyRestricted,
		ReservedMemory: map[int]map[corev1.ResourceName]uint64{0: {corev1.ResourceMemory: 1 << 30}},
	}
	a := allocator(t, cfg)
	p := withInit(pod("p", ctr("a", "2", "3Gi"), ctr("b", "1", "1Gi")), ctr("i", "2", "2Gi"), sidecar("s", "1", "1Gi"))
	if refused := a.Admit(p); refused != nil {
		t.Fatal(refused)
	}
	file := filepath.Join(t.TempDir(), "state")
	if err := a.State().Store(file); err != nil {
		t.Fatal(err)
	}
	s, found, err := Load(file)
	if err != nil || !found || !reflect.DeepEqual(s.CPUs, a.State().CPUs) || !reflect.DeepEqual(s.Memory, a.State().Memory) || !s.Shared.Equals(a.State().Shared) {
		t.Fatalf("%+v, %v, %v, want %+v", s, found, err, a.State())
	}
	b := allocator(t, cfg)
	if err := b.Restore(s); err != nil {
		t.Fatal(err)
	}
	if refused := b.Admit(p); refused != nil || given(b, p) != given(a, p) || !reflect.DeepEqual(b.State().Memory, a.State().Memory) {
		t.Errorf("%v, %s, want %s", refused, given(b, p), given(a, p))
	}
	if !b.Started(p, "a") || len(b.Nodes("p", "i")) != 0 || len(b.Nodes("p", "s")) == 0 || b.Started(p, "a") {
		t.Errorf("the memory of init containers: %+v", b.State().Memory)
	}
	if !b.OwnCPUs("p") || b.OwnCPUs("q") {
		t.Error("own CPUs")
	}
	if _, found, err := Load(filepath.Join(t.TempDir(), "none")); found || err != nil {
		t.Errorf("no file: %v, %v", found, err)
	}
}

func TestRestoreNonsense(t *testing.T) {
	text := func(shared, cpus string) string {
		return fmt.Sprintf(`{"format":1,"defaultCpuSet":%q,"cpus":{%s}}`, shared, cpus)
	}
	for name, tt := range map[string]struct{ text, want string }{
		"fits":           {text("0-5", `"p":{"a":"6-7"}`), ""},
		"two of one pod": {text("0-5", `"p":{"i":"6-7","a":"6-7"}`), ""},
		"nothing given":  {text("", ""), ""},
		"reserved":       {text("1-5", `"p":{"a":"0,6-7"}`), "not all of the reserved CPUs 0"},
		"in the pool":    {text("0-6", `"p":{"a":"6-7"}`), "which are in the shared pool"},
		"of two pods":    {text("0-5", `"p":{"a":"6-7"},"q":{"a":"7"}`), "which another pod has too"},
		"a CPU is lost":  {text("0-4", `"p":{"a":"6-7"}`), "and pods can have 0-7"},
		"too many CPUs":  {text("0-7", `"p":{"a":"8"}`), "and pods can have 0-7"},
		"an empty pool":  {text("", `"p":{"a":"0-7"}`), "the shared pool is empty"},
		"no JSON":        {"{", "unexpected end"},
		"another format": {`{"format":2}`, "format 2 is not known"},
		"no list":        {text("0-x", ""), "defaultCpuSet"},
		"a huge list":    {text("0-99999999", ""), "there is no CPU above 8191"},
		"a huge number":  {text("0-7", `"p":{"a":"9999999999999999999999"}`), "is no list of CPUs"},
		"no CPU":         {text("0-7", `"p":{"a":""}`), "is no list of CPUs"},
		"a node":         {`{"format":1,"memory":{"p":{"a":[{"numaNodes":[64],"type":"memory"}]}}}`, "there is no NUMA node 64"},
		"memory":         {`{"format":1,"defaultCpuSet":"0-7","memory":{"p":{"a":[{"numaNodes":[0],"type":"memory","size":1}]}}}`, "another policy"},
		"too long":       {strings.Repeat(" ", maxState+1), "longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			a := allocator(t, Config{Machine: machine(t, "smt"), CPUs: true, ReservedCount: 1})
			s, err := Parse([]byte(tt.text))
			if err == nil {
				err = a.Restore(s)
			}
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
	m := allocator(t, Config{Machine: machine(t, "two"), Memory: true})
	for _, nodes := range []Mask{0, MaskOf(5)} {
		if err := m.Restore(State{Memory: map[string]map[string][]Block{"p": {"a": {{Nodes: nodes, Resource: corev1.ResourceMemory}}}}}); err == nil || len(m.State().Memory) > 0 {
			t.Errorf("memory on %v: %v", nodes.Nodes(), err)
		}
	}
}

func TestNewNonsense(t *testing.T) {
	for name, tt := range map[string]struct {
		cfg  Config
		want string
	}{
		"a CPU that is not there":  {Config{Machine: machine(t, "smt"), CPUs: true, ReservedCPUs: cpuset.New(7, 8)}, "8 are not online"},
		"more than there is":       {Config{Machine: machine(t, "smt"), CPUs: true, ReservedCount: 9}, "reserve less"},
		"a node that is not there": {Config{Machine: machine(t, "two"), Memory: true, ReservedMemory: map[int]map[corev1.ResourceName]uint64{2: nil}}, "NUMA node 2"},
		"too many nodes":           {Config{Machine: machine(t, "nps4"), Policy: PolicyRestricted, MaxNodes: 2}, "more than 2 NUMA nodes"},
	} {
		if _, err := New(tt.cfg); err == nil || !strings.HasPrefix(err.Error(), "edged: ") || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
