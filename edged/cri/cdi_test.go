package cri

import (
	"testing"

	"github.com/edgekit/edgekit/edged/runtime"
)

func TestLooksUpCDI(t *testing.T) {
	for _, tt := range []struct {
		name, version, config string
		want                  bool
	}{
		{"containerd", "v2.1.4", `{"enableCDI":true}`, true},
		{"containerd", "v2.1.4", `{"enableCDI":false}`, false},
		{"containerd", "1.7.27", `{"enableCDI":false}`, false},
		{"containerd", "1.7.27", `{"enableCDI":true}`, true},
		{"containerd", "2.0.0", `{}`, true},
		{"containerd", "1.6.20", `{"sandboxImage":"pause"}`, false},
		{"containerd", "1.6.20", `nonsense`, false},
		{"cri-o", "1.35.0", "", true},
		{"other", "", "", true},
	} {
		if got := looksUpCDI(runtime.Version{Name: tt.name, Version: tt.version}, map[string]string{"config": tt.config}); got != tt.want {
			t.Errorf("%+v: %t", tt, got)
		}
	}
}
