package compress

import (
	"bytes"
	"errors"
	"runtime"
	"strings"
	"testing"
)

func TestKinds(t *testing.T) {
	text := []byte(strings.Repeat("a line of a log, and one more\n", 1000))
	for _, kind := range []Kind{"", None, Zstd, Gzip} {
		packed, err := Encode(kind, text)
		if err != nil {
			t.Fatal(err)
		}
		if kind != None && kind != "" && len(packed) > len(text)/20 {
			t.Errorf("%s: %d of %d bytes", kind, len(packed), len(text))
		}
		if got, err := Decode(kind, packed, len(text)); err != nil || !bytes.Equal(got, text) {
			t.Errorf("%s: %d bytes, %v", kind, len(got), err)
		}
		if _, err := Decode(kind, packed, len(text)-1); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: over the limit: %v", kind, err)
		}
		if kind == Zstd || kind == Gzip {
			if _, err := Decode(kind, packed[:len(packed)-3], len(text)); err == nil {
				t.Errorf("%s: torn content was taken", kind)
			}
		}
	}
	if _, err := Parse("lz4"); err == nil || !strings.Contains(err.Error(), "zstd, gzip or none") {
		t.Error(err)
	}
	for _, f := range []func() error{
		func() error { _, err := Encode("lz4", nil); return err }, func() error { _, err := Decode("lz4", nil, 1); return err },
	} {
		if f() == nil {
			t.Error("an unknown kind was taken")
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, kind := range []Kind{Zstd, Gzip} {
		packed, _ := Encode(kind, []byte("some text, some text, some text"))
		f.Add(string(kind), packed)
	}
	f.Fuzz(func(t *testing.T, kind string, b []byte) {
		if out, err := Decode(Kind(kind), b, 1<<16); err == nil && len(out) > 1<<16 {
			t.Errorf("%d bytes", len(out))
		}
	})
}

// TestAttackDecode unpacks bombs: a megabyte of zeros many times over takes no more than the
// stated bound of memory.
func TestAttackDecode(t *testing.T) {
	zeros := make([]byte, 256<<20)
	for _, kind := range []Kind{Zstd, Gzip} {
		bomb, err := Encode(kind, zeros)
		if err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err = Decode(kind, bomb, 1<<20)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v", kind, err)
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > 4*MaxDecoded {
			t.Errorf("%s: %d bytes of %d allocate %d", kind, len(bomb), len(zeros), got)
		}
	}
}
