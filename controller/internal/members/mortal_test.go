package members_test

import (
	"context"
	"errors"
	"sync/atomic"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
)

// mortal is a client that does nothing more once its program was killed.
type mortal struct {
	coordinationclient.LeaseInterface
	dead atomic.Bool
}

var errDead = errors.New("the program was killed")

func (m *mortal) kill() { m.dead.Store(true) }

func (m *mortal) Create(ctx context.Context, l *coordinationv1.Lease, o metav1.CreateOptions) (*coordinationv1.Lease, error) {
	if m.dead.Load() {
		return nil, errDead
	}
	return m.LeaseInterface.Create(ctx, l, o)
}

func (m *mortal) Update(ctx context.Context, l *coordinationv1.Lease, o metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	if m.dead.Load() {
		return nil, errDead
	}
	return m.LeaseInterface.Update(ctx, l, o)
}

func (m *mortal) Delete(ctx context.Context, name string, o metav1.DeleteOptions) error {
	if m.dead.Load() {
		return errDead
	}
	return m.LeaseInterface.Delete(ctx, name, o)
}
