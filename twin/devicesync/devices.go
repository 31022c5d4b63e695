package devicesync

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/jsonlimit"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/devicespec"
)

// view holds the cloud's objects on the node. One goroutine owns it.
type view struct {
	devices map[string]*v1beta1.Device         // by namespace/name
	models  map[string]*schema.DeviceModelSpec // by namespace/name
	pending map[string]struct{}                // devices to put to the engine (again)
	// unreadable holds the Devices on the node that this release cannot decode. The
	// engine keeps what it has of them.
	unreadable map[string]struct{}
}

// syncDevices keeps the engine in line with the cloud's objects. When a watch ends
// it lists everything again.
func (s *Syncer) syncDevices(ctx context.Context) error {
	for ctx.Err() == nil {
		err := s.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, net.ErrClosed) || errors.Is(err, twin.ErrClosed) {
			return err
		}
		s.warn("listing devices again", "err", err)
		if !sleep(ctx, retry) {
			return nil
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// follow lists everything, brings the engine in line, and then follows the
// changes.
func (s *Syncer) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	v := &view{devices: make(map[string]*v1beta1.Device), models: make(map[string]*schema.DeviceModelSpec), pending: make(map[string]struct{}), unreadable: make(map[string]struct{})}
	modelEvents, err := s.listAndWatch(ctx, v, models)
	if err != nil {
		return err
	}
	deviceEvents, err := s.listAndWatch(ctx, v, devices)
	if err != nil {
		return err
	}
	for id := range v.devices {
		v.pending[id] = struct{}{}
	}
	if err := s.removeOthers(ctx, v); err != nil {
		return err
	}
	var again <-chan time.Time
	for {
		if err := s.flush(ctx, v); err != nil {
			return err
		}
		s.markSynced()
		again = nil
		if len(v.pending) > 0 {
			again = time.After(retry)
		}
		var events []meta.Event
		var ok bool
		select {
		case events, ok = <-modelEvents:
		case events, ok = <-deviceEvents:
		case <-again:
			continue
		case <-ctx.Done():
			return nil
		}
		if !ok {
			return errors.New("a watch has ended")
		}
		for _, e := range events {
			if err := s.applyRecord(ctx, v, e.Record, e.Deleted); err != nil {
				return err
			}
		}
	}
}

func (s *Syncer) markSynced() {
	select {
	case <-s.synced:
	default:
		close(s.synced)
	}
}

// listAndWatch reads all objects of a resource into the view and watches them.
func (s *Syncer) listAndWatch(ctx context.Context, v *view, resource string) (<-chan []meta.Event, error) {
	prefix := meta.Down + resource + "/"
	records, revision, err := s.cfg.Store.List(ctx, prefix)
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		if err := s.applyRecord(ctx, v, r, false); err != nil {
			return nil, err
		}
	}
	return s.cfg.Store.Watch(ctx, prefix, revision)
}

// applyRecord puts one record into the view and marks the devices that depend on
// it as pending. An object that cannot be decoded is logged, and the view keeps
// its previous form: a newer cloud may send fields that this release cannot read.
func (s *Syncer) applyRecord(ctx context.Context, v *view, r meta.Record, gone bool) error {
	key, _ := meta.ParsePath(r.Key[len(meta.Down):])
	id := key.Namespace + "/" + key.Name
	var dev v1beta1.Device
	var model v1beta1.DeviceModel
	if !gone {
		o, err := meta.DecodeObject(meta.Down, r)
		if err == nil && key.Resource == devices {
			err = jsonlimit.Unmarshal(o.Body, &dev)
		} else if err == nil {
			err = jsonlimit.Unmarshal(o.Body, &model)
		}
		if err != nil {
			s.cfg.Logger.Error("object from the cloud cannot be decoded; its previous form stays in use", "key", r.Key, "err", err)
			if key.Resource == devices {
				v.unreadable[id] = struct{}{}
			}
			return nil
		}
	}
	if key.Resource == devices {
		delete(v.unreadable, id)
	}
	switch {
	case key.Resource == devices && gone:
		delete(v.devices, id)
		delete(v.pending, id)
		return s.remove(ctx, id)
	case key.Resource == devices:
		v.devices[id] = &dev
		v.pending[id] = struct{}{}
	case gone:
		delete(v.models, id) // its devices keep the model that they have
	default:
		v.models[id] = &model.Spec
		for id, d := range v.devices {
			if d.Namespace == key.Namespace && d.Spec.ModelRef.Name == key.Name {
				v.pending[id] = struct{}{}
			}
		}
	}
	return nil
}

// removeOthers removes the engine's devices that came from the cloud and are
// not on the node any more.
func (s *Syncer) removeOthers(ctx context.Context, v *view) error {
	for _, d := range s.cfg.Engine.Devices() {
		_, known := v.devices[d.ID]
		_, unreadable := v.unreadable[d.ID]
		if !known && !unreadable && d.Member.Owner == owner {
			if err := s.cfg.Engine.Remove(ctx, d.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// remove removes a device that came from the cloud.
func (s *Syncer) remove(ctx context.Context, id string) error {
	if d, ok := s.cfg.Engine.Device(id); !ok || d.Member.Owner != owner {
		return nil
	}
	return s.cfg.Engine.Remove(ctx, id)
}

// flushLength is how many devices are put to the engine together: it writes them as one or few
// batches.
const flushLength = 64

// flush puts the pending devices to the engine. A device that the store rejects
// stays pending.
func (s *Syncer) flush(ctx context.Context, v *view) error {
	ids := slices.Sorted(maps.Keys(v.pending))
	for chunk := range slices.Chunk(ids, flushLength) {
		if err := s.put(ctx, v, chunk); err != nil {
			return err
		}
	}
	return nil
}

// put puts some of the pending devices to the engine.
func (s *Syncer) put(ctx context.Context, v *view, ids []string) error {
	calls := make([]twin.Call, 0, len(ids))
	for _, id := range ids {
		put, ok := s.declare(v, id)
		if !ok {
			delete(v.pending, id)
			continue
		}
		calls = append(calls, twin.Call{Device: id, Request: put})
	}
	commits, err := s.cfg.Engine.DoAll(ctx, calls)
	if commits == nil && err != nil { // the engine has ended, or ctx
		return err
	}
	for i, c := range commits {
		err := c.Err()
		if errors.Is(err, &twin.Error{Code: twin.CodeInternal}) {
			continue
		}
		if err != nil {
			s.cfg.Logger.Error("device is refused", "device", calls[i].Device, "err", err)
		}
		delete(v.pending, calls[i].Device)
		s.dirty.add(calls[i].Device)
	}
	return nil
}

// declare returns the engine's request for a device; false if it has to wait
// for its model or cannot be used.
func (s *Syncer) declare(v *view, id string) (twin.Put, bool) {
	dev := v.devices[id]
	model, ok := v.models[dev.Namespace+"/"+dev.Spec.ModelRef.Name]
	if !ok {
		s.cfg.Logger.Info("device waits for its model", "device", id, "model", dev.Spec.ModelRef.Name)
		return twin.Put{}, false
	}
	put, err := devicespec.Declare(dev.Spec, *model)
	if err != nil {
		s.cfg.Logger.Error("device cannot be used", "device", id, "err", err)
		return twin.Put{}, false
	}
	put.Member.Owner = owner
	put.Member.Incarnation = string(dev.UID)
	put.Member.Version = uint64(max(dev.Generation, 0))
	return put, true
}

// invalid lists what is wrong with the desired values of a Device, and returns the reason of
// the first for a condition.
func invalid(spec schema.DeviceSpec, d twin.Device) (bad []string, reason string) {
	for _, p := range spec.Properties {
		t, ok := d.Twins[p.Name]
		if p.Desired == nil || !ok || t.Deleted {
			continue
		}
		var why error
		switch err := t.CheckDesired(p.Desired.Value); {
		case err != nil:
			why = err
		case t.Rule.NotInModel:
			why = errors.New("the model has no such property: the value is not checked, and drivers of the SDK do not write it")
		default:
			continue
		}
		bad = append(bad, fmt.Sprintf("%s: %s", p.Name, strings.TrimPrefix(why.Error(), "twin: ")))
		if reason == "" {
			reason = reasonFor(t, p.Desired.Value, why)
		}
	}
	return bad, reason
}

// reasonFor returns the condition's reason for a desired value that err refuses.
func reasonFor(t twin.Twin, value string, err error) string {
	switch {
	case errors.Is(err, &twin.Error{Code: twin.CodeForbidden}):
		return "NotAllowed"
	case twin.CheckValue(t.Type, value) != nil:
		return "WrongType"
	case errors.Is(err, &twin.Error{Code: twin.CodeInvalid}):
		return "OutOfRange"
	}
	return "NotInModel"
}
