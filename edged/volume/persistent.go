package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// opFailed is an error of a step that a kubelet names in its event.
type opFailed struct {
	op  string
	err error
}

func (e *opFailed) Error() string { return e.op + ": " + e.err.Error() }
func (e *opFailed) Unwrap() error { return e.err }

func opError(op string, err error) error { return &opFailed{op, err} }

// opProcess is the step in which a volume's claim is looked for.
const opProcess = "process"

// persistent prepares a volume that outlives the pod. It reports false for a volume
// whose content the agent makes.
//
// What was prepared is recorded before anything is mounted: TearDown, the containers
// and a restarted agent find it in the record, whatever becomes of the claim.
func (s *setup) persistent(ctx context.Context, v *corev1.Volume) (bool, error) {
	_, inline := inlineStorage(s.pod, v)
	if !inline && claimSource(s.pod, v) == nil {
		return false, nil
	}
	if !usageOf(s.pod, v.Name).used() {
		return true, nil // a kubelet prepares no volume that no container uses
	}
	uid := string(s.pod.UID)
	old, err := s.m.record(uid, v.Name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return true, err
	}
	if old.Done {
		there, err := old.present()
		if err != nil || there && !s.checkHost {
			if err == nil && old.Kind == kindCSI {
				err = s.refreshCSI(ctx, v, old)
			}
			return true, err // the containers have it already
		}
		old.Done = there // the machine was started anew
	}
	st, err := s.resolve(ctx, v)
	if err != nil {
		return true, err
	}
	r := newRecord(s.m.dir(s.pod, v), v.Name, st)
	if err := s.m.claimRecord(uid, &r, old); err != nil {
		return true, err
	}
	if err := s.prepare(ctx, st, &r); err != nil {
		return true, &Error{Volume: st.name, Err: err}
	}
	r.Done = true
	return true, s.m.writeRecord(uid, r)
}

// resolve finds what a volume is on, and checks that the pod may have it.
func (s *setup) resolve(ctx context.Context, v *corev1.Volume) (storage, error) {
	if st, ok := inlineStorage(s.pod, v); ok {
		return st, nil
	}
	src := claimSource(s.pod, v)
	failed := func(err error) error {
		return &Error{Volume: v.Name, Err: opError(opProcess, fmt.Errorf("error processing PVC %s/%s: %w", s.pod.Namespace, src.ClaimName, err))}
	}
	if s.m.cfg.Claims == nil {
		return storage{}, failed(errors.New("this node has no API server that knows claims: use a hostPath volume"))
	}
	claim, err := s.m.cfg.Claims.PersistentVolumeClaim(ctx, s.pod.Namespace, src.ClaimName)
	if missing(err) {
		err = fmt.Errorf("persistentvolumeclaims %q not found", src.ClaimName)
	}
	if err != nil {
		return storage{}, failed(fmt.Errorf("failed to fetch PVC from API server: %w", err))
	}
	if err := checkClaim(s.pod, v, claim); err != nil {
		return storage{}, failed(err)
	}
	pv, err := s.m.cfg.Claims.PersistentVolume(ctx, claim.Spec.VolumeName)
	if missing(err) {
		err = fmt.Errorf("persistentvolumes %q not found", claim.Spec.VolumeName)
	}
	if err != nil {
		return storage{}, failed(fmt.Errorf("failed to fetch PV %s from API server: %w", claim.Spec.VolumeName, err))
	}
	if err := checkVolume(pv, claim, v.Name, usageOf(s.pod, v.Name)); err != nil {
		return storage{}, failed(err)
	}
	if err := checkNode(pv, s.m.nodeLabels(ctx)); err != nil {
		return storage{}, &Error{Volume: pv.Name, Err: opError("MountVolume.NodeAffinity check failed", err)}
	}
	st, err := storageOf(pv, src.ReadOnly)
	if st.csi != nil {
		st.csi.claim, st.csi.claimed = claim, claim.Status.Capacity.Storage().Value()
	}
	if err != nil {
		return st, &Error{Volume: pv.Name, Err: err}
	}
	return st, nil
}

// prepare brings the storage to the path of the record.
func (s *setup) prepare(ctx context.Context, st storage, r *record) error {
	switch st.kind {
	case kindHostPath:
		return hostPath(st.hostPath)
	case kindLocal:
		if st.block {
			return localDevice(st.path)
		}
		return s.local(ctx, st, r)
	case kindNFS:
		return s.m.nfs(ctx, st, r.Path)
	case kindCSI:
		return s.csi(ctx, st, r)
	}
	return fmt.Errorf("storage %q is not known", st.kind)
}

// checkLocalPath holds a path of a local volume to what a kubelet wants of it.
func checkLocalPath(path string) error {
	if !filepath.IsAbs(path) || slices.Contains(strings.Split(path, "/"), "..") {
		return fmt.Errorf("invalid path: %s must be absolute and must not contain '..'", path)
	}
	return nil
}

// localDevice checks the block device of a local volume.
func localDevice(path string) error {
	if err := checkLocalPath(path); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return opError("MapVolume.SetUpDevice failed", err)
	}
	if info.Mode()&fs.ModeDevice == 0 || info.Mode()&fs.ModeCharDevice != 0 {
		return opError("MapVolume.SetUpDevice failed", fmt.Errorf("%s is not a block device, as volumeMode Block needs", path))
	}
	return nil
}

// local binds the folder of a local volume into the pod's folder.
func (s *setup) local(ctx context.Context, st storage, r *record) error {
	if err := checkLocalPath(st.path); err != nil {
		return err
	}
	flags, err := bindFlags(st.options)
	if err != nil {
		return err
	}
	if st.readOnly {
		flags.readOnly()
	}
	_, mounts, err := mountsAt(r.Path)
	if err != nil {
		return err
	}
	if len(mounts) == 0 {
		if err := bindFolder(st.path, r.Path, flags); err != nil {
			return err
		}
	}
	if st.readOnly || s.group() == nil || r.Done {
		return nil
	}
	shared, err := s.m.usedElsewhere(string(s.pod.UID), *r)
	if err != nil || shared {
		return errors.Join(err, s.warnShared(st, r.Path))
	}
	return s.takeOwnership(ctx, r.Path)
}

// warnShared says that a volume which other pods use belongs to another group than
// this pod asks for. The group is set by the first pod only, as by a kubelet.
func (s *setup) warnShared(st storage, path string) error {
	gid, err := groupOf(path)
	if err != nil {
		return err
	}
	if want := *s.group(); gid != want {
		s.m.cfg.Event(s.pod, "AlreadyMountedVolume", fmt.Sprintf("The requested fsGroup is %d, but the volume %s has GID %d. The volume may not be shareable.", want, st.name, gid))
	}
	return nil
}

// bindFolder shows a folder of the host at target, once it is known to be one. A
// link in the path is followed, as mount(8) does.
func bindFolder(path, target string, flags mountFlags) error {
	f, err := os.OpenFile(path, openPlace, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return opError("MountVolume.NewMounter initialization failed", fmt.Errorf("path %q does not exist", path))
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	switch {
	case info.IsDir():
	case info.Mode()&fs.ModeDevice != 0 && info.Mode()&fs.ModeCharDevice == 0:
		return fmt.Errorf("%s is a block device: this node mounts no devices; mount it on the host and name the folder in the volume, or use volumeMode Block", path)
	default:
		return opError("MountVolume.NewMounter initialization failed", errors.New("only directory and block device are supported"))
	}
	if err := os.MkdirAll(target, 0o750); err != nil {
		return err
	}
	if err := mountFile(f, target); err != nil {
		return fmt.Errorf("bind %s: %w", path, err)
	}
	if err := shareMount(target, flags); err != nil {
		return errors.Join(fmt.Errorf("bind %s: %w", path, err), isolate(target), unmount(target))
	}
	return nil
}
