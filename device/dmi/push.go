package dmi

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/dmi/v1beta1"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/devicespec"
)

// form is a device as its mapper is to have it.
type form struct {
	device      *v1beta1.Device
	model       *v1beta1.DeviceModel
	modelID     string
	digest      uint64 // of the device, never 0
	modelDigest uint64
}

// formOf makes the form of a device for a mapper.
func formOf(d twin.Device, edgekit bool) (form, error) {
	inst, err := devicespec.Instance(d)
	if err != nil {
		return form{}, err
	}
	desired := make(map[string]v1beta1.Desired, len(inst.Desired))
	for name, value := range inst.Desired {
		t := d.Twins[name]
		desired[name] = v1beta1.Desired{Value: value, Type: t.Type, Time: t.Expected.Time}
	}
	dev, err := v1beta1.DeviceOf(d.ID, inst.Spec, desired)
	if err != nil {
		return form{}, fmt.Errorf("device/dmi: %w", err)
	}
	f := form{device: dev, model: v1beta1.ModelOf(d.Namespace(), inst.Spec.ModelRef.Name, inst.Model)}
	f.modelID = d.Namespace() + "/" + inst.Spec.ModelRef.Name
	// A mapper reads a device with its model, so a new model makes a new device.
	if f.digest, err = digest(inst.Spec, inst.Desired, inst.Model); err == nil {
		f.modelDigest, err = digest(inst.Model)
	}
	if err == nil && edgekit {
		err = f.addOwn(inst)
	}
	return f, err
}

// addOwn adds what DMI has no place for.
func (f *form) addOwn(inst device.Instance) (err error) {
	if f.device.EdgekitSpec, err = json.Marshal(inst.Spec); err != nil {
		return err
	}
	f.model.EdgekitModel, err = json.Marshal(inst.Model)
	return err
}

// digest tells forms apart. It is the same after a restart, and never 0.
func digest(parts ...any) (uint64, error) {
	h := fnv.New64a()
	for _, part := range parts {
		raw, err := json.Marshal(part)
		if err != nil {
			return 0, err
		}
		h.Write(raw)
	}
	return max(h.Sum64(), 1), nil
}

// result is what came of a push.
type result struct {
	err     error
	changed bool   // the record in the store is to be written
	digest  uint64 // of what the mapper has now; 0 if it has the device no more
}

// push brings one device of the mapper in line. The caller has marked it as busy.
func (p *mapper) push(ctx context.Context, client v1beta1.Mapper, id string) result {
	m := p.m
	m.mu.Lock()
	a := p.dirty[id]
	delete(p.dirty, id) // a change from now on makes it dirty again
	owned, edgekit := m.owners[id] == p, p.info.Edgekit
	var had given
	g := p.given[id]
	if g != nil {
		had = *g
	}
	has := g != nil || p.inherited
	m.mu.Unlock()
	d, known := m.cfg.Engine.Device(id)
	var r result
	if owned && known {
		r = p.give(ctx, client, d, edgekit, has, had)
	} else if g != nil {
		r = p.take(ctx, client, id, had)
	}
	if r.err != nil {
		m.mu.Lock()
		if _, again := p.dirty[id]; !again {
			p.dirty[id] = a
		}
		m.mu.Unlock()
	}
	return r
}

// give gives the mapper a device that it owns. had is what it has of it.
func (p *mapper) give(ctx context.Context, client v1beta1.Mapper, d twin.Device, edgekit, has bool, had given) result {
	f, err := formOf(d, edgekit)
	if err != nil {
		p.m.log.Error("device has a form that no mapper can be given", "device", d.ID, "err", err)
		return result{} // until it changes
	}
	if err := p.giveModel(ctx, client, f); err != nil {
		return result{err: err}
	}
	if had.present && had.certain && had.digest == f.digest {
		return result{}
	}
	if had.stored != 0 && had.stored != f.digest {
		// Should edgecore end before the new digest is stored, the old one must not be there: the
		// device may have become the old one again by then, and the mapper would keep the new one.
		p.m.note(ctx, p.name, map[string]uint64{d.ID: 0})
		had.stored = 0
	}
	p.set(d.ID, given{digest: f.digest, stored: had.stored, model: f.modelID}) // uncertain, until the mapper has answered
	if !had.present {
		_, err := call(ctx, p, client.RegisterDevice, &v1beta1.RegisterDeviceRequest{Device: f.device})
		if err != nil && status.Code(err) != codes.AlreadyExists {
			return result{err: err}
		}
	}
	// RegisterDevice changes nothing of a device that the mapper has already.
	if has && (!had.certain || had.digest != f.digest) {
		if _, err := call(ctx, p, client.UpdateDevice, &v1beta1.UpdateDeviceRequest{Device: f.device}); err != nil {
			return result{err: err}
		}
	}
	p.set(d.ID, given{digest: f.digest, certain: true, present: true, stored: f.digest, model: f.modelID})
	return result{changed: had.stored != f.digest, digest: f.digest}
}

// giveModel gives the mapper the model of a device, if it does not have it.
func (p *mapper) giveModel(ctx context.Context, client v1beta1.Mapper, f form) error {
	p.modelMu.Lock()
	defer p.modelMu.Unlock()
	p.m.mu.Lock()
	have, ok := p.models[f.modelID]
	p.m.mu.Unlock()
	if ok && have == f.modelDigest {
		return nil
	}
	var err error
	if !ok {
		_, err = call(ctx, p, client.CreateDeviceModel, &v1beta1.CreateDeviceModelRequest{Model: f.model})
		ok = status.Code(err) == codes.AlreadyExists
	}
	if ok {
		_, err = call(ctx, p, client.UpdateDeviceModel, &v1beta1.UpdateDeviceModelRequest{Model: f.model})
	}
	if err != nil && status.Code(err) != codes.Unimplemented {
		return err
	}
	p.m.mu.Lock()
	p.models[f.modelID] = f.modelDigest
	p.m.mu.Unlock()
	return nil
}

// take takes a device from the mapper, and its model if that is the last device of it. A mapper
// that refuses does not have the device.
func (p *mapper) take(ctx context.Context, client v1beta1.Mapper, id string, had given) result {
	namespace, name, _ := strings.Cut(id, "/")
	_, err := call(ctx, p, client.RemoveDevice, &v1beta1.RemoveDeviceRequest{DeviceName: name, DeviceNamespace: namespace})
	if retryable(err) {
		return result{err: err}
	}
	p.m.mu.Lock()
	delete(p.given, id)
	last := had.model != ""
	for _, g := range p.given {
		last = last && g.model != had.model
	}
	p.m.mu.Unlock()
	if last {
		p.takeModel(ctx, client, had.model)
	}
	return result{changed: true}
}

// takeModel takes a model from the mapper, unless a device has come meanwhile that has it or may
// have it: a mapper that keeps a model has no harm of it.
func (p *mapper) takeModel(ctx context.Context, client v1beta1.Mapper, id string) {
	p.modelMu.Lock()
	defer p.modelMu.Unlock()
	p.m.mu.Lock()
	_, ok := p.models[id]
	for _, g := range p.given {
		ok = ok && g.model != id
	}
	for other := range p.busy {
		ok = ok && p.m.owners[other] != p // it is being given
	}
	if ok {
		delete(p.models, id)
	}
	p.m.mu.Unlock()
	if !ok {
		return
	}
	namespace, name, _ := strings.Cut(id, "/")
	if _, err := call(ctx, p, client.RemoveDeviceModel, &v1beta1.RemoveDeviceModelRequest{ModelName: name, ModelNamespace: namespace}); err != nil && ctx.Err() == nil {
		p.m.log.Debug("mapper keeps a model", "model", id, "err", err)
	}
}

func (p *mapper) set(id string, g given) {
	p.m.mu.Lock()
	p.given[id] = &g
	p.m.mu.Unlock()
}

// retryable reports whether a call may succeed later: the mapper was not reached, or did not
// answer in time.
func retryable(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.ResourceExhausted, codes.Aborted:
		return true
	}
	return false
}

// call makes one call to the mapper.
func call[Q, A any](ctx context.Context, p *mapper, method func(context.Context, *Q) (*A, error), request *Q) (*A, error) {
	ctx, cancel := context.WithTimeout(ctx, p.m.cfg.Timeout)
	defer cancel()
	p.m.calls.Add(1)
	answer, err := method(ctx, request)
	if err != nil {
		p.m.failed.Add(1)
	}
	return answer, err
}
