package pipelines

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/bus/pipeline/wire"
	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/hub"
)

// inputRef names a ConfigMap or Secret that Pipelines name.
type inputRef struct{ kind, namespace, name string }

func (r inputRef) key() hub.Key {
	return hub.Key{Resource: wire.Inputs, Namespace: r.namespace, Name: wire.InputName(r.kind, r.name)}
}

// refsOf are the inputs that a Pipeline names; nil names none.
func refsOf(p *v1alpha1.Pipeline) map[inputRef]struct{} {
	if p == nil {
		return nil
	}
	refs := make(map[inputRef]struct{})
	for _, t := range p.Spec.Tables {
		if t.ConfigMapRef != nil {
			refs[inputRef{wire.ConfigMap, p.Namespace, t.ConfigMapRef.Name}] = struct{}{}
		}
	}
	for _, s := range p.Spec.Sinks {
		if s.SecretRef != nil {
			refs[inputRef{wire.Secret, p.Namespace, s.SecretRef.Name}] = struct{}{}
		}
	}
	return refs
}

// Reasons of the condition InputsAvailable.
const (
	reasonAvailable = "Available"
	reasonMissing   = "NotFound"
	reasonForbidden = "Forbidden"
	reasonUnread    = "NotRead"
)

// input is what is known of one ConfigMap or Secret.
type input struct {
	known   bool   // the API server has answered
	reason  string // why there is no content; empty if there is
	message string // for people
	version string
	content wire.Input
}

func (i input) there() bool { return i.known && i.reason == "" }

// inputs watches, one by one, the ConfigMaps and Secrets that Pipelines name.
type inputs struct {
	c *Controller

	mu      sync.Mutex
	running context.Context // nil before run and after it
	work    sync.WaitGroup
	all     map[inputRef]*watched
}

// watched is one input and its watch.
type watched struct {
	input
	users  map[cache.Name]struct{}
	cancel context.CancelFunc // nil while it does not run
}

func newInputs(c *Controller) *inputs { return &inputs{c: c, all: make(map[inputRef]*watched)} }

// run lets watches run until ctx ends, and joins them.
func (x *inputs) run(ctx context.Context) error {
	x.mu.Lock()
	x.running = ctx
	for ref, w := range x.all {
		x.startLocked(ref, w)
	}
	x.mu.Unlock()
	<-ctx.Done()
	x.mu.Lock()
	x.running = nil
	x.mu.Unlock()
	x.work.Wait()
	return nil
}

func (x *inputs) startLocked(ref inputRef, w *watched) {
	if x.running == nil || w.cancel != nil {
		return
	}
	ctx, cancel := context.WithCancel(x.running)
	w.cancel = cancel
	x.work.Go(func() {
		defer cancel()
		x.follow(ctx, ref)
	})
}

// change notes which inputs a Pipeline names.
func (x *inputs) change(user cache.Name, before, now map[inputRef]struct{}) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for ref := range now {
		w := x.all[ref]
		if w == nil {
			w = &watched{users: make(map[cache.Name]struct{})}
			x.all[ref] = w
			x.startLocked(ref, w)
		}
		w.users[user] = struct{}{}
	}
	for ref := range before {
		w := x.all[ref]
		if _, still := now[ref]; still || w == nil {
			continue
		}
		if delete(w.users, user); len(w.users) == 0 {
			delete(x.all, ref)
			if w.cancel != nil {
				w.cancel()
			}
		}
	}
}

// get returns what is known of an input.
func (x *inputs) get(ref inputRef) input {
	x.mu.Lock()
	defer x.mu.Unlock()
	if w := x.all[ref]; w != nil {
		return w.input
	}
	return input{}
}

// put notes what the API server says and notifies the nodes.
func (x *inputs) put(ref inputRef, in input) {
	in.known = true
	x.mu.Lock()
	w := x.all[ref]
	if w == nil {
		x.mu.Unlock()
		return
	}
	changed := w.version != in.version || w.reason != in.reason || w.message != in.message || !w.known
	w.input = in
	users := maps.Clone(w.users)
	x.mu.Unlock()
	if !changed {
		return
	}
	c := x.c
	for user := range users {
		c.statuses.changed(user)
		item, ok := c.pipelines.Load(user)
		if !ok {
			continue
		}
		for _, node := range c.attachedNodes() {
			if c.isFor(item.Object, node) {
				c.notifier.Notify(node, ref.key())
			}
		}
	}
}

// Pauses between tries to read an input.
const (
	inputRetry    = 2 * time.Second
	inputRetryMax = time.Minute
)

// follow reads one input and follows its changes until ctx ends.
func (x *inputs) follow(ctx context.Context, ref inputRef) {
	pause := inputRetry
	for ctx.Err() == nil {
		version, err := x.list(ctx, ref)
		if err == nil {
			pause = inputRetry
			err = x.watch(ctx, ref, version)
		}
		switch {
		case ctx.Err() != nil:
			return
		case apierrors.IsForbidden(err):
			x.put(ref, input{reason: reasonForbidden, message: fmt.Sprintf("cloudcore may not read %s %s/%s: to allow it for the namespace, "+
				"kubectl create rolebinding edgekit-pipelines --clusterrole=edgekit:cloudcore-pipelines --serviceaccount=edgekit-system:cloudcore -n %s", ref.kind, ref.namespace, ref.name, ref.namespace)})
		case err != nil && !x.get(ref).there():
			x.put(ref, input{reason: reasonUnread, message: fmt.Sprintf("%s %s/%s cannot be read: %v", ref.kind, ref.namespace, ref.name, err)})
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		pause = min(2*pause, inputRetryMax)
	}
}

func missing(ref inputRef) input {
	return input{reason: reasonMissing, message: fmt.Sprintf("%s %s/%s does not exist: create it", ref.kind, ref.namespace, ref.name)}
}

// list reads an input and returns the version to watch from.
func (x *inputs) list(ctx context.Context, ref inputRef) (string, error) {
	only := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", ref.name).String()}
	core := x.c.cfg.Cloud.CoreV1()
	found := missing(ref)
	if ref.kind == wire.Secret {
		list, err := core.Secrets(ref.namespace).List(ctx, only)
		if err != nil {
			return "", err
		}
		for i := range list.Items {
			if list.Items[i].Name == ref.name {
				found = ofSecret(&list.Items[i])
			}
		}
		x.put(ref, found)
		return list.ResourceVersion, nil
	}
	list, err := core.ConfigMaps(ref.namespace).List(ctx, only)
	if err != nil {
		return "", err
	}
	for i := range list.Items {
		if list.Items[i].Name == ref.name {
			found = ofConfigMap(&list.Items[i])
		}
	}
	x.put(ref, found)
	return list.ResourceVersion, nil
}

func ofSecret(s *corev1.Secret) input {
	return input{version: s.ResourceVersion, content: wire.Input{Data: s.Data}}
}

func ofConfigMap(m *corev1.ConfigMap) input {
	return input{version: m.ResourceVersion, content: wire.Input{Text: m.Data, Data: m.BinaryData}}
}

// watch follows the changes of an input until the watch ends, as each does now and then.
func (x *inputs) watch(ctx context.Context, ref inputRef, version string) error {
	o := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", ref.name).String(), ResourceVersion: version}
	core := x.c.cfg.Cloud.CoreV1()
	var w watch.Interface
	var err error
	if ref.kind == wire.Secret {
		w, err = core.Secrets(ref.namespace).Watch(ctx, o)
	} else {
		w, err = core.ConfigMaps(ref.namespace).Watch(ctx, o)
	}
	if err != nil {
		return err
	}
	defer w.Stop()
	for {
		select {
		case e, ok := <-w.ResultChan():
			if !ok {
				return nil
			}
			if e.Type == watch.Error {
				return apierrors.FromObject(e.Object)
			}
			x.event(ref, e)
		case <-ctx.Done():
			return nil
		}
	}
}

func (x *inputs) event(ref inputRef, e watch.Event) {
	o, ok := e.Object.(metav1.Object)
	if !ok || o.GetName() != ref.name {
		return
	}
	if e.Type == watch.Deleted {
		x.put(ref, missing(ref))
		return
	}
	switch o := e.Object.(type) {
	case *corev1.Secret:
		x.put(ref, ofSecret(o))
	case *corev1.ConfigMap:
		x.put(ref, ofConfigMap(o))
	}
}

// unavailable yields the inputs of a Pipeline that are not there.
func (x *inputs) unavailable(p *v1alpha1.Pipeline) iter.Seq2[inputRef, input] {
	return func(yield func(inputRef, input) bool) {
		for ref := range refsOf(p) {
			if in := x.get(ref); in.known && in.reason != "" && !yield(ref, in) {
				return
			}
		}
	}
}
