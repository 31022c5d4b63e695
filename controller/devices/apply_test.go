package devices_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"

	"github.com/edgekit/edgekit/device/v1beta1"
)

// applier does server-side apply for the fake client, as far as statuses need it: what a
// manager applies replaces what it applied before, lists are merged by their keys, and others'
// fields stay.
type applier struct {
	mu      sync.Mutex
	version int
	of      map[string]map[string]map[string]any // by object, by manager: status
	writes  []write
}

// write is one request that changes something.
type write struct {
	at                           time.Time
	resource, name, sub, manager string
	status                       map[string]any
}

func (a *applier) next() string {
	a.version++
	return strconv.Itoa(a.version)
}

// react answers the patches of apply.
func (a *applier) react(tracker clienttesting.ObjectTracker, action clienttesting.Action) (bool, runtime.Object, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch action := action.(type) {
	case clienttesting.CreateAction:
		action.GetObject().(metav1.Object).SetResourceVersion(a.next())
	case clienttesting.PatchAction:
		if action.GetPatchType() == types.ApplyPatchType {
			obj, err := a.apply(tracker, action)
			return true, obj, err
		}
	case clienttesting.DeleteAction:
		delete(a.of, action.GetResource().Resource+"/"+action.GetName())
	}
	return false, nil, nil
}

func (a *applier) apply(tracker clienttesting.ObjectTracker, action clienttesting.PatchAction) (runtime.Object, error) {
	gvr, ns, name := action.GetResource(), action.GetNamespace(), action.GetName()
	manager := action.(clienttesting.PatchActionImpl).PatchOptions.FieldManager
	var body struct {
		Metadata metav1.ObjectMeta
		Status   map[string]any
	}
	if err := json.Unmarshal(action.GetPatch(), &body); err != nil {
		return nil, err
	}
	a.writes = append(a.writes, write{time.Now(), gvr.Resource, name, action.GetSubresource(), manager, body.Status})
	if a.of == nil {
		a.of = make(map[string]map[string]map[string]any)
	}
	got, err := tracker.Get(gvr, ns, name)
	create := apierrors.IsNotFound(err)
	if err != nil && (!create || action.GetSubresource() != "") {
		return nil, err
	}
	key := gvr.Resource + "/" + name
	if create {
		a.of[key] = nil
		fresh := &v1beta1.DeviceStatus{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, OwnerReferences: body.Metadata.OwnerReferences}}
		fresh.UID = types.UID("made-" + a.next())
		fresh.SetGroupVersionKind(v1beta1.GroupVersion().WithKind("DeviceStatus"))
		got = toObject(fresh)
	}
	obj := toUnstructured(got)
	if v := body.Metadata.ResourceVersion; v != "" && v != obj.GetResourceVersion() {
		return nil, apierrors.NewConflict(gvr.GroupResource(), name, nil)
	}
	if a.of[key] == nil {
		a.of[key] = make(map[string]map[string]any)
	}
	status, _, _ := unstructured.NestedMap(obj.Object, "status")
	drop(status, a.of[key][manager])
	a.of[key][manager] = body.Status
	merge(status, body.Status)
	if status == nil {
		status = body.Status
	}
	obj.Object["status"] = runtime.DeepCopyJSON(asJSON(status))
	obj.SetResourceVersion(a.next())
	if create {
		err = tracker.Create(gvr, obj, ns)
	} else {
		err = tracker.Update(gvr, obj, ns)
	}
	return obj.DeepCopy(), err
}

func asJSON(v map[string]any) map[string]any {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	u := new(unstructured.Unstructured)
	if err := u.UnmarshalJSON([]byte(`{"kind":"x","apiVersion":"v1","status":` + string(raw) + `}`)); err != nil {
		panic(err)
	}
	status, _, _ := unstructured.NestedMap(u.Object, "status")
	if status == nil {
		status = map[string]any{}
	}
	return status
}

func toUnstructured(o runtime.Object) *unstructured.Unstructured {
	if u, ok := o.(*unstructured.Unstructured); ok {
		return u.DeepCopy()
	}
	return toObject(o)
}

var listKeys = map[string]string{"twins": "propertyName", "conditions": "type"}

// drop removes what a manager applied before.
func drop(status, before map[string]any) {
	for field, value := range before {
		key, isList := listKeys[field]
		if !isList {
			delete(status, field)
			continue
		}
		have, _ := status[field].([]any)
		for _, item := range value.([]any) {
			have = slices.DeleteFunc(have, func(h any) bool { return h.(map[string]any)[key] == item.(map[string]any)[key] })
		}
		status[field] = have
		if len(have) == 0 {
			delete(status, field)
		}
	}
}

func merge(status, next map[string]any) {
	if status == nil {
		return
	}
	fields := maps.Clone(next)
	for field, key := range listKeys {
		list, _ := fields[field].([]any)
		delete(fields, field)
		have, _ := status[field].([]any)
		for _, item := range list {
			have = slices.DeleteFunc(have, func(h any) bool { return h.(map[string]any)[key] == item.(map[string]any)[key] })
			have = append(have, item)
		}
		if len(have) > 0 {
			status[field] = have
		}
	}
	maps.Copy(status, fields)
}

// of returns the writes since n of a resource by a manager's status.
func (a *applier) since(n int, resource string) []write {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []write
	for _, w := range a.writes[min(n, len(a.writes)):] {
		if resource == "" || w.resource == resource {
			out = append(out, w)
		}
	}
	return out
}

func (a *applier) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.writes)
}
