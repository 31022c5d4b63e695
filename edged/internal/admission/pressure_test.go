package admission

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/podtest"
)

// TestPressure: the node is short of a resource; only some pods are still admitted.
func TestPressure(t *testing.T) {
	const memory, disk, pids = corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure
	burstable := func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = podtest.Resources("cpu", "1m") }
	critical := func(p *corev1.Pod) { n := int32(2_000_000_000); p.Spec.Priority = &n }
	static := func(p *corev1.Pod) {
		p.Annotations = map[string]string{"kubernetes.io/config.source": "file"}
	}
	tolerates := func(taint string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Tolerations = []corev1.Toleration{{Key: taint, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}}
		}
	}
	for name, tt := range map[string]struct {
		pressures []corev1.NodeConditionType
		edit      func(*corev1.Pod)
		want      string
	}{
		"none":                                {nil, nil, ""},
		"memory, BestEffort":                  {[]corev1.NodeConditionType{memory}, nil, "The node had condition: [MemoryPressure]. "},
		"memory, Burstable":                   {[]corev1.NodeConditionType{memory}, burstable, ""},
		"memory, tolerated":                   {[]corev1.NodeConditionType{memory}, tolerates(corev1.TaintNodeMemoryPressure), ""},
		"memory, another one is tolerated":    {[]corev1.NodeConditionType{memory}, tolerates(corev1.TaintNodeDiskPressure), "The node had condition: [MemoryPressure]. "},
		"memory, critical":                    {[]corev1.NodeConditionType{memory}, critical, ""},
		"disk, Burstable":                     {[]corev1.NodeConditionType{disk}, burstable, "The node had condition: [DiskPressure]. "},
		"disk, tolerated":                     {[]corev1.NodeConditionType{disk}, tolerates(corev1.TaintNodeDiskPressure), "The node had condition: [DiskPressure]. "},
		"disk, critical":                      {[]corev1.NodeConditionType{disk}, critical, ""},
		"disk, static":                        {[]corev1.NodeConditionType{disk}, static, ""},
		"process ids":                         {[]corev1.NodeConditionType{pids}, burstable, "The node had condition: [PIDPressure]. "},
		"two, the one of memory is tolerated": {[]corev1.NodeConditionType{disk, memory}, tolerates(corev1.TaintNodeMemoryPressure), "The node had condition: [DiskPressure MemoryPressure]. "},
	} {
		t.Run(name, func(t *testing.T) {
			p := podtest.New(corev1.RestartPolicyAlways, "main")
			if tt.edit != nil {
				tt.edit(p)
			}
			got := ""
			r := Request{Pod: p, Pressures: tt.pressures, Allocatable: podtest.Resources("cpu", "1", "pods", "5")}.Decide()
			if r != nil {
				got = r.Message
			}
			if got != tt.want || r != nil && r.Reason != "Evicted" {
				t.Errorf("%+v, want %q", r, tt.want)
			}
		})
	}
}
