package wire

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// frameDescriptor compiles hub.proto.
func frameDescriptor(t *testing.T) protoreflect.MessageDescriptor {
	t.Helper()
	c := protocompile.Compiler{Resolver: &protocompile.SourceResolver{ImportPaths: []string{"../.."}}}
	files, err := c.Compile(t.Context(), "hub.proto")
	if err != nil {
		t.Fatal(err)
	}
	return files[0].Messages().ByName("Frame")
}

// TestProto compares the codec with hub.proto, through the protobuf runtime: both write
// the same bytes, the codec reads what the runtime writes, and neither has a field or a
// frame that the other lacks.
func TestProto(t *testing.T) {
	descriptor := frameDescriptor(t)
	used := make(map[protoreflect.FullName]bool) // fields that a frame had
	for _, f := range sampleFrames() {
		b := AppendFrame(nil, f)
		m := dynamicpb.NewMessage(descriptor)
		if err := proto.Unmarshal(b, m); err != nil {
			t.Errorf("%T is not a Frame of hub.proto: %v", f, err)
			continue
		}
		walk(t, m, used)
		again, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%T: the codec writes %x, the runtime %x, %v", f, b, again, err)
		}
		if got, err := parseAny(again); err != nil || !reflect.DeepEqual(got, f) {
			t.Errorf("%T: the codec reads %+v, %v of what the runtime writes", f, got, err)
		}
	}
	messages := descriptor.ParentFile().Messages()
	for i := range messages.Len() {
		fields := messages.Get(i).Fields()
		for j := range fields.Len() {
			if name := fields.Get(j).FullName(); !used[name] {
				t.Errorf("no frame of the codec has %s", name)
			}
		}
	}
	for n := numHello; n < 200; n++ {
		if field := descriptor.Fields().ByNumber(n); Known(n) != (field != nil) {
			t.Errorf("frame %d: the codec knows it: %v; hub.proto has it: %v", n, Known(n), field != nil)
		}
	}
}

// walk records the fields that are set, here and in nested messages, and fails for an
// unknown one.
func walk(t *testing.T, m protoreflect.Message, used map[protoreflect.FullName]bool) {
	t.Helper()
	if unknown := m.GetUnknown(); len(unknown) > 0 {
		t.Errorf("%s has fields that hub.proto does not: %x", m.Descriptor().FullName(), unknown)
	}
	m.Range(func(field protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		used[field.FullName()] = true
		switch {
		case field.Message() == nil:
		case field.IsList():
			for i := range v.List().Len() {
				walk(t, v.List().Get(i).Message(), used)
			}
		default:
			walk(t, v.Message(), used)
		}
		return true
	})
}

// TestProtoEnums compares the enumerations and the codes that hub.proto names.
func TestProtoEnums(t *testing.T) {
	file := frameDescriptor(t).ParentFile()
	for name, want := range map[protoreflect.FullName]map[protoreflect.Name]uint64{
		"edgekit.hub.v1.GoAway.Kind": {
			"UNKNOWN": 0, "REFUSED": uint64(GoAwayRefused), "ENDED": uint64(GoAwayEnded), "DRAIN": uint64(GoAwayDrain),
			"FENCED": uint64(GoAwayFenced), "REPLACED": uint64(GoAwayReplaced), "STOPPED": uint64(GoAwayStopped),
		},
		"edgekit.hub.v1.Open.Class": {"NONE": 0, "CALL": uint64(ClassCall), "STREAM": uint64(ClassStream)},
	} {
		values := file.Messages().ByName(name.Parent().Name()).Enums().ByName(name.Name()).Values()
		if values.Len() != len(want) {
			t.Errorf("%s has %d values, want %d", name, values.Len(), len(want))
		}
		for i := range values.Len() {
			if v := values.Get(i); uint64(v.Number()) != want[v.Name()] {
				t.Errorf("%s.%s is %d, in the codec %d", name, v.Name(), v.Number(), want[v.Name()])
			}
		}
	}
}
