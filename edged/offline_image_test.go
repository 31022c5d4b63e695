package edged_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged"
)

// pulling is a pod whose image has that name, with a password for its registry, or
// none.
func (b *bench) pulling(name, img, password string, policy corev1.PullPolicy) *corev1.Pod {
	c := busybox("serve")
	c.Image, c.ImagePullPolicy = img, policy
	p := newPod(name, c)
	if password == "" {
		return p
	}
	secret := "pull-" + password
	server, _, _ := strings.Cut(img, "/")
	b.mu.Lock()
	defer b.mu.Unlock()
	b.secrets["default/"+secret] = &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: secret}, Type: corev1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{"` + server + `":{"username":"u","password":"` + password + `"}}}`)},
	}
	p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: secret}}
	return p
}

// TestRegistryOutOfReach: a container with pull policy Always starts again while no
// registry answers, also after a restart of the agent. But only in a pod whose
// credentials pulled the image before, and only if the registry really does not answer.
func TestRegistryOutOfReach(t *testing.T) {
	const img = "shop.example/app"
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
				with := func(name, password string) *corev1.Pod { return b.pulling(name, img, password, corev1.PullAlways) }
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

// TestPrivateImage: a pod that does not pull, by its policy, may use an image on the node
// only if its credentials could pull it.
func TestPrivateImage(t *testing.T) {
	const img = "shop.example/app"
	const never, present = corev1.PullNever, corev1.PullIfNotPresent
	for _, tt := range []struct {
		name      string
		preloaded bool   // nobody pulled it
		pulled    string // password of the pull; "" means none
		later     string // password of the later pod
		policy    corev1.PullPolicy
		verify    edged.ImageVerification
		refuses   bool // the registry
		pulls     int  // of the later pod
		starts    bool
	}{
		{name: "its own credentials", pulled: "secret", later: "secret", policy: present, starts: true},
		{name: "its own credentials, never", pulled: "secret", later: "secret", policy: never, starts: true},
		{name: "others pull again", pulled: "secret", later: "other", policy: present, pulls: 1, starts: true},
		{name: "none pulls again", pulled: "secret", policy: present, pulls: 1, starts: true},
		{name: "others are refused", pulled: "secret", later: "other", policy: present, refuses: true, pulls: 1},
		{name: "none is refused", pulled: "secret", policy: present, refuses: true, pulls: 1},
		{name: "others, never", pulled: "secret", later: "other", policy: never},
		{name: "none, never", pulled: "secret", policy: never},
		{name: "an image for all", policy: never, starts: true},
		{name: "an image for all, with credentials", later: "secret", policy: never, starts: true},
		{name: "preloaded", preloaded: true, policy: never, starts: true},
		{name: "preloaded, verified", preloaded: true, policy: never, verify: edged.AlwaysVerify},
		{name: "preloaded, verified by a pull", preloaded: true, policy: present, verify: edged.AlwaysVerify, pulls: 1, starts: true},
		{name: "an image for all, verified", policy: never, verify: edged.AlwaysVerify, starts: true},
		{name: "turned off", pulled: "secret", policy: never, verify: edged.NeverVerify, starts: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.edit = func(cfg *edged.Config) { cfg.ImageVerification = tt.verify }
				if tt.preloaded {
					b.rt.AddImage(img + ":latest")
				} else {
					b.put(b.pulling("first", img, tt.pulled, corev1.PullAlways))
				}
				b.start()
				defer func() { b.stop() }()
				settle(2 * time.Second)
				b.stop()
				pulls := 0
				b.rt.FailWith(func(call string) error {
					if !strings.HasPrefix(call, "PullImage") {
						return nil
					}
					pulls++
					if tt.refuses {
						return errors.New("denied")
					}
					return nil
				})
				second := b.pulling("second", img, tt.later, tt.policy)
				b.put(second)
				b.start()
				settle(5 * time.Second)
				b.mu.Lock()
				ready := b.isReady(second.UID)
				b.mu.Unlock()
				if ready != tt.starts || pulls != tt.pulls {
					t.Errorf("ready %t, want %t; %d pulls, want %d: %q", ready, tt.starts, pulls, tt.pulls, b.events)
				}
				if refused := b.happened("ErrImageNeverPull") > 0; refused != (!tt.starts && tt.policy == never) {
					t.Errorf("%q", b.events)
				}
			})
		})
	}
}

// TestRecordsOfGoneImages: the records of an image are removed after the runtime has
// removed the image, and not before.
func TestRecordsOfGoneImages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		records := func() int {
			entries, err := os.ReadDir(filepath.Join(b.root, "root", "pulls"))
			if err != nil {
				t.Fatal(err)
			}
			return len(entries)
		}
		stays := b.pulling("stays", "shop.example/stays", "secret", corev1.PullIfNotPresent)
		goes := b.pulling("goes", "shop.example/goes", "secret", corev1.PullIfNotPresent)
		b.put(stays)
		b.put(goes)
		b.start()
		defer func() { b.stop() }()
		settle(time.Minute)
		if n := records(); n != 4 {
			t.Fatalf("%d records of two images", n)
		}
		b.del(goes, 0)
		settle(3 * time.Hour)
		if n := records(); n != 4 {
			t.Errorf("%d records while both images are on the node", n)
		}
		if err := b.rt.RemoveImage(t.Context(), "shop.example/goes:latest"); err != nil {
			t.Fatal(err)
		}
		settle(30 * time.Minute)
		if n := records(); n != 4 {
			t.Errorf("%d records soon after the image is gone", n)
		}
		settle(time.Hour)
		if n := records(); n != 2 {
			t.Errorf("%d records after the image is gone", n)
		}
	})
}
