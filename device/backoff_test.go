package device_test

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/devicetest"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// slow is a driver that ignores its context: Read takes as long as work does. It
// counts how many of its kind are open at once.
type slow struct {
	*devicetest.Device
	work       func()
	open, most *atomic.Int32
}

func (s *slow) Open(context.Context, device.Instance) error {
	s.most.Store(max(s.most.Load(), s.open.Add(1)))
	return nil
}

func (s *slow) Read(ctx context.Context, property string) (string, error) {
	s.work()
	return s.Device.Read(ctx, property)
}

func (s *slow) Close() error {
	s.open.Add(-1)
	return nil
}

// TestOneDriver removes a device from the list and adds it again while its driver still
// works: the next driver waits until the first one has closed the device.
func TestOneDriver(t *testing.T) {
	for name, lists := range map[string][][]device.Instance{
		"gone and back":       {{}, {instance("a/b", nil)}},
		"twice":               {{}, {instance("a/b", nil)}, {}, {instance("a/b", desiredTarget("3"))}},
		"changed and gone":    {{changed()}, {}, {instance("a/b", nil)}},
		"of another protocol": {{foreign()}, {instance("a/b", nil)}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var open, most atomic.Int32
				link := devicetest.NewLink(instance("a/b", nil))
				drive(t, link, func() device.Driver { return &slow{simulated(), func() { time.Sleep(5 * time.Second) }, &open, &most} })
				for _, list := range lists {
					time.Sleep(100 * time.Millisecond)
					link.Set(list...)
				}
				time.Sleep(time.Minute)
				if open.Load() != 1 || most.Load() != 1 {
					t.Errorf("%d drivers are open and %d were at once, want one each", open.Load(), most.Load())
				}
			})
		})
	}
}

func changed() device.Instance {
	dev := instance("a/b", nil)
	dev.Spec.Protocol.Config = schema.Options(`{"port":1}`)
	return dev
}

func foreign() device.Instance {
	dev := instance("a/b", nil)
	dev.Spec.Protocol.Name = "another"
	return dev
}

// counting is a device that pushes a hundred values a second and counts calls.
type counting struct {
	*devicetest.Device
	writes, reads atomic.Int32
}

func (c *counting) Read(ctx context.Context, property string) (string, error) {
	if property == "target" {
		c.reads.Add(1)
	}
	return c.Device.Read(ctx, property)
}

func (c *counting) Write(ctx context.Context, property, value string) error {
	c.writes.Add(1)
	return c.Device.Write(ctx, property, value)
}

func (c *counting) Subscribe(ctx context.Context, changed func(property, value string)) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-tick.C:
			changed("temperature", strconv.Itoa(n))
		case <-ctx.Done():
			return nil
		}
	}
}

// failing is a Link that counts the reports that it refuses for now.
type failing struct {
	*devicetest.Link
	calls atomic.Int32
}

func (f *failing) Report(context.Context, string, map[string]string) error {
	f.calls.Add(1)
	return errors.New("broker is away")
}

// TestBackoff: a device refuses a value, or a link refuses reports, while the device
// pushes values. The write or report is tried at 0, 1, 3, 7 and 15 s, and each failure
// logs one line.
func TestBackoff(t *testing.T) {
	run := func(t *testing.T, link device.Link, dev device.Driver, pass func()) *lines {
		log := new(lines)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- device.Run(ctx, device.Config{
				Protocol: "test", New: func() device.Driver { return dev }, Link: link,
				Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn})),
			})
		}()
		pass()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		return log
	}
	t.Run("write", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			dev := &counting{Device: simulated()}
			dev.Fail("Write", errors.New("refused"))
			log := run(t, devicetest.NewLink(instance("a/b", desiredTarget("999"))), dev, func() { time.Sleep(20 * time.Second) })
			if w, r := dev.writes.Load(), dev.reads.Load(); w != 5 || r > 6 || log.count() > 5 {
				t.Errorf("%d writes, %d reads and %d warnings in 20 s, want 5, at most 6 and at most 5", w, r, log.count())
			}
		})
	})
	t.Run("report", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			link := &failing{Link: devicetest.NewLink(instance("a/b", nil))}
			log := run(t, link, &counting{Device: simulated()}, func() { time.Sleep(20 * time.Second) })
			if n := link.calls.Load(); n != 5 || log.count() > 5 {
				t.Errorf("%d reports and %d warnings in 20 s, want 5 and at most 5", n, log.count())
			}
		})
	})
	t.Run("read", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			dev := new(devicetest.Device) // it has no target
			dev.Set("temperature", "20")
			list := instance("a/b", nil)
			list.Spec.Properties[1].CollectCycle = 500
			if log := run(t, devicetest.NewLink(list), dev, func() { time.Sleep(20 * time.Second) }); log.count() != 1 {
				t.Errorf("%d warnings about one property that cannot be read, want 1", log.count())
			}
		})
	})
	t.Run("refused value", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			dev := simulated()
			dev.Set("temperature", "warm")
			if log := run(t, &picky{Link: devicetest.NewLink(instance("a/b", nil))}, dev, func() { time.Sleep(20 * time.Second) }); log.count() != 1 {
				t.Errorf("%d warnings about one value that is refused, want 1", log.count())
			}
		})
	})
}

// lines counts what a text handler writes.
type lines struct {
	mu sync.Mutex
	n  int
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	return len(p), nil
}

func (l *lines) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}
