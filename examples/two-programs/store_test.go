package main

import (
	"context"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/hub/join/jointest"
)

// TestStore holds the store to the contracts of package join.
func TestStore(t *testing.T) {
	t.Run("Tokens", func(t *testing.T) {
		jointest.RunTokens(t, jointest.TokensSuite{
			Open: func(*testing.T) join.Tokens { return newStore() },
			Create: func(_ context.Context, s join.Tokens, nodes string, life time.Duration) (join.Token, error) {
				token := join.NewToken("")
				s.(*store).add(token.Record(nodes, time.Now().Add(life)))
				return token, nil
			},
		})
	})
	t.Run("Names", func(t *testing.T) {
		jointest.RunNames(t, func(*testing.T) join.Names { return newStore() })
	})
}
