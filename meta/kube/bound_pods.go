package kube

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/jsonlimit"
	"github.com/edgekit/edgekit/meta/resources"
)

// Bound returns the uids of all pods that are bound to this node. Once the store has held
// all of them, the answer comes from the store: a pod that it lacks was removed. A new
// store, or one that replaces a lost one, may lack pods that the cloud will still send;
// then Bound asks the cloud, and fails while it is out of reach.
func (c *Client) Bound(ctx context.Context) ([]types.UID, error) {
	whole, err := meta.Synced(ctx, c.cfg.Store)
	if err != nil {
		return nil, fmt.Errorf("meta/kube: %w", err)
	}
	if !whole {
		return c.askBound(ctx)
	}
	held, err := c.held(ctx)
	if err != nil {
		return nil, err
	}
	uids := make([]types.UID, 0, len(held))
	for uid := range held {
		uids = append(uids, uid)
	}
	return uids, nil
}

func (c *Client) askBound(ctx context.Context) ([]types.UID, error) {
	key := meta.Key{Resource: resources.NodePods, Name: c.cfg.Node}
	o, err := c.cfg.Manager.Query(ctx, meta.Object{Key: key, Body: []byte("{}")}) // a body makes Query ask the cloud, never the store
	if err != nil {
		return nil, wrap(key, err)
	}
	var uids []types.UID
	if err := jsonlimit.Unmarshal(o.Body, &uids); err != nil {
		return nil, fmt.Errorf("meta/kube: %s: %w", key, err)
	}
	return uids, nil
}

// held returns the uids of the pods in the store.
func (c *Client) held(ctx context.Context) (map[types.UID]bool, error) {
	records, _, err := c.cfg.Store.List(ctx, podArea)
	if err != nil {
		return nil, fmt.Errorf("meta/kube: %w", err)
	}
	uids := make(map[types.UID]bool)
	for _, r := range records {
		var pod corev1.Pod
		if o, err := meta.DecodeObject(meta.Down, r); err == nil && jsonlimit.Unmarshal(o.Body, &pod) == nil {
			uids[pod.UID] = true
		}
	}
	return uids, nil
}

// Refresh says that the cloud is in reach again. Run then renews all tokens that are due,
// before anybody asks for them, notifies Changed, and marks the store when it has all
// pods of this node for the first time. Refresh does not block.
func (c *Client) Refresh() {
	select {
	case c.reached <- struct{}{}:
	default:
	}
}

// boundPodsRetry is how long Run waits for the pods that the store lacks before it asks
// again.
const boundPodsRetry = 5 * time.Second

// refreshFromCloud does the work of each Refresh that needs the cloud, until ctx ends.
func (c *Client) refreshFromCloud(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.reached:
		}
		err := c.renewTokens(ctx)
		for whole := false; err == nil && !whole; {
			if whole, err = c.noteSynced(ctx); err != nil || whole {
				break
			}
			select {
			case <-ctx.Done():
				return nil
			case <-c.reached:
				err = c.renewTokens(ctx)
			case <-time.After(boundPodsRetry):
			}
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// noteSynced marks the store as synced if it has all pods that the cloud says are bound
// to this node, and reports whether it is marked. It returns an error only if the store
// fails.
func (c *Client) noteSynced(ctx context.Context) (bool, error) {
	whole, err := meta.Synced(ctx, c.cfg.Store)
	if err != nil || whole {
		return whole, err
	}
	uids, err := c.askBound(ctx)
	if err != nil {
		if ctx.Err() == nil {
			c.log.Debug("cannot ask which pods are this node's", "err", err)
		}
		return false, nil
	}
	held, err := c.held(ctx)
	if err != nil {
		return false, err
	}
	for _, uid := range uids {
		if !held[uid] {
			return false, nil
		}
	}
	return true, meta.MarkSynced(ctx, c.cfg.Store)
}
