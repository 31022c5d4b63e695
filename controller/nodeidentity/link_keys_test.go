package nodeidentity_test

import (
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/nodeidentity"
)

func TestLinkKeys(t *testing.T) {
	client := controllertest.NewClientset()
	var mu sync.Mutex
	seen := map[nodeidentity.LinkKeys]bool{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			keys, err := newStore(t, client).LinkKeys(t.Context())
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			seen[keys] = true
		})
	}
	wg.Wait()
	if len(seen) != 1 || seen[nodeidentity.LinkKeys{}] {
		t.Errorf("%d different keys, or none at all", len(seen))
	}
	secrets := client.CoreV1().Secrets("edgekit-system")
	secret, err := secrets.Get(t.Context(), "edgekit-link", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	secret.Data["token"] = secret.Data["token"][:31]
	if _, err := secrets.Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := newStore(t, client).LinkKeys(t.Context()); err == nil || !strings.Contains(err.Error(), "delete it") {
		t.Errorf("a damaged secret: %v", err)
	}
}
