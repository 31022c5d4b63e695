package codec

import (
	"bytes"
	"encoding/csv"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

func TestCSV(t *testing.T) {
	one := func(v ...any) map[string]any { return map[string]any{"a": v[0], "b": v[1]} }
	for _, c := range []struct {
		in   string
		spec *v1alpha1.CSVFormat
		want any
		fail string
	}{
		{"d1,80.5\n", &v1alpha1.CSVFormat{Columns: []string{"a", "b"}}, one("d1", 80.5), ""},
		{"d1,80.5\r\n\"d,2\",-3e2\n", &v1alpha1.CSVFormat{Columns: []string{"a", "b"}}, []any{one("d1", 80.5), one("d,2", -300.0)}, ""},
		{"a,b\n007,x\n", &v1alpha1.CSVFormat{Header: true}, one("007", "x"), ""},
		{"x,y\n1,+2\n", &v1alpha1.CSVFormat{Header: true, Columns: []string{"a", "b"}}, one(1.0, "+2"), ""},
		{"1;;2", &v1alpha1.CSVFormat{Columns: []string{"a", "", "b"}, Separator: ";"}, one(1.0, 2.0), ""},
		{"1,x,9007199254740993", nil, []any{1.0, "x", int64(9007199254740993)}, ""},
		{"a,b\n", &v1alpha1.CSVFormat{Header: true}, []any{}, ""},
		{"", nil, nil, "no record"},
		{"", &v1alpha1.CSVFormat{Header: true}, nil, "no record"},
		{"1,2,3", &v1alpha1.CSVFormat{Columns: []string{"a", "b"}}, nil, "3 fields, there are 2 columns"},
		{"1\n\"2", nil, nil, "line 2: a quoted field has no end"},
		{"-,1-2,1e999,.5", nil, []any{"-", "1-2", "1e999", ".5"}, ""},
	} {
		d, err := New(&v1alpha1.Decode{Format: FormatCSV, CSV: c.spec})
		if err != nil {
			t.Fatal(err)
		}
		got, err := d.Decode([]byte(c.in))
		if c.fail == "" && (err != nil || !reflect.DeepEqual(got, c.want)) || c.fail != "" && (err == nil || !strings.Contains(err.Error(), c.fail)) {
			t.Errorf("%q: %#v, %v; want %#v, %q", c.in, got, err, c.want, c.fail)
		}
	}
}

func TestBinary(t *testing.T) {
	fields := []v1alpha1.BinaryField{
		{Name: "i8", Type: "int8"}, {Name: "u8", Type: "uint8"}, {Name: "i16", Type: "int16"}, {Name: "u16", Type: "uint16"}, {Name: "i32", Type: "int32"}, {Name: "u32", Type: "uint32"},
		{Name: "i64", Type: "int64"}, {Name: "u64", Type: "uint64"}, {Name: "bit0", Type: "bool"}, {Name: "bit7", Type: "bool", Bit: 7, Offset: 7}, {Name: "tenth", Type: "uint8", Offset: 7, Scale: "0.1"}, {Name: "third", Type: "uint8", Offset: 7, Scale: "-2.5"},
	}
	for endian, want := range map[string]map[string]any{
		"big": {"i8": int64(-1), "u8": int64(255), "i16": int64(-2), "u16": int64(0xfffe), "i32": int64(-131072), "u32": int64(0xfffe0000), "i64": int64(-562949953421309), "u64": uint64(0xfffe000000000003),
			"bit0": true, "bit7": false, "tenth": 0.3, "third": -7.5},
		"little": {"i8": int64(-1), "u8": int64(255), "i16": int64(-257), "u16": int64(0xfeff), "i32": int64(0xfeff), "u32": int64(0xfeff), "i64": int64(0x030000000000feff), "u64": int64(0x030000000000feff),
			"bit0": true, "bit7": false, "tenth": 0.3, "third": -7.5},
	} {
		d, err := New(&v1alpha1.Decode{Format: FormatBinary, Binary: &v1alpha1.BinaryFormat{Endian: endian, Fields: fields}})
		if err != nil {
			t.Fatal(err)
		}
		in := []byte{0xff, 0xfe, 0, 0, 0, 0, 0, 3, 99}
		if got, err := d.Decode(in); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, %v; want %v", endian, got, err, want)
		}
		if got, err := d.Decode(in[:7]); err == nil || !strings.Contains(err.Error(), "it has 7 bytes, the layout 8") {
			t.Errorf("too short: %v, %v", got, err)
		}
	}
	d, err := New(&v1alpha1.Decode{Format: FormatBinary, Binary: &v1alpha1.BinaryFormat{Fields: []v1alpha1.BinaryField{{Name: "f", Type: "float32"}, {Name: "d", Type: "float64", Offset: 4, Scale: "10"}}}})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := d.Decode([]byte{0x3f, 0x80, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0}); err != nil || !reflect.DeepEqual(got, map[string]any{"f": 1.0, "d": 20.0}) {
		t.Errorf("floats: %v, %v", got, err)
	}
}

func TestText(t *testing.T) {
	for format, want := range map[string]any{FormatText: "a\r\nb\n\nc", FormatLines: []any{"a", "b", "", "c"}, FormatNone: []byte("a\r\nb\n\nc")} {
		d, err := New(&v1alpha1.Decode{Format: format})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := d.Decode([]byte("a\r\nb\n\nc")); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, %v", format, got, err)
		}
		if got, err := d.Decode([]byte("ab\xffc")); format != FormatNone && (err == nil || !strings.Contains(err.Error(), "byte 2: it is not UTF-8")) {
			t.Errorf("%s: %v, %v", format, got, err)
		}
	}
	if d, err := New(nil); err != nil || reflect.TypeOf(d) != reflect.TypeOf(&JSON{}) {
		t.Errorf("without a spec: %T, %v", d, err)
	}
}

func TestNewRefuses(t *testing.T) {
	field := func(f v1alpha1.BinaryField) *v1alpha1.Decode {
		return &v1alpha1.Decode{Format: FormatBinary, Binary: &v1alpha1.BinaryFormat{Fields: []v1alpha1.BinaryField{{Name: "a", Type: "int8"}, f}}}
	}
	for want, spec := range map[string]*v1alpha1.Decode{
		"decode.format: \"xml\" is not known":              {Format: "xml"},
		"decode.csv.columns[1]: \"a\" is there twice":      {Format: FormatCSV, CSV: &v1alpha1.CSVFormat{Columns: []string{"a", "a"}}},
		"decode.csv.separator: \"\\n\" is not possible":    {Format: FormatCSV, CSV: &v1alpha1.CSVFormat{Separator: "\n"}},
		"decode.csv.separator: \"::\" is not possible":     {Format: FormatCSV, CSV: &v1alpha1.CSVFormat{Separator: "::"}},
		"decode.binary.fields: at least one":               {Format: FormatBinary},
		"decode.binary.endian: \"middle\" is not known":    {Format: FormatBinary, Binary: &v1alpha1.BinaryFormat{Endian: "middle", Fields: []v1alpha1.BinaryField{{Name: "a", Type: "int8"}}}},
		"decode.binary.fields[1].type: \"int7\"":           field(v1alpha1.BinaryField{Name: "b", Type: "int7"}),
		"decode.binary.fields[1].name: \"a\" is empty or":  field(v1alpha1.BinaryField{Name: "a", Type: "int8"}),
		"decode.binary.fields[1].offset: -1":               field(v1alpha1.BinaryField{Name: "b", Type: "int8", Offset: -1}),
		"decode.binary.fields[1].offset: 2147483647":       field(v1alpha1.BinaryField{Name: "b", Type: "int8", Offset: math.MaxInt32}),
		"decode.binary.fields[1].bit: 1":                   field(v1alpha1.BinaryField{Name: "b", Type: "int8", Bit: 1}),
		"decode.binary.fields[1].scale: \"x\"":             field(v1alpha1.BinaryField{Name: "b", Type: "int8", Scale: "x"}),
		"decode.binary.fields[1].scale: a bool has no":     field(v1alpha1.BinaryField{Name: "b", Type: "bool", Scale: "2"}),
		"decode.protobuf.descriptorSet: it is required wi": {Format: FormatProtobuf},
	} {
		if _, err := New(spec); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %s", err, want)
		}
	}
}

// FuzzCSV compares records with those of encoding/csv.
func FuzzCSV(f *testing.F) {
	for _, s := range []string{"a,b\n1,2\n", "\"a\"\"b\",c", "a\n\n\nb", "\xff,\x00", "\"a\r\nb\"\r\n\"\",\"\"\"\"", "a\rb\r", "a,\"\"\n"} {
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, b []byte, header bool) {
		std := csv.NewReader(bytes.NewReader(b))
		std.FieldsPerRecord = -1
		want, werr := std.ReadAll()
		r := csvReader{b: b, separator: ',', left: budgetOf(len(b)), line: 1}
		var got [][]string
		var err error
		for {
			fields, rerr := r.record()
			if err = rerr; err != nil || fields == nil {
				break
			}
			record := []string{}
			for _, f := range fields {
				record = append(record, string(f))
			}
			got = append(got, record)
		}
		if (err == nil) != (werr == nil) || err == nil && !slices.EqualFunc(got, want, slices.Equal) {
			t.Fatalf("%q: %q, %v; encoding/csv: %q, %v", b, got, err, want, werr)
		}
		d, err := New(&v1alpha1.Decode{Format: FormatCSV, CSV: &v1alpha1.CSVFormat{Header: header}})
		if err != nil {
			t.Fatal(err)
		}
		if v, err := d.Decode(b); err == nil {
			if _, err := AppendJSON(nil, v); err != nil {
				t.Errorf("%q: %v", b, err)
			}
		}
	})
}

func FuzzBinary(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4}, "uint16", int32(1), "0.1")
	f.Fuzz(func(t *testing.T, b []byte, kind string, offset int32, scale string) {
		d, err := New(&v1alpha1.Decode{Format: FormatBinary, Binary: &v1alpha1.BinaryFormat{Fields: []v1alpha1.BinaryField{{Name: "a", Type: kind, Offset: offset, Scale: scale}}}})
		if err != nil {
			return
		}
		if v, err := d.Decode(b); err == nil && len(v.(map[string]any)) != 1 {
			t.Errorf("%v", v)
		}
	})
}

func FuzzText(f *testing.F) {
	f.Add([]byte("a\nb"))
	f.Fuzz(func(t *testing.T, b []byte) {
		text, err := Text{}.Decode(b)
		list, lerr := Lines{}.Decode(b)
		if (err == nil) != (lerr == nil) && !strings.Contains(lerr.Error(), "memory") || err == nil && text != string(b) {
			t.Errorf("%q: %v, %v, %v, %v", b, text, err, list, lerr)
		}
	})
}
