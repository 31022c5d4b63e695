package device_test

import (
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// newTransform makes the Transform of a property; visitor is JSON or empty.
func newTransform(t *testing.T, typ schema.Type, s schema.Transform, visitor string) *device.Transform {
	t.Helper()
	var v *schema.Visitor
	if visitor != "" {
		v = &schema.Visitor{Config: schema.Options(visitor)}
	}
	tr, err := device.NewTransform(&schema.ModelProperty{Name: "p", Type: typ, Transform: &s}, v)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

var little = schema.LittleEndian

// TestTransformBytes has bytes of a device become the value, and the value the same bytes.
func TestTransformBytes(t *testing.T) {
	for _, tt := range []struct {
		name      string
		typ       schema.Type
		transform schema.Transform
		visitor   string
		raw       string // hexadecimal
		value     string
	}{
		{"int16", schema.TypeInt, schema.Transform{RawType: "INT16"}, "", "ff 9c", "-100"},
		{"uint16", schema.TypeInt, schema.Transform{RawType: "UINT16"}, "", "ff 9c", "65436"},
		{"int8", schema.TypeInt, schema.Transform{RawType: "INT8"}, "", "80", "-128"},
		{"uint8", schema.TypeInt, schema.Transform{RawType: "UINT8"}, "", "80", "128"},
		{"int32 big", schema.TypeInt, schema.Transform{RawType: "INT32"}, "", "12 34 56 78", "305419896"},
		{"int32 words swapped (CDAB)", schema.TypeInt, schema.Transform{RawType: "INT32", WordOrder: little}, "", "56 78 12 34", "305419896"},
		{"int32 bytes swapped (BADC)", schema.TypeInt, schema.Transform{RawType: "INT32", ByteOrder: little}, "", "34 12 78 56", "305419896"},
		{"int32 little (DCBA)", schema.TypeInt, schema.Transform{RawType: "INT32", ByteOrder: little, WordOrder: little}, "", "78 56 34 12", "305419896"},
		{"int64 least", schema.TypeInt, schema.Transform{RawType: "INT64"}, "", "80 00 00 00 00 00 00 00", "-9223372036854775808"},
		{"uint64 beyond 2^53", schema.TypeInt, schema.Transform{RawType: "UINT64"}, "", "00 20 00 00 00 00 00 01", "9007199254740993"},
		{"float32", schema.TypeFloat, schema.Transform{RawType: "FLOAT32"}, "", "3d cc cc cd", "0.1"},
		{"float32 little", schema.TypeFloat, schema.Transform{RawType: "FLOAT32", ByteOrder: little, WordOrder: little}, "", "cd cc cc 3d", "0.1"},
		{"float64", schema.TypeDouble, schema.Transform{RawType: "FLOAT64"}, "", "40 09 21 fb 54 44 2d 18", "3.141592653589793"},
		{"float32 of an unnamed type", schema.TypeFloat, schema.Transform{}, `{"limit":2}`, "41 ac 00 00", "21.5"},
		{"scale", schema.TypeFloat, schema.Transform{RawType: "INT16", Scale: "0.1"}, "", "00 d7", "21.5"},
		{"scale and offset", schema.TypeFloat, schema.Transform{RawType: "UINT16", Scale: "0.01", Offset: "-273.15"}, "", "72 7a", "19.91"},
		{"scale above one", schema.TypeInt, schema.Transform{RawType: "UINT8", Scale: "10"}, "", "07", "70"},
		{"mask and shift", schema.TypeInt, schema.Transform{RawType: "UINT16", Mask: "0x0ff0", Shift: 4}, "", "0a b0", "171"},
		{"mapping", schema.TypeString, schema.Transform{RawType: "UINT8", Mapping: []schema.Mapping{{Raw: "0", Value: "closed"}, {Raw: "1", Value: "open"}}}, "", "01", "open"},
		{"inverted contact", schema.TypeBoolean, schema.Transform{RawType: "UINT8", Mapping: []schema.Mapping{{Raw: "1", Value: "false"}, {Raw: "0", Value: "true"}}}, "", "00", "true"},
		{"boolean", schema.TypeBoolean, schema.Transform{RawType: "UINT16"}, "", "00 01", "true"},
		{"one bit", schema.TypeBoolean, schema.Transform{RawType: "UINT16", Mask: "0x0008", Shift: 3}, "", "00 08", "true"},
		{"text", schema.TypeString, schema.Transform{}, `{"limit":2}`, "61 62 00 00", "ab"},
		{"bytes", schema.TypeBytes, schema.Transform{}, "", "00 ff 10", "AP8Q"},
		{"KubeEdge isRegisterSwap", schema.TypeInt, schema.Transform{}, `{"register":"HoldingRegister","offset":3,"limit":2,"isRegisterSwap":true}`, "56 78 12 34", "305419896"},
		{"KubeEdge isSwap", schema.TypeInt, schema.Transform{}, `{"offset":3,"limit":1,"isSwap":true}`, "34 12", "4660"},
		{"KubeEdge scale", schema.TypeFloat, schema.Transform{}, `{"offset":3,"limit":1,"scale":0.1}`, "00 d7", "21.5"},
		{"the model wins over the visitor", schema.TypeFloat, schema.Transform{RawType: "INT16", Scale: "0.01"}, `{"scale":0.1}`, "00 d7", "2.15"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := newTransform(t, tt.typ, tt.transform, tt.visitor)
			got, err := tr.Decode(unhex(t, tt.raw))
			if err != nil || got != tt.value {
				t.Errorf("decoded %q, %v, want %q", got, err, tt.value)
			}
			back, err := tr.Encode(tt.value, make([]byte, max(tr.Size(), 1)))
			if err != nil || fmt.Sprintf("% x", back) != tt.raw {
				t.Errorf("encoded % x, %v, want %s", back, err, tt.raw)
			}
		})
	}
}

// TestTransformText is the same for drivers that hand over text.
func TestTransformText(t *testing.T) {
	for _, tt := range []struct {
		typ        schema.Type
		transform  schema.Transform
		raw, value string
	}{
		{schema.TypeFloat, schema.Transform{Scale: "0.1"}, "215", "21.5"},
		{schema.TypeFloat, schema.Transform{Scale: "3"}, "0.1", "0.3"},
		{schema.TypeInt, schema.Transform{Offset: "-40"}, "100", "60"},
		{schema.TypeInt, schema.Transform{Mask: "0b11", Shift: 0}, "2", "2"},
		{schema.TypeString, schema.Transform{Mapping: []schema.Mapping{{Raw: "A", Value: "auto"}, {Raw: "M", Value: "manual"}}}, "M", "manual"},
		{schema.TypeString, schema.Transform{}, " any text ", " any text "},
		{schema.TypeFloat, schema.Transform{}, "21.50", "21.50"},
	} {
		tr := newTransform(t, tt.typ, tt.transform, `{"scale": 7}`) // a driver of text has read it itself
		value, err := tr.DecodeText(tt.raw)
		raw, err2 := tr.EncodeText(tt.value, "0")
		if err != nil || err2 != nil || value != tt.value || raw != tt.raw {
			t.Errorf("%+v: %q becomes %q, %v, and %q becomes %q, %v", tt.transform, tt.raw, value, err, tt.value, raw, err2)
		}
	}
}

// TestTransformKeepsBits has a write leave the bits outside of the mask as they are.
func TestTransformKeepsBits(t *testing.T) {
	tr := newTransform(t, schema.TypeInt, schema.Transform{RawType: "UINT16", Mask: "0x0ff0", Shift: 4, ByteOrder: little}, "")
	raw, err := tr.Encode("171", unhex(t, "0f f0")) // 0xf00f, low byte first
	if err != nil || fmt.Sprintf("% x", raw) != "bf fa" {
		t.Errorf("got % x, %v, want bf fa: 0xfabf", raw, err)
	}
	text := newTransform(t, schema.TypeInt, schema.Transform{Mask: "0xf0", Shift: 4}, "")
	if got, err := text.EncodeText("3", "255"); err != nil || got != "63" {
		t.Errorf("got %q, %v, want 63", got, err)
	}
}

// TestTransformRefuses has what does not fit be an error, never another value.
func TestTransformRefuses(t *testing.T) {
	for _, tt := range []struct {
		name      string
		typ       schema.Type
		transform schema.Transform
		value     string
	}{
		{"above int16", schema.TypeInt, schema.Transform{RawType: "INT16"}, "32768"},
		{"below int16", schema.TypeInt, schema.Transform{RawType: "INT16"}, "-32769"},
		{"negative uint8", schema.TypeInt, schema.Transform{RawType: "UINT8"}, "-1"},
		{"above by scale", schema.TypeFloat, schema.Transform{RawType: "INT16", Scale: "0.1"}, "3276.8"},
		{"above float32", schema.TypeDouble, schema.Transform{RawType: "FLOAT32"}, "1e39"},
		{"outside of the mask", schema.TypeInt, schema.Transform{RawType: "UINT8", Mask: "0x0f"}, "16"},
		{"negative in a mask", schema.TypeInt, schema.Transform{RawType: "UINT8", Mask: "0x0f"}, "-1"},
		{"not in the mapping", schema.TypeString, schema.Transform{RawType: "UINT8", Mapping: []schema.Mapping{{Raw: "0", Value: "closed"}}}, "ajar"},
		{"no boolean", schema.TypeBoolean, schema.Transform{RawType: "UINT8"}, "yes"},
		{"no number", schema.TypeFloat, schema.Transform{RawType: "FLOAT32"}, "NaN"},
		{"infinite", schema.TypeFloat, schema.Transform{RawType: "FLOAT64"}, "+Inf"},
		{"nothing says the length", schema.TypeInt, schema.Transform{}, "1"},
		{"no base64", schema.TypeBytes, schema.Transform{}, "%"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := newTransform(t, tt.typ, tt.transform, "")
			if got, err := tr.Encode(tt.value, make([]byte, max(tr.Size(), 1))); err == nil {
				t.Errorf("%q was encoded as % x", tt.value, got)
			}
		})
	}
	for _, tt := range []struct {
		name      string
		typ       schema.Type
		transform schema.Transform
		raw       string
	}{
		{"NaN", schema.TypeFloat, schema.Transform{RawType: "FLOAT32"}, "7f c0 00 00"},
		{"infinite", schema.TypeFloat, schema.Transform{RawType: "FLOAT64"}, "7f f0 00 00 00 00 00 00"},
		{"too short", schema.TypeInt, schema.Transform{RawType: "INT32"}, "00 01"},
		{"above INT", schema.TypeInt, schema.Transform{RawType: "UINT64"}, "ff ff ff ff ff ff ff ff"},
		{"three bytes", schema.TypeInt, schema.Transform{}, "00 00 01"},
		{"odd with words", schema.TypeBytes, schema.Transform{WordOrder: little}, "00 00 01"},
		{"not in the mapping", schema.TypeString, schema.Transform{Mapping: []schema.Mapping{{Raw: "0", Value: "closed"}}}, "07"},
		{"no UTF-8", schema.TypeString, schema.Transform{}, "e4 f6"},
		{"nothing", schema.TypeString, schema.Transform{}, ""},
	} {
		t.Run("decode "+tt.name, func(t *testing.T) {
			if got, err := newTransform(t, tt.typ, tt.transform, "").Decode(unhex(t, tt.raw)); err == nil {
				t.Errorf("%s was decoded as %q", tt.raw, got)
			}
		})
	}
}

// TestTransformErrors has each contradiction in a model be an error that names the field.
func TestTransformErrors(t *testing.T) {
	for field, s := range map[string]schema.Transform{
		"rawType": {RawType: "INT12"}, "mask": {Mask: "0xzz"}, "shift": {Shift: 64}, "scale": {Scale: "0"}, "offset": {Offset: "1/3"},
		"mask: a FLOAT32": {RawType: "FLOAT32", Mask: "1"},
		"mapping":         {Mapping: []schema.Mapping{{Raw: "1", Value: "1"}, {Raw: "1.0", Value: "2"}}},
		"mapping: value":  {Mapping: []schema.Mapping{{Raw: "1", Value: "1"}, {Raw: "2", Value: "1"}}},
	} {
		_, err := device.NewTransform(&schema.ModelProperty{Type: schema.TypeInt, Transform: &s}, nil)
		if err == nil || !strings.Contains(err.Error(), "transform."+field) {
			t.Errorf("%s: got %v", field, err)
		}
	}
}

// TestTransformInverse has random transforms: each raw integer becomes a value that becomes the
// same bytes again.
func TestTransformInverse(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	orders := []schema.Order{"", schema.BigEndian, little}
	raws := []schema.RawType{"INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "INT64", "FLOAT32", "FLOAT64"}
	for range 20_000 {
		s := schema.Transform{RawType: raws[random.IntN(len(raws))], ByteOrder: orders[random.IntN(3)], WordOrder: orders[random.IntN(3)]}
		wide := s.RawType == "INT64" || s.RawType == "FLOAT64" // a scale does not keep all of 64 bits
		if random.IntN(2) == 0 && !wide {
			s.Scale = []string{"0.1", "0.01", "2.5", "-4", "1e-3"}[random.IntN(5)]
			s.Offset = []string{"", "-273.15", "7"}[random.IntN(3)]
		}
		tr := newTransform(t, schema.TypeDouble, s, "")
		raw := make([]byte, tr.Size())
		for i := range raw {
			raw[i] = byte(random.Uint32())
		}
		value, err := tr.Decode(raw)
		if err != nil {
			continue // not a number
		}
		back, err := tr.Encode(value, raw)
		if s.RawType == "FLOAT32" || s.RawType == "FLOAT64" {
			if again, err2 := tr.Decode(back); err != nil || err2 != nil || !near(again, value) {
				t.Fatalf("%+v: % x is %s, which is % x, %v: %s", s, raw, value, back, err, again)
			}
			continue
		}
		if err != nil || string(back) != string(raw) {
			t.Fatalf("%+v: % x is %s, which is % x, %v", s, raw, value, back, err)
		}
	}
}

// near reports whether two numbers differ by less than a float32 can tell.
func near(a, b string) bool {
	x, err1 := strconv.ParseFloat(a, 64)
	y, err2 := strconv.ParseFloat(b, 64)
	return err1 == nil && err2 == nil && math.Abs(x-y) <= 1e-5*max(1, math.Abs(x))+273.15*1e-6
}

// FuzzTransform looks for bytes and text on which a transform panics, or which it does not
// give back.
func FuzzTransform(f *testing.F) {
	f.Add("INT16", "0.1", "-3", uint64(0), uint8(0), []byte{1, 2}, "21.5")
	f.Add("UINT8", "", "", uint64(15), uint8(2), []byte{255}, "1e308")
	f.Add("FLOAT64", "1e99", "1e-99", uint64(0), uint8(0), []byte{255, 255, 1, 1, 1, 1, 1, 1}, "-0")
	f.Fuzz(func(_ *testing.T, raw, scale, offset string, mask uint64, shift uint8, data []byte, text string) {
		s := schema.Transform{RawType: schema.RawType(raw), Scale: scale, Offset: offset, Shift: int(shift)}
		if mask != 0 {
			s.Mask = strconv.FormatUint(mask, 10)
		}
		for _, typ := range []schema.Type{schema.TypeInt, schema.TypeFloat, schema.TypeString, schema.TypeBoolean, schema.TypeBytes} {
			tr, err := device.NewTransform(&schema.ModelProperty{Type: typ, Transform: &s}, nil)
			if err != nil {
				return
			}
			_, _ = tr.Decode(data)
			_, _ = tr.DecodeText(text)
			_, _ = tr.Encode(text, data)
			_, _ = tr.EncodeText(text, text)
		}
	})
}
