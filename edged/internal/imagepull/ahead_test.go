package imagepull

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/runtimetest"
)

// TestPullAhead pulls an image before any pod names it: with the secrets that it is given, once,
// and without making it an image for everybody.
func TestPullAhead(t *testing.T) {
	rt := &registryOf{Runtime: runtimetest.New(), user: "job"}
	p := newPuller(t, rt.Runtime)
	p.cfg.Images = rt
	secret, err := (&secretOf{user: "job"}).Secret(t.Context(), "plant", "pull")
	if err != nil {
		t.Fatal(err)
	}
	good := []*corev1.Secret{secret}
	if _, err := p.PullAhead(t.Context(), imageName, nil); err == nil || !strings.Contains(err.Error(), "denied") {
		t.Errorf("without credentials: %v", err)
	}
	rt.tried()
	for _, want := range [][]string{{"job"}, nil} {
		img, err := p.PullAhead(t.Context(), imageName, good)
		if err != nil || img.ID == "" || !slices.Equal(rt.tried(), want) {
			t.Errorf("%q, %v, want the pulls %q", img.ID, err, want)
		}
	}
	// A pod without the secret does not get it, one with the secret does without a pull.
	p.cfg.Secrets = &secretOf{user: "job"}
	want := Request{Pod: withSecret(), Container: "a", Key: "a", Image: imageName, Policy: corev1.PullIfNotPresent, BackOffs: &BackOffs{}}
	if _, fail := p.Ensure(t.Context(), want); fail != nil || len(rt.tried()) > 0 {
		t.Errorf("a pod with the secret: %+v", fail)
	}
	want.Pod, want.BackOffs = want.Pod.DeepCopy(), &BackOffs{}
	want.Pod.Spec.ImagePullSecrets = nil
	if _, fail := p.Ensure(t.Context(), want); fail == nil || fail.Reason != "ErrImagePull" {
		t.Errorf("a pod without it: %+v", fail)
	}
	rt.tried()
	// One that somebody brought stays as it is; latest is pulled each time.
	rt.AddImage("registry.example.com/brought:1")
	if _, err := p.PullAhead(t.Context(), "registry.example.com/brought:1", nil); err != nil || len(rt.tried()) > 0 {
		t.Errorf("an image that was brought: %v", err)
	}
	for range 2 {
		if _, err := p.PullAhead(t.Context(), "registry.example.com/app", good); err != nil || len(rt.tried()) != 1 {
			t.Errorf("latest: %v", err)
		}
	}
	if _, err := p.PullAhead(t.Context(), "A Bad Name", nil); err == nil || !strings.Contains(err.Error(), "is no image") {
		t.Errorf("a bad name: %v", err)
	}
}
