package nodelifecycle

import (
	"log/slog"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/hub/decodetest"
)

// TestAttackDecoders searches for the claim that costs most memory. No node can write it,
// but everybody who may write Leases in edgekit's namespace.
func TestAttackDecoders(t *testing.T) {
	k := &Controller{cfg: Config{Logger: slog.New(slog.DiscardHandler)}}
	decodetest.Search(t, decodetest.Case{
		Name: "claim", Before: `{"fenced":[`, Between: ",", After: `]}`, Tokens: decodetest.JSONTokens(),
		Units: []string{`""`, `"a"`, `0`, `{}`, `null`, `"abcdefgh"`},
		Decode: func(b []byte) {
			k.claimOf(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{ClaimAnnotation: string(b)}}})
		},
	})
}
