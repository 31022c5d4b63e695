package nodeidentity

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/hub/join"
)

// fieldAt is when a key was revoked; its Secret has fieldNode and fieldKey too.
const fieldAt = "at"

// Reason says why a key was revoked. The machine that has the key gets it as an error.
type Reason string

// The reasons.
const (
	ReasonRevoked  Reason = ""         // it is not trusted
	ReasonDenied   Reason = "denied"   // an operator denied its join
	ReasonRetired  Reason = "retired"  // its node was retired
	ReasonReplaced Reason = "replaced" // another machine took its place
)

// Err is the error of package join for a key that was revoked for this reason; it is
// join.ErrRevoked.
func (r Reason) Err() error {
	switch r {
	case ReasonDenied:
		return join.ErrDenied
	case ReasonRetired:
		return join.ErrRetired
	case ReasonReplaced:
		return join.ErrReplaced
	}
	return join.ErrRevoked
}

// fieldReason is the Reason of a revoked key.
const fieldReason = "reason"

// Claimed is a node's name and the key that has it, or that was revoked.
type Claimed struct {
	Node    string
	KeyHash string    // of the machine's key; empty for a name that was freed
	Issuer  string    // pin of the authority that signed its last certificate; empty if unknown
	Until   time.Time // when that certificate ends; zero if unknown
	Revoked time.Time // when the key was revoked; zero for one that is good
	Reason  Reason    // why it was revoked
	Waits   bool      // the machine waits for an approval, and has no certificate yet
}

// listPage is how many claims one answer of the API server has.
const listPage = 500

func claimed(s *corev1.Secret) Claimed {
	c := Claimed{Node: string(s.Data[fieldNode]), KeyHash: string(s.Data[fieldKey]), Issuer: string(s.Data[fieldIssuer])}
	// The field is for people only, so a damaged one is ignored.
	c.Until, _ = time.Parse(time.RFC3339, string(s.Data[fieldUntil]))
	c.Revoked, _ = time.Parse(time.RFC3339, string(s.Data[fieldAt]))
	c.Reason, c.Waits = Reason(s.Data[fieldReason]), string(s.Data[fieldApproval]) == stateWaits
	return c
}

// Holder returns the key that has the name.
func (s *Store) Holder(ctx context.Context, node string) (string, error) {
	if err := join.CheckNodeName(node); err != nil {
		return "", err
	}
	claim, err := s.claim(ctx, node)
	if err != nil || claim == nil {
		return "", err
	}
	return string(claim.Data[fieldKey]), nil
}

// Issued records on the node's claim who signed its certificate.
func (s *Store) Issued(ctx context.Context, node string, cert *x509.Certificate, issuer string) error {
	for range maxTries {
		claim, err := s.claim(ctx, node)
		if err != nil {
			return err
		}
		if claim == nil || string(claim.Data[fieldKey]) != join.KeyHash(cert) {
			return nil // freed since
		}
		claim.Data[fieldIssuer], claim.Data[fieldUntil] = []byte(issuer), []byte(cert.NotAfter.UTC().Format(time.RFC3339))
		if string(claim.Data[fieldApproval]) == stateWaits {
			// It used another token meanwhile, which needs no approval: a name that waits could
			// be given to another machine.
			claim.Data[fieldApproval] = []byte(stateApproved)
		}
		_, err = s.secrets.Update(ctx, claim, metav1.UpdateOptions{})
		if err == nil {
			return nil
		}
		if !lostRace(err) {
			return fmt.Errorf("nodeidentity: record the certificate of node %s: %w", node, err)
		}
	}
	return fmt.Errorf("nodeidentity: record the certificate of node %s: %w", node, join.ErrServer)
}

// Revoked returns join.ErrRevoked for a key that was revoked.
func (s *Store) Revoked(ctx context.Context, keyHash string) error {
	if err := checkHash(keyHash); err != nil {
		return err
	}
	secret, err := s.secrets.Get(ctx, secretName(KindRevoked, keyHash), metav1.GetOptions{})
	switch {
	case err == nil:
		return Reason(secret.Data[fieldReason]).Err()
	case apierrors.IsNotFound(err):
		return nil
	}
	return fmt.Errorf("nodeidentity: look for a revoked key: %w", err)
}

func checkHash(keyHash string) error {
	if b, err := hex.DecodeString(keyHash); err != nil || len(b) != 32 || !lowerAlphanumeric(keyHash) {
		return fmt.Errorf("nodeidentity: %q is not the hash of a key: want 64 hex digits in lower case", keyHash)
	}
	return nil
}

// RevokeNode revokes the key that has the name: every cloudcore ends its session, and from then
// on refuses it the link, a renewal and a join. The name is freed, so the machine may join again
// with a new token and a new key. For a name that was freed before, keyHash must name the key;
// otherwise it is empty. Without a key the error is ErrNotClaimed.
func (s *Store) RevokeNode(ctx context.Context, node, keyHash string) (Claimed, error) {
	return s.revoke(ctx, node, keyHash, ReasonRevoked)
}

// RevokeBecause is RevokeNode for the key that has the name, with a reason.
func (s *Store) RevokeBecause(ctx context.Context, node string, why Reason) (Claimed, error) {
	return s.revoke(ctx, node, "", why)
}

func (s *Store) revoke(ctx context.Context, node, keyHash string, why Reason) (Claimed, error) {
	if err := join.CheckNodeName(node); err != nil {
		return Claimed{}, err
	}
	claim, err := s.claim(ctx, node)
	if err != nil {
		return Claimed{}, err
	}
	gone := Claimed{Node: node, KeyHash: keyHash}
	if claim != nil && len(claim.Data[fieldKey]) > 0 && (keyHash == "" || keyHash == string(claim.Data[fieldKey])) {
		gone = claimed(claim)
	}
	if gone.KeyHash == "" {
		return Claimed{}, fmt.Errorf("%w: %s", ErrNotClaimed, node)
	}
	if err := checkHash(gone.KeyHash); err != nil {
		return Claimed{}, err
	}
	gone.Revoked, gone.Reason = time.Now(), why
	// The key comes first: if this program is killed here, the key is revoked already.
	secret := s.secret(secretName(KindRevoked, gone.KeyHash), KindRevoked, map[string]string{
		fieldNode: node, fieldKey: gone.KeyHash, fieldAt: gone.Revoked.UTC().Format(time.RFC3339),
		fieldReason: string(why), fieldIssuer: gone.Issuer, fieldUntil: gone.Until.UTC().Format(time.RFC3339),
	})
	if _, err := s.secrets.Create(ctx, secret, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return Claimed{}, fmt.Errorf("nodeidentity: revoke node %s: %w", node, err)
	}
	if err := s.freeRevoked(ctx, node, gone.KeyHash); err != nil {
		return Claimed{}, err
	}
	return gone, nil
}

// freeRevoked frees the name if the revoked key has it. A machine that has joined
// with the name since keeps it.
func (s *Store) freeRevoked(ctx context.Context, node, keyHash string) error {
	for range maxTries {
		claim, err := s.claim(ctx, node)
		if err != nil {
			return err
		}
		if claim == nil || string(claim.Data[fieldKey]) != keyHash {
			return nil
		}
		if err = s.freeClaim(ctx, claim); err == nil {
			return nil
		}
		if !lostRace(err) {
			return fmt.Errorf("nodeidentity: revoke node %s: free its name: %w", node, err)
		}
	}
	return fmt.Errorf("nodeidentity: revoke node %s: free its name: %w", node, join.ErrServer)
}

// ListNodes returns the names that are claimed or were freed, and the keys that
// were revoked, by name, those that were revoked last.
func (s *Store) ListNodes(ctx context.Context) ([]Claimed, error) {
	var out []Claimed
	options := metav1.ListOptions{LabelSelector: KindLabel + " in (" + KindNode + "," + KindRevoked + ")", Limit: listPage}
	for {
		list, err := s.secrets.List(ctx, options)
		if err != nil {
			return nil, fmt.Errorf("nodeidentity: list nodes: %w", err)
		}
		for i := range list.Items {
			out = append(out, claimed(&list.Items[i]))
		}
		if options.Continue = list.Continue; options.Continue == "" {
			break
		}
	}
	slices.SortFunc(out, func(a, b Claimed) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), a.Revoked.Compare(b.Revoked), cmp.Compare(a.KeyHash, b.KeyHash))
	})
	return out, nil
}

// Behind lists the nodes whose certificates, as far as is known, are still good
// and of another authority than that with the pin: those that would have to
// renew before others are retired.
func (s *Store) Behind(ctx context.Context, pin string) ([]Claimed, error) {
	all, err := s.ListNodes(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(c Claimed) bool {
		ended := !c.Until.IsZero() && c.Until.Before(time.Now())
		return c.KeyHash == "" || c.Waits || !c.Revoked.IsZero() || c.Issuer == pin || ended
	}), nil
}
