package controller

import (
	"context"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/controller/internal/impersonate"
)

// Impersonation is how cloudcore acts as a node towards the API server.
type Impersonation = impersonate.Mode

const (
	// ImpersonationConstrained sets only the user (KEP-5284): the API server adds the group
	// of nodes. It needs Kubernetes 1.36 or later and the role of package install.
	ImpersonationConstrained = impersonate.Constrained
	// ImpersonationLegacy sets user and groups. It works with every Kubernetes, and needs
	// the right to impersonate every user.
	ImpersonationLegacy = impersonate.Legacy
)

// DetectImpersonation finds which Impersonation the API server and cloudcore's
// rights allow: ImpersonationConstrained where both do. It makes one request.
func DetectImpersonation(ctx context.Context, cfg *rest.Config) (Impersonation, error) {
	return impersonate.Detect(ctx, cfg)
}

// NewNodeClient makes a client that acts as a node. Every call must name the node in its
// context, as the parts of a Controller do; a call without one fails. cfg is not changed.
func NewNodeClient(cfg *rest.Config, mode Impersonation) (kubernetes.Interface, error) {
	client, err := impersonate.Client(cfg, mode)
	if err != nil {
		return nil, err
	}
	return client, nil
}
