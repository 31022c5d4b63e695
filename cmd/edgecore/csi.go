package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/csi"
	"github.com/edgekit/edgekit/meta/kube"
)

// nodeIDAnnotation is where older controllers of CSI drivers look for a node's name to
// a driver, beside the CSINode:
// https://kubernetes.io/docs/reference/labels-annotations-taints/#csi-volume-kubernetes-io-nodeid
const nodeIDAnnotation = "csi.volume.kubernetes.io/nodeid"

// reportRetry is how long to wait before a report that was not stored is made again.
const reportRetry = 10 * time.Second

// storageReports are the agent's reports, with what the node's CSI drivers add to its
// Node: where the node is to them, as labels, and its names to them.
type storageReports struct {
	*kube.Client
	name string
	log  *slog.Logger

	wake chan struct{} // holds a value: the drivers changed

	mu      sync.Mutex
	drivers []csi.Info
	known   bool         // the drivers are those of this run
	last    *corev1.Node // as the agent reported it
}

func newStorageReports(client *kube.Client, name string, log *slog.Logger) *storageReports {
	return &storageReports{Client: client, name: name, log: log, wake: make(chan struct{}, 1)}
}

// Node reports the node.
func (s *storageReports) Node(ctx context.Context, node *corev1.Node) error {
	s.mu.Lock()
	s.last = node.DeepCopy()
	amended := amendNode(node, s.drivers)
	s.mu.Unlock()
	return s.Client.Node(ctx, amended)
}

// changed notes the drivers; Run reports them.
func (s *storageReports) changed(_ context.Context, drivers []csi.Info) {
	s.mu.Lock()
	s.drivers, s.known = drivers, true
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run reports the drivers after each change until ctx ends.
func (s *storageReports) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		}
		for err := s.report(ctx); err != nil && ctx.Err() == nil; err = s.report(ctx) {
			s.log.Warn("cannot report the CSI drivers of this node", "err", err)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(reportRetry):
			}
		}
	}
}

func (s *storageReports) report(ctx context.Context) error {
	s.mu.Lock()
	drivers, last, known := s.drivers, s.last, s.known
	s.mu.Unlock()
	if !known {
		return nil
	}
	if err := s.CSINode(ctx, csiNode(s.name, drivers)); err != nil {
		return err
	}
	if last == nil {
		return nil // the agent's own first report has it all
	}
	return s.Client.Node(ctx, amendNode(last, drivers))
}

// csiNode is the object that says which drivers a node has.
func csiNode(name string, drivers []csi.Info) *storagev1.CSINode {
	node := &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, d := range drivers {
		entry := storagev1.CSINodeDriver{Name: d.Name, NodeID: d.NodeID, TopologyKeys: slices.Sorted(maps.Keys(d.Topology))}
		if d.MaxVolumes > 0 {
			entry.Allocatable = &storagev1.VolumeNodeResources{Count: new(int32(min(d.MaxVolumes, 1<<31-1)))}
		}
		node.Spec.Drivers = append(node.Spec.Drivers, entry)
	}
	return node
}

// amendNode gives a copy of a node with what its drivers add.
func amendNode(node *corev1.Node, drivers []csi.Info) *corev1.Node {
	if len(drivers) == 0 {
		return node
	}
	node = node.DeepCopy()
	ids := make(map[string]string)
	if node.Labels == nil {
		node.Labels = make(map[string]string)
	}
	for _, d := range drivers {
		ids[d.Name] = d.NodeID
		maps.Copy(node.Labels, d.Topology)
	}
	if text, err := json.Marshal(ids); err == nil {
		if node.Annotations == nil {
			node.Annotations = make(map[string]string)
		}
		node.Annotations[nodeIDAnnotation] = string(text)
	}
	return node
}
