package v1beta1

import (
	"reflect"
	"testing"

	"github.com/edgekit/edgekit/hub/decodetest"
)

// messageOf makes the message of a device list from parts, for an attacker.
func bytesOf(t testing.TB, m any) string {
	b, err := NewCodec().Append(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAttackDecoders(t *testing.T) {
	report := bytesOf(t, &ReportDeviceStatusRequest{ReportedDevice: &DeviceStatus{Twins: []*Twin{{PropertyName: "a", Reported: &TwinProperty{Value: "1", Metadata: map[string]string{"": ""}}}}}})
	device := bytesOf(t, &MapperRegisterResponse{DeviceList: []*Device{{Name: "a", Spec: &DeviceSpec{Properties: []*DeviceProperty{{Visitors: &VisitorConfig{ConfigData: &CustomizedValue{Data: map[string]*Any{"a": {}}}}}}}}}})
	codec := NewCodec()
	units := []string{report, device, "\x12\x00", "\x0a\x00", "\x12\x02\x0a\x00", "\x12\x04\x12\x02\x1a\x00", "\x12\x08\x0a\x06\x12\x04\x12\x02\x0a\x00"}
	value := func(b []byte) {
		if raw, err := ToJSON(&Any{TypeURL: typePrefix + "Value", Value: b}); err == nil {
			_ = raw
		}
	}
	decodetest.Search(t,
		decodetest.Case{Name: "dmi_report", Units: units, Decode: func(b []byte) { _ = codec.Decode(b, new(ReportDeviceStatusRequest)) }},
		decodetest.Case{Name: "dmi_register", Units: units, Decode: func(b []byte) { _ = codec.Decode(b, new(MapperRegisterResponse)) }},
		decodetest.Case{Name: "dmi_text", Units: units, Decode: func(b []byte) {
			_, _ = ToJSON(&Any{TypeURL: typePrefix + "StringValue", Value: b})
		}},
		decodetest.Case{Name: "dmi_value", Units: []string{"\x08\x00", "\x32\x04\x0a\x02\x08\x00", "\x2a\x02\x0a\x00", "\x1a\x01\x01"}, Decode: value},
		decodetest.Case{Name: "dmi_value_list", Units: []string{"\x0a\x00", "\x0a\x02\x08\x00", "\x0a\x03\x1a\x01\x01", "\x0a\x02\x32\x00"}, Decode: func(b []byte) {
			_, _ = ToJSON(&Any{TypeURL: typePrefix + "ListValue", Value: b})
		}},
		decodetest.Case{Name: "dmi_value_struct", Units: []string{"\x0a\x00", "\x0a\x03\x0a\x01a", "\x0a\x03\x0a\x01\x01"}, Decode: func(b []byte) {
			_, _ = ToJSON(&Any{TypeURL: typePrefix + "Struct", Value: b})
		}},
	)
}

func FuzzDecode(f *testing.F) {
	for _, m := range roots() {
		fill(reflect.ValueOf(m).Elem())
		f.Add([]byte(bytesOf(f, m)))
	}
	codec := NewCodec()
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, m := range roots() {
			if codec.Decode(b, m) != nil {
				continue
			}
			again, err := codec.Append(nil, m)
			if err != nil {
				t.Fatal(err)
			}
			other := reflect.New(reflect.TypeOf(m).Elem()).Interface()
			if err := codec.Decode(again, other); err != nil {
				t.Fatalf("%T does not come back: %v", m, err)
			}
			if r, ok := m.(*RegisterDeviceRequest); ok && r.Device != nil {
				_, _, _ = Spec(r.Device)
			}
		}
	})
}
