package kube_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/edgedtest"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/kube"
)

// cloud stores objects as the link does, and reads what a Client reported.
type cloud struct {
	t *testing.T
	setup
	tokens issuer

	mu       sync.Mutex
	reported map[meta.Key]meta.Object
	events   []*corev1.Event
}

// openCloud starts a Client, and returns it with its cloud.
func openCloud(t *testing.T) (*kube.Client, *cloud) {
	c := &cloud{t: t, setup: start(t), reported: make(map[meta.Key]meta.Object)}
	t.Cleanup(c.stop)
	c.m.answer = func(q meta.Object) (meta.Object, error) {
		switch q.Key.Resource {
		case "nodes/pods":
		case "configmaps", "persistentvolumeclaims", "runtimeclasses", "persistentvolumes":
			return meta.Object{}, meta.ErrNotFound
		default:
			return c.tokens.answer(q)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		body, err := json.Marshal([]types.UID{"web-uid"})
		return meta.Object{Body: body}, err
	}
	reports, err := kube.New(kube.Config{Store: c.store, Manager: reporter{c.m, c}, Node: edgedtest.NodeName})
	must(t, err)
	return reports, c
}

// reporter is a Manager that may be used by several goroutines.
type reporter struct {
	*fake
	c *cloud
}

func (r reporter) Insert(_ context.Context, o meta.Object) error { return r.c.keep(o) }
func (r reporter) Update(_ context.Context, o meta.Object) error { return r.c.keep(o) }
func (r reporter) Delete(_ context.Context, o meta.Object) error {
	o.Deleted = true
	return r.c.keep(o)
}

func (r reporter) Append(_ context.Context, _ meta.Key, body []byte) error {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	var e corev1.Event
	r.c.events = append(r.c.events, &e)
	return json.Unmarshal(body, &e)
}

func (c *cloud) keep(o meta.Object) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reported[o.Key] = o
	return nil
}

func (c *cloud) PutPod(p *corev1.Pod) { c.put(c.t, "pods", p.Namespace, p.Name, p) }
func (c *cloud) RemovePod(uid types.UID) {
	c.drop(c.t, "pods/default/"+string(uid[:len(uid)-len("-uid")]))
}

func (c *cloud) PutConfigMap(cm *corev1.ConfigMap) {
	c.put(c.t, "configmaps", cm.Namespace, cm.Name, cm)
}

func (c *cloud) RemoveConfigMap(namespace, name string) {
	c.drop(c.t, "configmaps/"+namespace+"/"+name) // the cloud, when asked, does not have it either
}

func (c *cloud) PutSecret(s *corev1.Secret)   { c.put(c.t, "secrets", s.Namespace, s.Name, s) }
func (c *cloud) PutService(s *corev1.Service) { c.put(c.t, "services", s.Namespace, s.Name, s) }

func (c *cloud) PutPersistentVolumeClaim(claim *corev1.PersistentVolumeClaim) {
	c.put(c.t, "persistentvolumeclaims", claim.Namespace, claim.Name, claim)
}

func (c *cloud) RemovePersistentVolumeClaim(namespace, name string) {
	c.drop(c.t, "persistentvolumeclaims/"+namespace+"/"+name)
}

func (c *cloud) PutPersistentVolume(pv *corev1.PersistentVolume) {
	c.put(c.t, "persistentvolumes", "", pv.Name, pv)
}

func (c *cloud) PutNode(n *corev1.Node) { c.put(c.t, "nodes", "", n.Name, n) }

func (c *cloud) PutVolumeAttachment(a *storagev1.VolumeAttachment) {
	c.put(c.t, "volumeattachments", "", a.Name, a)
}

func (c *cloud) PutRuntimeClass(class *nodev1.RuntimeClass) {
	c.put(c.t, "runtimeclasses", "", class.Name, class)
}

func (c *cloud) RemoveRuntimeClass(name string) { c.drop(c.t, "runtimeclasses//"+name) }

func (c *cloud) ReportedNode() *corev1.Node {
	return read[corev1.Node](c, func(o meta.Object) bool { return o.Key.Resource == "nodes" })
}

func (c *cloud) Status(uid types.UID) *corev1.PodStatus {
	p := read[corev1.Pod](c, func(o meta.Object) bool { return o.Key.Resource == "pods/status" && o.Key.Name+"-uid" == string(uid) })
	if p == nil {
		return nil
	}
	return &p.Status
}

func (c *cloud) IsGone(uid types.UID) bool {
	return read[corev1.Pod](c, func(o meta.Object) bool { return o.Deleted && o.Key.Name+"-uid" == string(uid) }) != nil
}

func (c *cloud) Events() []*corev1.Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.events
}

// read finds the report that is asked for; nil if there is none.
func read[T any](c *cloud, is func(meta.Object) bool) *T {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range c.reported {
		if is(o) {
			var v T
			must(c.t, json.Unmarshal(o.Body, &v))
			return &v
		}
	}
	return nil
}

// TestEdged checks the Client against the contracts of edged.Objects and edged.Reports.
func TestEdged(t *testing.T) {
	t.Run("Objects", func(t *testing.T) {
		edgedtest.RunObjects(t, func(t *testing.T) (edged.Objects, edgedtest.Cloud) {
			_, c := openCloud(t)
			return c.Client, c
		})
	})
	t.Run("VolumeReader", func(t *testing.T) {
		edgedtest.RunVolumeReader(t, func(t *testing.T) (interface {
			edged.Objects
			edged.VolumeReader
		}, edgedtest.VolumeCloud) {
			_, c := openCloud(t)
			return c.Client, c
		})
	})
	t.Run("RuntimeClassReader", func(t *testing.T) {
		edgedtest.RunRuntimeClassReader(t, func(t *testing.T) (interface {
			edged.Objects
			edged.RuntimeClassReader
		}, edgedtest.ClassCloud) {
			_, c := openCloud(t)
			return c.Client, c
		})
	})
	t.Run("VolumeAttachmentReader", func(t *testing.T) {
		edgedtest.RunVolumeAttachmentReader(t, func(t *testing.T) (interface {
			edged.Objects
			edged.VolumeAttachmentReader
		}, edgedtest.AttachmentCloud) {
			_, c := openCloud(t)
			return c.Client, c
		})
	})
	t.Run("Reports", func(t *testing.T) {
		edgedtest.RunReports(t, func(t *testing.T) (edged.Reports, edgedtest.Reported) {
			reports, c := openCloud(t)
			return reports, c
		})
	})
	t.Run("LastReports", func(t *testing.T) {
		edgedtest.RunLastReports(t, func(t *testing.T) interface {
			edged.Reports
			edged.LastReports
		} {
			s := start(t)
			t.Cleanup(s.stop)
			s.realManager(t)
			return s.Client
		})
	})
	t.Run("Mirrorer", func(t *testing.T) {
		edgedtest.RunMirrorer(t, func(t *testing.T) (edged.Mirrorer, func() []*corev1.Pod) {
			reports, c := openCloud(t)
			return reports, func() []*corev1.Pod {
				return []*corev1.Pod{read[corev1.Pod](c, func(o meta.Object) bool { return o.Key.Resource == "pods" })}
			}
		})
	})
	t.Run("NodeReader", func(t *testing.T) {
		edgedtest.RunNodeReader(t, func(t *testing.T) (edged.NodeReader, func(*corev1.Node)) {
			_, c := openCloud(t)
			return c.Client, func(n *corev1.Node) { c.put(t, "nodes", "", n.Name, n) }
		})
	})
	t.Run("BoundPodLister", func(t *testing.T) {
		edgedtest.RunBoundPodLister(t, func(t *testing.T) (edged.BoundPodLister, edgedtest.Cloud) {
			_, c := openCloud(t)
			return c.Client, c
		})
	})
	t.Run("NodeDeletionWatcher", func(t *testing.T) {
		edgedtest.RunNodeDeletionWatcher(t, func(t *testing.T) (edged.NodeDeletionWatcher, func()) {
			c, mgr, _ := registered(t)
			down := mgr.Down()
			node := nodeObject(t, edgedtest.NodeName)
			must(t, down.Apply(t.Context(), []hub.Object{node}))
			lists, err := c.Pods(t.Context()) // the first list comes when Run follows the store
			must(t, err)
			<-lists
			return c, func() {
				must(t, down.Apply(t.Context(), []hub.Object{{Key: node.Key, Version: "2", Deleted: true}}))
			}
		})
	})
}
