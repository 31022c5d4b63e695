package codec

import (
	"bytes"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// allocated is how many bytes f allocates.
func allocated(f func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}

// TestAttackDecoders feeds each decoder what takes the most memory for its length. It may take
// 20 bytes for each, or refuse.
func TestAttackDecoders(t *testing.T) {
	const size = 1 << 20
	fill := func(before, each, after string) []byte {
		return []byte(before + strings.Repeat(each, (size-len(before)-len(after))/len(each)) + after)
	}
	indexed := func(before, each, after string) []byte { // names that differ
		b := bytes.NewBufferString(before)
		for i := 0; b.Len() < size; i++ {
			b.WriteString(strings.ReplaceAll(each, "#", string(rune('a'+i%26))+string(rune('a'+i/26%26))+string(rune('a'+i/676%26))+string(rune('a'+i/17576%26))))
		}
		return append(b.Bytes(), after...)
	}
	proto := newReading(t)
	repeated := func(number protowire.Number, body []byte) []byte {
		one := protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), body)
		return bytes.Repeat(one, size/len(one))
	}
	csvOf := func(spec *v1alpha1.CSVFormat) pipeline.Decoder {
		d, err := New(&v1alpha1.Decode{Format: FormatCSV, CSV: spec})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	columns := make([]string, 256)
	for i := range columns {
		columns[i] = strings.Repeat("x", i+1)
	}
	for name, c := range map[string]struct {
		d  pipeline.Decoder
		in []byte
	}{
		"json empty maps":          {&JSON{}, fill("[{}", ",{}", "]")},
		"json maps of one":         {&JSON{}, fill(`[{"a":1}`, `,{"a":1}`, "]")},
		"json maps in maps":        {&JSON{}, []byte("[" + strings.Repeat(strings.Repeat(`{"a":`, 60)+"1"+strings.Repeat("}", 60)+",", 2000) + "1]")},
		"json empty lists":         {&JSON{}, fill("[[]", ",[]", "]")},
		"json lists of one":        {&JSON{}, fill("[[0]", ",[0]", "]")},
		"json digits":              {&JSON{}, fill("[1", ",1", "]")},
		"json names":               {&JSON{}, indexed(`{"a":0`, `,"#":0`, "}")},
		"json wrong text":          {&JSON{}, fill(`"`, "\xff", `"`)},
		"json escapes":             {&JSON{}, fill(`"`, `\n`, `"`)},
		"json wrong texts":         {&JSON{}, fill("[\"\xff\"", ",\"\xff\"", "]")},
		"json escaped names":       {&JSON{}, fill(`{"\n":0`, `,"\n":0`, "}")},
		"json empty texts":         {&JSON{}, fill(`[""`, `,""`, "]")},
		"json ordinary":            {&JSON{}, fill("["+string(sample), ","+string(sample), "]")},
		"cbor empty maps":          {&CBOR{}, fill("\x9f", "\xa0", "\xff")},
		"cbor maps of one":         {&CBOR{}, fill("\x9f", "\xa1\x61a\x00", "\xff")},
		"cbor empty lists":         {&CBOR{}, fill("\x9f", "\x80", "\xff")},
		"cbor digits":              {&CBOR{}, fill("\x9f", "\x00", "\xff")},
		"cbor known length":        {&CBOR{}, fill("\x9a\x00\x0f\xff\xfb", "\x00", "")},
		"cbor large length":        {&CBOR{}, fill("\x9a\x00\x0f\xff\xfb", "\xff", "")},
		"cbor lengths in lengths":  {&CBOR{}, fill("", "\x9a\x00\x0f\x00\x00", "")},
		"cbor parts":               {&CBOR{}, fill("\x5f", "\x41a", "\xff")},
		"cbor empty parts":         {&CBOR{}, fill("\x5f", "\x40", "\xff")},
		"cbor empty texts":         {&CBOR{}, fill("\x9f", "\x60", "\xff")},
		"cbor number keys":         {&CBOR{}, fill("\xbf", "\x19\x01\x00\x00", "\xff")},
		"cbor times":               {&CBOR{}, fill("\x9f", "\xc1\x00", "\xff")},
		"csv empty lines of lists": {csvOf(nil), fill("", "a\n", "")},
		"csv commas":               {csvOf(nil), fill("", ",", "\n")},
		"csv lines of commas":      {csvOf(nil), fill("", ",\n", "")},
		"csv one column":           {csvOf(&v1alpha1.CSVFormat{Columns: []string{"a"}}), fill("", "1\n", "")},
		"csv many columns":         {csvOf(&v1alpha1.CSVFormat{Columns: columns}), fill("", strings.Repeat(",", 255)+"\n", "")},
		"csv header":               {csvOf(&v1alpha1.CSVFormat{Header: true}), fill("", ",", "\n,\n")},
		"csv quotes":               {csvOf(nil), fill("", "\"\"\n", "")},
		"lines":                    {Lines{}, fill("", "\n", "")},
		"text":                     {Text{}, fill("", "a", "")},
		"protobuf empty messages":  {proto, repeated(6, nil)},
		"protobuf child":           {proto, repeated(24, nil)},
		"protobuf places":          {proto, repeated(8, nil)},
		"protobuf counts":          {proto, repeated(7, []byte("\x0a\x00"))},
		"protobuf empty texts":     {proto, repeated(25, nil)},
		"protobuf packed":          {proto, repeated(5, make([]byte, 4096))},
		"protobuf unpacked":        {proto, bytes.Repeat([]byte{0x2d, 0, 0, 0, 0}, size/5)},
		"protobuf durations":       {proto, repeated(10, nil)},
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			n := allocated(func() { _, err = c.d.Decode(c.in) })
			per := float64(n-Free) / float64(len(c.in))
			if per > Multiple*1.05 {
				t.Errorf("%s: %d bytes take %d, %.1f for each; %v", name, len(c.in), n, per, err)
			}
			if strings.HasSuffix(name, "ordinary") && err != nil {
				t.Error(err)
			}
		})
	}
}
