package rules

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"

	v1 "github.com/edgekit/edgekit/bus/rules/v1"
	"github.com/edgekit/edgekit/bus/rules/wire"
	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/resources"
)

// Bounds of messages that wait for nodes.
const (
	maxWaiting      = 256       // for one node
	maxWaitingTotal = 20_000    // for all
	maxWaitingBody  = 256 << 10 // bytes of one payload
	maxWaitingBytes = 128 << 20 // of all payloads: the API server has them in etcd, which is small
	expireEvery     = time.Minute
)

// errWaitingFull is returned when too many messages wait.
var errWaitingFull = errors.New("as many messages as may wait for this node, or for all nodes, do")

// sizeAnnotation has the bytes of a payload that is not in the cache. It is in the cache only.
const sizeAnnotation = "edgekit.io/payload-bytes"

// stripPayload removes the payload of a message for the cache.
func stripPayload(m *v1.RuleMessage) {
	if n := len(m.Spec.Payload); n > 0 {
		m.Annotations = map[string]string{sizeAnnotation: strconv.Itoa(n)}
		m.Spec.Payload = nil
	}
}

// waitingIndex has the messages that wait by node, with the bytes of their payloads.
type waitingIndex struct {
	mu    sync.Mutex
	nodes map[string]map[cache.Name]int
	count int
	bytes int
}

func (x *waitingIndex) change(change cache.Change[*v1.RuleMessage]) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if change.Old != nil {
		node := change.Old.Spec.NodeName
		if size, ok := x.nodes[node][change.Name]; ok {
			x.count, x.bytes = x.count-1, x.bytes-size
			delete(x.nodes[node], change.Name)
			if len(x.nodes[node]) == 0 {
				delete(x.nodes, node)
			}
		}
	}
	if change.New != nil {
		node := change.New.Spec.NodeName
		if x.nodes[node] == nil {
			x.nodes[node] = make(map[cache.Name]int)
		}
		size, _ := strconv.Atoi(change.New.Annotations[sizeAnnotation]) // none: no payload
		x.nodes[node][change.Name] = size
		x.count, x.bytes = x.count+1, x.bytes+size
	}
}

// takes reports whether one more message may wait for a node.
func (x *waitingIndex) takes(node string, size int) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.nodes[node]) < maxWaiting && x.count < maxWaitingTotal && x.bytes+size <= maxWaitingBytes
}

// of lists the messages of a node.
func (x *waitingIndex) of(node string) []cache.Name {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Collect(maps.Keys(x.nodes[node]))
}

// wait stores a message for a node that is away.
func (c *Controller) wait(ctx context.Context, r *resolved, node, topic, contentType string, payload []byte, ttl time.Duration) error {
	if !c.waiting.takes(node, len(payload)) {
		return errWaitingFull
	}
	m := &v1.RuleMessage{
		TypeMeta: metav1.TypeMeta{APIVersion: v1.GroupVersion().String(), Kind: "RuleMessage"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: r.name.Namespace, GenerateName: r.name.Name[:min(len(r.name.Name), 200)] + "-",
			OwnerReferences: []metav1.OwnerReference{{APIVersion: v1.GroupVersion().String(), Kind: "Rule", Name: r.rule.Name, UID: r.rule.UID}},
		},
		Spec: v1.RuleMessageSpec{
			NodeName: node, Rule: r.name.Name, Topic: topic, Payload: payload, ContentType: contentType,
			ExpirationTime: metav1.NewTime(time.Now().Add(ttl)),
		},
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(m)
	if err != nil {
		return err
	}
	_, err = c.messageClient(r.name.Namespace).Create(ctx, &unstructured.Unstructured{Object: content}, metav1.CreateOptions{})
	return err
}

// waitingMessage is a message that waits, without its payload.
type waitingMessage struct {
	id   uint64 // its resource version: a message does not change
	name cache.Name
	obj  *v1.RuleMessage
}

// waitingFor lists the messages that wait for a node, in order.
func (c *Controller) waitingFor(node string) []waitingMessage {
	var out []waitingMessage
	for _, name := range c.waiting.of(node) {
		item, ok := c.messages.Load(name)
		if !ok || item.Object.Spec.NodeName != node {
			continue
		}
		if id, err := strconv.ParseUint(item.Object.ResourceVersion, 10, 64); err == nil {
			out = append(out, waitingMessage{id, name, item.Object})
		}
	}
	slices.SortFunc(out, func(a, b waitingMessage) int { return cmp.Compare(a.id, b.id) })
	return out
}

// messageChanged indexes a message and notifies the node of a new one.
func (c *Controller) messageChanged(change cache.Change[*v1.RuleMessage]) {
	c.waiting.change(change)
	if change.Old == nil && change.New != nil {
		c.arrivals.Notify(change.New.Spec.NodeName, hub.Key{Resource: resources.RuleEvents, Namespace: change.New.Namespace, Name: change.New.Spec.Rule})
	}
}

// outbox has the messages that wait for a node.
type outbox struct {
	c    *Controller
	node string
}

var _ hub.Outbox = (*outbox)(nil)

// Outbox returns the messages that wait for a node.
func (c *Controller) Outbox(node string) hub.Outbox { return &outbox{c, node} }

// source names the sequence of the node's messages. A Node that is made again, in another
// cluster for example, has another: its numbers have nothing to do with the old ones.
func (o *outbox) source() string {
	if o.c.cfg.Nodes != nil {
		if item, ok := o.c.cfg.Nodes.Load(cache.Name{Name: o.node}); ok {
			return "rulemessages-" + string(item.Object.UID)
		}
	}
	return "rulemessages"
}

// Sources yields the one source if messages wait.
func (o *outbox) Sources(context.Context) (iter.Seq[string], error) {
	return func(yield func(string) bool) {
		if len(o.c.waitingFor(o.node)) > 0 {
			yield(o.source())
		}
	}, nil
}

// Next reads the next message. One whose time is over is left out; expire removes it.
func (o *outbox) Next(ctx context.Context, source string, after uint64) (hub.Event, error) {
	if source != o.source() {
		return hub.Event{}, io.EOF
	}
	for _, m := range o.c.waitingFor(o.node) {
		left := time.Until(m.obj.Spec.ExpirationTime.Time)
		if m.id <= after || left <= 0 {
			continue
		}
		u, err := o.c.messageClient(m.name.Namespace).Get(ctx, m.name.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return hub.Event{}, fmt.Errorf("controller/rules: %w", err)
		}
		obj, err := cache.Decode[v1.RuleMessage](u)
		if err != nil {
			return hub.Event{}, fmt.Errorf("controller/rules: %w", err)
		}
		body := wire.Message{Topic: obj.Spec.Topic, Payload: obj.Spec.Payload, ContentType: obj.Spec.ContentType, Time: obj.CreationTimestamp.Time, TTL: left}
		return hub.Event{
			Source: source, ID: m.id, Body: body.Encode(),
			Key: hub.Key{Resource: resources.RuleEvents, Namespace: obj.Namespace, Name: obj.Spec.Rule},
		}, nil
	}
	return hub.Event{}, io.EOF
}

// Acked removes the messages up to id: the node has them, or refuses them for good.
func (o *outbox) Acked(ctx context.Context, source string, id uint64) error {
	if source != o.source() {
		return nil
	}
	for _, m := range o.c.waitingFor(o.node) {
		if m.id > id || time.Until(m.obj.Spec.ExpirationTime.Time) <= 0 {
			continue // expire removes and counts the second kind
		}
		removed, err := o.c.removeMessage(ctx, m)
		if err != nil {
			return fmt.Errorf("controller/rules: %w", err)
		}
		if removed {
			o.c.statuses.success(cache.Name{Namespace: m.name.Namespace, Name: m.obj.Spec.Rule}, o.node)
		}
	}
	return nil
}

// Subscribe has appended called for each message that begins to wait.
func (o *outbox) Subscribe(appended func(source string)) (stop func()) {
	_, unsubscribe := o.c.arrivals.Subscribe(o.node, func(hub.Key) { appended(o.source()) })
	return func() { unsubscribe() }
}

// removeMessage removes a message and reports whether this call did.
func (c *Controller) removeMessage(ctx context.Context, m waitingMessage) (bool, error) {
	uid := m.obj.UID
	err := c.messageClient(m.name.Namespace).Delete(ctx, m.name.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return false, nil
	}
	return err == nil, err
}

// expire removes messages whose time is over, and has them as dead letters in the status.
func (c *Controller) expire(ctx context.Context) error {
	select {
	case <-c.messages.Synced():
	case <-ctx.Done():
		return nil
	}
	tick := time.NewTicker(expireEvery)
	defer tick.Stop()
	for {
		for _, name := range c.messages.Names() {
			item, ok := c.messages.Load(name)
			if !ok || time.Until(item.Object.Spec.ExpirationTime.Time) > 0 {
				continue
			}
			spec := &item.Object.Spec
			removed, err := c.removeMessage(ctx, waitingMessage{name: name, obj: item.Object})
			if err != nil && ctx.Err() == nil {
				c.log.Warn("a message whose time is over cannot be removed", "message", name.Namespace+"/"+name.Name, "err", err)
			}
			if removed {
				c.statuses.dead(cache.Name{Namespace: name.Namespace, Name: spec.Rule}, v1.DeadLetter{
					Time: metav1.Now(), Node: spec.NodeName, ID: string(item.Object.UID), Topic: clip(spec.Topic),
					Reason: "the node was away until the message's time was over",
				})
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (c *Controller) ruleClient(namespace string) dynamic.ResourceInterface {
	return c.cfg.Dynamic.Resource(v1.GroupVersion().WithResource(resources.Rules)).Namespace(namespace)
}

func (c *Controller) messageClient(namespace string) dynamic.ResourceInterface {
	return c.cfg.Dynamic.Resource(v1.GroupVersion().WithResource(resources.RuleMessages)).Namespace(namespace)
}
