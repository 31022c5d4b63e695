package groups

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/controller/groups/v1alpha1"
	"github.com/edgekit/edgekit/controller/internal/cache"
)

// nodesManager is the field manager of the labels of nodes.
const nodesManager = "edgekit-nodegroups"

// Bounds of one round.
const (
	maxLeaving = 64 // nodes whose pods are evicted
	maxLeft    = 8  // groups that a node left and whose pods are still there
	podsPage   = 500
)

// lookAtGroups brings labels, evictions, finalizers and statuses up to date.
func (w *work) lookAtGroups(ctx context.Context, f *fleet) (next time.Time, err error) {
	var failed [4]error
	failed[0] = w.finalize(ctx, f)
	failed[1] = w.label(ctx, f)
	next, failed[2] = w.evict(ctx, f)
	for _, g := range f.groups {
		again, err := w.writeGroupStatus(ctx, g, f)
		next = earlier(next, again)
		failed[3] = errors.Join(failed[3], err)
	}
	return next, errors.Join(failed[:]...)
}

// finalize adds the finalizer to new groups, and removes it from groups that are deleted and
// whose label no node has any more.
func (w *work) finalize(ctx context.Context, f *fleet) error {
	used := held(f.byName)
	var writes []func(context.Context) error
	for _, g := range f.groups {
		has := slices.Contains(g.Finalizers, v1alpha1.NodeGroupFinalizer)
		switch {
		case g.DeletionTimestamp == nil && !has:
			writes = append(writes, func(ctx context.Context) error {
				return w.c.setFinalizers(ctx, g, append(slices.Clone(g.Finalizers), v1alpha1.NodeGroupFinalizer))
			})
		case g.DeletionTimestamp != nil && has && !used[g.Name]:
			rest := slices.DeleteFunc(slices.Clone(g.Finalizers), func(s string) bool { return s == v1alpha1.NodeGroupFinalizer })
			writes = append(writes, func(ctx context.Context) error { return w.c.setFinalizers(ctx, g, rest) })
		}
	}
	return w.c.write(ctx, writes)
}

func (c *Controller) setFinalizers(ctx context.Context, g *v1alpha1.NodeGroup, all []string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": g.ResourceVersion, "uid": g.UID, "finalizers": all}})
	if err != nil {
		return fmt.Errorf("controller/groups: %w", err)
	}
	c.counts.writes.Add(1)
	_, err = c.cfg.Dynamic.Resource(v1alpha1.GroupVersion().WithResource(v1alpha1.NodeGroups)).
		Patch(ctx, g.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: nodesManager})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("controller/groups: finalizer of NodeGroup %s: %w", g.Name, err)
	}
	return nil
}

// label sets the labels of nodes that differ from what they should be. A node that leaves a group
// gets a mark by the same write, so that its pods are evicted whoever leads then.
func (w *work) label(ctx context.Context, f *fleet) error {
	var mu sync.Mutex
	var failed []string
	var writes []func(context.Context) error
	for _, n := range f.nodes {
		want := f.labels(n.Name)
		last, known := w.applied[n.Name]
		settled := want.settled(n) && (!want.mayHoldZone(n) || known && last == want)
		keep := slices.DeleteFunc(leftGroups(n), func(s string) bool { return s == want.group })
		for _, old := range []string{n.Labels[v1alpha1.BelongingToLabel], last.group} { // the watch may not have the last one yet
			if old != "" && old != want.group && w.c.evicts(old) && !slices.Contains(keep, old) {
				keep = append(keep, old)
			}
		}
		if settled && slices.Equal(keep, leftGroups(n)) {
			w.applied[n.Name] = want
			continue
		}
		w.applied[n.Name] = want
		writes = append(writes, func(ctx context.Context) error {
			err := w.c.applyNode(ctx, n, want, keep)
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = append(failed, n.Name)
			}
			return err
		})
	}
	if len(w.applied) > 2*len(f.nodes)+1000 {
		for name := range w.applied {
			if f.byName[name] == nil {
				delete(w.applied, name)
			}
		}
	}
	err := w.c.write(ctx, writes)
	for _, name := range failed {
		delete(w.applied, name)
	}
	return err
}

// evicts reports whether nodes that leave a group lose its pods. It reports false for a group that
// is not known.
func (c *Controller) evicts(group string) bool {
	item, ok := c.groups.Load(cache.Name{Name: group})
	return ok && (item.Object.Spec.EvictOnLeave == nil || *item.Object.Spec.EvictOnLeave)
}

// leftGroups returns the groups that a node left and whose pods are still to be evicted.
func leftGroups(n *corev1.Node) []string {
	text := n.Annotations[v1alpha1.LeftGroupAnnotation]
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

// applyNode sets a node's labels, by server-side apply. A zone that somebody else set stays.
func (c *Controller) applyNode(ctx context.Context, n *corev1.Node, want labels, left []string) error {
	c.counts.labelled.Add(1)
	now, err := c.applyLabels(ctx, n, want, left, metav1.ApplyOptions{FieldManager: nodesManager})
	if apierrors.IsConflict(err) { // the zone, or the group's label, is of somebody else
		want.zone = false
		now, err = c.applyLabels(ctx, n, want, left, metav1.ApplyOptions{FieldManager: nodesManager, Force: true})
	}
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // it is another node by now, of which the watch says more
	}
	if err != nil {
		return fmt.Errorf("controller/groups: labels of node %s: %w", n.Name, err)
	}
	if got := now.Labels[v1alpha1.BelongingToLabel]; want.group == "" && got != "" {
		if err := c.removeOfOthers(ctx, n.Name, "labels", v1alpha1.BelongingToLabel, got); err != nil {
			return err
		}
	}
	if got, has := now.Annotations[v1alpha1.LeftGroupAnnotation]; len(left) == 0 && has {
		return c.removeOfOthers(ctx, n.Name, "annotations", v1alpha1.LeftGroupAnnotation, got)
	}
	return nil
}

func (c *Controller) applyLabels(ctx context.Context, n *corev1.Node, want labels, left []string, o metav1.ApplyOptions) (*corev1.Node, error) {
	set, notes := make(map[string]string), make(map[string]string)
	if want.group != "" {
		set[v1alpha1.BelongingToLabel] = want.group
	}
	if want.zone {
		set[corev1.LabelTopologyZone] = want.group
	}
	if len(left) > 0 {
		notes[v1alpha1.LeftGroupAnnotation] = strings.Join(left[max(0, len(left)-maxLeft):], ",")
	}
	body, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Node",
		"metadata": map[string]any{"name": n.Name, "uid": n.UID, "labels": set, "annotations": notes}, // the uid, so that no node is made
	})
	if err != nil {
		return nil, err
	}
	c.counts.writes.Add(1)
	return c.cfg.Cloud.CoreV1().Nodes().Patch(ctx, n.Name, types.ApplyPatchType, body, o.ToPatchOptions())
}

// removeOfOthers removes a label or an annotation of a node that somebody else set too, such as
// KubeEdge's own controller before: server-side apply leaves it to them.
func (c *Controller) removeOfOthers(ctx context.Context, node, field, key, value string) error {
	path := "/metadata/" + field + "/" + strings.ReplaceAll(key, "/", "~1")
	body, err := json.Marshal([]map[string]any{{"op": "test", "path": path, "value": value}, {"op": "remove", "path": path}})
	if err != nil {
		return fmt.Errorf("controller/groups: %w", err)
	}
	c.counts.writes.Add(1)
	_, err = c.cfg.Cloud.CoreV1().Nodes().Patch(ctx, node, types.JSONPatchType, body, metav1.PatchOptions{FieldManager: nodesManager})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsInvalid(err) { // Invalid: it has another value by now
		return fmt.Errorf("controller/groups: %s of node %s: %w", field, node, err)
	}
	return nil
}

// evict evicts the pods of groups from nodes that left them.
func (w *work) evict(ctx context.Context, f *fleet) (next time.Time, err error) {
	var leaving []*corev1.Node
	for _, n := range f.nodes {
		if len(leftGroups(n)) > 0 {
			leaving = append(leaving, n)
		}
	}
	if len(leaving) == 0 {
		return time.Time{}, nil
	}
	slices.SortFunc(leaving, func(a, b *corev1.Node) int { return strings.Compare(a.Name, b.Name) })
	more := len(leaving) > maxLeaving
	if more { // another part each time, so that one that is blocked holds up nobody
		from := int(time.Now().Unix()) % len(leaving)
		leaving = append(leaving[from:], leaving[:from]...)[:maxLeaving]
	}
	var blocked, finished atomic.Bool
	writes := make([]func(context.Context) error, 0, len(leaving))
	for _, n := range leaving {
		writes = append(writes, func(ctx context.Context) error {
			done, err := w.c.evictFrom(ctx, n.Name, f.labels(n.Name))
			if done {
				finished.Store(true)
			} else {
				blocked.Store(true)
			}
			return err
		})
	}
	err = w.c.write(ctx, writes)
	switch {
	case more && finished.Load():
		next = time.Now()
	case more || blocked.Load():
		next = time.Now().Add(evictEvery)
	}
	return next, err
}

// evictFrom evicts from one node the pods of the groups that it left. It reports whether all
// evictions were accepted.
func (c *Controller) evictFrom(ctx context.Context, name string, want labels) (done bool, err error) {
	n, err := c.cfg.Cloud.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{}) // the watch may lag, and an eviction cannot be taken back
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("controller/groups: node %s: %w", name, err)
	}
	left := leftGroups(n)
	if len(left) == 0 || slices.Contains(left, n.Labels[v1alpha1.BelongingToLabel]) {
		return true, nil // another round has more
	}
	done = true
	o := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("spec.nodeName", name).String(), Limit: podsPage}
	for {
		pods, err := c.cfg.Cloud.CoreV1().Pods(metav1.NamespaceAll).List(ctx, o)
		if err != nil {
			return false, fmt.Errorf("controller/groups: pods of node %s: %w", name, err)
		}
		for i := range pods.Items {
			if !needsGroup(&pods.Items[i], left) {
				continue
			}
			if c.limit.Wait(ctx) != nil {
				return false, ctx.Err()
			}
			ok, err := c.evictPod(ctx, &pods.Items[i])
			if err != nil { // such as one with two PodDisruptionBudgets: it must not hold up the others
				c.counts.writesFailed.Add(1)
				c.log.Warn("a pod cannot be evicted from a node that left its group; trying again", "node", name, "err", err)
			}
			done = done && ok
		}
		if o.Continue = pods.Continue; o.Continue == "" {
			break
		}
	}
	if !done {
		return false, nil
	}
	return true, c.applyNode(ctx, n, want, nil)
}

// needsGroup reports whether a pod must run on nodes of one of some groups.
func needsGroup(p *corev1.Pod, groups []string) bool {
	if p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return false
	}
	if _, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return false
	}
	return slices.Contains(groups, p.Spec.NodeSelector[v1alpha1.BelongingToLabel])
}

// evictPod evicts a pod. It reports false if a PodDisruptionBudget does not allow it now.
func (c *Controller) evictPod(ctx context.Context, p *corev1.Pod) (accepted bool, err error) {
	c.counts.writes.Add(1)
	err = c.cfg.Cloud.CoreV1().Pods(p.Namespace).EvictV1(ctx, &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name},
		DeleteOptions: &metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(p.UID))},
	})
	switch {
	case err == nil:
		c.counts.evicted.Add(1)
		return true, nil
	case apierrors.IsNotFound(err), apierrors.IsConflict(err): // it is gone, or another pod has its name
		return true, nil
	case apierrors.IsTooManyRequests(err):
		c.counts.blocked.Add(1)
		return false, nil
	}
	return false, fmt.Errorf("controller/groups: evict pod %s/%s: %w", p.Namespace, p.Name, err)
}

// writeGroupStatus writes the status of a group if it has changed and it is time. It returns when
// it will be time if not.
func (w *work) writeGroupStatus(ctx context.Context, g *v1alpha1.NodeGroup, f *fleet) (time.Time, error) {
	st := groupStatus(g, f.assignment, f.byName)
	if equality.Semantic.DeepEqual(g.Status, st) {
		return time.Time{}, nil
	}
	urgent := g.Status.ObservedGeneration != st.ObservedGeneration || !equality.Semantic.DeepEqual(g.Status.Conditions, st.Conditions)
	if at := w.statusDue(g.UID, urgent); !at.IsZero() {
		return at, nil
	}
	w.written[g.UID] = time.Now()
	return w.c.writeStatus(ctx, v1alpha1.NodeGroups, v1alpha1.KindNodeGroup, &g.ObjectMeta, &st)
}

// writeStatus writes a status if the object is still the version that it was made from. It
// returns when to try again if not.
func (c *Controller) writeStatus(ctx context.Context, resource, kind string, meta *metav1.ObjectMeta, st any) (time.Time, error) {
	if err := c.limit.Wait(ctx); err != nil {
		return time.Time{}, err
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(st)
	if err != nil {
		return time.Time{}, fmt.Errorf("controller/groups: %w", err)
	}
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha1.GroupVersion().String(), "kind": kind, "status": content,
		"metadata": map[string]any{"name": meta.Name, "uid": string(meta.UID), "resourceVersion": meta.ResourceVersion},
	}}
	client := c.cfg.Dynamic.Resource(v1alpha1.GroupVersion().WithResource(resource))
	c.counts.writes.Add(1)
	if meta.Namespace == "" {
		_, err = client.UpdateStatus(ctx, u, metav1.UpdateOptions{FieldManager: nodesManager})
	} else {
		u.SetNamespace(meta.Namespace)
		_, err = client.Namespace(meta.Namespace).UpdateStatus(ctx, u, metav1.UpdateOptions{FieldManager: appsManager})
	}
	switch {
	case apierrors.IsNotFound(err):
		return time.Time{}, nil
	case apierrors.IsConflict(err): // the watch has the newer one soon
		c.counts.writesFailed.Add(1)
		return time.Now(), nil
	case err != nil:
		c.counts.writesFailed.Add(1)
		return time.Time{}, fmt.Errorf("controller/groups: status of %s %s: %w", kind, meta.Name, err)
	}
	return time.Time{}, nil
}
