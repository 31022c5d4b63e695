package asnode

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"
)

// The identity of a node in Kubernetes.
const (
	UserPrefix         = "system:node:"
	NodesGroup         = "system:nodes"
	AuthenticatedGroup = "system:authenticated"
)

// ErrNoNode is the error of a call whose context names no node.
var ErrNoNode = errors.New("asnode: the call's context names no node")

type nodeKey struct{}

// With gives a context whose calls are made as the node. A name that no Node
// can have gives calls that fail with ErrNoNode.
func With(ctx context.Context, node string) context.Context {
	return context.WithValue(ctx, nodeKey{}, node)
}

// Client makes the client that acts as nodes, from cloudcore's own
// configuration, which must be allowed to impersonate users and the groups
// system:nodes and system:authenticated.
func Client(cfg *rest.Config) (*kubernetes.Clientset, error) {
	if cfg == nil {
		return nil, errors.New("asnode: no client configuration")
	}
	if cfg.Impersonate.UserName != "" {
		return nil, errors.New("asnode: the client configuration already impersonates " + cfg.Impersonate.UserName)
	}
	own := rest.CopyConfig(cfg)
	own.Wrap(func(next http.RoundTripper) http.RoundTripper { return &roundTripper{next: next} })
	client, err := kubernetes.NewForConfig(own)
	if err != nil {
		return nil, fmt.Errorf("asnode: %w", err)
	}
	return client, nil
}

type roundTripper struct{ next http.RoundTripper }

// RoundTrip adds the node's identity to a copy of the request.
func (rt *roundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	node, _ := req.Context().Value(nodeKey{}).(string)
	if node == "" || len(validation.NameIsDNSSubdomain(node, false)) > 0 {
		return nil, ErrNoNode
	}
	req = req.Clone(req.Context())
	req.Header.Set(transport.ImpersonateUserHeader, UserPrefix+node)
	req.Header[transport.ImpersonateGroupHeader] = []string{NodesGroup, AuthenticatedGroup}
	return rt.next.RoundTrip(req)
}

// WrappedRoundTripper gives the transport below, as client-go expects of a
// wrapper.
func (rt *roundTripper) WrappedRoundTripper() http.RoundTripper { return rt.next }
