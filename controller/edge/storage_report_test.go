package edge_test

import (
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/hub"
)

func reportOf(t *testing.T, key hub.Key, body any) hub.Object {
	t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return hub.Object{Key: key, Body: data}
}

// TestCSINodeIsWritten makes, changes and empties the object of a node's drivers, and
// refuses another node's.
func TestCSINodeIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := controllertest.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "node-uid"}})
		write := start(t, client).Writers()["csinodes"]
		report := func(drivers ...storagev1.CSINodeDriver) {
			t.Helper()
			err := write(t.Context(), "n", reportOf(t, hub.Key{Resource: "csinodes", Name: "n"}, storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Spec: storagev1.CSINodeSpec{Drivers: drivers}}))
			if err != nil {
				t.Fatal(err)
			}
			got, err := client.StorageV1().CSINodes().Get(t.Context(), "n", metav1.GetOptions{})
			if err != nil || len(got.Spec.Drivers) != len(drivers) || len(got.OwnerReferences) != 1 || got.OwnerReferences[0].UID != "node-uid" {
				t.Errorf("%+v, %v", got, err)
			}
		}
		report(storagev1.CSINodeDriver{Name: "d", NodeID: "1"})
		report(storagev1.CSINodeDriver{Name: "d", NodeID: "1"}, storagev1.CSINodeDriver{Name: "e", NodeID: "1"})
		report()
		err := write(t.Context(), "m", reportOf(t, hub.Key{Resource: "csinodes", Name: "n"}, storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: "n"}}))
		if e := (*hub.Error)(nil); !errors.As(err, &e) || e.Code != hub.CodeForbidden {
			t.Errorf("a node reports another: %v", err)
		}
	})
}

// TestClaimThatGrew: a claim gets its new size and loses the conditions of the resize. An
// old report does not shrink it, and a report about another claim of that name changes
// nothing.
func TestClaimThatGrew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := claim("data", "pv-1", corev1.ClaimBound)
		data.Status.Capacity = corev1.ResourceList{"storage": resource.MustParse("1Gi")}
		data.Status.Conditions = []corev1.PersistentVolumeClaimCondition{{Type: corev1.PersistentVolumeClaimFileSystemResizePending, Status: corev1.ConditionTrue}, {Type: "Other", Status: corev1.ConditionTrue}}
		data.Status.AllocatedResourceStatuses = map[corev1.ResourceName]corev1.ClaimResourceStatus{"storage": corev1.PersistentVolumeClaimNodeResizePending}
		client := controllertest.NewClientset(data)
		write := start(t, client).Writers()["persistentvolumeclaims/status"]
		report := func(size, uid, want string) {
			t.Helper()
			body := claim("data", "", "")
			body.UID = "uid-" + "data"
			if uid != "" {
				body.UID = "other"
			}
			body.Status.Capacity = corev1.ResourceList{"storage": resource.MustParse(size)}
			if err := write(t.Context(), "n", reportOf(t, hub.Key{Resource: "persistentvolumeclaims/status", Namespace: "a", Name: "data"}, body)); err != nil {
				t.Fatal(err)
			}
			got, err := client.CoreV1().PersistentVolumeClaims("a").Get(t.Context(), "data", metav1.GetOptions{})
			if err != nil || got.Status.Capacity.Storage().String() != want {
				t.Errorf("%+v, %v, want %s", got.Status, err, want)
			}
			if want != "1Gi" && (len(got.Status.Conditions) != 1 || got.Status.Conditions[0].Type != "Other" || len(got.Status.AllocatedResourceStatuses) > 0) {
				t.Errorf("%+v", got.Status)
			}
		}
		report("2Gi", "other", "1Gi")
		report("2Gi", "", "2Gi")
		report("1536Mi", "", "2Gi")
		if err := write(t.Context(), "n", reportOf(t, hub.Key{Resource: "persistentvolumeclaims/status", Namespace: "a", Name: "data"}, claim("data", "", ""))); err == nil {
			t.Error("a report without a size is taken")
		}
	})
}
