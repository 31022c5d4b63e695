package main

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/csi"
	"github.com/edgekit/edgekit/edged/deviceplugin"
	"github.com/edgekit/edgekit/edged/dra"
	"github.com/edgekit/edgekit/edged/pluginregistry"
	"github.com/edgekit/edgekit/edged/podresources"
	"github.com/edgekit/edgekit/meta/kube"
)

// plugins are the node's plugins that register themselves in a folder, by type.
type plugins struct {
	registry *pluginregistry.Registry
	csi      *csi.Registry
	claims   *dra.Manager
	agent    atomic.Pointer[edged.Agent] // nil before it is made
}

// plugins makes what looks for the node's CSI drivers, DRA drivers and, unless devices is
// nil, device plugins.
func (r *runCmd) plugins(n *node, objects *kube.Client, reports *storageReports, devices *deviceplugin.Server, log *slog.Logger) (*plugins, error) {
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
		Store: n.store, Claims: objects, DriversChanged: objects.DRADrivers, Registered: p.driversChanged, HealthChanged: p.healthChanged, Logger: component(log, "dra"),
	})
	if err != nil {
		return nil, err
	}
	handlers := map[string]pluginregistry.Handler{pluginregistry.CSIPlugin: p.csi, pluginregistry.DRAPlugin: p.claims}
	if devices != nil {
		handlers[pluginregistry.DevicePlugin] = devices
	}
	p.registry, err = pluginregistry.New(pluginregistry.Config{Folder: folder, Handlers: handlers, Logger: component(log, "plugins")})
	return p, err
}

// driversChanged has the agent try the pods again that wait for a DRA driver.
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

// claimsView shows the devices of claims to the pod-resources API.
type claimsView struct{ claims *dra.Manager }

// ContainerClaims lists the claims of a container, with the devices that it has of each.
func (v claimsView) ContainerClaims(pod *corev1.Pod, container string) (out []podresources.Claim) {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if list[i].Name != container {
				continue
			}
			for _, c := range v.claims.ContainerClaims(pod, &list[i]) {
				view := podresources.Claim{Namespace: c.Namespace, Name: c.Name}
				for _, d := range c.Devices {
					view.Devices = append(view.Devices, podresources.ClaimDevice{Driver: d.Driver, Pool: d.Pool, Device: d.Name, ShareID: d.ShareID, CDIDevices: d.CDI})
				}
				out = append(out, view)
			}
		}
	}
	return out
}

// healthChanged has the agent report the pods again whose devices changed their health.
func (p *plugins) healthChanged(podUIDs []string) {
	if agent := p.agent.Load(); agent != nil {
		agent.ResourceHealthChanged(podUIDs)
	}
}
