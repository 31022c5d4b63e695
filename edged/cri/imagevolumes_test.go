package cri

import (
	"testing"

	"github.com/edgekit/edgekit/edged/runtime"
)

func TestMountsImages(t *testing.T) {
	for _, tt := range []struct {
		name, version string
		want          bool
	}{
		{"containerd", "1.7.27", false}, {"containerd", "v2.0.5", false}, {"containerd", "2.1.0-rc.1", true}, {"containerd", "v2.4.2", true},
		{"containerd", "3.0.0", true}, {"containerd", "unknown", true}, {"containerd", "", true}, {"containerd", "1.6.20~ds1", false},
		{"cri-o", "1.30.9", false}, {"cri-o", "1.31.0", true}, {"other", "0.1.0", true},
	} {
		if got := mountsImages(runtime.Version{Name: tt.name, Version: tt.version}); got != tt.want {
			t.Errorf("%s %s: %t", tt.name, tt.version, got)
		}
	}
}
