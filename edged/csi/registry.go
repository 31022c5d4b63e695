package csi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/edgekit/edgekit/edged/internal/lifecycle"
	"github.com/edgekit/edgekit/edged/volume"
)

const (
	// registerTimeout bounds each call while a driver registers.
	registerTimeout = 10 * time.Second
	// pluginKind is what a CSI driver's registrar says that it is.
	pluginKind = "CSIPlugin"
	// maxPause is the longest pause before a socket that failed is asked again.
	maxPause = 2 * time.Minute
)

// Config sets up a Registry. Folder is required.
type Config struct {
	Folder   string        // absolute; where registrars put their sockets; made when it is not there
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
	cfg   Config
	guard lifecycle.Guard

	sockets map[string]*socket // by path; belongs to Run

	mu      sync.Mutex
	drivers map[string]*driver // by name
}

// socket is one socket in the folder.
type socket struct {
	id      string // of the file; another one means that the registrar started anew
	driver  *driver
	failed  int
	retry   time.Time
	ignored bool // it is of another kind of plugin
}

type driver struct {
	info Info
	node *node
}

// New checks the configuration. It does no I/O.
func New(cfg Config) (*Registry, error) {
	if !filepath.IsAbs(cfg.Folder) {
		return nil, fmt.Errorf("csi: Config.Folder %q is not an absolute path", cfg.Folder)
	}
	if cfg.Interval <= 0 {
		cfg.Interval = 2 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Changed == nil {
		cfg.Changed = func(context.Context, []Info) {}
	}
	return &Registry{cfg: cfg, sockets: make(map[string]*socket), drivers: make(map[string]*driver)}, nil
}

// Run looks for drivers until ctx ends, and then returns nil. A second call returns
// edged.ErrStarted.
func (r *Registry) Run(ctx context.Context) error {
	if err := r.guard.Start(); err != nil {
		return err
	}
	if err := os.MkdirAll(r.cfg.Folder, 0o750); err != nil {
		// A node whose disk is read-only for now has no drivers, and runs.
		r.cfg.Logger.Warn("cannot make the folder for the sockets of CSI drivers", "err", err)
	}
	defer r.forgetAll()
	tick := time.NewTicker(r.cfg.Interval)
	defer tick.Stop()
	for {
		if r.look(ctx) {
			r.cfg.Changed(ctx, r.Drivers())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
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

// look goes through the folder once, and reports whether a driver came or went.
func (r *Registry) look(ctx context.Context) (changed bool) {
	found := r.find()
	for path, s := range r.sockets {
		if found[path] != s.id {
			changed = r.forget(s) || changed
			delete(r.sockets, path)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(found)) {
		s := r.sockets[path]
		if s == nil {
			s = &socket{id: found[path]}
			r.sockets[path] = s
		}
		if s.ignored || s.driver != nil || time.Now().Before(s.retry) || ctx.Err() != nil {
			continue
		}
		if err := r.register(ctx, path, s); err != nil {
			s.failed++
			s.retry = time.Now().Add(min(time.Second<<min(s.failed, 10), maxPause))
			if ctx.Err() == nil {
				r.cfg.Logger.Warn("a CSI driver cannot register", "socket", path, "err", err)
			}
			continue
		}
		changed = s.driver != nil || changed
	}
	return changed
}

// find lists the sockets in the folder and the folders in it, each with what tells it
// from another socket of that name.
func (r *Registry) find() map[string]string {
	found := make(map[string]string)
	var visit func(dir string, deep bool)
	visit = func(dir string, deep bool) {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.cfg.Logger.Debug("cannot look for CSI drivers", "err", err)
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			switch {
			case strings.HasPrefix(e.Name(), "."):
			case e.IsDir() && deep:
				visit(path, false)
			case e.Type()&fs.ModeSocket != 0:
				if info, err := e.Info(); err == nil {
					found[path] = strconv.FormatInt(info.ModTime().UnixNano(), 36)
				}
			}
		}
	}
	visit(r.cfg.Folder, true)
	return found
}

// register asks a registrar for its driver, and that for the node.
func (r *Registry) register(ctx context.Context, path string, s *socket) error {
	conn, err := dial(path)
	if err != nil {
		return err
	}
	defer conn.Close()
	bounded, cancel := context.WithTimeout(ctx, registerTimeout)
	defer cancel()
	answer, err := call(bounded, conn, "/pluginregistration.Registration/GetInfo", nil, grpc.WaitForReady(true))
	if err != nil {
		return fmt.Errorf("csi: ask the registrar: %w", err)
	}
	info, err := readPlugin(answer)
	if err != nil {
		return err
	}
	if info.kind != pluginKind {
		s.ignored = true
		return nil
	}
	d, err := connect(ctx, info)
	if err == nil {
		r.setDriver(s, d)
	}
	notify, cancelNotify := context.WithTimeout(ctx, registerTimeout)
	defer cancelNotify()
	if _, e := call(notify, conn, "/pluginregistration.Registration/NotifyRegistrationStatus", statusRequest(err)); e != nil && err == nil {
		// The driver works all the same; its registrar will start anew.
		r.cfg.Logger.Warn("a CSI driver's registrar did not take the answer", "driver", info.name, "err", e)
	}
	return err
}

// connect checks what a registrar says of its driver, and asks the driver.
func connect(ctx context.Context, info plugin) (*driver, error) {
	switch {
	case info.name == "" || filepath.Base(info.name) != info.name || !filepath.IsLocal(info.name):
		return nil, fmt.Errorf("csi: %q is no name of a driver", info.name)
	case !filepath.IsAbs(info.endpoint):
		return nil, fmt.Errorf("csi: the endpoint %q of driver %s is no absolute path of a socket", info.endpoint, info.name)
	case !slices.ContainsFunc(info.versions, isVersion1):
		return nil, fmt.Errorf("csi: driver %s speaks the versions %q of CSI, and this node speaks 1", info.name, info.versions)
	}
	conn, err := dial(info.endpoint)
	if err != nil {
		return nil, err
	}
	n := newNode(conn)
	bounded, cancel := context.WithTimeout(ctx, registerTimeout)
	defer cancel()
	about, err := n.ask(bounded)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("csi: driver %s: %w", info.name, err), conn.Close())
	}
	about.Name = info.name
	return &driver{info: about, node: n}, nil
}

func isVersion1(version string) bool {
	major, _, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	return major == "1"
}

// setDriver makes a driver the one of its name. The newest registration counts.
func (r *Registry) setDriver(s *socket, d *driver) {
	r.mu.Lock()
	before := r.drivers[d.info.Name]
	r.drivers[d.info.Name] = d
	r.mu.Unlock()
	s.driver, s.failed = d, 0
	if before != nil {
		r.close(before)
	}
	r.cfg.Logger.Info("CSI driver registered", "driver", d.info.Name, "node_id", d.info.NodeID)
}

// forget drops the driver of a socket that is gone, and reports whether it was known.
func (r *Registry) forget(s *socket) bool {
	if s.driver == nil {
		return false
	}
	name := s.driver.info.Name
	r.mu.Lock()
	current := r.drivers[name] == s.driver
	if current {
		delete(r.drivers, name)
	}
	r.mu.Unlock()
	if current {
		r.close(s.driver)
		r.cfg.Logger.Info("CSI driver is gone", "driver", name)
	}
	return current
}

func (r *Registry) forgetAll() {
	for path, s := range r.sockets {
		r.forget(s)
		delete(r.sockets, path)
	}
}

// close ends the connection to a driver, and with it the calls that are under way.
func (r *Registry) close(d *driver) {
	if err := d.node.conn.Close(); err != nil {
		r.cfg.Logger.Debug("cannot close the connection to a CSI driver", "driver", d.info.Name, "err", err)
	}
}
