package nodereset

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/cmd/internal/nodejoin"
	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/runtimetest"
	"github.com/edgekit/edgekit/hub/join"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a machine with a node of two pods, and much that is not the node's.
type node struct {
	t       *testing.T
	root    string
	cfg     Config
	rt      *runtimetest.Runtime
	mounts  []string
	groups  map[string]bool // by the pod's uid
	calls   []string
	outside string // a file that a link in the data folder leads to
	sandbox string // of the pod plant/web
}

const uid, otherUID = "5b0d31a0-9d2b-4f5e-8e15-000000000001", "5b0d31a0-9d2b-4f5e-8e15-000000000002"

func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{t: t, root: t.TempDir(), rt: runtimetest.New(), groups: map[string]bool{uid: true, otherUID: true}}
	data := filepath.Join(n.root, "data")
	n.outside = filepath.Join(n.root, "outside")
	n.sandbox = n.addSandbox("web", uid, "edge-1")
	other := n.addSandbox("other", otherUID, "edge-2")
	n.write("outside/precious", "x")
	for name, text := range map[string]string{
		"data/meta/000001.vlog": "x", "data/meta.key": "x", "data/api/ca.pem": "x", "data/pods/pods/" + uid + "/volumes/x": "x",
		"root/var/lib/cni/networks/edge/10.88.0.2": n.sandbox + "\neth0", "root/var/lib/cni/networks/edge/10.88.0.3": other + "\neth0",
		"root/var/lib/cni/results/edge-" + n.sandbox + "-eth0": "{}", "root/var/lib/cni/results/edge-" + other + "-eth0": "{}",
		"root/var/log/pods/plant_web_" + uid + "/c/0.log": "x", "root/var/log/pods/plant_other_" + otherUID + "/c/0.log": "x",
	} {
		n.write(name, text)
	}
	n.link(n.outside, "data/meta/link")
	n.link(n.outside, "data/away")
	n.link("/var/log/pods/plant_web_"+uid+"/c/0.log", "root/var/log/containers/web.log")
	n.link("/var/log/pods/plant_other_"+otherUID+"/c/0.log", "root/var/log/containers/other.log")
	n.identity(filepath.Join(data, nodejoin.IdentityDir))
	n.mounts = []string{"/", data, filepath.Join(data, "pods/pods/"+uid+"/volumes/nfs"), filepath.Join(data, "pods/pods/"+uid+"/volumes/nfs/deep"), data + "-other/x"}
	n.cfg = Config{
		DataDir: data, Root: filepath.Join(n.root, "root"), Runtime: n.rt, Cgroups: n,
		Service: &Service{Name: "edgecore.service", Remove: func(context.Context) error { n.calls = append(n.calls, "service"); return nil }},
		Revoke:  func(context.Context) error { n.calls = append(n.calls, "revoke"); return nil },
		Mounts:  func() ([]string, error) { return slices.Clone(n.mounts), nil },
		Unmount: func(path string) error {
			n.calls = append(n.calls, "unmount "+filepath.Base(path))
			n.mounts = slices.DeleteFunc(n.mounts, func(m string) bool { return m == path })
			return nil
		},
	}
	return n
}

func (n *node) Find(uid string) []string {
	if n.groups[uid] {
		return []string{"/kubepods/pod" + uid}
	}
	return nil
}

func (n *node) Remove(_ context.Context, uid string) error {
	delete(n.groups, uid)
	return nil
}

func (n *node) write(name, text string) {
	n.t.Helper()
	path := filepath.Join(n.root, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) link(to, name string) {
	n.t.Helper()
	path := filepath.Join(n.root, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink(to, path)); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) has(name string) bool {
	_, err := os.Lstat(filepath.Join(n.root, name))
	return err == nil
}

func (n *node) addSandbox(name, uid, owner string) string {
	n.t.Helper()
	id, err := n.rt.RunSandbox(n.t.Context(), &runtime.SandboxConfig{
		Name: name, Namespace: "plant", UID: uid, Labels: map[string]string{runtime.LabelPodUID: uid}, Annotations: map[string]string{runtime.AnnotationNode: owner},
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return id
}

func (n *node) identity(dir string) {
	n.t.Helper()
	ca, err := join.NewCA("test", time.Now())
	if err != nil {
		n.t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		n.t.Fatal(err)
	}
	leaf, err := ca.IssueNode(key.Public(), "edge-1", time.Now(), time.Hour)
	if err != nil {
		n.t.Fatal(err)
	}
	c := join.Credentials{Node: "edge-1", Key: key, Leaf: leaf}
	c.Roots = append(c.Roots, ca.Certificate())
	if err := c.Save(dir); err != nil {
		n.t.Fatal(err)
	}
}

// reset plans and runs a reset, and returns the kinds of the items and the errors by them.
func (n *node) reset() (kinds []string, failed map[string]error, err error) {
	n.t.Helper()
	n.calls = nil
	p, err := New(n.t.Context(), n.cfg)
	if err != nil {
		return nil, nil, err
	}
	for _, i := range p.Items() {
		kinds = append(kinds, i.Kind)
	}
	failed = make(map[string]error)
	err = p.Run(n.t.Context(), func(i Item, err error) {
		if err != nil {
			failed[i.Kind] = err
		}
	})
	return kinds, failed, err
}

// TestReset removes all of the node and nothing else; a second time there is nothing.
func TestReset(t *testing.T) {
	n := newNode(t)
	p, err := New(t.Context(), n.cfg)
	if err != nil || p.Node() != "edge-1" {
		t.Fatal(p, err)
	}
	for _, i := range p.Items() {
		if i.Name == "" || strings.Contains(i.Name, "other") || strings.Contains(i.Name, otherUID) || strings.HasPrefix(i.Name, n.outside) {
			t.Errorf("%+v", i)
		}
	}
	kinds, failed, err := n.reset()
	if err != nil {
		t.Fatal(failed, err)
	}
	if got := strings.Join(slices.Compact(kinds), " "); got != "service pod cgroup mount network log data certificate identity" {
		t.Error(got)
	}
	if got := strings.Join(n.calls, ", "); got != "service, unmount deep, unmount nfs, revoke" {
		t.Error(got)
	}
	left, err := os.ReadDir(n.cfg.DataDir)
	if err != nil || len(left) != 0 {
		t.Error(left, err)
	}
	for _, name := range []string{"outside/precious", "root/var/log/pods/plant_other_" + otherUID + "/c/0.log", "root/var/log/containers/other.log", "root/var/lib/cni/networks/edge/10.88.0.3"} {
		if !n.has(name) {
			t.Error(name, "is gone")
		}
	}
	for _, name := range []string{"root/var/log/pods/plant_web_" + uid, "root/var/log/containers/web.log", "root/var/lib/cni/networks/edge/10.88.0.2", "root/var/lib/cni/results/edge-" + n.sandbox + "-eth0"} {
		if n.has(name) {
			t.Error(name, "is left")
		}
	}
	if all, err := n.rt.ListSandboxes(t.Context(), ""); err != nil || len(all) != 1 || n.groups[uid] || !n.groups[otherUID] || len(n.mounts) != 3 {
		t.Error(all, err, n.groups, n.mounts)
	}
	n.cfg.Service = nil
	if kinds, _, err := n.reset(); err != nil || len(kinds) != 0 {
		t.Error("the second reset:", kinds, err)
	}
}

// TestKeep: what is to be kept is neither listed nor removed.
func TestKeep(t *testing.T) {
	for name, tt := range map[string]struct {
		edit func(*Config)
		keep []string
		gone []string
	}{
		"data":     {func(c *Config) { c.KeepData = true }, []string{"data/meta.key", "data/meta/000001.vlog"}, []string{"data/identity"}},
		"identity": {func(c *Config) { c.KeepIdentity = true }, []string{"data/identity/identity.pem"}, []string{"data/meta", "data/away"}},
		"both":     {func(c *Config) { c.KeepData, c.KeepIdentity = true, true }, []string{"data/identity/identity.pem", "data/meta.key"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			tt.edit(&n.cfg)
			if _, failed, err := n.reset(); err != nil {
				t.Fatal(failed, err)
			}
			for _, name := range tt.keep {
				if !n.has(name) {
					t.Error(name, "is gone")
				}
			}
			for _, name := range tt.gone {
				if n.has(name) {
					t.Error(name, "is left")
				}
			}
			if n.cfg.KeepIdentity && slices.Contains(n.calls, "revoke") {
				t.Error("revoked")
			}
		})
	}
}

// TestLeft: what cannot be removed keeps what needs it, and the next reset goes on.
func TestLeft(t *testing.T) {
	fault := errors.New("boom")
	t.Run("a mount", func(t *testing.T) {
		n := newNode(t)
		unmount := n.cfg.Unmount
		n.cfg.Unmount = func(string) error { return fault }
		_, failed, err := n.reset()
		if !errors.Is(err, ErrLeft) || failed["mount"] == nil || failed["data"] == nil || failed["identity"] == nil || !n.has("data/pods/pods/"+uid) || n.has("data/meta") {
			t.Error(failed, err)
		}
		n.cfg.Unmount = unmount
		if _, failed, err := n.reset(); err != nil || n.has("data/identity") {
			t.Error(failed, err)
		}
	})
	t.Run("a pod", func(t *testing.T) {
		n := newNode(t)
		n.rt.FailWith(func(call string) error {
			if strings.HasPrefix(call, "RemoveSandbox") {
				return fault
			}
			return nil
		})
		_, failed, err := n.reset()
		if !errors.Is(err, ErrLeft) || failed["pod"] == nil || !n.has("data/meta.key") || !n.has("data/identity") {
			t.Error(failed, err)
		}
	})
	t.Run("the certificate", func(t *testing.T) {
		n := newNode(t)
		n.cfg.Revoke = func(context.Context) error { return fault }
		if _, failed, err := n.reset(); !errors.Is(err, ErrLeft) || len(failed) != 1 || n.has("data/identity") {
			t.Error(failed, err)
		}
	})
	t.Run("an entry that came later", func(t *testing.T) {
		n := newNode(t)
		p, err := New(t.Context(), n.cfg)
		if err != nil {
			t.Fatal(err)
		}
		n.write("data/later", "x")
		if err := p.Run(t.Context(), func(Item, error) {}); err != nil || !n.has("data/later") {
			t.Error("removed though it was not listed", err)
		}
	})
	t.Run("no runtime", func(t *testing.T) {
		n := newNode(t)
		n.rt.FailReadsWith(func(string) error { return fault })
		if _, _, err := n.reset(); !errors.Is(err, fault) {
			t.Error(err)
		}
	})
}

// TestRefused: a folder that is not edgecore's, and one that is not there.
func TestRefused(t *testing.T) {
	n := newNode(t)
	for dir, want := range map[string]string{"data": "absolute", n.outside: "no data folder", "/": "no data folder"} {
		n.cfg.DataDir = dir
		if _, _, err := n.reset(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", dir, err)
		}
	}
	n.cfg.DataDir = filepath.Join(n.root, "none")
	if kinds, _, err := n.reset(); err != nil || strings.Join(kinds, " ") != "service" {
		t.Error(kinds, err)
	}
	// The folder itself may be a link, as to a larger disk.
	n.link(filepath.Join(n.root, "data"), "linked")
	n.cfg.DataDir = filepath.Join(n.root, "linked")
	if _, failed, err := n.reset(); err != nil || n.has("data/meta") || !n.has("data") {
		t.Error(failed, err)
	}
}
