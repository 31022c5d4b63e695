package nodeidentity

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/hub/join"
)

const (
	// CAName is the name of the Secret with the certificate authorities. An
	// operator who has an authority may create it, with tls.crt and tls.key,
	// before the first cloudcore runs.
	CAName = "edgekit-ca"
	// maxClockSkew is by how much this machine's clock may differ from the API
	// server's when an authority is made.
	maxClockSkew = time.Hour
)

// Authorities loads the certificate authorities, or makes one if there is none. Several
// programs that do so at the same time get the same one.
func (s *Store) Authorities(ctx context.Context) (join.Authorities, error) {
	return s.authorities(ctx, NewCA)
}

// NewCA makes an authority whose name has the time, so that people see which of two
// is the newer.
func NewCA(now time.Time) (*join.CA, error) {
	return join.NewCA("edgekit "+now.UTC().Format("2006-01-02T15:04:05Z"), now)
}

// Import is Authorities with an authority of the operator's, which is stored if there is none
// yet. If there is another one, the error says to use a rotation.
func (s *Store) Import(ctx context.Context, given *join.CA) (join.Authorities, error) {
	if err := given.Check(time.Now()); err != nil {
		return join.Authorities{}, err
	}
	a, err := s.authorities(ctx, func(time.Time) (*join.CA, error) { return given, nil })
	if err != nil {
		return a, err
	}
	for _, have := range a.List() {
		if have.Pin == given.Pin() && have.Stage != "retired" {
			return a, nil // also while it comes or goes: the Secret says where it stands
		}
	}
	return join.Authorities{}, fmt.Errorf(
		"nodeidentity: the cluster has another authority already (pin %s in secret %s/%s): change over with 'edgectl ca rotate publish --cert FILE --key FILE', or leave yours out",
		a.Issuer.Pin(), s.cfg.Namespace, CAName)
}

func (s *Store) authorities(ctx context.Context, first func(now time.Time) (*join.CA, error)) (join.Authorities, error) {
	for range maxTries {
		secret, err := s.secrets.Get(ctx, CAName, metav1.GetOptions{})
		if err == nil {
			return s.readLabeled(ctx, secret)
		}
		if !apierrors.IsNotFound(err) {
			return join.Authorities{}, fmt.Errorf("nodeidentity: read secret %s/%s: %w", s.cfg.Namespace, CAName, err)
		}
		ca, err := first(time.Now())
		if err != nil {
			return join.Authorities{}, fmt.Errorf("nodeidentity: %w", err)
		}
		a := join.Authorities{Issuer: ca}
		fresh := s.secret(CAName, KindCA, nil)
		fresh.Type = corev1.SecretTypeTLS
		if fresh.Data, err = a.Files(); err != nil {
			return join.Authorities{}, fmt.Errorf("nodeidentity: %w", err)
		}
		made, err := s.secrets.Create(ctx, fresh, metav1.CreateOptions{})
		if err == nil {
			return a, s.checkClock(ctx, made)
		}
		if !apierrors.IsAlreadyExists(err) {
			return join.Authorities{}, fmt.Errorf("nodeidentity: create secret %s/%s: %w", s.cfg.Namespace, CAName, err)
		}
	}
	return join.Authorities{}, fmt.Errorf("nodeidentity: secret %s/%s is created and deleted again and again", s.cfg.Namespace, CAName)
}

// checkClock removes an authority that was made while this machine's clock was
// wrong: its validity would be wrong for ten years.
func (s *Store) checkClock(ctx context.Context, made *corev1.Secret) error {
	if made.CreationTimestamp.IsZero() {
		return nil
	}
	off := time.Since(made.CreationTimestamp.Time).Round(time.Second)
	if off.Abs() < maxClockSkew {
		return nil
	}
	err := fmt.Errorf("nodeidentity: this machine's clock differs by %s from the API server's: set it before a certificate authority is made", off)
	if undo := s.deleteSecret(ctx, made); undo != nil {
		return fmt.Errorf("%w; remove secret %s/%s: %w", err, s.cfg.Namespace, CAName, undo)
	}
	return err
}

// readLabeled reads the Secret, and labels one that an operator made, so that
// watches select it.
func (s *Store) readLabeled(ctx context.Context, secret *corev1.Secret) (join.Authorities, error) {
	a, err := s.parseAuthorities(secret)
	if err != nil {
		return a, err
	}
	if secret.Labels[KindLabel] != KindCA {
		if secret.Labels == nil {
			secret.Labels = make(map[string]string)
		}
		secret.Labels[KindLabel] = KindCA
		if _, err := s.secrets.Update(ctx, secret, metav1.UpdateOptions{}); err != nil && !lostRace(err) {
			return a, fmt.Errorf("nodeidentity: label secret %s/%s: %w", s.cfg.Namespace, CAName, err)
		}
	}
	return a, nil
}

func (s *Store) parseAuthorities(secret *corev1.Secret) (join.Authorities, error) {
	a, err := join.ParseAuthorities(secret.Data)
	if err == nil {
		err = a.Issuer.Check(time.Now())
	}
	if err != nil {
		return a, fmt.Errorf("nodeidentity: secret %s/%s: %w", s.cfg.Namespace, CAName, err)
	}
	return a, nil
}

// Rotate moves the authorities one stage on: change is one of the methods of
// join.Authorities. Every cloudcore follows when it sees the Secret change.
func (s *Store) Rotate(ctx context.Context, change func(join.Authorities) (join.Authorities, error)) (join.Authorities, error) {
	for range maxTries {
		secret, err := s.secrets.Get(ctx, CAName, metav1.GetOptions{})
		if err != nil {
			return join.Authorities{}, fmt.Errorf("nodeidentity: read secret %s/%s: %w", s.cfg.Namespace, CAName, err)
		}
		a, err := join.ParseAuthorities(secret.Data)
		if err != nil {
			return a, fmt.Errorf("nodeidentity: secret %s/%s: %w", s.cfg.Namespace, CAName, err)
		}
		next, err := change(a)
		if err != nil {
			return a, err
		}
		files, err := next.Files()
		if err != nil {
			return a, fmt.Errorf("nodeidentity: %w", err)
		}
		secret.Data = files
		_, err = s.secrets.Update(ctx, secret, metav1.UpdateOptions{})
		if err == nil {
			return next, nil
		}
		if !lostRace(err) {
			return a, fmt.Errorf("nodeidentity: update secret %s/%s: %w", s.cfg.Namespace, CAName, err)
		}
	}
	return join.Authorities{}, fmt.Errorf("nodeidentity: update secret %s/%s: %w", s.cfg.Namespace, CAName, join.ErrServer)
}
