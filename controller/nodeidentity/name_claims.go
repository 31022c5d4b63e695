package nodeidentity

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/hub/join"
)

// The fields of a claim's Secret. A claim without a key is a name that an
// operator freed: its Node may exist, and the next machine may have it.
const (
	fieldNode = "node"
	fieldKey  = "keyHash"
	// fieldKeyBefore is the key before a renewal, until the new one was used.
	fieldKeyBefore = "keyHashBefore"
	// fieldIssuer and fieldUntil are the pin of the authority that signed the
	// node's last certificate, and when that certificate ends.
	fieldIssuer = "issuer"
	fieldUntil  = "until"
	// fieldWasFree marks a claim that took a freed name.
	fieldWasFree = "wasFree"
)

// ErrNotClaimed is the error of ReleaseNode for a name without a claim.
var ErrNotClaimed = errors.New("nodeidentity: no machine has joined with this name")

// Claim gives the name to the key. A Node of that name that never joined through edgekit
// keeps its name: the error is then a *join.NameInUseError.
func (s *Store) Claim(ctx context.Context, node, keyHash string) (fresh bool, err error) {
	if err := join.CheckNodeName(node); err != nil {
		return false, err
	}
	for range maxTries {
		var claim *corev1.Secret
		claim, err = s.claim(ctx, node)
		switch {
		case err != nil:
			return false, err
		case claim == nil:
			if err := s.checkUnclaimed(ctx, node); err != nil {
				return false, err
			}
			_, err = s.secrets.Create(ctx, s.secret(secretName(KindNode, node), KindNode, map[string]string{
				fieldNode: node, fieldKey: keyHash,
			}), metav1.CreateOptions{})
		case slices.Contains(keysOf(claim), keyHash):
			return false, nil
		case len(claim.Data[fieldKey]) > 0:
			abandoned, err := s.isAbandoned(ctx, claim)
			if err != nil {
				return false, err
			}
			if abandoned {
				if err := s.freeAbandoned(ctx, claim); err != nil {
					return false, err
				}
				continue
			}
			return false, &join.NameInUseError{Node: node, Remedy: "choose another name, or free this one with 'edgectl node release " + node + "'"}
		default:
			claim.Data[fieldKey], claim.Data[fieldWasFree] = []byte(keyHash), []byte("true")
			_, err = s.secrets.Update(ctx, claim, metav1.UpdateOptions{})
		}
		if err == nil {
			return true, nil
		}
		if !lostRace(err) {
			return false, fmt.Errorf("nodeidentity: claim node name %s: %w", node, err)
		}
	}
	return false, fmt.Errorf("nodeidentity: claim node name %s: %w: %w", node, join.ErrServer, err)
}

// checkUnclaimed refuses a name whose Node is not edgekit's.
func (s *Store) checkUnclaimed(ctx context.Context, node string) error {
	_, err := s.cfg.Client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("nodeidentity: look for node %s: %w", node, err)
	}
	return &join.NameInUseError{
		Node:   node,
		Remedy: "the cluster has a node of that name which did not join through edgekit: choose another name",
	}
}

// Release removes a claim that the key has made just now.
func (s *Store) Release(ctx context.Context, node, keyHash string) error {
	for range maxTries {
		claim, err := s.claim(ctx, node)
		if err != nil {
			return err
		}
		if claim == nil || !slices.Contains(keysOf(claim), keyHash) {
			return nil
		}
		if string(claim.Data[fieldWasFree]) == "true" {
			err = s.freeClaim(ctx, claim)
		} else {
			err = s.deleteSecret(ctx, claim)
		}
		if err == nil {
			return nil
		}
		if !lostRace(err) {
			return fmt.Errorf("nodeidentity: release node name %s: %w", node, err)
		}
	}
	return fmt.Errorf("nodeidentity: release node name %s: %w", node, join.ErrServer)
}

// ReleaseNode frees a name, whoever has it, and returns the claim that was there.
// Another machine can then join with the name, or the same one with a new key. The
// Node object stays. From then on every cloudcore refuses the machine's
// certificate, because its key does not have the node's name. For a name without a
// claim it returns ErrNotClaimed.
func (s *Store) ReleaseNode(ctx context.Context, node string) (Claimed, error) {
	if err := join.CheckNodeName(node); err != nil {
		return Claimed{}, err
	}
	for range maxTries {
		claim, err := s.claim(ctx, node)
		if err != nil {
			return Claimed{}, err
		}
		if claim == nil || len(claim.Data[fieldKey]) == 0 {
			return Claimed{}, fmt.Errorf("%w: %s", ErrNotClaimed, node)
		}
		had := claimed(claim)
		if err = s.freeClaim(ctx, claim); err == nil {
			return had, nil
		}
		if !lostRace(err) {
			return Claimed{}, fmt.Errorf("nodeidentity: release node name %s: %w", node, err)
		}
	}
	return Claimed{}, fmt.Errorf("nodeidentity: release node name %s: %w", node, join.ErrServer)
}

// keysOf returns the keys that have the claim's name, the newest first.
func keysOf(claim *corev1.Secret) []string {
	var keys []string
	for _, field := range []string{fieldKey, fieldKeyBefore} {
		if key := string(claim.Data[field]); key != "" {
			keys = append(keys, key)
		}
	}
	return keys
}

// Freed reports whether the name was freed and its Node is left.
func (s *Store) Freed(ctx context.Context, node string) (bool, error) {
	if err := join.CheckNodeName(node); err != nil {
		return false, err
	}
	claim, err := s.claim(ctx, node)
	return claim != nil && len(keysOf(claim)) == 0, err
}

// Keys returns the keys that have the name: the newest first, and the one before
// until the newest was used.
func (s *Store) Keys(ctx context.Context, node string) ([]string, error) {
	if err := join.CheckNodeName(node); err != nil {
		return nil, err
	}
	claim, err := s.claim(ctx, node)
	if err != nil || claim == nil {
		return nil, err
	}
	return keysOf(claim), nil
}

// Replace gives the name to the key fresh in place of old. Until Confirm, both keys are valid.
func (s *Store) Replace(ctx context.Context, node, old, fresh string) error {
	if err := checkHash(fresh); err != nil {
		return err
	}
	return s.updateClaim(ctx, node, func(claim *corev1.Secret) (bool, error) {
		switch keys := keysOf(claim); {
		case !slices.Contains(keys, old):
			return false, fmt.Errorf("%w: the name belongs to another key", join.ErrIdentity)
		case keys[0] == fresh:
			return false, nil
		}
		claim.Data[fieldKey], claim.Data[fieldKeyBefore] = []byte(fresh), []byte(old)
		return true, nil
	})
}

// Confirm ends the validity of the key before a renewal, if the new one is keyHash.
func (s *Store) Confirm(ctx context.Context, node, keyHash string) error {
	return s.updateClaim(ctx, node, func(claim *corev1.Secret) (bool, error) {
		if keys := keysOf(claim); len(keys) < 2 || keys[0] != keyHash {
			return false, nil
		}
		delete(claim.Data, fieldKeyBefore)
		return true, nil
	})
}

// updateClaim repeats edit until no other program has changed the claim in between. edit
// reports whether there is something to write. For a name without a claim the error is
// ErrIdentity.
func (s *Store) updateClaim(ctx context.Context, node string, edit func(*corev1.Secret) (bool, error)) error {
	if err := join.CheckNodeName(node); err != nil {
		return err
	}
	for range maxTries {
		claim, err := s.claim(ctx, node)
		if err != nil {
			return err
		}
		if claim == nil {
			return fmt.Errorf("%w: its name was freed", join.ErrIdentity)
		}
		changed, err := edit(claim)
		if err != nil || !changed {
			return err
		}
		if _, err = s.secrets.Update(ctx, claim, metav1.UpdateOptions{}); err == nil {
			return nil
		}
		if !lostRace(err) {
			return fmt.Errorf("nodeidentity: update the claim of node name %s: %w", node, err)
		}
	}
	return fmt.Errorf("nodeidentity: update the claim of node name %s: %w", node, join.ErrServer)
}

// freeClaim empties a claim. If no Node has the name the claim is removed, so that
// anybody can have the name.
func (s *Store) freeClaim(ctx context.Context, claim *corev1.Secret) error {
	_, err := s.cfg.Client.CoreV1().Nodes().Get(ctx, string(claim.Data[fieldNode]), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return s.deleteSecret(ctx, claim)
	}
	if err != nil {
		return err
	}
	for _, field := range []string{fieldKey, fieldKeyBefore, fieldWasFree, fieldIssuer, fieldUntil, fieldApproval, fieldSince, fieldLife} {
		delete(claim.Data, field)
	}
	_, err = s.secrets.Update(ctx, claim, metav1.UpdateOptions{})
	return err
}

// freeAbandoned frees the name of a machine that waits no more, if it still has it.
func (s *Store) freeAbandoned(ctx context.Context, claim *corev1.Secret) error {
	var err error
	if string(claim.Data[fieldWasFree]) == "true" {
		err = s.freeClaim(ctx, claim)
	} else {
		err = s.deleteSecret(ctx, claim)
	}
	if err != nil && !lostRace(err) {
		return fmt.Errorf("nodeidentity: free the name of a machine that waits no more: %w", err)
	}
	return nil
}

func (s *Store) deleteSecret(ctx context.Context, claim *corev1.Secret) error {
	return s.secrets.Delete(ctx, claim.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &claim.UID, ResourceVersion: &claim.ResourceVersion},
	})
}

// claim reads a claim; nil if there is none.
func (s *Store) claim(ctx context.Context, node string) (*corev1.Secret, error) {
	claim, err := s.secrets.Get(ctx, secretName(KindNode, node), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("nodeidentity: read claim of node name %s: %w", node, err)
	}
	if string(claim.Data[fieldNode]) != node || claim.Labels[KindLabel] != KindNode {
		return nil, fmt.Errorf("nodeidentity: secret %s/%s is not the claim of node name %s: remove it", s.cfg.Namespace, claim.Name, node)
	}
	return claim, nil
}

// lostRace reports whether a write failed because another program changed the
// object.
func lostRace(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err)
}
