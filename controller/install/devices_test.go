package install_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/controller/install"
	"github.com/edgekit/edgekit/controller/install/apiservertest"
	"github.com/edgekit/edgekit/device/v1beta1"
)

const device = `{apiVersion: devices.kubeedge.io/v1beta1, kind: Device, metadata: {name: pump}, spec: {deviceModelRef: {name: m}, nodeName: edge-1, `

// applied are files and what a strict apply of them answers; "" accepts.
var applied = map[string]struct{ text, refused string }{
	"as in the protocol's description": {device + `properties: [{name: target, desired: {value: "45"}, reportToCloud: true, reportCycle: 10000, collectCycle: 2000,
		visitors: {protocolName: modbus, configData: {register: HoldingRegister, offset: 3, limit: 1}}}], protocol: {protocolName: modbus, configData: {ip: 10.1.1.5, port: 502}}}}`, ""},
	"twins in the status, KubeEdge 1.15 to 1.22": {device + `protocol: {protocolName: plc}}, status: {twins: [{propertyName: target, observedDesired: {value: "1"},
		reported: {value: "20", metadata: {type: int}}}], state: online, lastOnlineTime: "2024-01-01T00:00:00Z", extensions: {a: [1]}}}`, ""},
	"a status of older programs":  {device + `protocol: {protocolName: plc}}, status: {reportToCloud: true, reportCycle: 30000}}`, ""},
	"cycles in nanoseconds":       {device + `properties: [{name: t, collectCycle: 10000000000}]}}`, ""},
	"no configuration":            {device + `protocol: {protocolName: onvif, configData: null}}}`, ""},
	"a field that does not exist": {device + `nodename: edge-1}}`, "unknown field"},
	"two properties of a name":    {device + `properties: [{name: t}, {name: t}]}}`, "Duplicate value"},
	"a negative cycle":            {device + `properties: [{name: t, collectCycle: -1}]}}`, "greater than or equal to 0"},
	"no model":                    {`{apiVersion: devices.kubeedge.io/v1beta1, kind: Device, metadata: {name: pump}, spec: {nodeName: edge-1}}`, "deviceModelRef: Required"},
	"a Device of v1alpha2":        {`{apiVersion: devices.kubeedge.io/v1alpha2, kind: Device, metadata: {name: pump}, spec: {deviceModelRef: {name: m}, protocol: {modbus: {slaveID: 1}}}}`, "edgectl device convert"},
	"a DeviceModel of v1alpha2":   {`{apiVersion: devices.kubeedge.io/v1alpha2, kind: DeviceModel, metadata: {name: m}, spec: {properties: [{name: a, type: {int: {accessMode: ReadOnly}}}]}}`, "edgectl device convert"},
	"a model":                     {model(`{name: a, type: INT, accessMode: ReadWrite, minimum: "1", maximum: "5", desiredBy: cloud, history: {values: 10}}`), ""},
	"minimum above maximum":       {model(`{name: a, type: INT, minimum: "6", maximum: "5"}`), "minimum must not be above maximum"},
	"minimum that is no integer":  {model(`{name: a, type: INT, minimum: "1.5"}`), "minimum must be a 64-bit integer"},
	"an unknown type":             {model(`{name: a, type: WORD}`), "Unsupported value"},
	"a history without a length":  {model(`{name: a, type: INT, history: {}}`), "name values, duration or both"},
	"a status as programs write it": {`{apiVersion: devices.kubeedge.io/v1beta1, kind: DeviceStatus, metadata: {name: pump}, spec: {}, status: {state: online, lastOnlineTime: "2024-01-01T00:00:00Z",
		twins: [{propertyName: t, reported: {value: "1"}}], extensions: {any: thing}}}`, ""},
}

func model(property string) string {
	return `{apiVersion: devices.kubeedge.io/v1beta1, kind: DeviceModel, metadata: {name: m}, spec: {protocol: modbus, properties: [` + property + `]}}`
}

// TestDevicesOnARealServer applies files to a real API server as kubectl does: strictly.
func TestDevicesOnARealServer(t *testing.T) {
	a := apiservertest.Start(t)
	if err := install.Ensure(t.Context(), install.Config{REST: a.Admin}); err != nil {
		t.Fatal(err)
	}
	client, err := dynamic.NewForConfig(a.Admin)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range applied {
		t.Run(name, func(t *testing.T) {
			obj := new(unstructured.Unstructured)
			if err := yaml.Unmarshal([]byte(strings.ReplaceAll(tt.text, "\t", "")), &obj.Object); err != nil {
				t.Fatal(err)
			}
			in := client.Resource(obj.GroupVersionKind().GroupVersion().WithResource(plural(obj.GetKind()))).Namespace("default")
			_, err := in.Create(t.Context(), obj, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
			switch {
			case tt.refused == "" && err != nil:
				t.Error(err)
			case tt.refused != "" && (err == nil || !strings.Contains(err.Error(), tt.refused)):
				t.Errorf("answer %v, want one that says %q", err, tt.refused)
			}
			if err == nil {
				if err := in.Delete(t.Context(), obj.GetName(), metav1.DeleteOptions{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	t.Run("summary", func(t *testing.T) { testSummary(t, a, client) })
}

func plural(kind string) string {
	if kind == "DeviceStatus" {
		return "devicestatuses"
	}
	return strings.ToLower(kind) + "s"
}

// testSummary: what a file says in Device.status is dropped; a change of the status counts no
// generation; kubectl get shows it.
func testSummary(t *testing.T, a *apiservertest.Server, client dynamic.Interface) {
	devices := client.Resource(v1beta1.GroupVersion().WithResource("devices")).Namespace("default")
	obj := new(unstructured.Unstructured)
	if err := yaml.Unmarshal([]byte(device+`protocol: {protocolName: plc}}, status: {twins: [{propertyName: old}], state: ok}}`), &obj.Object); err != nil {
		t.Fatal(err)
	}
	made, err := devices.Create(t.Context(), obj, metav1.CreateOptions{})
	if err != nil || made.Object["status"] != nil || made.GetGeneration() != 1 {
		t.Fatalf("created %v, %v", made, err)
	}
	status := []byte(`{"apiVersion":"devices.kubeedge.io/v1beta1","kind":"Device","metadata":{"name":"pump"},"status":{"state":"online","values":"target=45","lastSeen":"2026-01-01T00:00:00Z"}}`)
	force := true
	now, err := devices.Patch(t.Context(), "pump", types.ApplyPatchType, status, metav1.PatchOptions{FieldManager: "test", Force: &force}, "status")
	if err != nil || now.GetGeneration() != 1 {
		t.Fatalf("status %v, %v", now, err)
	}
	if _, err := devices.Patch(t.Context(), "gone", types.ApplyPatchType, []byte(strings.Replace(string(status), "pump", "gone", 1)), metav1.PatchOptions{FieldManager: "test", Force: &force}, "status"); !apierrors.IsNotFound(err) {
		t.Errorf("status of no device: %v", err)
	}
	cfg := rest.CopyConfig(a.Admin)
	typed, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := typed.RESTClient().Get().AbsPath("/apis/devices.kubeedge.io/v1beta1/namespaces/default/devices").
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(t.Context())
	var table metav1.Table
	if err != nil || json.Unmarshal(raw, &table) != nil {
		t.Fatal(err)
	}
	var columns, cells []string
	for i, c := range table.ColumnDefinitions {
		columns = append(columns, c.Name)
		text, _ := json.Marshal(table.Rows[0].Cells[i])
		cells = append(cells, string(text))
	}
	if want := []string{"Name", "Node", "Model", "Protocol", "State", "Last seen", "Values", "Age"}; !slices.Equal(columns, want) {
		t.Errorf("columns %q, want %q", columns, want)
	}
	for _, want := range []string{`"edge-1"`, `"online"`, `"target=45"`} {
		if !slices.Contains(cells, want) {
			t.Errorf("row %q lacks %s", cells, want)
		}
	}
	old, err := client.Resource(schema.GroupVersionResource{Group: v1beta1.Group, Version: "v1alpha2", Resource: "devices"}).Namespace("default").Get(t.Context(), "pump", metav1.GetOptions{})
	if err != nil || old.GetName() != "pump" {
		t.Errorf("read as v1alpha2: %v", err)
	}
}
