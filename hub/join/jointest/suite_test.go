package jointest_test

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/hub/join/jointest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestStore holds the store in memory to the contracts of all stores that it is.
func TestStore(t *testing.T) {
	t.Run("Tokens", func(t *testing.T) {
		jointest.RunTokens(t, jointest.TokensSuite{
			Open: func(*testing.T) join.Tokens { return new(jointest.Store) },
			Create: func(_ context.Context, s join.Tokens, nodes string, life time.Duration) (join.Token, error) {
				token := join.NewToken("")
				s.(*jointest.Store).Add(token.Record(nodes, time.Now().Add(life)))
				return token, nil
			},
		})
	})
	t.Run("Names", func(t *testing.T) {
		jointest.RunNames(t, func(*testing.T) join.Names { return new(jointest.Store) })
	})
	t.Run("KeyReplacer", func(t *testing.T) {
		jointest.RunKeyReplacer(t, func(*testing.T) jointest.NamesWithReplace { return new(jointest.Store) })
	})
	t.Run("Ledger", func(t *testing.T) {
		jointest.RunLedger(t, jointest.LedgerSuite{
			Open: func(*testing.T) join.Ledger { return new(jointest.Store) },
			Issuer: func(_ context.Context, s join.Ledger, node string) (string, error) {
				return s.(*jointest.Store).Issuer(node), nil
			},
		})
	})
	t.Run("RevokedKeys", func(t *testing.T) {
		jointest.RunRevokedKeys(t, jointest.RevokedKeysSuite{
			Open: func(*testing.T) join.RevokedKeys { return new(jointest.Store) },
			Revoke: func(_ context.Context, s join.RevokedKeys, keyHash string) error {
				s.(*jointest.Store).Revoke("edge-1", keyHash)
				return nil
			},
		})
	})
	t.Run("Approvals", func(t *testing.T) {
		jointest.RunApprovals(t, jointest.ApprovalsSuite{
			Open: func(*testing.T) jointest.StoreWithApprovals { return new(jointest.Store) },
			Decide: func(_ context.Context, s jointest.StoreWithApprovals, node string, approve bool) error {
				return s.(*jointest.Store).Decide(node, approve)
			},
		})
	})
}
