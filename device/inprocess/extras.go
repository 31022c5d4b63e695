package inprocess

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/devicespec"
)

var (
	_ device.ConditionLink = (*Link)(nil)
	_ device.MethodLink    = (*Link)(nil)
	_ device.ProposalLink  = (*Link)(nil)
)

// Conditions stores conditions with the device.
func (l *Link) Conditions(ctx context.Context, id string, conditions []device.Condition) error {
	r := twin.SetConditions{Conditions: make([]twin.Condition, 0, len(conditions))}
	for _, c := range conditions {
		r.Conditions = append(r.Conditions, twin.Condition{Type: c.Type, Status: c.Status, Reason: c.Reason, Message: c.Message})
	}
	_, err := l.engine.Do(ctx, twin.Call{Device: id, Request: r})
	return markRefused(err)
}

// extras are the methods and proposals of the mappers that run with a Link.
type extras struct {
	mu        sync.Mutex
	handlers  []*device.MethodHandler // of the mappers, as they came
	proposals map[string][]device.Proposal
}

// ServeMethods passes on what Call is given until ctx ends.
func (l *Link) ServeMethods(ctx context.Context, handle device.MethodHandler) error {
	l.extras.mu.Lock()
	l.extras.handlers = append(l.extras.handlers, &handle)
	l.extras.mu.Unlock()
	<-ctx.Done()
	l.extras.mu.Lock()
	defer l.extras.mu.Unlock()
	l.extras.handlers = slices.DeleteFunc(l.extras.handlers, func(h *device.MethodHandler) bool { return h == &handle })
	return nil
}

// Call runs a method of a device at the mapper that drives it, of those that run with this
// Link. The error is device.ErrNotDriven if none does, or a *device.CallError.
func (l *Link) Call(ctx context.Context, id, method string, parameters schema.Options) (schema.Options, error) {
	l.extras.mu.Lock()
	handlers := slices.Clone(l.extras.handlers)
	l.extras.mu.Unlock()
	for _, handle := range handlers {
		result, err := (*handle)(ctx, id, method, parameters)
		if !errors.Is(err, device.ErrNotDriven) {
			return result, err
		}
	}
	return nil, device.ErrNotDriven
}

// Propose keeps the proposals of a protocol for Proposals, and adopts those that Config.Adopt
// takes.
func (l *Link) Propose(ctx context.Context, protocol string, proposals []device.Proposal) error {
	l.extras.mu.Lock()
	if l.extras.proposals == nil {
		l.extras.proposals = make(map[string][]device.Proposal)
	}
	l.extras.proposals[protocol] = slices.Clone(proposals)
	l.extras.mu.Unlock()
	if l.adopt == nil {
		return nil
	}
	var errs []error
	for _, p := range proposals {
		id, model, ok := l.adopt(p)
		if _, known := l.engine.Device(id); !ok || known {
			continue
		}
		if err := l.Adopt(ctx, id, p, model); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Proposals returns the devices that mappers have found and nobody has declared.
func (l *Link) Proposals() []device.Proposal {
	l.extras.mu.Lock()
	defer l.extras.mu.Unlock()
	var list []device.Proposal
	for _, protocol := range slices.Sorted(maps.Keys(l.extras.proposals)) {
		list = append(list, l.extras.proposals[protocol]...)
	}
	return list
}

// Adopt declares a proposed device to the engine under an ID, with a model. A proposal without
// properties gets those of the model.
func (l *Link) Adopt(ctx context.Context, id string, p device.Proposal, model schema.DeviceModelSpec) error {
	put, err := devicespec.Declare(p.Spec(model), model)
	if err == nil {
		err = l.engine.Put(ctx, id, put)
	}
	if err != nil {
		return fmt.Errorf("device/inprocess: adopt %s as %s: %w", p.Name, id, err)
	}
	return nil
}
