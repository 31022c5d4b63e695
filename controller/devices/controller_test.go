package devices_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/devices"
	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/hub"
)

func boiler(node, model string) *v1beta1.Device {
	d := &v1beta1.Device{
		ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "boiler", UID: "u-1", Generation: 1},
		Spec: schema.DeviceSpec{NodeName: node, ModelRef: schema.ModelRef{Name: model},
			Protocol: schema.Protocol{Name: "modbus", Config: schema.Options(`{"nested":{"a":[1,2.5]}}`)}},
	}
	d.SetGroupVersionKind(v1beta1.GroupVersion().WithKind("Device"))
	return d
}

func model(name string) *v1beta1.DeviceModel {
	m := &v1beta1.DeviceModel{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: name}}
	m.SetGroupVersionKind(v1beta1.GroupVersion().WithKind("DeviceModel"))
	return m
}

func toObject(o runtime.Object) *unstructured.Unstructured {
	raw, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		panic(err)
	}
	return &unstructured.Unstructured{Object: raw}
}

// world is a controller with fakes.
type world struct {
	*devices.Controller
	kube *fake.Clientset
	dyn  *dynamicfake.FakeDynamicClient
	*applier
}

// newWorld makes a controller with cfg and fakes of what it needs.
func newWorld(cfg devices.Config, objects ...runtime.Object) (world, error) {
	scheme := runtime.NewScheme()
	if err := v1beta1.AddToScheme(scheme); err != nil {
		return world{}, err
	}
	w := world{kube: controllertest.NewClientset(), applier: &applier{version: 100}}
	for _, o := range objects {
		o.(metav1.Object).SetResourceVersion(w.next())
	}
	w.dyn = dynamicfake.NewSimpleDynamicClient(scheme, objects...)
	tracker := w.dyn.Tracker()
	w.dyn.PrependReactor("*", "*", func(a clienttesting.Action) (bool, runtime.Object, error) { return w.react(tracker, a) })
	cfg.Cloud, cfg.Dynamic = w.kube, w.dyn
	var err error
	w.Controller, err = devices.New(cfg)
	return w, err
}

func start(t testing.TB, objects ...runtime.Object) world {
	t.Helper()
	return startWith(t, devices.Config{}, objects...)
}

func startWith(t testing.TB, cfg devices.Config, objects ...runtime.Object) world {
	t.Helper()
	w, err := newWorld(cfg, objects...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for _, synced := range w.Synced() {
		<-synced
	}
	return w
}

func (w world) create(t *testing.T, resource string, o runtime.Object) {
	t.Helper()
	_, err := w.dyn.Resource(v1beta1.GroupVersion().WithResource(resource)).Namespace("plant").Create(t.Context(), toObject(o), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func (w world) update(t *testing.T, resource string, o runtime.Object) {
	t.Helper()
	_, err := w.dyn.Resource(v1beta1.GroupVersion().WithResource(resource)).Namespace("plant").Update(t.Context(), toObject(o), metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// settle waits until the controller has nothing left to do. It is for bubbles only, where
// waiting costs no time.
func settle() {
	<-time.After(2 * time.Second)
	synctest.Wait()
}

func (w world) status(t *testing.T) *v1beta1.DeviceStatus {
	t.Helper()
	u, err := w.dyn.Resource(v1beta1.GroupVersion().WithResource("devicestatuses")).Namespace("plant").Get(t.Context(), "boiler", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var s v1beta1.DeviceStatus
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &s); err != nil {
		t.Fatal(err)
	}
	return &s
}

func listed(t *testing.T, s hub.Source) []string {
	t.Helper()
	versions, err := s.Versions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for k, v := range versions {
		out[k.String()] = v != ""
	}
	return slices.Sorted(maps.Keys(out))
}

var (
	deviceKey = hub.Key{Resource: "devices", Namespace: "plant", Name: "boiler"}
	modelKey  = hub.Key{Resource: "devicemodels", Namespace: "plant", Name: "m"}
	statusKey = hub.Key{Resource: "devicestatuses", Namespace: "plant", Name: "boiler"}
)

func TestDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, boiler("n", "m"), model("unused"))
		src, other := w.Source("n"), w.Source("other")
		var mu sync.Mutex
		var notified []string
		note := func(node string) func(hub.Key) {
			return func(k hub.Key) {
				mu.Lock()
				defer mu.Unlock()
				notified = append(notified, node+" "+k.Resource)
			}
		}
		take := func() []string {
			settle()
			mu.Lock()
			defer mu.Unlock()
			out := slices.Compact(slices.Sorted(slices.Values(notified)))
			notified = nil
			return out
		}
		defer src.Subscribe(note("n"))()
		defer other.Subscribe(note("other"))()
		take()
		if got := listed(t, src); !slices.Equal(got, []string{"devices/plant/boiler"}) {
			t.Errorf("versions %v", got)
		}
		obj, err := src.Load(t.Context(), deviceKey, "")
		var d v1beta1.Device
		if err != nil || json.Unmarshal(obj.Body, &d) != nil || d.Spec.Protocol.Config.String() != `{"nested":{"a":[1,2.5]}}` {
			t.Errorf("loaded %s, %v", obj.Body, err)
		}
		// The model is created and changed, and is sent to the device's node alone.
		w.create(t, "devicemodels", model("m"))
		if got := take(); !slices.Equal(got, []string{"n devicemodels"}) {
			t.Errorf("model appears: %v", got)
		}
		changed := model("m")
		changed.Spec.Protocol = "opcua"
		w.update(t, "devicemodels", changed)
		if got := take(); !slices.Equal(got, []string{"n devicemodels"}) {
			t.Errorf("model changes: %v", got)
		}
		if got := listed(t, src); !slices.Equal(got, []string{"devicemodels/plant/m", "devices/plant/boiler"}) {
			t.Errorf("versions %v", got)
		}
		if obj, err := src.Load(t.Context(), hub.Key{Resource: "devicemodels", Namespace: "plant", Name: "unused"}, ""); err != nil || !obj.Deleted {
			t.Errorf("a model that the node does not need: %+v, %v", obj, err)
		}
		// The device moves.
		w.update(t, "devices", boiler("other", "m"))
		if got := take(); !slices.Equal(got, []string{"n devicemodels", "n devices", "other devicemodels"}) {
			t.Errorf("device moves: %v", got)
		}
		if obj, err := other.Load(t.Context(), deviceKey, ""); err != nil || !obj.Deleted || slices.Contains(listed(t, other), deviceKey.String()) {
			t.Errorf("the new node has it before the old one let go of it: %+v, %v", obj, err)
		}
		<-time.After(5 * time.Second)
		if got := take(); !slices.Equal(got, []string{"other devices"}) {
			t.Errorf("after the delay: %v", got)
		}
		if events, err := w.kube.CoreV1().Events("plant").List(t.Context(), metav1.ListOptions{}); err != nil || !slices.ContainsFunc(events.Items, func(e corev1.Event) bool { return e.Reason == devices.EventMoved }) {
			t.Errorf("events %+v, %v", events, err)
		}
		for _, key := range []hub.Key{deviceKey, modelKey} {
			if obj, err := src.Load(t.Context(), key, "1"); err != nil || !obj.Deleted {
				t.Errorf("%s at the old node: %+v, %v", key, obj, err)
			}
			if obj, err := other.Load(t.Context(), key, ""); err != nil || obj.Deleted {
				t.Errorf("%s at the new node: %+v, %v", key, obj, err)
			}
		}
		var mux hub.Mux
		w.Handle(&mux)
		for node, want := range map[string]error{"n": &hub.Error{Code: hub.CodeNotFound}, "other": nil} {
			_, err := mux.ServeCall(t.Context(), hub.Request{Node: node, Message: hub.Message{Operation: hub.Query, Key: deviceKey}})
			if !errors.Is(err, want) {
				t.Errorf("query by %s: %v", node, err)
			}
		}
	})
}

func TestModelMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, boiler("n", "m"))
		settle()
		found := func() metav1.ConditionStatus {
			s := w.status(t)
			if len(s.OwnerReferences) != 1 || s.OwnerReferences[0].UID != "u-1" {
				t.Errorf("owner %+v", s.OwnerReferences)
			}
			return apimeta.FindStatusCondition(s.Status.Conditions, v1beta1.ConditionModelFound).Status
		}
		if found() != metav1.ConditionFalse {
			t.Error("a missing model was found")
		}
		events, err := w.kube.CoreV1().Events("plant").List(t.Context(), metav1.ListOptions{})
		if err != nil || len(events.Items) != 1 || events.Items[0].Type != corev1.EventTypeWarning {
			t.Errorf("events %+v, %v", events, err)
		}
		w.create(t, "devicemodels", model("m"))
		settle()
		if found() != metav1.ConditionTrue {
			t.Error("a model that is there was not found")
		}
		before := w.count()
		d := boiler("n", "m")
		d.Spec.Protocol.Name = "opcua"
		w.update(t, "devices", d)
		settle()
		if after := w.count(); after != before {
			t.Errorf("%d writes where nothing changed", after-before)
		}
	})
}

func ExampleController_Source() {
	w, err := newWorld(devices.Config{}, boiler("edge-7", "m"), model("m"))
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	for _, synced := range w.Synced() {
		<-synced
	}
	versions, err := w.Source("edge-7").Versions(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	for key := range versions {
		fmt.Println(key)
	}
	cancel()
	<-done
	// Output:
	// devices/plant/boiler
	// devicemodels/plant/m
}
