package edge_test

import (
	"maps"
	"slices"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
)

func podWithClaim(name, node, claim string) *corev1.Pod {
	p := pod(name, node)
	p.Spec.ImagePullSecrets = nil
	p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}}}
	return p
}

func claim(name, volume string, phase corev1.PersistentVolumeClaimPhase) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name, UID: types.UID("uid-" + name)},
		Spec:       corev1.PersistentVolumeClaimSpec{VolumeName: volume}, Status: corev1.PersistentVolumeClaimStatus{Phase: phase},
	}
}

func persistentVolume(name, claim string) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{
			ClaimRef: &corev1.ObjectReference{Namespace: "a", Name: claim, UID: types.UID("uid-" + claim)},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
				Driver: "d.example.com", NodePublishSecretRef: &corev1.SecretReference{Namespace: "a", Name: "publish"},
			}},
		},
	}
}

// TestClaimsAreFollowed: a pod's claim, the volume that it is bound to and the volume's
// secret are sent to the node, each as soon as it exists, and are removed with the pod.
func TestClaimsAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := controllertest.NewClientset(podWithClaim("web", "n", "data"), claim("data", "pv-1", corev1.ClaimPending),
			persistentVolume("pv-1", "data"), secret("publish", "1"), &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "d.example.com"}})
		c := start(t, client)
		src := c.Source("n")
		p := &peer{}
		defer src.Subscribe(p.note)()
		expect := func(when string, want ...string) {
			t.Helper()
			synctest.Wait()
			if got := slices.Sorted(maps.Keys(listed(t, src))); !slices.Equal(got, want) {
				t.Errorf("%s: the node holds %q, want %q", when, got, want)
			}
		}
		expect("a claim that names a volume is not bound to it", "persistentvolumeclaims/a/data", "pods/a/web")
		p.take()
		if _, err := client.CoreV1().PersistentVolumeClaims("a").Update(t.Context(), claim("data", "pv-1", corev1.ClaimBound), metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		expect("bound", "csidrivers//d.example.com", "persistentvolumeclaims/a/data", "persistentvolumes//pv-1", "pods/a/web", "secrets/a/publish")
		if got := p.take(); !slices.Contains(got, "persistentvolumes//pv-1") || !slices.Contains(got, "secrets/a/publish") || !slices.Contains(got, "persistentvolumeclaims/a/data") {
			t.Errorf("the node was notified of %q", got)
		}
		pv := hub.Key{Resource: "persistentvolumes", Name: "pv-1"}
		if obj, err := src.Load(t.Context(), pv, ""); err != nil || obj.Deleted || len(obj.Body) == 0 {
			t.Errorf("load of the volume: %+v, %v", obj, err)
		}
		// Another pod of the node with the same claim: everything is known at once.
		if _, err := client.CoreV1().Pods("a").Create(t.Context(), podWithClaim("two", "n", "data"), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := client.CoreV1().Pods("a").Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		expect("two pods, one left", "csidrivers//d.example.com", "persistentvolumeclaims/a/data", "persistentvolumes//pv-1", "pods/a/two", "secrets/a/publish")
		if err := client.CoreV1().Pods("a").Delete(t.Context(), "two", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		expect("no pod")
		if obj, err := src.Load(t.Context(), pv, "1"); err != nil || !obj.Deleted || meta.SaysNotFound(obj.Body) {
			t.Errorf("load of the volume that nobody needs: %+v, %v", obj, err)
		}
	})
}

// TestVolumeOfAnotherClaim gives no secrets for a volume that is another claim's.
func TestVolumeOfAnotherClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := controllertest.NewClientset(podWithClaim("web", "n", "data"), claim("data", "pv-1", corev1.ClaimBound),
			persistentVolume("pv-1", "other"), secret("publish", "1"))
		src := start(t, client).Source("n")
		defer src.Subscribe(func(hub.Key) {})()
		synctest.Wait()
		if got := slices.Sorted(maps.Keys(listed(t, src))); slices.Contains(got, "secrets/a/publish") {
			t.Errorf("the node holds %q", got)
		}
		obj, err := src.Load(t.Context(), hub.Key{Resource: "secrets", Namespace: "a", Name: "publish"}, "")
		if err != nil || !obj.Deleted {
			t.Errorf("load of the secret: %+v, %v", obj, err)
		}
	})
}

// TestLaggingWatchOfClaims: a node that is ahead of the watches keeps the volume and
// the secret of a claim whose pod cloudcore has not seen yet.
func TestLaggingWatchOfClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := controllertest.NewClientset(podWithClaim("web", "n", "data"), claim("data", "pv-1", corev1.ClaimBound),
			persistentVolume("pv-1", "data"), secret("publish", "1"))
		src := start(t, client).Source("n") // without a subscriber nothing is watched
		for _, key := range []hub.Key{
			{Resource: "persistentvolumes", Name: "pv-1"}, {Resource: "secrets", Namespace: "a", Name: "publish"},
			{Resource: "persistentvolumeclaims", Namespace: "a", Name: "data"},
		} {
			if obj, err := src.Load(t.Context(), key, ""); err != nil || obj.Deleted {
				t.Errorf("load of %s: %+v, %v", key, obj, err)
			}
		}
	})
}

func podWithDevices(name, node string) *corev1.Pod {
	p := pod(name, node)
	p.Spec.ImagePullSecrets = nil
	p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "own", ResourceClaimName: new("shared")}, {Name: "made", ResourceClaimTemplateName: new("template")}}
	return p
}

// TestResourceClaimsAreFollowed: the claims of devices that a pod's spec and status name
// are sent to its node and to no other, each as soon as it is known, and go with the pod.
func TestResourceClaimsAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deviceClaim := func(name string) *resourcev1.ResourceClaim {
			return &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name, UID: types.UID("uid-" + name)}}
		}
		client := controllertest.NewClientset(podWithDevices("web", "n"), pod("other", "m"), deviceClaim("shared"), deviceClaim("web-made"), deviceClaim("web-extended"), deviceClaim("foreign"))
		c := start(t, client)
		src, other := c.Source("n"), c.Source("m")
		p := &peer{}
		defer src.Subscribe(p.note)()
		defer other.Subscribe(func(hub.Key) {})()
		expect := func(when string, want ...string) {
			t.Helper()
			synctest.Wait()
			if got := slices.Sorted(maps.Keys(listed(t, src))); !slices.Equal(got, want) {
				t.Errorf("%s: the node holds %q, want %q", when, got, want)
			}
		}
		expect("the template's claim is not made yet", "pods/a/web", "resourceclaims/a/shared")
		p.take()
		made := podWithDevices("web", "n")
		made.Status.ResourceClaimStatuses = []corev1.PodResourceClaimStatus{{Name: "made", ResourceClaimName: new("web-made")}}
		made.Status.ExtendedResourceClaimStatus = &corev1.PodExtendedResourceClaimStatus{ResourceClaimName: "web-extended"}
		if _, err := client.CoreV1().Pods("a").UpdateStatus(t.Context(), made, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		expect("made", "pods/a/web", "resourceclaims/a/shared", "resourceclaims/a/web-extended", "resourceclaims/a/web-made")
		if got := p.take(); !slices.Contains(got, "pods/a/web") || !slices.Contains(got, "resourceclaims/a/web-made") {
			t.Errorf("the node was notified of %q", got)
		}
		key := hub.Key{Resource: "resourceclaims", Namespace: "a", Name: "shared"}
		if obj, err := src.Load(t.Context(), key, ""); err != nil || obj.Deleted || len(obj.Body) == 0 {
			t.Errorf("load of a claim: %+v, %v", obj, err)
		}
		for _, key := range []hub.Key{key, {Resource: "resourceclaims", Namespace: "a", Name: "foreign"}} {
			if obj, err := other.Load(t.Context(), key, ""); err != nil || !obj.Deleted {
				t.Errorf("load of another node's %s: %+v, %v", key, obj, err)
			}
		}
		if err := client.CoreV1().Pods("a").Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		expect("no pod")
	})
}
