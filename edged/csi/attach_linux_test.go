package csi_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/volume"
)

func (m *machine) OwnNode(context.Context) (*corev1.Node, error) { return &m.node, nil }

func (m *machine) VolumeAttachment(_ context.Context, name string) (*storagev1.VolumeAttachment, error) {
	if a := m.attach[name]; a != nil {
		return a, nil
	}
	return nil, notFound{}
}

const (
	// attachmentName is what kube-controller-manager calls the attachment of vol-1:
	// printf vol-1folders.csi.example.comnode-7 | sha256sum
	attachmentName = "csi-dd2c1f76615ed3865f8e22676986cbd6fc4a8cc3571cc55e9b14876b11e5ca33"
	uniqueName     = "kubernetes.io/csi/folders.csi.example.com^vol-1"
)

// TestAttach goes through what a volume that the cloud attaches waits for, and what the
// driver then gets of the attachment.
func TestAttach(t *testing.T) {
	m := newMachine(t)
	defer m.register()()
	m.info = nil // a driver that says nothing of itself wants its volumes attached
	v, p := m.volumes(), claimPod("u")
	fails := func(when, want, reason string) {
		t.Helper()
		_, err := v.SetUp(t.Context(), p, nil)
		var failed *volume.Error
		if !errors.As(err, &failed) || !strings.HasPrefix(err.Error(), `MountVolume.WaitForAttach failed for volume "pv-1" : `) || !strings.Contains(err.Error(), want) {
			t.Fatalf("%s: %v, want %q", when, err, want)
		}
		if got := failed.Reason(); got != reason {
			t.Errorf("%s: the reason is %q, want %q", when, got, reason)
		}
	}
	fails("at first", `volumeattachments "`+attachmentName+`" not found`, "")
	if got := v.InUse(); !slices.Equal(got, []corev1.UniqueVolumeName{uniqueName}) || m.inUse != 1 {
		t.Fatalf("in use: %q, changed %d times", got, m.inUse)
	}
	a := &storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Name: attachmentName}}
	m.attach = map[string]*storagev1.VolumeAttachment{attachmentName: a}
	fails("the attacher is slow", "the external-attacher of driver "+driverName+" has not attached it yet", "")
	a.Status.AttachError = &storagev1.VolumeError{Message: "no such disk"}
	fails("the attacher fails", "no such disk", "FailedAttachVolume")
	a.Status = storagev1.VolumeAttachmentStatus{Attached: true, AttachmentMetadata: map[string]string{"device": "/dev/x"}}
	now := metav1.Now()
	a.DeletionTimestamp = &now
	fails("it is being detached", "volume attachment is being deleted", "")
	a.DeletionTimestamp = nil
	fails("attached", "has not been added to the list of VolumesInUse", "")
	m.node.Status.VolumesInUse = v.InUse()
	fails("the cloud knows that it is in use", "is not attached according to the node's status", "")
	m.node.Status.VolumesAttached = []corev1.AttachedVolume{{Name: uniqueName}}
	m.expectCalls("before it is attached")

	m.setUp(v, p)
	m.expectCalls("attached", "NodeStageVolume vol-1", "NodePublishVolume vol-1")
	if got := m.driver.Attachment("vol-1"); !maps.Equal(got, a.Status.AttachmentMetadata) {
		t.Errorf("the driver got %q as the publish context", got)
	}

	v = m.volumes() // the agent is restarted
	if got := v.InUse(); !slices.Equal(got, []corev1.UniqueVolumeName{uniqueName}) {
		t.Errorf("in use after a restart: %q", got)
	}
	m.node, m.attach = corev1.Node{}, nil // the cloud takes the volume away from under the pod
	if _, err := v.Refresh(t.Context(), p, nil); err != nil {
		t.Errorf("a pod that runs: %v", err)
	}
	if err := v.TearDown("u"); err != nil {
		t.Fatal(err)
	}
	m.expectCalls("gone", "NodeUnpublishVolume vol-1", "NodeUnstageVolume vol-1")
	if got := v.InUse(); len(got) > 0 || m.inUse != 2 {
		t.Errorf("in use without a pod: %q, changed %d times", got, m.inUse)
	}
}

// restartMachine leaves what a start of the machine leaves of the volumes: records of
// another boot, and no mount.
func (m *machine) restartMachine() {
	m.t.Helper()
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		m.t.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		m.t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if path := strings.Fields(line)[4]; strings.HasPrefix(path, m.root+"/") {
			if err := unix.Unmount(path, 0); err != nil {
				m.t.Fatal(path, err)
			}
		}
	}
	err = filepath.WalkDir(m.root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".json" {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(path, bytes.ReplaceAll(data, bytes.TrimSpace(id), []byte("an earlier boot")), 0o600)
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

// TestAttachAfterTheMachineStarted: what was attached is used again with what the node
// has stored, without a link.
func TestAttachAfterTheMachineStarted(t *testing.T) {
	m := newMachine(t)
	defer m.register()()
	m.info.Spec.AttachRequired = nil
	m.node.Status.VolumesInUse = []corev1.UniqueVolumeName{uniqueName}
	m.node.Status.VolumesAttached = []corev1.AttachedVolume{{Name: uniqueName}}
	m.attach = map[string]*storagev1.VolumeAttachment{attachmentName: {Status: storagev1.VolumeAttachmentStatus{Attached: true}}}
	v, p := m.volumes(), claimPod("u")
	m.setUp(v, p)
	m.expectCalls("attached", "NodeStageVolume vol-1", "NodePublishVolume vol-1")
	m.restartMachine()
	v = m.volumes()
	m.setUp(v, p)
	m.expectCalls("after a start of the machine", "NodeStageVolume vol-1", "NodePublishVolume vol-1")
	if err := v.TearDown("u"); err != nil {
		t.Fatal(err)
	}
}

// TestAttachWithoutCloud says that there is nobody who attaches.
func TestAttachWithoutCloud(t *testing.T) {
	m := newMachine(t)
	defer m.register()()
	m.info = nil
	v, err := volume.New(volume.Config{Root: m.root + "/edged", Source: m, Claims: m, CSI: m.drivers})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.SetUp(t.Context(), claimPod("u"), nil); err == nil || !strings.Contains(err.Error(), "no API server that attaches") {
		t.Error(err)
	}
}
