package codec_test

import (
	"fmt"

	"github.com/edgekit/edgekit/bus/pipeline/codec"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

func ExampleNew() {
	d, err := codec.New(&v1alpha1.Decode{Format: codec.FormatBinary, Binary: &v1alpha1.BinaryFormat{
		Endian: "big",
		Fields: []v1alpha1.BinaryField{{Name: "value", Type: "int16", Offset: 0, Scale: "0.1"}, {Name: "hot", Type: "bool", Offset: 2, Bit: 7}},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(d.Decode([]byte{0x03, 0x25, 0x80}))
	fmt.Println(d.Decode([]byte{0x03}))
	// Output:
	// map[hot:true value:80.5] <nil>
	// <nil> codec: binary at byte 1: it has 1 bytes, the layout 3
}

func ExampleSchema() {
	v, err := codec.Schema(`{"properties": {"value": {"type": "number", "maximum": 100}}}`)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(v.Validate(map[string]any{"value": 80.5}))
	fmt.Println(v.Validate(map[string]any{"value": 120.0}))
	// Output:
	// <nil>
	// /value: maximum: got 120, want 100
}

func ExampleAppendJSON() {
	b, err := codec.AppendJSON(nil, map[string]any{"value": 80.5, "raw": []byte{1, 2}})
	fmt.Println(string(b), err)
	// Output: {"raw":"AQI=","value":80.5} <nil>
}
