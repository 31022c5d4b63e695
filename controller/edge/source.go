package edge

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/impersonate"
	nodesync "github.com/edgekit/edgekit/controller/internal/sync"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/resources"
)

const (
	// firstListWait is how long a list of versions waits for the watches of what
	// the node's pods refer to; without that, each of those would be read one
	// by one on every connection.
	firstListWait = 5 * time.Second
	// firstLoadWait is how long the load of a single one waits.
	firstLoadWait = 300 * time.Millisecond
	// podListLife is how long a list of a node's pods from the API server is used to decide
	// what they refer to.
	podListLife = 2 * time.Second
)

// Resources returns the resources for which Source answers.
func Resources() []string {
	return []string{
		resources.Pods, resources.ConfigMaps, resources.Secrets, resources.Nodes, resources.PersistentVolumeClaims, resources.PersistentVolumes,
		resources.CSIDrivers, resources.VolumeAttachments, resources.ResourceClaims, resources.RuntimeClasses, resources.ClusterTrustBundles,
	}
}

// Source returns the state that one node must hold. The objects that the node's pods
// refer to are watched while the source has a subscriber.
func (c *Controller) Source(node string) hub.Source { return &source{c: c, node: node} }

type source struct {
	c    *Controller
	node string
}

func (s *source) Compare(a, b string) int { return cache.Compare(a, b) }

func (s *source) Subscribe(changed func(hub.Key)) (stop func()) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	first, unsubscribe := c.notifier.Subscribe(s.node, changed)
	if _, known := c.cfg.Nodes.Load(cache.Name{Name: s.node}); first && !known {
		c.tasks.Start(func(ctx context.Context) { c.restoreRole(ctx, s.node) })
	}
	if first {
		c.nodes[s.node] = &watchedNode{refs: make(map[cache.Name]map[hub.Key]struct{})}
		for name := range c.byNode[s.node] {
			if item, ok := c.pods.Load(name); ok {
				c.setReferencesLocked(s.node, name, references(item.Object))
			}
		}
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !unsubscribe() {
			return
		}
		w := c.nodes[s.node]
		for name := range maps.Clone(w.refs) {
			c.setReferencesLocked(s.node, name, nil)
		}
		delete(c.nodes, s.node)
	}
}

func (s *source) Versions(ctx context.Context) (iter.Seq2[hub.Key, string], error) {
	c := s.c
	c.mu.Lock()
	pods := make([]cache.Name, 0, len(c.byNode[s.node]))
	for name := range c.byNode[s.node] {
		pods = append(pods, name)
	}
	c.mu.Unlock()
	refs := c.syncedReferences(ctx, s.node)
	return func(yield func(hub.Key, string) bool) {
		if item, ok := c.cfg.Nodes.Load(cache.Name{Name: s.node}); ok && !yield(hub.Key{Resource: resources.Nodes, Name: s.node}, item.Version) {
			return
		}
		for _, name := range pods {
			// A pod that has gone to another node meanwhile was changed after Subscribe, and so is loaded.
			if version, ok := c.pods.Version(name); ok && !yield(podKey(name), version) {
				return
			}
		}
		for _, r := range refs {
			if version, ok := r.store.version(); ok && !yield(r.key, version) {
				return
			}
		}
	}, nil
}

// syncedReferences gives what the node's pods refer to, when the watches have seen it
// or firstListWait is over: what is still missing then is notified when it comes. A
// claim that was seen leads to a volume, which is waited for in turn.
func (c *Controller) syncedReferences(ctx context.Context, node string) []*reference {
	ctx, cancel := context.WithTimeout(ctx, firstListWait)
	defer cancel()
	for seen := 0; ; {
		var refs []*reference
		c.mu.Lock()
		for _, r := range c.refs {
			if r.users[node] > 0 {
				refs = append(refs, r)
			}
		}
		c.mu.Unlock()
		if len(refs) == seen || ctx.Err() != nil {
			return refs
		}
		seen = len(refs)
		for _, r := range refs {
			select {
			case <-r.store.Synced():
			case <-ctx.Done():
			}
		}
	}
}

func (s *source) Load(ctx context.Context, key hub.Key, held string) (hub.Object, error) {
	var obj hub.Object
	var err error
	switch key.Resource {
	case resources.Pods:
		obj, err = s.loadPod(ctx, key, held)
	case resources.Nodes:
		obj, err = s.loadNode(ctx, key, held)
	case resources.Secrets, resources.ConfigMaps, resources.PersistentVolumeClaims, resources.PersistentVolumes, resources.CSIDrivers, resources.VolumeAttachments,
		resources.ResourceClaims, resources.RuntimeClasses, resources.ClusterTrustBundles:
		obj, err = s.loadReference(ctx, key, held)
	default:
		err = &hub.Error{Code: hub.CodeUnsupported, Text: fmt.Sprintf("no source for resource %q", key.Resource)}
	}
	if err != nil {
		return hub.Object{}, fmt.Errorf("edge: load %s: %w", key, err)
	}
	return obj, nil
}

func (s *source) loadPod(ctx context.Context, key hub.Key, held string) (hub.Object, error) {
	item, ok := s.c.pods.LoadFor(cache.Name{Namespace: key.Namespace, Name: key.Name}, held)
	if ok && item.Object.Spec.NodeName == s.node {
		return nodesync.Encode(key, item.Version, item.Object)
	}
	// cloudcore asks in its own name: the node authorizer knows no pods that
	// do not exist and would refuse instead of saying so.
	pod, err := s.c.cfg.Cloud.CoreV1().Pods(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && pod.Spec.NodeName != s.node {
		return hub.Object{Key: key, Deleted: true}, nil
	}
	if err != nil {
		return hub.Object{}, err
	}
	return nodesync.Encode(key, pod.ResourceVersion, pod)
}

func (s *source) loadNode(ctx context.Context, key hub.Key, held string) (hub.Object, error) {
	if key.Name != s.node || key.Namespace != "" {
		return hub.Object{Key: key, Deleted: true}, nil // no node holds another
	}
	if item, ok := s.c.cfg.Nodes.LoadFor(cache.Name{Name: s.node}, held); ok {
		return encodeNode(key, item.Version, item.Object)
	}
	node, err := s.c.cfg.Cloud.CoreV1().Nodes().Get(ctx, s.node, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return hub.Object{Key: key, Deleted: true}, nil
	}
	if err != nil {
		return hub.Object{}, err
	}
	return encodeNode(key, node.ResourceVersion, node)
}

func encodeNode(key hub.Key, version string, node *corev1.Node) (hub.Object, error) {
	// Of the status only by what a node knows that it may mount what was attached.
	volumes := corev1.NodeStatus{VolumesInUse: node.Status.VolumesInUse, VolumesAttached: node.Status.VolumesAttached}
	return nodesync.Encode(key, version, &corev1.Node{ObjectMeta: *node.ObjectMeta.DeepCopy(), Spec: node.Spec, Status: volumes})
}

func (s *source) loadReference(ctx context.Context, key hub.Key, held string) (hub.Object, error) {
	s.c.mu.Lock()
	r := s.c.refs[key]
	known := r != nil && r.users[s.node] > 0
	s.c.mu.Unlock()
	if known {
		// The watch for a new pod's object starts now. The node authorizer may
		// refuse it for a moment, because its graph lags behind the pod; the watch
		// retries sooner than the session would.
		wait, cancel := context.WithTimeout(ctx, firstLoadWait)
		select {
		case <-r.store.Synced():
		case <-wait.Done():
		}
		cancel()
		if obj, version, ok := r.store.load(held); ok {
			return nodesync.Encode(key, version, obj)
		}
	} else {
		needed, err := s.c.referred(ctx, s.node, key)
		if err != nil {
			return hub.Object{}, err
		}
		if !needed {
			return hub.Object{Key: key, Deleted: true}, nil
		}
	}
	obj, err := getReference(impersonate.With(ctx, s.node), s.c, key)
	switch {
	case apierrors.IsNotFound(err) && known:
		// NotFoundBody matters to a node that needs the object; a node that does not need it
		// only removes it.
		return hub.Object{Key: key, Deleted: true, Body: meta.NotFoundBody()}, nil
	case apierrors.IsNotFound(err):
		return hub.Object{Key: key, Deleted: true}, nil
	case apierrors.IsForbidden(err):
		// The API server's node authorizer has not yet seen the pod.
		return hub.Object{}, hub.ErrLagging
	case err != nil:
		return hub.Object{}, err
	}
	return nodesync.Encode(key, obj.GetResourceVersion(), obj)
}

func getReference(ctx context.Context, c *Controller, key hub.Key) (metav1.Object, error) {
	switch key.Resource {
	case resources.Secrets:
		return c.cfg.NodeClient.CoreV1().Secrets(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
	case resources.PersistentVolumeClaims:
		return c.cfg.NodeClient.CoreV1().PersistentVolumeClaims(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
	case resources.PersistentVolumes:
		return c.cfg.NodeClient.CoreV1().PersistentVolumes().Get(ctx, key.Name, metav1.GetOptions{})
	case resources.ResourceClaims:
		return c.cfg.NodeClient.ResourceV1().ResourceClaims(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
	case resources.VolumeAttachments:
		// cloudcore asks in its own name: the node authorizer knows no attachment that
		// does not exist and would refuse instead of saying so.
		return c.cfg.Cloud.StorageV1().VolumeAttachments().Get(ctx, key.Name, metav1.GetOptions{})
	case resources.CSIDrivers:
		return c.cfg.NodeClient.StorageV1().CSIDrivers().Get(ctx, key.Name, metav1.GetOptions{})
	case resources.RuntimeClasses:
		return c.cfg.NodeClient.NodeV1().RuntimeClasses().Get(ctx, key.Name, metav1.GetOptions{})
	case resources.ClusterTrustBundles:
		return c.cfg.NodeClient.CertificatesV1().ClusterTrustBundles().Get(ctx, key.Name, metav1.GetOptions{})
	}
	return c.cfg.NodeClient.CoreV1().ConfigMaps(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
}

// referred reports whether a pod of the node refers to the key, by the API
// server's own word: the node may know of pods that the watch here has not yet
// seen. Pods that came after the list are in the watch, where the caller has
// looked before.
func (c *Controller) referred(ctx context.Context, node string, key hub.Key) (bool, error) {
	c.mu.Lock()
	if w := c.nodes[node]; w != nil && w.seen != nil && time.Since(w.seenAt) < podListLife {
		_, ok := w.seen[key]
		c.mu.Unlock()
		return ok, nil
	}
	c.mu.Unlock()
	result, err, _ := c.lists.Do(node, func() (any, error) {
		at := time.Now()
		pods, err := c.cfg.Cloud.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{
			FieldSelector: fields.OneTermEqualSelector("spec.nodeName", node).String(),
		})
		if err != nil {
			return nil, err
		}
		seen := make(map[hub.Key]struct{})
		for i := range pods.Items {
			if pods.Items[i].Spec.NodeName == node {
				maps.Copy(seen, references(&pods.Items[i]))
			}
		}
		if seen, err = c.followLive(ctx, node, seen); err != nil {
			return nil, err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if w := c.nodes[node]; w != nil {
			w.seen, w.seenAt = seen, at
		}
		return seen, nil
	})
	if err != nil {
		return false, err
	}
	_, ok := result.(map[hub.Key]struct{})[key]
	return ok, nil
}

// podChanged follows the watch of pods.
func (c *Controller) podChanged(change cache.Change[*corev1.Pod]) {
	var before, now string
	if change.Old != nil {
		before = change.Old.Spec.NodeName
	}
	if change.New != nil {
		now = change.New.Spec.NodeName
	}
	c.mu.Lock()
	if c.trackReadinessLocked(change) && c.onMarked != nil {
		defer c.onMarked(now)
	}
	if change.Same {
		c.mu.Unlock()
		return
	}
	var beforeKeys, nowKeys []hub.Key
	if before != "" && before != now {
		c.byNode.Remove(before, change.Name)
		if c.nodes[before] != nil {
			beforeKeys = append(c.setReferencesLocked(before, change.Name, nil), podKey(change.Name))
		}
	}
	if now != "" {
		c.byNode.Add(now, change.Name)
		if c.nodes[now] != nil {
			nowKeys = append(c.setReferencesLocked(now, change.Name, references(change.New)), podKey(change.Name))
		}
	}
	listeners := c.onPods
	c.mu.Unlock()
	c.notifier.Notify(before, beforeKeys...)
	c.notifier.Notify(now, nowKeys...)
	for _, changed := range listeners {
		if before != "" && before != now {
			changed(before)
		}
		if now != "" {
			changed(now)
		}
	}
}

func (c *Controller) nodeChanged(change cache.Change[*corev1.Node]) {
	if name := change.Name.Name; change.New == nil {
		c.mu.Lock()
		if c.nodes[name] != nil {
			c.tasks.Start(func(ctx context.Context) { c.restoreRole(ctx, name) })
		}
		c.mu.Unlock()
	}
	if !change.Same {
		c.notifier.Notify(change.Name.Name, hub.Key{Resource: resources.Nodes, Name: change.Name.Name})
	}
}

func podKey(name cache.Name) hub.Key {
	return hub.Key{Resource: resources.Pods, Namespace: name.Namespace, Name: name.Name}
}
