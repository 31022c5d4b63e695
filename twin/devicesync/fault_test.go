package devicesync_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/devicesync"
)

// TestUnreadableObjects: the cloud replaces objects by ones that this release cannot
// read. Their last readable version stays, also after a restart, until they can be read
// again or are deleted.
func TestUnreadableObjects(t *testing.T) {
	for name, unreadable := range map[string]struct{ resource, id, body string }{
		"device of a newer form": {"devices", "plant/boiler", `{"metadata":{"namespace":"plant","name":"boiler"},"spec":{"properties":{"a":1}}}`},
		"device that is no JSON": {"devices", "plant/boiler", `{`},
		"model of a newer form":  {"devicemodels", "plant/boiler-model", `{"spec":{"properties":"none"}}`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := &outbox{Store: memstore.New()}
				defer o.Close()
				o.down(t, "devicemodels", "plant/boiler-model", model)
				o.down(t, "devices", "plant/boiler", boiler(1, "45"))
				engine, stop := run(t, o)
				synctest.Wait()
				set(t, engine, "target", "44")
				if err := engine.SetState(t.Context(), "plant/boiler", "online"); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Second)

				o.down(t, unreadable.resource, unreadable.id, unreadable.body)
				kept := func(when string) {
					t.Helper()
					time.Sleep(3 * time.Second)
					synctest.Wait()
					d, ok := engine.Device("plant/boiler")
					if !ok || d.State != "online" || d.Twins["target"].Actual == nil || d.Twins["target"].Expected.Value != "45" {
						t.Fatalf("%s the device is %v %+v", when, ok, d)
					}
					if s, ok := o.status(t, "plant/boiler"); !ok || s.State != "online" {
						t.Errorf("%s the report is %v %+v", when, ok, s)
					}
				}
				kept("while it cannot be read")
				stop()
				engine, stop = run(t, o)
				kept("after a restart")

				o.down(t, "devicemodels", "plant/boiler-model", model)
				o.down(t, "devices", "plant/boiler", boiler(2, "50"))
				time.Sleep(2 * time.Second)
				if d, _ := engine.Device("plant/boiler"); d.Twins["target"].Expected.Value != "50" || d.Twins["target"].Actual == nil {
					t.Errorf("readable again: %+v", d)
				}
				o.down(t, unreadable.resource, unreadable.id, unreadable.body)
				o.down(t, "devices", "plant/boiler", "")
				time.Sleep(2 * time.Second)
				if list := engine.Devices(); len(list) != 0 {
					t.Errorf("when its Device has gone: %+v", list)
				}
				stop()
			})
		})
	}
}

// lines keeps what is logged.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

// fullDisk is an outbox that refuses everything while it is full.
type fullDisk struct {
	*outbox
	full atomic.Bool
}

func (f *fullDisk) Update(ctx context.Context, obj meta.Object) error {
	if f.full.Load() {
		return fmt.Errorf("store: %w", syscall.ENOSPC)
	}
	return f.outbox.Update(ctx, obj)
}

func (f *fullDisk) Apply(ctx context.Context, ops ...meta.Op) (uint64, error) {
	if f.full.Load() && len(ops) > 0 {
		return 0, fmt.Errorf("store: %w", syscall.ENOSPC)
	}
	return f.outbox.Apply(ctx, ops...)
}

// TestFullDisk: for twenty minutes the full disk refuses the reports and declarations of
// 20 devices. The log has few lines about it, and all of them are stored when there is
// room again.
func TestFullDisk(t *testing.T) {
	const many = 20
	synctest.Test(t, func(t *testing.T) {
		log := new(lines)
		logger := slog.New(slog.NewTextHandler(log, nil))
		disk := &fullDisk{outbox: &outbox{Store: memstore.New()}}
		defer disk.Close()
		engine, err := twin.New(twin.Config{Store: disk, Logger: logger})
		if err != nil {
			t.Fatal(err)
		}
		syncer, err := devicesync.New(devicesync.Config{Engine: engine, Store: disk, Reporter: disk, Logger: logger})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 2)
		go func() { ended <- syncer.Run(ctx) }()
		go func() { ended <- engine.Run(ctx) }()
		disk.down(t, "devicemodels", "plant/boiler-model", model)
		one := func(i, generation int, desired string) {
			disk.down(t, "devices", fmt.Sprintf("plant/b%d", i), strings.Replace(boiler(generation, desired), `"boiler"`, fmt.Sprintf(`"b%d"`, i), 1))
		}
		for i := range many {
			one(i, 1, "45")
		}
		time.Sleep(5 * time.Second)
		disk.full.Store(true)
		for i := range many { // by the cloud, whose store is not full
			one(i, 2, "46")
		}
		time.Sleep(20 * time.Minute)
		if n := log.count("\n"); n > 80 {
			t.Errorf("%d lines in twenty minutes of a full disk", n)
		}
		disk.full.Store(false)
		time.Sleep(10 * time.Second)
		for i := range many {
			if s, _ := disk.status(t, fmt.Sprintf("plant/b%d", i)); s.ObservedGeneration != 2 {
				t.Fatalf("device %d has reported %+v", i, s)
			}
		}
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
}
