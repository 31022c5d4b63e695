package v1beta1

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// protoFile compiles dmi.proto.
func protoFile(t *testing.T) protoreflect.FileDescriptor {
	t.Helper()
	c := protocompile.Compiler{Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{})}
	files, err := c.Compile(t.Context(), "dmi.proto")
	if err != nil {
		t.Fatal(err)
	}
	return files[0]
}

// roots are the messages that are sent.
func roots() []any {
	return []any{
		new(MapperRegisterRequest), new(MapperRegisterResponse), new(ReportDeviceStatusRequest), new(ReportDeviceStatesRequest),
		new(RegisterDeviceRequest), new(RegisterDeviceResponse), new(RemoveDeviceRequest), new(UpdateDeviceRequest),
		new(CreateDeviceModelRequest), new(CreateDeviceModelResponse), new(UpdateDeviceModelRequest), new(RemoveDeviceModelRequest),
		new(GetDeviceRequest), new(GetDeviceResponse),
	}
}

// fill gives each field of a message a value: text, 1, true, and lists and maps of two.
func fill(v reflect.Value) {
	for i := range v.NumField() {
		f := v.Field(i)
		switch {
		case v.Type().Field(i).Tag.Get("pb") == "1000": // edgekit's own, not in dmi.proto
		case f.Kind() == reflect.Map:
			f.Set(reflect.MakeMap(f.Type()))
			for _, key := range []string{"a", "b"} {
				f.SetMapIndex(reflect.ValueOf(key), filled(f.Type().Elem()))
			}
		case f.Kind() == reflect.Slice && f.Type().Elem().Kind() != reflect.Uint8:
			f.Set(reflect.Append(f, filled(f.Type().Elem()), filled(f.Type().Elem())))
		default:
			f.Set(filled(f.Type()))
		}
	}
}

func filled(t reflect.Type) reflect.Value {
	v := reflect.New(t).Elem()
	switch t.Kind() {
	case reflect.String:
		v.SetString("text of " + t.String())
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int32, reflect.Int64:
		v.SetInt(-1)
	case reflect.Slice:
		v.SetBytes([]byte{0, 1, 0xff})
	case reflect.Pointer:
		v.Set(reflect.New(t.Elem()))
		fill(v.Elem())
	}
	return v
}

// TestProto compares the codec with dmi.proto, through the protobuf runtime: both write the
// same bytes, the codec reads what the runtime writes, and neither has a field or a message
// that the other lacks.
func TestProto(t *testing.T) {
	file := protoFile(t)
	codec := NewCodec()
	used := make(map[protoreflect.FullName]bool)
	for _, m := range roots() {
		name := reflect.TypeOf(m).Elem().Name()
		t.Run(name, func(t *testing.T) {
			fill(reflect.ValueOf(m).Elem())
			b, err := codec.Append(nil, m)
			if err != nil {
				t.Fatal(err)
			}
			dynamic := dynamicpb.NewMessage(file.Messages().ByName(protoreflect.Name(name)))
			if err := proto.Unmarshal(b, dynamic); err != nil {
				t.Fatalf("the runtime does not read what the codec writes: %v", err)
			}
			walk(t, dynamic, used)
			again, err := proto.MarshalOptions{Deterministic: true}.Marshal(dynamic)
			if err != nil || !bytes.Equal(again, b) {
				t.Errorf("the codec writes %x, the runtime %x, %v", b, again, err)
			}
			read := reflect.New(reflect.TypeOf(m).Elem())
			if err := codec.Decode(again, read.Interface()); err != nil || !reflect.DeepEqual(read.Interface(), m) {
				t.Errorf("the codec reads %+v, %v of what the runtime writes, want %+v", read.Interface(), err, m)
			}
			if err := codec.Decode(append(again, 0xf8, 0x3f, 1), read.Interface()); err != nil { // field 1023
				t.Errorf("a field that is not known: %v", err)
			}
		})
	}
	messages := file.Messages()
	for i := range messages.Len() {
		fields := messages.Get(i).Fields()
		for j := range fields.Len() {
			if name := fields.Get(j).FullName(); !used[name] {
				t.Errorf("no message of the codec has %s", name)
			}
		}
	}
}

// walk notes the fields that m has, and reports those that the types here do not know.
func walk(t *testing.T, m protoreflect.Message, used map[protoreflect.FullName]bool) {
	t.Helper()
	if len(m.GetUnknown()) > 0 {
		t.Errorf("%s: the codec writes a field that dmi.proto does not have: %x", m.Descriptor().FullName(), m.GetUnknown())
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		used[f.FullName()] = true
		switch {
		case f.IsMap():
			v.Map().Range(func(_ protoreflect.MapKey, e protoreflect.Value) bool {
				if f.MapValue().Kind() == protoreflect.MessageKind {
					walk(t, e.Message(), used)
				}
				return true
			})
		case f.Kind() != protoreflect.MessageKind:
		case f.IsList():
			for i := range v.List().Len() {
				walk(t, v.List().Get(i).Message(), used)
			}
		default:
			walk(t, v.Message(), used)
		}
		return true
	})
}

// TestServices compares the services with dmi.proto: names, requests and responses.
func TestServices(t *testing.T) {
	file := protoFile(t)
	for service, of := range map[string]reflect.Type{DeviceManagerService: reflect.TypeFor[DeviceManager](), DeviceMapperService: reflect.TypeFor[DeviceMapper]()} {
		d := file.Services().ByName(protoreflect.Name(strings.TrimPrefix(service, "v1beta1.")))
		if string(d.FullName()) != service || d.Methods().Len() != of.NumMethod() {
			t.Errorf("%s has %d methods, dmi.proto %d of %s", service, of.NumMethod(), d.Methods().Len(), d.FullName())
		}
		for i := range of.NumMethod() {
			m := of.Method(i)
			want := d.Methods().ByName(protoreflect.Name(m.Name))
			if want == nil {
				t.Errorf("dmi.proto has no method %s", m.Name)
				continue
			}
			in, out := m.Type.In(1).Elem().Name(), m.Type.Out(0).Elem().Name()
			if string(want.Input().Name()) != in {
				t.Errorf("%s: request is %s, want %s", m.Name, in, want.Input().Name())
			}
			if empty := want.Output().Fields().Len() == 0; empty != (out == "Empty") || !empty && string(want.Output().Name()) != out {
				t.Errorf("%s: response is %s, want %s", m.Name, out, want.Output().Name())
			}
		}
	}
}
