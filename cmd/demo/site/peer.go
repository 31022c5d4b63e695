package site

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/edgekit/edgekit/cmd/cluster/process"
)

// StartKubelet starts the stock kubelet in edgecore's place, as the node
// KubeletNode. It talks to the API server itself, through api. It must
// have been built: BuildExtra.
func (s *Site) StartKubelet(api *APIProxy) (process.Record, error) {
	dir := s.DataDir("kubelet")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return process.Record{}, fmt.Errorf("site: %w", err)
	}
	if err := s.makePeerFolders(); err != nil {
		return process.Record{}, err
	}
	config := filepath.Join(dir, "kubelet.yaml")
	if err := os.WriteFile(config, []byte(s.kubeletConfig(dir)), 0o600); err != nil {
		return process.Record{}, fmt.Errorf("site: %w", err)
	}
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := api.kubeconfig(s.Kubeconfig(), kubeconfig); err != nil {
		return process.Record{}, err
	}
	r, err := s.Start(process.Spec{Name: "kubelet", Path: s.Built("kubelet"), NetNS: s.Network().File, Args: []string{
		"--config=" + config, "--kubeconfig=" + kubeconfig, "--hostname-override=" + s.KubeletNode(), "--node-ip=" + s.KubeletNode(),
		"--root-dir=" + filepath.Join(dir, "root"), "--cert-dir=" + filepath.Join(dir, "pki"),
	}})
	if err != nil {
		return r, fmt.Errorf("site: %w", err)
	}
	return r, nil
}

// KubeletNode is the name of the kubelet's node: its address, since the API
// server dials a kubelet by its node's name.
func (s *Site) KubeletNode() string { return s.Network().Node().String() }

// peerState is where the kubelet puts sockets, whatever its flags say.
const peerState = "/var/lib/kubelet"

// makePeerFolders makes the kubelet's cgroup root, which it wants to find in
// every hierarchy, and notes whether peerState is ours to remove.
func (s *Site) makePeerFolders() error {
	const mount = "/sys/fs/cgroup"
	hierarchies := []string{mount}
	if _, err := os.Stat(filepath.Join(mount, "cgroup.controllers")); err != nil { // not cgroup v2
		if hierarchies, err = filepath.Glob(filepath.Join(mount, "*")); err != nil {
			return fmt.Errorf("site: %w", err)
		}
	}
	for _, h := range hierarchies {
		if err := os.MkdirAll(filepath.Join(h, s.CgroupRoot()), 0o755); err != nil {
			return fmt.Errorf("site: %w", err)
		}
	}
	if os.Mkdir(peerState, 0o755) == nil {
		return os.WriteFile(s.peerNote(), nil, 0o600)
	}
	return nil
}

func (s *Site) peerNote() string { return filepath.Join(s.Dir(), "made-var-lib-kubelet") }

// StopKubelet ends the kubelet and removes what it made outside of the
// cluster's folder.
func (s *Site) StopKubelet(ctx context.Context) error {
	if err := s.Processes().Stop(ctx, "kubelet", 10*time.Second); err != nil {
		return fmt.Errorf("site: %w", err)
	}
	if os.Remove(s.peerNote()) == nil {
		if err := os.RemoveAll(peerState); err != nil {
			return fmt.Errorf("site: %w", err)
		}
	}
	return nil
}

func (s *Site) kubeletConfig(dir string) string {
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: %s
port: 10250
readOnlyPort: 0
healthzPort: 0
containerRuntimeEndpoint: %s
cgroupDriver: cgroupfs
cgroupRoot: %s
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: [none]
podLogsDir: %s
evictionHard: {}
makeIPTablesUtilChains: false
authentication: {anonymous: {enabled: false}, webhook: {enabled: false}, x509: {clientCAFile: %s}}
authorization: {mode: AlwaysAllow}
`, s.KubeletNode(), s.RuntimeEndpoint(), s.CgroupRoot(), filepath.Join(dir, "logs"), filepath.Join(s.Dir(), "pki", "ca.crt"))
}
