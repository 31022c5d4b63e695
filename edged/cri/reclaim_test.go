package cri

import "testing"

func TestSandboxImageOf(t *testing.T) {
	for name, tt := range map[string]struct{ config, want string }{
		"containerd 1.6": {`{"containerd":{"snapshotter":"overlayfs"},"sandboxImage":"registry.k8s.io/pause:3.6","statsCollectPeriod":10}`, "registry.k8s.io/pause:3.6"},
		"containerd 2":   {`{"containerd":{"snapshotter":"overlayfs"}}`, ""},
		"another type":   {`{"sandboxImage":7}`, ""},
		"no JSON":        {`sandboxImage`, ""},
		"nothing":        {"", ""},
	} {
		if got := sandboxImageOf(map[string]string{"config": tt.config}); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}
