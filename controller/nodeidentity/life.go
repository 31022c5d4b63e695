package nodeidentity

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/hub/join"
)

// LifeLabel on a Node is how long its certificates are valid, from its next renewal on: a
// duration ("720h"), which comes before that of its token. NodeRestriction keeps nodes from
// labels of this domain.
const LifeLabel = "edgekit.node-restriction.kubernetes.io/certificate-life"

// Life returns how long the node's certificates are to be valid: what LifeLabel says, else
// what the token said that the node joined with, else 0.
func (s *Store) Life(ctx context.Context, node string) (time.Duration, error) {
	if err := join.CheckNodeName(node); err != nil {
		return 0, err
	}
	n, err := s.cfg.Client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return 0, fmt.Errorf("nodeidentity: read node %s: %w", node, err)
	}
	if err == nil && n.Labels[LifeLabel] != "" {
		return parseLife("label "+LifeLabel, n.Labels[LifeLabel])
	}
	claim, err := s.claim(ctx, node)
	if err != nil || claim == nil || len(claim.Data[fieldLife]) == 0 {
		return 0, err
	}
	return parseLife("field "+fieldLife, string(claim.Data[fieldLife]))
}

func parseLife(where, text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err == nil && d <= 0 {
		err = errors.New("want a duration above zero, such as 720h")
	}
	if err != nil {
		return 0, fmt.Errorf("nodeidentity: %s: %q: %w", where, text, err)
	}
	return d, nil
}

// setLife sets the life that a token asks for on the claim of the node that used it.
func (s *Store) setLife(ctx context.Context, node string, life time.Duration) error {
	if life == 0 {
		return nil
	}
	return s.updateClaim(ctx, node, func(claim *corev1.Secret) (bool, error) {
		if string(claim.Data[fieldLife]) == life.String() {
			return false, nil
		}
		claim.Data[fieldLife] = []byte(life.String())
		return true, nil
	})
}
