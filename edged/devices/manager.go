package devices

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/edgekit/edgekit/edged/internal/deviceapi"
	"github.com/edgekit/edgekit/meta"
)

// stopGrace is how long a resource keeps its capacity after its plugin is gone: the
// kubelet's endpointStopGracePeriod.
const stopGrace = 5 * time.Minute

// The bounds of what plugins may register.
const (
	maxResources = 64
	maxPlugins   = 4     // of one resource
	maxInAll     = 50000 // devices of all resources
)

// Device is one device of a resource.
type Device = deviceapi.Device

// Options are what a plugin wants to be asked.
type Options = deviceapi.Options

// Edits is what a container needs to use its devices.
type Edits = deviceapi.Edits

// Plugin answers the calls to one device plugin. Each call ends with its context.
type Plugin interface {
	// Preferred chooses size devices of those available, of which some must be chosen.
	Preferred(ctx context.Context, available, must []string, size int) ([]string, error)
	// Allocate prepares devices for a container.
	Allocate(ctx context.Context, ids []string) (Edits, error)
	// PreStart prepares devices for a start of their container.
	PreStart(ctx context.Context, ids []string) error
}

// Config sets up a Manager.
type Config struct {
	// Store keeps what containers have; nil keeps nothing over a restart.
	Store  meta.Store
	Logger *slog.Logger // nil discards
}

// Manager gives devices to containers.
type Manager struct {
	cfg     Config
	log     *slog.Logger
	changed chan struct{}
	metrics metrics
	writing chan struct{} // holds a value while somebody writes to the store

	mu        sync.Mutex
	resources map[string]*resourceState
	pods      map[string]*podState // by uid
	released  map[string]bool      // pods whose record in the store must go
	reusable  map[string]map[string]bool
	admitting string // the uid of the pod that reusable is of
	nodes     uint64 // NUMA nodes of the machine; 0 is not known
	namesLeft bool   // the names of the resources differ from those in the store
}

// resourceState is a resource that a plugin has, or had.
type resourceState struct {
	endpoints []*Endpoint // the last is in use
	devices   map[string]Device
	listed    bool      // a plugin of this run has said which devices there are
	preStarts bool      // the last plugin in use wants to know of each start of a container
	stopped   time.Time // when the last plugin went; zero while there is one
}

// Endpoint is a plugin that is connected.
type Endpoint struct {
	m       *Manager
	name    string // of the resource
	plugin  Plugin
	options Options
	busy    chan struct{} // held during a call of Preferred or Allocate: a plugin has one at a time
	devices map[string]Device
	listed  bool
	closed  bool
}

// New makes a Manager that has given nothing. It does no I/O.
func New(cfg Config) (*Manager, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Manager{
		cfg: cfg, log: cfg.Logger, changed: make(chan struct{}, 1), metrics: newMetrics(), writing: make(chan struct{}, 1),
		resources: make(map[string]*resourceState), pods: make(map[string]*podState), released: make(map[string]bool),
	}, nil
}

// Changed gets a value after devices, their health or their plugins changed. It holds one.
func (m *Manager) Changed() <-chan struct{} { return m.changed }

func (m *Manager) notify() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// SetNUMANodes says which NUMA nodes the machine has, bit by bit. Hints name no others.
func (m *Manager) SetNUMANodes(mask uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nodes = mask
}

// IsExtended reports whether a resource is one that plugins may have: a name with a domain
// that is not Kubernetes' own.
func IsExtended(name string) bool {
	return strings.Contains(name, "/") && !strings.Contains(name, corev1.ResourceDefaultNamespacePrefix) && !strings.HasPrefix(name, corev1.DefaultResourceRequestsPrefix) &&
		len(validation.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+name)) == 0
}

// Connect makes a plugin the one that has a resource's devices. One that was connected
// before stays beside it, and takes over when the newer one goes. The resource is known
// once the plugin has said which devices it has.
func (m *Manager) Connect(name string, p Plugin, o Options) (*Endpoint, error) {
	if !IsExtended(name) {
		return nil, fmt.Errorf("devices: the resource name %q is not valid: it must be an extended resource, such as vendor.example/device, of no domain of kubernetes.io", name)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.resources[name]
	if r == nil {
		if len(m.resources) >= maxResources {
			return nil, fmt.Errorf("devices: %s is refused: the node has %d resources of device plugins already", name, maxResources)
		}
		r = &resourceState{stopped: time.Now()}
		m.resources[name] = r
	}
	m.metrics.registrations.WithLabelValues(name).Inc()
	if len(r.endpoints) >= maxPlugins {
		return nil, fmt.Errorf("devices: %s is refused: it has %d plugins already: end one of them", name, maxPlugins)
	}
	e := &Endpoint{m: m, name: name, plugin: p, options: o, busy: make(chan struct{}, 1)}
	r.endpoints = append(r.endpoints, e)
	return e, nil
}

// SetDevices replaces the devices that the plugin has. The error says why they are
// refused: there are too many on the node.
func (e *Endpoint) SetDevices(list []Device) error {
	devices := make(map[string]Device, len(list))
	for _, d := range list {
		devices[d.ID] = d
	}
	m := e.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if e.closed {
		return errors.New("devices: the plugin is gone")
	}
	sum := len(devices)
	for name, r := range m.resources {
		if name != e.name {
			sum += len(r.devices)
		}
	}
	if sum > maxInAll {
		return fmt.Errorf("devices: %s has %d devices: the plugins of a node may have %d in all", e.name, len(devices), maxInAll)
	}
	if e.listed && maps.Equal(e.devices, devices) {
		return nil
	}
	e.devices, e.listed = devices, true
	r := m.resources[e.name]
	m.namesLeft = m.namesLeft || !r.listed || !r.stopped.IsZero()
	r.refresh()
	m.notify()
	return nil
}

// refresh takes over what the plugin in use has.
func (r *resourceState) refresh() {
	active := r.active()
	if active == nil {
		if r.stopped.IsZero() {
			r.stopped = time.Now()
		}
		return
	}
	r.preStarts = active.options.PreStartRequired
	if active.listed {
		r.devices, r.listed, r.stopped = active.devices, true, time.Time{}
	}
}

// active is the endpoint in use: the newest that has said what it has, or else the
// newest; nil without any.
func (r *resourceState) active() *Endpoint {
	for _, e := range slices.Backward(r.endpoints) {
		if e.listed {
			return e
		}
	}
	if n := len(r.endpoints); n > 0 {
		return r.endpoints[n-1]
	}
	return nil
}

// Close says that the plugin is gone. A second call does nothing.
func (e *Endpoint) Close() {
	m := e.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if e.closed {
		return
	}
	e.closed = true
	r := m.resources[e.name]
	r.endpoints = slices.DeleteFunc(r.endpoints, func(o *Endpoint) bool { return o == e })
	if len(r.endpoints) == 0 && !r.listed && !m.allocatedLocked(e.name) && !r.restored() {
		delete(m.resources, e.name) // it never had a device
		return
	}
	r.refresh()
	m.notify()
}

// restored reports whether a former agent had the resource.
func (r *resourceState) restored() bool { return r.devices != nil }

// allocatedLocked reports whether a container has devices of a resource.
func (m *Manager) allocatedLocked(name string) bool {
	for _, p := range m.pods {
		if slices.ContainsFunc(p.grants, func(g *grant) bool { return g.resource == name }) {
			return true
		}
	}
	return false
}

// Resources are the capacity of the node in devices, and what of it pods can have. A
// resource without a plugin has nothing allocatable, and after five minutes no capacity
// either: it stays at zero until the agent is restarted, as in a kubelet.
func (m *Manager) Resources() (capacity, allocatable corev1.ResourceList) {
	m.mu.Lock()
	defer m.mu.Unlock()
	capacity, allocatable = make(corev1.ResourceList), make(corev1.ResourceList)
	for name, r := range m.resources {
		if !r.listed && !r.restored() {
			continue
		}
		all, healthy := 0, 0
		if r.stopped.IsZero() || time.Since(r.stopped) <= stopGrace {
			all = len(r.devices)
		} else if len(r.devices) > 0 {
			r.devices, m.namesLeft = make(map[string]Device), true // a later agent does not know of it
		}
		if r.stopped.IsZero() {
			for _, d := range r.devices {
				if d.Healthy {
					healthy++
				}
			}
		}
		capacity[corev1.ResourceName(name)] = *resource.NewQuantity(int64(all), resource.DecimalSI)
		allocatable[corev1.ResourceName(name)] = *resource.NewQuantity(int64(healthy), resource.DecimalSI)
	}
	return capacity, allocatable
}

// RaiseFor raises what is allocatable to what containers have already, if the pod is one
// that has devices: it runs on when the plugin is gone.
func (m *Manager) RaiseFor(pod *corev1.Pod, allocatable corev1.ResourceList) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pods[string(pod.UID)]
	if p == nil {
		return
	}
	for _, g := range p.grants {
		key, used := corev1.ResourceName(g.resource), int64(len(m.usedLocked(g.resource)))
		if have := allocatable[key]; have.Value() < used {
			allocatable[key] = *resource.NewQuantity(used, resource.DecimalSI)
		}
	}
}

// usedLocked are the devices of a resource that containers have.
func (m *Manager) usedLocked(name string) map[string]bool {
	out := make(map[string]bool)
	for _, p := range m.pods {
		for _, g := range p.grants {
			if g.resource != name {
				continue
			}
			for _, d := range g.devices {
				out[d.ID] = true
			}
		}
	}
	return out
}

// Release takes devices back from the pods that keep does not name.
func (m *Manager) Release(keep func(uid string) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for uid := range m.pods {
		if !keep(uid) {
			m.dropLocked(uid)
		}
	}
}

// dropLocked forgets a pod.
func (m *Manager) dropLocked(uid string) {
	if m.pods[uid].stored {
		m.released[uid] = true
	}
	delete(m.pods, uid)
}

// Has reports whether a pod has devices.
func (m *Manager) Has(uid string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pods[uid] != nil
}

// Allocated is a device of a container.
type Allocated struct {
	Resource string
	Device        // as it is known now; what a plugin does not list any more is as it was
	Known    bool // a plugin lists it, or did before it went
}

// Container lists the devices of a container, those of a resource one after the other and
// in the order of their IDs.
func (m *Manager) Container(uid, container string) []Allocated {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pods[uid]
	if p == nil {
		return nil
	}
	var out []Allocated
	for _, g := range p.grants {
		if g.container != container {
			continue
		}
		for _, d := range g.devices {
			a := Allocated{Resource: g.resource, Device: d}
			if r := m.resources[g.resource]; r != nil {
				if now, ok := r.devices[d.ID]; ok {
					a.Healthy, a.Known = now.Healthy, true
				}
			}
			out = append(out, a)
		}
	}
	return out
}

// Allocatable lists the healthy devices of all plugins, by resource and ID.
func (m *Manager) Allocatable() []Allocated {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Allocated
	for _, name := range sortedKeys(m.resources) {
		r := m.resources[name]
		if !r.stopped.IsZero() {
			continue
		}
		for _, id := range sortedKeys(r.devices) {
			if d := r.devices[id]; d.Healthy {
				out = append(out, Allocated{Resource: name, Device: d, Known: true})
			}
		}
	}
	return out
}
