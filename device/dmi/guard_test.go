package dmi

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/edgekit/edgekit/device/dmi/internal/socket"
	"github.com/edgekit/edgekit/device/dmi/v1beta1"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
)

// newManager makes a Manager that knows its devices: there are none.
func newManager(t *testing.T) *Manager {
	t.Helper()
	store := memstore.New()
	engine, err := twin.New(twin.Config{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	m, err := New(Config{Engine: engine, Store: store, Socket: "/unused.sock"})
	if err != nil {
		t.Fatal(err)
	}
	close(m.loaded)
	return m
}

// TestGuard has a call panic: it alone fails, with a status that says nothing of edgecore.
func TestGuard(t *testing.T) {
	m := newManager(t)
	info := &grpc.UnaryServerInfo{FullMethod: "/v1beta1.DeviceManagerService/ReportDeviceStatus"}
	answer, err := m.guard(t.Context(), nil, info, func(context.Context, any) (any, error) { panic("secret detail") })
	if answer != nil || status.Code(err) != codes.Internal || strings.Contains(err.Error(), "secret") {
		t.Errorf("after a panic: got %v, %v; want INTERNAL without the panic's text", answer, err)
	}
	answer, err = m.guard(t.Context(), "request", info, func(_ context.Context, r any) (any, error) { return r, nil })
	if answer != "request" || err != nil {
		t.Errorf("the next call: got %v, %v", answer, err)
	}
}

// TestPeerCheck has processes of several users at the socket of a mapper that a user registered.
func TestPeerCheck(t *testing.T) {
	for name, c := range map[string]struct {
		registered int64
		peer       socket.Peer
		refused    bool
	}{
		"same user":               {1000, socket.Peer{Known: true, UID: 1000}, false},
		"root":                    {1000, socket.Peer{Known: true, UID: 0}, false},
		"another user":            {1000, socket.Peer{Known: true, UID: 1001}, true},
		"a user for root":         {0, socket.Peer{Known: true, UID: 1000}, true},
		"peer is not known":       {1000, socket.Peer{}, false},
		"registrant is not known": {-1, socket.Peer{Known: true, UID: 1001}, false},
	} {
		err := info{Name: "m", Socket: "/run/m.sock", UID: c.registered}.check(c.peer)
		if (err != nil) != c.refused {
			t.Errorf("%s: got %v, want refused %t", name, err, c.refused)
		}
	}
}

// TestPeerRefused dials a socket whose process has another user than the mapper's: no call
// reaches it.
func TestPeerRefused(t *testing.T) {
	dir, err := os.MkdirTemp("", "dmi")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	m := newManager(t)
	i := info{Name: "m", Socket: filepath.Join(dir, "m.sock"), UID: int64(os.Getuid()) + 1}
	l, err := socket.Listen(i.Socket, 0)
	if err != nil {
		t.Fatal(err)
	}
	server := socket.NewServer(m.codec)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	defer func() {
		server.Stop()
		<-ended
	}()
	if os.Getuid() == 0 { // root may be at every socket, so the check is asked for another peer
		i.UID = 1000
		check := i.check
		testRefused(t, m, i.Socket, func(p socket.Peer) error { p.UID = 1001; return check(p) })
		return
	}
	testRefused(t, m, i.Socket, i.check)
}

func testRefused(t *testing.T, m *Manager, path string, check func(socket.Peer) error) {
	t.Helper()
	conn, err := socket.Dial(path, m.codec, check)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = v1beta1.NewMapper(conn).GetDevice(t.Context(), &v1beta1.GetDeviceRequest{DeviceName: "a"})
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "was registered by user") {
		t.Errorf("got %v, want the check's error", err)
	}
}

// TestTakeover has another user register under the name of a mapper: not while that is connected.
func TestTakeover(t *testing.T) {
	m := newManager(t)
	register := func(uid uint32) error {
		ctx := peer.NewContext(t.Context(), &peer.Peer{AuthInfo: socket.Peer{Known: true, UID: uid}})
		_, err := service{m}.MapperRegister(ctx, &v1beta1.MapperRegisterRequest{Mapper: &v1beta1.MapperInfo{Name: "m", Protocol: "modbus", Address: []byte("/run/m.sock")}})
		return err
	}
	if err := register(1000); err != nil {
		t.Fatal(err)
	}
	m.mappers["m"].setConnected(true)
	if err := register(1001); status.Code(err) != codes.PermissionDenied || m.mappers["m"].info.UID != 1000 {
		t.Errorf("another user while it is connected: got %v, user %d", err, m.mappers["m"].info.UID)
	}
	for _, uid := range []uint32{1000, 0} {
		if err := register(uid); err != nil {
			t.Errorf("user %d: %v", uid, err)
		}
	}
	m.mappers["m"].setConnected(false)
	if err := register(1001); err != nil {
		t.Errorf("another user when it has ended: %v", err)
	}
}
