package csi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/edgekit/edgekit/edged/internal/lifecycle"
	"github.com/edgekit/edgekit/edged/internal/pluginrpc"
	"github.com/edgekit/edgekit/edged/pluginregistry"
	"github.com/edgekit/edgekit/edged/volume"
)

// registerTimeout bounds what a driver is asked while it registers.
const registerTimeout = 10 * time.Second

// Config sets up a Registry.
type Config struct {
	// Folder is where registrars put their sockets: an absolute path, made when it is not
	// there. "" is for a Registry that a pluginregistry.Registry has as a Handler: that one
	// looks for sockets.
	Folder   string
	Interval time.Duration // how often the folder is looked at; 0 means 2 seconds
	// Changed is called with all drivers after one came, changed or went, from one
	// goroutine; nil ignores it.
	Changed func(ctx context.Context, drivers []Info)
	Logger  *slog.Logger // nil discards
}

// Info is what a driver says of the node.
type Info struct {
	Name       string
	NodeID     string            // the node's name to the driver
	Topology   map[string]string // where the node is, as labels
	MaxVolumes int64             // how many the node can have; 0 for no limit that is known
}

// Registry knows the CSI drivers of the node that are there.
type Registry struct {
	cfg     Config
	guard   lifecycle.Guard
	sockets *pluginregistry.Registry // nil without a folder

	plugins map[*pluginregistry.Plugin]*driver // belongs to the goroutine that registers

	mu      sync.Mutex
	drivers map[string]*driver // by name
}

var _ pluginregistry.Handler = (*Registry)(nil)

type driver struct {
	info Info
	node *node
}

// New checks the configuration. It does no I/O.
func New(cfg Config) (*Registry, error) {
	if cfg.Folder != "" && !filepath.IsAbs(cfg.Folder) {
		return nil, fmt.Errorf("csi: Config.Folder %q is not an absolute path", cfg.Folder)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Changed == nil {
		cfg.Changed = func(context.Context, []Info) {}
	}
	r := &Registry{cfg: cfg, plugins: make(map[*pluginregistry.Plugin]*driver), drivers: make(map[string]*driver)}
	if cfg.Folder == "" {
		return r, nil
	}
	var err error
	r.sockets, err = pluginregistry.New(pluginregistry.Config{
		Folder: cfg.Folder, Interval: cfg.Interval, Handlers: map[string]pluginregistry.Handler{pluginregistry.CSIPlugin: r}, Logger: cfg.Logger,
	})
	return r, err
}

// Run looks for drivers in Config.Folder until ctx ends, and then returns nil. Without a
// folder it only waits. A second call returns edged.ErrStarted.
func (r *Registry) Run(ctx context.Context) error {
	if err := r.guard.Start(); err != nil {
		return err
	}
	if r.sockets == nil {
		<-ctx.Done()
		return nil
	}
	return r.sockets.Run(ctx)
}

// Driver gives a driver that has registered.
func (r *Registry) Driver(name string) (volume.CSINode, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d := r.drivers[name]; d != nil {
		return d.node, true
	}
	return nil, false
}

// Drivers lists the drivers that have registered, by name.
func (r *Registry) Drivers() []Info {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Info
	for _, name := range slices.Sorted(maps.Keys(r.drivers)) {
		out = append(out, r.drivers[name].info)
	}
	return out
}

// Changed is that of pluginregistry.Handler: it gives Config.Changed all drivers.
func (r *Registry) Changed(ctx context.Context) { r.cfg.Changed(ctx, r.Drivers()) }

// Register is that of pluginregistry.Handler. It checks what a registrar says of its
// driver, and asks the driver. The newest registration of a name counts.
func (r *Registry) Register(ctx context.Context, p *pluginregistry.Plugin) error {
	d, err := connect(ctx, p)
	if err != nil {
		return err
	}
	r.mu.Lock()
	before := r.drivers[p.Name]
	r.drivers[p.Name] = d
	r.mu.Unlock()
	r.plugins[p] = d
	if before != nil {
		r.close(before)
	}
	r.cfg.Logger.Info("CSI driver registered", "driver", p.Name, "node_id", d.info.NodeID)
	return nil
}

func connect(ctx context.Context, p *pluginregistry.Plugin) (*driver, error) {
	switch {
	case !filepath.IsAbs(p.Endpoint):
		return nil, fmt.Errorf("csi: the endpoint %q of driver %s is no absolute path of a socket", p.Endpoint, p.Name)
	case !slices.ContainsFunc(p.Versions, isVersion1):
		return nil, fmt.Errorf("csi: driver %s speaks the versions %q of CSI, and this node speaks 1", p.Name, p.Versions)
	}
	conn, err := pluginrpc.Dial(p.Endpoint)
	if err != nil {
		return nil, err
	}
	n := newNode(conn)
	bounded, cancel := context.WithTimeout(ctx, registerTimeout)
	defer cancel()
	about, err := n.ask(bounded)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("csi: driver %s: %w", p.Name, err), conn.Close())
	}
	about.Name = p.Name
	return &driver{info: about, node: n}, nil
}

func isVersion1(version string) bool {
	major, _, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	return major == "1"
}

// Deregister is that of pluginregistry.Handler. It drops the driver, unless a newer
// registration has taken its name.
func (r *Registry) Deregister(p *pluginregistry.Plugin) {
	d := r.plugins[p]
	delete(r.plugins, p)
	r.mu.Lock()
	current := d != nil && r.drivers[p.Name] == d
	if current {
		delete(r.drivers, p.Name)
	}
	r.mu.Unlock()
	if current {
		r.close(d)
		r.cfg.Logger.Info("CSI driver is gone", "driver", p.Name)
	}
}

// close ends the connection to a driver, and with it the calls that are under way.
func (r *Registry) close(d *driver) {
	if err := d.node.conn.Close(); err != nil {
		r.cfg.Logger.Debug("cannot close the connection to a CSI driver", "driver", d.info.Name, "err", err)
	}
}
