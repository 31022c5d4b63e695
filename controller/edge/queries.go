package edge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/impersonate"
	nodesync "github.com/edgekit/edgekit/controller/internal/sync"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/jsonlimit"
	"github.com/edgekit/edgekit/meta/resources"
)

// maxCall is the size in bytes of the largest query body.
const maxCall = 64 << 10

// Handle has mux answer the nodes' queries: "serviceaccounts/token",
// "nodes/pods", "serviceaccounts", "podcertificaterequests", and those of one of Resources.
func (c *Controller) Handle(mux *hub.Mux) {
	mux.Handle(resources.ServiceAccountToken, hub.HandlerFunc(c.answerToken))
	mux.Handle(resources.NodePods, hub.HandlerFunc(c.answerBoundPods))
	mux.Handle(resources.PodCertificateRequests, hub.HandlerFunc(c.answerPodCertificate))
	mux.Handle(resources.ServiceAccounts, hub.HandlerFunc(c.answerQuery))
	for _, resource := range Resources() {
		mux.Handle(resource, hub.HandlerFunc(c.answerQuery))
	}
}

// answerToken requests a service account token as the node, so that NodeRestriction
// gives tokens only for pods that are bound to it.
func (c *Controller) answerToken(ctx context.Context, req hub.Request) (hub.Message, error) {
	key := req.Message.Key
	if len(req.Message.Body) > maxCall {
		return hub.Message{}, nodesync.Invalid(key, fmt.Errorf("body has %d bytes, the limit is %d", len(req.Message.Body), maxCall))
	}
	var want authenticationv1.TokenRequest
	if err := jsonlimit.Unmarshal(req.Message.Body, &want); err != nil {
		return hub.Message{}, nodesync.Invalid(key, fmt.Errorf("body is not the JSON of a TokenRequest: %w", err))
	}
	if ref := want.Spec.BoundObjectRef; ref == nil || ref.Kind != "Pod" || ref.Name == "" || ref.UID == "" {
		return hub.Message{}, nodesync.Invalid(key, errors.New("spec.boundObjectRef must name a Pod with its uid"))
	}
	clean := &authenticationv1.TokenRequest{Spec: want.Spec}
	got, err := c.createToken(ctx, req.Node, key, clean)
	if err != nil {
		return hub.Message{}, fmt.Errorf("edge: token: %w", nodesync.FromAPI(err))
	}
	body, err := json.Marshal(got)
	if err != nil {
		return hub.Message{}, fmt.Errorf("edge: token: %w", err)
	}
	return hub.Message{Body: body}, nil
}

// createToken makes one token. The node authorizer learns of a new pod a moment
// after cloudcore does: while that may be why it refuses, it is asked again.
func (c *Controller) createToken(ctx context.Context, node string, key hub.Key, want *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	accounts := c.cfg.NodeClient.CoreV1().ServiceAccounts(key.Namespace)
	for wait := 25 * time.Millisecond; ; wait *= 2 {
		got, err := accounts.CreateToken(impersonate.With(ctx, node), key.Name, want, metav1.CreateOptions{})
		if !apierrors.IsForbidden(err) || wait > time.Second {
			return got, err
		}
		pod, ok := c.pods.Load(cache.Name{Namespace: key.Namespace, Name: want.Spec.BoundObjectRef.Name})
		if !ok || pod.Object.UID != want.Spec.BoundObjectRef.UID || pod.Object.Spec.NodeName != node ||
			pod.Object.Spec.ServiceAccountName != key.Name {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(wait):
		}
	}
}

// answerBoundPods lists the uids of the pods that are bound to the node, as JSON,
// from the API server itself: a node that has lost its store ends the containers
// of every other pod.
func (c *Controller) answerBoundPods(ctx context.Context, req hub.Request) (hub.Message, error) {
	if req.Message.Key.Name != req.Node {
		return hub.Message{}, nodesync.Forbidden(req.Message.Key, "a node may only ask for its own pods")
	}
	pods, err := c.cfg.Cloud.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("spec.nodeName", req.Node).String(),
	})
	if err != nil {
		return hub.Message{}, fmt.Errorf("edge: pods of node: %w", nodesync.FromAPI(err))
	}
	uids := []types.UID{}
	for i := range pods.Items {
		if pods.Items[i].Spec.NodeName == req.Node {
			uids = append(uids, pods.Items[i].UID)
		}
	}
	body, err := json.Marshal(uids)
	if err != nil {
		return hub.Message{}, fmt.Errorf("edge: pods of node: %w", err)
	}
	return hub.Message{Body: body}, nil
}

// answerQuery reads one object as the node.
func (c *Controller) answerQuery(ctx context.Context, req hub.Request) (hub.Message, error) {
	key := req.Message.Key
	if req.Message.Operation != hub.Query {
		return hub.Message{}, &hub.Error{Code: hub.CodeUnsupported, Text: fmt.Sprintf("%s of %s is not a query", req.Message.Operation, key)}
	}
	ctx = impersonate.With(ctx, req.Node)
	var obj hub.Object
	var got metav1.Object
	var err error
	switch key.Resource {
	case resources.Pods:
		got, err = c.cfg.NodeClient.CoreV1().Pods(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
	case resources.Nodes:
		if key.Name != req.Node {
			return hub.Message{}, nodesync.Forbidden(key, "a node may only read itself")
		}
		got, err = c.cfg.NodeClient.CoreV1().Nodes().Get(ctx, key.Name, metav1.GetOptions{})
	case resources.ServiceAccounts:
		got, err = c.cfg.NodeClient.CoreV1().ServiceAccounts(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
	default:
		got, err = getReference(ctx, c, key)
	}
	if err != nil {
		return hub.Message{}, fmt.Errorf("edge: query: %w", nodesync.FromAPI(err))
	}
	if obj, err = nodesync.Encode(key, got.GetResourceVersion(), got); err != nil {
		return hub.Message{}, fmt.Errorf("edge: query: %w", err)
	}
	return hub.Message{Version: obj.Version, Body: obj.Body}, nil
}
