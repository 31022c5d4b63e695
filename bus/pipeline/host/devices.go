package host

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"sync"

	"github.com/edgekit/edgekit/bus/pipeline/wire"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/resources"
)

// deviceWatch follows the labels of the node's Devices while a Pipeline selects devices by them.
// Only follow and Run call its methods.
type deviceWatch struct {
	h      *Host
	cancel context.CancelFunc // nil while it does not run
	group  sync.WaitGroup
}

// adjust starts or stops it.
func (d *deviceWatch) adjust(ctx context.Context) {
	d.h.mu.Lock()
	wanted := len(d.h.selectingLocked()) > 0
	d.h.mu.Unlock()
	switch {
	case wanted && d.cancel == nil:
		ctx, d.cancel = context.WithCancel(ctx)
		d.group.Go(func() { d.h.followDevices(ctx) })
	case !wanted:
		d.stop()
	}
}

func (d *deviceWatch) stop() {
	if d.cancel == nil {
		return
	}
	d.cancel()
	d.group.Wait()
	d.cancel = nil
	d.h.mu.Lock()
	defer d.h.mu.Unlock()
	clear(d.h.devices)
}

// selectingLocked are the namespaces of Pipelines that select devices by labels. It needs mu.
func (h *Host) selectingLocked() map[string]bool {
	out := make(map[string]bool)
	for key, p := range h.pipelines {
		if p.selects && !p.tooMany {
			out[key.Namespace] = true
		}
	}
	return out
}

// devicesLocked are the Devices for a Set. It needs mu.
func (h *Host) devicesLocked() []wire.Device {
	var out []wire.Device
	namespaces := h.selectingLocked()
	for _, key := range sortedKeys(h.devices) {
		if namespaces[key.Namespace] {
			out = append(out, wire.Device{Namespace: key.Namespace, Name: key.Name, Labels: h.devices[key]})
		}
	}
	return out
}

// devicesPrefix is that of the node's Devices in the store.
const devicesPrefix = meta.Down + resources.Devices + "/"

// followDevices follows the labels until ctx ends.
func (h *Host) followDevices(ctx context.Context) {
	for ctx.Err() == nil {
		err := h.watchDevices(ctx)
		if ctx.Err() != nil {
			return
		}
		h.log.Warn("listing devices again", "err", err)
		sleep(ctx, retryPause)
	}
}

func (h *Host) watchDevices(ctx context.Context) error {
	records, revision, err := h.cfg.Store.List(ctx, devicesPrefix)
	if err != nil {
		return err
	}
	h.mu.Lock()
	before := maps.Clone(h.devices)
	clear(h.devices)
	for _, rec := range records {
		h.setDeviceLocked(rec)
	}
	if !maps.EqualFunc(before, h.devices, maps.Equal[map[string]string, map[string]string]) {
		h.changedLocked()
	}
	h.mu.Unlock()
	events, err := h.cfg.Store.Watch(ctx, devicesPrefix, revision)
	if err != nil {
		return err
	}
	for batch := range events {
		h.mu.Lock()
		changed := false
		for _, e := range batch {
			if !e.Deleted {
				changed = h.setDeviceLocked(e.Record) || changed
			} else if key, ok := meta.ParsePath(strings.TrimPrefix(e.Key, meta.Down)); ok {
				_, had := h.devices[key]
				delete(h.devices, key)
				changed = changed || had
			}
		}
		if changed {
			h.changedLocked()
		}
		h.mu.Unlock()
	}
	return errors.New("the watch has ended")
}

// setDeviceLocked notes the labels of a stored Device, and reports whether they have changed. It
// needs mu.
func (h *Host) setDeviceLocked(rec meta.Record) bool {
	o, err := meta.DecodeObject(meta.Down, rec)
	if err != nil {
		return false // the owner of devices logs it
	}
	var device struct {
		Metadata struct {
			Labels map[string]string `json:"labels"`
		} `json:"metadata"`
	}
	if json.Unmarshal(o.Body, &device) != nil {
		return false
	}
	before, had := h.devices[o.Key]
	h.devices[o.Key] = device.Metadata.Labels
	return !had || !maps.Equal(before, device.Metadata.Labels)
}
