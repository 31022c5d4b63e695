package kubeletproxy

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/controller/internal/auth"
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

// newRights makes what asks the API server what users may do.
func newRights(cloud kubernetes.Interface, log *slog.Logger) *auth.Rights {
	return &auth.Rights{Cloud: cloud, AllowedFresh: allowedFresh, DeniedFresh: deniedFresh, Logger: log}
}

// deniedError is the answer to a user without the right.
type deniedError struct {
	user string
	node string
	need right
}

func (e *deniedError) Error() string {
	return fmt.Sprintf("Forbidden (user=%s, verb=%s, resource=nodes, subresource(s)=%v, node=%s)", e.user, e.need.verb, e.need.subresources, e.node)
}

// authorize returns nil if the user has the right that the request needs.
func authorize(ctx context.Context, rights *auth.Rights, u authenticationv1.UserInfo, node string, need right) error {
	for _, sub := range need.subresources {
		ok, err := rights.Allowed(ctx, u, authorizationv1.ResourceAttributes{Verb: need.verb, Version: "v1", Resource: "nodes", Subresource: sub, Name: node})
		if err != nil {
			return err
		}
		if ok {
			return nil
		}
	}
	return &deniedError{u.Username, node, need}
}
