package kube

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/meta"
)

// releaseArea holds the uids of pods that were held and are released: releaseArea + UID.
const releaseArea = meta.Local + "released/"

// Release notes that a pod that was held is released. It returns when that is durable.
func (c *Client) Release(ctx context.Context, uid types.UID) error {
	if _, err := c.cfg.Store.Apply(ctx, meta.Op{Key: releaseArea + string(uid), Value: []byte("released")}); err != nil {
		return fmt.Errorf("meta/kube: release of a pod: %w", err)
	}
	return nil
}

// Released reports whether a pod was released.
func (c *Client) Released(ctx context.Context, uid types.UID) (bool, error) {
	_, err := c.cfg.Store.Get(ctx, releaseArea+string(uid))
	if errors.Is(err, meta.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("meta/kube: release of a pod: %w", err)
	}
	return true, nil
}
