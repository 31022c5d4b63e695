package edged

import (
	"strings"
	"testing"

	"github.com/edgekit/edgekit/edged/runtime"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func quantities(pairs ...string) corev1.ResourceList {
	out := make(corev1.ResourceList)
	for i := 0; i < len(pairs); i += 2 {
		out[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return out
}

// TestAdmitNode judges pods by the node's labels and taints: those of a person
// that the cloud has sent count, those that it has not sent refuse no pod that a
// scheduler placed.
func TestAdmitNode(t *testing.T) {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "edge", Labels: map[string]string{"gpu": "yes", "site": "changed"}},
		Spec: corev1.NodeSpec{Taints: []corev1.Taint{
			{Key: "soft", Effect: corev1.TaintEffectNoSchedule}, {Key: "hard", Effect: corev1.TaintEffectNoExecute},
		}},
	}
	untainted := node.DeepCopy()
	untainted.Spec.Taints = nil
	selector := func(pairs ...string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.NodeSelector = make(map[string]string)
			for i := 0; i < len(pairs); i += 2 {
				p.Spec.NodeSelector[pairs[i]] = pairs[i+1]
			}
		}
	}
	affinity := func(r corev1.NodeSelectorRequirement) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{r}}},
			}}}
		}
	}
	byScheduler := func(edit func(*corev1.Pod)) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			edit(p)
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}
		}
	}
	for name, c := range map[string]struct {
		edit func(*corev1.Pod)
		node *corev1.Node
		want string
	}{
		"no selector":                                {func(*corev1.Pod) {}, untainted, ""},
		"a label that the cloud sent":                {selector("gpu", "yes"), untainted, ""},
		"a label that nobody set":                    {selector("gpu", "no"), untainted, "NodeAffinity"},
		"an own label that a person changed":         {selector("site", "a"), untainted, "NodeAffinity"},
		"the changed one":                            {selector("site", "changed"), untainted, ""},
		"the host's name":                            {selector(corev1.LabelHostname, "edge"), untainted, ""},
		"another host's name":                        {selector(corev1.LabelHostname, "other"), untainted, "NodeAffinity"},
		"affinity":                                   {affinity(corev1.NodeSelectorRequirement{Key: "gpu", Operator: corev1.NodeSelectorOpIn, Values: []string{"a", "yes"}}), untainted, ""},
		"affinity for what is not there":             {affinity(corev1.NodeSelectorRequirement{Key: "fpga", Operator: corev1.NodeSelectorOpExists}), untainted, "NodeAffinity"},
		"placed, by a label that this node lacks":    {byScheduler(selector("gpu", "no")), untainted, ""},
		"placed, for another architecture":           {byScheduler(selector(corev1.LabelArchStable, "s390x")), untainted, "NodeAffinity"},
		"placed, past a taint":                       {byScheduler(func(*corev1.Pod) {}), node, ""},
		"a taint that ends pods":                     {func(*corev1.Pod) {}, node, "TaintToleration"},
		"tolerated":                                  {func(p *corev1.Pod) { p.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}} }, node, ""},
		"static, past a taint":                       {func(p *corev1.Pod) { p.Annotations = map[string]string{"kubernetes.io/config.source": "file"} }, node, ""},
		"never sent, a label that may be a person's": {selector("gpu", "yes"), nil, ""},
		"never sent, an own label":                   {selector("site", "b"), nil, "NodeAffinity"},
		"never sent, affinity":                       {affinity(corev1.NodeSelectorRequirement{Key: "fpga", Operator: corev1.NodeSelectorOpExists}), nil, ""},
	} {
		p := spec("Always", "a")
		c.edit(p)
		f := admission{pod: p, node: c.node, labels: ownLabels(Config{NodeName: "edge", Labels: map[string]string{"site": "a"}})}
		got := ""
		if r := f.decide(); r != nil {
			got = r.reason
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestAdmitCounted counts what nodes have in numbers besides cpu and memory, and
// what a refused resize does not take.
func TestAdmitCounted(t *testing.T) {
	node := quantities("cpu", "2", "memory", "1Gi", "hugepages-2Mi", "4Mi", "vendor.example/slot", "2")
	asks := func(pairs ...string) *corev1.Pod {
		p := spec("Always", "a")
		p.Spec.Containers[0].Resources.Requests = quantities(pairs...)
		return p
	}
	resized := asks("cpu", "100")
	resized.Status = corev1.PodStatus{
		Conditions: []corev1.PodCondition{{Type: corev1.PodResizePending, Status: corev1.ConditionTrue, Reason: corev1.PodReasonInfeasible}},
		ContainerStatuses: []corev1.ContainerStatus{{
			Name: "a", AllocatedResources: quantities("cpu", "1"), Resources: &corev1.ResourceRequirements{Requests: quantities("cpu", "1")},
		}},
	}
	claims := asks("vendor.example/dra", "1")
	claims.Status.ExtendedResourceClaimStatus = &corev1.PodExtendedResourceClaimStatus{
		RequestMappings: []corev1.ContainerExtendedResourceRequest{{ContainerName: "a", ResourceName: "vendor.example/dra"}},
	}
	sidecar := spec("Always", "side:s", "a")
	sidecar.Spec.InitContainers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 80}}
	init := spec("Always", "init:i", "a")
	init.Spec.InitContainers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 80}}
	for name, c := range map[string]struct {
		pod, other *corev1.Pod
		want       string
	}{
		"one slot":                     {asks("vendor.example/slot", "1"), asks("vendor.example/slot", "1"), ""},
		"too many slots":               {asks("vendor.example/slot", "2"), asks("vendor.example/slot", "1"), "OutOfvendor.example/slot"},
		"what no plugin gives":         {asks("nvidia.com/gpu", "1"), spec("Always", "b"), "OutOfnvidia.com/gpu"},
		"what a claim gives":           {claims, spec("Always", "b"), ""},
		"huge pages":                   {asks("hugepages-2Mi", "6Mi"), spec("Always", "b"), "OutOfhugepages-2Mi"},
		"huge pages of no such size":   {asks("hugepages-1Gi", "1Gi"), spec("Always", "b"), "OutOfhugepages-1Gi"},
		"beside a resize that was not": {asks("cpu", "1"), resized, ""},
		"beside what that pod has":     {asks("cpu", "1100m"), resized, "OutOfcpu"},
		"a port of a sidecar":          {sidecar, sidecar, "NodePorts"},
		"a port of an init container":  {init, init, ""},
	} {
		got := ""
		if r := (admission{pod: c.pod, others: []*corev1.Pod{c.other}, allocatable: node}).decide(); r != nil {
			got = r.reason
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestPodLevelResources bounds a pod as a whole where it has a cgroup of its own.
func TestPodLevelResources(t *testing.T) {
	pod := spec("Always", "a", "b")
	pod.Spec.Containers[1].Resources = corev1.ResourceRequirements{Requests: quantities("memory", "64Mi"), Limits: quantities("memory", "128Mi")}
	pod.Spec.Resources = &corev1.ResourceRequirements{Requests: quantities("cpu", "100m", "memory", "192Mi"), Limits: quantities("cpu", "200m", "memory", "256Mi")}
	if l := podLimits(pod); l.Memory != 256<<20 || l.CPUQuota != 20000 || l.CPUShares != 102 {
		t.Errorf("limits of the pod: %+v", l)
	}
	if q := podRequest(pod, corev1.ResourceMemory); q.Value() != 192<<20 {
		t.Errorf("the pod asks for %s", q.String())
	}
	a, b := containerResources(pod, &pod.Spec.Containers[0], 1<<30, false), containerResources(pod, &pod.Spec.Containers[1], 1<<30, false)
	if a.Memory != 256<<20 || a.CPUQuota != 20000 || b.Memory != 128<<20 || b.CPUQuota != 20000 {
		t.Errorf("limits of the containers: %+v, %+v", a, b)
	}
	if a.OOMScoreAdj != 938 || b.OOMScoreAdj != 875 { // 1000 - 1000*64/1024, and twice that
		t.Errorf("scores %d, %d", a.OOMScoreAdj, b.OOMScoreAdj)
	}
	if q := podAllocatable(pod, quantities("cpu", "4", "memory", "1Gi", "pods", "5"))[corev1.ResourceMemory]; q.Value() != 256<<20 {
		t.Errorf("a container may use %s", q.String())
	}
	if c := qosClass(pod); c != corev1.PodQOSBurstable {
		t.Error(c)
	}
	pod.Spec.Resources.Requests = pod.Spec.Resources.Limits
	if c := qosClass(pod); c != corev1.PodQOSGuaranteed {
		t.Error(c)
	}
	big := quantities("cpu", "1", "memory", "1Gi")
	for name, c := range map[string]struct {
		limited bool
		edit    func(*corev1.ResourceRequirements)
		want    string
	}{
		"own cgroups":     {true, func(*corev1.ResourceRequirements) {}, ""},
		"systemd's":       {false, func(*corev1.ResourceRequirements) {}, "PodLevelResourcesNotSupported"},
		"requests only":   {false, func(r *corev1.ResourceRequirements) { r.Limits = nil }, ""},
		"huge pages":      {true, func(r *corev1.ResourceRequirements) { r.Limits["hugepages-2Mi"] = resource.MustParse("4Mi") }, "PodLevelResourcesNotSupported"},
		"too much memory": {true, func(r *corev1.ResourceRequirements) { r.Requests = quantities("memory", "2Gi") }, "OutOfmemory"},
	} {
		p := pod.DeepCopy()
		c.edit(p.Spec.Resources)
		got, message := "", ""
		if r := (admission{pod: p, allocatable: big, podLimits: c.limited}).decide(); r != nil {
			got, message = r.reason, r.message
		}
		if got != c.want || strings.HasPrefix(got, "PodLevel") && !strings.Contains(message, "containers") {
			t.Errorf("%s: %q (%s), want %q", name, got, message, c.want)
		}
	}
}

// TestActual compares a container's figures in the kernel's units.
func TestActual(t *testing.T) {
	made := corev1.ResourceRequirements{Requests: quantities("cpu", "100m", "memory", "10M"), Limits: quantities("cpu", "5m", "memory", "100000001")}
	for name, c := range map[string]struct {
		r        *runtime.Resources
		cpu, lim string
		memory   string
	}{
		"nothing said":   {nil, "100m", "5m", "100000001"},
		"nothing known":  {&runtime.Resources{}, "100m", "5m", "100000001"},
		"as made":        {&runtime.Resources{CPUShares: 102, CPUQuota: 1000, CPUPeriod: 100000, Memory: 100000001}, "100m", "5m", "100000001"},
		"rounded":        {&runtime.Resources{CPUShares: 80, CPUQuota: 500, CPUPeriod: 50000, Memory: 99999744}, "100m", "5m", "100000001"},
		"something else": {&runtime.Resources{CPUShares: 512, CPUQuota: 40000, CPUPeriod: 100000, Memory: 64 << 20}, "500m", "400m", "64Mi"},
	} {
		got := actualResources(made, c.r)
		cpu, lim, memory := got.Requests[corev1.ResourceCPU], got.Limits[corev1.ResourceCPU], got.Limits[corev1.ResourceMemory]
		if cpu.String() != c.cpu || lim.String() != c.lim || memory.String() != c.memory {
			t.Errorf("%s: cpu %s of %s, memory %s", name, cpu.String(), lim.String(), memory.String())
		}
	}
}
