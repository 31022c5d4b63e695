// Package cgroup names and keeps the control groups that pods run in: that of all
// pods, one for each class of service that is not Guaranteed, and one for each pod.
// It works on cgroup v1 and v2, with groups that it makes itself (cgroupfs) and with
// slices that systemd makes.
//
//	groups := cgroup.New(cgroup.Config{Driver: "cgroupfs"})
//	parent := groups.Parent(corev1.PodQOSBurstable, uid) // "/kubepods/burstable/pod<uid>"
//	err := groups.SetUp(corev1.PodQOSBurstable, uid, cgroup.Limits{CPUShares: 512})
//	err = groups.Update(corev1.PodQOSBurstable, uid, cgroup.Limits{CPUShares: 1024})
//	...
//	err = groups.TearDown(corev1.PodQOSBurstable, uid) // again while it is ErrBusy
//
// Limits are set by github.com/opencontainers/cgroups, as runc and a kubelet set
// them; systemd is asked over D-Bus. The names are those of a kubelet, so that tools
// that know a node's cgroups find them.
package cgroup

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// driverSystemd is the Config.Driver with which systemd makes the groups.
const driverSystemd = "systemd"

// podsGroup is the group of all pods: the kubelet's node allocatable group.
const podsGroup = "kubepods"

// ErrUnsupported is returned where the machine has no control groups.
var ErrUnsupported = errors.New("cgroup: this machine has no control groups that can be set")

// Config sets up Groups. Every field may be left zero.
type Config struct {
	Driver string // "cgroupfs" or "systemd"; "" means cgroupfs
	Root   string // group that "kubepods" is made in; "" means the root group
	Mount  string // where the cgroup file systems are; "" means /sys/fs/cgroup. Limits are only set there.
	// Changed is called after a group was made ("create"), limited anew ("update") or removed
	// ("destroy"), with how long that took, failures included. nil ignores it.
	Changed func(what string, took time.Duration)
}

// Groups names and keeps pods' cgroups. It may be used by several goroutines.
type Groups struct {
	cfg  Config
	v2   bool
	stop func(group name) error // has systemd stop a slice; tests replace it
}

// Limits bound a group as a whole. A zero field is left as it is.
type Limits struct {
	CPUShares           int64 // relative weight, 1024 for one cpu, also with cgroup v2
	CPUQuota, CPUPeriod int64 // microseconds; a quota of -1 means none
	Memory              int64 // bytes; -1 means no limit
	Pids                int64 // processes and threads; -1 means no limit
	// HugePages bounds huge pages in bytes, by their size as the kernel writes it
	// ("2MB"). Sizes that a map leaves out are bounded to nothing; a nil map changes
	// nothing.
	HugePages map[string]uint64
	// Unified has contents of files of cgroup v2, by their names, for example
	// "memory.high". It counts for nothing with version 1.
	Unified map[string]string
}

// New makes Groups. It looks which version of cgroups the machine has.
func New(cfg Config) *Groups {
	if cfg.Driver == "" {
		cfg.Driver = "cgroupfs"
	}
	if cfg.Mount == "" {
		cfg.Mount = defaultMount
	}
	if cfg.Changed == nil {
		cfg.Changed = func(string, time.Duration) {}
	}
	g := &Groups{cfg: cfg, v2: unified(cfg.Mount)}
	g.stop = g.destroy
	return g
}

// defaultMount is where the cgroup file systems are on every machine with systemd.
const defaultMount = "/sys/fs/cgroup"

// V2 reports whether the machine has unified (version 2) cgroups.
func (g *Groups) V2() bool { return g.v2 }

// Limited reports whether SetUp limits a pod as a whole: with both drivers it does,
// where the machine has cgroups.
func (g *Groups) Limited() bool { return hasCgroups }

// name is the name of a group: its parts from the top down, in the words of
// cgroupfs.
type name []string

// root is the group that the pods' is made in.
func (g *Groups) root() name {
	return strings.FieldsFunc(g.cfg.Root, func(r rune) bool { return r == '/' })
}

// pods is the group of all pods.
func (g *Groups) pods() name { return append(g.root(), podsGroup) }

// tier is the group of the pods of a class of service. That of Guaranteed pods is
// the one of all pods.
func (g *Groups) tier(class corev1.PodQOSClass) name {
	switch class {
	case corev1.PodQOSBurstable:
		return append(g.pods(), "burstable")
	case corev1.PodQOSBestEffort:
		return append(g.pods(), "besteffort")
	}
	return g.pods()
}

// pod is the group of a pod.
func (g *Groups) pod(class corev1.PodQOSClass, uid string) name {
	return append(g.tier(class), "pod"+uid)
}

// slice is the name of a group as a slice of systemd's. A dash in a slice's name is
// a level of the tree (systemd.slice(5)), so that those in a part are written as
// underscores.
func (n name) slice() string {
	parts := make([]string, len(n))
	for i, part := range n {
		parts[i] = strings.ReplaceAll(part, "-", "_")
	}
	return strings.Join(parts, "-") + ".slice"
}

// path is the folder of a group below a hierarchy's mount.
func (g *Groups) path(n name) string {
	if g.cfg.Driver == driverSystemd {
		return slicePath(n.slice())
	}
	return filepath.Join(n...)
}

// Parent is the group of a pod in the form that the runtime wants it: its path, also
// with systemd. A runtime has systemd make the slice that is the path's last part, and
// reads what the pod uses below the whole path.
func (g *Groups) Parent(class corev1.PodQOSClass, uid string) string {
	return "/" + g.path(g.pod(class, uid))
}

// Top is the path of the group that all pods are in.
func (g *Groups) Top() string { return "/" + g.path(g.pods()) }

// existing is a group that somebody else made, by its name in the machine's
// configuration: "/system" or, with systemd, "system.slice" or "/system.slice".
func (g *Groups) existing(group string) (name, error) {
	if g.cfg.Driver == driverSystemd {
		base := strings.TrimSuffix(path.Base(group), ".slice")
		if base == "" || base == "/" || base == "." {
			return nil, fmt.Errorf("cgroup: %q is no slice: want for example system.slice", group)
		}
		return strings.Split(base, "-"), nil
	}
	n := name(strings.FieldsFunc(group, func(r rune) bool { return r == '/' }))
	if len(n) == 0 || !filepath.IsLocal(filepath.Join(n...)) {
		return nil, fmt.Errorf("cgroup: %q is no group below the root: want for example /system", group)
	}
	return n, nil
}

// SetUp makes the pod's group with those above it, and sets its limits.
func (g *Groups) SetUp(class corev1.PodQOSClass, uid string, l Limits) error {
	if err := checkUID(uid); err != nil {
		return err
	}
	defer g.measure("create")()
	return g.ensure(g.pod(class, uid), l)
}

// Update sets limits of a pod's group that SetUp made.
func (g *Groups) Update(class corev1.PodQOSClass, uid string, l Limits) error {
	if err := checkUID(uid); err != nil {
		return err
	}
	defer g.measure("update")()
	return g.set(g.pod(class, uid), l)
}

// SetUpNode makes the group of all pods and sets its limits.
func (g *Groups) SetUpNode(l Limits) error {
	defer g.measure("update")()
	return g.ensure(g.pods(), l)
}

// SetUpTier makes the group of the pods of a class, Burstable or BestEffort, and
// sets its limits.
func (g *Groups) SetUpTier(class corev1.PodQOSClass, l Limits) error {
	defer g.measure("update")()
	return g.ensure(g.tier(class), l)
}

// measure returns what must be called when a change is done.
func (g *Groups) measure(what string) func() {
	began := time.Now()
	return func() { g.cfg.Changed(what, time.Since(began)) }
}

// UpdateGroup sets limits of a group that somebody else made, such as that of the
// machine's own daemons. A group that does not exist is an error.
func (g *Groups) UpdateGroup(group string, l Limits) error {
	n, err := g.existing(group)
	if err != nil {
		return err
	}
	if missing := g.missing(n); missing != "" {
		return fmt.Errorf("cgroup: the group %s does not exist: %s is not there", group, missing)
	}
	return g.set(n, l)
}

// checkUID refuses what would lead out of the pods' groups.
func checkUID(uid string) error {
	if uid == "" || !filepath.IsLocal(uid) || filepath.Base(uid) != uid {
		return fmt.Errorf("cgroup: pod uid %q is no file name", uid)
	}
	return nil
}

// slicePath is the folder of a slice: each dash in its name is a level, see
// systemd.slice(5).
func slicePath(slice string) string {
	var parts []string
	whole := strings.TrimSuffix(slice, ".slice")
	for i, c := range whole {
		if c == '-' {
			parts = append(parts, whole[:i]+".slice")
		}
	}
	return filepath.Join(append(parts, slice)...)
}
