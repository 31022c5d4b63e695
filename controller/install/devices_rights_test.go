package install_test

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/controller/install/apiservertest"
	"github.com/edgekit/edgekit/controller/internal/impersonate"
	"github.com/edgekit/edgekit/hub"
)

// createDevices creates the node n and, bound to it, a pod with a claim of a device; and
// ResourceSlices of two drivers on n and on another node.
func createDevices(t *testing.T, admin, client kubernetes.Interface) {
	t.Helper()
	ctx, must := t.Context(), mustDo(t)
	registerEdge(t, admin, client)
	_, err := admin.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{})
	must("service account", err)
	for _, name := range []string{"gpu", "foreign"} {
		_, err = admin.ResourceV1().ResourceClaims("default").Create(ctx, &resourcev1.ResourceClaim{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{
				{Name: "one", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "gpu.example.com"}},
			}}},
		}, metav1.CreateOptions{})
		must("claim", err)
	}
	_, err = admin.CoreV1().Pods("default").Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.PodSpec{
		NodeName: "n", ResourceClaims: []corev1.PodResourceClaim{{Name: "device", ResourceClaimName: new("gpu")}},
		Containers: []corev1.Container{{Name: "c", Image: "i", Resources: corev1.ResourceRequirements{Claims: []corev1.ResourceClaim{{Name: "device"}}}}},
	}}, metav1.CreateOptions{})
	must("pod", err)
	for _, node := range []string{"n", "m"} {
		for _, driver := range []string{"a.example.com", "b.example.com"} {
			_, err = admin.ResourceV1().ResourceSlices().Create(ctx, &resourcev1.ResourceSlice{
				ObjectMeta: metav1.ObjectMeta{Name: node + "-" + driver},
				Spec: resourcev1.ResourceSliceSpec{
					Driver: driver, NodeName: new(node), Pool: resourcev1.ResourcePool{Name: node, ResourceSliceCount: 1}, Devices: []resourcev1.Device{{Name: "d0"}},
				},
			}, metav1.CreateOptions{})
			must("slice", err)
		}
	}
}

// TestDevicesOfNode uses a real kube-apiserver and the shipped role: the claim of devices of
// a pod is sent to its node, and the ResourceSlices of a driver that the node does not have
// any more are deleted, those of other drivers and of other nodes are not.
func TestDevicesOfNode(t *testing.T) {
	a := apiservertest.Start(t)
	cfg := account(t, a)
	admin, own := clientFor(t, a.Admin), clientFor(t, cfg)
	client, err := impersonate.Client(cfg, impersonate.Constrained)
	must := mustDo(t)
	must("client", err)
	createDevices(t, admin, client)
	c := runEdge(t, own, client)
	source, changed := subscribe(t, c)
	claim := hub.Key{Resource: "resourceclaims", Namespace: "default", Name: "gpu"}
	awaitKeys(t, source, changed, []hub.Key{claim})
	// Without a subscriber the object is read as the node: the node authorizer agrees.
	if obj, err := c.Source("n").Load(t.Context(), claim, ""); err != nil || obj.Deleted || len(obj.Body) == 0 {
		t.Errorf("load of %s: %+v, %v", claim, obj, err)
	}
	foreign := hub.Key{Resource: "resourceclaims", Namespace: "default", Name: "foreign"}
	if obj, err := source.Load(t.Context(), foreign, ""); err != nil || !obj.Deleted {
		t.Errorf("load of a claim that no pod of the node has: %+v, %v", obj, err)
	}
	if _, err := client.ResourceV1().ResourceClaims("default").Get(impersonate.With(t.Context(), "n"), "foreign", metav1.GetOptions{}); err == nil {
		t.Error("the node may read a claim that no pod of it has")
	}
	must("report", c.Writers()["resourceslices"](t.Context(), "n", hub.Object{Key: hub.Key{Resource: "resourceslices", Name: "n"}, Body: []byte(`{"drivers":["b.example.com"]}`)}))
	left, err := admin.ResourceV1().ResourceSlices().List(t.Context(), metav1.ListOptions{})
	must("slices", err)
	var names []string
	for _, s := range left.Items {
		names = append(names, s.Name)
	}
	if slices.Sort(names); !slices.Equal(names, []string{"m-a.example.com", "m-b.example.com", "n-b.example.com"}) {
		t.Errorf("ResourceSlices %q are left", names)
	}
}
