package main

import (
	"context"
	"log/slog"
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/dra"
	"github.com/edgekit/edgekit/edged/podresources"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
)

// noClaims has no ResourceClaim.
type noClaims struct{}

func (noClaims) ResourceClaim(context.Context, string, string) ([]byte, error) {
	return nil, meta.ErrNotFound
}

// TestClaimsView shows the pod-resources API what a container has of the pod's claims.
func TestClaimsView(t *testing.T) {
	store := memstore.New()
	defer store.Close()
	record := `{"namespace":"ns","name":"gpu","uid":"c","pods":["p"],"prepared":true,"drivers":[{"name":"d.example.com","devices":[{"pool":"n","name":"g0","shareID":"s","cdi":["v/c=0"]}]}]}`
	if _, err := store.Apply(t.Context(), meta.Op{Key: "local/dra/claims/c", Value: []byte(record)}); err != nil {
		t.Fatal(err)
	}
	claims, err := dra.New(dra.Config{Store: store, Claims: noClaims{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := claims.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	use := corev1.ResourceRequirements{Claims: []corev1.ResourceClaim{{Name: "device"}}}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "p"}, Spec: corev1.PodSpec{
		ResourceClaims: []corev1.PodResourceClaim{{Name: "device", ResourceClaimName: new("gpu")}},
		InitContainers: []corev1.Container{{Name: "init", Resources: use}}, Containers: []corev1.Container{{Name: "main", Resources: use}, {Name: "other"}},
	}}
	want := []podresources.Claim{{Namespace: "ns", Name: "gpu", Devices: []podresources.ClaimDevice{{Driver: "d.example.com", Pool: "n", Device: "g0", ShareID: "s", CDIDevices: []string{"v/c=0"}}}}}
	for name, want := range map[string][]podresources.Claim{"main": want, "init": want, "other": nil, "none": nil} {
		if got := (claimsView{claims}).ContainerClaims(pod, name); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestPluginRegistryDir is refused where it is relative.
func TestPluginRegistryDir(t *testing.T) {
	if _, err := (&runCmd{PluginRegistryDir: "plugins"}).plugins(&node{}, nil, nil, nil, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a relative folder is taken")
	}
}
