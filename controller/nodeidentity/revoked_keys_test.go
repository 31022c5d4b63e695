package nodeidentity_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/nodeidentity"
)

// TestRevokeBesideJoin: another machine joins with the name while the key of its last
// holder is being revoked. The new machine keeps the name.
func TestRevokeBesideJoin(t *testing.T) {
	client := controllertest.NewClientset()
	s, ctx := newStore(t, client), t.Context()
	lost, next := strings.Repeat("1a", 32), strings.Repeat("2b", 32)
	if _, err := s.Claim(ctx, "n", lost); err != nil {
		t.Fatal(err)
	}
	secrets, err := client.CoreV1().Secrets("edgekit-system").List(ctx, metav1.ListOptions{})
	if err != nil || len(secrets.Items) != 1 {
		t.Fatal(secrets, err)
	}
	claim := secrets.Items[0]
	claim.Data["keyHash"] = []byte(next)
	client.PrependReactor("create", "secrets", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if a.(clienttesting.CreateAction).GetObject().(*corev1.Secret).Labels[nodeidentity.KindLabel] == nodeidentity.KindRevoked {
			// The name is released and claimed again.
			if err := client.Tracker().Update(corev1.SchemeGroupVersion.WithResource("secrets"), &claim, claim.Namespace); err != nil {
				t.Error(err)
			}
		}
		return false, nil, nil
	})
	if _, err := s.RevokeNode(ctx, "n", ""); err != nil {
		t.Fatal(err)
	}
	if holder, err := s.Holder(ctx, "n"); err != nil || holder != next {
		t.Errorf("the name belongs to %q, %v", holder, err)
	}
}
