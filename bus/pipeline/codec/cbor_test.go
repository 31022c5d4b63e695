package codec

import (
	"encoding/hex"
	"math"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// TestCBOR has examples of RFC 8949, appendix A, and keys and times as this package reads them.
func TestCBOR(t *testing.T) {
	var c CBOR
	for in, want := range map[string]any{
		"00": int64(0), "17": int64(23), "1818": int64(24), "1903e8": int64(1000), "1a000f4240": int64(1000000), "1bffffffffffffffff": uint64(math.MaxUint64),
		"20": int64(-1), "3903e7": int64(-1000), "3bffffffffffffffff": -18446744073709551616.0,
		"f90000": 0.0, "f93c00": 1.0, "f93e00": 1.5, "f97bff": 65504.0, "f90001": 5.960464477539063e-8, "f90400": 0.00006103515625, "f9c400": -4.0, "f97c00": math.Inf(1), "f9fc00": math.Inf(-1),
		"fa47c35000": 100000.0, "fb3ff199999999999a": 1.1, "f4": false, "f5": true, "f6": nil, "f7": nil,
		"4401020304": []byte{1, 2, 3, 4}, "40": []byte{}, "6161": "a", "62c3bc": "ü", "60": "", "83010203": []any{int64(1), int64(2), int64(3)}, "80": []any{}, "a0": map[string]any{},
		"a201020304": map[string]any{"1": int64(2), "3": int64(4)}, "a26161016162820203": map[string]any{"a": int64(1), "b": []any{int64(2), int64(3)}}, "a12100": map[string]any{"-2": int64(0)},
		"5f42010243030405ff": []byte{1, 2, 3, 4, 5}, "7f657374726561646d696e67ff": "streaming", "9fff": []any{}, "9f018202039f0405ffff": []any{int64(1), []any{int64(2), int64(3)}, []any{int64(4), int64(5)}},
		"bf61610161629f0203ffff": map[string]any{"a": int64(1), "b": []any{int64(2), int64(3)}},
		"c11a514b67b0":           "2013-03-21T20:04:00Z", "c1fb41d452d9ec200000": "2013-03-21T20:04:00.5Z", "c074323031332d30332d32315432303a30343a30305a": "2013-03-21T20:04:00Z", "d74401020304": []byte{1, 2, 3, 4},
	} {
		b, err := hex.DecodeString(in)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.Decode(b); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %#v, %v; want %#v", in, got, err, want)
		}
	}
}

func TestCBORRefuses(t *testing.T) {
	var c CBOR
	for in, want := range map[string]string{
		"": "byte 0: it ends", "18": "it ends", "1c": "no item", "1f": "no item", "df": "no item", "ff": "an end without", "f800": "simple value", "e0": "simple value", "0000": "byte 1: there is more",
		"62ff": "longer", "61ff": "UTF-8", "9b7fffffffffffffff": "more elements", "bb7fffffffffffffff": "more entries", "5bffffffffffffffff": "longer", "82": "more elements", "8201": "more elements",
		"a1f500": "key of a map", "a18000": "key of a map", "5f6161ff": "another type", "5f5f4101ffff": "another type", "c16161": "time", "c1fb7ff8000000000000": "time", "c11bffffffffffffffff": "time", "a16161": "it ends",
	} {
		b, _ := hex.DecodeString(in)
		if got, err := c.Decode(b); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %#v, %v; want %s", in, got, err, want)
		}
	}
	if _, err := c.Decode([]byte(strings.Repeat("\x81", 1000) + "\x00")); err == nil || !strings.Contains(err.Error(), "64 levels") {
		t.Errorf("deep: %v", err)
	}
	if _, err := c.Decode([]byte(strings.Repeat("\xd7", 1000) + "\x00")); err == nil || !strings.Contains(err.Error(), "64 levels") {
		t.Errorf("deep in tags: %v", err)
	}
}

// plain brings what fxamacker/cbor decodes to the types of this package; false if the two
// differ on purpose.
func plain(v any) (any, bool) {
	switch v := v.(type) {
	case uint64:
		if v <= math.MaxInt64 {
			return int64(v), true
		}
	case []any:
		for i := range v {
			e, ok := plain(v[i])
			if !ok {
				return nil, false
			}
			v[i] = e
		}
	case map[any]any:
		m := map[string]any{}
		for k, e := range v {
			name, ok := k.(string)
			if !ok {
				return nil, false
			}
			if m[name], ok = plain(e); !ok {
				return nil, false
			}
		}
		return m, true
	case cbor.Tag, cbor.SimpleValue, time.Time, big.Int, *big.Int:
		return nil, false
	case float64:
		return v, !math.IsNaN(v)
	}
	return v, true
}

func FuzzCBOR(f *testing.F) {
	for _, s := range []string{"a26161016162820203", "bf61610161629f0203ffff", "c11a514b67b0", "f97c00", "7f657374726561646d696e67ff", "bf61629fe3ff61610161629f0203ffff"} {
		b, _ := hex.DecodeString(s)
		f.Add(b)
	}
	// fxamacker refuses a key that comes twice, whose first value it would hide from the comparison.
	mode, err := cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF, IntDec: cbor.IntDecConvertNone, BigIntDec: cbor.BigIntDecodePointer, MaxNestedLevels: 64}.DecMode()
	if err != nil {
		f.Fatal(err)
	}
	var c CBOR
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := c.Decode(b)
		var ref any
		if rerr := mode.Unmarshal(b, &ref); rerr != nil {
			return // that one is stricter with tags
		}
		want, same := plain(ref)
		if err == nil && same && !reflect.DeepEqual(got, want) {
			t.Fatalf("%x: %#v, fxamacker: %#v", b, got, want)
		}
		var limit *LimitError
		if err != nil && same && !asLimit(err, &limit) {
			t.Fatalf("%x: %v, fxamacker: %#v", b, err, want)
		}
		if err == nil {
			if _, err := AppendJSON(nil, got); err != nil && !strings.Contains(err.Error(), "JSON has no number") {
				t.Fatalf("%x: %v", b, err)
			}
			out, err := AppendCBOR(nil, got)
			if err != nil {
				t.Fatalf("%x: %v", b, err)
			}
			if again, err := c.Decode(out); err != nil || same && !reflect.DeepEqual(again, got) {
				t.Fatalf("%x: again %#v, %v; want %#v", b, again, err, got)
			}
		}
	})
}

func BenchmarkCBOR(b *testing.B) {
	var j JSON
	v, err := j.Decode(sample)
	if err != nil {
		b.Fatal(err)
	}
	in, err := AppendCBOR(nil, v)
	if err != nil {
		b.Fatal(err)
	}
	var c CBOR
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		if _, err := c.Decode(in); err != nil {
			b.Fatal(err)
		}
	}
}
