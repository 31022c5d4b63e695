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

// withClaim has the pod's first container mount a claim of the same name at /data.
func withClaim(p *corev1.Pod, name string) *corev1.Pod {
	p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name},
	}})
	c := &p.Spec.Containers[0]
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: "/data"})
	return p
}

// TestPodWaitsForItsClaim: a pod whose claim is not bound waits and says why, and
// starts as soon as the claim is bound; it goes with its volume kept.
func TestPodWaitsForItsClaim(t *testing.T) {
	data := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		defer func() { b.stop() }()
		p := withClaim(newPod("db", busybox("serve")), "data")
		b.bindClaim("default", "data", nil)
		b.put(p)
		settle(time.Minute)
		if b.isReady(p.UID) || b.happened("FailedMount: Unable to attach or mount volumes: unmounted volumes=[data], unattached volumes=[], failed to process volumes=[data]: error processing PVC default/data") == 0 {
			t.Fatalf("ready %t, events %q", b.isReady(p.UID), b.events)
		}
		b.bindClaim("default", "data", &corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: data}})
		settle(time.Second)
		if !b.isReady(p.UID) {
			t.Fatalf("the claim is bound: %+v, events %q", b.container(p.UID), b.events)
		}
		failed := b.happened("FailedMount")
		b.stop()
		b.mu.Lock()
		clear(b.claims) // a node that cannot ask
		b.mu.Unlock()
		b.start()
		b.setConfigMap("default", "other", nil) // what has the volumes refreshed
		settle(time.Minute)
		if !b.isReady(p.UID) || b.container(p.UID).RestartCount != 0 || b.happened("FailedMount") != failed {
			t.Errorf("after a restart: %+v, events %q", b.container(p.UID), b.events)
		}
		b.del(p, 1)
		settle(time.Minute)
		if _, err := os.Stat(data); err != nil || !b.gone[p.UID] {
			t.Errorf("gone %t, the volume: %v", b.gone[p.UID], err)
		}
	})
}
