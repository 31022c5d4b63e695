package dmi_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/edgekit/edgekit/device/dmi"
	"github.com/edgekit/edgekit/device/dmi/v1beta1"
	"github.com/edgekit/edgekit/device/internal/edgetest"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
)

// judge is a Claims that answers as it is set.
type judge struct {
	mu       sync.Mutex
	holder   string
	err      error
	claims   []string
	released chan string
}

func newJudge() *judge { return &judge{released: make(chan string, 16)} }

func (j *judge) Claim(_ context.Context, protocol, mapper string) (string, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.claims = append(j.claims, protocol+" "+mapper)
	return j.holder, j.err
}

func (j *judge) Release(_ context.Context, protocol string) error {
	select {
	case j.released <- protocol:
	default: // the test looks at the first
	}
	return nil
}

func (j *judge) set(holder string, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.holder, j.err = holder, err
}

func (j *judge) claimed(claim string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Contains(j.claims, claim)
}

// TestClaims has a mapper over MQTT drive the devices of the protocol, then not, then again: a
// mapper over DMI has the devices only in between.
func TestClaims(t *testing.T) {
	dir, j := edgetest.SocketDir(t), newJudge()
	e := startEdge(t, memstore.New(), dir, func(c *dmi.Config) { c.Claims = j })
	e.put("plant/boiler", "modbus", "45")
	e.put("plant/camera", "onvif", "45")
	s := newStranger(t, dir, "m1")
	s.serve()
	report := func(device string) error {
		_, err := e.client.ReportDeviceStatus(t.Context(), &v1beta1.ReportDeviceStatusRequest{
			DeviceName: device, DeviceNamespace: "plant", ReportedDevice: &v1beta1.DeviceStatus{Twins: []*v1beta1.Twin{value("temperature", "20")}},
		})
		return err
	}

	j.set("modbus-1", nil)
	if r := e.register(s, true); len(r.DeviceList) != 0 {
		t.Errorf("the mapper gets %d devices that another one drives", len(r.DeviceList))
	}
	if !j.claimed("modbus DMI/m1") {
		t.Errorf("the claims are %q", j.claims)
	}
	if err := report("boiler"); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), `mapper "modbus-1" drives the devices of protocol "modbus"`) {
		t.Errorf("a report beside the mapper that drives the device: got %v", err)
	}
	if err := report("camera"); err != nil {
		t.Errorf("a report of a device of another protocol: %v", err)
	}

	j.set("", nil)
	if r := e.register(s, true); len(r.DeviceList) != 1 {
		t.Errorf("the mapper gets %d devices, want 1", len(r.DeviceList))
	}
	s.has("plant/boiler", "45")
	if err := report("boiler"); err != nil {
		t.Errorf("a report of the mapper that drives the device: %v", err)
	}

	j.set("modbus-1", nil)
	e.register(s, false)
	s.called("remove plant/boiler")
}

// TestClaimIsReleased has the only mapper of a protocol be away for Grace: its claim ends.
func TestClaimIsReleased(t *testing.T) {
	dir, j := edgetest.SocketDir(t), newJudge()
	e := startEdge(t, memstore.New(), dir, func(c *dmi.Config) { c.Claims, c.Grace = j, 50*time.Millisecond })
	e.put("plant/boiler", "modbus", "45")
	e.register(newStranger(t, dir, "m1"), true) // it serves nothing
	select {
	case protocol := <-j.released:
		if protocol != "modbus" {
			t.Errorf("%q is released", protocol)
		}
	case <-time.After(2 * time.Minute):
		t.Error("the claim is not released")
	}
}

// givenStore says when it has stored what mapper m2 was given.
type givenStore struct {
	meta.Store
	given chan struct{}
}

func (s *givenStore) Apply(ctx context.Context, ops ...meta.Op) (uint64, error) {
	revision, err := s.Store.Apply(ctx, ops...)
	for _, op := range ops {
		if err == nil && !op.Delete && strings.HasPrefix(op.Key, meta.Local+"dmi/given/m2/") {
			select {
			case s.given <- struct{}{}:
			default: // one is enough
			}
		}
	}
	return revision, err
}

// TestClaimsAfterRestart starts edgecore anew. A mapper that had devices claims them at once; one
// that had none lets others repeat their claims first.
func TestClaimsAfterRestart(t *testing.T) {
	dir, store, j := edgetest.SocketDir(t), &givenStore{Store: memstore.New(), given: make(chan struct{}, 1)}, newJudge()
	start := func() *edge {
		e := startEdge(t, store, dir, func(c *dmi.Config) { c.Claims = j })
		e.put("plant/boiler", "modbus", "45")
		return e
	}
	e := start()
	s := newStranger(t, dir, "m1")
	s.serve()
	j.set("modbus-1", nil)
	e.register(s, true)
	e.stop()

	j.set("", nil)
	j.claims = nil
	began := time.Now()
	e = start()
	r := e.register(s, true)
	if early := time.Since(began) < 10*time.Second; early && (len(r.DeviceList) != 0 || j.claimed("modbus DMI/m1")) {
		t.Errorf("the mapper that waited gets %d devices at once", len(r.DeviceList))
	}
	other := newStranger(t, dir, "m2") // of a protocol that nobody served before
	other.serve()
	e.put("plant/camera", "onvif", "45")
	r, err := e.client.MapperRegister(t.Context(), &v1beta1.MapperRegisterRequest{WithData: true, Mapper: &v1beta1.MapperInfo{Name: "m2", Protocol: "onvif", Address: []byte(other.path)}})
	if err != nil || len(r.DeviceList) != 1 {
		t.Errorf("a new mapper gets %v, %v", r, err)
	}
	other.has("plant/camera", "45")
	select {
	case <-store.given:
	case <-time.After(2 * time.Minute):
		t.Fatal("what the mapper was given is not stored")
	}
	e.stop()

	j.claims = nil
	e = start()
	e.put("plant/camera", "onvif", "46")
	other.has("plant/camera", "46")
	if !j.claimed("onvif DMI/m2") {
		t.Errorf("the claims are %q", j.claims)
	}
}

// TestClaimsFail has claims that get no answer, and one that is refused: then there are none, and
// the mapper drives the devices.
func TestClaimsFail(t *testing.T) {
	dir, j := edgetest.SocketDir(t), newJudge()
	j.set("", errors.New("the bus does not run"))
	e := startEdge(t, memstore.New(), dir, func(c *dmi.Config) { c.Claims = j })
	e.put("plant/boiler", "modbus", "45")
	s := newStranger(t, dir, "m1")
	s.serve()
	if r := e.register(s, true); len(r.DeviceList) != 0 {
		t.Errorf("the mapper gets %d devices before it is known who drives them", len(r.DeviceList))
	}
	j.set("", &twin.Error{Code: 503, Reason: "too many"})
	s.has("plant/boiler", "45")
}
