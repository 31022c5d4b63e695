package install_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/controller/devices"
	"github.com/edgekit/edgekit/controller/install/apiservertest"
	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
)

// until polls cond until it returns "".
func until(t *testing.T, cond func() string) {
	t.Helper()
	missing := ""
	defer func() {
		if missing != "" {
			t.Log(missing)
		}
	}()
	hubtest.Until(t, "the condition below", func() bool {
		missing = cond()
		return missing == ""
	})
}

// TestDeviceReportsOnARealServer writes reports with the rights that the shipped role gives.
func TestDeviceReportsOnARealServer(t *testing.T) {
	a := apiservertest.Start(t)
	cfg := account(t, a)
	own, err := dynamic.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	admin, err := dynamic.NewForConfig(a.Admin)
	if err != nil {
		t.Fatal(err)
	}
	resource := func(name string) dynamic.ResourceInterface {
		return admin.Resource(v1beta1.GroupVersion().WithResource(name)).Namespace("default")
	}
	for name, text := range map[string]string{
		"devicemodels": model(`{name: a, type: STRING}`), "devices": device + `protocol: {protocolName: plc}}}`,
		// An earlier version has written it, by merge patch; the twin "old" is gone since.
		"devicestatuses": `{apiVersion: devices.kubeedge.io/v1beta1, kind: DeviceStatus, metadata: {name: pump}, status: {state: offline, twins: [{propertyName: old, reported: {value: "1"}}]}}`,
	} {
		obj := new(unstructured.Unstructured)
		if err := yaml.Unmarshal([]byte(text), &obj.Object); err != nil {
			t.Fatal(err)
		}
		if _, err := resource(name).Create(t.Context(), obj, metav1.CreateOptions{FieldManager: "cloudcore"}); err != nil {
			t.Fatal(err)
		}
	}
	c, err := devices.New(devices.Config{Cloud: clientFor(t, cfg), Dynamic: own})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	defer func() { cancel(); <-done }()
	for _, synced := range c.Synced() {
		<-synced
	}
	defer c.Source("edge-1").Subscribe(func(hub.Key) {})()
	send := func(status v1beta1.DeviceStatusStatus) {
		t.Helper()
		body, err := json.Marshal(status)
		if err != nil {
			t.Fatal(err)
		}
		key := hub.Key{Resource: "devicestatuses", Namespace: "default", Name: "pump"}
		if err := c.Writers()["devicestatuses"](t.Context(), "edge-1", hub.Object{Key: key, Body: body}); err != nil {
			t.Fatal(err)
		}
	}
	get := func() (st v1beta1.DeviceStatus) {
		t.Helper()
		u, err := resource("devicestatuses").Get(t.Context(), "pump", metav1.GetOptions{})
		if err == nil {
			err = runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &st)
		}
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	twin := func(name, value string) schema.Twin {
		return schema.Twin{PropertyName: name, Reported: &schema.Value{Value: value, Metadata: map[string]string{"type": "STRING"}}}
	}
	send(v1beta1.DeviceStatusStatus{ObservedGeneration: 1, Status: schema.Status{State: "online", LastOnlineTime: "2026-01-01T00:00:00Z", Twins: []schema.Twin{twin("a", "7"), twin("b", "8")},
		Extensions: schema.Options(`{"x":{"y":[1]}}`)},
		Conditions: []metav1.Condition{{Type: "DesiredValid", Status: metav1.ConditionFalse, Reason: "OutOfRange", Message: "a: too large", LastTransitionTime: metav1.Now()}}})
	until(t, func() string {
		st := get().Status
		if len(st.Twins) != 2 || st.State != "online" || len(st.Conditions) != 2 || st.Extensions.String() != `{"x":{"y":[1]}}` || st.Twins[0].PropertyName != "a" {
			return fmt.Sprintf("status %+v", st)
		}
		d, err := resource("devices").Get(t.Context(), "pump", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if values, _, _ := unstructured.NestedString(d.Object, "status", "values"); values != "a=7 b=8" || d.GetGeneration() != 1 {
			return fmt.Sprintf("summary %v, generation %d", d.Object["status"], d.GetGeneration())
		}
		return ""
	})
	// Another sets a condition, and the node withdraws a twin and its own condition.
	foreign := []byte(`{"apiVersion":"devices.kubeedge.io/v1beta1","kind":"DeviceStatus","metadata":{"name":"pump"},"status":{"conditions":[
		{"type":"example.com/Calibrated","status":"True","reason":"ByLab","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`)
	if _, err := resource("devicestatuses").Patch(t.Context(), "pump", types.ApplyPatchType, foreign, metav1.PatchOptions{FieldManager: "lab"}); err != nil {
		t.Fatal(err)
	}
	send(v1beta1.DeviceStatusStatus{Status: schema.Status{State: "online", Twins: []schema.Twin{twin("b", "8"), twin("b", "9")}}})
	until(t, func() string {
		st := get().Status
		var types []string
		for _, c := range st.Conditions {
			types = append(types, c.Type)
		}
		slices.Sort(types)
		if len(st.Twins) != 1 || st.Twins[0].Reported.Value != "9" || !slices.Equal(types, []string{"ModelFound", "example.com/Calibrated"}) || len(st.Extensions) != 0 {
			return fmt.Sprintf("status %+v", st)
		}
		return ""
	})
	// More than etcd takes, and twins that the schema refuses.
	var large v1beta1.DeviceStatusStatus
	for i := range 1000 {
		large.Twins = append(large.Twins, twin(fmt.Sprintf("property-%d", i), strings.Repeat("x", 2000)))
	}
	for reason, twins := range map[string][]schema.Twin{devices.ReasonTooLarge: large.Twins, devices.ReasonRefused: {twin(strings.Repeat("a", 200), "1")}} {
		send(v1beta1.DeviceStatusStatus{Status: schema.Status{State: "unhealthy", Twins: twins}})
		until(t, func() string {
			st := get().Status
			c := apimeta.FindStatusCondition(st.Conditions, v1beta1.ConditionValuesStored)
			if c == nil || c.Reason != reason || st.State != "unhealthy" {
				return fmt.Sprintf("want %s: %+v", reason, st.Conditions)
			}
			return ""
		})
	}
	events, err := clientFor(t, a.Admin).CoreV1().Events("default").List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.kind=Device"})
	var reasons []string
	for _, e := range events.Items {
		reasons = append(reasons, e.Reason)
	}
	for _, want := range []string{devices.EventDesiredRefused, devices.EventOffline, devices.EventValuesNotStored} {
		if err != nil || !slices.Contains(reasons, want) {
			t.Errorf("events %q lack %s: %v", reasons, want, err)
		}
	}
}
