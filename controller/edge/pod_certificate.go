package edge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/impersonate"
	nodesync "github.com/edgekit/edgekit/controller/internal/sync"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

const (
	// certificateWait is how long a call waits for a signer. A node asks again later.
	certificateWait = 5 * time.Second
	// certificatePoll is how often the request is read meanwhile.
	certificatePoll = 250 * time.Millisecond
)

// answerPodCertificate makes a PodCertificateRequest as the node, or reads the one whose
// name is in the body, waits a moment for the signer, and gives what became of it. The
// node chooses the signer, the key, its proof, the lifetime and the annotations; the rest
// is filled in here. NodeRestriction sees to it that the pod is bound to the node.
func (c *Controller) answerPodCertificate(ctx context.Context, req hub.Request) (hub.Message, error) {
	key := req.Message.Key
	if len(req.Message.Body) > maxCall {
		return hub.Message{}, nodesync.Invalid(key, fmt.Errorf("body has %d bytes, the limit is %d", len(req.Message.Body), maxCall))
	}
	var want certificatesv1.PodCertificateRequest
	if err := jsonlimit.Unmarshal(req.Message.Body, &want); err != nil {
		return hub.Message{}, nodesync.Invalid(key, fmt.Errorf("body is not the JSON of a PodCertificateRequest: %w", err))
	}
	ctx = impersonate.With(ctx, req.Node)
	requests := c.cfg.NodeClient.CertificatesV1().PodCertificateRequests(key.Namespace)
	got := &want
	var err error
	if want.Name == "" {
		if got, err = c.requestCertificate(ctx, req.Node, key, want.Spec); err != nil {
			return hub.Message{}, fmt.Errorf("edge: pod certificate: %w", err)
		}
	} else if got, err = requests.Get(ctx, want.Name, metav1.GetOptions{}); err != nil {
		return hub.Message{}, fmt.Errorf("edge: pod certificate: %w", nodesync.FromAPI(err))
	}
	for end := time.Now().Add(certificateWait); len(got.Status.Conditions) == 0 && time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return hub.Message{}, ctx.Err()
		case <-time.After(certificatePoll):
		}
		// An error now is no matter: the node asks for this request again.
		if newer, err := requests.Get(ctx, got.Name, metav1.GetOptions{}); err == nil {
			got = newer
		}
	}
	got = got.DeepCopy()
	got.ManagedFields, got.Spec.StubPKCS10Request = nil, nil // the node knows it
	body, err := json.Marshal(got)
	if err != nil {
		return hub.Message{}, fmt.Errorf("edge: pod certificate: %w", err)
	}
	return hub.Message{Body: body}, nil
}

// requestCertificate creates a request for a pod of the node. As in createToken, the API
// server may learn of a new pod a moment after cloudcore does.
func (c *Controller) requestCertificate(ctx context.Context, node string, key hub.Key, want certificatesv1.PodCertificateRequestSpec) (*certificatesv1.PodCertificateRequest, error) {
	pod, ok := c.pods.Load(cache.Name{Namespace: key.Namespace, Name: key.Name})
	if !ok || pod.Object.Spec.NodeName != node || want.PodUID != pod.Object.UID {
		return nil, nodesync.Forbidden(key, "no such pod is bound to the node")
	}
	if want.SignerName == "" || len(want.StubPKCS10Request) == 0 {
		return nil, nodesync.Invalid(key, errors.New("spec.signerName and spec.stubPKCS10Request are required"))
	}
	known, ok := c.cfg.Nodes.Load(cache.Name{Name: node})
	if !ok {
		return nil, &hub.Error{Code: hub.CodeUnavailable, Text: "the node is not known here yet"}
	}
	request := &certificatesv1.PodCertificateRequest{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: key.Namespace, GenerateName: "req-",
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: key.Name, UID: want.PodUID}},
		},
		Spec: certificatesv1.PodCertificateRequestSpec{
			SignerName: want.SignerName, PodName: key.Name, PodUID: want.PodUID,
			ServiceAccountName: pod.Object.Spec.ServiceAccountName, NodeName: types.NodeName(node), NodeUID: known.Object.UID,
			MaxExpirationSeconds: want.MaxExpirationSeconds, StubPKCS10Request: want.StubPKCS10Request, UnverifiedUserAnnotations: want.UnverifiedUserAnnotations,
		},
	}
	for wait := 25 * time.Millisecond; ; wait *= 2 {
		account, err := c.cfg.NodeClient.CoreV1().ServiceAccounts(key.Namespace).Get(ctx, request.Spec.ServiceAccountName, metav1.GetOptions{})
		if err == nil {
			request.Spec.ServiceAccountUID = account.UID
			var made *certificatesv1.PodCertificateRequest
			if made, err = c.cfg.NodeClient.CertificatesV1().PodCertificateRequests(key.Namespace).Create(ctx, request, metav1.CreateOptions{}); err == nil {
				return made, nil
			}
		}
		if !apierrors.IsForbidden(err) || wait > time.Second {
			return nil, nodesync.FromAPI(err)
		}
		select {
		case <-ctx.Done():
			return nil, nodesync.FromAPI(err)
		case <-time.After(wait):
		}
	}
}
