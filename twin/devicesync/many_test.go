package devicesync_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
)

// countedStore counts the batches that have devices of the twin.
type countedStore struct {
	meta.Store
	batches atomic.Int64
}

func (c *countedStore) Apply(ctx context.Context, ops ...meta.Op) (uint64, error) {
	if len(ops) > 0 && strings.HasPrefix(ops[0].Key, meta.Local+"twin/") {
		c.batches.Add(1)
	}
	return c.Store.Apply(ctx, ops...)
}

// TestManyDevicesOfModel changes the model of 500 devices: they are written together, so that
// the last mapper does not wait for 500 writes of a slow disk.
func TestManyDevicesOfModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &countedStore{Store: memstore.New()}
		o := &outbox{Store: store}
		defer o.Close()
		const devices = 500
		for i := range devices {
			o.down(t, "devices", fmt.Sprintf("plant/d%d", i), strings.ReplaceAll(boiler(1, "45"), `"name":"boiler"`, fmt.Sprintf(`"name":"d%d"`, i)))
		}
		o.down(t, "devicemodels", "plant/boiler-model", model)
		engine, stop := run(t, o)
		defer stop()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := len(engine.Devices()); n != devices {
			t.Fatalf("%d devices", n)
		}
		before := store.batches.Load()
		o.down(t, "devicemodels", "plant/boiler-model", strings.ReplaceAll(model, "INT", "FLOAT"))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		for _, d := range engine.Devices() {
			if d.Twins["target"].Type != "float" {
				t.Fatalf("%s has %+v", d.ID, d.Twins["target"])
			}
		}
		if n := store.batches.Load() - before; n > devices/10 {
			t.Errorf("%d writes for %d devices", n, devices)
		}
	})
}
