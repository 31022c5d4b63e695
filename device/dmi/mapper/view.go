package mapper

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/dmi/v1beta1"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// view is what a Link knows of its devices.
type view struct {
	changed chan struct{}

	mu      sync.Mutex
	known   bool // edgecore has said which devices there are
	devices map[string]device.Instance
	models  map[string]schema.DeviceModelSpec
	// called has the devices and models that edgecore has called about since the registration
	// in work began: its answer may be older.
	called map[string]bool
	values map[string]map[string]string // as last reported, by device
}

func newView() *view {
	return &view{
		changed: make(chan struct{}, 1), devices: make(map[string]device.Instance), models: make(map[string]schema.DeviceModelSpec),
		called: make(map[string]bool), values: make(map[string]map[string]string),
	}
}

// begin says that a registration begins.
func (v *view) begin() {
	v.mu.Lock()
	clear(v.called)
	v.mu.Unlock()
}

// replace takes the answer of a registration. With partial set it lacks devices, which follow.
func (v *view) replace(r *v1beta1.MapperRegisterResponse, partial bool) (bad []error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	devices, models := make(map[string]device.Instance), make(map[string]schema.DeviceModelSpec)
	for id, dev := range v.devices {
		if partial || v.called[id] {
			devices[id] = dev
		}
	}
	for id, m := range v.models {
		if partial || v.called["model "+id] {
			models[id] = m
		}
	}
	for _, m := range r.ModelList {
		if m == nil {
			continue
		}
		if id := v1beta1.ID(m.Namespace, m.Name); !v.called["model "+id] {
			models[id] = v1beta1.ModelSpec(m)
		}
	}
	for _, d := range r.DeviceList {
		if d == nil || v.called[d.ID()] {
			continue
		}
		dev, err := instance(d)
		if err != nil {
			bad = append(bad, err)
			continue
		}
		devices[dev.ID] = dev
	}
	v.devices, v.models, v.known = devices, models, true
	maps.DeleteFunc(v.values, func(id string, _ map[string]string) bool { _, ok := devices[id]; return !ok })
	v.notify()
	return bad
}

func (v *view) notify() {
	select {
	case v.changed <- struct{}{}:
	default: // one is enough
	}
}

// follow calls changed with the list after each change until ctx ends.
func (v *view) follow(ctx context.Context, changed func([]device.Instance)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-v.changed:
		}
		if list, known := v.list(); known {
			changed(list)
		}
	}
}

func (v *view) list() ([]device.Instance, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	list := make([]device.Instance, 0, len(v.devices))
	for _, dev := range v.devices {
		namespace, _, _ := strings.Cut(dev.ID, "/")
		dev.Model = v.models[v1beta1.ID(namespace, dev.Spec.ModelRef.Name)]
		list = append(list, dev)
	}
	slices.SortFunc(list, func(a, b device.Instance) int { return cmp.Compare(a.ID, b.ID) })
	return list, v.known
}

// report returns the twins of a report, and keeps the values for GetDevice.
func (v *view) report(id string, values map[string]string) (twins []*v1beta1.Twin) {
	namespace, _, _ := strings.Cut(id, "/")
	now := strconv.FormatInt(time.Now().UnixMilli(), 10)
	v.mu.Lock()
	defer v.mu.Unlock()
	dev, known := v.devices[id]
	model := v.models[v1beta1.ID(namespace, dev.Spec.ModelRef.Name)]
	if known && len(values) > 0 && v.values[id] == nil {
		v.values[id] = make(map[string]string)
	}
	for _, property := range slices.Sorted(maps.Keys(values)) {
		metadata := map[string]string{"timestamp": now}
		if p := model.Property(property); p != nil {
			metadata["type"] = strings.ToLower(string(p.Type))
		}
		t := &v1beta1.Twin{PropertyName: property, Reported: &v1beta1.TwinProperty{Value: values[property], Metadata: metadata}}
		if desired, ok := dev.Desired[property]; ok {
			t.ObservedDesired = &v1beta1.TwinProperty{Value: desired}
		}
		twins = append(twins, t)
		if known {
			v.values[id][property] = values[property]
		}
	}
	return twins
}

// instance makes a device of the SDK.
func instance(d *v1beta1.Device) (device.Instance, error) {
	if d.Name == "" {
		return device.Instance{}, status.Error(codes.InvalidArgument, "device.name is empty: name the device")
	}
	spec, desired, err := v1beta1.Spec(d)
	if err != nil {
		return device.Instance{}, err
	}
	return device.Instance{ID: d.ID(), Spec: spec, Desired: desired}, nil
}

// service is DeviceMapperService on a view.
type service struct{ *view }

var _ v1beta1.DeviceMapper = service{}

func (s service) put(d *v1beta1.Device) (device.Instance, error) {
	if d == nil {
		return device.Instance{}, status.Error(codes.InvalidArgument, "device is missing")
	}
	dev, err := instance(d)
	if err != nil {
		return dev, status.Error(codes.InvalidArgument, err.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.devices[dev.ID], s.called[dev.ID] = dev, true
	s.notify()
	return dev, nil
}

func (s service) putModel(m *v1beta1.DeviceModel) error {
	if m == nil || m.Name == "" {
		return status.Error(codes.InvalidArgument, "model or its name is missing")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id := v1beta1.ID(m.Namespace, m.Name)
	s.models[id], s.called["model "+id] = v1beta1.ModelSpec(m), true
	s.notify()
	return nil
}

// RegisterDevice adds a device. One that is there already is replaced.
func (s service) RegisterDevice(_ context.Context, r *v1beta1.RegisterDeviceRequest) (*v1beta1.RegisterDeviceResponse, error) {
	dev, err := s.put(r.Device)
	if err != nil {
		return nil, err
	}
	namespace, name, _ := strings.Cut(dev.ID, "/")
	return &v1beta1.RegisterDeviceResponse{DeviceName: name, DeviceNamespace: namespace}, nil
}

// UpdateDevice replaces a device.
func (s service) UpdateDevice(_ context.Context, r *v1beta1.UpdateDeviceRequest) (*v1beta1.Empty, error) {
	_, err := s.put(r.Device)
	return nil, err
}

// RemoveDevice removes a device. One that is not there is fine.
func (s service) RemoveDevice(_ context.Context, r *v1beta1.RemoveDeviceRequest) (*v1beta1.Empty, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := v1beta1.ID(r.DeviceNamespace, r.DeviceName)
	delete(s.devices, id)
	delete(s.values, id)
	s.called[id] = true
	s.notify()
	return nil, nil
}

// CreateDeviceModel adds a model or replaces it.
func (s service) CreateDeviceModel(_ context.Context, r *v1beta1.CreateDeviceModelRequest) (*v1beta1.CreateDeviceModelResponse, error) {
	if err := s.putModel(r.Model); err != nil {
		return nil, err
	}
	return &v1beta1.CreateDeviceModelResponse{DeviceModelName: r.Model.Name, DeviceModelNamespace: r.Model.Namespace}, nil
}

// UpdateDeviceModel replaces a model.
func (s service) UpdateDeviceModel(_ context.Context, r *v1beta1.UpdateDeviceModelRequest) (*v1beta1.Empty, error) {
	return nil, s.putModel(r.Model)
}

// RemoveDeviceModel removes a model. One that is not there is fine.
func (s service) RemoveDeviceModel(_ context.Context, r *v1beta1.RemoveDeviceModelRequest) (*v1beta1.Empty, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := v1beta1.ID(r.ModelNamespace, r.ModelName)
	delete(s.models, id)
	s.called["model "+id] = true
	return nil, nil
}

// GetDevice returns a device with the values that were last reported.
func (s service) GetDevice(_ context.Context, r *v1beta1.GetDeviceRequest) (*v1beta1.GetDeviceResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := v1beta1.ID(r.DeviceNamespace, r.DeviceName)
	dev, ok := s.devices[id]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "device %s is not known", id)
	}
	desired := make(map[string]v1beta1.Desired, len(dev.Desired))
	for name, value := range dev.Desired {
		desired[name] = v1beta1.Desired{Value: value}
	}
	d, err := v1beta1.DeviceOf(id, dev.Spec, desired)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	d.Status.Twins = nil
	for _, name := range slices.Sorted(maps.Keys(s.values[id])) {
		t := &v1beta1.Twin{PropertyName: name, ObservedDesired: &v1beta1.TwinProperty{Value: dev.Desired[name]}, Reported: &v1beta1.TwinProperty{Value: s.values[id][name]}}
		d.Status.Twins = append(d.Status.Twins, t)
	}
	return &v1beta1.GetDeviceResponse{Device: d}, nil
}
