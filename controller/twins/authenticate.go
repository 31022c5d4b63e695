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

	"github.com/edgekit/edgekit/controller/internal/auth"
)

const (
	answerFresh = 10 * time.Second // how long the API server's word on a token or a right is kept
	maxGroups   = 1024             // groups and extra values of a user
)

// authenticator authenticates clients: the API server's front proxy, which names the user in
// headers, and bearers of tokens.
type authenticator struct {
	cloud    kubernetes.Interface
	log      *slog.Logger
	reviewer *auth.Reviewer

	mu    sync.Mutex
	front frontProxy
	users auth.Cache[[sha256.Size]byte, authenticationv1.UserInfo] // by the hash of their token
}

// frontProxy says who may name users in headers, and in which.
type frontProxy struct {
	roots         *x509.CertPool // nil until read
	names         []string       // empty allows every name
	user, groups  []string
	extraPrefixes []string
}

func newAuthenticator(cloud kubernetes.Interface, log *slog.Logger) *authenticator {
	return &authenticator{cloud: cloud, log: log, reviewer: auth.NewReviewer(cloud)}
}

// run keeps the front proxy's authority fresh until ctx ends.
func (a *authenticator) run(ctx context.Context) {
	auth.KeepFresh(ctx, a.refresh, func(err error) {
		a.log.Warn("the authority of the API server's front proxy cannot be read; the last known one is used", "err", err)
	})
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
	if token := auth.BearerToken(r); token != "" {
		return a.token(r.Context(), token)
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
	if err := auth.VerifyClient(front.roots, r.TLS.PeerCertificates); err != nil {
		return user, apierrors.NewUnauthorized("the client certificate is not the API server's front proxy's")
	}
	if len(front.names) > 0 && !slices.Contains(front.names, r.TLS.PeerCertificates[0].Subject.CommonName) {
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
	if len(token) > auth.MaxToken {
		return user, apierrors.NewUnauthorized("the token is longer than 16 KiB")
	}
	key := sha256.Sum256([]byte(token))
	a.mu.Lock()
	user, ok := a.users.Get(key, time.Now())
	a.mu.Unlock()
	if ok {
		return user, nil
	}
	status, err := a.reviewer.Review(ctx, token)
	if errors.Is(err, auth.ErrBusy) {
		return user, apierrors.NewTooManyRequests("too many tokens are being reviewed", 1)
	}
	if err != nil {
		a.log.Warn("the API server does not review a token", "err", err) // the client learns no address of it
		return user, apierrors.NewUnauthorized("the API server does not review the token")
	}
	if !status.Authenticated {
		return user, apierrors.NewUnauthorized("the API server does not know the token")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.users.Put(key, status.User, time.Now().Add(answerFresh))
	return status.User, nil
}

// newRights makes what asks the API server what users may do.
func newRights(cloud kubernetes.Interface, log *slog.Logger) *auth.Rights {
	return &auth.Rights{Cloud: cloud, AllowedFresh: answerFresh, DeniedFresh: answerFresh, Logger: log}
}

// authorize returns an error if the user may not do what the request asks for.
func authorize(ctx context.Context, rights *auth.Rights, user authenticationv1.UserInfo, q *request) error {
	allowed, err := rights.Allowed(ctx, user, authorizationv1.ResourceAttributes{
		Namespace: q.namespace, Verb: q.verb, Group: Group, Version: Version, Resource: Resource, Name: q.name,
	})
	if err != nil {
		return apierrors.NewServiceUnavailable("the API server does not say what the user may do")
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
