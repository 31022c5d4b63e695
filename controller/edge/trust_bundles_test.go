package edge_test

import (
	"maps"
	"slices"
	"testing"
	"testing/synctest"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/hub"
)

func bundle(name, label string) *certificatesv1.ClusterTrustBundle {
	return &certificatesv1.ClusterTrustBundle{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"is": label}, ResourceVersion: "1"},
		Spec:       certificatesv1.ClusterTrustBundleSpec{SignerName: "acme.io/ca", TrustBundle: "-----BEGIN CERTIFICATE-----"},
	}
}

// TestTrustBundlesAreFollowed: the bundles that a pod names or selects are sent to its
// node, also one that comes, or gets the label, later; and they go with the pod.
func TestTrustBundlesAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pod("web", "n")
		p.Spec.ImagePullSecrets = nil
		name, signer := "named", "acme.io/ca"
		p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ClusterTrustBundle: &corev1.ClusterTrustBundleProjection{Name: &name, Path: "a"}},
			{ClusterTrustBundle: &corev1.ClusterTrustBundleProjection{SignerName: &signer, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"is": "live"}}, Path: "b"}},
			{ClusterTrustBundle: &corev1.ClusterTrustBundleProjection{SignerName: &signer, Path: "c"}}, // selects nothing
		}}}}}
		client := controllertest.NewClientset(p, bundle("named", "x"), bundle("one", "live"), bundle("canary", "canary"))
		c := start(t, client)
		src := c.Source("n")
		peer := &peer{}
		defer src.Subscribe(peer.note)()
		expect := func(when string, want ...string) {
			t.Helper()
			synctest.Wait()
			if got := slices.Sorted(maps.Keys(listed(t, src))); !slices.Equal(got, want) {
				t.Errorf("%s: the node holds %q, want %q", when, got, want)
			}
		}
		expect("at first", "clustertrustbundles//named", "clustertrustbundles//one", "pods/a/web")
		if _, err := client.CertificatesV1().ClusterTrustBundles().Create(t.Context(), bundle("two", "live"), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		expect("another one", "clustertrustbundles//named", "clustertrustbundles//one", "clustertrustbundles//two", "pods/a/web")
		if got := peer.take(); !slices.Contains(got, "clustertrustbundles//two") || slices.ContainsFunc(got, func(k string) bool { return len(k) > 40 }) {
			t.Errorf("the node was notified of %q", got)
		}
		two := hub.Key{Resource: "clustertrustbundles", Name: "two"}
		if obj, err := src.Load(t.Context(), two, ""); err != nil || obj.Deleted || len(obj.Body) == 0 {
			t.Errorf("load: %+v, %v", obj, err)
		}
		if obj, err := src.Load(t.Context(), hub.Key{Resource: "clustertrustbundles", Name: "canary"}, ""); err != nil || !obj.Deleted {
			t.Errorf("load of one that is not selected: %+v, %v", obj, err)
		}
		if err := client.CertificatesV1().ClusterTrustBundles().Delete(t.Context(), "one", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		expect("one is deleted", "clustertrustbundles//named", "clustertrustbundles//two", "pods/a/web")
		if err := client.CoreV1().Pods("a").Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		expect("the pod is gone")
	})
}
