package kubeletproxy

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// How long the API server's word on a right is kept: the kubelet's times.
const (
	allowedFresh = 5 * time.Minute
	deniedFresh  = 30 * time.Second
)

// right is the right that a request needs: a verb on one of some subresources of
// its node.
type right struct {
	verb         string
	subresources []string // any of them will do
}

// requiredRight returns the right that a request needs, as the kubelet's API documents it:
// https://kubernetes.io/docs/reference/access-authn-authz/kubelet-authn-authz/
func requiredRight(method, path string) right {
	verb := map[string]string{
		http.MethodPost: "create", http.MethodGet: "get", http.MethodHead: "get", http.MethodPut: "update",
		http.MethodPatch: "patch", http.MethodDelete: "delete",
	}[method]
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch first {
	case "exec", "attach", "portForward", "run":
		// A WebSocket handshake is always a GET (RFC 6455 section 4.1), but this runs
		// commands.
		return right{"create", []string{"proxy"}}
	case "stats":
		return right{verb, []string{"stats"}}
	case "metrics":
		return right{verb, []string{"metrics"}}
	case "logs":
		return right{verb, []string{"log"}}
	case "checkpoint":
		return right{verb, []string{"checkpoint"}}
	case "pods", "runningpods":
		return right{verb, []string{"pods", "proxy"}}
	case "healthz":
		return right{verb, []string{"healthz", "proxy"}}
	case "configz":
		return right{verb, []string{"configz", "proxy"}}
	}
	return right{verb, []string{"proxy"}}
}

// authorizer asks the API server what users may.
type authorizer struct {
	cloud kubernetes.Interface
	log   *slog.Logger

	mu        sync.Mutex
	decisions answerCache[string, bool]
}

func newAuthorizer(cloud kubernetes.Interface, log *slog.Logger) *authorizer {
	return &authorizer{cloud: cloud, log: log}
}

// deniedError is the answer to a user without the right.
type deniedError struct {
	user user
	node string
	need right
}

func (e *deniedError) Error() string {
	return fmt.Sprintf("Forbidden (user=%s, verb=%s, resource=nodes, subresource(s)=%v, node=%s)", e.user.name, e.need.verb, e.need.subresources, e.node)
}

// authorize returns nil if the user has the right that the request needs.
func (a *authorizer) authorize(ctx context.Context, u user, node string, need right) error {
	for _, sub := range need.subresources {
		ok, err := a.review(ctx, u, node, need.verb, sub)
		if err != nil {
			return err
		}
		if ok {
			return nil
		}
	}
	return &deniedError{u, node, need}
}

func (a *authorizer) review(ctx context.Context, u user, node, verb, sub string) (bool, error) {
	spec := authorizationv1.SubjectAccessReviewSpec{
		User: u.name, UID: u.uid, Groups: u.groups,
		ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: verb, Version: "v1", Resource: "nodes", Subresource: sub, Name: node},
	}
	if len(u.extra) > 0 {
		spec.Extra = make(map[string]authorizationv1.ExtraValue, len(u.extra))
		for k, v := range u.extra {
			spec.Extra[k] = authorizationv1.ExtraValue(v)
		}
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return false, fmt.Errorf("rights: %w", err)
	}
	a.mu.Lock()
	ok, known := a.decisions.get(string(text), time.Now())
	a.mu.Unlock()
	if known {
		return ok, nil
	}
	review, err := a.cloud.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		// The client must not learn the API server's address.
		a.log.Warn("the API server did not answer a SubjectAccessReview", "user", u.name, "err", err)
		return false, fmt.Errorf("the API server did not answer whether user %s may do this", u.name)
	}
	fresh := deniedFresh
	if review.Status.Allowed {
		fresh = allowedFresh
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.decisions.put(string(text), review.Status.Allowed, time.Now().Add(fresh))
	return review.Status.Allowed, nil
}
