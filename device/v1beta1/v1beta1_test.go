package v1beta1_test

import (
	"fmt"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/device/v1beta1"
)

func TestCRDs(t *testing.T) {
	docs, err := v1beta1.CRDs()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{"Device": true, "DeviceModel": true, "DeviceStatus": true}
	for _, doc := range docs {
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(doc, &crd); err != nil {
			t.Fatal(err)
		}
		kind := crd.Spec.Names.Kind
		if !want[kind] {
			t.Errorf("unexpected or doubled kind %q", kind)
		}
		delete(want, kind)
		for _, v := range crd.Spec.Versions {
			if v.Storage != (v.Name == "v1beta1") || !v.Served {
				t.Errorf("%s: version %s, storage %t, served %t", kind, v.Name, v.Storage, v.Served)
			}
			has := v.Subresources != nil && v.Subresources.Status != nil
			if want := kind == "Device" && v.Name == "v1beta1"; has != want {
				t.Errorf("%s %s: status subresource %t, want %t", kind, v.Name, has, want)
			}
			undescribed(t, kind, v.Schema.OpenAPIV3Schema)
		}
	}
	if len(want) != 0 {
		t.Errorf("no CRD for %v", want)
	}
}

// undescribed finds the fields about which kubectl explain has nothing to say.
func undescribed(t *testing.T, path string, s *apiextensionsv1.JSONSchemaProps) {
	for name, field := range s.Properties {
		at := path + "." + name
		if field.Description == "" && at != "Device.metadata" && at != "DeviceModel.metadata" && at != "DeviceStatus.metadata" {
			t.Errorf("%s has no description", at)
		}
		undescribed(t, at, &field)
	}
	if s.Items != nil && s.Items.Schema != nil {
		undescribed(t, path, s.Items.Schema)
	}
}

func TestScheme(t *testing.T) {
	s := runtime.NewScheme()
	if err := v1beta1.AddToScheme(s); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"Device", "DeviceList", "DeviceModel", "DeviceModelList", "DeviceStatus", "DeviceStatusList"} {
		if _, err := s.New(v1beta1.GroupVersion().WithKind(kind)); err != nil {
			t.Error(err)
		}
	}
}

func Example() {
	var d v1beta1.Device
	err := yaml.UnmarshalStrict([]byte(`
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata: {name: boiler, namespace: plant}
spec:
  deviceModelRef: {name: boiler-model}
  nodeName: edge-7
  protocol: {protocolName: modbus, configData: {ip: 10.1.1.5, port: 502}}
  properties:
  - {name: target, desired: {value: "45"}}
`), &d)
	if err != nil {
		fmt.Println(err)
		return
	}
	var link struct {
		IP   string
		Port int
	}
	if err := d.Spec.Protocol.Config.Decode(&link); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(d.Name, "at", link.IP, link.Port, "wants", d.Spec.Properties[0].Name, d.Spec.Properties[0].Desired.Value)
	// Output: boiler at 10.1.1.5 502 wants target 45
}
