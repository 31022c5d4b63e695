package devcluster

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/edgekit/edgekit/cmd/cluster/gobuild"
)

const (
	kubernetesModule = "k8s.io/kubernetes"
	etcdModule       = "go.etcd.io/etcd/server/v3"
	containerdModule = "github.com/containerd/containerd/v2"
)

// program is something to build in a folder whose go.mod pins a module's
// version, and with it those of everything else there.
type program struct {
	folder, module string
	pkg            string // import path, or "." for the folder's own
	name           string // of the file; empty is the last part of pkg
	test           bool   // build the package's tests
}

// programs are what a cluster is made of.
var programs = []program{
	{folder: "etcd", module: etcdModule, pkg: etcdModule, name: "etcd"},
	{folder: "kube", module: kubernetesModule, pkg: kubernetesModule + "/cmd/kube-apiserver"},
	{folder: "kube", module: kubernetesModule, pkg: kubernetesModule + "/cmd/kubectl"},
	{folder: "kube", module: kubernetesModule, pkg: kubernetesModule + "/cmd/kube-controller-manager"},
	{folder: "kube", module: kubernetesModule, pkg: kubernetesModule + "/cmd/kube-scheduler"},
	{folder: "containerd", module: containerdModule, pkg: containerdModule + "/cmd/containerd"},
	{folder: "containerd", module: containerdModule, pkg: containerdModule + "/cmd/containerd-shim-runc-v2"},
	{folder: "containerd", module: containerdModule, pkg: containerdModule + "/cmd/ctr"},
}

// planeOnly are not needed with a control plane of somebody else's.
var planeOnly = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"}

// extras are what the cluster itself does not use: see BuildExtra.
var extras = []program{
	{folder: "kube", module: kubernetesModule, pkg: kubernetesModule + "/cmd/kubelet"},
	{folder: "kube", module: kubernetesModule, pkg: kubernetesModule + "/cmd/kube-proxy"},
	{folder: "kube", module: kubernetesModule, pkg: kubernetesModule + "/test/e2e", name: "e2e.test", test: true},
	{folder: "kube", module: kubernetesModule, pkg: kubernetesModule + "/test/images/agnhost"},
	{folder: "kube", module: kubernetesModule, pkg: kubernetesModule + "/test/images/nonewprivs", name: "nnp"},
	{folder: "kube", module: kubernetesModule, pkg: "github.com/onsi/ginkgo/v2/ginkgo"},
	{folder: "kube", module: kubernetesModule, pkg: kubernetesModule + "/test/e2e/dra/test-driver", name: "dra-test-driver"},
	{folder: "coredns", module: "github.com/coredns/coredns", pkg: ".", name: "coredns"},
	{folder: "local-path-provisioner", module: "github.com/rancher/local-path-provisioner", pkg: "github.com/rancher/local-path-provisioner"},
	{folder: "node-exporter", module: "github.com/prometheus/node_exporter", pkg: "github.com/prometheus/node_exporter"},
	{folder: "metrics-server", module: "sigs.k8s.io/metrics-server", pkg: "sigs.k8s.io/metrics-server/cmd/metrics-server"},
}

// file is the name of the program's file.
func (p program) file() string {
	if p.name != "" {
		return p.name
	}
	return path.Base(p.pkg)
}

// build makes the programs that are not in the cache yet.
func (c *Cluster) build(ctx context.Context) error {
	for _, p := range programs {
		if c.External() && slices.Contains(planeOnly, p.file()) {
			continue
		}
		if err := c.buildOne(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// BuildExtra builds programs of the cluster's versions that the cluster itself
// does not use: kubelet, kube-proxy, coredns,
// metrics-server, local-path-provisioner, node_exporter, and for Kubernetes'
// own tests e2e.test, ginkgo, agnhost, nnp and dra-test-driver. Up comes first.
func (c *Cluster) BuildExtra(ctx context.Context, names ...string) error {
	for _, name := range names {
		i := slices.IndexFunc(extras, func(p program) bool { return p.file() == name })
		if i < 0 {
			return fmt.Errorf("devcluster: there is no program %q to build", name)
		}
		if err := c.buildOne(ctx, extras[i]); err != nil {
			return err
		}
	}
	return nil
}

// Built is the file of a program that Up or BuildExtra has built.
func (c *Cluster) Built(name string) string { return c.state.Bin[name] }

func (c *Cluster) buildOne(ctx context.Context, p program) error {
	source, err := c.source()
	if err != nil {
		return err
	}
	dir := filepath.Join(source, p.folder)
	version, err := gobuild.Version(dir, p.module)
	if err != nil {
		return fmt.Errorf("devcluster: %w", err)
	}
	t := gobuild.Target{Module: dir, Package: p.pkg, Test: p.test, LDFlags: versionFlags(p.module, version),
		Output: filepath.Join(c.cfg.Cache, "bin", p.folder+"-"+version, p.file())}
	if _, err := os.Stat(t.Output); err == nil { // it is whole: a build puts it there by a rename
		c.state.Bin[p.file()] = t.Output
		return nil
	}
	unlock, err := lockFile(filepath.Join(c.cfg.Cache, "bin", "build.lock")) // one build at a time on the machine
	if err != nil {
		return err
	}
	defer unlock()
	if err := gobuild.Build(ctx, c.cfg.Out, t); err != nil {
		return fmt.Errorf("devcluster: %w", err)
	}
	c.state.Bin[p.file()] = t.Output
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
