package devices

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/edgekit/edgekit/edged/internal/deviceapi"
	"github.com/edgekit/edgekit/edged/internal/protomsg"
	"github.com/edgekit/edgekit/meta"
)

// Where a Manager keeps its state in the store: a record for each pod, and one with the
// names of the resources.
const (
	podKeys  = meta.Local + "devices/pods/"
	namesKey = meta.Local + "devices/resources"
)

// recordFormat is the version of a record.
const recordFormat = 1

// maxGrants bounds a record: a pod has at most some hundred containers.
const maxGrants = 1024

// encode writes what a pod has. What is only reserved is not kept.
func (p *podState) encode() protomsg.Message {
	var m protomsg.Message
	m.Number(1, recordFormat)
	for _, g := range p.grants {
		if g.edits == nil {
			continue
		}
		var one protomsg.Message
		one.Text(1, g.container)
		one.Text(2, g.resource)
		one.Part(3, deviceapi.EncodeDevices(g.devices))
		one.Part(4, g.edits.Encode())
		m.Part(2, one)
	}
	return m
}

// decodePod reads a record.
func decodePod(data []byte) (*podState, error) {
	p := &podState{stored: true}
	format := int64(0)
	err := protomsg.EachField(data, func(f protomsg.Field) error {
		switch f.Number {
		case 1:
			format = f.Value
		case 2:
			if len(p.grants) == maxGrants {
				return fmt.Errorf("a pod with more than %d grants", maxGrants)
			}
			g, err := decodeGrant(f.Bytes)
			if err != nil {
				return err
			}
			p.grants = append(p.grants, g)
		}
		return nil
	})
	if err == nil && format != recordFormat {
		err = fmt.Errorf("format %d is not known, only %d", format, recordFormat)
	}
	return p, err
}

func decodeGrant(data []byte) (*grant, error) {
	g := &grant{}
	err := protomsg.EachField(data, func(f protomsg.Field) (err error) {
		switch f.Number {
		case 1:
			g.container = string(f.Bytes)
		case 2:
			g.resource = string(f.Bytes)
		case 3:
			g.devices, _, err = deviceapi.ReadDevices(f.Bytes)
		case 4:
			var e Edits
			e, err = deviceapi.ReadEdits(f.Bytes)
			g.edits = &e
		}
		return err
	})
	if err == nil && (g.container == "" || g.resource == "" || len(g.devices) == 0 || g.edits == nil) {
		err = errors.New("a grant without a container, a resource, devices or edits")
	}
	return g, err
}

// encodeNames writes the names of resources.
func encodeNames(names []string) protomsg.Message {
	var m protomsg.Message
	m.Number(1, recordFormat)
	for _, name := range names {
		m.Item(2, name)
	}
	return m
}

// decodeNames reads the names of resources, as many as there can be.
func decodeNames(data []byte) ([]string, error) {
	var out []string
	err := protomsg.EachField(data, func(f protomsg.Field) error {
		if f.Number == 2 && len(out) < maxResources {
			out = append(out, string(f.Bytes))
		}
		return nil
	})
	return out, err
}

// Load reads what an agent before this one gave to containers. It is called once, before
// anything is given. A record that cannot be read is left out and logged: the devices of
// that pod count as free, and its containers get others when they start again.
func (m *Manager) Load(ctx context.Context) error {
	if m.cfg.Store == nil {
		return nil
	}
	records, _, err := m.cfg.Store.List(ctx, podKeys)
	if err != nil {
		return fmt.Errorf("devices: cannot read which devices containers have: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range records {
		uid := strings.TrimPrefix(r.Key, podKeys)
		p, err := decodePod(r.Value)
		if err != nil {
			m.log.Error("cannot read which devices a pod has; they count as free", "uid", uid, "err", err)
			m.released[uid] = true
			continue
		}
		m.pods[uid] = p
	}
	record, err := m.cfg.Store.Get(ctx, namesKey)
	if errors.Is(err, meta.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("devices: cannot read which resources there were: %w", err)
	}
	names, err := decodeNames(record.Value)
	if err != nil {
		m.log.Error("cannot read which resources of device plugins there were", "err", err)
	}
	for _, name := range names {
		if m.resources[name] == nil && IsExtended(name) {
			// Zero of it are there until its plugin has registered again.
			m.resources[name] = &resourceState{devices: make(map[string]Device), stopped: time.Now()}
		}
	}
	return nil
}

// store makes durable what a pod has. Records of pods that have ended go with the same
// batch, so that no two records name one device.
func (m *Manager) store(ctx context.Context, uid string) error {
	release, err := m.acquireStore(ctx)
	if err != nil {
		return err
	}
	defer release()
	m.mu.Lock()
	p := m.pods[uid]
	if p == nil || !p.unwritten {
		m.mu.Unlock()
		return nil
	}
	record := p.encode()
	p.stored = true
	m.mu.Unlock()
	if err := m.apply(ctx, meta.Op{Key: podKeys + uid, Value: record}); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	p.unwritten = false
	return nil
}

// acquireStore waits until nobody else writes to the store: of two writes about one pod
// the later one counts. The caller calls release.
func (m *Manager) acquireStore(ctx context.Context) (release func(), err error) {
	select {
	case m.writing <- struct{}{}:
		return func() { <-m.writing }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// apply writes to the store, and removes the records of pods that have ended. The caller
// must have acquired the store.
func (m *Manager) apply(ctx context.Context, ops ...meta.Op) error {
	m.mu.Lock()
	var gone []string
	for uid := range m.released {
		if m.pods[uid] == nil {
			ops, gone = append(ops, meta.Op{Key: podKeys + uid, Delete: true}), append(gone, uid)
		}
	}
	m.mu.Unlock()
	if m.cfg.Store == nil || len(ops) == 0 {
		return nil
	}
	if _, err := m.cfg.Store.Apply(ctx, ops...); err != nil {
		return fmt.Errorf("devices: cannot store which devices containers have: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, uid := range gone {
		delete(m.released, uid)
	}
	return nil
}

// Flush removes the records of pods that have ended from the store, and stores the names
// of the resources. What fails is done by the next call.
func (m *Manager) Flush(ctx context.Context) error {
	release, err := m.acquireStore(ctx)
	if err != nil {
		return err
	}
	defer release()
	m.mu.Lock()
	var ops []meta.Op
	names := m.namesLeft
	if names {
		ops = append(ops, meta.Op{Key: namesKey, Value: encodeNames(m.lastingLocked())})
		m.namesLeft = false
	}
	m.mu.Unlock()
	err = m.apply(ctx, ops...)
	if err != nil && names {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.namesLeft = true
	}
	return err
}

// lastingLocked are the names of the resources that an agent after this one is to show
// with zero devices until their plugins have registered again.
func (m *Manager) lastingLocked() []string {
	return slices.DeleteFunc(sortedKeys(m.resources), func(name string) bool {
		r := m.resources[name]
		return !r.listed && !r.restored() || !r.stopped.IsZero() && time.Since(r.stopped) > stopGrace
	})
}
