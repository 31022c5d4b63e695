package deviceplugintest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/edgekit/edgekit/edged/internal/lifecycle"
	"github.com/edgekit/edgekit/edged/internal/pluginrpc"
)

// look is how often the plugin looks whether the node's socket is another one.
const look = 20 * time.Millisecond

// callTimeout bounds a registration.
const callTimeout = time.Minute

// Config sets up a Plugin. Resource and Dir are required.
type Config struct {
	Resource string // the name of its resource
	Dir      string // absolute; the folder with kubelet.sock, where its own socket goes
	Socket   string // the name of its socket; "" is made of Resource
	Version  string // of the API that it says it speaks; "" means v1beta1
	Devices  []string
	Nodes    map[string][]int64 // NUMA nodes of devices, by ID; a device that is not named has none
	// PreStart and Preferred say which calls it wants.
	PreStart, Preferred bool
	// Answer is what a container gets for its devices; nil means a variable DEVICES with their IDs.
	Answer func(ids []string) *api.ContainerAllocateResponse
	// Prefer chooses the devices that it would rather give; nil means the last of those available.
	Prefer func(available, must []string, size int) []string
}

// Plugin is a device plugin.
type Plugin struct {
	api.UnimplementedDevicePluginServer
	cfg   Config
	guard lifecycle.Guard

	mu         sync.Mutex
	devices    []string
	unhealthy  map[string]bool
	sent       []*api.ListAndWatchResponse // to be sent in the place of what it has
	change     chan struct{}               // closed when something is to be sent
	calls      []string
	fails      map[string]error
	hangs      map[string]bool
	registered int
	refused    error
}

// New checks the configuration. It does no I/O.
func New(cfg Config) (*Plugin, error) {
	if cfg.Resource == "" || !filepath.IsAbs(cfg.Dir) {
		return nil, errors.New("deviceplugintest: Config.Resource and Config.Dir are required, and Dir must be an absolute path")
	}
	if cfg.Socket == "" {
		cfg.Socket = strings.ReplaceAll(cfg.Resource, "/", "_") + ".sock"
	}
	if cfg.Version == "" {
		cfg.Version = api.Version
	}
	return &Plugin{
		cfg: cfg, devices: slices.Clone(cfg.Devices), unhealthy: make(map[string]bool), change: make(chan struct{}), fails: make(map[string]error), hangs: make(map[string]bool),
	}, nil
}

// Run serves the plugin's socket and registers it until ctx ends. A second call returns
// edged.ErrStarted.
func (p *Plugin) Run(ctx context.Context) error {
	if err := p.guard.Start(); err != nil {
		return err
	}
	for ctx.Err() == nil {
		if err := p.live(ctx); err != nil && ctx.Err() == nil {
			return fmt.Errorf("deviceplugintest: %w", err)
		}
	}
	return nil
}

// live serves one socket, until the node's socket, or its own, is another one.
func (p *Plugin) live(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	own, node := filepath.Join(p.cfg.Dir, p.cfg.Socket), filepath.Join(p.cfg.Dir, "kubelet.sock")
	tick := time.NewTicker(look)
	defer tick.Stop()
	before := fileID(node)
	for before == "" {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			before = fileID(node)
		}
	}
	if err := os.Remove(own); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l, err := net.Listen("unix", own)
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.MaxSendMsgSize(1<<30), grpc.WaitForHandlers(true))
	api.RegisterDevicePluginServer(server, p)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer server.Stop()
	wg.Go(func() { server.Serve(l) })
	wg.Go(func() { p.register(ctx, node) })
	self := fileID(own)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if now := fileID(node); now != before || fileID(own) != self {
			return nil
		}
	}
}

// fileID tells a file from another one of its name; "" if there is none.
func fileID(path string) string {
	info, err := os.Lstat(path)
	if err != nil {
		return ""
	}
	return strconv.FormatInt(info.ModTime().UnixNano(), 36)
}

// register registers the plugin, until that works, is refused, or ctx ends.
func (p *Plugin) register(ctx context.Context, node string) {
	err := Register(ctx, node, &api.RegisterRequest{Version: p.cfg.Version, Endpoint: p.cfg.Socket, ResourceName: p.cfg.Resource, Options: p.options()})
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refused = err; err == nil {
		p.registered++
	}
}

// Register makes the call by which a plugin registers.
func Register(ctx context.Context, socket string, r *api.RegisterRequest) error {
	conn, err := pluginrpc.Dial(socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err = api.NewRegistrationClient(conn).Register(ctx, r)
	return err
}

// Registered is how often the node has accepted the plugin, and why it did not the last
// time; nil if it did.
func (p *Plugin) Registered() (times int, refused error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.registered, p.refused
}

// SetDevices replaces the devices that the plugin has. All are healthy but those that
// SetHealth has made unhealthy.
func (p *Plugin) SetDevices(ids ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.devices = slices.Clone(ids)
	p.changedLocked()
}

// SetHealth says whether a device is healthy.
func (p *Plugin) SetHealth(id string, healthy bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unhealthy[id] = !healthy
	p.changedLocked()
}

// Send sends a list once, whatever it is.
func (p *Plugin) Send(list *api.ListAndWatchResponse) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent = append(p.sent, list)
	p.changedLocked()
}

func (p *Plugin) changedLocked() {
	close(p.change)
	p.change = make(chan struct{})
}

// Fail has calls of a method, such as "Allocate", fail with err; nil ends that.
func (p *Plugin) Fail(method string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fails[method] = err
}

// Hang has calls of a method wait until they are cancelled, or no more.
func (p *Plugin) Hang(method string, hang bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hangs[method] = hang
}

// Calls lists the calls so far, each with the devices that it names.
func (p *Plugin) Calls() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.calls)
}

// note notes a call and spoils it if it is to be.
func (p *Plugin) note(ctx context.Context, method string, ids ...string) error {
	p.mu.Lock()
	p.calls = append(p.calls, strings.Join(append([]string{method}, ids...), " "))
	err, hang := p.fails[method], p.hangs[method]
	p.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

func (p *Plugin) options() *api.DevicePluginOptions {
	return &api.DevicePluginOptions{PreStartRequired: p.cfg.PreStart, GetPreferredAllocationAvailable: p.cfg.Preferred}
}

// GetDevicePluginOptions implements the API.
func (p *Plugin) GetDevicePluginOptions(ctx context.Context, _ *api.Empty) (*api.DevicePluginOptions, error) {
	return p.options(), p.note(ctx, "GetDevicePluginOptions")
}

// ListAndWatch implements the API.
func (p *Plugin) ListAndWatch(_ *api.Empty, stream grpc.ServerStreamingServer[api.ListAndWatchResponse]) error {
	if err := p.note(stream.Context(), "ListAndWatch"); err != nil {
		return err
	}
	for {
		p.mu.Lock()
		change, list := p.change, p.list()
		if len(p.sent) > 0 {
			list, p.sent = p.sent[0], p.sent[1:]
		}
		more := len(p.sent) > 0
		p.mu.Unlock()
		if err := stream.Send(list); err != nil {
			return err
		}
		if more {
			continue
		}
		select {
		case <-stream.Context().Done():
			return nil
		case <-change:
		}
	}
}

// list is what the plugin has. It needs mu.
func (p *Plugin) list() *api.ListAndWatchResponse {
	out := &api.ListAndWatchResponse{}
	for _, id := range p.devices {
		d := &api.Device{ID: id, Health: api.Healthy}
		if p.unhealthy[id] {
			d.Health = api.Unhealthy
		}
		if nodes := p.cfg.Nodes[id]; len(nodes) > 0 {
			d.Topology = &api.TopologyInfo{}
			for _, n := range nodes {
				d.Topology.Nodes = append(d.Topology.Nodes, &api.NUMANode{ID: n})
			}
		}
		out.Devices = append(out.Devices, d)
	}
	return out
}

// GetPreferredAllocation implements the API.
func (p *Plugin) GetPreferredAllocation(ctx context.Context, r *api.PreferredAllocationRequest) (*api.PreferredAllocationResponse, error) {
	out := &api.PreferredAllocationResponse{}
	for _, c := range r.ContainerRequests {
		if err := p.note(ctx, "GetPreferredAllocation", c.AvailableDeviceIDs...); err != nil {
			return nil, err
		}
		ids := slices.Sorted(slices.Values(c.AvailableDeviceIDs))
		ids = ids[max(0, len(ids)-int(c.AllocationSize)):]
		if p.cfg.Prefer != nil {
			ids = p.cfg.Prefer(c.AvailableDeviceIDs, c.MustIncludeDeviceIDs, int(c.AllocationSize))
		}
		out.ContainerResponses = append(out.ContainerResponses, &api.ContainerPreferredAllocationResponse{DeviceIDs: ids})
	}
	return out, nil
}

// Allocate implements the API.
func (p *Plugin) Allocate(ctx context.Context, r *api.AllocateRequest) (*api.AllocateResponse, error) {
	out := &api.AllocateResponse{}
	for _, c := range r.ContainerRequests {
		if err := p.note(ctx, "Allocate", c.DevicesIds...); err != nil {
			return nil, err
		}
		answer := &api.ContainerAllocateResponse{Envs: map[string]string{"DEVICES": strings.Join(c.DevicesIds, ",")}}
		if p.cfg.Answer != nil {
			answer = p.cfg.Answer(c.DevicesIds)
		}
		out.ContainerResponses = append(out.ContainerResponses, answer)
	}
	return out, nil
}

// PreStartContainer implements the API.
func (p *Plugin) PreStartContainer(ctx context.Context, r *api.PreStartContainerRequest) (*api.PreStartContainerResponse, error) {
	return &api.PreStartContainerResponse{}, p.note(ctx, "PreStartContainer", r.DevicesIds...)
}
