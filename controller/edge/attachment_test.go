package edge_test

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/references"
)

// TestAttachmentIsFollowed has whether a volume is attached to a node travel to that
// node, each time that it changes.
func TestAttachmentIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pv := persistentVolume("pv-1", "data")
		pv.Spec.CSI.VolumeHandle = "vol-1"
		mine, other := references.AttachmentName("d.example.com", "vol-1", "n"), references.AttachmentName("d.example.com", "vol-1", "m")
		client := controllertest.NewClientset(podWithClaim("web", "n", "data"), claim("data", "pv-1", corev1.ClaimBound), pv,
			&storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Name: other}})
		src := start(t, client).Source("n")
		p := &peer{}
		defer src.Subscribe(p.note)()
		synctest.Wait()
		key := hub.Key{Resource: "volumeattachments", Name: mine}
		if obj, err := src.Load(t.Context(), key, ""); err != nil || !obj.Deleted || !meta.SaysNotFound(obj.Body) {
			t.Errorf("load before there is one: %+v, %v", obj, err)
		}
		if obj, err := src.Load(t.Context(), hub.Key{Resource: "volumeattachments", Name: other}, ""); err != nil || !obj.Deleted {
			t.Errorf("load of that of another node: %+v, %v", obj, err)
		}
		p.take()
		attachments := client.StorageV1().VolumeAttachments()
		a, err := attachments.Create(t.Context(), &storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Name: mine}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		a.Status = storagev1.VolumeAttachmentStatus{Attached: true, AttachmentMetadata: map[string]string{"device": "/dev/x"}}
		if _, err := attachments.UpdateStatus(t.Context(), a, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := p.take(); !slices.Contains(got, key.String()) {
			t.Errorf("the node was notified of %q", got)
		}
		if got := slices.Sorted(maps.Keys(listed(t, src))); !slices.Contains(got, key.String()) || slices.Contains(got, "volumeattachments//"+other) {
			t.Errorf("the node holds %q", got)
		}
		var got storagev1.VolumeAttachment
		obj, err := src.Load(t.Context(), key, "")
		if err == nil {
			err = json.Unmarshal(obj.Body, &got)
		}
		if err != nil || !got.Status.Attached || got.Status.AttachmentMetadata["device"] != "/dev/x" {
			t.Errorf("load: %+v, %v", got, err)
		}
	})
}

// TestDriverWithoutAttach: no attachment is watched for a driver that needs none, from
// when it says so on.
func TestDriverWithoutAttach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pv := persistentVolume("pv-1", "data")
		pv.Spec.CSI.VolumeHandle = "vol-1"
		name := references.AttachmentName("d.example.com", "vol-1", "n")
		client := controllertest.NewClientset(podWithClaim("web", "n", "data"), claim("data", "pv-1", corev1.ClaimBound), pv,
			&storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Name: name}})
		src := start(t, client).Source("n")
		defer src.Subscribe(func(hub.Key) {})()
		drivers := client.StorageV1().CSIDrivers()
		driver := &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "d.example.com"}}
		for _, step := range []struct {
			does string
			do   func() error
			want bool
		}{
			{"says nothing", func() error { return nil }, true},
			{"is there", func() error { _, err := drivers.Create(t.Context(), driver, metav1.CreateOptions{}); return err }, true},
			{"needs none", func() error {
				driver.ResourceVersion, driver.Spec.AttachRequired = "", new(false)
				_, err := drivers.Update(t.Context(), driver, metav1.UpdateOptions{})
				return err
			}, false},
			{"is gone", func() error { return drivers.Delete(t.Context(), driver.Name, metav1.DeleteOptions{}) }, true},
		} {
			if err := step.do(); err != nil {
				t.Fatal(step.does, err)
			}
			synctest.Wait()
			if _, got := listed(t, src)["volumeattachments//"+name]; got != step.want {
				t.Errorf("the driver %s: the node holds its attachment: %t", step.does, got)
			}
		}
	})
}

// TestVolumesOfNode has the volumes that a node uses go up, also when there are none any
// more, and come down again with those that are attached.
func TestVolumesOfNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{nodelifecycle.RoleLabel: ""}}}
		node.Status.VolumesAttached = []corev1.AttachedVolume{{Name: "v"}}
		client := controllertest.NewClientset(node)
		c := start(t, client)
		src := c.Source("n")
		p := &peer{}
		defer src.Subscribe(p.note)()
		synctest.Wait()
		key := hub.Key{Resource: "nodes", Name: "n"}
		for _, inUse := range [][]corev1.UniqueVolumeName{{"v", "w"}, {"w"}, nil} {
			report := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
			report.Status.VolumesInUse = inUse
			if err := c.Writers()["nodes"](t.Context(), "n", hub.Object{Key: key, Body: body(t, report)}); err != nil {
				t.Fatal(err)
			}
			got, err := client.CoreV1().Nodes().Get(t.Context(), "n", metav1.GetOptions{})
			if err != nil || !slices.Equal(got.Status.VolumesInUse, inUse) || len(got.Status.VolumesAttached) != 1 {
				t.Errorf("%q in use: the API server has %+v, %v", inUse, got.Status, err)
			}
		}
		for _, change := range []func(*corev1.NodeStatus){
			func(s *corev1.NodeStatus) { s.VolumesInUse = []corev1.UniqueVolumeName{"x"} },
			func(s *corev1.NodeStatus) { s.VolumesAttached = nil },
		} {
			p.take()
			change(&node.Status)
			node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady}}
			if _, err := client.CoreV1().Nodes().UpdateStatus(t.Context(), node.DeepCopy(), metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if got := p.take(); !slices.Contains(got, key.String()) {
				t.Errorf("the node was notified of %q", got)
			}
			var got corev1.Node
			obj, err := src.Load(t.Context(), key, "")
			if err == nil {
				err = json.Unmarshal(obj.Body, &got)
			}
			if err != nil || !slices.Equal(got.Status.VolumesInUse, node.Status.VolumesInUse) ||
				len(got.Status.VolumesAttached) != len(node.Status.VolumesAttached) || len(got.Status.Conditions) > 0 {
				t.Errorf("the node gets %+v, %v", got.Status, err)
			}
		}
	})
}
