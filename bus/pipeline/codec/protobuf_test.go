package codec

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

const readingProto = `syntax = "proto3";
package plant.v1;
import "google/protobuf/timestamp.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/wrappers.proto";
enum State { UNKNOWN = 0; HOT = 1; }
message Point { int32 x = 1; sint32 y = 2; }
message Reading {
  string device = 1;
  double value = 2;
  optional int64 seq = 3;
  State state = 4;
  repeated float samples = 5;
  repeated Point points = 6;
  map<string, int32> counts = 7;
  map<int32, Point> places = 8;
  google.protobuf.Timestamp at = 9;
  google.protobuf.Duration took = 10;
  google.protobuf.DoubleValue limit = 11;
  oneof kind { string name = 12; uint64 number = 13; Point where = 14; }
  bytes raw = 15;
  bool ok = 16;
  fixed32 f32 = 17; sfixed64 sf64 = 18; uint32 u32 = 19; sint64 s64 = 20; sfixed32 sf32 = 21; fixed64 f64 = 22; float f = 23;
  Reading child = 24;
  repeated string tags = 25;
}
`

func descriptorSet(t testing.TB) []byte {
	t.Helper()
	c := protocompile.Compiler{Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{
		Accessor: protocompile.SourceAccessorFromMap(map[string]string{"reading.proto": readingProto})})}
	files, err := c.Compile(t.Context(), "reading.proto")
	if err != nil {
		t.Fatal(err)
	}
	set := &descriptorpb.FileDescriptorSet{}
	seen := map[string]bool{}
	var add func(f protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i).FileDescriptor)
		}
		set.File = append(set.File, protodesc.ToFileDescriptorProto(f))
	}
	add(files[0])
	b, err := proto.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newReading(t testing.TB) *protobufDecoder {
	t.Helper()
	d, err := New(&v1alpha1.Decode{Format: FormatProtobuf, Protobuf: &v1alpha1.ProtobufFormat{DescriptorSet: descriptorSet(t), Message: "plant.v1.Reading"}})
	if err != nil {
		t.Fatal(err)
	}
	return d.(*protobufDecoder)
}

func encodeReading(t testing.TB, d *protobufDecoder, text string) []byte {
	t.Helper()
	m := dynamicpb.NewMessage(d.message)
	if err := prototext.Unmarshal([]byte(text), m); err != nil {
		t.Fatal(err)
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const readingText = `device: "d1" value: 80.5 seq: 0 state: HOT samples: [1.5, 2.5] points: {x: -1 y: -2} points: {} counts: {key: "a" value: 1} counts: {key: "b"}
places: {key: 7 value: {x: 3}} at: {seconds: 1796047200 nanos: 500000000} took: {seconds: 1 nanos: 500000000} limit: {value: 90} where: {x: 9} raw: "\x01\x02" ok: true
f32: 1 sf64: -2 u32: 4294967295 s64: -9 sf32: -3 f64: 18446744073709551615 f: 0.5 child: {device: "c" at: {seconds: 0}} tags: ["x", "y"]`

func TestProtobuf(t *testing.T) {
	d := newReading(t)
	got, err := d.Decode(encodeReading(t, d, readingText))
	if err != nil {
		t.Fatal(err)
	}
	empty := func() map[string]any {
		return map[string]any{
			"device": "", "value": 0.0, "state": "UNKNOWN", "samples": []any{}, "points": []any{}, "counts": map[string]any{}, "places": map[string]any{}, "raw": []byte{}, "ok": false,
			"f32": int64(0), "sf64": int64(0), "u32": int64(0), "s64": int64(0), "sf32": int64(0), "f64": int64(0), "f": 0.0, "tags": []any{},
		}
	}
	child := empty()
	child["device"], child["at"] = "c", "1970-01-01T00:00:00Z"
	want := map[string]any{
		"device": "d1", "value": 80.5, "seq": int64(0), "state": "HOT", "samples": []any{1.5, 2.5},
		"points": []any{map[string]any{"x": int64(-1), "y": int64(-2)}, map[string]any{"x": int64(0), "y": int64(0)}},
		"counts": map[string]any{"a": int64(1), "b": int64(0)}, "places": map[string]any{"7": map[string]any{"x": int64(3), "y": int64(0)}},
		"at": "2026-11-30T14:00:00.5Z", "took": "1.5s", "limit": 90.0, "where": map[string]any{"x": int64(9), "y": int64(0)}, "raw": []byte{1, 2}, "ok": true,
		"f32": int64(1), "sf64": int64(-2), "u32": int64(4294967295), "s64": int64(-9), "sf32": int64(-3), "f64": uint64(math.MaxUint64), "f": 0.5, "child": child, "tags": []any{"x", "y"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v\nwant %v", got, want)
	}
	if got, err := d.Decode(nil); err != nil || !reflect.DeepEqual(got, empty()) {
		t.Errorf("nothing: %v, %v", got, err)
	}
	// A oneof's last field counts, a message that is there twice is merged, an unknown field is skipped.
	b := encodeReading(t, d, `name: "n"`)
	b = append(b, encodeReading(t, d, `number: 5 child: {device: "a"}`)...)
	b = append(b, encodeReading(t, d, `child: {value: 2}`)...)
	b = protowire.AppendVarint(protowire.AppendTag(b, 999, protowire.VarintType), 1)
	b = protowire.AppendVarint(protowire.AppendTag(b, 4, protowire.VarintType), 77)
	b = protowire.AppendBytes(protowire.AppendTag(b, 2, protowire.BytesType), []byte("another type"))
	got, err = d.Decode(b)
	m, _ := got.(map[string]any)
	c, _ := m["child"].(map[string]any)
	if err != nil || m["name"] != nil || m["number"] != int64(5) || c["device"] != "a" || c["value"] != 2.0 || m["state"] != int64(77) || m["value"] != 0.0 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestProtobufRefuses(t *testing.T) {
	d := newReading(t)
	for in, want := range map[string]string{
		"\x0a\xff": "byte 0: field plant.v1.Reading.device: its value is malformed", "\xff": "byte 0: a field's tag", "\x0a\x01\xff": "UTF-8", "\x4a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00": "Timestamp",
		"\x2a\x02\x00\x00": "byte 2: field plant.v1.Reading.samples", "\xc2\x01\x02\x0a\x05": "byte 3: field plant.v1.Reading.device",
	} {
		if got, err := d.Decode([]byte(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%x: %v, %v; want %s", in, got, err, want)
		}
	}
	var deep []byte
	for range 100 {
		deep = protowire.AppendBytes(protowire.AppendTag(nil, 24, protowire.BytesType), deep)
	}
	var limit *LimitError // the depth, or the memory of so many messages with defaults
	if _, err := d.Decode(deep); !asLimit(err, &limit) {
		t.Errorf("deep: %v", err)
	}
	set := descriptorSet(t)
	for want, spec := range map[string]*v1alpha1.ProtobufFormat{
		"descriptorSet: it is required":     nil,
		"descriptorSet: it is not":          {DescriptorSet: []byte("\x0a\xff"), Message: "a"},
		"has no message \"plant.R\"":        {DescriptorSet: set, Message: "plant.R"},
		"has no message \"\"":               {DescriptorSet: set},
		"has no message \"plant.v1.State\"": {DescriptorSet: set, Message: "plant.v1.State"},
		"262144 are allowed":                {DescriptorSet: make([]byte, 1<<20), Message: "a"},
	} {
		if _, err := New(&v1alpha1.Decode{Format: FormatProtobuf, Protobuf: spec}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %s", err, want)
		}
	}
}

// reread makes data of a dynamicpb message, by the rules of protobufDecoder.
func reread(m protoreflect.Message) (any, bool) {
	out := map[string]any{}
	fields, ok := m.Descriptor().Fields(), true
	one := func(f protoreflect.FieldDescriptor, v protoreflect.Value) any {
		switch f.Kind() {
		case protoreflect.MessageKind, protoreflect.GroupKind:
			sub, fine := reread(v.Message())
			ok = ok && fine
			return sub
		case protoreflect.EnumKind:
			return enumName(f, v.Enum())
		case protoreflect.FloatKind, protoreflect.DoubleKind:
			ok = ok && !math.IsNaN(v.Float())
			return v.Float()
		case protoreflect.StringKind:
			return v.String()
		case protoreflect.BytesKind:
			return append([]byte{}, v.Bytes()...)
		case protoreflect.BoolKind:
			return v.Bool()
		case protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
			return whole(v.Uint())
		}
		return v.Int()
	}
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.HasPresence() && !m.Has(f) {
			continue
		}
		v := m.Get(f)
		switch {
		case f.IsMap():
			all := map[string]any{}
			v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				all[fmt.Sprint(k.Interface())] = one(f.MapValue(), v)
				return true
			})
			out[string(f.Name())] = all
		case f.IsList():
			list := []any{}
			for j := range v.List().Len() {
				list = append(list, one(f, v.List().Get(j)))
			}
			out[string(f.Name())] = list
		default:
			out[string(f.Name())] = one(f, v)
		}
	}
	if convert := wellKnown(m.Descriptor().FullName()); convert != nil {
		v, err := convert(out)
		return v, ok && err == nil
	}
	return out, ok
}

// dynamic decodes b into m, and reports whether it could. It may panic for an entry of a map
// whose key has another type: "cannot convert nil to map key".
func dynamic(b []byte, m proto.Message) (ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	return (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(b, m) == nil
}

func FuzzProtobuf(f *testing.F) {
	d := newReading(f)
	f.Add(encodeReading(f, d, readingText))
	f.Add(encodeReading(f, d, `name: "n" child: {child: {points: {}}}`))
	f.Add([]byte("b\x02001000000000000z\b00000000000\xff\xff\xff\xff\xff\xff\xff\xff\xff\x010000:\x05\n\x010\b0")) // dynamicpb panics
	f.Add([]byte("\x2d\x00\x00\x80\x3f\x2a\x04\x00\x00\x80\x3f"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := d.Decode(b)
		m := dynamicpb.NewMessage(d.message)
		if !dynamic(b, m) {
			return // it checks texts in fields that this decoder skips, too
		}
		want, same := reread(m)
		var limit *LimitError
		if !same || asLimit(err, &limit) {
			return
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%x: %v, %v; dynamicpb: %v", b, got, err, want)
		}
	})
}

func BenchmarkProtobuf(b *testing.B) {
	d := newReading(b)
	in := encodeReading(b, d, `device: "press-17" value: 80.53 name: "Cel" at: {seconds: 1796047200} ok: true seq: 123456`)
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		if _, err := d.Decode(in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBinary(b *testing.B) {
	d, err := New(&v1alpha1.Decode{Format: FormatBinary, Binary: &v1alpha1.BinaryFormat{Fields: []v1alpha1.BinaryField{
		{Name: "value", Type: "int16", Scale: "0.1"}, {Name: "seq", Type: "uint32", Offset: 2}, {Name: "ok", Type: "bool", Offset: 6, Bit: 3}}}})
	if err != nil {
		b.Fatal(err)
	}
	in := []byte{3, 4, 0, 0, 1, 2, 8}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Decode(in); err != nil {
			b.Fatal(err)
		}
	}
}
