package controller_test

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/controller/nodeidentity"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/join"
)

// apply passes one report to the node's sink, as a session does.
func (w *world) apply(obj hub.Object) error {
	node, err := w.cloud.Attach(w.ctx, hub.Hello{Node: w.node})
	if err != nil {
		return err
	}
	return node.Up.Apply(w.ctx, []hub.Object{obj})
}

func (w *world) token(t *testing.T) {
	w.createPod(t, "web")
	w.eventually(t, func() string {
		return missing(w.holds(hub.Key{Resource: "pods", Namespace: w.ns, Name: "web"}), "pod did not go down")
	})
	ask := func(name string) error {
		body, _ := json.Marshal(authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
			BoundObjectRef: &authenticationv1.BoundObjectReference{
				Kind: "Pod", APIVersion: "v1", Name: name, UID: w.uid}}})
		m, err := w.edge.Call(w.ctx, hub.Message{Key: hub.Key{Resource: "serviceaccounts/token", Namespace: w.ns, Name: "default"}, Body: body})
		if err != nil {
			return err
		}
		var got authenticationv1.TokenRequest
		if err := json.Unmarshal(m.Body, &got); err != nil {
			return err
		}
		if got.Status.Token == "" {
			return errors.New("empty token")
		}
		return nil
	}
	w.eventually(t, func() string {
		if err := ask("web"); err != nil {
			return err.Error()
		}
		return ""
	})
	if err := ask("other"); err == nil {
		t.Error("got a token for a pod that does not exist")
	}
}

func (w *world) foreign(t *testing.T) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "elsewhere"},
		Spec:       corev1.PodSpec{NodeName: "another", Containers: []corev1.Container{{Name: "c", Image: "x"}}},
	}
	pod, err := w.kube.CoreV1().Pods(w.ns).Create(w.ctx, pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	private := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "private"}, StringData: map[string]string{"a": "b"}}
	if _, err := w.kube.CoreV1().Secrets(w.ns).Create(w.ctx, private, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	status, _ := json.Marshal(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: pod.Name, UID: pod.UID},
		Status: corev1.PodStatus{Phase: corev1.PodFailed}})
	forbidden := &hub.Error{Code: hub.CodeForbidden}
	key := hub.Key{Resource: "pods/status", Namespace: w.ns, Name: pod.Name}
	if err := w.apply(hub.Object{Key: key, Version: "1", Body: status}); !errors.Is(err, forbidden) {
		t.Errorf("status of another node's pod: %v", err)
	}
	node, _ := json.Marshal(nodeReport("another"))
	if err := w.apply(hub.Object{Key: hub.Key{Resource: "nodes", Name: "another"}, Version: "1", Body: node}); !errors.Is(err, forbidden) {
		t.Errorf("report of another node: %v", err)
	}
	for _, key := range []hub.Key{
		{Resource: "secrets", Namespace: w.ns, Name: "private"}, {Resource: "nodes", Name: "another"},
		{Resource: "pods", Namespace: w.ns, Name: "elsewhere"},
	} {
		if _, err := w.edge.Call(w.ctx, hub.Message{Key: key}); !errors.Is(err, forbidden) {
			t.Errorf("query of %s: %v", key, err)
		}
	}
	if _, err := w.edge.Call(w.ctx, hub.Message{Key: hub.Key{Resource: "secrets", Namespace: w.ns, Name: "password"}}); err != nil {
		t.Errorf("query of own secret: %v", err)
	}
}

const deviceYAML = `
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata: {name: boiler}
spec:
  deviceModelRef: {name: boiler-model}
  protocol: {protocolName: modbus, configData: {ip: 10.1.1.5, nested: {a: [1, 2]}}}
  properties:
  - name: target
    desired: {value: "45"}
    visitors: {protocolName: modbus, configData: {register: HoldingRegister, offset: 3}}
`

const modelYAML = `
apiVersion: devices.kubeedge.io/v1beta1
kind: DeviceModel
metadata: {name: boiler-model}
spec:
  properties:
  - {name: temperature, type: INT, accessMode: ReadOnly, unit: C}
  - {name: target, type: INT, accessMode: ReadWrite, minimum: "10", maximum: "80"}
`

func (w *world) resource(name string) dynamic.ResourceInterface {
	return w.dyn.Resource(v1beta1.GroupVersion().WithResource(name)).Namespace(w.ns)
}

func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}

func (w *world) status(name string) (v1beta1.DeviceStatus, error) {
	var out v1beta1.DeviceStatus
	u, err := w.resource("devicestatuses").Get(w.ctx, name, metav1.GetOptions{})
	if err != nil {
		return out, err
	}
	return out, runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &out)
}

func (w *world) devices(t *testing.T) {
	dev := object(t, deviceYAML)
	_ = unstructured.SetNestedField(dev.Object, w.node, "spec", "nodeName")
	dev, err := w.resource("devices").Create(w.ctx, dev, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	key := hub.Key{Resource: "devices", Namespace: w.ns, Name: "boiler"}
	modelKey := hub.Key{Resource: "devicemodels", Namespace: w.ns, Name: "boiler-model"}
	w.eventually(t, func() string { return missing(w.holds(key), "device did not go down") })
	modelFound := func(want bool) func() string {
		return func() string {
			s, err := w.status("boiler")
			if err != nil {
				return err.Error()
			}
			c := apimeta.FindStatusCondition(s.Status.Conditions, v1beta1.ConditionModelFound)
			ok := c != nil && (c.Status == metav1.ConditionTrue) == want && len(s.OwnerReferences) == 1 && s.OwnerReferences[0].UID == dev.GetUID()
			return missing(ok, "condition ModelFound is not right")
		}
	}
	w.eventually(t, modelFound(false))
	if _, err := w.resource("devicemodels").Create(w.ctx, object(t, modelYAML), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.eventually(t, func() string { return missing(w.holds(modelKey), "model did not go down") })
	w.eventually(t, modelFound(true))

	for _, value := range []string{"20", "21", "22"} {
		w.report(t, hub.Key{Resource: "devicestatuses", Namespace: w.ns, Name: "boiler"}, v1beta1.DeviceStatusStatus{
			ObservedGeneration: 1, Status: schema.Status{
				State: "online", Twins: []schema.Twin{{PropertyName: "temperature", Reported: &schema.Value{Value: value}}},
				Extensions: schema.Options(`{"firmware":{"v":[1]}}`),
			},
		})
		w.eventually(t, func() string {
			s, err := w.status("boiler")
			if err != nil {
				return err.Error()
			}
			ok := len(s.Status.Twins) == 1 && s.Status.Twins[0].Reported.Value == value && len(s.Status.Conditions) == 1 &&
				s.Status.Extensions.String() == `{"firmware":{"v":[1]}}`
			return missing(ok, "DeviceStatus is not as reported")
		})
	}
	if _, err := w.edge.Call(w.ctx, hub.Message{Key: modelKey}); err != nil {
		t.Errorf("query of a model: %v", err)
	}
	// The device moves to another node.
	move := []byte(`{"spec":{"nodeName":"another"}}`)
	if _, err := w.resource("devices").Patch(w.ctx, "boiler", "application/merge-patch+json", move, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	w.eventually(t, func() string {
		return missing(!w.holds(key) && !w.holds(modelKey), "moved device is still at the node")
	})
	err = w.apply(hub.Object{Key: hub.Key{Resource: "devicestatuses", Namespace: w.ns, Name: "boiler"}, Version: "9", Body: []byte(`{}`)})
	if !errors.Is(err, &hub.Error{Code: hub.CodeForbidden}) {
		t.Errorf("report about another node's device: %v", err)
	}
}

// schema checks that the API server refuses objects that no node could use.
func (w *world) schema(t *testing.T) {
	bad := map[string][2]string{
		"device without model":  {"devices", strings.Replace(deviceYAML, "deviceModelRef: {name: boiler-model}", "nodeName: a", 1)},
		"property named twice":  {"devices", deviceYAML + "  - {name: target}\n"},
		"unknown type":          {"devicemodels", strings.Replace(modelYAML, "type: INT", "type: INTEGER", 1)},
		"minimum over maximum":  {"devicemodels", strings.Replace(modelYAML, `minimum: "10"`, `minimum: "90"`, 1)},
		"minimum is no integer": {"devicemodels", strings.Replace(modelYAML, `minimum: "10"`, `minimum: "ten"`, 1)},
		"maximum over 64 bits":  {"devicemodels", strings.Replace(modelYAML, `maximum: "80"`, `maximum: "99999999999999999999"`, 1)},
		"model property twice":  {"devicemodels", modelYAML + "  - {name: target, type: INT}\n"},
	}
	for name, c := range bad {
		u := object(t, c[1])
		u.SetName("bad")
		if _, err := w.resource(c[0]).Create(w.ctx, u, metav1.CreateOptions{}); err == nil {
			t.Errorf("%s was taken", name)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
	good := object(t, strings.ReplaceAll(strings.ReplaceAll(modelYAML, "INT", "DOUBLE"), `"10"`, `"-1.5e3"`))
	good.SetName("good")
	if _, err := w.resource("devicemodels").Create(w.ctx, good, metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
}

// identity joins with cloudcore's own rights, as cloudcore does.
func (w *world) identity(t *testing.T) {
	s, err := nodeidentity.New(nodeidentity.Config{Client: kubernetes.NewForConfigOrDie(w.own)})
	if err != nil {
		t.Fatal(err)
	}
	token, err := s.CreateToken(w.ctx, "joiner-*", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	node := "joiner-" + w.ns
	var g errgroup.Group
	used := make([]error, 6)
	for i := range used {
		g.Go(func() error {
			used[i] = s.Use(w.ctx, token.ID, node, "key-"+strconv.Itoa(i))
			return nil
		})
	}
	_ = g.Wait() // used has the errors
	won := 0
	for _, err := range used {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, join.ErrTokenUsed):
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("one token was used by %d keys", won)
	}
	if _, err := s.Claim(w.ctx, w.node, "key"); !errors.Is(err, join.ErrNameInUse) {
		t.Errorf("claim of the name of a node that never joined: %v", err)
	}
	if fresh, err := s.Claim(w.ctx, node, "key-0"); err != nil || !fresh {
		t.Errorf("claim: %t, %v", fresh, err)
	}
	if _, err := s.Claim(w.ctx, node, "key-1"); !errors.Is(err, join.ErrNameInUse) {
		t.Errorf("claim of another's name: %v", err)
	}
	if _, err := s.ReleaseNode(w.ctx, node); err != nil {
		t.Error(err)
	}
	if err := s.DeleteToken(w.ctx, token.ID); err != nil {
		t.Error(err)
	}
}

func (w *world) disconnect(t *testing.T) {
	lease := func() *metav1.MicroTime {
		l, err := w.kube.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(w.ctx, w.node, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return l.Spec.RenewTime
	}
	w.net.Refuse(true)
	w.net.Cut(w.node)
	connected := func(want corev1.ConditionStatus) func() string {
		return func() string {
			node, err := w.kube.CoreV1().Nodes().Get(w.ctx, w.node, metav1.GetOptions{})
			if err != nil {
				return err.Error()
			}
			tainted := false
			for _, taint := range node.Spec.Taints {
				tainted = tainted || taint.Key == nodelifecycle.DisconnectedTaint
			}
			for _, c := range node.Status.Conditions {
				if c.Type == nodelifecycle.ConditionConnected {
					return missing(c.Status == want && tainted == (want == corev1.ConditionFalse), "condition or taint is not right")
				}
			}
			return "no condition"
		}
	}
	w.eventually(t, connected(corev1.ConditionFalse))
	since := lease()
	w.eventually(t, func() string { return missing(lease().After(since.Time), "lease is not renewed on the node's behalf") })
	w.net.Refuse(false)
	w.eventually(t, connected(corev1.ConditionTrue))
}
