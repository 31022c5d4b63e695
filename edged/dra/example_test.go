package dra_test

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/dra"
	"github.com/edgekit/edgekit/meta/memstore"
)

// stored are the claims that the node has, by namespace and name.
type stored map[string]string

func (s stored) ResourceClaim(_ context.Context, namespace, name string) ([]byte, error) {
	return []byte(s[namespace+"/"+name]), nil
}

// A pod whose driver is not there waits with a reason.
func ExampleManager() {
	store := memstore.New()
	defer store.Close()
	claims, err := dra.New(dra.Config{Store: store, Claims: stored{
		"default/gpu": `{"metadata":{"namespace":"default","name":"gpu","uid":"c-1"},"status":{
			"allocation":{"devices":{"results":[{"request":"one","driver":"gpu.example.com","pool":"n","device":"gpu-0"}]}},
			"reservedFor":[{"resource":"pods","name":"web","uid":"p-1"}]}}`,
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, name := context.Background(), "gpu"
	if err := claims.Load(ctx); err != nil {
		fmt.Println(err)
		return
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "p-1"}, Spec: corev1.PodSpec{
		ResourceClaims: []corev1.PodResourceClaim{{Name: "device", ResourceClaimName: &name}},
	}}
	fmt.Println(claims.Prepare(ctx, pod))
	// Output: prepare dynamic resources: DRA driver gpu.example.com is not registered
}
