package nodereset

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/edgekit/edgekit/cmd/internal/nodejoin"
	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/hub/join"
)

// Runtime is what is asked of a container runtime.
type Runtime interface {
	ListSandboxes(ctx context.Context, podUID string) ([]runtime.Sandbox, error)
	StopSandbox(ctx context.Context, id string) error
	RemoveSandbox(ctx context.Context, id string) error
}

// Cgroups removes the groups of pods. Names are paths below the root of a hierarchy.
type Cgroups interface {
	Find(uid string) []string                     // the groups of a pod that are there
	Remove(ctx context.Context, uid string) error // all groups of a pod
}

// Config says what is reset. DataDir is required.
type Config struct {
	DataDir string
	Node    string // "" means that of the identity; without either no containers are removed
	// Service is removed first; nil where there is none.
	Service *Service
	Runtime Runtime // nil where it does not answer: containers are not removed
	Cgroups Cgroups // nil removes none
	// Revoke revokes the node's certificate in the cloud. nil where that cannot be done.
	Revoke       func(ctx context.Context) error
	KeepData     bool // keep what is in the data folder, but for the identity
	KeepIdentity bool // keep the identity, and revoke nothing

	Root    string                   // where the machine's file system is; "" means /
	LogDir  string                   // of pods; "" means /var/log/pods
	Mounts  func() ([]string, error) // the machine's mount points, in the order in which they were made
	Unmount func(path string) error
}

// Service is the node's service.
type Service struct {
	Name   string
	Unit   string // the unit's file if it is to be removed; "" otherwise
	Remove func(ctx context.Context) error
}

// Item is one thing that is removed.
type Item struct {
	Kind string `json:"kind"` // "service", "pod", "cgroup", "mount", "network", "log", "data", "certificate", "identity"
	Name string `json:"name"`
	Note string `json:"note,omitempty"`

	remove func(ctx context.Context) error
}

// Plan is what a reset removes, in order.
type Plan struct {
	cfg   Config
	items []Item
	data  string // the data folder without links
}

// New looks what is there. It changes nothing.
func New(ctx context.Context, cfg Config) (*Plan, error) {
	if cfg.LogDir == "" {
		cfg.LogDir = "/var/log/pods"
	}
	if !filepath.IsAbs(cfg.DataDir) {
		return nil, fmt.Errorf("nodereset: Config.DataDir %q is not an absolute path", cfg.DataDir)
	}
	p := &Plan{cfg: cfg}
	if err := p.findData(); err != nil {
		return nil, err
	}
	if cfg.Node == "" && p.data != "" {
		if s, err := nodejoin.Load(p.data); err == nil {
			p.cfg.Node = s.Credentials.Node
		}
	}
	if s := cfg.Service; s != nil {
		p.add(Item{Kind: "service", Name: s.Name, Note: joinNotes("stopped and disabled", s.Unit), remove: s.Remove})
	}
	pods, err := p.addPods(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.addMounts(); err != nil {
		return nil, err
	}
	p.addNetworks(pods)
	p.addLogs(pods)
	return p, p.addData()
}

func joinNotes(notes ...string) string {
	return strings.Join(slices.DeleteFunc(notes, func(s string) bool { return s == "" }), ", ")
}

// Node is the name of the node; "" if it is not known.
func (p *Plan) Node() string { return p.cfg.Node }

// Items lists what Run removes.
func (p *Plan) Items() []Item { return slices.Clone(p.items) }

func (p *Plan) add(i Item) { p.items = append(p.items, i) }

// path is where the machine's file is.
func (p *Plan) path(name string) string {
	if p.cfg.Root == "" {
		return name
	}
	return filepath.Join(p.cfg.Root, name)
}

// findData finds the data folder, and refuses one that is none of edgecore's.
func (p *Plan) findData() error {
	resolved, err := filepath.EvalSymlinks(p.cfg.DataDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("nodereset: %w", err)
	}
	entries, err := os.ReadDir(resolved)
	if err != nil {
		return fmt.Errorf("nodereset: %w", err)
	}
	if len(entries) > 0 && !isData(resolved) || resolved == "/" {
		return fmt.Errorf("nodereset: %s is no data folder of edgecore, which has an identity, a store or a boot record of edgekit: name the right one with --data-dir", p.cfg.DataDir)
	}
	p.data = resolved
	return nil
}

// pod is a pod of the node.
type pod struct{ uid, sandbox string }

// addPods adds the containers and cgroups of the node's pods.
func (p *Plan) addPods(ctx context.Context) ([]pod, error) {
	var pods []pod
	if p.cfg.Runtime != nil && p.cfg.Node != "" {
		all, err := p.cfg.Runtime.ListSandboxes(ctx, "")
		if err != nil {
			return nil, fmt.Errorf("nodereset: list the pods: %w", err)
		}
		for _, s := range all {
			if s.Annotations[runtime.AnnotationNode] != p.cfg.Node {
				continue // another agent's
			}
			pods = append(pods, pod{s.PodUID, s.ID})
			p.add(Item{Kind: "pod", Name: s.Namespace + "/" + s.Name, Note: "its containers and sandbox " + s.ID, remove: func(ctx context.Context) error {
				return errors.Join(p.cfg.Runtime.StopSandbox(ctx, s.ID), p.cfg.Runtime.RemoveSandbox(ctx, s.ID))
			}})
		}
	}
	for _, uid := range p.storedPods() {
		if !slices.ContainsFunc(pods, func(have pod) bool { return have.uid == uid }) {
			pods = append(pods, pod{uid: uid})
		}
	}
	if p.cfg.Cgroups == nil {
		return pods, nil
	}
	seen := make(map[string]bool)
	for _, one := range pods {
		groups := p.cfg.Cgroups.Find(one.uid)
		if seen[one.uid] || len(groups) == 0 {
			continue
		}
		seen[one.uid] = true
		p.add(Item{Kind: "cgroup", Name: strings.Join(groups, ", "), remove: func(ctx context.Context) error { return p.cfg.Cgroups.Remove(ctx, one.uid) }})
	}
	return pods, nil
}

// storedPods are the uids of pods that have a folder of volumes.
func (p *Plan) storedPods() []string {
	if p.data == "" {
		return nil
	}
	entries, _ := os.ReadDir(filepath.Join(p.data, "pods", "pods")) // without any there are none
	var uids []string
	for _, d := range entries {
		if d.IsDir() {
			uids = append(uids, d.Name())
		}
	}
	return uids
}

// addMounts adds what is mounted below the data folder, the deepest first.
func (p *Plan) addMounts() error {
	below, err := p.mountsBelow(p.data)
	if err != nil {
		return err
	}
	for _, path := range slices.Backward(below) {
		p.add(Item{Kind: "mount", Name: path, Note: "unmounted; what it shows is not touched", remove: func(context.Context) error {
			now, err := p.mountsBelow(p.data)
			if err != nil || !slices.Contains(now, path) {
				return err // it went with its pod
			}
			return p.cfg.Unmount(path)
		}})
	}
	return nil
}

// mountsBelow lists the mount points below dir, but not dir itself.
func (p *Plan) mountsBelow(dir string) ([]string, error) {
	if dir == "" || p.cfg.Mounts == nil {
		return nil, nil
	}
	all, err := p.cfg.Mounts()
	if err != nil {
		return nil, fmt.Errorf("nodereset: list what is mounted: %w", err)
	}
	return slices.DeleteFunc(all, func(m string) bool { return !strings.HasPrefix(m, dir+"/") }), nil
}

// addData adds the entries of the data folder, the certificate, and last the identity.
func (p *Plan) addData() error {
	if p.data == "" {
		return nil
	}
	entries, err := os.ReadDir(p.data)
	if err != nil {
		return fmt.Errorf("nodereset: %w", err)
	}
	identity := false
	for _, d := range entries {
		switch {
		case d.Name() == nodejoin.IdentityDir:
			identity = true
		case !p.cfg.KeepData:
			p.add(p.dataItem("data", d))
		}
	}
	if !identity || p.cfg.KeepIdentity {
		return nil
	}
	if _, err := os.Stat(filepath.Join(p.data, nodejoin.IdentityDir, join.File)); err == nil && p.cfg.Revoke != nil {
		p.add(Item{Kind: "certificate", Name: p.cfg.Node, Note: "revoked in the cloud", remove: p.cfg.Revoke})
	}
	for _, d := range entries {
		if d.Name() == nodejoin.IdentityDir {
			p.add(p.dataItem("identity", d))
		}
	}
	return nil
}

// dataItem is an entry of the data folder.
func (p *Plan) dataItem(kind string, d os.DirEntry) Item {
	note := ""
	switch {
	case d.Type()&os.ModeSymlink != 0:
		note = "the link alone"
	case d.IsDir():
		note = "with all below it"
	}
	name := filepath.Join(p.data, d.Name())
	return Item{Kind: kind, Name: name, Note: note, remove: func(context.Context) error {
		below, err := p.mountsBelow(name)
		if err != nil {
			return err
		}
		if all, merr := p.mountsBelow(p.data); merr == nil && slices.Contains(all, name) {
			below = append(below, name)
		}
		if len(below) > 0 {
			return fmt.Errorf("%s is still mounted: unmount it, and run the reset again", strings.Join(below, ", "))
		}
		root, err := os.OpenRoot(p.data)
		if err != nil {
			return err
		}
		defer root.Close()
		return root.RemoveAll(d.Name())
	}}
}
