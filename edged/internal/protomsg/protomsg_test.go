package protomsg_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/edgekit/edgekit/edged/internal/protomsg"
)

// TestMessage reads what was written, and nothing of what was left out.
func TestMessage(t *testing.T) {
	var m, part protomsg.Message
	part.Text(1, "deep")
	m.Text(1, "a")
	m.Text(2, "")
	m.Number(3, -1)
	m.Bool(4, true)
	m.Bool(5, false)
	m.Part(6, part)
	m.Part(7, nil)
	m.Pairs(8, map[string]string{"k": "v", "a": ""})
	m = append(m, 0x4d, 1, 2, 3, 4) // a fixed32, which none of these messages has
	var got []string
	err := protomsg.EachField(m, func(f protomsg.Field) error {
		got = append(got, fmt.Sprintf("%d:%q:%d", f.Number, f.Bytes, f.Value))
		return nil
	})
	if text := fmt.Sprint(got); err != nil || text != `[1:"a":0 3:"":-1 4:"":1 6:"\n\x04deep":0 7:"":0 8:"\n\x01a":0 8:"\n\x01k\x12\x01v":0]` {
		t.Errorf("%s, %v", text, err)
	}
	for _, bad := range [][]byte{{0}, {0x0a}, {0x0a, 5, 'x'}, {0x08}, {0x4d, 1}} {
		if err := protomsg.EachField(bad, func(protomsg.Field) error { return nil }); !errors.Is(err, protomsg.ErrWire) {
			t.Errorf("%x: %v", bad, err)
		}
	}
	stop := errors.New("stop")
	if err := protomsg.EachField(m, func(protomsg.Field) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
}

func FuzzEachField(f *testing.F) {
	f.Add([]byte{0x0a, 0x01, 'n', 0x10, 0x07, 0x1a, 0x02, 0x0a, 0x00})
	f.Fuzz(func(t *testing.T, b []byte) {
		err := protomsg.EachField(b, func(f protomsg.Field) error {
			if len(f.Bytes) > 0 && !bytes.Contains(b, f.Bytes) {
				t.Errorf("%x is not in %x", f.Bytes, b)
			}
			return nil
		})
		if err != nil && !errors.Is(err, protomsg.ErrWire) {
			t.Error(err)
		}
	})
}
