package devices

import (
	"context"
	"fmt"
	"iter"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/edgekit/edgekit/controller/internal/cache"
	nodesync "github.com/edgekit/edgekit/controller/internal/sync"
	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/resources"
)

// Resources returns the resources for which Source answers.
func Resources() []string { return []string{resources.Devices, resources.DeviceModels} }

// Source returns the devices and models of one node.
func (c *Controller) Source(node string) hub.Source { return &source{c: c, node: node} }

// Handle has mux answer the nodes' queries for devices and models. A node gets
// only its own.
func (c *Controller) Handle(mux *hub.Mux) {
	for _, resource := range Resources() {
		mux.Handle(resource, hub.HandlerFunc(func(ctx context.Context, req hub.Request) (hub.Message, error) {
			obj, err := (&source{c: c, node: req.Node}).Load(ctx, req.Message.Key, "")
			if err != nil {
				return hub.Message{}, err
			}
			if obj.Deleted {
				return hub.Message{}, &hub.Error{Code: hub.CodeNotFound, Text: req.Message.Key.String() + " does not exist for this node"}
			}
			return hub.Message{Version: obj.Version, Body: obj.Body}, nil
		}))
	}
}

type source struct {
	c    *Controller
	node string
}

func (s *source) Compare(a, b string) int { return cache.Compare(a, b) }

func (s *source) Subscribe(changed func(hub.Key)) (stop func()) {
	_, unsubscribe := s.c.notifier.Subscribe(s.node, changed)
	return func() {
		if unsubscribe() {
			s.c.endSession(s.node)
		}
	}
}

func (s *source) Versions(context.Context) (iter.Seq2[hub.Key, string], error) {
	c := s.c
	c.mu.Lock()
	names := make([]cache.Name, 0, len(c.byNode[s.node]))
	for name := range c.byNode[s.node] {
		names = append(names, name)
	}
	c.mu.Unlock()
	return func(yield func(hub.Key, string) bool) {
		seen := make(map[cache.Name]bool)
		for _, name := range names {
			item, ok := c.devices.Load(name)
			if !ok || item.Object.Spec.NodeName != s.node || c.movingTo(name, s.node) {
				continue
			}
			if !yield(deviceKey(name), item.Version) {
				return
			}
			_, model := nodeAndModel(item.Object)
			if seen[model] {
				continue
			}
			seen[model] = true
			if item, ok := c.models.Load(model); ok && !yield(modelKey(model), item.Version) {
				return
			}
		}
	}, nil
}

func (s *source) Load(ctx context.Context, key hub.Key, held string) (hub.Object, error) {
	var obj hub.Object
	var err error
	switch key.Resource {
	case resources.Devices:
		obj, err = s.loadDevice(ctx, key, held)
	case resources.DeviceModels:
		obj, err = s.loadModel(ctx, key, held)
	default:
		err = &hub.Error{Code: hub.CodeUnsupported, Text: fmt.Sprintf("no source for resource %q", key.Resource)}
	}
	if err != nil {
		return hub.Object{}, fmt.Errorf("devices: load %s: %w", key, nodesync.FromAPI(err))
	}
	return obj, nil
}

func (s *source) loadDevice(ctx context.Context, key hub.Key, held string) (hub.Object, error) {
	name := cache.Name{Namespace: key.Namespace, Name: key.Name}
	if s.c.movingTo(name, s.node) {
		return hub.Object{Key: key, Deleted: true}, nil // until the old node had time to let go of it
	}
	item, ok := s.c.devices.LoadFor(name, held)
	if ok && item.Object.Spec.NodeName == s.node {
		return nodesync.Encode(key, item.Version, item.Object)
	}
	device, err := s.c.readDevice(ctx, key.Namespace, key.Name)
	if apierrors.IsNotFound(err) || err == nil && device.Spec.NodeName != s.node {
		return hub.Object{Key: key, Deleted: true}, nil
	}
	if err != nil {
		return hub.Object{}, err
	}
	return nodesync.Encode(key, device.ResourceVersion, device)
}

func (s *source) loadModel(ctx context.Context, key hub.Key, held string) (hub.Object, error) {
	name := cache.Name{Namespace: key.Namespace, Name: key.Name}
	needed := s.needs(name)
	if needed {
		if item, ok := s.c.models.LoadFor(name, held); ok {
			return nodesync.Encode(key, item.Version, item.Object)
		}
	} else {
		var err error
		if needed, err = s.referred(ctx, name); err != nil {
			return hub.Object{}, err
		}
	}
	if !needed {
		return hub.Object{Key: key, Deleted: true}, nil
	}
	u, err := s.c.cfg.Dynamic.Resource(v1beta1.GroupVersion().WithResource(resources.DeviceModels)).
		Namespace(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return hub.Object{Key: key, Deleted: true}, nil
	}
	if err != nil {
		return hub.Object{}, err
	}
	model, err := cache.Decode[v1beta1.DeviceModel](u)
	if err != nil {
		return hub.Object{}, err
	}
	return nodesync.Encode(key, model.ResourceVersion, model)
}

// needs reports that a device of the node refers to the model.
func (s *source) needs(model cache.Name) bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	for name := range s.c.byModel[model] {
		if _, ok := s.c.byNode[s.node][name]; ok {
			return true
		}
	}
	return false
}

// referred asks the API server the same: the node may know of a device that
// the watch has not yet seen.
func (s *source) referred(ctx context.Context, model cache.Name) (bool, error) {
	list, err := s.c.deviceClient(model.Namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("spec.nodeName", s.node).String(),
	})
	if err != nil {
		return false, err
	}
	for i := range list.Items {
		device, err := cache.Decode[v1beta1.Device](&list.Items[i])
		if err != nil {
			return false, err
		}
		if device.Spec.NodeName == s.node && device.Spec.ModelRef.Name == model.Name {
			return true, nil
		}
	}
	return false, nil
}

func (c *Controller) readDevice(ctx context.Context, namespace, name string) (*v1beta1.Device, error) {
	u, err := c.deviceClient(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return cache.Decode[v1beta1.Device](u)
}
