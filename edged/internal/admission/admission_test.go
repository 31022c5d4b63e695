package admission

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/internal/podtest"
	"github.com/edgekit/edgekit/edged/nodestatus"
)

// TestAdmitNode admits pods by the node's labels and taints: those that people set count
// once the cloud has sent them; before that, no pod that a scheduler placed is refused.
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
		p := podtest.New("Always", "a")
		c.edit(p)
		f := Request{Pod: p, Node: c.node, Labels: nodestatus.Labels("edge", map[string]string{"site": "a"})}
		got := ""
		if r := f.Decide(); r != nil {
			got = r.Reason
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestAdmitCounted counts what nodes have in numbers besides cpu and memory, and
// what a refused resize does not take.
func TestAdmitCounted(t *testing.T) {
	node := podtest.Resources("cpu", "2", "memory", "1Gi", "hugepages-2Mi", "4Mi", "vendor.example/slot", "2")
	asks := func(pairs ...string) *corev1.Pod {
		p := podtest.New("Always", "a")
		p.Spec.Containers[0].Resources.Requests = podtest.Resources(pairs...)
		return p
	}
	resized := asks("cpu", "100")
	resized.Status = corev1.PodStatus{
		Conditions: []corev1.PodCondition{{Type: corev1.PodResizePending, Status: corev1.ConditionTrue, Reason: corev1.PodReasonInfeasible}},
		ContainerStatuses: []corev1.ContainerStatus{{
			Name: "a", AllocatedResources: podtest.Resources("cpu", "1"), Resources: &corev1.ResourceRequirements{Requests: podtest.Resources("cpu", "1")},
		}},
	}
	claims := asks("vendor.example/dra", "1")
	claims.Status.ExtendedResourceClaimStatus = &corev1.PodExtendedResourceClaimStatus{
		RequestMappings: []corev1.ContainerExtendedResourceRequest{{ContainerName: "a", ResourceName: "vendor.example/dra"}},
	}
	sidecar := podtest.New("Always", "side:s", "a")
	sidecar.Spec.InitContainers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 80}}
	init := podtest.New("Always", "init:i", "a")
	init.Spec.InitContainers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 80}}
	for name, c := range map[string]struct {
		pod, other *corev1.Pod
		want       string
	}{
		"one slot":                     {asks("vendor.example/slot", "1"), asks("vendor.example/slot", "1"), ""},
		"too many slots":               {asks("vendor.example/slot", "2"), asks("vendor.example/slot", "1"), "OutOfvendor.example/slot"},
		"what no plugin gives":         {asks("nvidia.com/gpu", "1"), podtest.New("Always", "b"), "OutOfnvidia.com/gpu"},
		"what a claim gives":           {claims, podtest.New("Always", "b"), ""},
		"huge pages":                   {asks("hugepages-2Mi", "6Mi"), podtest.New("Always", "b"), "OutOfhugepages-2Mi"},
		"huge pages of no such size":   {asks("hugepages-1Gi", "1Gi"), podtest.New("Always", "b"), "OutOfhugepages-1Gi"},
		"beside a resize that was not": {asks("cpu", "1"), resized, ""},
		"beside what that pod has":     {asks("cpu", "1100m"), resized, "OutOfcpu"},
		"a port of a sidecar":          {sidecar, sidecar, "NodePorts"},
		"a port of an init container":  {init, init, ""},
	} {
		got := ""
		if r := (Request{Pod: c.pod, Others: []*corev1.Pod{c.other}, Allocatable: node}).Decide(); r != nil {
			got = r.Reason
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestAdmitPodLevelResources accepts limits of a pod as a whole where it has a
// cgroup of its own.
func TestAdmitPodLevelResources(t *testing.T) {
	pod := podtest.New("Always", "a", "b")
	pod.Spec.Containers[1].Resources = corev1.ResourceRequirements{Requests: podtest.Resources("memory", "64Mi"), Limits: podtest.Resources("memory", "128Mi")}
	limits := podtest.Resources("cpu", "200m", "memory", "256Mi")
	pod.Spec.Resources = &corev1.ResourceRequirements{Requests: limits, Limits: limits}
	big := podtest.Resources("cpu", "1", "memory", "1Gi")
	for name, c := range map[string]struct {
		limited bool
		edit    func(*corev1.ResourceRequirements)
		want    string
	}{
		"own cgroups":     {true, func(*corev1.ResourceRequirements) {}, ""},
		"no cgroups":      {false, func(*corev1.ResourceRequirements) {}, "PodLevelResourcesNotSupported"},
		"requests only":   {false, func(r *corev1.ResourceRequirements) { r.Limits = nil }, ""},
		"huge pages":      {true, func(r *corev1.ResourceRequirements) { r.Limits["hugepages-2Mi"] = resource.MustParse("4Mi") }, ""},
		"too much memory": {true, func(r *corev1.ResourceRequirements) { r.Requests = podtest.Resources("memory", "2Gi") }, "OutOfmemory"},
	} {
		p := pod.DeepCopy()
		c.edit(p.Spec.Resources)
		got, message := "", ""
		if r := (Request{Pod: p, Allocatable: big, PodLimits: c.limited}).Decide(); r != nil {
			got, message = r.Reason, r.Message
		}
		if got != c.want || strings.HasPrefix(got, "PodLevel") && !strings.Contains(message, "containers") {
			t.Errorf("%s: %q (%s), want %q", name, got, message, c.want)
		}
	}
}

func TestAdmit(t *testing.T) {
	node := corev1.ResourceList{"cpu": resource.MustParse("2"), "memory": resource.MustParse("1Gi"), "pods": resource.MustParse("2")}
	with := func(edit func(*corev1.Pod)) *corev1.Pod {
		p := podtest.New("Always", "a")
		edit(p)
		return p
	}
	one := with(func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = podtest.Resources("cpu", "1500m", "memory", "1Mi")
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 80}}
	})
	for want, p := range map[string]*corev1.Pod{
		"": podtest.New("Always", "a"),
		"OutOfcpu": with(func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Requests = podtest.Resources("cpu", "501m", "memory", "1Mi")
		}),
		"OutOfmemory": with(func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Requests = podtest.Resources("cpu", "1m", "memory", "2Gi")
		}),
		"NodePorts": with(func(p *corev1.Pod) {
			p.Spec.HostNetwork = true
			p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, Protocol: "TCP"}}
		}),
		"NodeAffinity": with(func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{corev1.LabelArchStable: "s390x"} }),
		"SysctlForbidden": with(func(p *corev1.Pod) {
			p.Spec.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: "kernel.msgmax", Value: "1"}}}
		}),
		"PodOSNotSupported": with(func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} }),
	} {
		got := ""
		if r := (Request{Pod: p, Others: []*corev1.Pod{one}, Allocatable: node, Labels: nodestatus.Labels("", nil)}).Decide(); r != nil {
			got = r.Reason
		}
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if r := (Request{Pod: podtest.New("Always", "a"), Others: []*corev1.Pod{one, one}, Allocatable: node}).Decide(); r == nil || r.Reason != "OutOfpods" {
		t.Errorf("%+v", r)
	}
}
