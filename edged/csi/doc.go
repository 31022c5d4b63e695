// Package csi speaks to the CSI drivers of a node, for edged/volume.
//
//	drivers, err := csi.New(csi.Config{Folder: "/var/lib/edgekit/edged/plugins_registry", Changed: report})
//	// in one goroutine: err = drivers.Run(ctx)
//	node, ok := drivers.Driver("hostpath.csi.k8s.io")
//
// A driver's registrar puts a socket into the folder, as for a kubelet: see pluginregistry,
// which may also look for the plugins of several types. The Registry asks there for the
// driver's name and endpoint, asks the driver for the node's name to it, and tells the
// registrar whether that went well. A driver is known as long as the socket is there.
// What does not answer is asked again with a growing pause, and keeps no other driver
// from registering for longer than one call may take.
//
// Nothing is kept on the disk: after a restart the sockets are found again.
//
// A Registry may be used by several goroutines. Sockets of other kinds of plugins are
// left alone.
package csi
