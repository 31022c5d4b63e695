package install_test

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/controller/edge"
	"github.com/edgekit/edgekit/controller/install/apiservertest"
	"github.com/edgekit/edgekit/controller/internal/impersonate"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/references"
)

// mustDo returns a function that ends the test for an error of what was done.
func mustDo(t *testing.T) func(what string, err error) {
	return func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// registerEdge creates the node n, as itself, and gives it the role of an edge node.
func registerEdge(t *testing.T, admin, client kubernetes.Interface) {
	t.Helper()
	ctx, must := t.Context(), mustDo(t)
	_, err := client.CoreV1().Nodes().Create(impersonate.With(ctx, "n"), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}, metav1.CreateOptions{})
	must("register", err)
	_, err = admin.CoreV1().Nodes().Patch(ctx, "n", types.MergePatchType, []byte(`{"metadata":{"labels":{"node-role.kubernetes.io/edge":""}}}`), metav1.PatchOptions{})
	must("role", err)
}

// runEdge returns an EdgeController that has synced and runs until the test ends.
func runEdge(t *testing.T, own, client kubernetes.Interface) *edge.Controller {
	t.Helper()
	must := mustDo(t)
	nodes, err := edge.NewNodeStore(own, nil)
	must("nodes", err)
	c, err := edge.New(edge.Config{Cloud: own, NodeClient: client, Nodes: nodes})
	must("controller", err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- nodes.Run(ctx) }()
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	<-c.Synced()
	return c
}

// subscribe returns the source of the node n, subscribed until the test ends, and a channel
// that signals its changes.
func subscribe(t *testing.T, c *edge.Controller) (hub.Source, <-chan struct{}) {
	changed := make(chan struct{}, 1)
	source := c.Source("n")
	t.Cleanup(source.Subscribe(func(hub.Key) {
		select {
		case changed <- struct{}{}:
		default:
		}
	}))
	return source, changed
}

// createStorage creates the node n and, bound to it, a pod with a claim of a CSI volume and a
// runtime class.
func createStorage(t *testing.T, admin, client kubernetes.Interface) *corev1.PersistentVolumeClaim {
	t.Helper()
	ctx, must := t.Context(), mustDo(t)
	registerEdge(t, admin, client)
	gib := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	modes := []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	_, err := admin.StorageV1().VolumeAttachments().Create(ctx, &storagev1.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{Name: references.AttachmentName("d.example.com", "vol-1", "n")},
		Spec:       storagev1.VolumeAttachmentSpec{Attacher: "d.example.com", NodeName: "n", Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: new("pv-1")}},
	}, metav1.CreateOptions{})
	must("attachment", err)
	_, err = admin.StorageV1().CSIDrivers().Create(ctx, &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "d.example.com"}, Spec: storagev1.CSIDriverSpec{AttachRequired: new(true)}}, metav1.CreateOptions{})
	must("driver", err)
	claims := admin.CoreV1().PersistentVolumeClaims("default")
	claim, err := claims.Create(ctx, &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "data"},
		Spec: corev1.PersistentVolumeClaimSpec{
			VolumeName: "pv-1", AccessModes: modes, StorageClassName: new(string), Resources: corev1.VolumeResourceRequirements{Requests: gib},
		},
	}, metav1.CreateOptions{})
	must("claim", err)
	_, err = admin.CoreV1().PersistentVolumes().Create(ctx, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-1"}, Spec: corev1.PersistentVolumeSpec{
		Capacity: gib, AccessModes: modes, ClaimRef: &corev1.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: "default", Name: "data", UID: claim.UID},
		PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "d.example.com", VolumeHandle: "vol-1"}},
	}}, metav1.CreateOptions{})
	must("volume", err)
	claim.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound, Capacity: gib, AccessModes: modes}
	_, err = claims.UpdateStatus(ctx, claim, metav1.UpdateOptions{}) // as the controller that binds
	must("bind", err)
	_, err = admin.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{})
	must("service account", err)
	overhead := &nodev1.Overhead{PodFixed: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")}}
	_, err = admin.NodeV1().RuntimeClasses().Create(ctx, &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "second"}, Handler: "runc2", Overhead: overhead}, metav1.CreateOptions{})
	must("runtime class", err)
	_, err = admin.CoreV1().Pods("default").Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.PodSpec{
		NodeName: "n", RuntimeClassName: new("second"), Containers: []corev1.Container{{Name: "c", Image: "i", VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}}},
		Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}},
	}}, metav1.CreateOptions{})
	must("pod", err)
	return claim
}

// awaitKeys waits until the source has all keys.
func awaitKeys(t *testing.T, source hub.Source, changed <-chan struct{}, want []hub.Key) {
	t.Helper()
	soon, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		held := make(map[hub.Key]bool)
		versions, err := source.Versions(t.Context())
		mustDo(t)("versions", err)
		for key := range versions {
			held[key] = true
		}
		if !slices.ContainsFunc(want, func(key hub.Key) bool { return !held[key] }) {
			return
		}
		select {
		case <-changed:
		case <-soon.Done():
			t.Fatalf("the node holds %v, want %v", held, want)
		}
	}
}

// TestStorageOfNode uses a real kube-apiserver and the shipped role: the claim of a pod
// is sent to its node, with the volume, the CSIDriver and the pod's runtime class, and the node's reports about
// storage are written.
func TestStorageOfNode(t *testing.T) {
	a := apiservertest.Start(t)
	cfg := account(t, a)
	admin, own := clientFor(t, a.Admin), clientFor(t, cfg)
	client, err := impersonate.Client(cfg, impersonate.Constrained)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	must := mustDo(t)
	claim := createStorage(t, admin, client)
	claims := admin.CoreV1().PersistentVolumeClaims("default")
	c := runEdge(t, own, client)
	source, changed := subscribe(t, c)
	want := []hub.Key{
		{Resource: "persistentvolumeclaims", Namespace: "default", Name: "data"}, {Resource: "persistentvolumes", Name: "pv-1"}, {Resource: "csidrivers", Name: "d.example.com"},
		{Resource: "runtimeclasses", Name: "second"},
		{Resource: "volumeattachments", Name: references.AttachmentName("d.example.com", "vol-1", "n")},
	}
	awaitKeys(t, source, changed, want)
	for _, key := range want {
		// Without a subscriber the object is read as the node: the node authorizer agrees.
		if obj, err := c.Source("n").Load(ctx, key, ""); err != nil || obj.Deleted || len(obj.Body) == 0 {
			t.Errorf("load of %s: %+v, %v", key, obj, err)
		}
	}
	report := func(key hub.Key, body any) {
		t.Helper()
		data, err := json.Marshal(body)
		must(key.String(), err)
		must(key.String(), c.Writers()[key.Resource](ctx, "n", hub.Object{Key: key, Body: data}))
	}
	claim.Status = corev1.PersistentVolumeClaimStatus{Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("2Gi")}}
	report(hub.Key{Resource: "persistentvolumeclaims/status", Namespace: "default", Name: "data"}, claim)
	if got, err := claims.Get(ctx, "data", metav1.GetOptions{}); err != nil || got.Status.Capacity.Storage().String() != "2Gi" || got.Status.Phase != corev1.ClaimBound {
		t.Errorf("the claim that grew: %+v, %v", got.Status, err)
	}
	for _, id := range []string{"1", "2"} { // a driver's nodeID cannot change in place: the entry is removed and added again
		report(hub.Key{Resource: "csinodes", Name: "n"}, storagev1.CSINode{
			ObjectMeta: metav1.ObjectMeta{Name: "n"}, Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{Name: "d.example.com", NodeID: id}}},
		})
		if got, err := admin.StorageV1().CSINodes().Get(ctx, "n", metav1.GetOptions{}); err != nil || len(got.Spec.Drivers) != 1 || got.Spec.Drivers[0].NodeID != id {
			t.Errorf("CSINode: %+v, %v", got, err)
		}
	}
}
