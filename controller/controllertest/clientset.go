package controllertest

import (
	"errors"
	"strconv"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// firstVersion is behind all versions that the fake's tracker counts itself.
const firstVersion = 100

// NewClientset returns client-go's fake client, nearer to an API server in three
// ways. Objects have resource versions: those given keep theirs, one without
// gets one, and each create and update gives a new one. An update of an old
// version is a conflict. And what a watch gives is the watcher's own: the fake
// gives a new watch the very objects that it holds, so that a watcher which
// changes one (to drop its managed fields, say) races with every read.
//
// A patch leaves the resource version as it is.
func NewClientset(objects ...runtime.Object) *fake.Clientset {
	v := &versions{last: firstVersion}
	for _, o := range objects {
		if m, err := meta.Accessor(o); err == nil && m.GetResourceVersion() == "" {
			m.SetResourceVersion(v.next())
		}
	}
	client := fake.NewClientset(objects...)
	tracker := client.Tracker()
	client.PrependReactor("*", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
		return v.write(tracker, a)
	})
	client.PrependWatchReactor("*", func(a clienttesting.Action) (bool, watch.Interface, error) {
		var opts metav1.ListOptions
		if w, ok := a.(clienttesting.WatchActionImpl); ok {
			opts = w.ListOptions
		}
		w, err := tracker.Watch(a.GetResource(), a.GetNamespace(), opts)
		if err != nil {
			return true, nil, err
		}
		return true, own(w), nil
	})
	return client
}

type versions struct {
	mu   sync.Mutex // held over a whole write: it is compared and stored at once
	last int
}

func (v *versions) next() string {
	v.last++
	return strconv.Itoa(v.last)
}

// write carries out a create or an update of an object itself, and gives a new
// version to one whose status is updated; all else is the fake's.
func (v *versions) write(tracker clienttesting.ObjectTracker, a clienttesting.Action) (bool, runtime.Object, error) {
	write, ok := a.(clienttesting.CreateAction) // an update is one as well
	if !ok {
		return false, nil, nil
	}
	fresh, err := meta.Accessor(write.GetObject())
	if err != nil {
		return false, nil, nil //nolint:nilerr // not an object with metadata: nothing to version
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	gvr, ns := a.GetResource(), a.GetNamespace()
	switch {
	case a.GetSubresource() == "status":
		fresh.SetResourceVersion(v.next())
		return false, nil, nil
	case a.GetSubresource() != "":
		return false, nil, nil
	case a.GetVerb() == "create":
		fresh.SetResourceVersion(v.next())
		err = tracker.Create(gvr, write.GetObject(), ns)
	default:
		err = v.update(tracker, a, fresh)
	}
	if err != nil {
		return true, nil, err
	}
	stored, err := tracker.Get(gvr, ns, fresh.GetName())
	return true, stored, err
}

func (v *versions) update(tracker clienttesting.ObjectTracker, a clienttesting.Action, fresh metav1.Object) error {
	have, err := tracker.Get(a.GetResource(), a.GetNamespace(), fresh.GetName())
	if err != nil {
		return err
	}
	old, err := meta.Accessor(have)
	if err != nil {
		return err
	}
	if given := fresh.GetResourceVersion(); given != "" && given != old.GetResourceVersion() {
		return apierrors.NewConflict(a.GetResource().GroupResource(), fresh.GetName(), errors.New("old version"))
	}
	fresh.SetResourceVersion(v.next())
	return tracker.Update(a.GetResource(), a.(clienttesting.UpdateAction).GetObject(), a.GetNamespace())
}

// owner is a watch whose objects are its watcher's own.
type owner struct {
	watch.Interface
	events  chan watch.Event
	stopped chan struct{}
	stop    func()
}

func own(w watch.Interface) *owner {
	o := &owner{Interface: w, events: make(chan watch.Event), stopped: make(chan struct{})}
	o.stop = sync.OnceFunc(func() { close(o.stopped) })
	go o.copy()
	return o
}

func (o *owner) copy() {
	defer close(o.events)
	for e := range o.Interface.ResultChan() {
		e.Object = e.Object.DeepCopyObject()
		select {
		case o.events <- e:
		case <-o.stopped:
			return
		}
	}
}

func (o *owner) ResultChan() <-chan watch.Event { return o.events }

func (o *owner) Stop() {
	o.stop()
	o.Interface.Stop()
}
