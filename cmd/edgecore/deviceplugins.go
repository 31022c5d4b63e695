package main

import (
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/deviceplugin"
	edgeddevices "github.com/edgekit/edgekit/edged/devices"
	"github.com/edgekit/edgekit/edged/podresources"
)

// devicePluginFlags are the settings of device plugins and of the socket that says which
// devices containers have. Both have the paths that plugins and monitors have in their code.
type devicePluginFlags struct {
	DevicePluginDir    string `help:"Folder where device plugins register. Plugins have the default in their code. Empty: none, and pods that want devices of plugins are rejected." default:"/var/lib/kubelet/device-plugins" name:"device-plugin-dir" placeholder:"DIR"`
	PodResourcesSocket string `help:"Socket of the kubelet's pod-resources API, which says what devices, CPUs and memory containers have. Only root may open it. Empty: none." default:"/var/lib/kubelet/pod-resources/kubelet.sock" name:"pod-resources-socket" placeholder:"FILE"`
}

// devicePlugins makes what gives the devices of plugins to containers, and what takes the
// registrations of plugins; nil without.
func (f *devicePluginFlags) devicePlugins(n *node, log *slog.Logger) (*edgeddevices.Manager, *deviceplugin.Server, error) {
	if f.DevicePluginDir == "" {
		return nil, nil, nil
	}
	if !filepath.IsAbs(f.DevicePluginDir) {
		return nil, nil, &program.UsageError{Setting: "device-plugin-dir", Reason: fmt.Sprintf("%q is no absolute path: begin it with a slash, or give an empty one for none", f.DevicePluginDir)}
	}
	manager, err := edgeddevices.New(edgeddevices.Config{Store: n.store, Logger: component(log, "devices")})
	if err != nil {
		return nil, nil, err
	}
	server, err := deviceplugin.New(deviceplugin.Config{Dir: f.DevicePluginDir, Devices: manager, Logger: component(log, "device plugins")})
	return manager, server, err
}

// podResources makes the server of the pod-resources API; nil without.
func (f *devicePluginFlags) podResources(agent *edged.Agent, manager *edgeddevices.Manager, log *slog.Logger) (*podresources.Server, error) {
	if f.PodResourcesSocket == "" {
		return nil, nil
	}
	if !filepath.IsAbs(f.PodResourcesSocket) {
		return nil, &program.UsageError{Setting: "pod-resources-socket", Reason: fmt.Sprintf("%q is no absolute path: begin it with a slash, or give an empty one for none", f.PodResourcesSocket)}
	}
	return podresources.New(podresources.Config{Socket: f.PodResourcesSocket, Node: agent, Devices: manager, Logger: component(log, "pod resources")})
}
