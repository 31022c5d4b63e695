package edged_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/cri"
	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/meta/memstore"
)

// startRealClasses is startReal with the runtime classes "second", of the handler runc2,
// and "unknown", of one that no runtime has. It skips where the runtime has no runc2.
func startRealClasses(t *testing.T) (*realNode, []runtime.Handler) {
	t.Helper()
	r := startRealWith(t, cri.Config{}, func(cfg *edged.Config) {
		cfg.Objects = withClasses{cfg.Objects.(*cloud), map[string]string{"second": "runc2", "unknown": "none-such"}}
		cfg.Store = memstore.New()
	})
	h, err := r.runtime.Health(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("handlers %+v", h.Handlers)
	if !slices.ContainsFunc(h.Handlers, func(h runtime.Handler) bool { return h.Name == "runc2" }) {
		t.Skip("the runtime has no handler runc2")
	}
	return r, h.Handlers
}

// failedSandbox reports whether there is an event about a sandbox with the words.
func (r *realNode) failedSandbox(words string) func() bool {
	return func() bool {
		return slices.ContainsFunc(r.events, func(e string) bool {
			return strings.HasPrefix(e, "FailedCreatePodSandBox") && strings.Contains(e, words)
		})
	}
}

// TestRealRuntimeClass runs a pod in the second handler of the runtime, and none in one
// that the runtime does not have.
func TestRealRuntimeClass(t *testing.T) {
	r, _ := startRealClasses(t)
	p := classPod("second", "second")
	p.Spec.Containers = []corev1.Container{busybox("trap 'exit 0' TERM; sleep 1000 & wait")}
	r.put(p)
	r.wait(t, "ready", realLimit, func() bool { return r.isReady(p.UID) })
	all, err := r.runtime.ListSandboxes(t.Context(), string(p.UID))
	if err != nil || len(all) != 1 || all[0].Handler != "runc2" {
		t.Errorf("sandboxes %+v, %v", all, err)
	}
	if s, err := r.runtime.SandboxStatus(t.Context(), all[0].ID); err != nil || s.Handler != "runc2" {
		t.Errorf("status %+v, %v", s, err)
	}
	r.stop() // an agent that comes back keeps it
	r.start()
	none := classPod("none", "unknown")
	r.put(none)
	r.wait(t, "refusal", realLimit, r.failedSandbox(`no handler "none-such" of the RuntimeClass "unknown"`))
	again, err := r.runtime.ListSandboxes(t.Context(), string(p.UID))
	if err != nil || len(again) != 1 || again[0].ID != all[0].ID || !again[0].Ready {
		t.Errorf("after the restart %+v, %v", again, err)
	}
}

// TestRealUserNamespace: root of a pod with hostUsers: false is nobody on the host, and
// finds its files all the same; where the runtime cannot, the pod does not run.
func TestRealUserNamespace(t *testing.T) {
	r, handlers := startRealClasses(t)
	p := userPod("users")
	p.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: new(int64(2000))}
	p.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}, {
		Name: "map", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "m"}}},
	}}
	c := busybox("cat /proc/self/uid_map /proc/self/gid_map; cat /map/key; stat -c %u:%g /data /etc/hosts /map/key; cat /etc/hosts >/dev/null && echo hosts; echo mine >/data/file; echo over >/dev/termination-log")
	c.VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}, {Name: "map", MountPath: "/map"}}
	p.Spec.Containers = []corev1.Container{c}
	p.Spec.RestartPolicy = corev1.RestartPolicyNever
	r.setConfigMap("default", "m", map[string]string{"key": "value\n"})
	r.put(p)
	if i := slices.IndexFunc(handlers, func(h runtime.Handler) bool { return h.Name == "runc2" }); !handlers[i].UserNamespaces {
		r.wait(t, "refusal", realLimit, r.failedSandbox("RuntimeClass handler \"runc2\" does not support user namespaces"))
		t.Skip("the runtime has no user namespaces; the pod was refused")
	}
	r.wait(t, "end", realLimit, func() bool {
		return r.status[p.UID].Phase == corev1.PodSucceeded || r.status[p.UID].Phase == corev1.PodFailed
	})
	log := r.log(p, "main")
	t.Log(log)
	for _, want := range []string{"0      65536      65536", "value", "0:2000", "hosts"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
	if m := r.status[p.UID].ContainerStatuses[0].State.Terminated; m == nil || m.Message != "over\n" {
		t.Errorf("the termination message: %+v", m)
	}
	// What it wrote is, on the host, root's own: mounts are mapped as the ids are.
	info, err := os.Stat(filepath.Join(r.cfg.Root, "pods", string(p.UID), "volumes", "kubernetes.io~empty-dir", "data"))
	t.Logf("%v %v", info, err)
}
