package deviceapi_test

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/edgekit/edgekit/edged/internal/deviceapi"
	"github.com/edgekit/edgekit/edged/internal/protomsg"
	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/hub/decodetest"
)

func devices() []deviceapi.Device {
	return []deviceapi.Device{{ID: "a", Healthy: true, Nodes: 0b101}, {ID: "b"}, {ID: "c", Healthy: true, Nodes: 1 << 63}}
}

func edits() deviceapi.Edits {
	return deviceapi.Edits{
		Env: map[string]string{"A": "1", "B": ""}, Mounts: []runtime.Mount{{ContainerPath: "/c", HostPath: "/h", ReadOnly: true}, {ContainerPath: "/d", HostPath: "/h"}},
		Devices: []runtime.Device{{ContainerPath: "/dev/c", HostPath: "/dev/h", Permissions: "rw"}}, Annotations: map[string]string{"k": "v"},
		CDIDevices: []string{"vendor.example/widget=a", "vendor.example/widget=b"},
	}
}

// TestMessages compares each message with that of the generated package, both ways.
func TestMessages(t *testing.T) {
	for name, tt := range map[string]struct {
		ours protomsg.Message
		as   proto.Message
		read func([]byte) (any, error)
		want any
	}{
		"RegisterRequest": {
			deviceapi.Registration{Version: "v1beta1", Endpoint: "e.sock", Resource: "v/r", Options: deviceapi.Options{PreStartRequired: true}}.Encode(), &api.RegisterRequest{},
			func(b []byte) (any, error) { return deviceapi.ReadRegistration(b) },
			deviceapi.Registration{Version: "v1beta1", Endpoint: "e.sock", Resource: "v/r", Options: deviceapi.Options{PreStartRequired: true}},
		},
		"DevicePluginOptions": {
			deviceapi.Options{PreferredAllocation: true}.Encode(), &api.DevicePluginOptions{},
			func(b []byte) (any, error) { return deviceapi.ReadOptions(b) }, deviceapi.Options{PreferredAllocation: true},
		},
		"ListAndWatchResponse": {
			deviceapi.EncodeDevices(devices()), &api.ListAndWatchResponse{},
			func(b []byte) (any, error) { list, _, err := deviceapi.ReadDevices(b); return list, err }, devices(),
		},
		"AllocateRequest": {
			deviceapi.In(deviceapi.EncodeIDs([]string{"a", "b"})), &api.AllocateRequest{}, readIn(func(b []byte) (any, error) { return deviceapi.ReadIDs(b) }), []string{"a", "b"},
		},
		"PreStartContainerRequest": {
			deviceapi.EncodeIDs([]string{"a", "b"}), &api.PreStartContainerRequest{}, func(b []byte) (any, error) { return deviceapi.ReadIDs(b) }, []string{"a", "b"},
		},
		"PreferredAllocationResponse": {
			deviceapi.In(deviceapi.EncodeIDs([]string{"a"})), &api.PreferredAllocationResponse{}, readIn(func(b []byte) (any, error) { return deviceapi.ReadIDs(b) }), []string{"a"},
		},
		"PreferredAllocationRequest": {
			deviceapi.In(deviceapi.Preference{Available: []string{"a", "b"}, Must: []string{"b"}, Size: 2}.Encode()), &api.PreferredAllocationRequest{},
			readIn(func(b []byte) (any, error) { return deviceapi.ReadPreference(b) }), deviceapi.Preference{Available: []string{"a", "b"}, Must: []string{"b"}, Size: 2},
		},
		"AllocateResponse": {
			deviceapi.In(edits().Encode()), &api.AllocateResponse{}, readIn(func(b []byte) (any, error) { return deviceapi.ReadEdits(b) }), edits(),
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := proto.Unmarshal(tt.ours, tt.as); err != nil {
				t.Fatal(err)
			}
			if n := len(tt.as.ProtoReflect().GetUnknown()); n > 0 {
				t.Errorf("%d bytes are unknown to the generated package", n)
			}
			theirs, err := proto.MarshalOptions{Deterministic: true}.Marshal(tt.as)
			if err != nil {
				t.Fatal(err)
			}
			got, err := tt.read(theirs)
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%+v, %v; want %+v", got, err, tt.want)
			}
			again, err := tt.read(tt.ours)
			if err != nil || !reflect.DeepEqual(again, tt.want) {
				t.Errorf("%+v, %v; want %+v", again, err, tt.want)
			}
		})
	}
}

func readIn(read func([]byte) (any, error)) func([]byte) (any, error) {
	return func(b []byte) (any, error) {
		one, err := deviceapi.First(b)
		if err != nil {
			return nil, err
		}
		return read(one)
	}
}

// TestLies reads what no honest plugin sends.
func TestLies(t *testing.T) {
	long := strings.Repeat("x", deviceapi.MaxID+1)
	list, bad, err := deviceapi.ReadDevices(deviceapi.EncodeDevices([]deviceapi.Device{{ID: ""}, {ID: long}, {ID: "a"}, {ID: "a", Healthy: true}}))
	if err != nil || bad != 2 || len(list) != 2 {
		t.Errorf("%+v, %d, %v", list, bad, err)
	}
	if _, _, err := deviceapi.ReadDevices(bytes.Repeat([]byte{0x0a, 0}, deviceapi.MaxDevices+1)); !errors.Is(err, deviceapi.ErrDevices) {
		t.Errorf("too many: %v", err)
	}
	var far, node protomsg.Message
	for _, n := range []int64{-1, 64, 1 << 40, 3} {
		var one protomsg.Message
		one.Number(1, n)
		far.Part(1, one)
	}
	node.Text(1, "a")
	node.Part(3, far)
	if list, _, err := deviceapi.ReadDevices(deviceapi.In(node)); err != nil || list[0].Nodes != 8 {
		t.Errorf("nodes: %+v, %v", list, err)
	}
	many := deviceapi.Edits{}
	for i := range 4097 {
		many.CDIDevices = append(many.CDIDevices, fmt.Sprint(i))
	}
	huge := deviceapi.Edits{Env: map[string]string{"A": strings.Repeat("x", deviceapi.MaxEdits)}}
	for name, e := range map[string]deviceapi.Edits{"many": many, "huge": huge} {
		if _, err := deviceapi.ReadEdits(e.Encode()); !errors.Is(err, deviceapi.ErrEdits) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := deviceapi.First(nil); !errors.Is(err, deviceapi.ErrNoAnswer) {
		t.Errorf("%v", err)
	}
	if e, err := deviceapi.ReadEdits([]byte{0x0a, 0, 0x12, 0, 0x1a, 0, 0x22, 0, 0x2a, 0}); err != nil || len(e.Env)+len(e.Mounts)+len(e.Devices)+len(e.Annotations)+len(e.CDIDevices) > 0 {
		t.Errorf("entries that name nothing: %+v, %v", e, err)
	}
}

func FuzzMessages(f *testing.F) {
	f.Add([]byte(deviceapi.EncodeDevices(devices())))
	f.Add([]byte(deviceapi.In(edits().Encode())))
	f.Add([]byte(deviceapi.Registration{Version: "v1beta1", Endpoint: "e", Resource: "v/r"}.Encode()))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = deviceapi.ReadRegistration(data)
		_, _ = deviceapi.ReadPreference(data)
		_, _ = deviceapi.ReadIDs(data)
		if list, _, err := deviceapi.ReadDevices(data); err == nil {
			if again, bad, err := deviceapi.ReadDevices(deviceapi.EncodeDevices(list)); err != nil || bad > 0 || len(again) != len(list) {
				t.Errorf("%+v, %d, %v; want %+v", again, bad, err, list)
			}
		}
		if e, err := deviceapi.ReadEdits(data); err == nil {
			if again, err := deviceapi.ReadEdits(e.Encode()); err != nil || !bytes.Equal(again.Encode(), e.Encode()) {
				t.Errorf("%+v, %v; want %+v", again, err, e)
			}
		}
	})
}

func TestAttackMessages(t *testing.T) {
	decodetest.Search(t,
		decodetest.Case{Name: "device list", Decode: func(b []byte) { _, _, _ = deviceapi.ReadDevices(b) }, Units: []string{"\x0a\x00", "\x0a\x03\x0a\x01a", "\x0a\x07\x0a\x01a\x1a\x02\x0a\x00"}},
		decodetest.Case{Name: "device edits", Decode: func(b []byte) { _, _ = deviceapi.ReadEdits(b) }, Units: []string{
			"\x0a\x03\x0a\x01a", "\x12\x06\x0a\x01a\x12\x01b", "\x1a\x06\x0a\x01a\x12\x01b", "\x22\x03\x0a\x01a", "\x2a\x03\x0a\x01a", "\x12\x00",
		}},
		decodetest.Case{Name: "device ids", Decode: func(b []byte) { _, _ = deviceapi.ReadIDs(b) }, Units: []string{"\x0a\x01a"}},
		decodetest.Case{Name: "device registration", Decode: func(b []byte) { _, _ = deviceapi.ReadRegistration(b) }, Units: []string{"\x0a\x01a", "\x22\x02\x08\x01"}},
	)
}
