package dmi_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/edgekit/edgekit/device/dmi"
	"github.com/edgekit/edgekit/device/dmi/v1beta1"
	"github.com/edgekit/edgekit/device/internal/edgetest"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
)

// value is a reported value.
func value(name, text string) *v1beta1.Twin {
	return &v1beta1.Twin{PropertyName: name, Reported: &v1beta1.TwinProperty{Value: text}}
}

// TestReports has reports with parts that are missing, wrong or more than expected.
func TestReports(t *testing.T) {
	dir := edgetest.SocketDir(t)
	e := startEdge(t, memstore.New(), dir)
	e.put("plant/boiler", "modbus", "45")
	e.put("default/boiler", "modbus", "45")
	for _, tt := range []struct {
		name      string
		namespace string
		device    string
		status    *v1beta1.DeviceStatus
		code      codes.Code
		says      string
		want      string // temperature and target after it
	}{
		{"nothing", "plant", "boiler", nil, codes.OK, "", " "},
		{"no twins", "plant", "boiler", &v1beta1.DeviceStatus{}, codes.OK, "", " "},
		{"a twin of nothing", "plant", "boiler", &v1beta1.DeviceStatus{Twins: []*v1beta1.Twin{{}}}, codes.OK, "", " "},
		{"only observedDesired", "plant", "boiler", &v1beta1.DeviceStatus{Twins: []*v1beta1.Twin{{PropertyName: "target", ObservedDesired: &v1beta1.TwinProperty{Value: "1"}}}}, codes.OK, "", " "},
		{"only reported", "plant", "boiler", &v1beta1.DeviceStatus{Twins: []*v1beta1.Twin{value("temperature", "18.5")}}, codes.OK, "", "18.5 "},
		{"old observedDesired", "plant", "boiler", &v1beta1.DeviceStatus{Twins: []*v1beta1.Twin{{PropertyName: "target", ObservedDesired: &v1beta1.TwinProperty{Value: "1"}, Reported: &v1beta1.TwinProperty{Value: "2"}}}}, codes.OK, "", "18.5 2"},
		{"one of two is wrong", "plant", "boiler", &v1beta1.DeviceStatus{Twins: []*v1beta1.Twin{value("target", "hot"), value("temperature", "19")}}, codes.InvalidArgument, "target", "19 2"},
		{"no namespace", "", "boiler", &v1beta1.DeviceStatus{Twins: []*v1beta1.Twin{value("temperature", "20")}}, codes.OK, "", "19 2"},
		{"no device", "plant", "", &v1beta1.DeviceStatus{}, codes.InvalidArgument, "deviceName", "19 2"},
		{"a name of several", "plant", "a/b", &v1beta1.DeviceStatus{}, codes.InvalidArgument, "deviceName", "19 2"},
		{"an unknown device", "plant", "pump", &v1beta1.DeviceStatus{Twins: []*v1beta1.Twin{value("temperature", "20"), value("target", "2")}}, codes.NotFound, "not known", "19 2"},
		{"a property without a name", "plant", "boiler", &v1beta1.DeviceStatus{Twins: []*v1beta1.Twin{value("", "20")}}, codes.InvalidArgument, "property name", "19 2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := e.client.ReportDeviceStatus(t.Context(), &v1beta1.ReportDeviceStatusRequest{DeviceName: tt.device, DeviceNamespace: tt.namespace, ReportedDevice: tt.status})
			if status.Code(err) != tt.code || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want %v with %q", err, tt.code, tt.says)
			}
			if got := e.actual("plant/boiler", "temperature") + " " + e.actual("plant/boiler", "target"); got != tt.want {
				t.Errorf("the twins are %q, want %q", got, tt.want)
			}
			d, _ := e.engine.Device("plant/boiler")
			if got := d.Twins["target"].Expected.Value; got != "45" {
				t.Errorf("the desired value is %s: a report must not change it", got)
			}
		})
	}
	if got := e.actual("default/boiler", "temperature"); got != "20" {
		t.Errorf("the device of the namespace default has %q, want 20", got)
	}
	// A property that nobody has declared gets the type that the mapper names.
	_, err := e.client.ReportDeviceStatus(t.Context(), &v1beta1.ReportDeviceStatusRequest{DeviceName: "boiler", DeviceNamespace: "plant", ReportedDevice: &v1beta1.DeviceStatus{
		Twins: []*v1beta1.Twin{{PropertyName: "hours", Reported: &v1beta1.TwinProperty{Value: "12", Metadata: map[string]string{"type": "INT", "timestamp": "1"}}}},
	}})
	if d, _ := e.engine.Device("plant/boiler"); err != nil || d.Twins["hours"].Type != "int" {
		t.Errorf("the new twin is %+v, %v", d.Twins["hours"], err)
	}
}

func TestStates(t *testing.T) {
	e := startEdge(t, memstore.New(), edgetest.SocketDir(t))
	e.put("plant/boiler", "modbus", "45")
	report := func(name, state string) error {
		_, err := e.client.ReportDeviceStates(t.Context(), &v1beta1.ReportDeviceStatesRequest{DeviceName: name, DeviceNamespace: "plant", State: state})
		return err
	}
	if err := report("boiler", "OK"); err != nil {
		t.Fatal(err)
	}
	if d, _ := e.engine.Device("plant/boiler"); d.State != "OK" || d.LastOnline.IsZero() {
		t.Errorf("the device is %q, last online %v", d.State, d.LastOnline)
	}
	if err := report("boiler", "sleepy"); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "unhealthy") {
		t.Errorf("an unknown state: got %v, want an error that lists those that are known", err)
	}
	if err := report("pump", "ok"); status.Code(err) != codes.NotFound {
		t.Errorf("an unknown device: got %v", err)
	}
}

// TestRegisterErrors has what a mapper may say wrong of itself; the error names the field.
func TestRegisterErrors(t *testing.T) {
	e := startEdge(t, memstore.New(), edgetest.SocketDir(t))
	for says, info := range map[string]*v1beta1.MapperInfo{
		"mapper is missing": nil,
		"mapper.name":       {Protocol: "p", Address: []byte("/a")},
		"without slashes":   {Name: "a/b", Protocol: "p", Address: []byte("/a")},
		"mapper.protocol":   {Name: "a", Address: []byte("/a")},
		"mapper.address":    {Name: "a", Protocol: "p", Address: []byte("127.0.0.1:1")},
		"unix socket":       {Name: "a", Protocol: "p"},
		"mapper.version":    {Name: "a", Protocol: "p", Address: []byte("unix:///a"), Version: strings.Repeat("1", 200)},
	} {
		_, err := e.client.MapperRegister(t.Context(), &v1beta1.MapperRegisterRequest{Mapper: info})
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v", says, err)
		}
	}
}

// TestMaxMappers registers more mappers than there may be: one that is away is forgotten.
func TestMaxMappers(t *testing.T) {
	dir, store := edgetest.SocketDir(t), memstore.New()
	var one *stranger
	e := startEdge(t, store, dir)
	for i := range dmi.MaxMappers {
		s := newStranger(t, dir, fmt.Sprint("m", i))
		if i == 0 {
			one = s
		}
		e.register(s, false)
	}
	last := newStranger(t, dir, "last")
	_, err := e.client.MapperRegister(t.Context(), &v1beta1.MapperRegisterRequest{Mapper: &v1beta1.MapperInfo{Name: last.name, Protocol: "p", Address: []byte(last.path)}})
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "64 mappers") {
		t.Errorf("within Grace: got %v, want the limit", err)
	}
	e.stop()
	e = startEdge(t, store, dir, func(c *dmi.Config) { c.Grace = 1 })
	if got := e.register(one, true); got == nil || e.m.Stats().Mappers != dmi.MaxMappers {
		t.Errorf("one that is known is one too many")
	}
	e.register(last, true)
	if got := e.m.Stats().Mappers; got != dmi.MaxMappers {
		t.Errorf("%d mappers are known", got)
	}
	if keys, _, err := store.Keys(t.Context(), meta.Local+"dmi/mapper/"); err != nil || len(keys) != dmi.MaxMappers {
		t.Errorf("%d mappers are stored, %v", len(keys), err)
	}
}

// gate is a store that writes nothing while it is closed.
type gate struct {
	meta.Store
	mu sync.RWMutex
}

func (g *gate) Apply(ctx context.Context, ops ...meta.Op) (uint64, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.Store.Apply(ctx, ops...)
}

// TestReportLimit has one mapper send more at once than it may, while the disk hangs. Another
// mapper's reports are not refused.
func TestReportLimit(t *testing.T) {
	dir, store := edgetest.SocketDir(t), &gate{Store: memstore.New()}
	e := startEdge(t, store, dir, func(c *dmi.Config) { c.Reports = 4 })
	e.put("plant/a", "modbus", "1")
	e.put("plant/b", "none", "1")
	s := newStranger(t, dir, "m1")
	s.serve()
	e.register(s, true)
	s.has("plant/a", "1")
	report := func(name string) error {
		_, err := e.client.ReportDeviceStatus(t.Context(), &v1beta1.ReportDeviceStatusRequest{DeviceName: name, DeviceNamespace: "plant", ReportedDevice: &v1beta1.DeviceStatus{Twins: []*v1beta1.Twin{value("temperature", "1")}}})
		return err
	}
	store.mu.Lock()
	results := make(chan error, 10)
	for range 10 {
		go func() { results <- report("a") }()
	}
	for range 6 {
		if err := <-results; status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "4 reports") {
			t.Errorf("got %v, want RESOURCE_EXHAUSTED with the limit", err)
		}
	}
	go func() { results <- report("b") }()
	store.mu.Unlock()
	for range 5 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if got := e.m.Stats(); got.Reports != 5 || got.Exhausted != 6 {
		t.Errorf("stats are %+v", got)
	}
}

// TestSocket has the modes of the socket, an old one that nobody serves, one that is served,
// and a file in its place.
func TestSocket(t *testing.T) {
	dir := edgetest.SocketDir(t)
	path := filepath.Join(dir, "dmi.sock")
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	old.Close() // as after kill -9
	e := startEdge(t, memstore.New(), dir)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v, %v", info.Mode(), err)
	}
	second := func(says string) {
		t.Helper()
		engine, err := twin.New(twin.Config{Store: memstore.New()})
		if err != nil {
			t.Fatal(err)
		}
		m, err := dmi.New(dmi.Config{Engine: engine, Store: memstore.New(), Socket: path})
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Run(t.Context()); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want %q", err, says)
		}
	}
	second("another program serves")
	e.stop()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	second("no socket")
	os.Remove(path)
	if os.Getuid() == 0 {
		startEdge(t, memstore.New(), dir, func(c *dmi.Config) { c.Group = 12345 })
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
			t.Errorf("mode with a group is %v, %v", info.Mode(), err)
		}
	}
}
