package auth

import (
	"context"
	"errors"
	"net/http"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// MaxToken is how many bytes a bearer token may have.
const MaxToken = 16 << 10

// maxReviews is how many TokenReviews one port may have under way.
const maxReviews = 16

// ErrBusy is returned while too many tokens are being reviewed.
var ErrBusy = errors.New("too many tokens are being reviewed: try again")

// BearerToken returns the bearer token of a request; "" if it has none.
func BearerToken(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// Reviewer has the API server review tokens, a few at a time. Its method may be called by
// several goroutines at once.
type Reviewer struct {
	cloud kubernetes.Interface
	slots chan struct{} // one for each TokenReview under way
}

// NewReviewer makes a Reviewer.
func NewReviewer(cloud kubernetes.Interface) *Reviewer {
	return &Reviewer{cloud: cloud, slots: make(chan struct{}, maxReviews)}
}

// Review returns what the API server knows about a token. It does not wait for its turn: it
// returns ErrBusy.
func (r *Reviewer) Review(ctx context.Context, token string) (authenticationv1.TokenReviewStatus, error) {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	default:
		return authenticationv1.TokenReviewStatus{}, ErrBusy
	}
	review, err := r.cloud.AuthenticationV1().TokenReviews().Create(ctx,
		&authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil {
		return authenticationv1.TokenReviewStatus{}, err
	}
	return review.Status, nil
}
