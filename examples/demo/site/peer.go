package site

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/edgekit/edgekit/examples/cluster/process"
)

// StartKubelet starts the stock kubelet in edgecore's place. It talks to the
// API server itself, so it runs on the host. BuildKubelet comes first.
func (s *Site) StartKubelet(node string) (process.Record, error) {
	dir := s.DataDir(node)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return process.Record{}, fmt.Errorf("site: %w", err)
	}
	config := filepath.Join(dir, "kubelet.yaml")
	if err := os.WriteFile(config, []byte(s.kubeletConfig(dir)), 0o600); err != nil {
		return process.Record{}, fmt.Errorf("site: %w", err)
	}
	r, err := s.Start(process.Spec{Name: "kubelet", Path: s.KubeletProgram(), Args: []string{
		"--config=" + config, "--kubeconfig=" + s.Kubeconfig(), "--hostname-override=" + node,
		"--root-dir=" + filepath.Join(dir, "root"), "--cert-dir=" + filepath.Join(dir, "pki"),
	}})
	if err != nil {
		return r, fmt.Errorf("site: %w", err)
	}
	return r, nil
}

// StopKubelet ends the kubelet.
func (s *Site) StopKubelet(ctx context.Context) error {
	if err := s.Processes().Stop(ctx, "kubelet", 10*time.Second); err != nil {
		return fmt.Errorf("site: %w", err)
	}
	return nil
}

func (s *Site) kubeletConfig(dir string) string {
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 127.0.0.1
port: 0
readOnlyPort: 0
healthzPort: 0
containerRuntimeEndpoint: %s
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: [none]
podLogsDir: %s
evictionHard: {}
makeIPTablesUtilChains: false
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
`, s.RuntimeEndpoint(), filepath.Join(dir, "logs"))
}
