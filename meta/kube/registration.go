package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/internal/latest"
	"github.com/edgekit/edgekit/meta/jsonlimit"
	"github.com/edgekit/edgekit/meta/resources"
)

// registration is what the client knows of this node's Node in the API server.
type registration struct {
	known   bool   // it is on this node; belongs to Run
	volumes string // which volumes it says are attached and in use; belongs to Run
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

// nodeChanged handles one change of a Node. It reports whether other volumes than
// before are attached to this node, by the Node's word, or known to be in use.
func (c *Client) nodeChanged(key meta.Key, e meta.Event) (attached bool) {
	if key.Name != c.cfg.Node || key.Namespace != "" {
		return false
	}
	c.registration.known = !e.Deleted
	if !e.Deleted {
		before := c.registration.volumes
		c.registration.volumes = volumesOf(e.Record)
		return c.registration.volumes != before
	}
	c.registration.volumes = ""
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
	return false
}

// volumesOf is the part of a stored Node that is about attached volumes; "" where it
// says nothing of them, or cannot be read.
func volumesOf(r meta.Record) string {
	var node corev1.Node
	o, err := meta.DecodeObject(meta.Down, r)
	if err != nil || jsonlimit.Unmarshal(o.Body, &node) != nil {
		return ""
	}
	var b strings.Builder
	for _, v := range node.Status.VolumesAttached {
		fmt.Fprintf(&b, "attached %q\n", v.Name)
	}
	for _, name := range node.Status.VolumesInUse {
		fmt.Fprintf(&b, "in use %q\n", name)
	}
	return b.String()
}
