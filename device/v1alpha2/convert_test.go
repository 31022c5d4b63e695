package v1alpha2_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/device/v1alpha2"
	"github.com/edgekit/edgekit/device/v1beta1"
)

const oldDevice = `
apiVersion: devices.kubeedge.io/v1alpha2
kind: Device
metadata: {name: boiler, namespace: plant, uid: u, labels: {line: a}}
spec:
  deviceModelRef: {name: boiler-model}
  nodeSelector: {nodeSelectorTerms: [{matchExpressions: [{key: '', operator: In, values: [edge-7]}]}]}
  protocol:
    modbus: {slaveID: 1}
    common: {com: {serialPort: /dev/ttyS0, baudRate: 9600}, collectTimeout: 2000, customizedValues: {unit: left}}
  propertyVisitors:
  - {propertyName: target, collectCycle: 500000000, reportCycle: 50000000, modbus: {register: HoldingRegister, offset: 3, limit: 1, scale: 0.1}}
  - {propertyName: raw, customizedProtocol: {protocolName: own, configData: {a: 1}}, customizedValues: {b: 2}}
  data: {dataTopic: "$ke/events/+/device/data/update", dataProperties: [{propertyName: raw}]}
status:
  twins:
  - {propertyName: target, desired: {value: "45", metadata: {type: int}}, reported: {value: "44"}}
`

func TestDevice(t *testing.T) {
	out, problems, err := v1alpha2.Convert([]byte(oldDevice))
	if err != nil {
		t.Fatal(err)
	}
	var d v1beta1.Device
	if err := yaml.UnmarshalStrict(out, &d); err != nil {
		t.Fatalf("%v in\n%s", err, out)
	}
	if d.APIVersion != v1beta1.GroupVersion().String() || d.Name != "boiler" || d.UID != "" || d.Labels["line"] != "a" || d.Spec.NodeName != "edge-7" || d.Spec.ModelRef.Name != "boiler-model" {
		t.Errorf("converted %+v", d)
	}
	if p := d.Spec.Protocol; p.Name != "modbus" || p.Config.String() != `{"baudRate":9600,"collectTimeout":2000,"serialPort":"/dev/ttyS0","slaveID":1,"unit":"left"}` {
		t.Errorf("protocol %s %s", p.Name, p.Config)
	}
	target, raw := d.Spec.Properties[0], d.Spec.Properties[1]
	if target.Desired == nil || target.Desired.Value != "45" || !target.ReportToCloud || target.CollectCycle != 500000000 ||
		target.Visitors.Config.String() != `{"limit":1,"offset":3,"register":"HoldingRegister","scale":0.1}` {
		t.Errorf("target %+v", target)
	}
	if raw.ReportToCloud || raw.Visitors.ProtocolName != "own" || raw.Visitors.Config.String() != `{"a":1,"b":2}` {
		t.Errorf("raw %+v", raw)
	}
	want(t, problems, "Device plant/boiler: spec.data: ", "Device plant/boiler: spec.propertyVisitors[0].reportCycle: 50000000 are milliseconds")
}

func TestModel(t *testing.T) {
	out, problems, err := v1alpha2.Convert([]byte(`
apiVersion: devices.kubeedge.io/v1alpha1
kind: DeviceModel
metadata: {name: m}
spec:
  properties:
  - {name: speed, description: of the fan, type: {int: {accessMode: ReadWrite, defaultValue: 7, minimum: -5, maximum: 100, unit: rpm}}}
  - {name: name, type: {string: {accessMode: ReadOnly, defaultValue: ""}}}
  - {name: odd, type: {}}
  propertyVisitors:
  - {propertyName: speed, modbus: {register: CoilRegister, offset: 2}}
  - {propertyName: none, opcua: {nodeID: "ns=1"}}
`))
	if err != nil {
		t.Fatal(err)
	}
	var m v1beta1.DeviceModel
	if err := yaml.UnmarshalStrict(out, &m); err != nil {
		t.Fatalf("%v in\n%s", err, out)
	}
	p := m.Spec.Properties[0]
	if p.Type != "INT" || p.Minimum != "-5" || p.Maximum != "100" || p.Unit != "rpm" || p.AccessMode != "ReadWrite" || p.Visitors.ProtocolName != "modbus" {
		t.Errorf("property %+v", p)
	}
	want(t, problems, "spec.properties[0].type.int.defaultValue: v1beta1 has no default value: set desired.value to \"7\"",
		"spec.properties[2].type: want one type", "spec.propertyVisitors[1]: the model has no property \"none\"")
}

// want compares problems with the texts that each has to contain.
func want(t *testing.T, problems []v1alpha2.Problem, texts ...string) {
	t.Helper()
	var all []string
	for _, p := range problems {
		all = append(all, p.String())
	}
	if len(all) != len(texts) {
		t.Errorf("%d problems, want %d:\n%s", len(all), len(texts), strings.Join(all, "\n"))
	}
	for _, text := range texts {
		if !strings.Contains(strings.Join(all, "\n"), text) {
			t.Errorf("no problem says %q:\n%s", text, strings.Join(all, "\n"))
		}
	}
}

func TestOthersStay(t *testing.T) {
	out, problems, err := v1alpha2.Convert([]byte("kind: Service\napiVersion: v1\nmetadata: {name: a}\n---\n---\n# empty\n---\n" +
		`{"kind":"List","apiVersion":"v1","items":[{"kind":"Device","apiVersion":"devices.kubeedge.io/v1beta1","metadata":{"name":"d"},"spec":{"x":1}}]}`))
	if err != nil || len(problems) != 0 || bytes.Count(out, []byte("---\n")) != 2 || !bytes.Contains(out, []byte("x: 1")) {
		t.Errorf("%s, %v, %v", out, problems, err)
	}
	if _, _, err := v1alpha2.Convert([]byte("kind: A\n---\n{")); err == nil || !strings.Contains(err.Error(), "document 2") {
		t.Errorf("a bad document: %v", err)
	}
	_, problems, err = v1alpha2.Convert([]byte(`{kind: Device, apiVersion: devices.kubeedge.io/v1alpha2, metadata: {name: d}, spec: {other: 1, nodeSelector: {nodeSelectorTerms: [{}, {}]}, protocol: {opcua: {url: a}, modbus: {url: b}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	want(t, problems, "deviceModelRef.name: missing", "spec.nodeSelector: it does not name one node", "spec.protocol.opcua: a second protocol", "spec.protocol.opcua.url: another field", "spec.other: unknown field")
}

func FuzzConvert(f *testing.F) {
	f.Add([]byte(oldDevice))
	f.Add([]byte(`{kind: DeviceModel, apiVersion: devices.kubeedge.io/v1alpha2, spec: {properties: [{type: {int: 1}}, 7], propertyVisitors: [{modbus: []}]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 4096 { // YAML's anchors are no concern here: the file is the operator's own
			return
		}
		_, _, _ = v1alpha2.Convert(text)
	})
}

func Example() {
	out, problems, err := v1alpha2.Convert([]byte(`
apiVersion: devices.kubeedge.io/v1alpha2
kind: DeviceModel
metadata: {name: fan}
spec:
  properties:
  - {name: speed, type: {int: {accessMode: ReadWrite, maximum: 100, defaultValue: 20}}}
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(string(out))
	for _, p := range problems {
		fmt.Println(p)
	}
	// Output:
	// ---
	// apiVersion: devices.kubeedge.io/v1beta1
	// kind: DeviceModel
	// metadata:
	//   name: fan
	// spec:
	//   properties:
	//   - accessMode: ReadWrite
	//     maximum: "100"
	//     name: speed
	//     type: INT
	// DeviceModel fan: spec.properties[0].type.int.defaultValue: v1beta1 has no default value: set desired.value to "20" in the Devices that need it
}
