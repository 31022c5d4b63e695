package controller

import (
	"cmp"
	"errors"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/controller/console"
	"github.com/edgekit/edgekit/controller/devices"
	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/hub"
)

// newConsole makes the console; nil where cfg has none.
func (c *Controller) newConsole(nodes *cache.Store[*corev1.Node], live *console.Live) (*console.Server, error) {
	cfg := c.cfg
	if cfg.Console == nil {
		return nil, nil
	}
	own := *cfg.Console
	if own.Nodes != nil || own.Pods != nil || own.Devices != nil || own.Jobs != nil || own.Live != nil {
		return nil, errors.New("Config.Console.Nodes, Pods, Devices, Jobs and Live must be nil: the Controller gives its own")
	}
	if own.Listener == nil || own.Certificate == nil {
		return nil, errors.New("Config.Console.Listener and Certificate are required")
	}
	own.Nodes, own.Pods, own.Devices, own.Jobs, own.Live = nodes, c.edge, c.devices, c.jobs, live
	own.REST = cmp.Or(own.REST, cfg.REST)
	own.Cloud = cmp.Or(own.Cloud, cfg.Cloud)
	own.ID = cmp.Or(own.ID, cfg.ID)
	own.Logger = cmp.Or(own.Logger, cfg.Logger)
	return console.New(own)
}

// withConsole returns what reports of devices are given to: Config.Live, and the console's
// readers if there is a console.
func (cfg *Config) withConsole(live *console.Live) devices.Live {
	if cfg.Console == nil {
		return cfg.Live
	}
	if cfg.Live == nil {
		return live
	}
	return console.Tee{cfg.Live, live}
}

// linkOf returns how the links find the connection of a node; nil if they cannot.
func linkOf(links Links) func(string) (hub.Info, bool) {
	if n, ok := links.(interface {
		Node(node string) (hub.Info, bool)
	}); ok {
		return n.Node
	}
	return nil
}
