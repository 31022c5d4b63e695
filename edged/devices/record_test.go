package devices

import (
	"bytes"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/edged/internal/deviceapi"
	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/hub/decodetest"
)

// record is what the store keeps of a pod with two grants, and one that is only reserved.
func record() []byte {
	edits := &Edits{
		Env: map[string]string{"A": "1"}, Mounts: []runtime.Mount{{ContainerPath: "/c", HostPath: "/h", ReadOnly: true}}, Devices: []runtime.Device{{ContainerPath: "/dev/c", HostPath: "/dev/h", Permissions: "rw"}},
		Annotations: map[string]string{"k": "v"}, CDIDevices: []string{"vendor.example/widget=a"},
	}
	p := &podState{grants: []*grant{
		{container: "c", resource: "vendor.example/widget", devices: []Device{{ID: "a", Healthy: true, Nodes: 5}}, edits: edits},
		{container: "d", resource: "vendor.example/widget", devices: []Device{{ID: "b"}}, edits: &Edits{}},
		{container: "e", resource: "vendor.example/widget", devices: []Device{{ID: "d"}}},
	}}
	return p.encode()
}

func TestRecord(t *testing.T) {
	p, err := decodePod(record())
	if err != nil || len(p.grants) != 2 || p.grants[0].devices[0] != (Device{ID: "a", Healthy: true, Nodes: 5}) || p.grants[0].confirmed {
		t.Fatalf("%+v, %v", p, err)
	}
	if again := p.encode(); !bytes.Equal(again, record()) {
		t.Errorf("%x, want %x", again, record())
	}
	for name, tt := range map[string]struct {
		data []byte
		want string
	}{
		"nothing":        {nil, "format 0"},
		"another format": {[]byte{8, 2}, "format 2"},
		"no message":     {[]byte("nonsense"), "no message"},
		"an empty grant": {[]byte{8, 1, 0x12, 0}, "a grant without"},
		"many grants":    {append([]byte{8, 1}, bytes.Repeat(record()[2:], maxGrants)...), "more than"},
		"cut":            {record()[:20], "no message"},
	} {
		if _, err := decodePod(tt.data); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
	names := []string{"vendor.example/a", "vendor.example/b"}
	if got, err := decodeNames(encodeNames(names)); err != nil || strings.Join(got, " ") != strings.Join(names, " ") {
		t.Errorf("%q, %v", got, err)
	}
}

// FuzzRecord reads any bytes as a record; what can be read is written and read again alike.
func FuzzRecord(f *testing.F) {
	f.Add(record())
	f.Add([]byte{8, 1})
	f.Add([]byte{8, 1, 0x12, 2, 0x1a, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = decodeNames(data)
		p, err := decodePod(data)
		if err != nil {
			return
		}
		first := p.encode()
		again, err := decodePod(first)
		if err != nil || !bytes.Equal(again.encode(), first) {
			t.Errorf("%x: %v", first, err)
		}
	})
}

func TestAttackRecord(t *testing.T) {
	one := deviceapi.EncodeDevices([]Device{{ID: "a"}})
	decodetest.Search(t, decodetest.Case{
		Name: "device record", Decode: func(b []byte) { _, _ = decodePod(b) }, Before: "\x08\x01",
		Units: []string{"\x12\x00", string(record()[2:]), "\x12" + string(rune(len(one)+2)) + "\x1a" + string(rune(len(one))) + string(one)},
	}, decodetest.Case{Name: "resource names", Decode: func(b []byte) { _, _ = decodeNames(b) }, Units: []string{"\x12\x03a/b", "\x12\x00"}})
}
