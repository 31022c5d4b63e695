package dmi_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/edgekit/edgekit/device/dmi"
	"github.com/edgekit/edgekit/device/dmi/v1beta1"
	"github.com/edgekit/edgekit/device/internal/edgetest"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/devicespec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// edge is edgecore's device part.
type edge struct {
	t      *testing.T
	engine *twin.Engine
	m      *dmi.Manager
	client v1beta1.Manager // as a mapper has it
	stop   func()
}

func startEdge(t *testing.T, store meta.Store, dir string, change ...func(*dmi.Config)) *edge {
	t.Helper()
	engine, err := twin.New(twin.Config{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	cfg := dmi.Config{Engine: engine, Store: store, Socket: filepath.Join(dir, "dmi.sock"), Backoff: time.Millisecond}
	for _, c := range change {
		c(&cfg)
	}
	m, err := dmi.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	stop := edgetest.Run(t, engine.Run, m.Run)
	conn, err := grpc.NewClient("unix://"+cfg.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(v1beta1.NewCodec())))
	if err != nil {
		t.Fatal(err)
	}
	e := &edge{t: t, engine: engine, m: m, client: v1beta1.NewManager(conn)}
	e.stop = sync.OnceFunc(func() {
		conn.Close()
		stop()
	})
	t.Cleanup(e.stop)
	<-m.Ready()
	<-engine.Ready()
	return e
}

// put declares a device of a protocol with the properties temperature and target.
func (e *edge) put(id, protocol, desired string) {
	e.t.Helper()
	put, err := devicespec.Declare(schema.DeviceSpec{
		ModelRef: schema.ModelRef{Name: "boiler"}, Protocol: schema.Protocol{Name: protocol, Config: schema.Options(`{"port":503}`)},
		Properties: []schema.Property{{Name: "temperature"}, {Name: "target", Desired: &schema.Value{Value: desired}}},
	}, schema.DeviceModelSpec{ProtocolConfig: schema.Options(`{"ip":"10.1.1.5","port":502}`), Properties: []schema.ModelProperty{
		{Name: "temperature", Type: schema.TypeFloat}, {Name: "target", Type: schema.TypeInt, AccessMode: schema.ReadWrite, DesiredBy: schema.DesiredByBoth},
	}})
	put.Member.Version = 1
	if err := errors.Join(err, e.engine.Put(e.t.Context(), id, put)); err != nil {
		e.t.Fatal(err)
	}
}

func (e *edge) desire(id, value string) {
	e.t.Helper()
	if err := e.engine.SetDesired(e.t.Context(), id, map[string]string{"target": value}); err != nil {
		e.t.Fatal(err)
	}
}

func (e *edge) actual(id, property string) string {
	d, _ := e.engine.Device(id)
	if v := d.Twins[property].Actual; v != nil {
		return v.Value
	}
	return ""
}

// register registers a mapper with a socket in dir.
func (e *edge) register(s *stranger, withData bool) *v1beta1.MapperRegisterResponse {
	e.t.Helper()
	r, err := e.client.MapperRegister(e.t.Context(), &v1beta1.MapperRegisterRequest{WithData: withData, Mapper: &v1beta1.MapperInfo{
		Name: s.name, Version: "1", APIVersion: "v1.0.0", Protocol: "modbus", Address: []byte(s.path), State: "ok",
	}})
	if err != nil {
		e.t.Fatal(err)
	}
	return r
}

// stranger is a mapper that keeps what it is given, and notes each call.
type stranger struct {
	t    *testing.T
	name string
	path string
	stop func()

	mu      sync.Mutex
	devices map[string]string // desired target by device
	models  map[string]bool
	calls   []string
	fail    func(call string) error
	changed chan struct{} // closed at each call
}

func newStranger(t *testing.T, dir, name string) *stranger {
	return &stranger{t: t, name: name, path: filepath.Join(dir, name+".sock"), devices: map[string]string{}, models: map[string]bool{}, changed: make(chan struct{})}
}

// serve serves the mapper's socket until stop is called or the test ends.
func (s *stranger) serve() {
	s.t.Helper()
	l, err := net.Listen("unix", s.path)
	if err != nil {
		s.t.Fatal(err)
	}
	server := grpc.NewServer(grpc.ForceServerCodecV2(v1beta1.NewCodec()), grpc.WaitForHandlers(true))
	v1beta1.RegisterDeviceMapper(server, s)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	s.stop = sync.OnceFunc(func() {
		server.Stop()
		if err := <-ended; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			s.t.Error(err)
		}
	})
	s.t.Cleanup(s.stop)
}

// note notes a call; the result is what the mapper answers.
func (s *stranger) note(format string, args ...any) error {
	call := fmt.Sprintf(format, args...)
	s.calls = append(s.calls, call)
	close(s.changed)
	s.changed = make(chan struct{})
	if s.fail != nil {
		return s.fail(call)
	}
	return nil
}

// wait waits until ok holds, which it asks after each call.
func (s *stranger) wait(what string, ok func() bool) {
	s.t.Helper()
	deadline := time.After(2 * time.Minute)
	for {
		s.mu.Lock()
		done, changed, calls := ok(), s.changed, slices.Clone(s.calls)
		s.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			s.t.Fatalf("%s: not in time; calls %q", what, calls)
		}
	}
}

func (s *stranger) has(id, target string) {
	s.t.Helper()
	s.wait(id+" with target "+target, func() bool { got, ok := s.devices[id]; return ok && got == target })
}

// called waits for a call and forgets all.
func (s *stranger) called(call string) {
	s.t.Helper()
	s.wait(call, func() bool { return slices.Contains(s.calls, call) })
	s.mu.Lock()
	s.calls = nil
	s.mu.Unlock()
}

func target(d *v1beta1.Device) string {
	for _, p := range d.Spec.Properties {
		if p.Name == "target" {
			return p.Desired.Value
		}
	}
	return "no target"
}

func (s *stranger) RegisterDevice(_ context.Context, r *v1beta1.RegisterDeviceRequest) (*v1beta1.RegisterDeviceResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.note("register %s %s", r.Device.ID(), target(r.Device)); err != nil {
		return nil, err
	}
	if !s.models[r.Device.Namespace+"/"+r.Device.Spec.DeviceModelReference] {
		return nil, errors.New("model is not known")
	}
	if _, ok := s.devices[r.Device.ID()]; !ok { // as KubeEdge's
		s.devices[r.Device.ID()] = target(r.Device)
	}
	return &v1beta1.RegisterDeviceResponse{DeviceName: r.Device.Name}, nil
}

func (s *stranger) UpdateDevice(_ context.Context, r *v1beta1.UpdateDeviceRequest) (*v1beta1.Empty, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.note("update %s %s", r.Device.ID(), target(r.Device)); err != nil {
		return nil, err
	}
	s.devices[r.Device.ID()] = target(r.Device)
	return nil, nil
}

func (s *stranger) RemoveDevice(_ context.Context, r *v1beta1.RemoveDeviceRequest) (*v1beta1.Empty, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.devices, r.DeviceNamespace+"/"+r.DeviceName)
	return nil, s.note("remove %s/%s", r.DeviceNamespace, r.DeviceName)
}

func (s *stranger) CreateDeviceModel(_ context.Context, r *v1beta1.CreateDeviceModelRequest) (*v1beta1.CreateDeviceModelResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.models[r.Model.Namespace+"/"+r.Model.Name] = true
	return nil, s.note("create model %s/%s", r.Model.Namespace, r.Model.Name)
}

func (s *stranger) UpdateDeviceModel(_ context.Context, r *v1beta1.UpdateDeviceModelRequest) (*v1beta1.Empty, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return nil, s.note("update model %s/%s", r.Model.Namespace, r.Model.Name)
}

func (s *stranger) RemoveDeviceModel(_ context.Context, r *v1beta1.RemoveDeviceModelRequest) (*v1beta1.Empty, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.models, r.ModelNamespace+"/"+r.ModelName)
	return nil, s.note("remove model %s/%s", r.ModelNamespace, r.ModelName)
}

func (s *stranger) GetDevice(context.Context, *v1beta1.GetDeviceRequest) (*v1beta1.GetDeviceResponse, error) {
	return nil, status.Error(codes.Unimplemented, "no")
}

// TestDevices has a mapper register before it serves, as those of KubeEdge do, and follows a
// device to its end.
func TestDevices(t *testing.T) {
	dir := edgetest.SocketDir(t)
	e := startEdge(t, memstore.New(), dir)
	e.put("plant/boiler", "modbus", "45")
	e.put("plant/other", "opcua", "1")
	s := newStranger(t, dir, "m1")
	r := e.register(s, true)
	if len(r.DeviceList) != 1 || len(r.ModelList) != 1 || r.DeviceList[0].ID() != "plant/boiler" || target(r.DeviceList[0]) != "45" {
		t.Fatalf("the answer is %+v", r)
	}
	spec, _, err := v1beta1.Spec(r.DeviceList[0])
	if config := spec.Protocol.Config; err != nil || string(config) != `{"ip":"10.1.1.5","port":503}` {
		t.Errorf("configData is %s, %v: want that of the model below that of the device", config, err)
	}
	s.serve()
	s.has("plant/boiler", "45")
	e.desire("plant/boiler", "50")
	s.has("plant/boiler", "50")
	e.put("dev/second", "modbus", "7")
	s.has("dev/second", "7")
	if err := e.engine.Remove(t.Context(), "dev/second"); err != nil {
		t.Fatal(err)
	}
	s.called("remove model dev/boiler")
	e.put("plant/boiler", "opcua", "50") // the mapper has it no more
	s.called("remove model plant/boiler")
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.devices) > 0 || len(s.models) > 0 {
		t.Errorf("the mapper still has %v and %v", s.devices, s.models)
	}
	if got := e.m.Stats(); got.Mappers != 1 || got.Connected != 1 || got.Devices != 0 {
		t.Errorf("stats are %+v", got)
	}
}

// TestRestarts kills mapper and edgecore, and changes desired values meanwhile. A device that
// has not changed is not updated: a mapper of KubeEdge would stop and start it.
func TestRestarts(t *testing.T) {
	dir, store := edgetest.SocketDir(t), memstore.New()
	e := startEdge(t, store, dir)
	e.put("plant/a", "modbus", "1")
	e.put("plant/b", "modbus", "1")
	s := newStranger(t, dir, "m1")
	s.serve()
	e.register(s, false)
	s.has("plant/a", "1")
	s.has("plant/b", "1")
	stored := func() int {
		keys, _, err := store.Keys(t.Context(), meta.Local+"dmi/given/m1/")
		if err != nil {
			t.Fatal(err)
		}
		return len(keys)
	}
	events, err := store.Watch(t.Context(), meta.Local+"dmi/given/", 0)
	if err != nil {
		t.Fatal(err)
	}
	for stored() < 2 {
		<-events
	}
	e.stop()
	s.mu.Lock()
	s.calls = nil
	s.mu.Unlock()

	e = startEdge(t, store, dir) // the mapper does not register again
	e.desire("plant/b", "2")
	s.has("plant/b", "2")
	s.called("register plant/a 1")
	s.stop()
	e.desire("plant/a", "3")
	s.mu.Lock()
	clear(s.devices) // it has lost all
	clear(s.models)
	for _, call := range s.calls {
		if strings.HasPrefix(call, "update plant/a") {
			t.Errorf("calls are %q: plant/a has not changed", s.calls)
		}
	}
	s.mu.Unlock()
	s.serve()
	s.has("plant/a", "3")
	s.has("plant/b", "2")
}

// TestRefusals has a mapper that refuses a device for a while: it is tried again, and others do
// not wait.
func TestRefusals(t *testing.T) {
	dir := edgetest.SocketDir(t)
	e := startEdge(t, memstore.New(), dir)
	s := newStranger(t, dir, "m1")
	refusals := 0
	s.fail = func(call string) error {
		if strings.HasPrefix(call, "register plant/a") && refusals < 5 {
			refusals++
			return errors.New("serial line is busy")
		}
		return nil
	}
	s.serve()
	e.register(s, false)
	e.put("plant/a", "modbus", "1")
	e.put("plant/b", "modbus", "1")
	s.has("plant/b", "1")
	s.has("plant/a", "1")
}

// forgetful is a store that says when it has a digest of what a mapper was given, and then loses
// all others, as if edgecore ended before it stores them.
type forgetful struct {
	meta.Store
	noted chan struct{} // closed when the first digest is stored
	once  sync.Once
}

func (f *forgetful) Apply(ctx context.Context, ops ...meta.Op) (uint64, error) {
	if !strings.HasPrefix(ops[0].Key, meta.Local+"dmi/given/") || ops[0].Delete {
		return f.Store.Apply(ctx, ops...)
	}
	revision, err := uint64(0), errors.New("edgecore has ended")
	f.once.Do(func() {
		revision, err = f.Store.Apply(ctx, ops...)
		close(f.noted)
	})
	return revision, err
}

// TestEndsBeforeDigest has edgecore end after it has given a new value to a mapper and before it
// has stored that. Then the old value is desired again: the mapper gets it.
func TestEndsBeforeDigest(t *testing.T) {
	dir, store := edgetest.SocketDir(t), memstore.New()
	lossy := &forgetful{Store: store, noted: make(chan struct{})}
	e := startEdge(t, lossy, dir)
	e.put("plant/a", "modbus", "1")
	s := newStranger(t, dir, "m1")
	s.serve()
	e.register(s, true)
	s.has("plant/a", "1")
	<-lossy.noted
	e.desire("plant/a", "2")
	s.has("plant/a", "2")
	s.stop()
	e.stop()
	e = startEdge(t, store, dir)
	e.desire("plant/a", "1")
	s.serve()
	s.has("plant/a", "1")
}

// TestRegistersAgain has a mapper that was not restarted register again, after a value has
// changed that it could not be given. It keeps what it has of known devices whatever the answer
// says, and gets the value by UpdateDevice.
func TestRegistersAgain(t *testing.T) {
	dir := edgetest.SocketDir(t)
	e := startEdge(t, memstore.New(), dir)
	e.put("plant/a", "modbus", "1")
	s := newStranger(t, dir, "m1")
	s.serve()
	e.register(s, true)
	s.has("plant/a", "1")
	s.stop()
	e.desire("plant/a", "2")
	if r := e.register(s, true); len(r.DeviceList) != 1 || target(r.DeviceList[0]) != "2" {
		t.Errorf("the answer has %v", r.DeviceList)
	}
	s.serve()
	s.has("plant/a", "2")
}

// TestSocketPath has a socket whose path has characters with a meaning in URLs.
func TestSocketPath(t *testing.T) {
	e := startEdge(t, memstore.New(), edgetest.SocketDir(t))
	e.put("plant/a", "modbus", "1")
	s := newStranger(t, edgetest.SocketDir(t), "50%zz?#")
	s.serve()
	e.register(s, true)
	s.has("plant/a", "1")
}

// TestSeveralMappers has two mappers of one protocol. A device stays with its mapper until that
// one is away for longer than Grace.
func TestSeveralMappers(t *testing.T) {
	dir := edgetest.SocketDir(t)
	connected := make(connections, 100)
	e := startEdge(t, memstore.New(), dir, func(c *dmi.Config) { c.Grace, c.Logger = time.Millisecond, slog.New(connected) })
	one, two := newStranger(t, dir, "m1"), newStranger(t, dir, "m2")
	one.serve()
	e.register(one, true)
	e.put("plant/a", "modbus", "1")
	one.has("plant/a", "1")
	two.serve()
	e.register(two, true)
	for <-connected != "m2" {
	}
	e.put("plant/b", "modbus", "2") // m2 has fewer
	two.has("plant/b", "2")
	if err := e.engine.SetState(t.Context(), "plant/a", "online"); err != nil {
		t.Fatal(err)
	}
	changed := make(chan struct{}, 1)
	defer e.engine.Subscribe(func(twin.Commit) {
		select {
		case changed <- struct{}{}:
		default:
		}
	})()
	one.stop()
	two.has("plant/a", "1")
	two.stop()
	for d, _ := e.engine.Device("plant/a"); d.State != "unknown"; d, _ = e.engine.Device("plant/a") {
		<-changed
	}
	one.serve()
	one.has("plant/a", "1") // m2 is away, m1 is back
}

// connections is a log handler that sends the name of each mapper that is connected.
type connections chan string

func (connections) Enabled(context.Context, slog.Level) bool { return true }
func (c connections) WithAttrs([]slog.Attr) slog.Handler     { return c }
func (c connections) WithGroup(string) slog.Handler          { return c }

func (c connections) Handle(_ context.Context, r slog.Record) error {
	name, up := "", false
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "mapper":
			name = a.Value.String()
		case "connected":
			up = a.Value.Bool()
		}
		return true
	})
	if up {
		select {
		case c <- name:
		default:
		}
	}
	return nil
}

func TestNewConfig(t *testing.T) {
	engine, err := twin.New(twin.Config{Store: memstore.New()})
	if err != nil {
		t.Fatal(err)
	}
	good := dmi.Config{Engine: engine, Store: memstore.New(), Socket: "unix:///run/dmi.sock"}
	if _, err := dmi.New(good); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*dmi.Config){
		"Config.Engine":     func(c *dmi.Config) { c.Engine = nil },
		"Config.Store":      func(c *dmi.Config) { c.Store = nil },
		"Config.Socket":     func(c *dmi.Config) { c.Socket = "tcp://127.0.0.1:1" },
		"has a path of 201": func(c *dmi.Config) { c.Socket = "/" + strings.Repeat("a", 200) },
		"negative":          func(c *dmi.Config) { c.Reports = -1 },
	} {
		cfg := good
		change(&cfg)
		if _, err := dmi.New(cfg); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: got %v", what, err)
		}
	}
}
