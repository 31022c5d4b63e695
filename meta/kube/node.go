package kube

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/jsonlimit"
	"github.com/edgekit/edgekit/meta/resources"
)

// OwnNode is this node's Node as the cloud last sent it: with the labels,
// annotations and taints that others gave it, and of its status the volumes that are
// attached and in use. It is read from the store alone. The error for one that was never sent is a
// *NotFoundError.
func (c *Client) OwnNode(ctx context.Context) (*corev1.Node, error) {
	key := meta.Key{Resource: resources.Nodes, Name: c.cfg.Node}
	r, err := c.cfg.Store.Get(ctx, meta.Down+key.Path())
	if err != nil {
		return nil, wrap(key, err)
	}
	o, err := meta.DecodeObject(meta.Down, r)
	if err != nil {
		return nil, wrap(key, err)
	}
	node := &corev1.Node{}
	if err := jsonlimit.Unmarshal(o.Body, node); err != nil {
		return nil, wrap(key, err)
	}
	return node, nil
}
