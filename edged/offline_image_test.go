package edged_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged"
)

// TestRegistryOutOfReach has a container whose pull policy is Always start again,
// after a restart of the agent too, while no registry answers; but only in a pod
// that could pull the image, and only if the registry really does not answer.
func TestRegistryOutOfReach(t *testing.T) {
	const img = "shop.example/app"
	secret := func(password string) *corev1.Secret {
		return &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "pull"}, Type: corev1.SecretTypeDockerConfigJson,
			Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{"shop.example":{"username":"u","password":"` + password + `"}}}`)},
		}
	}
	for _, tt := range []struct {
		name    string
		pulled  string // password of the pull; "" means none
		later   string // password of the pod that starts offline
		answers bool   // the registry answers, and refuses
		off     bool   // the setting
		starts  bool
	}{
		{"the same pod", "", "", false, false, true},
		{"with its credentials", "secret", "secret", false, false, true},
		{"with other credentials", "secret", "other", false, false, false},
		{"with none", "secret", "", false, false, false},
		{"an image for all", "", "secret", false, false, true},
		{"the registry refuses", "", "", true, false, false},
		{"turned off", "", "", false, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				c := busybox("serve")
				c.Image, c.ImagePullPolicy = img, corev1.PullAlways
				with := func(name, password string) *corev1.Pod {
					p := newPod(name, c)
					if password != "" {
						b.mu.Lock()
						b.secrets["default/pull"] = secret(password)
						b.mu.Unlock()
						p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "pull"}}
					}
					return p
				}
				if tt.off {
					b.edit = func(cfg *edged.Config) { cfg.OfflineImages = edged.Off }
				}
				first := with("first", tt.pulled)
				b.put(first)
				b.start()
				settle(2 * time.Second)
				if !b.isReady(first.UID) {
					t.Fatalf("%q", b.events)
				}
				b.stop()
				b.del(first, 0)
				b.rt.FailWith(func(call string) error {
					if strings.HasPrefix(call, "PullImage") {
						return errors.New("denied, or no such host")
					}
					return nil
				})
				b.away.Store(!tt.answers)
				second := with("second", tt.later)
				b.put(second)
				b.start()
				defer func() { b.stop() }()
				settle(time.Minute)
				b.mu.Lock()
				ready := b.isReady(second.UID)
				b.mu.Unlock()
				if ready != tt.starts || b.happened("RegistryOutOfReach") > 0 != tt.starts {
					t.Errorf("ready %t, want %t: %q", ready, tt.starts, b.events)
				}
			})
		})
	}
}
