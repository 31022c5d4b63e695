package codec

import (
	"fmt"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// protobufDecoder decodes a message of Protocol Buffers by its descriptor. The wire is read
// straight into data: a dynamicpb message in between would take 50 bytes and more for one of
// the payload, and dynamicpb panics for some entries of maps.
//
// A message becomes a map with the names of the .proto file. Enums become the names of their
// values, or the number of one that is not known. Fields without presence that are not on the
// wire have their default: 0, "", an empty list. Fields with presence are absent then.
// google.protobuf.Timestamp becomes a text as in RFC 3339, Duration one such as 1.5s, the
// wrappers their values. Fields that the descriptor does not have are skipped.
type protobufDecoder struct {
	message protoreflect.MessageDescriptor
	plans   map[protoreflect.FullName]*messagePlan
}

// messagePlan is what is known of a message beforehand.
type messagePlan struct {
	defaults []defaultValue // of fields without presence
	convert  func(m map[string]any) (any, error)
}

// defaultValue is what a field has that is not on the wire. Events share it: nobody changes
// the data of an event.
type defaultValue struct {
	name  string
	value any
}

// maxDescriptors is the largest descriptor set, in bytes.
const maxDescriptors = 256 << 10

func newProtobuf(spec *v1alpha1.ProtobufFormat) (*protobufDecoder, error) {
	const remedy = "write it with protoc --include_imports --descriptor_set_out"
	if spec == nil || len(spec.DescriptorSet) == 0 {
		return nil, fmt.Errorf("decode.protobuf.descriptorSet: it is required with the format protobuf: %s", remedy)
	}
	if len(spec.DescriptorSet) > maxDescriptors {
		return nil, fmt.Errorf("decode.protobuf.descriptorSet: it has %d bytes, %d are allowed: leave out files that the message does not need, and --include_source_info", len(spec.DescriptorSet), maxDescriptors)
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(spec.DescriptorSet, &set); err != nil {
		return nil, fmt.Errorf("decode.protobuf.descriptorSet: it is not a google.protobuf.FileDescriptorSet: %s", remedy)
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		return nil, fmt.Errorf("decode.protobuf.descriptorSet: %w: %s", err, remedy)
	}
	found, err := files.FindDescriptorByName(protoreflect.FullName(spec.Message))
	message, ok := found.(protoreflect.MessageDescriptor)
	if err != nil || !ok {
		return nil, fmt.Errorf("decode.protobuf.message: the descriptor set has no message %q: use its full name, for example plant.v1.Reading", spec.Message)
	}
	d := &protobufDecoder{message: message, plans: map[protoreflect.FullName]*messagePlan{}}
	d.plan(message)
	return d, nil
}

// plan looks at a message and those in it.
func (d *protobufDecoder) plan(m protoreflect.MessageDescriptor) {
	if d.plans[m.FullName()] != nil {
		return
	}
	p := &messagePlan{convert: wellKnown(m.FullName())}
	d.plans[m.FullName()] = p
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		if !f.HasPresence() {
			p.defaults = append(p.defaults, defaultValue{string(f.Name()), zero(f)})
		}
		if f.Message() != nil {
			d.plan(f.Message())
		}
	}
}

// Decode implements pipeline.Decoder.
func (d *protobufDecoder) Decode(b []byte) (any, error) {
	p := protoParser{decoder: d, left: budgetOf(len(b)), end: cap(b)}
	m, err := p.message(d.message, nil, b, 0)
	if err != nil {
		return nil, err
	}
	return p.finish(d.message, m)
}

type protoParser struct {
	decoder *protobufDecoder
	left    budget
	end     int // the capacity of the payload, from which offsets are computed
}

// wrong is an error at the beginning of at, which is a part of the payload.
func (p *protoParser) wrong(at []byte, f protoreflect.FieldDescriptor, reason string) error {
	if f != nil {
		reason = fmt.Sprintf("field %s: %s", f.FullName(), reason)
	}
	return &SyntaxError{Format: FormatProtobuf, Offset: p.end - cap(at), Reason: reason}
}

func (p *protoParser) spend(n int) error {
	if p.left.spend(n) {
		return nil
	}
	return &LimitError{Format: FormatProtobuf}
}

// message reads the fields of a message into m, which may have some already: a message that
// is on the wire twice is merged.
func (p *protoParser) message(desc protoreflect.MessageDescriptor, m map[string]any, b []byte, depth int) (map[string]any, error) {
	if depth > MaxDepth {
		return nil, &LimitError{Format: FormatProtobuf, Deep: true}
	}
	if m == nil {
		n := len(p.decoder.plans[desc.FullName()].defaults)
		if err := p.spend(mapCost(n)); err != nil {
			return nil, err
		}
		m = make(map[string]any, n)
	}
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, p.wrong(b, nil, "a field's tag is malformed")
		}
		f := desc.Fields().ByNumber(number)
		size := protowire.ConsumeFieldValue(number, kind, b[n:])
		if size < 0 {
			return nil, p.wrong(b, f, "its value is malformed or ends too early")
		}
		value := b[n : n+size]
		b = b[n+size:]
		if f == nil {
			continue
		}
		if err := p.field(f, m, kind, value, depth); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// set puts a value into the map of a message.
func (p *protoParser) set(m map[string]any, name string, v any) error {
	if _, there := m[name]; !there {
		if err := p.spend(entryCost(len(m))); err != nil {
			return err
		}
	}
	m[name] = v
	return nil
}

func (p *protoParser) field(f protoreflect.FieldDescriptor, m map[string]any, kind protowire.Type, value []byte, depth int) error {
	name := string(f.Name())
	switch {
	case f.IsMap():
		return p.mapEntry(f, m, kind, value, depth)
	case f.IsList():
		return p.element(f, m, kind, value, depth)
	case f.Message() != nil:
		body, ok := messageBody(f, kind, value)
		if !ok {
			return nil
		}
		p.clearOneof(f, m)
		have, _ := m[name].(map[string]any)
		sub, err := p.message(f.Message(), have, body, depth+1)
		if err != nil {
			return err
		}
		return p.set(m, name, sub)
	}
	v, ok, err := p.scalar(f, kind, value)
	if err != nil || !ok {
		return err
	}
	p.clearOneof(f, m)
	return p.set(m, name, v)
}

// clearOneof removes the other fields of f's oneof: the last on the wire counts.
func (p *protoParser) clearOneof(f protoreflect.FieldDescriptor, m map[string]any) {
	o := f.ContainingOneof()
	if o == nil || o.IsSynthetic() {
		return
	}
	for i := range o.Fields().Len() {
		if g := o.Fields().Get(i); g.Number() != f.Number() {
			delete(m, string(g.Name()))
		}
	}
}

// messageBody returns the fields of a message within a message.
func messageBody(f protoreflect.FieldDescriptor, kind protowire.Type, value []byte) ([]byte, bool) {
	if f.Kind() == protoreflect.GroupKind {
		if kind != protowire.StartGroupType {
			return nil, false
		}
		body, n := protowire.ConsumeGroup(f.Number(), value)
		return body, n >= 0
	}
	if kind != protowire.BytesType {
		return nil, false
	}
	body, n := protowire.ConsumeBytes(value)
	return body, n >= 0
}

// element appends to a list, whose elements may be packed. The list is a *listBuilder until
// finish.
func (p *protoParser) element(f protoreflect.FieldDescriptor, m map[string]any, kind protowire.Type, value []byte, depth int) error {
	list, _ := m[string(f.Name())].(*listBuilder)
	if list == nil {
		if err := p.spend(2 * costList); err != nil {
			return err
		}
		list = &listBuilder{}
		if err := p.set(m, string(f.Name()), list); err != nil {
			return err
		}
	}
	if f.Message() != nil {
		body, ok := messageBody(f, kind, value)
		if !ok {
			return nil
		}
		sub, err := p.message(f.Message(), nil, body, depth+1)
		if err != nil {
			return err
		}
		return p.add(list, sub)
	}
	want := wireType(f.Kind())
	rest := value
	if kind == protowire.BytesType && want != protowire.BytesType { // packed
		rest, _ = protowire.ConsumeBytes(value)
		kind = want
	}
	for first := true; len(rest) > 0 || first && want == protowire.BytesType; first = false {
		size := protowire.ConsumeFieldValue(f.Number(), kind, rest)
		if size < 0 {
			return p.wrong(rest, f, "its values are malformed")
		}
		v, ok, err := p.scalar(f, kind, rest[:size])
		if err != nil {
			return err
		}
		rest = rest[size:]
		if !ok {
			continue
		}
		if err := p.add(list, v); err != nil {
			return err
		}
	}
	return nil
}

func (p *protoParser) add(l *listBuilder, v any) error {
	if !l.add(v, &p.left) {
		return p.spend(0)
	}
	return nil
}

// mapEntry adds an entry to a map.
func (p *protoParser) mapEntry(f protoreflect.FieldDescriptor, m map[string]any, kind protowire.Type, value []byte, depth int) error {
	body, ok := messageBody(f, kind, value)
	if !ok {
		return nil
	}
	entry, err := p.message(f.Message(), nil, body, depth+1)
	if err != nil {
		return err
	}
	k, v := entry["key"], entry["value"]
	if k == nil {
		k = zero(f.MapKey())
	}
	switch sub, isMessage := v.(map[string]any); {
	case f.MapValue().Message() != nil:
		if !isMessage {
			sub = map[string]any{}
		}
		if v, err = p.finish(f.MapValue().Message(), sub); err != nil {
			return err
		}
	case v == nil:
		v = zero(f.MapValue())
	}
	name := string(f.Name())
	all, ok := m[name].(map[string]any)
	if !ok {
		if err := p.spend(costMap); err != nil {
			return err
		}
		all = make(map[string]any)
		if err := p.set(m, name, all); err != nil {
			return err
		}
	}
	if err := p.spend(2 * costText); err != nil {
		return err
	}
	return p.set(all, keyText(k), v)
}

// keyText is the key of a map as text: a string, an integer or a boolean.
func keyText(k any) string {
	switch k := k.(type) {
	case string:
		return k
	case int64:
		return strconv.FormatInt(k, 10)
	case uint64:
		return strconv.FormatUint(k, 10)
	case bool:
		return strconv.FormatBool(k)
	}
	return fmt.Sprint(k)
}

// finish adds defaults to a message and those in it, and converts the well-known types.
func (p *protoParser) finish(desc protoreflect.MessageDescriptor, m map[string]any) (any, error) {
	plan := p.decoder.plans[desc.FullName()]
	for name, v := range m {
		f := desc.Fields().ByName(protoreflect.Name(name))
		if f.IsMap() {
			continue // done with its entries
		}
		var err error
		switch v := v.(type) {
		case map[string]any:
			m[name], err = p.finish(f.Message(), v)
		case *listBuilder:
			m[name], err = p.list(f, v)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, d := range plan.defaults {
		if _, there := m[d.name]; !there {
			m[d.name] = d.value // there is room
		}
	}
	if plan.convert != nil {
		return plan.convert(m)
	}
	return m, nil
}

// list is a field's list with its messages finished.
func (p *protoParser) list(f protoreflect.FieldDescriptor, l *listBuilder) (any, error) {
	list, ok := l.list(&p.left)
	if !ok {
		return nil, p.spend(0)
	}
	if f.Message() == nil {
		return list, nil
	}
	for i := range list {
		sub, err := p.finish(f.Message(), list[i].(map[string]any))
		if err != nil {
			return nil, err
		}
		list[i] = sub
	}
	return list, nil
}
