package main

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/csi"
	"github.com/edgekit/edgekit/edged/dra"
	"github.com/edgekit/edgekit/edged/pluginregistry"
	"github.com/edgekit/edgekit/meta/kube"
)

// plugins are the node's plugins that register themselves in a folder, by type.
type plugins struct {
	registry *pluginregistry.Registry
	csi      *csi.Registry
	claims   *dra.Manager
	agent    atomic.Pointer[edged.Agent] // nil before it is made
}

// plugins makes what looks for the node's CSI drivers and DRA drivers.
func (r *runCmd) plugins(n *node, objects *kube.Client, reports *storageReports, log *slog.Logger) (*plugins, error) {
	folder := r.PluginRegistryDir
	if folder == "" {
		folder = filepath.Join(n.pods, "plugins_registry")
	} else if !filepath.IsAbs(folder) {
		return nil, fmt.Errorf("--plugin-registry-dir: %q is no absolute path: begin it with a slash", folder)
	}
	p := &plugins{}
	var err error
	if p.csi, err = csi.New(csi.Config{Changed: reports.changed, Logger: component(log, "csi")}); err != nil {
		return nil, err
	}
	p.claims, err = dra.New(dra.Config{
		Store: n.store, Claims: objects, DriversChanged: objects.DRADrivers, Registered: p.driversChanged, Logger: component(log, "dra"),
	})
	if err != nil {
		return nil, err
	}
	p.registry, err = pluginregistry.New(pluginregistry.Config{
		Folder: folder, Logger: component(log, "plugins"),
		Handlers: map[string]pluginregistry.Handler{pluginregistry.CSIPlugin: p.csi, pluginregistry.DRAPlugin: p.claims},
	})
	return p, err
}

// driversChanged has pods tried again that wait for a DRA driver.
func (p *plugins) driversChanged() {
	if agent := p.agent.Load(); agent != nil {
		agent.ResourceDriversChanged()
	}
}

// addTo adds what runs, for the agent.
func (p *plugins) addTo(all parts, agent *edged.Agent, reports *storageReports) {
	p.agent.Store(agent)
	all["plugins"], all["DRA drivers"], all["CSI node"] = p.registry.Run, p.claims.Run, reports.Run
}
