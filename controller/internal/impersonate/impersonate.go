package impersonate

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
var ErrNoNode = errors.New("impersonate: the call's context names no node")

type nodeKey struct{}

// With returns a context whose calls are made as the node. For a name that no Node can have,
// the calls fail with ErrNoNode.
func With(ctx context.Context, node string) context.Context {
	return context.WithValue(ctx, nodeKey{}, node)
}

// Mode is how a node is impersonated.
type Mode string

const (
	// Constrained names the user alone: the API server adds the group of nodes
	// (KEP-5284). It takes Kubernetes 1.36 or later and the role that package
	// install ships, which allows to act as nodes and as nobody else.
	Constrained Mode = "constrained"
	// Legacy names user and groups. It works with every Kubernetes, and takes the
	// right to impersonate every user, with which its holder can become an
	// administrator.
	Legacy Mode = "legacy"
)

// probeNode is the node that Detect impersonates; no right depends on the name.
const probeNode = "edgekit-probe"

// Client makes the client that acts as nodes, from cloudcore's own
// configuration, which must be allowed to impersonate them in the given mode. It
// follows no redirects.
func Client(cfg *rest.Config, mode Mode) (*kubernetes.Clientset, error) {
	if cfg == nil {
		return nil, errors.New("impersonate: no client configuration")
	}
	if mode != Constrained && mode != Legacy {
		return nil, fmt.Errorf("impersonate: mode %q: want %q or %q", mode, Constrained, Legacy)
	}
	if cfg.Impersonate.UserName != "" {
		return nil, errors.New("impersonate: the client configuration already impersonates " + cfg.Impersonate.UserName)
	}
	own := rest.CopyConfig(cfg)
	own.Wrap(func(next http.RoundTripper) http.RoundTripper { return &roundTripper{next: next, mode: mode} })
	hc, err := HTTPClient(own)
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfigAndClient(own, hc)
	if err != nil {
		return nil, fmt.Errorf("impersonate: %w", err)
	}
	return client, nil
}

// HTTPClient makes an HTTP client that follows no redirects: it would send the
// credentials to the address in the answer.
func HTTPClient(cfg *rest.Config) (*http.Client, error) {
	shared, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("impersonate: %w", err)
	}
	own := *shared // it may be http.DefaultClient
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &own, nil
}

// Detect finds the mode: Constrained, if the API server and cloudcore's rights allow it. It asks
// the API server for the user behind a node that is named without groups.
func Detect(ctx context.Context, cfg *rest.Config) (Mode, error) {
	client, err := Client(cfg, Constrained)
	if err != nil {
		return "", err
	}
	if hc, ok := client.CoreV1().RESTClient().(*rest.RESTClient); ok {
		defer hc.Client.CloseIdleConnections()
	}
	review, err := client.AuthenticationV1().SelfSubjectReviews().Create(With(ctx, probeNode), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	switch {
	case apierrors.IsForbidden(err), apierrors.IsNotFound(err):
		return Legacy, nil
	case err != nil:
		return "", fmt.Errorf("impersonate: ask who a node is: %w", err)
	case slices.Contains(review.Status.UserInfo.Groups, NodesGroup):
		return Constrained, nil
	}
	return Legacy, nil
}

type roundTripper struct {
	next http.RoundTripper
	mode Mode
}

// RoundTrip adds the node's identity to a copy of the request.
func (rt *roundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	node, _ := req.Context().Value(nodeKey{}).(string)
	if node == "" || len(validation.NameIsDNSSubdomain(node, false)) > 0 {
		return nil, ErrNoNode
	}
	req = req.Clone(req.Context())
	req.Header.Set(transport.ImpersonateUserHeader, UserPrefix+node)
	if rt.mode == Legacy {
		req.Header[transport.ImpersonateGroupHeader] = []string{NodesGroup, AuthenticatedGroup}
	}
	return rt.next.RoundTrip(req)
}

// WrappedRoundTripper returns the transport below, as client-go expects of a
// wrapper.
func (rt *roundTripper) WrappedRoundTripper() http.RoundTripper { return rt.next }
