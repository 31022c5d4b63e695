package kube

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/internal/latest"
	"github.com/edgekit/edgekit/meta/jsonlimit"
	"github.com/edgekit/edgekit/meta/resources"
)

// registration is what the client knows of this node's Node in the API server.
type registration struct {
	known   bool // it is on this node; belongs to Run
	deleted latest.Topic[*corev1.Node]
}

// NodeDeleted sends this node's Node, as it last was without its status, each time that
// it was deleted in the API server. The reports of the node are void then; a call of Node
// registers it again. The channel holds one value, the newest; it is closed when ctx
// ends.
func (c *Client) NodeDeleted(ctx context.Context) <-chan *corev1.Node {
	return c.registration.deleted.Subscribe(ctx)
}

// loadNode reads whether the store has the Node, and notices a deletion while the changes
// were not followed.
func (c *Client) loadNode(ctx context.Context) error {
	_, err := c.cfg.Store.Get(ctx, meta.Down+meta.Key{Resource: resources.Nodes, Name: c.cfg.Node}.Path())
	if err != nil && !errors.Is(err, meta.ErrNotFound) {
		return fmt.Errorf("node: %w", err)
	}
	if err != nil && c.registration.known {
		c.registration.deleted.Publish(&corev1.Node{})
	}
	c.registration.known = err == nil
	return nil
}

// nodeChanged handles one change of a Node.
func (c *Client) nodeChanged(key meta.Key, e meta.Event) {
	if key.Name != c.cfg.Node || key.Namespace != "" {
		return
	}
	c.registration.known = !e.Deleted
	if !e.Deleted {
		return
	}
	was := new(corev1.Node)
	o, err := meta.DecodeObject(meta.Down, e.Record)
	if err == nil {
		err = jsonlimit.Unmarshal(o.Body, was)
	}
	if err != nil {
		c.log.Warn("stored Node cannot be read", "key", e.Key, "err", err)
		was = new(corev1.Node)
	}
	c.registration.deleted.Publish(was)
}
