package devcluster

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/edgekit/edgekit/examples/cluster/gobuild"
)

const (
	kubernetesModule = "k8s.io/kubernetes"
	etcdModule       = "go.etcd.io/etcd/server/v3"
	containerdModule = "github.com/containerd/containerd/v2"
)

// programs are what a cluster is made of: a folder with a go.mod that pins
// the module, and the main packages in it.
var programs = []struct {
	folder, module string
	packages       []string // relative to module
}{
	{"etcd", etcdModule, []string{""}},
	{"kube", kubernetesModule, []string{"cmd/kube-apiserver", "cmd/kubectl", "cmd/kube-controller-manager", "cmd/kube-scheduler"}},
	{"containerd", containerdModule, []string{"cmd/containerd", "cmd/containerd-shim-runc-v2", "cmd/ctr"}},
}

// planeOnly are not needed with a control plane of somebody else's.
var planeOnly = []string{"", "cmd/kube-apiserver", "cmd/kube-controller-manager", "cmd/kube-scheduler"}

// build makes the programs that are not in the cache yet.
func (c *Cluster) build(ctx context.Context) error {
	source, err := c.source()
	if err != nil {
		return err
	}
	for _, p := range programs {
		for _, pkg := range p.packages {
			if c.External() && slices.Contains(planeOnly, pkg) {
				continue
			}
			if err := c.buildOne(ctx, filepath.Join(source, p.folder), p.module, pkg); err != nil {
				return err
			}
		}
	}
	return nil
}

// BuildKubelet builds the stock kubelet of the cluster's version, which the
// cluster itself does not use.
func (c *Cluster) BuildKubelet(ctx context.Context) error {
	source, err := c.source()
	if err != nil {
		return err
	}
	return c.buildOne(ctx, filepath.Join(source, "kube"), kubernetesModule, "cmd/kubelet")
}

// KubeletProgram is the file that BuildKubelet makes.
func (c *Cluster) KubeletProgram() string { return c.bin("kubelet") }

func (c *Cluster) buildOne(ctx context.Context, dir, module, pkg string) error {
	version, err := gobuild.Version(dir, module)
	if err != nil {
		return fmt.Errorf("devcluster: %w", err)
	}
	name := filepath.Base(pkg)
	if pkg == "" {
		name = filepath.Base(dir)
	}
	t := gobuild.Target{Module: dir, Package: strings.TrimSuffix(module+"/"+pkg, "/"),
		Output: filepath.Join(c.cfg.Cache, "bin", filepath.Base(dir)+"-"+version, name)}
	t.LDFlags = versionFlags(module, version)
	unlock, err := lockFile(filepath.Join(c.cfg.Cache, "bin", "build.lock")) // one build at a time on the machine
	if err != nil {
		return err
	}
	defer unlock()
	if err := gobuild.Build(ctx, c.cfg.Out, t); err != nil {
		return fmt.Errorf("devcluster: %w", err)
	}
	c.state.Bin[name] = t.Output
	return nil
}

// versionFlags stamp the version as the projects' own builds do, through the
// linker, where the source does not have it.
func versionFlags(module, version string) string {
	switch module {
	case containerdModule:
		return "-X " + containerdModule + "/version.Version=" + strings.TrimPrefix(version, "v")
	case kubernetesModule:
		const at = "k8s.io/component-base/version."
		major, rest, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
		minor, _, _ := strings.Cut(rest, ".")
		return fmt.Sprintf("-X %sgitVersion=%s -X %sgitMajor=%s -X %sgitMinor=%s", at, version, at, major, at, minor)
	default:
		return ""
	}
}

// bin is the file of a built program.
func (c *Cluster) bin(name string) string { return c.state.Bin[name] }
