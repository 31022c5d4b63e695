package edged_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/runtime"
)

// withImageVolume has the pod's first container mount an image at /model.
func withImageVolume(p *corev1.Pod, reference string, policy corev1.PullPolicy) *corev1.Pod {
	p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "model", VolumeSource: corev1.VolumeSource{
		Image: &corev1.ImageVolumeSource{Reference: reference, PullPolicy: policy},
	}})
	c := &p.Spec.Containers[0]
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "model", MountPath: "/model", SubPath: "weights"})
	return p
}

// TestImageVolume pulls the image of a volume by its policy, and has the runtime mount
// it; a runtime that cannot, and an image that does not come, are said.
func TestImageVolume(t *testing.T) {
	const reference = "shop.example/model:2"
	for _, tt := range []struct {
		name    string
		policy  corev1.PullPolicy
		can     bool
		fails   string // what PullImage says
		reason  string // why the container waits
		message string
		event   string
	}{
		{name: "pulled", can: true, event: `Pulled: Successfully pulled image "shop.example/model:2"`},
		{name: "policy Never", policy: corev1.PullNever, can: true, reason: "ErrImageNeverPull", message: `Container image "shop.example/model:2" is not present`, event: "ErrImageNeverPull: "},
		{name: "no such image", can: true, fails: "no such image", reason: "ImagePullBackOff", message: `Back-off pulling image "shop.example/model:2"`, event: `Failed: Failed to pull image "shop.example/model:2"`},
		{name: "old runtime", reason: "CreateContainerConfigError", message: `volume "model" is an image, and the container runtime of this node cannot mount one: use containerd 2.1`, event: `Failed: Error: volume "model" is an image`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.rt.SetHealth(runtime.Health{RuntimeReady: true, NetworkReady: true, Features: runtime.Features{ImageVolumes: tt.can}})
				b.rt.FailWith(func(call string) error {
					if tt.fails != "" && strings.HasPrefix(call, "PullImage "+reference) {
						return errors.New(tt.fails)
					}
					return nil
				})
				b.start()
				defer b.stop()
				p := withImageVolume(newPod("web", busybox("serve")), reference, tt.policy)
				b.put(p)
				settle(8 * time.Second)
				if !slices.ContainsFunc(b.events, func(e string) bool { return strings.HasPrefix(e, tt.event) }) {
					t.Errorf("no event %q in %q", tt.event, b.events)
				}
				if waits := b.container(p.UID).State.Waiting; tt.reason != "" {
					if waits == nil || waits.Reason != tt.reason || !strings.HasPrefix(waits.Message, tt.message) {
						t.Fatalf("waits: %+v, want %s: %s", waits, tt.reason, tt.message)
					}
					return
				}
				if !b.isReady(p.UID) {
					t.Fatalf("%+v, %q", b.container(p.UID), b.events)
				}
				img, _, err := b.rt.ImageStatus(t.Context(), reference)
				mounts := b.rt.Configs()[0].Mounts
				if want := (runtime.Mount{ContainerPath: "/model", ReadOnly: true, Relabel: true, Image: img.ID, ImageSubPath: "weights"}); err != nil || !slices.Contains(mounts, want) {
					t.Errorf("mounts %+v, want %+v, %v", mounts, want, err)
				}
			})
		})
	}
}

// TestImageVolumeIsKept collects unused images, which that of a volume is not.
func TestImageVolumeIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.rt.SetHealth(runtime.Health{RuntimeReady: true, NetworkReady: true, Features: runtime.Features{ImageVolumes: true}})
		b.rt.AddImage("shop.example/model:2")
		b.rt.AddImage("shop.example/model:1")
		b.rt.SetImageFilesystems("", runtime.Filesystem{Mountpoint: b.root})
		b.edit = func(cfg *edged.Config) { cfg.ImageGC = edged.ImageGC{MaximumAge: time.Hour} }
		b.start()
		defer b.stop()
		b.put(withImageVolume(newPod("web", busybox("serve")), "shop.example/model:2", ""))
		settle(3 * time.Hour)
		_, kept, err := b.rt.ImageStatus(t.Context(), "shop.example/model:2")
		_, unused, err2 := b.rt.ImageStatus(t.Context(), "shop.example/model:1")
		if err != nil || err2 != nil || !kept || unused {
			t.Errorf("the volume's image is kept: %t, one that nobody uses: %t; %v %v; events %q", kept, unused, err, err2, b.events)
		}
	})
}

// TestRealImageVolume mounts an image into a container, whole and in part, and nothing
// can be written to it.
func TestRealImageVolume(t *testing.T) {
	r := startReal(t)
	script := `test -e /model/bin/sh && test -e /weights/sh && ! touch /model/new && ! touch /weights/new && sleep 1000`
	p := newPod("web", busybox(script))
	p.Spec.Volumes = []corev1.Volume{{Name: "model", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "busybox", PullPolicy: corev1.PullIfNotPresent}}}}
	p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "model", MountPath: "/model"}, {Name: "model", MountPath: "/weights", SubPath: "bin"}}
	r.put(p)
	r.wait(t, "ready", realLimit, func() bool { return r.isReady(p.UID) })
	r.del(p, 1)
	r.wait(t, "gone", realLimit, func() bool { return r.gone[p.UID] })
}
