package edge

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/impersonate"
	nodesync "github.com/edgekit/edgekit/controller/internal/sync"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/resources"
)

// retryError makes a refusal retryable. A node that could not register has nothing else to
// report later, so its registration must not be dropped.
type retryError struct{ err error }

func (e *retryError) Error() string { return e.err.Error() }

// writeNode registers the node if it is new, and writes its labels,
// annotations and status, as the node. cloudcore adds the role label.
func (c *Controller) writeNode(ctx context.Context, name string, obj hub.Object) error {
	var node corev1.Node
	if obj.Key.Name != name || obj.Key.Namespace != "" {
		return nodesync.Forbidden(obj.Key, "a node may only report itself")
	}
	if err := decode(obj, &node); err != nil {
		return err
	}
	for _, cond := range node.Status.Conditions {
		if cond.Type == nodelifecycle.ConditionConnected {
			return nodesync.Forbidden(obj.Key, "condition EdgeConnected is cloudcore's to set")
		}
	}
	if dropped := dropForbiddenLabels(node.Labels); len(dropped) > 0 {
		c.cfg.Logger.Warn("labels that a node may not set on itself are left out", "node", name, "labels", dropped)
	}
	if dropped := dropReservedAnnotations(node.Annotations); len(dropped) > 0 {
		c.cfg.Logger.Warn("annotations that only operators and cloudcore may set are left out", "node", name, "annotations", dropped)
	}
	if c.cfg.AmendNode != nil {
		c.cfg.AmendNode(&node)
	}
	err := c.putNode(ctx, &node)
	if err == nil {
		err = c.setRole(ctx, name)
	}
	if err == nil {
		// The node becomes Ready only after it has its role label, for those who select by role.
		err = c.putNodeStatus(ctx, &node)
	}
	err = nodesync.FromAPI(err)
	if e := (*hub.Error)(nil); errors.As(err, &e) && e.Code == hub.CodeForbidden {
		return &retryError{err}
	}
	return err
}

func (c *Controller) putNode(ctx context.Context, node *corev1.Node) error {
	ctx = impersonate.With(ctx, node.Name)
	nodes := c.cfg.NodeClient.CoreV1().Nodes()
	have, err := c.node(ctx, node.Name)
	if apierrors.IsNotFound(err) {
		have, err = nodes.Create(ctx, &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: node.Name, Labels: node.Labels, Annotations: node.Annotations},
			Spec:       corev1.NodeSpec{ProviderID: node.Spec.ProviderID, Taints: node.Spec.Taints},
		}, metav1.CreateOptions{})
	}
	if err != nil {
		return err
	}
	if !contains(have.Labels, node.Labels) || !contains(have.Annotations, node.Annotations) {
		patch, err := json.Marshal(metav1.PartialObjectMetadata{
			ObjectMeta: metav1.ObjectMeta{Labels: node.Labels, Annotations: node.Annotations}, // nil is left out
		})
		if err != nil {
			return nodesync.Invalid(hub.Key{Resource: resources.Nodes, Name: node.Name}, err)
		}
		if _, err := nodes.Patch(ctx, node.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			return err
		}
	}
	return nil
}

func (c *Controller) putNodeStatus(ctx context.Context, node *corev1.Node) error {
	patch, err := nodeStatusPatch(node)
	if err != nil {
		return nodesync.Invalid(hub.Key{Resource: resources.Nodes, Name: node.Name}, err)
	}
	_, err = c.cfg.NodeClient.CoreV1().Nodes().Patch(impersonate.With(ctx, node.Name), node.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

// node reads the Node, from the cache if it is there. A Node that is not in the
// cache may be new, or lack the role label.
func (c *Controller) node(ctx context.Context, name string) (*corev1.Node, error) {
	if item, ok := c.cfg.Nodes.Load(cache.Name{Name: name}); ok {
		return item.Object, nil
	}
	return c.cfg.NodeClient.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
}

// dropReservedAnnotations removes the annotations of edgekit's own domain, with which a node
// could set its own autonomy, and returns their names.
func dropReservedAnnotations(annotations map[string]string) []string {
	var dropped []string
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		if strings.HasPrefix(key, nodelifecycle.Domain) {
			delete(annotations, key)
			dropped = append(dropped, key)
		}
	}
	return dropped
}

// restoreRole sets the role label again on the Node of a node that has a session
// here. Without the label cloudcore does not look after the Node, and its Lease
// runs out. A Node that was deleted is registered again by the node itself.
func (c *Controller) restoreRole(ctx context.Context, name string) {
	for wait := time.Second; ; wait = min(2*wait, time.Minute) {
		err := c.setRole(ctx, name)
		if apierrors.IsNotFound(err) {
			c.awaitNode(ctx, name)
			return
		}
		if err == nil || ctx.Err() != nil {
			return
		}
		c.cfg.Logger.Warn("a connected node has lost its role label, and the label could not be set again", "node", name, "label", nodelifecycle.RoleLabel, "err", err, "retry", wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// registerWait is when a connected node without a Node is worth a line.
const registerWait = 15 * time.Second

// awaitNode logs a warning if a connected node does not register.
func (c *Controller) awaitNode(ctx context.Context, name string) {
	select {
	case <-time.After(registerWait):
	case <-ctx.Done():
		return
	}
	c.mu.Lock()
	connected := c.nodes[name] != nil
	c.mu.Unlock()
	if _, known := c.cfg.Nodes.Load(cache.Name{Name: name}); connected && !known {
		c.cfg.Logger.Warn("a connected node does not register, so it gets no pods; if its Node was deleted and its edgecore is of an earlier release, restart that edgecore", "node", name)
	}
}

// setRole gives the node its role.
func (c *Controller) setRole(ctx context.Context, name string) error {
	if _, ok := c.cfg.Nodes.Load(cache.Name{Name: name}); ok {
		return nil // only nodes with the label are there
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]string{nodelifecycle.RoleLabel: ""}}})
	if err != nil {
		return err
	}
	_, err = c.cfg.Cloud.CoreV1().Nodes().Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

func contains(have, want map[string]string) bool {
	for k, v := range want {
		if got, ok := have[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// dropForbiddenLabels removes the labels that NodeRestriction lets no node set on
// itself, and returns their names: the API server would refuse the whole report
// because of one of them. The role label is among them; cloudcore sets it anyway.
func dropForbiddenLabels(labels map[string]string) []string {
	var dropped []string
	for _, label := range slices.Sorted(maps.Keys(labels)) {
		if allowedLabel(label) {
			continue
		}
		delete(labels, label)
		if label != nodelifecycle.RoleLabel {
			dropped = append(dropped, label)
		}
	}
	return dropped
}

// allowedLabel follows
// https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction
func allowedLabel(label string) bool {
	domain, _, ok := strings.Cut(label, "/")
	if !ok {
		return true
	}
	within := func(parent string) bool { return domain == parent || strings.HasSuffix(domain, "."+parent) }
	switch {
	case within(corev1.LabelNamespaceNodeRestriction):
		return false
	case within("kubelet.kubernetes.io"), within("node.kubernetes.io"):
		return true
	case !within("kubernetes.io") && !within("k8s.io"):
		return true
	}
	switch label {
	case corev1.LabelHostname, corev1.LabelArchStable, corev1.LabelOSStable,
		corev1.LabelTopologyZone, corev1.LabelTopologyRegion,
		corev1.LabelFailureDomainBetaZone, corev1.LabelFailureDomainBetaRegion,
		corev1.LabelInstanceType, "beta.kubernetes.io/os", "beta.kubernetes.io/arch":
		return true
	}
	return false
}
