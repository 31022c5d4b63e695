package imagepull

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/image"
	"github.com/edgekit/edgekit/edged/internal/events"
	"github.com/edgekit/edgekit/edged/internal/podtest"
	"github.com/edgekit/edgekit/edged/internal/registry"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

// nothing has no secrets, and drops events.
type nothing struct{}

func (nothing) Secret(context.Context, string, string) (*corev1.Secret, error) {
	return nil, errors.New("no secret")
}
func (nothing) Event(context.Context, *corev1.Event) error { return nil }

func newPuller(t *testing.T, rt *runtimetest.Runtime) *Puller {
	dial := func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no network") }
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	return New(Config{
		Images: rt, Secrets: nothing{}, Events: events.New("node", nothing{}, log), Pulls: image.NewPulls(t.TempDir()), Registries: registry.New(dial),
		MaxPulls: 1, Pulled: func(uint64, time.Duration) {}, Settle: func(context.Context) error { return nil },
	})
}

// TestEnsure asks for images by each policy.
func TestEnsure(t *testing.T) {
	const name = "registry.example.com/app:1"
	for _, tt := range []struct {
		image, have string
		policy      corev1.PullPolicy
		fails       bool
		reason      string
		pulls       int
	}{
		{name, "", corev1.PullIfNotPresent, false, "", 1},
		{name, name, corev1.PullIfNotPresent, false, "", 0},
		{name, name, "", false, "", 0},
		{name, name, corev1.PullAlways, false, "", 1},
		{name, "", corev1.PullNever, false, "ErrImageNeverPull", 0},
		{name, name, corev1.PullNever, false, "", 0},
		{name, "", corev1.PullIfNotPresent, true, "ErrImagePull", 0},
		{"A Bad Name", "", corev1.PullIfNotPresent, false, "InvalidImageName", 0},
	} {
		rt := runtimetest.New()
		if tt.have != "" {
			rt.AddImage(tt.have)
		}
		if tt.fails {
			rt.FailWith(func(string) error { return errors.New("denied") })
		}
		p := newPuller(t, rt)
		img, fail := p.Ensure(t.Context(), Request{Pod: podtest.New(corev1.RestartPolicyAlways, "a"), Container: "a", Key: "a", Image: tt.image, Policy: tt.policy, BackOffs: &BackOffs{}})
		reason := ""
		if fail != nil {
			reason = fail.Reason
		}
		if reason != tt.reason || (img.ID == "") != (reason != "") || len(rt.Calls()) != tt.pulls {
			t.Errorf("%+v: image %q, %+v, calls %q", tt, img.ID, fail, rt.Calls())
		}
	}
}

// TestBackOff fails one pull again and again: the delays double up to five minutes, no
// pull is made meanwhile, other keys are free, and a success ends the series.
func TestBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := runtimetest.New()
		bad := errors.New("denied")
		tries := 0
		rt.FailWith(func(string) error { tries++; return bad })
		p := newPuller(t, rt)
		var backOffs BackOffs
		want := Request{Pod: podtest.New(corev1.RestartPolicyAlways, "a"), Container: "a", Key: "a", Image: "registry.example.com/app:1", BackOffs: &backOffs}
		for i, delay := range []time.Duration{10, 20, 40, 80, 160, 300, 300} {
			if _, fail := p.Ensure(t.Context(), want); fail == nil || fail.Reason != "ErrImagePull" || tries != i+1 || !backOffs.Waits("a") || backOffs.Waits("b") {
				t.Fatalf("try %d: %+v, %d tries", i, fail, tries)
			}
			_, fail := p.Ensure(t.Context(), want)
			if fail == nil || fail.Reason != "ImagePullBackOff" || tries != i+1 {
				t.Fatalf("after try %d: %+v, %d tries", i, fail, tries)
			}
			if wait := time.Until(fail.RetryAt); wait != delay*time.Second {
				t.Fatalf("after try %d the wait is %s, want %d s", i, wait, delay)
			}
			<-time.After(time.Until(fail.RetryAt))
		}
		bad = nil
		if img, fail := p.Ensure(t.Context(), want); fail != nil || img.ID == "" || backOffs.Waits("a") {
			t.Errorf("once it works: %q, %+v", img.ID, fail)
		}
	})
}
