package inprocess_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/devicetest"
	"github.com/edgekit/edgekit/device/inprocess"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/meta/badgerstore"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/devicespec"
)

// counter is a device whose registers all count.
type counter struct {
	*devicetest.Device
	n uint16
}

func (c *counter) Read(context.Context, string) (string, error) {
	c.n++
	return strconv.Itoa(int(c.n)), nil
}

// ReadMany gives registers of two bytes.
func (c *counter) ReadMany(_ context.Context, properties []string) (map[string]device.Reading, error) {
	readings := make(map[string]device.Reading, len(properties))
	for _, p := range properties {
		c.n++
		readings[p] = device.Reading{Raw: []byte{byte(c.n >> 8), byte(c.n)}}
	}
	return readings, nil
}

// single has the methods of a Driver only: one call for each property.
type single struct{ device.Driver }

// mapperRun is a mapper on twins in a store on disk.
type mapperRun struct {
	engine *twin.Engine
	link   *inprocess.Link
}

func open(t *testing.T) mapperRun {
	t.Helper()
	store, err := badgerstore.Open(badgerstore.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	engine, err := twin.New(twin.Config{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- engine.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		store.Close()
	})
	<-engine.Ready()
	link, err := inprocess.New(inprocess.Config{Engine: engine})
	if err != nil {
		t.Fatal(err)
	}
	return mapperRun{engine, link}
}

// declare declares devices with properties that are collected in a cycle of milliseconds.
func (r mapperRun) declare(t *testing.T, devices, properties int, cycle int64) {
	t.Helper()
	spec, model := schema.DeviceSpec{Protocol: schema.Protocol{Name: "count"}}, schema.DeviceModelSpec{}
	for n := range properties {
		name := fmt.Sprint("register-", n)
		spec.Properties = append(spec.Properties, schema.Property{Name: name, CollectCycle: cycle})
		model.Properties = append(model.Properties, schema.ModelProperty{Name: name, Type: schema.TypeFloat, Transform: &schema.Transform{RawType: "UINT16", Scale: "0.1"}})
	}
	put, err := devicespec.Declare(spec, model)
	if err != nil {
		t.Fatal(err)
	}
	for n := range devices {
		if err := r.engine.Put(t.Context(), fmt.Sprint("plant/d", n), put); err != nil {
			t.Fatal(err)
		}
	}
}

// run runs the mapper while f does.
func (r mapperRun) run(t *testing.T, newDriver func() device.Driver, f func(*device.Mapper)) {
	t.Helper()
	m, err := device.New(device.Config{Protocol: "count", Link: r.link, New: newDriver})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	f(m)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// cpuTime is what the process has used so far.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestMeasured measures a mapper on durable twins: values a second for each second of CPU, in
// batches and one by one, and the time until 1,000 devices are online with their values.
func TestMeasured(t *testing.T) {
	if os.Getenv("BENCH") == "" {
		t.Skip("set BENCH=1 to measure")
	}
	for _, tt := range []struct {
		name   string
		driver func() device.Driver
	}{
		{"points_per_core", func() device.Driver { return &counter{Device: new(devicetest.Device)} }},
		{"points_per_core_one_by_one", func() device.Driver { return single{&counter{Device: new(devicetest.Device)}} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := open(t)
			r.declare(t, 200, 20, 100) // 40,000 values a second
			r.run(t, tt.driver, func(m *device.Mapper) {
				wait(t, time.Second) // for all to be open
				points, cpu, began := m.Stats().Points, cpuTime(t), time.Now()
				wait(t, 20*time.Second)
				n, used := m.Stats().Points-points, cpuTime(t)-cpu
				t.Logf("RESULT %s %.0f points/s", tt.name, float64(n)/used.Seconds())
				t.Logf("RESULT %s_rate %.0f points/s", tt.name, float64(n)/time.Since(began).Seconds())
			})
		})
	}
	t.Run("start_1000_devices", func(t *testing.T) {
		r := open(t)
		r.declare(t, 1000, 20, 10_000)
		began := time.Now()
		r.run(t, func() device.Driver { return &counter{Device: new(devicetest.Device)} }, func(*device.Mapper) {
			for _, d := range r.engine.Devices() {
				for started := false; !started; {
					d, _ = r.engine.Device(d.ID)
					if started = d.State == device.Online && d.Twins["register-19"].Actual != nil; !started {
						wait(t, 10*time.Millisecond)
					}
				}
			}
			t.Logf("RESULT start_1000_devices %.2f s", time.Since(began).Seconds())
		})
	})
}

// wait lets time pass in a measurement.
func wait(t *testing.T, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}
