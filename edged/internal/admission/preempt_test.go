package admission

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/internal/podtest"
)

// sized is a pod of a class: "g" is Guaranteed, "b" Burstable, "e" BestEffort.
func sized(name, cpu, memory string) *corev1.Pod {
	p := podtest.New("Always", "a")
	p.Name, p.UID = name, types.UID(name)
	switch name[0] {
	case 'g':
		p.Spec.Containers[0].Resources.Limits = podtest.Resources("cpu", cpu, "memory", memory)
		fallthrough
	case 'b':
		p.Spec.Containers[0].Resources.Requests = podtest.Resources("cpu", cpu, "memory", memory)
	}
	return p
}

// TestPreempt ends the pods that a kubelet ends.
func TestPreempt(t *testing.T) {
	allocatable := podtest.Resources("cpu", "4", "memory", "4Gi", "pods", "6")
	critical := func(cpu, memory string) *corev1.Pod {
		p := sized("b-critical", cpu, memory)
		p.Spec.Priority = new(int32(systemCritical))
		return p
	}
	prio := func(p *corev1.Pod, value int32) *corev1.Pod {
		p.Spec.Priority = &value
		return p
	}
	port := func(p *corev1.Pod) *corev1.Pod {
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 1, HostPort: 80}}
		return p
	}
	file := sized("b-file", "2", "1Gi")
	file.Annotations = map[string]string{"kubernetes.io/config.source": "file"}
	e := func(n int) []*corev1.Pod {
		var out []*corev1.Pod
		for i := range n {
			out = append(out, sized("e"+string(rune('0'+i)), "", ""))
		}
		return out
	}
	for name, tt := range map[string]struct {
		pod    *corev1.Pod
		others []*corev1.Pod
		want   string // names, or the reason
	}{
		"it fits":                              {critical("1", "1Gi"), []*corev1.Pod{sized("g1", "2", "1Gi")}, ""},
		"one is enough":                        {critical("2", "1Gi"), []*corev1.Pod{sized("b1", "1", "1Gi"), sized("b2", "2", "1Gi")}, "b1"},
		"fewest":                               {critical("2", "1Gi"), []*corev1.Pod{sized("b1", "500m", "1Gi"), sized("b2", "500m", "1Gi"), sized("b3", "2", "1Gi")}, "b3"},
		"the smaller of two":                   {critical("2", "1Gi"), []*corev1.Pod{sized("b1", "2", "1Gi"), sized("b2", "1", "512Mi")}, "b2"},
		"burstable before guaranteed":          {critical("2", "1Gi"), []*corev1.Pod{sized("g1", "1", "1Gi"), sized("b1", "3", "2Gi")}, "b1"},
		"guaranteed where burstable is little": {critical("3", "1Gi"), []*corev1.Pod{sized("g1", "2", "1Gi"), sized("g2", "1", "1Gi"), sized("b1", "1", "1Gi")}, "b1 g1"},
		"two resources":                        {critical("2", "2Gi"), []*corev1.Pod{sized("b1", "3", "100Mi"), sized("b2", "1", "3Gi")}, "b1 b2"},
		"too many pods":                        {critical("1", "1Gi"), append(e(5), sized("b1", "1", "1Gi")), "e0"},
		"a pod of a file":                      {file, []*corev1.Pod{sized("b1", "3", "1Gi")}, "b1"},
		"another critical one":                 {critical("2", "1Gi"), []*corev1.Pod{prio(sized("b1", "3", "1Gi"), systemCritical)}, "UnexpectedAdmissionError"},
		"a critical one of less priority":      {prio(critical("2", "1Gi"), systemCritical+1000), []*corev1.Pod{prio(sized("b1", "3", "1Gi"), systemCritical)}, "b1"},
		"more than there is":                   {critical("5", "1Gi"), []*corev1.Pod{sized("b1", "3", "1Gi")}, "UnexpectedAdmissionError"},
		"another reason":                       {port(critical("2", "1Gi")), []*corev1.Pod{port(sized("b1", "3", "1Gi"))}, "NodePorts"},
	} {
		t.Run(name, func(t *testing.T) {
			if !IsCritical(tt.pod) {
				t.Fatal("it is not critical")
			}
			f := Request{Pod: tt.pod, Others: tt.others, Allocatable: allocatable}
			victims, r := f.Preempt()
			var names []string
			for _, v := range victims {
				names = append(names, v.Name)
			}
			if r != nil {
				names = append(names, r.Reason)
			}
			slices.Sort(names)
			if got := strings.Join(names, " "); got != tt.want {
				t.Errorf("%q, want %q (%+v)", got, tt.want, r)
			}
			// Whoever must end is enough.
			f.Others = slices.DeleteFunc(slices.Clone(tt.others), func(o *corev1.Pod) bool { return slices.Contains(victims, o) })
			if d := f.Decide(); (d == nil) != (r == nil) {
				t.Errorf("then admission says %+v", d)
			}
		})
	}
	plain := sized("b1", "2", "1Gi")
	if r := (Request{Pod: plain, Others: []*corev1.Pod{sized("e1", "", ""), sized("b2", "3", "1Gi")}, Allocatable: allocatable}).Decide(); r == nil || r.Reason != "OutOfcpu" {
		t.Errorf("a pod that is not critical: %+v", r)
	}
}

// TestAppArmor rejects what the machine cannot confine, and what names no profile.
func TestAppArmor(t *testing.T) {
	profile := func(kind corev1.AppArmorProfileType, name *string) *corev1.SecurityContext {
		return &corev1.SecurityContext{AppArmorProfile: &corev1.AppArmorProfile{Type: kind, LocalhostProfile: name}}
	}
	note := func(value string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Annotations = map[string]string{corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix + "a": value}
		}
	}
	for name, tt := range map[string]struct {
		edit    func(*corev1.Pod)
		enabled bool
		want    string
	}{
		"none":                {func(*corev1.Pod) {}, false, ""},
		"unconfined":          {func(p *corev1.Pod) { p.Spec.Containers[0].SecurityContext = profile("Unconfined", nil) }, false, ""},
		"not enabled":         {func(p *corev1.Pod) { p.Spec.Containers[0].SecurityContext = profile("RuntimeDefault", nil) }, false, "not enabled on the host"},
		"enabled":             {func(p *corev1.Pod) { p.Spec.Containers[0].SecurityContext = profile("Localhost", new("p")) }, true, ""},
		"no name":             {func(p *corev1.Pod) { p.Spec.Containers[0].SecurityContext = profile("Localhost", new(" ")) }, true, "invalid empty AppArmor profile name"},
		"the old annotation":  {note("runtime/default"), false, "not enabled on the host"},
		"no name in the old":  {note("localhost/"), true, "invalid empty AppArmor profile name"},
		"unconfined, the old": {note("unconfined"), false, ""},
		"ephemeral": {func(p *corev1.Pod) {
			p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "e", SecurityContext: profile("RuntimeDefault", nil)}}}
		}, false, "not enabled on the host"},
	} {
		p := podtest.New("Always", "a")
		tt.edit(p)
		r := Request{Pod: p, AppArmor: tt.enabled}.Decide()
		switch {
		case tt.want == "" && r != nil, tt.want != "" && (r == nil || r.Reason != "AppArmor" || !strings.HasPrefix(r.Message, "Cannot enforce AppArmor: ") || !strings.Contains(r.Message, tt.want)):
			t.Errorf("%s: %+v, want %q", name, r, tt.want)
		}
	}
}
