package dratest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	drahealth "k8s.io/kubelet/pkg/apis/dra-health/v1"
	drapb "k8s.io/kubelet/pkg/apis/dra/v1"
	drapbv1beta1 "k8s.io/kubelet/pkg/apis/dra/v1beta1"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/edgekit/edgekit/edged/internal/lifecycle"
	"github.com/edgekit/edgekit/edged/pluginregistry/pluginregistrytest"
)

// Config sets up a Driver. Name, Folder and Registry are required.
type Config struct {
	Name     string // a DNS name
	Folder   string // absolute; the driver's socket
	Registry string // absolute; where the registration's socket goes
	CDI      string // absolute; where CDI files go; "" means none are written
	Service  string // "v1.DRAPlugin" or "v1beta1.DRAPlugin"; "" means the first
	Health   bool   // it says the health of its devices: see SetHealth
}

// Nonsense is what a Driver that lies answers.
type Nonsense int

// The kinds of Nonsense.
const (
	Truth       Nonsense = iota
	Nothing              // no claim is in the answer
	Stranger             // a claim that was not asked for is in the answer
	NamelessOne          // the device has no name
	Failure              // the claim has an error
)

// Driver is a DRA driver that registers itself.
type Driver struct {
	drapb.UnimplementedDRAPluginServer
	drahealth.UnimplementedDRAResourceHealthServer
	*pluginregistrytest.Plugin
	cfg   Config
	guard lifecycle.Guard

	mu       sync.Mutex
	calls    []string
	prepared map[string]bool // by uid of the claim
	devices  map[string][]*drapb.Device
	lie      map[string]Nonsense
	die      map[string]bool
	kill     context.CancelFunc // of Run
	health   []*drahealth.DeviceHealth
	changed  chan struct{} // closed and replaced when health changes
}

// New checks the configuration. It does no I/O.
func New(cfg Config) (*Driver, error) {
	if cfg.Name == "" || !filepath.IsAbs(cfg.Folder) || !filepath.IsAbs(cfg.Registry) || cfg.CDI != "" && !filepath.IsAbs(cfg.CDI) {
		return nil, errors.New("dratest: Config.Name is required; Folder, Registry and CDI must be absolute paths")
	}
	if cfg.Service == "" {
		cfg.Service = drapb.DRAPluginService
	}
	services := []string{cfg.Service}
	if cfg.Health {
		services = append(services, drahealth.DRAResourceHealthService)
	}
	info := &registration.PluginInfo{Type: registration.DRAPlugin, Name: cfg.Name, Endpoint: filepath.Join(cfg.Folder, "dra.sock"), SupportedVersions: services}
	return &Driver{
		Plugin: pluginregistrytest.New(info, cfg.Registry), cfg: cfg, prepared: make(map[string]bool), devices: make(map[string][]*drapb.Device),
		lie: make(map[string]Nonsense), die: make(map[string]bool), changed: make(chan struct{}),
	}, nil
}

// Run serves the driver and its registration until ctx ends or the driver dies, and then
// returns nil. A second call returns edged.ErrStarted.
func (d *Driver) Run(ctx context.Context) error {
	if err := d.guard.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d.mu.Lock()
	d.kill = cancel
	d.mu.Unlock()
	if err := pluginregistrytest.Serve(ctx, d.Plugin, d.register, grpc.UnaryInterceptor(d.intercept)); err != nil {
		return fmt.Errorf("dratest: %w", err)
	}
	return nil
}

// register adds the driver's services.
func (d *Driver) register(s *grpc.Server) {
	if d.cfg.Health {
		drahealth.RegisterDRAResourceHealthServer(s, d)
	}
	if d.cfg.Service == drapbv1beta1.DRAPluginService {
		drapbv1beta1.RegisterDRAPluginServer(s, drapbv1beta1.V1ServerWrapper{DRAPluginServer: d})
		return
	}
	drapb.RegisterDRAPluginServer(s, d)
}

// Calls lists the calls about claims, each as "Name uid", and forgets them.
func (d *Driver) Calls() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	calls := d.calls
	d.calls = nil
	return calls
}

// Prepared lists the uids of the claims that are prepared.
func (d *Driver) Prepared() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.prepared))
}

// SetDevices says what the driver answers for a claim. Without it that is one device with
// one CDI device, for all requests.
func (d *Driver) SetDevices(claimUID string, devices ...*drapb.Device) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.devices[claimUID] = devices
}

// SetHealth says the health of all devices.
func (d *Driver) SetHealth(all ...*drahealth.DeviceHealth) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.health = all
	close(d.changed)
	d.changed = make(chan struct{})
}

// NodeWatchResources sends the health of the devices after each change.
func (d *Driver) NodeWatchResources(_ *drahealth.NodeWatchResourcesRequest, stream drahealth.DRAResourceHealth_NodeWatchResourcesServer) error {
	for {
		d.mu.Lock()
		all, changed := d.health, d.changed
		d.mu.Unlock()
		if err := stream.Send(&drahealth.NodeWatchResourcesResponse{Devices: all}); err != nil {
			return err
		}
		select {
		case <-stream.Context().Done():
			return nil
		case <-changed:
		}
	}
}

// Lie has a call answer nonsense.
func (d *Driver) Lie(call string, what Nonsense) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lie[call] = what
}

// Die has the driver end, without an answer, when the next such call has done its work.
func (d *Driver) Die(call string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.die[call] = true
}

// intercept notes calls about claims, and has them fail, hang or kill the driver.
func (d *Driver) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	call := filepath.Base(info.FullMethod)
	d.mu.Lock()
	die, kill := d.die[call], d.kill
	for _, uid := range claimsIn(req) {
		d.calls = append(d.calls, call+" "+uid)
	}
	d.mu.Unlock()
	if err := d.Fault(ctx, call); err != nil {
		return nil, err
	}
	out, err := handle(ctx, req)
	if die {
		kill()
		<-ctx.Done()
		return nil, status.Error(codes.Aborted, "the driver died")
	}
	return out, err
}

func claimsIn(req any) (uids []string) {
	switch r := req.(type) {
	case interface{ GetClaims() []*drapb.Claim }:
		for _, c := range r.GetClaims() {
			uids = append(uids, c.Uid)
		}
	case interface{ GetClaims() []*drapbv1beta1.Claim }:
		for _, c := range r.GetClaims() {
			uids = append(uids, c.Uid)
		}
	}
	return uids
}

// NodePrepareResources writes the CDI file of each claim.
func (d *Driver) NodePrepareResources(_ context.Context, r *drapb.NodePrepareResourcesRequest) (*drapb.NodePrepareResourcesResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := &drapb.NodePrepareResourcesResponse{Claims: make(map[string]*drapb.NodePrepareResourceResponse)}
	for _, c := range r.Claims {
		if err := d.writeCDI(c.Uid); err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
		d.prepared[c.Uid] = true
		answer := &drapb.NodePrepareResourceResponse{Devices: d.devices[c.Uid]}
		if answer.Devices == nil {
			answer.Devices = []*drapb.Device{{PoolName: "pool", DeviceName: "device-" + c.Uid, CdiDeviceIds: []string{d.CDIDevice(c.Uid)}}}
		}
		switch d.lie["NodePrepareResources"] {
		case Nothing:
			continue
		case Stranger:
			out.Claims["stranger"] = answer
		case NamelessOne:
			answer = &drapb.NodePrepareResourceResponse{Devices: []*drapb.Device{{PoolName: "pool"}}}
		case Failure:
			answer = &drapb.NodePrepareResourceResponse{Error: "no such device"}
		}
		out.Claims[c.Uid] = answer
	}
	return out, nil
}

// NodeUnprepareResources removes the CDI file of each claim. A claim that is not prepared is
// no error.
func (d *Driver) NodeUnprepareResources(_ context.Context, r *drapb.NodeUnprepareResourcesRequest) (*drapb.NodeUnprepareResourcesResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := &drapb.NodeUnprepareResourcesResponse{Claims: make(map[string]*drapb.NodeUnprepareResourceResponse)}
	for _, c := range r.Claims {
		delete(d.prepared, c.Uid)
		if d.cfg.CDI != "" {
			if err := os.Remove(d.file(c.Uid)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, status.Error(codes.Internal, err.Error())
			}
		}
		answer := &drapb.NodeUnprepareResourceResponse{}
		switch d.lie["NodeUnprepareResources"] {
		case Nothing:
			continue
		case Stranger:
			out.Claims["stranger"] = answer
		case Failure:
			answer.Error = "the device is busy"
		}
		out.Claims[c.Uid] = answer
	}
	return out, nil
}

// CDIDevice is the name of the CDI device of a claim.
func (d *Driver) CDIDevice(claimUID string) string { return d.cfg.Name + "/claim=" + claimUID }

func (d *Driver) file(claimUID string) string {
	return filepath.Join(d.cfg.CDI, d.cfg.Name+"-"+claimUID+".json")
}

// writeCDI writes the CDI file of a claim: it gives a container a variable.
func (d *Driver) writeCDI(claimUID string) error {
	if d.cfg.CDI == "" {
		return nil
	}
	type edits struct {
		Env []string `json:"env"`
	}
	type device struct {
		Name  string `json:"name"`
		Edits edits  `json:"containerEdits"`
	}
	body, err := json.Marshal(map[string]any{
		"cdiVersion": "0.3.0", "kind": d.cfg.Name + "/claim",
		"devices": []device{{Name: claimUID, Edits: edits{Env: []string{"DRA_CLAIM=" + claimUID}}}},
	})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(d.cfg.CDI, 0o755); err != nil {
		return err
	}
	fresh := d.file(claimUID) + ".new" // the runtime reads only .json and .yaml
	if err := os.WriteFile(fresh, body, 0o644); err != nil {
		return err
	}
	return os.Rename(fresh, d.file(claimUID))
}
