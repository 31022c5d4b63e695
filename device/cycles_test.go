package device_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/devicetest"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// recorder is a Link that keeps all reports.
type recorder struct {
	*devicetest.Link
	mu      sync.Mutex
	began   time.Time
	reports []string // "seconds:value" of the temperature
}

func (r *recorder) Report(ctx context.Context, id string, values map[string]string) error {
	r.mu.Lock()
	if v, ok := values["temperature"]; ok {
		r.reports = append(r.reports, fmt.Sprintf("%.0f:%s", time.Since(r.began).Seconds(), v))
	}
	r.mu.Unlock()
	return r.Link.Report(ctx, id, values)
}

func (r *recorder) all() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.reports, " ")
}

// TestCycles has a property be collected each second, and the value change at 3, 4 and 12 s.
func TestCycles(t *testing.T) {
	for _, tt := range []struct {
		name      string
		cycle     int64
		transform *schema.Transform
		want      string
	}{
		{"each reading", 0, nil, "0:20 1:20 2:20 3:20.2 4:21 5:21 6:21 7:21 8:21 9:21 10:21 11:21 12:20 13:20"},
		{"report cycle", 5000, nil, "0:20 5:21 10:21"},
		{"longer than any change", 60_000, nil, "0:20"},
		{"on change", 5000, &schema.Transform{OnChange: true}, "0:20 3:20.2 4:21 9:21 12:20"},
		{"dead band", 5000, &schema.Transform{DeadBand: "0.5"}, "0:20 4:21 9:21 12:20"},
		{"dead band without a cycle", 0, &schema.Transform{DeadBand: "0.5"}, "0:20 4:21 12:20"},
		{"large dead band", 5000, &schema.Transform{DeadBand: "5"}, "0:20 5:21 10:21"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dev := simulated()
				list := instance("a/b", nil)
				list.Spec.Properties[0].ReportCycle = tt.cycle
				list.Model.Properties[0].Transform = tt.transform
				link := &recorder{Link: devicetest.NewLink(list), began: time.Now()}
				driveConfig(t, device.Config{Link: link, New: func() device.Driver { return dev }})
				for _, change := range []struct {
					at    time.Duration
					value string
				}{{2500, "20.2"}, {1000, "21"}, {8000, "20"}, {2000, ""}} {
					time.Sleep(change.at * time.Millisecond)
					if change.value != "" {
						dev.Set("temperature", change.value)
					}
				}
				if got := link.all(); got != tt.want {
					t.Errorf("got  %s\nwant %s", got, tt.want)
				}
			})
		})
	}
}

// TestPushedCycle has a device push a hundred values a second: one in a report cycle is
// reported, the last one too.
func TestPushedCycle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dev := &pushing{Device: simulated(), values: make(chan string)}
		list := instance("a/b", nil)
		list.Spec.Properties[0].ReportCycle, list.Spec.Properties[0].CollectCycle = 10_000, 3_600_000
		link := &recorder{Link: devicetest.NewLink(list), began: time.Now()}
		driveConfig(t, device.Config{Link: link, New: func() device.Driver { return dev }})
		synctest.Wait()
		for n := range 450 {
			time.Sleep(10 * time.Millisecond)
			dev.values <- strconv.Itoa(100 + n)
		}
		time.Sleep(time.Minute)
		if got := link.all(); got != "0:20 10:549" {
			t.Errorf("got %s", got)
		}
	})
}

// batch is a BatchReader and RawDriver: registers of two bytes.
type batch struct {
	*devicetest.Device
	registers map[string][]byte
	reads     int
}

func (b *batch) ReadMany(_ context.Context, properties []string) (map[string]device.Reading, error) {
	b.reads++
	readings := make(map[string]device.Reading)
	for _, p := range properties {
		if raw, ok := b.registers[p]; ok {
			readings[p] = device.Reading{Raw: raw}
		}
	}
	return readings, nil
}

func (b *batch) ReadRaw(context.Context, string) ([]byte, error) {
	return b.registers["status"], nil
}

func (b *batch) WriteRaw(_ context.Context, property string, raw []byte) error {
	b.registers[property] = slices.Clone(raw)
	if property == "valve" { // two properties are in one register
		b.registers["status"] = b.registers[property]
	}
	return nil
}

// TestBatchOfRegisters has registers of a device become values, and a desired value change only
// its bits of a register.
func TestBatchOfRegisters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		status := []byte{0xf0, 0x0f}
		dev := &batch{Device: new(devicetest.Device), registers: map[string][]byte{"temperature": {0xff, 0x9c}, "status": status, "valve": status}}
		list := device.Instance{
			ID: "a/b",
			Spec: schema.DeviceSpec{
				Protocol:   schema.Protocol{Name: "test"},
				Properties: []schema.Property{{Name: "temperature"}, {Name: "status"}, {Name: "valve"}, {Name: "missing"}},
			},
			Model: schema.DeviceModelSpec{Properties: []schema.ModelProperty{
				{Name: "temperature", Type: schema.TypeFloat, Transform: &schema.Transform{RawType: "INT16", Scale: "0.1"}},
				{Name: "status", Type: schema.TypeInt, Transform: &schema.Transform{RawType: "UINT16"}},
				{Name: "valve", Type: schema.TypeString, AccessMode: schema.ReadWrite, Transform: &schema.Transform{
					RawType: "UINT16", Mask: "0x00c0", Shift: 6, Mapping: []schema.Mapping{{Raw: "0", Value: "closed"}, {Raw: "2", Value: "open"}},
				}},
				{Name: "missing", Type: schema.TypeInt},
			}},
		}
		link := devicetest.NewLink(list)
		driveConfig(t, device.Config{Link: link, New: func() device.Driver { return dev }})
		time.Sleep(time.Second)
		if got := link.Values("a/b"); !maps.Equal(got, map[string]string{"temperature": "-10", "status": "61455", "valve": "closed"}) || dev.reads != 1 {
			t.Errorf("got %v by %d reads", got, dev.reads)
		}
		if c := link.ConditionOf("a/b", device.ConditionValuesValid); c.Reason != "ReadFailed" || !strings.Contains(c.Message, "missing") {
			t.Errorf("%+v", c)
		}
		list.Desired = map[string]string{"valve": "open"}
		link.Set(list)
		time.Sleep(time.Second)
		if got := fmt.Sprintf("% x %s", dev.registers["valve"], link.Values("a/b")["valve"]); got != "f0 8f open" {
			t.Errorf("got %s, want f0 8f open", got)
		}
	})
}

// TestInvalidModel has a transform that contradicts itself: a condition names the field, and
// the other property goes on.
func TestInvalidModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := instance("a/b", desiredTarget("21"))
		list.Model.Properties[1].Transform = &schema.Transform{Scale: "0"}
		dev, link := simulated(), devicetest.NewLink(list)
		driveConfig(t, device.Config{Link: link, New: func() device.Driver { return dev }})
		time.Sleep(time.Minute)
		c := link.ConditionOf("a/b", device.ConditionValuesValid)
		if c.Reason != "InvalidModel" || !strings.Contains(c.Message, "target: transform.scale") || link.Values("a/b")["temperature"] != "20" || len(dev.Writes()) != 0 {
			t.Errorf("%+v, %v, %v", c, link.Values("a/b"), dev.Writes())
		}
	})
}

// line is a serial line that several devices share. It counts how many calls there are at once,
// and at all.
type line struct {
	atOnce, most, calls atomic.Int32
	broken              atomic.Bool
}

// slave is a device on a line.
type slave struct {
	*devicetest.Device
	line *line
	dead bool
}

func (s *slave) call(ctx context.Context) error {
	s.line.calls.Add(1)
	s.line.most.Store(max(s.line.most.Load(), s.line.atOnce.Add(1)))
	defer s.line.atOnce.Add(-1)
	time.Sleep(20 * time.Millisecond)
	if s.line.broken.Load() {
		return fmt.Errorf("%w: no such device /dev/ttyS0", device.ErrConnection)
	}
	if s.dead {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (s *slave) Open(ctx context.Context, dev device.Instance) error {
	if err := s.call(ctx); err != nil {
		return err
	}
	return s.Device.Open(ctx, dev)
}

func (s *slave) Close() error {
	s.Device.Close()
	return nil
}

func (s *slave) Read(ctx context.Context, property string) (string, error) {
	if err := s.call(ctx); err != nil {
		return "", err
	}
	return s.Device.Read(ctx, property)
}

// TestConnection has 30 devices on one line: calls come one at a time; a dead device does not
// stop the others; a broken line is tried by one device at a time, with back-off; and all come
// back when it is whole.
func TestConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := new(line)
		drivers := make(map[string]device.Driver)
		var list []device.Instance
		for n := range 30 {
			dev := instance(fmt.Sprintf("a/s%d", n), nil)
			dev.Spec.Protocol.Config = schema.Options(`{"serialPort":"/dev/ttyS0","slave":` + strconv.Itoa(n) + `}`)
			dev.Spec.Properties[0].CollectCycle = 10_000
			list = append(list, dev)
			drivers[dev.ID] = &slave{Device: simulated(), line: shared, dead: n == 7}
		}
		link := devicetest.NewLink(list...)
		driveConfig(t, device.Config{Link: link, New: pick(drivers), Timeout: time.Second, Connection: device.ConnectionBy("serialPort")})
		states := func() string {
			count := map[string]int{}
			for _, d := range list {
				count[link.StateOf(d.ID)]++
			}
			return fmt.Sprint(count)
		}
		time.Sleep(2 * time.Minute)
		if got := states(); got != "map[offline:1 online:29]" || shared.most.Load() != 1 {
			t.Errorf("states are %s, %d calls at once", got, shared.most.Load())
		}
		shared.broken.Store(true)
		time.Sleep(2 * time.Minute)
		before := shared.calls.Load()
		time.Sleep(10 * time.Minute)
		if n := shared.calls.Load() - before; n > 12 || n < 5 {
			t.Errorf("%d calls on a broken line in ten minutes, want one in 64 s", n)
		}
		if got := states(); got != "map[offline:30]" {
			t.Errorf("states on a broken line are %s", got)
		}
		if c := link.ConditionOf("a/s1", device.ConditionConnected); c.Reason != "ConnectionFailed" {
			t.Errorf("%+v", c)
		}
		shared.broken.Store(false)
		time.Sleep(3 * time.Minute)
		if got := states(); got != "map[offline:1 online:29]" || shared.most.Load() != 1 {
			t.Errorf("at the end states are %s, %d calls at once", got, shared.most.Load())
		}
	})
}

// TestConnectionBy has devices without the field share nothing.
func TestConnectionBy(t *testing.T) {
	of := device.ConnectionBy("host", "port")
	for config, shares := range map[string]bool{`{"host":"a","port":1}`: true, `{"host":"a"}`: false, `{"host":"","port":1}`: false, `{}`: false, ``: false} {
		if got := of(device.Instance{Spec: schema.DeviceSpec{Protocol: schema.Protocol{Config: schema.Options(config)}}}); (got != "") != shares {
			t.Errorf("%s: %q", config, got)
		}
	}
}
