package volume

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/durable"
)

// record is what is kept of a volume that outlives its pod, in the pod's folder,
// from before it is mounted until it is unmounted.
type record struct {
	Volume   string `json:"volume"` // the pod's name for it
	Kind     string `json:"kind"`   // of the storage
	Name     string `json:"name"`   // of the persistent volume, or of an inline volume
	Path     string `json:"path"`   // on the host, for the containers
	ReadOnly bool   `json:"readOnly,omitempty"`
	Block    bool   `json:"block,omitempty"` // Path is a device
	// Exclusive says that no other pod may have the volume: ReadWriteOncePod.
	Exclusive bool   `json:"exclusive,omitempty"`
	GID       string `json:"gid,omitempty"`
	Done      bool   `json:"done,omitempty"` // it is all prepared
	// The rest is of a CSI driver's volume.
	Driver      string `json:"driver,omitempty"`
	Handle      string `json:"handle,omitempty"`
	Boot        string `json:"boot,omitempty"`        // of the machine: what a driver mounted ends with it
	Size        int64  `json:"size,omitempty"`        // to which it was expanded, in bytes
	Unpublished bool   `json:"unpublished,omitempty"` // the driver has it back
	Attach      bool   `json:"attach,omitempty"`      // the cloud attaches it to the node
}

// newRecord is the record of a volume that is about to be prepared. dir is where it
// is mounted, unless the storage is a path of the host.
func newRecord(dir, volume string, st storage) record {
	r := record{Volume: volume, Kind: st.kind, Name: st.name, Path: dir, ReadOnly: st.readOnly, Block: st.block, Exclusive: st.exclusive, GID: st.gid}
	switch {
	case st.kind == kindHostPath:
		r.Path = st.hostPath.Path
	case st.kind == kindLocal && st.block:
		r.Path = st.path
	case st.kind == kindCSI:
		// A kubelet's last part: the driver makes it.
		r.Path, r.Driver, r.Handle, r.Boot = filepath.Join(dir, "mount"), st.csi.driver, st.csi.handle, bootID()
	}
	return r
}

// present reports whether what a record says was mounted is there.
func (r *record) present() (bool, error) {
	if r.Kind == kindHostPath || r.Block && r.Kind == kindLocal {
		return true, nil // a path of the host
	}
	if r.Kind == kindCSI {
		return r.Boot == bootID(), nil // a driver may show a volume without a mount
	}
	_, mounts, err := mountsAt(r.Path)
	return len(mounts) > 0, err
}

// Info is how a volume of a pod is given to its containers.
type Info struct {
	Path     string // on the host
	ReadOnly bool   // no container may write to it
	Device   bool   // it is a block device
	Relabel  bool   // its files are the pod's: the runtime may give them the pod's SELinux label
}

// Lookup says how a volume of a pod that was set up is given to containers.
func (m *Manager) Lookup(pod *corev1.Pod, name string) (Info, error) {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.Name != name {
			continue
		}
		if _, inline := inlineStorage(pod, v); inline || claimSource(pod, v) != nil {
			r, err := m.record(string(pod.UID), name)
			if errors.Is(err, fs.ErrNotExist) || err == nil && !r.Done {
				return Info{}, fmt.Errorf("volume: volume %q of the pod is not set up", name)
			}
			return Info{Path: r.Path, ReadOnly: r.ReadOnly, Device: r.Block, Relabel: (r.Kind == kindLocal || r.Kind == kindCSI) && !r.ReadOnly && !r.Block}, err
		}
		own := v.EmptyDir != nil
		content := v.ConfigMap != nil || v.Secret != nil || v.DownwardAPI != nil || v.Projected != nil
		if v.HostPath != nil {
			return Info{Path: v.HostPath.Path}, nil
		}
		return Info{Path: m.dir(pod, v), ReadOnly: content, Relabel: own || content}, nil
	}
	return Info{}, fmt.Errorf("volume: pod has no volume %q", name)
}

// Groups are the groups that a pod's containers need to write to its volumes, which
// the volumes name in an annotation.
func (m *Manager) Groups(uid string) []string {
	records, err := m.records(uid)
	if err != nil {
		m.cfg.Logger.Warn("cannot read which groups a pod's volumes need", "uid", uid, "err", err)
	}
	var out []string
	for _, r := range records {
		if r.GID != "" {
			out = append(out, r.GID)
		}
	}
	return out
}

// recordDir is the folder of a pod's records.
func (m *Manager) recordDir(uid string) string { return filepath.Join(m.PodDir(uid), "volume-records") }

func (m *Manager) record(uid, volume string) (record, error) {
	var r record
	data, err := os.ReadFile(filepath.Join(m.recordDir(uid), volume+".json"))
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(data, &r); err != nil || r.Volume != volume {
		return record{}, fs.ErrNotExist // a write that was cut off: nothing was mounted yet
	}
	return r, nil
}

// records lists the records of a pod; those that can be read, with an error.
func (m *Manager) records(uid string) ([]record, error) {
	entries, err := os.ReadDir(m.recordDir(uid))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out []record
	errs := []error{err}
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".json" {
			continue
		}
		r, err := m.record(uid, e.Name()[:len(e.Name())-len(".json")])
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		errs = append(errs, err)
		if err == nil {
			out = append(out, r)
		}
	}
	return out, errors.Join(errs...)
}

// writeRecord replaces a record as a whole.
func (m *Manager) writeRecord(uid string, r record) error {
	dir := m.recordDir(uid)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	return writeJSON(filepath.Join(dir, r.Volume+".json"), r)
}

// writeJSON replaces a file as a whole. It is on the disk before anything is mounted by
// it: after a power cut it says what a server or a driver still has for the pod.
func writeJSON(path string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return durable.WriteFile(path, data)
}

// claimRecord records a volume as the pod's, unless another pod has it that shares it
// with nobody. old is what the pod recorded of it before.
func (m *Manager) claimRecord(uid string, r *record, old record) error {
	m.claiming.Lock()
	defer m.claiming.Unlock()
	if r.Exclusive {
		others, err := m.others(uid, *r)
		if err != nil {
			return err
		}
		if len(others) > 0 { // pkg/volume/util/operationexecutor: enforced besides by the scheduler
			return &Error{Volume: r.Name, Err: errors.New("volume uses the ReadWriteOncePod access mode and is already in use by another pod")}
		}
	}
	r.Done, r.Size, r.Attach = old.Done, old.Size, old.Attach
	if *r == old {
		return nil
	}
	r.Done = false
	return m.writeRecord(uid, *r)
}

// others lists the records that other pods of the node have of the same persistent
// volume.
func (m *Manager) others(uid string, r record) ([]record, error) {
	pods, err := m.Pods()
	if err != nil {
		return nil, err
	}
	var out []record
	for _, other := range pods {
		if other == uid {
			continue
		}
		records, err := m.records(other)
		if err != nil {
			return nil, err
		}
		for _, o := range records {
			if o.Kind == r.Kind && o.Driver == r.Driver && o.Handle == r.Handle && (o.Name == r.Name || r.Handle != "") && !o.Unpublished {
				out = append(out, o)
			}
		}
	}
	return out, nil
}

// usedElsewhere reports whether another pod has the volume whole: its group is set.
func (m *Manager) usedElsewhere(uid string, r record) (bool, error) {
	others, err := m.others(uid, r)
	for _, o := range others {
		if o.Done {
			return true, err
		}
	}
	return false, err
}
