package nodeidentity_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/nodeidentity"
	"github.com/edgekit/edgekit/hub/join"
)

func newStore(t *testing.T, client *fake.Clientset) *nodeidentity.Store {
	t.Helper()
	s, err := nodeidentity.New(nodeidentity.Config{Client: client})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCA(t *testing.T) {
	client := controllertest.NewClientset()
	var g errgroup.Group
	pins := make([]string, 8)
	for i := range pins {
		g.Go(func() error {
			s, err := nodeidentity.New(nodeidentity.Config{Client: client})
			if err != nil {
				return err
			}
			a, err := s.Authorities(t.Context())
			if err == nil {
				pins[i] = a.Issuer.Pin()
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, pin := range pins {
		if pin != pins[0] {
			t.Errorf("two authorities: %v", pins)
		}
	}
}

func TestToken(t *testing.T) {
	client := controllertest.NewClientset()
	s := newStore(t, client)
	token, err := s.CreateToken(t.Context(), "edge-*", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := client.CoreV1().Secrets("edgekit-system").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(fmt.Sprint(secrets.Items), token.Secret) {
		t.Error("the token's secret is stored")
	}
	r, err := s.Token(t.Context(), token.ID)
	if err != nil || r.Nodes != "edge-*" || r.UsedBy != "" || time.Until(r.Expires) > time.Hour {
		t.Errorf("record %+v, %v", r, err)
	}
	// Of many keys, one gets it; that one may repeat.
	var mu sync.Mutex
	var won []string
	var g errgroup.Group
	for i := range 8 {
		key := fmt.Sprintf("key-%d", i)
		g.Go(func() error {
			err := s.Use(t.Context(), token.ID, "edge-1", key)
			if err == nil {
				mu.Lock()
				won = append(won, key)
				mu.Unlock()
			}
			if errors.Is(err, join.ErrTokenUsed) {
				return nil
			}
			return err
		})
	}
	if err := g.Wait(); err != nil || len(won) != 1 {
		t.Fatalf("used by %v, %v", won, err)
	}
	if err := s.Use(t.Context(), token.ID, "edge-1", won[0]); err != nil {
		t.Errorf("repeated: %v", err)
	}
	if err := s.Use(t.Context(), token.ID, "edge-2", won[0]); !errors.Is(err, join.ErrTokenUsed) {
		t.Errorf("for another node: %v", err)
	}
	list, err := s.ListTokens(t.Context())
	if err != nil || len(list) != 1 || list[0].UsedFor != "edge-1" || time.Since(list[0].UsedAt) > time.Hour {
		t.Errorf("list %+v, %v", list, err)
	}
	if err := s.DeleteToken(t.Context(), token.String()); err != nil {
		t.Error(err)
	}
	for _, id := range []string{token.ID, "", "../ca", "UPPER", "ca"} {
		if _, err := s.Token(t.Context(), id); !errors.Is(err, join.ErrTokenInvalid) {
			t.Errorf("token %q: %v", id, err)
		}
		if err := s.DeleteToken(t.Context(), id); !errors.Is(err, join.ErrTokenInvalid) {
			t.Errorf("delete %q: %v", id, err)
		}
	}
}

func TestCreateTokenRefuses(t *testing.T) {
	s := newStore(t, controllertest.NewClientset())
	for _, nodes := range []string{"", "[", "a/b", "Upper", "x_y"} {
		if _, err := s.CreateToken(t.Context(), nodes, time.Hour); err == nil {
			t.Errorf("pattern %q was taken", nodes)
		}
	}
	if _, err := s.CreateToken(t.Context(), "n", 0); err == nil {
		t.Error("a token without time was made")
	}
}

func TestExpiredTokensAreSwept(t *testing.T) {
	client := controllertest.NewClientset()
	s := newStore(t, client)
	old, err := s.CreateToken(t.Context(), "a", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := client.CoreV1().Secrets("edgekit-system").Get(t.Context(), "edgekit-token-"+old.ID, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	secret.Data["expires"] = []byte(time.Now().Add(-48 * time.Hour).Format(time.RFC3339))
	if _, err := client.CoreV1().Secrets("edgekit-system").Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateToken(t.Context(), "b", time.Hour); err != nil {
		t.Fatal(err)
	}
	if list, err := s.ListTokens(t.Context()); err != nil || len(list) != 1 || list[0].Nodes != "b" {
		t.Errorf("list %+v, %v", list, err)
	}
}

func TestNames(t *testing.T) {
	client := controllertest.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "control-plane"}})
	s := newStore(t, client)
	ctx := t.Context()
	claim := func(node, key string, want bool, wantErr error) {
		t.Helper()
		fresh, err := s.Claim(ctx, node, key)
		if fresh != want || !errors.Is(err, wantErr) {
			t.Errorf("claim of %s by %s: %t, %v", node, key, fresh, err)
		}
	}
	claim("control-plane", "k1", false, join.ErrNameInUse)
	claim("n", "k1", true, nil)
	claim("n", "k1", false, nil)
	claim("n", "k2", false, join.ErrNameInUse)
	claim("Not a name", "k1", false, join.ErrNodeName)
	if err := s.Release(ctx, "n", "k2"); err != nil {
		t.Error(err)
	}
	claim("n", "k2", false, join.ErrNameInUse)
	if err := s.Release(ctx, "n", "k1"); err != nil {
		t.Error(err)
	}
	claim("n", "k2", true, nil)
	// The node is registered; the operator frees its name.
	if _, err := client.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if had, err := s.ReleaseNode(ctx, "n"); err != nil || had.KeyHash != "k2" {
		t.Error(had, err)
	}
	if _, err := s.ReleaseNode(ctx, "n"); !errors.Is(err, nodeidentity.ErrNotClaimed) {
		t.Errorf("freed twice: %v", err)
	}
	claim("n", "k3", true, nil)
	if err := s.Release(ctx, "n", "k3"); err != nil { // a join that failed
		t.Error(err)
	}
	claim("n", "k4", true, nil)
	if _, err := s.ReleaseNode(ctx, "control-plane"); !errors.Is(err, nodeidentity.ErrNotClaimed) {
		t.Errorf("freed a name that is not edgekit's: %v", err)
	}
	long := strings.Repeat("a", 63) + "." + strings.Repeat("b", 63) + "." + strings.Repeat("c", 63) + "." + strings.Repeat("d", 61)
	claim(long, "k1", true, nil)
	claim(long, "k2", false, join.ErrNameInUse)
}

func Example() {
	s, err := nodeidentity.New(nodeidentity.Config{Client: controllertest.NewClientset()})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	token, err := s.CreateToken(ctx, "edge-*", time.Hour)
	if err != nil {
		fmt.Println(err)
		return
	}
	list, err := s.ListTokens(ctx)
	fmt.Println(len(list), list[0].Nodes, list[0].ID == token.ID, err)
	// Output: 1 edge-* true <nil>
}
