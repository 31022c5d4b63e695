package edged_test

import (
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/runtime"
)

// TestSeccompDefault: a container without a profile runs unconfined, or with
// RuntimeDefault if SeccompDefault is set; one with a profile has that.
func TestSeccompDefault(t *testing.T) {
	unconfined := &corev1.SecurityContext{SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}}
	for _, tt := range []struct {
		name    string
		on      bool
		context *corev1.SecurityContext
		want    runtime.Profile
	}{
		{"off", false, nil, runtime.Profile{Unconfined: true}},
		{"on", true, nil, runtime.Profile{RuntimeDefault: true}},
		{"on, and another one named", true, unconfined, runtime.Profile{Unconfined: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.edit = func(cfg *edged.Config) { cfg.SeccompDefault = tt.on }
				c := busybox("serve")
				c.SecurityContext = tt.context
				pod := newPod("p", c)
				b.put(pod)
				b.start()
				defer func() { b.stop() }()
				settle(2 * time.Second)
				all := b.rt.Configs()
				if len(all) != 1 || *all[0].Security.Seccomp != tt.want {
					t.Errorf("%d containers: %+v", len(all), all)
				}
			})
		})
	}
}
