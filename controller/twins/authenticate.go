package twins

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	frontRefresh = time.Minute      // how often the front proxy's authority is read again
	frontRetry   = 2 * time.Second  // after it could not be read
	answerFresh  = 10 * time.Second // how long the API server's word on a token or a right is kept
	maxAnswers   = 4096             // answers kept; one more forgets all
	maxToken     = 16 << 10         // bytes of a token
	maxReviews   = 16               // TokenReviews under way
	maxGroups    = 1024             // groups and extra values of a user
)

// authenticator authenticates clients: the API server's front proxy, which names the user in
// headers, and bearers of tokens.
type authenticator struct {
	cloud   kubernetes.Interface
	log     *slog.Logger
	reviews chan struct{} // one for each TokenReview under way

	mu      sync.Mutex
	front   frontProxy
	answers answers[[sha256.Size]byte, authenticationv1.UserInfo]
}

// frontProxy says who may name users in headers, and in which.
type frontProxy struct {
	roots         *x509.CertPool // nil until read
	names         []string       // empty allows every name
	user, groups  []string
	extraPrefixes []string
}

func newAuthenticator(cloud kubernetes.Interface, log *slog.Logger) *authenticator {
	return &authenticator{cloud: cloud, log: log, reviews: make(chan struct{}, maxReviews)}
}

// run keeps the front proxy's authority fresh until ctx ends.
func (a *authenticator) run(ctx context.Context) {
	warned := false
	for {
		wait := frontRefresh
		if err := a.refresh(ctx); err != nil && ctx.Err() == nil {
			wait = frontRetry
			if !warned {
				a.log.Warn("the authority of the API server's front proxy cannot be read; the last known one is used", "err", err)
			}
			warned = true
		} else {
			warned = false
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

func (a *authenticator) refresh(ctx context.Context) error {
	m, err := a.cloud.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(ctx, "extension-apiserver-authentication", metav1.GetOptions{})
	if err != nil {
		return err
	}
	front := frontProxy{roots: x509.NewCertPool()}
	if !front.roots.AppendCertsFromPEM([]byte(m.Data["requestheader-client-ca-file"])) {
		return errors.New("config map kube-system/extension-apiserver-authentication has no requestheader-client-ca-file: the API server runs without --requestheader-client-ca-file, so it cannot serve aggregated APIs")
	}
	for key, into := range map[string]*[]string{
		"requestheader-allowed-names": &front.names, "requestheader-username-headers": &front.user,
		"requestheader-group-headers": &front.groups, "requestheader-extra-headers-prefix": &front.extraPrefixes,
	} {
		if text := m.Data[key]; text != "" {
			if err := json.Unmarshal([]byte(text), into); err != nil {
				return fmt.Errorf("config map kube-system/extension-apiserver-authentication: %s: %w", key, err)
			}
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.front = front
	return nil
}

// authenticate finds the user who sent a request.
func (a *authenticator) authenticate(r *http.Request) (authenticationv1.UserInfo, error) {
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		return a.header(r)
	}
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") && token != "" {
		return a.token(r.Context(), strings.TrimSpace(token))
	}
	return authenticationv1.UserInfo{}, apierrors.NewUnauthorized("ask the API server, or send a bearer token")
}

// header reads the user from the headers of the front proxy.
func (a *authenticator) header(r *http.Request) (user authenticationv1.UserInfo, err error) {
	a.mu.Lock()
	front := a.front
	a.mu.Unlock()
	if front.roots == nil {
		return user, apierrors.NewUnauthorized("cloudcore has not yet read the authority of the API server's front proxy")
	}
	between := x509.NewCertPool()
	for _, c := range r.TLS.PeerCertificates[1:] {
		between.AddCert(c)
	}
	leaf := r.TLS.PeerCertificates[0]
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: front.roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return user, apierrors.NewUnauthorized("the client certificate is not the API server's front proxy's")
	}
	if len(front.names) > 0 && !slices.Contains(front.names, leaf.Subject.CommonName) {
		return user, apierrors.NewUnauthorized("the client certificate has none of the allowed names of the front proxy")
	}
	for _, h := range front.user {
		if user.Username == "" {
			user.Username = r.Header.Get(h)
		}
	}
	if user.Username == "" {
		return user, apierrors.NewUnauthorized("the front proxy names no user")
	}
	for _, h := range front.groups {
		user.Groups = append(user.Groups, r.Header.Values(h)...)
	}
	user.Extra = make(map[string]authenticationv1.ExtraValue)
	for header, values := range r.Header {
		for _, prefix := range front.extraPrefixes {
			if len(header) > len(prefix) && strings.EqualFold(header[:len(prefix)], prefix) {
				key, err := url.PathUnescape(strings.ToLower(header[len(prefix):]))
				if err != nil {
					key = strings.ToLower(header[len(prefix):])
				}
				user.Extra[key] = append(user.Extra[key], values...)
			}
		}
	}
	if len(user.Groups)+len(user.Extra) > maxGroups {
		return user, apierrors.NewUnauthorized("the user has too many groups")
	}
	return user, nil
}

// token asks the API server for the user of a token.
func (a *authenticator) token(ctx context.Context, token string) (user authenticationv1.UserInfo, err error) {
	if len(token) > maxToken {
		return user, apierrors.NewUnauthorized("the token is longer than 16 KiB")
	}
	key := sha256.Sum256([]byte(token))
	a.mu.Lock()
	user, ok := a.answers.get(key)
	a.mu.Unlock()
	if ok {
		return user, nil
	}
	select {
	case a.reviews <- struct{}{}:
		defer func() { <-a.reviews }()
	default:
		return user, apierrors.NewTooManyRequests("too many tokens are being reviewed", 1)
	}
	review, err := a.cloud.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil {
		a.log.Warn("the API server does not review a token", "err", err) // the client learns no address of it
		return user, apierrors.NewUnauthorized("the API server does not review the token")
	}
	if !review.Status.Authenticated {
		return user, apierrors.NewUnauthorized("the API server does not know the token")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers.put(key, review.Status.User)
	return review.Status.User, nil
}

// authorizer asks the API server what users may do.
type authorizer struct {
	cloud kubernetes.Interface
	log   *slog.Logger

	mu      sync.Mutex
	answers answers[string, bool]
}

func newAuthorizer(cloud kubernetes.Interface, log *slog.Logger) *authorizer {
	return &authorizer{cloud: cloud, log: log}
}

// check returns an error if the user may not do what the request asks for.
func (a *authorizer) check(ctx context.Context, user authenticationv1.UserInfo, q *request) error {
	spec := authorizationv1.SubjectAccessReviewSpec{
		User: user.Username, Groups: user.Groups, UID: user.UID,
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: q.namespace, Verb: q.verb, Group: Group, Version: Version, Resource: Resource, Name: q.name,
		},
	}
	for k, v := range user.Extra {
		if spec.Extra == nil {
			spec.Extra = make(map[string]authorizationv1.ExtraValue)
		}
		spec.Extra[k] = authorizationv1.ExtraValue(v)
	}
	key, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	a.mu.Lock()
	allowed, ok := a.answers.get(string(key))
	a.mu.Unlock()
	if !ok {
		review, err := a.cloud.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
		if err != nil {
			a.log.Warn("the API server did not answer a SubjectAccessReview", "user", user.Username, "err", err)
			return apierrors.NewServiceUnavailable("the API server does not say what the user may do")
		}
		allowed = review.Status.Allowed
		a.mu.Lock()
		a.answers.put(string(key), allowed)
		a.mu.Unlock()
	}
	if !allowed {
		where := "in the cluster"
		if q.namespace != "" {
			where = "in namespace " + q.namespace
		}
		return &apierrors.StatusError{ErrStatus: metav1.Status{
			Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden,
			Details: &metav1.StatusDetails{Group: Group, Kind: Resource, Name: q.name},
			Message: fmt.Sprintf("user %q may not %s twins.%s %s", user.Username, q.verb, Group, where),
		}}
	}
	return nil
}

// answers keeps answers until they are stale. The zero value is empty; its owner locks it.
type answers[K comparable, V any] struct{ items map[K]answer[V] }

type answer[V any] struct {
	value V
	until time.Time
}

func (c *answers[K, V]) get(k K) (V, bool) {
	item, ok := c.items[k]
	return item.value, ok && time.Now().Before(item.until)
}

func (c *answers[K, V]) put(k K, v V) {
	if c.items == nil || len(c.items) >= maxAnswers {
		c.items = make(map[K]answer[V])
	}
	c.items[k] = answer[V]{v, time.Now().Add(answerFresh)}
}
