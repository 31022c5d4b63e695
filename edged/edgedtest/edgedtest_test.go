package edgedtest_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/edgedtest"
)

func TestAPI(t *testing.T) {
	t.Run("Objects", func(t *testing.T) {
		edgedtest.RunObjects(t, func(*testing.T) (edged.Objects, edgedtest.Cloud) {
			api := edgedtest.NewAPI()
			return api, api
		})
	})
	t.Run("VolumeReader", func(t *testing.T) {
		edgedtest.RunVolumeReader(t, func(*testing.T) (interface {
			edged.Objects
			edged.VolumeReader
		}, edgedtest.VolumeCloud) {
			api := edgedtest.NewAPI()
			return api, api
		})
	})
	t.Run("RuntimeClassReader", func(t *testing.T) {
		edgedtest.RunRuntimeClassReader(t, func(*testing.T) (interface {
			edged.Objects
			edged.RuntimeClassReader
		}, edgedtest.ClassCloud) {
			api := edgedtest.NewAPI()
			return api, api
		})
	})
	t.Run("VolumeAttachmentReader", func(t *testing.T) {
		edgedtest.RunVolumeAttachmentReader(t, func(*testing.T) (interface {
			edged.Objects
			edged.VolumeAttachmentReader
		}, edgedtest.AttachmentCloud) {
			api := edgedtest.NewAPI()
			return api, api
		})
	})
	t.Run("Reports", func(t *testing.T) {
		edgedtest.RunReports(t, func(*testing.T) (edged.Reports, edgedtest.Reported) {
			api := edgedtest.NewAPI()
			return api, api
		})
	})
	t.Run("LastReports", func(t *testing.T) {
		edgedtest.RunLastReports(t, func(*testing.T) interface {
			edged.Reports
			edged.LastReports
		} {
			return edgedtest.NewAPI()
		})
	})
	t.Run("Mirrorer", func(t *testing.T) {
		edgedtest.RunMirrorer(t, func(*testing.T) (edged.Mirrorer, func() []*corev1.Pod) {
			api := edgedtest.NewAPI()
			return api, api.MirrorPods
		})
	})
	t.Run("NodeReader", func(t *testing.T) {
		edgedtest.RunNodeReader(t, func(*testing.T) (edged.NodeReader, func(*corev1.Node)) {
			api := edgedtest.NewAPI()
			return api, api.PutNode
		})
	})
	t.Run("NodeDeletionWatcher", func(t *testing.T) {
		edgedtest.RunNodeDeletionWatcher(t, func(*testing.T) (edged.NodeDeletionWatcher, func()) {
			api := edgedtest.NewAPI()
			api.PutNode(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "gate-7"}})
			return api, api.DeleteNode
		})
	})
	t.Run("BoundPodLister", func(t *testing.T) {
		edgedtest.RunBoundPodLister(t, func(*testing.T) (edged.BoundPodLister, edgedtest.Cloud) {
			api := edgedtest.NewAPI()
			return api, api
		})
	})
}
