package dra

import (
	"context"
	"log/slog"
	"reflect"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	drapb "k8s.io/kubelet/pkg/apis/dra/v1"

	"github.com/edgekit/edgekit/hub/decodetest"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
)

func wire(t *testing.T, m proto.Message) []byte {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestWire holds the messages to the generated ones.
func TestWire(t *testing.T) {
	r := record{Namespace: "ns", Name: "gpu", UID: "u"}
	want := &drapb.NodePrepareResourcesRequest{Claims: []*drapb.Claim{{Namespace: "ns", Uid: "u", Name: "gpu"}}}
	got := &drapb.NodePrepareResourcesRequest{}
	if err := proto.Unmarshal(claimsRequest(r), got); err != nil || !proto.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	entry, err := readEntry("op", wire(t, &drapb.NodePrepareResourcesResponse{Claims: map[string]*drapb.NodePrepareResourceResponse{"u": {Devices: []*drapb.Device{
		{RequestNames: []string{"a", "b"}, PoolName: "p", DeviceName: "d", CdiDeviceIds: []string{"v/c=1", "v/c=2"}, ShareId: new("s")}, {PoolName: "p", DeviceName: "e"},
	}}}}), r)
	if err != nil {
		t.Fatal(err)
	}
	devices, err := readDevices("op", entry, r)
	if err != nil || !reflect.DeepEqual(devices, []Device{
		{Pool: "p", Name: "d", ShareID: "s", Requests: []string{"a", "b"}, CDI: []string{"v/c=1", "v/c=2"}}, {Pool: "p", Name: "e", Requests: []string{}, CDI: []string{}},
	}) {
		t.Errorf("%+v, %v", devices, err)
	}
	entry, err = readEntry("op", wire(t, &drapb.NodeUnprepareResourcesResponse{Claims: map[string]*drapb.NodeUnprepareResourceResponse{"u": nil}}), r)
	if err != nil || failure("op", entry, 1, r) != nil {
		t.Errorf("an entry that is nil: %v, %v", err, failure("op", entry, 1, r))
	}
}

// TestRecord comes back from the store as it was.
func TestRecord(t *testing.T) {
	store := memstore.New()
	defer store.Close()
	want := record{
		Namespace: "ns", Name: "gpu", UID: "u", Pods: []string{"a", "b"}, Prepared: true,
		Drivers: []driverRecord{{Name: "d", SkipUnprepare: true, Devices: []Device{{Pool: "p", Name: "d", ShareID: "s", Requests: []string{"r"}, CDI: []string{"v/c=1"}}}}},
	}
	if err := writeRecord(t.Context(), store, want); err != nil {
		t.Fatal(err)
	}
	if got, err := readRecords(t.Context(), store, slog.New(slog.DiscardHandler)); err != nil || !reflect.DeepEqual(got, []record{want}) {
		t.Errorf("%+v, %v", got, err)
	}
	if err := writeRecord(t.Context(), store, want.without("a").without("b")); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Get(t.Context(), "local/dra/claims/u"); err == nil || !slices.Equal(want.Pods, []string{"a", "b"}) {
		t.Errorf("%v, pods %q", err, want.Pods)
	}
	large := want
	large.Name = string(make([]byte, meta.MaxValue))
	if err := writeRecord(context.WithoutCancel(t.Context()), store, large); err == nil {
		t.Error("no error for a record that is too large")
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte("\x0a\x0d\x0a\x01u\x12\x08\x0a\x06\x12\x01p\x1a\x01d"))
	f.Fuzz(func(_ *testing.T, b []byte) { decodeAnswer(b) })
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"namespace":"ns","name":"gpu","uid":"u","pods":["a"],"drivers":[{"name":"d","devices":[{"pool":"p","name":"d","cdi":["x"]}]}],"prepared":true}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := decodeRecord(b); err == nil && (r.UID == "" || len(r.Pods) == 0) {
			t.Errorf("%+v", r)
		}
	})
}

func decodeAnswer(b []byte) {
	r := record{UID: "u"}
	entry, err := readEntry("op", b, r)
	if err != nil {
		entry = b
	}
	_, _ = readDevices("op", entry, r)
	_ = failure("op", entry, 1, r)
}

// TestAttackDecoders searches for the answers of a driver that cost most.
func TestAttackDecoders(t *testing.T) {
	decodetest.Search(t, decodetest.Case{Name: "dra_devices", Decode: decodeAnswer, Units: []string{
		"\x0a\x00", "\x0a\x06\x12\x01p\x1a\x01d", "\x0a\x08\x12\x01p\x1a\x01d\x0a\x00", "\x0a\x0a\x12\x01p\x1a\x01d\x22\x00\x22\x00", "\x0a\x0e\x12\x01p\x1a\x01d\x22\x00\x22\x00\x22\x00\x22\x00",
	}})
}
