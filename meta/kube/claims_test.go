package kube_test

import (
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
)

// TestResourceClaim reads the claim of a pod, also while the link is down, and notifies of it.
func TestResourceClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		defer store.Close()
		a := startAgent(t, store, &cluster{err: errors.New("away")})
		defer a.stop()
		p := pod("x", "1")
		p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "device", ResourceClaimName: new("gpu")}}
		body, err := json.Marshal(p)
		must(t, err)
		a.bring(t, hub.Object{Key: podOne, Version: "1", Body: body})
		if _, err := a.ResourceClaim(t.Context(), "a", "gpu"); err == nil {
			t.Error("a claim that the node does not have")
		}
		changed := a.Changed(t.Context())
		<-changed
		claim := `{"metadata":{"namespace":"a","name":"gpu","uid":"c"}}`
		a.bring(t, hub.Object{Key: hub.Key{Resource: "resourceclaims", Namespace: "a", Name: "gpu"}, Version: "2", Body: []byte(claim)})
		<-changed
		if got, err := a.ResourceClaim(t.Context(), "a", "gpu"); err != nil || string(got) != claim {
			t.Errorf("%s, %v", got, err)
		}
	})
}

// TestDRADrivers reports the drivers of a node, and that the last is gone; a node that never
// had one reports nothing.
func TestDRADrivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		defer store.Close()
		a := startAgent(t, store, &cluster{})
		defer a.stop()
		reported := func() string {
			r, err := store.Get(t.Context(), "up/resourceslices//gate-7")
			if errors.Is(err, meta.ErrNotFound) {
				return ""
			}
			must(t, err)
			o, err := meta.DecodeObject(meta.Up, r)
			must(t, err)
			return string(o.Body)
		}
		for _, tt := range []struct {
			names []string
			want  string
		}{{nil, ""}, {[]string{"a.example.com", "b.example.com"}, `{"drivers":["a.example.com","b.example.com"]}`}, {nil, `{"drivers":[]}`}} {
			must(t, a.DRADrivers(t.Context(), tt.names))
			if got := reported(); got != tt.want {
				t.Errorf("%q: reported %q, want %q", tt.names, got, tt.want)
			}
		}
	})
}
