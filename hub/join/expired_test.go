package join_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/hub/join"
)

// TestExpiredNodeAsksOften: without a certificate there is no link that shows that the
// cloud is in reach again. So an expired node tries to renew every few minutes, however
// long it has been away.
func TestExpiredNodeAsksOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now().Add(-48 * time.Hour)
		ca, err := join.NewCA("test", begin)
		if err != nil {
			t.Fatal(err)
		}
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := ca.IssueNode(key.Public(), "edge-1", begin, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		id, err := join.NewIdentity(join.IdentityConfig{
			Credentials: join.Credentials{Node: "edge-1", Key: key, Leaf: leaf, Roots: []*x509.Certificate{ca.Certificate()}},
			URL:         "https://127.0.0.1:1",
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- id.Run(ctx) }()
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if n := id.Stats().Failed; n < 300 {
			t.Errorf("asked %d times in a day", n)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
