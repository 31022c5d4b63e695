package pluginregistry

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
	"time"

	"github.com/edgekit/edgekit/edged/internal/lifecycle"
	"github.com/edgekit/edgekit/edged/internal/pluginrpc"
	"github.com/edgekit/edgekit/edged/internal/protomsg"
)

// Types of plugins, as they say it of themselves.
const (
	CSIPlugin    = "CSIPlugin"
	DRAPlugin    = "DRAPlugin"
	DevicePlugin = "DevicePlugin"
)

const (
	// registerTimeout bounds each call while a plugin registers.
	registerTimeout = 10 * time.Second
	// maxPause is the longest pause before a socket that failed is asked again.
	maxPause = 2 * time.Minute
)

// Plugin is what a plugin says of itself. A plugin that starts anew is another Plugin.
type Plugin struct {
	Type, Name string
	Endpoint   string   // the socket that it is used by; not checked
	Versions   []string // of its API, in its own order
}

// Handler looks after the plugins of one type. Only Run calls it, one call at a time.
type Handler interface {
	// Register is called for a plugin that came. The plugin gets the error, and is tried
	// again later. Register must return soon after ctx ends.
	Register(ctx context.Context, p *Plugin) error
	// Deregister is called for a plugin that went, with the very p that was registered.
	// When Run ends, it is called for all.
	Deregister(p *Plugin)
	// Changed is called after one or more plugins came or went. It is not called when
	// Run ends.
	Changed(ctx context.Context)
}

// Config sets up a Registry. Folder is required.
type Config struct {
	Folder   string             // absolute; where plugins put their sockets; made when it is not there
	Interval time.Duration      // how often the folder is looked at; 0 means 2 seconds
	Handlers map[string]Handler // by type of plugin
	Logger   *slog.Logger       // nil discards
}

// Registry looks for the plugins of a node.
type Registry struct {
	cfg     Config
	guard   lifecycle.Guard
	sockets map[string]*socket // by path; belongs to Run
}

// socket is one socket in the folder.
type socket struct {
	id      string // of the file; another one means that the plugin started anew
	plugin  *Plugin
	failed  int
	retry   time.Time
	ignored bool // there is no Handler for its type
}

// New checks the configuration. It does no I/O.
func New(cfg Config) (*Registry, error) {
	if !filepath.IsAbs(cfg.Folder) {
		return nil, fmt.Errorf("pluginregistry: Config.Folder %q is not an absolute path", cfg.Folder)
	}
	if cfg.Interval <= 0 {
		cfg.Interval = 2 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Handlers = maps.Clone(cfg.Handlers)
	return &Registry{cfg: cfg, sockets: make(map[string]*socket)}, nil
}

// Run looks for plugins until ctx ends, and then returns nil. A second call returns
// edged.ErrStarted.
func (r *Registry) Run(ctx context.Context) error {
	if err := r.guard.Start(); err != nil {
		return err
	}
	if err := os.MkdirAll(r.cfg.Folder, 0o750); err != nil {
		// A node whose disk is read-only for now has no plugins, and runs.
		r.cfg.Logger.Warn("cannot make the folder for the sockets of plugins", "err", err)
	}
	defer func() {
		for _, path := range slices.Sorted(maps.Keys(r.sockets)) {
			r.deregister(r.sockets[path])
			delete(r.sockets, path)
		}
	}()
	tick := time.NewTicker(r.cfg.Interval)
	defer tick.Stop()
	for {
		changed := r.look(ctx)
		for _, kind := range slices.Sorted(maps.Keys(changed)) {
			r.cfg.Handlers[kind].Changed(ctx)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look goes through the folder once. It returns the types of the plugins that came or went.
func (r *Registry) look(ctx context.Context) map[string]bool {
	found, changed := r.find(), make(map[string]bool)
	for path, s := range r.sockets {
		if found[path] != s.id {
			if r.deregister(s) {
				changed[s.plugin.Type] = true
			}
			delete(r.sockets, path)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(found)) {
		s := r.sockets[path]
		if s == nil {
			s = &socket{id: found[path]}
			r.sockets[path] = s
		}
		if s.ignored || s.plugin != nil || time.Now().Before(s.retry) || ctx.Err() != nil {
			continue
		}
		if err := r.register(ctx, path, s); err != nil {
			s.failed++
			s.retry = time.Now().Add(min(time.Second<<min(s.failed, 10), maxPause))
			if ctx.Err() == nil {
				r.cfg.Logger.Warn("a plugin cannot register", "socket", path, "err", err)
			}
		}
		if s.plugin != nil {
			changed[s.plugin.Type] = true
		}
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
			r.cfg.Logger.Debug("cannot look for plugins", "err", err)
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

// register asks a socket for its plugin, and the Handler to take it.
func (r *Registry) register(ctx context.Context, path string, s *socket) error {
	conn, err := pluginrpc.Dial(path)
	if err != nil {
		return err
	}
	defer conn.Close()
	bounded, cancel := context.WithTimeout(ctx, registerTimeout)
	defer cancel()
	// A socket that nobody serves, as many after a power cut, fails at once: the other plugins
	// do not wait for it.
	answer, err := pluginrpc.Call(bounded, conn, "/pluginregistration.Registration/GetInfo", nil)
	if err != nil {
		return fmt.Errorf("pluginregistry: ask the plugin: %w", err)
	}
	p, err := readPlugin(answer)
	if err != nil {
		return fmt.Errorf("pluginregistry: %w", err)
	}
	handler := r.cfg.Handlers[p.Type]
	if handler == nil {
		s.ignored = true
		return nil
	}
	if p.Name == "" || filepath.Base(p.Name) != p.Name || !filepath.IsLocal(p.Name) {
		err = fmt.Errorf("pluginregistry: %q is no name of a plugin", p.Name)
	} else {
		err = handler.Register(ctx, p)
	}
	if err == nil {
		s.plugin, s.failed = p, 0
	}
	notify, cancelNotify := context.WithTimeout(ctx, registerTimeout)
	defer cancelNotify()
	if _, e := pluginrpc.Call(notify, conn, "/pluginregistration.Registration/NotifyRegistrationStatus", statusRequest(err)); e != nil && err == nil {
		// The plugin works all the same; it will start anew.
		r.cfg.Logger.Warn("a plugin did not take the answer to its registration", "type", p.Type, "plugin", p.Name, "err", e)
	}
	return err
}

// deregister drops the plugin of a socket that is gone, and reports whether it had one.
func (r *Registry) deregister(s *socket) bool {
	if s.plugin == nil {
		return false
	}
	r.cfg.Handlers[s.plugin.Type].Deregister(s.plugin)
	return true
}

// statusRequest is a RegistrationStatus.
func statusRequest(err error) protomsg.Message {
	var m protomsg.Message
	m.Bool(1, err == nil)
	if err != nil {
		m.Text(2, err.Error())
	}
	return m
}

// readPlugin reads a PluginInfo.
func readPlugin(data []byte) (*Plugin, error) {
	var p Plugin
	err := protomsg.EachField(data, func(f protomsg.Field) error {
		switch f.Number {
		case 1:
			p.Type = string(f.Bytes)
		case 2:
			p.Name = string(f.Bytes)
		case 3:
			p.Endpoint = string(f.Bytes)
		case 4:
			p.Versions = append(p.Versions, string(f.Bytes))
		}
		return nil
	})
	return &p, err
}
