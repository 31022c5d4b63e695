package controller

import (
	"cmp"
	"errors"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/controller/groups"
	"github.com/edgekit/edgekit/controller/install"
	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/jobs"
	"github.com/edgekit/edgekit/controller/kubeletproxy"
	"github.com/edgekit/edgekit/controller/pipelines"
	"github.com/edgekit/edgekit/controller/rules"
	"github.com/edgekit/edgekit/controller/sites"
)

// newRules makes the rules; nil where cfg has none.
func newRules(cfg Config, nodes *cache.Store[*corev1.Node]) (*rules.Controller, error) {
	if cfg.Rules == nil {
		return nil, nil
	}
	if cfg.Rules.Nodes != nil {
		return nil, errors.New("Config.Rules.Nodes must be nil: the Controller gives its own")
	}
	own := *cfg.Rules
	own.Nodes = nodes
	own.Cloud = cmp.Or(own.Cloud, cfg.Cloud)
	own.Dynamic = cmp.Or(own.Dynamic, cfg.Dynamic)
	own.Logger = cmp.Or(own.Logger, cfg.Logger)
	return rules.New(own)
}

// newJobs makes the fleet jobs; nil where cfg has none.
func newJobs(cfg Config, nodes *cache.Store[*corev1.Node]) (*jobs.Controller, error) {
	if cfg.Jobs == nil {
		return nil, nil
	}
	if cfg.Jobs.Nodes != nil {
		return nil, errors.New("Config.Jobs.Nodes must be nil: the Controller gives its own")
	}
	own := *cfg.Jobs
	own.Nodes = nodes
	own.ID = cmp.Or(own.ID, cfg.ID)
	own.Namespace = cmp.Or(own.Namespace, cfg.Namespace, install.Namespace)
	own.Cloud = cmp.Or(own.Cloud, cfg.Cloud)
	own.Dynamic = cmp.Or(own.Dynamic, cfg.Dynamic)
	own.Logger = cmp.Or(own.Logger, cfg.Logger)
	return jobs.New(own)
}

// newGroups makes the controller of groups and applications; nil where cfg has none.
func newGroups(cfg Config, nodes *cache.Store[*corev1.Node]) (*groups.Controller, error) {
	if cfg.Groups == nil {
		return nil, nil
	}
	if cfg.Groups.Nodes != nil {
		return nil, errors.New("Config.Groups.Nodes must be nil: the Controller gives its own")
	}
	own := *cfg.Groups
	own.Nodes = nodes
	own.ID = cmp.Or(own.ID, cfg.ID)
	own.Namespace = cmp.Or(own.Namespace, cfg.Namespace, install.Namespace)
	own.Cloud = cmp.Or(own.Cloud, cfg.Cloud)
	own.Dynamic = cmp.Or(own.Dynamic, cfg.Dynamic)
	own.Logger = cmp.Or(own.Logger, cfg.Logger)
	return groups.New(own)
}

// newSites makes the controller of EdgeSyncs; nil where the configuration has none.
func (c *Controller) newSites() (*sites.Controller, error) {
	if c.cfg.Sites == nil {
		return nil, nil
	}
	if c.cfg.Sites.Nodes != nil {
		return nil, errors.New("Config.Sites.Nodes must be nil: the Controller gives its own")
	}
	own := *c.cfg.Sites
	own.Nodes = c.nodes
	if own.Mine == nil {
		own.Mine = c.members.Mine
	}
	own.Cloud = cmp.Or(own.Cloud, c.cfg.Cloud)
	own.Dynamic = cmp.Or(own.Dynamic, c.cfg.Dynamic)
	own.Logger = cmp.Or(own.Logger, c.cfg.Logger)
	return sites.New(own)
}

// newPipelines makes the pipelines; nil where the configuration has none.
func (c *Controller) newPipelines() (*pipelines.Controller, error) {
	if c.cfg.Pipelines == nil {
		return nil, nil
	}
	if c.cfg.Pipelines.Nodes != nil {
		return nil, errors.New("Config.Pipelines.Nodes must be nil: the Controller gives its own")
	}
	own := *c.cfg.Pipelines
	own.Nodes = c.nodes
	own.ID = cmp.Or(own.ID, c.cfg.ID)
	own.Cloud = cmp.Or(own.Cloud, c.cfg.Cloud)
	own.Dynamic = cmp.Or(own.Dynamic, c.cfg.Dynamic)
	own.Logger = cmp.Or(own.Logger, c.cfg.Logger)
	if own.Gone == nil {
		own.Gone = func(id string) bool { return c.members.Known() && !c.members.Alive(id) }
	}
	return pipelines.New(own)
}

// newKubeletProxy makes the kubelet endpoints of nodes; nil where cfg has none.
func newKubeletProxy(cfg Config, nodes *cache.Store[*corev1.Node]) (*kubeletproxy.Server, error) {
	if cfg.Kubelet == nil {
		return nil, nil
	}
	if cfg.Kubelet.Nodes != nil {
		return nil, errors.New("Config.Kubelet.Nodes must be nil: the Controller gives its own")
	}
	proxy := *cfg.Kubelet
	proxy.Nodes = nodes
	proxy.Cloud = cmp.Or(proxy.Cloud, cfg.Cloud)
	proxy.NodeClient = cmp.Or(proxy.NodeClient, cfg.NodeClient)
	proxy.Logger = cmp.Or(proxy.Logger, cfg.Logger)
	return kubeletproxy.New(proxy)
}
