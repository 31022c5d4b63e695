package plan

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/internal/podtest"
	"github.com/edgekit/edgekit/edged/runtime"
)

// resizing is a situation in which container a runs with 64Mi and its pod was granted
// other resources for it.
func resizing(t *testing.T, memory string, restart bool) Situation {
	t.Helper()
	pod := podtest.New("Always", "a", "b")
	made, err := json.Marshal(corev1.ResourceRequirements{Limits: podtest.Resources("memory", "64Mi")})
	if err != nil {
		t.Fatal(err)
	}
	a := &pod.Spec.Containers[0]
	a.Resources.Limits = podtest.Resources("memory", memory)
	if restart {
		a.ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: corev1.ResourceMemory, RestartPolicy: corev1.RestartContainer}}
	}
	s := Situation{Pod: pod, Now: at(0), View: has("s0", "a running s0"), SetUp: true}
	for i := range s.View.Containers {
		s.View.Containers[i].Annotations = map[string]string{runtime.AnnotationResources: string(made), runtime.AnnotationHash: podspec.ContainerHash(a)}
	}
	return s
}

// TestDecideResize changes what runs after what must stop and before what starts.
func TestDecideResize(t *testing.T) {
	waits := resizing(t, "128Mi", false)
	waits.Retry = map[string]time.Time{RetryResize: at(5)}
	ends := resizing(t, "128Mi", false)
	ends.Ending = EndDeleted
	stale := resizing(t, "64Mi", false)
	stale.ResizePod = true
	done := resizing(t, "128Mi", false)
	done.Actuated.Containers = map[string]corev1.ResourceRequirements{done.View.Containers[0].ID: done.Pod.Spec.Containers[0].Resources}
	away := resizing(t, "128Mi", false)
	away.View.Sandboxes[0].Ready = false
	for name, tt := range map[string]struct {
		s    Situation
		want []ActionKind
	}{
		"in place":                    {resizing(t, "128Mi", false), []ActionKind{ActResize, ActStart}},
		"with a restart":              {resizing(t, "128Mi", true), []ActionKind{ActKill, ActResize, ActStart, ActStart}},
		"nothing differs":             {resizing(t, "64Mi", false), []ActionKind{ActStart}},
		"only the pod's cgroup":       {stale, []ActionKind{ActResize, ActStart}},
		"it was set":                  {done, []ActionKind{ActStart}},
		"after a failure":             {waits, []ActionKind{ActStart}},
		"a pod that ends":             {ends, []ActionKind{ActKillPod}},
		"a pod whose sandbox is gone": {away, []ActionKind{ActKillPod}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []ActionKind
			for _, a := range Decide(tt.s).Actions {
				got = append(got, a.Kind)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
	if d := Decide(waits); !d.Wake.Equal(at(5)) {
		t.Errorf("it is tried again at %s", d.Wake)
	}
	if len(InPlace(resizing(t, "128Mi", true))) > 0 || len(InPlace(resizing(t, "128Mi", false))) != 1 {
		t.Error("what restarts is not told from what is changed in place")
	}
}

// TestResizeOfThePod gives the limit of the pod as a whole to a container without its
// own.
func TestResizeOfThePod(t *testing.T) {
	s := resizing(t, "64Mi", false)
	s.Pod.Spec.Containers[0].Resources.Limits = nil
	s.Pod.Spec.Resources = &corev1.ResourceRequirements{Limits: podtest.Resources("memory", "1Gi")}
	s.View.Containers[0].Annotations[runtime.AnnotationResources] = "{}"
	s.View.Sandboxes[0].Annotations = map[string]string{runtime.AnnotationResources: `{"limits":{"memory":"512Mi"}}`}
	all := Changes(s)
	if len(all) != 1 || all[0].From.MemoryLimit != 512<<20 || all[0].To.MemoryLimit != 1<<30 {
		t.Errorf("%+v", all)
	}
	s.Actuated.Pod = s.Pod.Spec.Resources
	if all := Changes(s); len(all) > 0 {
		t.Errorf("it was set: %+v", all)
	}
}
