package nodeidentity

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/hub/join"
)

// The fields of a token's Secret.
const (
	fieldHash    = "secretHash"
	fieldNodes   = "nodes"
	fieldExpires = "expires"
	fieldUsedBy  = "usedBy"
	fieldUsedFor = "usedFor"
	fieldUsedAt  = "usedAt"
	fieldApprove = "approve" // "true": see join.Record.Approve
	fieldLife    = "life"    // a duration; on a claim too, see Store.Life
)

// keepExpired is how long a token that has expired is still listed.
const keepExpired = 24 * time.Hour

// TokenRequest says what a token is for. Nodes and TTL are required.
type TokenRequest struct {
	Nodes   string        // a node's name or a pattern of names ("edge-*")
	TTL     time.Duration // how long it is good for one join
	Approve bool          // the join waits for an operator
	Life    time.Duration // of the certificates of the node that joins; 0 means cloudcore's default
}

// CreateToken makes a token for a node's name or a pattern of names ("edge-*"),
// good for one join within ttl. Its secret is in the returned value alone.
func (s *Store) CreateToken(ctx context.Context, nodes string, ttl time.Duration) (join.Token, error) {
	return s.RequestToken(ctx, TokenRequest{Nodes: nodes, TTL: ttl})
}

// RequestToken is CreateToken with further choices.
func (s *Store) RequestToken(ctx context.Context, req TokenRequest) (join.Token, error) {
	nodes, ttl := req.Nodes, req.TTL
	if ttl <= 0 {
		return join.Token{}, fmt.Errorf("nodeidentity: a token's time to live is %s: want one above zero", ttl)
	}
	if req.Life < 0 {
		return join.Token{}, fmt.Errorf("nodeidentity: the life of a certificate is %s: want one above zero, or 0 for cloudcore's default", req.Life)
	}
	if err := checkPattern(nodes); err != nil {
		return join.Token{}, err
	}
	a, err := s.Authorities(ctx)
	if err != nil {
		return join.Token{}, err
	}
	if err := s.deleteExpiredTokens(ctx); err != nil {
		return join.Token{}, err
	}
	token := join.NewToken(a.Issuer.Pin())
	r := token.Record(nodes, time.Now().Add(ttl))
	fields := map[string]string{fieldHash: r.SecretHash, fieldNodes: r.Nodes, fieldExpires: r.Expires.UTC().Format(time.RFC3339)}
	if req.Approve {
		fields[fieldApprove] = "true"
	}
	if req.Life > 0 {
		fields[fieldLife] = req.Life.String()
	}
	secret := s.secret(secretName(KindToken, r.ID), KindToken, fields)
	if _, err := s.secrets.Create(ctx, secret, metav1.CreateOptions{}); err != nil {
		return join.Token{}, fmt.Errorf("nodeidentity: create token: %w", err)
	}
	return token, nil
}

// checkPattern refuses what no node name can match.
func checkPattern(nodes string) error {
	if _, err := path.Match(nodes, "x"); err != nil || nodes == "" || strings.Contains(nodes, "/") {
		return fmt.Errorf("nodeidentity: %q is neither a node's name nor a pattern of names such as edge-*", nodes)
	}
	if !strings.ContainsAny(nodes, `*?[\`) {
		if err := join.CheckNodeName(nodes); err != nil {
			return fmt.Errorf("nodeidentity: %q: %w", nodes, err)
		}
	}
	return nil
}

// deleteExpiredTokens removes tokens that expired long ago.
func (s *Store) deleteExpiredTokens(ctx context.Context) error {
	all, err := s.ListTokens(ctx)
	if err != nil {
		return err
	}
	for _, r := range all {
		if time.Since(r.Expires) < keepExpired {
			continue
		}
		err := s.secrets.Delete(ctx, secretName(KindToken, r.ID), metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("nodeidentity: remove expired token %s: %w", r.ID, err)
		}
	}
	return nil
}

// ListTokens lists all tokens, the one that expires first at the front. Expired
// tokens are kept for a day.
func (s *Store) ListTokens(ctx context.Context) ([]join.Record, error) {
	list, err := s.secrets.List(ctx, metav1.ListOptions{LabelSelector: KindLabel + "=" + KindToken})
	if err != nil {
		return nil, fmt.Errorf("nodeidentity: list tokens: %w", err)
	}
	out := make([]join.Record, 0, len(list.Items))
	for i := range list.Items {
		id, ok := strings.CutPrefix(list.Items[i].Name, secretName(KindToken, ""))
		if !ok {
			continue
		}
		// A damaged Secret is listed with what it has, so that it can be deleted.
		r, _ := record(id, &list.Items[i])
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b join.Record) int {
		if c := a.Expires.Compare(b.Expires); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out, nil
}

// DeleteToken deletes a token, given its ID or the whole token. A machine that has
// joined with it stays a node. For a token that does not exist the error is
// join.ErrTokenInvalid.
func (s *Store) DeleteToken(ctx context.Context, idOrToken string) error {
	id := idOrToken
	if t, err := join.ParseToken(idOrToken); err == nil {
		id = t.ID
	}
	if !lowerAlphanumeric(id) {
		return fmt.Errorf("nodeidentity: delete token: %w", join.ErrTokenInvalid)
	}
	err := s.secrets.Delete(ctx, secretName(KindToken, id), metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("nodeidentity: delete token %s: there is none with this ID: %w", id, join.ErrTokenInvalid)
	}
	if err != nil {
		return fmt.Errorf("nodeidentity: delete token %s: %w", id, err)
	}
	return nil
}

// Token reads one token.
func (s *Store) Token(ctx context.Context, id string) (join.Record, error) {
	r, _, err := s.token(ctx, id)
	return r, err
}

func (s *Store) token(ctx context.Context, id string) (join.Record, *corev1.Secret, error) {
	if !lowerAlphanumeric(id) { // it comes from whoever can reach cloudcore
		return join.Record{}, nil, join.ErrTokenInvalid
	}
	secret, err := s.secrets.Get(ctx, secretName(KindToken, id), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return join.Record{}, nil, join.ErrTokenInvalid
	}
	if err != nil {
		return join.Record{}, nil, fmt.Errorf("nodeidentity: read token: %w", err)
	}
	r, err := record(id, secret)
	if err != nil {
		return join.Record{}, nil, fmt.Errorf("nodeidentity: token %s: %w: %w", id, join.ErrTokenInvalid, err)
	}
	return r, secret, nil
}

func record(id string, secret *corev1.Secret) (join.Record, error) {
	r := join.Record{
		ID: id, SecretHash: string(secret.Data[fieldHash]), Nodes: string(secret.Data[fieldNodes]),
		UsedBy: string(secret.Data[fieldUsedBy]), UsedFor: string(secret.Data[fieldUsedFor]),
	}
	// The time of use is for people only, so a damaged one is ignored.
	r.UsedAt, _ = time.Parse(time.RFC3339, string(secret.Data[fieldUsedAt]))
	r.Approve = string(secret.Data[fieldApprove]) == "true"
	var err error
	if text := string(secret.Data[fieldLife]); text != "" {
		if r.Life, err = time.ParseDuration(text); err != nil {
			return r, fmt.Errorf("field %s: %w", fieldLife, err)
		}
	}
	if r.Expires, err = time.Parse(time.RFC3339, string(secret.Data[fieldExpires])); err != nil {
		return r, fmt.Errorf("field %s: %w", fieldExpires, err)
	}
	if r.SecretHash == "" || r.Nodes == "" || secret.Labels[KindLabel] != KindToken {
		return r, errors.New("the secret is not a token")
	}
	return r, nil
}

// Use marks the token as used by the key for the node. The life of certificates that it
// asks for becomes the node's own.
func (s *Store) Use(ctx context.Context, id, node, keyHash string) error {
	for range maxTries {
		r, secret, err := s.token(ctx, id)
		switch {
		case err != nil:
			return err
		case r.UsedBy == keyHash && r.UsedFor == node:
			return s.setLife(ctx, node, r.Life)
		case r.UsedBy != "":
			return join.ErrTokenUsed
		}
		secret.Data[fieldUsedBy], secret.Data[fieldUsedFor] = []byte(keyHash), []byte(node)
		secret.Data[fieldUsedAt] = []byte(time.Now().UTC().Format(time.RFC3339))
		_, err = s.secrets.Update(ctx, secret, metav1.UpdateOptions{})
		if err == nil {
			return s.setLife(ctx, node, r.Life)
		}
		if apierrors.IsNotFound(err) {
			return join.ErrTokenInvalid // deleted a moment ago
		}
		if !apierrors.IsConflict(err) {
			return fmt.Errorf("nodeidentity: use token %s: %w", id, err)
		}
	}
	return fmt.Errorf("nodeidentity: use token %s: %w", id, join.ErrServer)
}
