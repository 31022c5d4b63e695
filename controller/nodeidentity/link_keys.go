package nodeidentity

import (
	"context"
	"crypto/rand"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// KindLink is the KindLabel of the Secret that holds the LinkKeys.
const KindLink = "link"

const (
	linkName     = "edgekit-link"
	linkResetKey = "reset" // names within the Secret
	linkTokenKey = "token"
)

// LinkKeys are secrets that all cloudcores of a cluster share, before and after a
// restart, so that each can confirm over QUIC what another has sent.
type LinkKeys struct {
	// Reset is what stateless resets are made from (RFC 9000 section 10.3): by
	// it a node learns at once that its connection is forgotten.
	Reset [32]byte
	// Token seals proofs of a node's address (RFC 9000 section 8.1).
	Token [32]byte
}

// LinkKeys loads the keys, or makes them if there are none. Several programs that
// do so at once get the same keys.
func (s *Store) LinkKeys(ctx context.Context) (LinkKeys, error) {
	for range maxTries {
		var k LinkKeys
		secret, err := s.secrets.Get(ctx, linkName, metav1.GetOptions{})
		if err == nil {
			if copy(k.Reset[:], secret.Data[linkResetKey]) != len(k.Reset) || copy(k.Token[:], secret.Data[linkTokenKey]) != len(k.Token) {
				return LinkKeys{}, fmt.Errorf("nodeidentity: secret %s/%s is damaged: delete it and a new one is made", s.cfg.Namespace, linkName)
			}
			return k, nil
		}
		if !apierrors.IsNotFound(err) {
			return LinkKeys{}, fmt.Errorf("nodeidentity: read secret %s/%s: %w", s.cfg.Namespace, linkName, err)
		}
		_, _ = rand.Read(k.Reset[:]) // never fails
		_, _ = rand.Read(k.Token[:])
		fresh := s.secret(linkName, KindLink, map[string]string{linkResetKey: string(k.Reset[:]), linkTokenKey: string(k.Token[:])})
		_, err = s.secrets.Create(ctx, fresh, metav1.CreateOptions{})
		if err == nil {
			return k, nil
		}
		if !apierrors.IsAlreadyExists(err) {
			return LinkKeys{}, fmt.Errorf("nodeidentity: create secret %s/%s: %w", s.cfg.Namespace, linkName, err)
		}
	}
	return LinkKeys{}, fmt.Errorf("nodeidentity: secret %s/%s is created and deleted again and again", s.cfg.Namespace, linkName)
}
