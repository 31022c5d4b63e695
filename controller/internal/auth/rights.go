package auth

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Rights asks the API server what users may do. All fields but Limit are required. Its methods
// may be called by several goroutines at once.
type Rights struct {
	Cloud        kubernetes.Interface
	AllowedFresh time.Duration // how long a yes counts
	DeniedFresh  time.Duration // how long a no counts
	Logger       *slog.Logger
	// Limit is called with the name of a user before the API server is asked, which it is in the
	// name of cloudcore. Its error is returned in place of an answer. nil has no limit.
	Limit func(user string) error

	mu        sync.Mutex
	decisions Cache[[sha256.Size]byte, bool] // by the hash of the question, which may be long
}

// Allowed reports whether the user has the right. Its error reveals nothing about the API
// server: a client may read it.
func (r *Rights) Allowed(ctx context.Context, u authenticationv1.UserInfo, right authorizationv1.ResourceAttributes) (bool, error) {
	return r.allowed(ctx, u, authorizationv1.SubjectAccessReviewSpec{ResourceAttributes: &right})
}

// AllowedURL is Allowed for a path that is no resource, such as /debug/pprof/heap.
func (r *Rights) AllowedURL(ctx context.Context, u authenticationv1.UserInfo, right authorizationv1.NonResourceAttributes) (bool, error) {
	return r.allowed(ctx, u, authorizationv1.SubjectAccessReviewSpec{NonResourceAttributes: &right})
}

func (r *Rights) allowed(ctx context.Context, u authenticationv1.UserInfo, spec authorizationv1.SubjectAccessReviewSpec) (bool, error) {
	spec.User, spec.UID, spec.Groups = u.Username, u.UID, u.Groups
	if len(u.Extra) > 0 {
		spec.Extra = make(map[string]authorizationv1.ExtraValue, len(u.Extra))
		for k, v := range u.Extra {
			spec.Extra[k] = authorizationv1.ExtraValue(v)
		}
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return false, fmt.Errorf("rights: %w", err)
	}
	key := sha256.Sum256(text)
	r.mu.Lock()
	ok, known := r.decisions.Get(key, time.Now())
	r.mu.Unlock()
	if known {
		return ok, nil
	}
	if r.Limit != nil {
		if err := r.Limit(u.Username); err != nil {
			return false, err
		}
	}
	review, err := r.Cloud.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		if !errors.Is(err, context.Canceled) { // of a client that has gone
			r.Logger.Warn("the API server did not answer a SubjectAccessReview", "user", u.Username, "err", err)
		}
		return false, fmt.Errorf("the API server did not answer whether user %s may do this", u.Username)
	}
	fresh := r.DeniedFresh
	if review.Status.Allowed {
		fresh = r.AllowedFresh
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.decisions.Put(key, review.Status.Allowed, time.Now().Add(fresh))
	return review.Status.Allowed, nil
}
