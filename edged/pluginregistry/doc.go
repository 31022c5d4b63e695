// Package pluginregistry finds the plugins of a node: CSI drivers, DRA drivers, device
// plugins.
//
//	plugins, err := pluginregistry.New(pluginregistry.Config{
//		Folder:   "/var/lib/kubelet/plugins_registry",
//		Handlers: map[string]pluginregistry.Handler{"CSIPlugin": drivers, "DRAPlugin": claims},
//	})
//	// in one goroutine: err = plugins.Run(ctx)
//
// A plugin puts a socket into the folder, as for a kubelet
// (k8s.io/kubelet/pkg/apis/pluginregistration/v1). The Registry asks there what the plugin
// is, has the Handler of its type check and register it, and tells the plugin whether that
// went well. A plugin is known as long as its socket is there. What does not answer is asked
// again with a growing pause, and keeps no other plugin from registering for longer than one
// call may take. Plugins of a type without a Handler are left alone.
//
// Nothing is kept on the disk: after a restart the sockets are found again. A Handler is
// called by one goroutine, that of Run.
package pluginregistry
