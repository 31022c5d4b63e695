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
	// ImpersonationConstrained names the user alone (KEP-5284): the API server
	// adds the group of nodes. It takes Kubernetes 1.36 or later and the role
	// that package install ships.
	ImpersonationConstrained = impersonate.Constrained
	// ImpersonationLegacy names user and groups. It works with every Kubernetes
	// and takes the right to impersonate every user.
	ImpersonationLegacy = impersonate.Legacy
)

// DetectImpersonation finds which Impersonation the API server and cloudcore's
// rights allow: ImpersonationConstrained where both do. It makes one request.
func DetectImpersonation(ctx context.Context, cfg *rest.Config) (Impersonation, error) {
	return impersonate.Detect(ctx, cfg)
}

// NewNodeClient makes a client whose calls are made as a node. The parts of a
// Controller that take such a client name the node in the context of each call;
// a call whose context names none fails. cfg is not changed.
func NewNodeClient(cfg *rest.Config, mode Impersonation) (kubernetes.Interface, error) {
	client, err := impersonate.Client(cfg, mode)
	if err != nil {
		return nil, err
	}
	return client, nil
}
