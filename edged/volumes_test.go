package edged_test

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// TestHostPathGoesWhileItsPodRuns takes away the socket that a running pod
// uses: neither a refresh of its volumes nor a restart of the agent complains,
// and its containers are restarted as ever.
func TestHostPathGoesWhileItsPodRuns(t *testing.T) {
	dir, err := os.MkdirTemp("", "edged") // the name of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		defer func() { b.stop() }()
		kind := corev1.HostPathSocket
		c := busybox("serve")
		c.VolumeMounts = []corev1.VolumeMount{{Name: "s", MountPath: "/s"}, {Name: "cfg", MountPath: "/cfg"}}
		p := newPod("web", c)
		p.Spec.Volumes = []corev1.Volume{
			{Name: "s", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path, Type: &kind}}},
			{Name: "cfg", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cfg"}}}},
		}
		b.setConfigMap("default", "cfg", map[string]string{"k": "1"})
		b.put(p)
		settle(5 * time.Second)
		if !b.isReady(p.UID) {
			t.Fatalf("%+v", b.container(p.UID))
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		b.setConfigMap("default", "cfg", map[string]string{"k": "2"})
		settle(2 * time.Minute)
		b.stop()
		b.start()
		b.rt.Exit("main", 1)
		settle(2 * time.Minute)
		if n := b.happened("FailedMount"); n > 0 || !b.isReady(p.UID) || b.container(p.UID).RestartCount != 1 {
			t.Errorf("%d FailedMount, %+v", n, b.container(p.UID))
		}
		b.rt.KillSandboxes() // all that ran is gone: what it needs is checked anew
		settle(time.Minute)
		if n := b.happened("FailedMount"); n == 0 {
			t.Error("a pod that starts again is not checked")
		}
	})
}
