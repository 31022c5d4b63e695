package volume

import (
	"bytes"
	"slices"
	"testing"
)

func TestParseMountInfo(t *testing.T) {
	text := "36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 - ext3 /dev/root rw\n37 36 0:5 / /a\\134b rw - tmpfs tmpfs rw\n"
	got, err := parseMountInfo(bytes.NewReader([]byte(text)))
	if want := []mountPoint{{"/mnt 2", "ext3"}, {`/a\b`, "tmpfs"}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzParseMountInfo(f *testing.F) {
	f.Add([]byte("36 35 98:0 /mnt1 /mnt\\0402 rw\n"))
	f.Add([]byte("a b c d \\07"))
	f.Fuzz(func(_ *testing.T, b []byte) { parseMountInfo(bytes.NewReader(b)) })
}
