package volume

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
)

// AttachmentReader reads whether the cloud has attached a volume to this node, from
// what the node has stored. The error for an object that is not there matches
// interface{ NotFound() bool }.
type AttachmentReader interface {
	// VolumeAttachment reads an attachment.
	VolumeAttachment(ctx context.Context, name string) (*storagev1.VolumeAttachment, error)
	// OwnNode reads this node's Node: its status.volumesInUse and volumesAttached.
	OwnNode(ctx context.Context) (*corev1.Node, error)
}

// attachGrace is for how long a wait for an attachment is no matter for an event: that
// is what it takes.
const attachGrace = 10 * time.Second

// notAttached is the error for a volume that the cloud has not attached.
type notAttached struct {
	err   error
	early bool // it was only just asked for
}

func (e *notAttached) Error() string { return e.err.Error() }
func (e *notAttached) Unwrap() error { return e.err }

// uniqueName is the name of a driver's volume in a Node's status: GetUniqueVolumeName
// of Kubernetes' pkg/volume/util.
func uniqueName(driver, handle string) corev1.UniqueVolumeName {
	return corev1.UniqueVolumeName("kubernetes.io/csi/" + driver + "^" + handle)
}

// attachmentName is the name of the VolumeAttachment of a driver's volume to a node:
// getAttachmentName of Kubernetes' pkg/volume/csi.
func attachmentName(driver, handle, node string) string {
	sum := sha256.Sum256([]byte(handle + driver + node))
	return "csi-" + hex.EncodeToString(sum[:])
}

// attachment gives what the attachment of a volume to this node says to the driver. The
// volume is reported to be in use from then on, so that the cloud does not detach it;
// that is recorded first.
func (s *setup) attachment(ctx context.Context, v *csiVolume, r *record) (map[string]string, error) {
	m, uid := s.m, string(s.pod.UID)
	if !r.Attach {
		r.Attach = true
		if err := m.writeRecord(uid, *r); err != nil {
			return nil, err
		}
	}
	name := uniqueName(v.driver, v.handle)
	if m.inUse.add(uid, name) {
		m.cfg.InUseChanged()
	}
	published, err := m.readAttachment(ctx, v, name, r.Done)
	if err == nil {
		m.inUse.attached(uid, name)
		return published, nil
	}
	var failed *attachFailed
	early := !errors.As(err, &failed) && m.inUse.waits(uid, name) < attachGrace
	return nil, opError("MountVolume.WaitForAttach failed", &notAttached{err, early})
}

// readAttachment reads the attachment of a volume, and what the Node says of it unless
// the volume is mounted already.
func (m *Manager) readAttachment(ctx context.Context, v *csiVolume, name corev1.UniqueVolumeName, mounted bool) (map[string]string, error) {
	if m.cfg.Attachments == nil {
		return nil, fmt.Errorf("driver %s wants its volumes attached (attachRequired of its CSIDriver is not false), and this node has no API server that attaches them", v.driver)
	}
	id := attachmentName(v.driver, v.handle, m.cfg.Node)
	attachment, err := m.cfg.Attachments.VolumeAttachment(ctx, id)
	if missing(err) {
		return nil, fmt.Errorf("volumeattachments %q not found: is the attach-detach controller of the cluster running?", id)
	}
	if err != nil {
		return nil, fmt.Errorf("read VolumeAttachment %s: %w", id, err)
	}
	if err := checkAttachment(attachment, v); err != nil {
		return nil, err
	}
	if !mounted {
		node, err := m.cfg.Attachments.OwnNode(ctx)
		if err == nil {
			err = checkNodeVolumes(node, name)
		}
		if err != nil {
			return nil, err
		}
	}
	return attachment.Status.AttachmentMetadata, nil
}

// checkNodeVolumes decides by the Node whether a volume may be mounted. The cloud must
// know that it is in use, or it could detach it at any time, and must say that it is
// attached, which it takes back before it detaches: see
// GenerateVerifyControllerAttachedVolumeFunc of Kubernetes' pkg/volume/util/operationexecutor.
func checkNodeVolumes(node *corev1.Node, name corev1.UniqueVolumeName) error {
	if !slices.Contains(node.Status.VolumesInUse, name) {
		return fmt.Errorf("volume %s has not been added to the list of VolumesInUse in the node's volume status", name)
	}
	if !slices.ContainsFunc(node.Status.VolumesAttached, func(a corev1.AttachedVolume) bool { return a.Name == name }) {
		return fmt.Errorf("volume %s is not attached according to the node's status", name)
	}
	return nil
}

// attachFailed is what a driver said of an attachment that failed.
type attachFailed struct{ message string }

func (e *attachFailed) Error() string { return e.message }

// checkAttachment decides by an attachment whether a volume may be mounted:
// verifyAttachmentStatus of Kubernetes' pkg/volume/csi.
func checkAttachment(a *storagev1.VolumeAttachment, v *csiVolume) error {
	switch {
	case a.DeletionTimestamp != nil:
		return errors.New("volume attachment is being deleted")
	case a.Status.Attached:
		return nil
	case a.Status.AttachError != nil:
		return &attachFailed{a.Status.AttachError.Message}
	}
	return fmt.Errorf("volume %s is not attached for volume attachment %s: the external-attacher of driver %s has not attached it yet", v.handle, a.Name, v.driver)
}

// InUse lists the volumes that pods of this node use or wait for and that the cloud
// attaches, for status.volumesInUse of the Node: what is in it is not detached.
func (m *Manager) InUse() []corev1.UniqueVolumeName {
	m.loadInUse()
	return m.inUse.list()
}

// loadInUse reads the records of an agent before this one, once.
func (m *Manager) loadInUse() {
	m.inUse.load.Do(func() {
		uids, err := m.Pods()
		errs := []error{err}
		for _, uid := range uids {
			records, err := m.records(uid)
			errs = append(errs, err)
			for _, r := range records {
				if r.Attach {
					m.inUse.add(uid, uniqueName(r.Driver, r.Handle))
				}
			}
		}
		if err := errors.Join(errs...); err != nil {
			m.cfg.Logger.Warn("cannot read which attached volumes are in use; the cloud may detach one that a pod without API object has", "err", err)
		}
	})
}

// inUse is which volumes of the cloud the pods use or wait for.
type inUse struct {
	load sync.Once
	mu   sync.Mutex
	pods map[string]map[corev1.UniqueVolumeName]time.Time // by uid: since when it is waited for; zero once it is attached
}

// add notes that a pod uses a volume. It reports whether that is new.
func (u *inUse) add(uid string, name corev1.UniqueVolumeName) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, known := u.pods[uid][name]; known {
		return false
	}
	if u.pods == nil {
		u.pods = make(map[string]map[corev1.UniqueVolumeName]time.Time)
	}
	if u.pods[uid] == nil {
		u.pods[uid] = make(map[corev1.UniqueVolumeName]time.Time)
	}
	u.pods[uid][name] = time.Time{}
	return true
}

// waits gives for how long a pod has waited for a volume.
func (u *inUse) waits(uid string, name corev1.UniqueVolumeName) time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	since, used := u.pods[uid][name]
	if used && since.IsZero() {
		since = time.Now()
		u.pods[uid][name] = since
	}
	return time.Since(since)
}

// attached notes that a pod no longer waits for a volume.
func (u *inUse) attached(uid string, name corev1.UniqueVolumeName) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, used := u.pods[uid][name]; used {
		u.pods[uid][name] = time.Time{}
	}
}

// drop forgets a pod. It reports whether that had a volume.
func (u *inUse) drop(uid string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, had := u.pods[uid]
	delete(u.pods, uid)
	return had
}

func (u *inUse) list() []corev1.UniqueVolumeName {
	u.mu.Lock()
	defer u.mu.Unlock()
	var out []corev1.UniqueVolumeName
	for _, names := range u.pods {
		for name := range names {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
