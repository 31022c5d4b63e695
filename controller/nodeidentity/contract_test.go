package nodeidentity_test

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/nodeidentity"
	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/hub/join/jointest"
)

// TestJoinContracts checks Store against the contracts of package join.
func TestJoinContracts(t *testing.T) {
	open := func(t *testing.T) *nodeidentity.Store { return newStore(t, controllertest.NewClientset()) }
	t.Run("Tokens", func(t *testing.T) {
		jointest.RunTokens(t, jointest.TokensSuite{
			Open: func(t *testing.T) join.Tokens { return open(t) },
			Create: func(ctx context.Context, s join.Tokens, nodes string, life time.Duration) (join.Token, error) {
				return s.(*nodeidentity.Store).CreateToken(ctx, nodes, life)
			},
		})
	})
	t.Run("Names", func(t *testing.T) {
		jointest.RunNames(t, func(t *testing.T) join.Names { return open(t) })
	})
	t.Run("FreedNames", func(t *testing.T) {
		client := controllertest.NewClientset()
		jointest.RunFreedNames(t, jointest.FreedNamesSuite{
			Open: func(t *testing.T) jointest.NamesWithFreed { return newStore(t, client) },
			Free: func(ctx context.Context, s jointest.NamesWithFreed, node string) error {
				_, err := client.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}, metav1.CreateOptions{})
				if err != nil {
					return err
				}
				_, err = s.(*nodeidentity.Store).ReleaseNode(ctx, node)
				return err
			},
		})
	})
	t.Run("KeyReplacer", func(t *testing.T) {
		jointest.RunKeyReplacer(t, func(t *testing.T) jointest.NamesWithReplace { return open(t) })
	})
	t.Run("Ledger", func(t *testing.T) {
		jointest.RunLedger(t, jointest.LedgerSuite{Open: func(t *testing.T) join.Ledger { return open(t) }, Issuer: issuerOf})
	})
	t.Run("RevokedKeys", func(t *testing.T) {
		jointest.RunRevokedKeys(t, jointest.RevokedKeysSuite{
			Open: func(t *testing.T) join.RevokedKeys { return open(t) },
			Revoke: func(ctx context.Context, s join.RevokedKeys, keyHash string) error {
				_, err := s.(*nodeidentity.Store).RevokeNode(ctx, "edge-1", keyHash)
				return err
			},
		})
	})
}

// issuerOf returns the issuer that is listed for a node.
func issuerOf(ctx context.Context, s join.Ledger, node string) (string, error) {
	nodes, err := s.(*nodeidentity.Store).ListNodes(ctx)
	if err != nil {
		return "", err
	}
	for _, n := range nodes {
		if n.Node == node {
			return n.Issuer, nil
		}
	}
	return "", errors.New("the node is not listed")
}
