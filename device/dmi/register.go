package dmi

import (
	"context"
	"slices"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/edgekit/edgekit/device/dmi/internal/socket"
	"github.com/edgekit/edgekit/device/dmi/v1beta1"
)

// maxResponse is how many bytes of devices a mapper gets as it registers. The clients of most
// languages accept 4 MiB. Further devices follow by RegisterDevice.
const maxResponse = 3 << 20

// service is the Manager as gRPC has it.
type service struct{ *Manager }

var _ v1beta1.DeviceManager = service{}

// MapperRegister takes a mapper in, and returns its devices if it asks for them.
func (s service) MapperRegister(ctx context.Context, r *v1beta1.MapperRegisterRequest) (*v1beta1.MapperRegisterResponse, error) {
	m := s.Manager
	who := socket.PeerOf(ctx)
	i, err := infoOf(r.Mapper, who)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if err := m.waitLoaded(ctx); err != nil {
		return nil, err
	}
	p, forgotten, err := m.register(i)
	if forgotten != "" {
		m.forget(ctx, forgotten)
	}
	if err != nil {
		return nil, err
	}
	m.decide(ctx, i)
	if err := m.save(ctx, i); err != nil {
		m.log.Error("mapper cannot be stored; after a restart it must register again", "mapper", i.Name, "err", err)
	}
	m.log.Info("mapper has registered", "mapper", i.Name, "protocol", i.Protocol, "version", i.Version, "socket", i.Socket, "pid", who.PID, "uid", i.UID, "withData", r.WithData)
	if !r.WithData {
		return new(v1beta1.MapperRegisterResponse), nil
	}
	response, left := p.response()
	if left > 0 {
		_ = grpc.SetHeader(ctx, metadata.Pairs(v1beta1.HeaderDevicesLeft, strconv.Itoa(left))) // only fails outside of a call
	}
	return response, nil
}

// waitLoaded waits until the devices of the node are known.
func (m *Manager) waitLoaded(ctx context.Context) error {
	select {
	case <-m.loaded:
		return nil
	case <-ctx.Done():
		return status.Error(codes.Unavailable, "edgecore does not know its devices yet: register again")
	}
}

// register adds a mapper, or brings it up to date. It returns the name of a mapper that was
// forgotten for it. The error has a gRPC status.
func (m *Manager) register(i info) (p *mapper, forgotten string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p = m.mappers[i.Name]
	if p == nil {
		if len(m.mappers) >= MaxMappers {
			old, ok := m.forgetLocked()
			if !ok {
				return nil, "", status.Errorf(codes.ResourceExhausted, "%d mappers are registered, which is the limit (MaxMappers)", MaxMappers)
			}
			forgotten = old.Name
		}
		p = newMapper(m, i)
		m.mappers[i.Name] = p
	}
	if p.connected && p.info.UID >= 0 && i.UID > 0 && i.UID != p.info.UID {
		return nil, "", status.Errorf(codes.PermissionDenied, "mapper %q is connected and was registered by user %d, not %d: use another name, or end that mapper first", i.Name, p.info.UID, i.UID)
	}
	if old := p.info.Protocol; old != i.Protocol {
		m.protocolLocked(old)
	}
	p.info, p.away, p.inherited = i, false, false
	p.epoch++
	m.protocolLocked(i.Protocol)
	m.settleLocked()
	p.resyncLocked()
	notify(m.wake) // to run it
	return p, forgotten, nil
}

// response makes the answer with all devices of the mapper, and the number of those that it has
// no room for.
func (p *mapper) response() (r *v1beta1.MapperRegisterResponse, left int) {
	m := p.m
	m.mu.Lock()
	var ids []string
	for id, owner := range m.owners {
		if owner == p {
			ids = append(ids, id)
		}
	}
	edgekit, decided := p.info.Edgekit, m.claimLocked(p.info.Protocol).decided
	m.mu.Unlock()
	if !decided { // they follow
		return new(v1beta1.MapperRegisterResponse), max(len(ids), 1)
	}
	slices.Sort(ids)
	r = new(v1beta1.MapperRegisterResponse)
	models, forms, size := make(map[string]uint64), make(map[string]form), 0
	for _, id := range ids {
		d, ok := m.cfg.Engine.Device(id)
		if !ok {
			continue
		}
		f, err := formOf(d, edgekit)
		if err != nil {
			continue // push logs it
		}
		b, err := m.codec.Append(nil, f.device)
		if size += len(b) + 8; err != nil || size > maxResponse {
			left++
			continue
		}
		if _, ok := models[f.modelID]; !ok {
			if b, err = m.codec.Append(nil, f.model); err != nil {
				continue
			}
			size += len(b) + 8
			models[f.modelID] = f.modelDigest
			r.ModelList = append(r.ModelList, f.model)
		}
		r.DeviceList = append(r.DeviceList, f.device)
		f.device, f.model = nil, nil
		forms[id] = f
	}
	// Should the answer be lost, the mapper registers again. That it has the devices counts
	// only when RegisterDevice has confirmed it. A mapper that was not restarted may keep what it
	// had of a device, so one that has changed since is updated as well.
	m.mu.Lock()
	for id, f := range forms {
		g := &given{digest: f.digest, certain: true, model: f.modelID}
		if old := p.given[id]; old != nil {
			g.stored, g.certain = old.stored, old.certain && old.digest == f.digest
		}
		p.given[id] = g
	}
	m.mu.Unlock()
	return r, left
}
