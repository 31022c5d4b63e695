// Package deviceplugin speaks to the device plugins of a node, as a kubelet does, for
// edged/devices, which gives their devices to containers.
//
//	server, err := deviceplugin.New(deviceplugin.Config{Devices: manager})
//	// in one goroutine: err = server.Run(ctx)
//
// # Registration
//
// A plugin registers by a call to kubelet.sock in the folder
// (v1beta1.Registration/Register), with the name of its own socket beside it. The folder
// is /var/lib/kubelet/device-plugins, which plugins have in their code. At the start
// all sockets in it are removed, so that plugins which watch the folder register anew. A
// folder whose kubelet.sock another program serves is left alone until that ends.
//
// The other way, a socket in plugins_registry (type DevicePlugin of
// k8s.io/kubelet/pkg/apis/pluginregistration/v1), is a matter of who watches that folder:
// it calls [Server.Connect] with what the registrar says, and [Server.Disconnect] when the
// socket is gone.
//
// # What a plugin may do
//
// The newest registration of a resource counts; another plugin of it stands by. A plugin
// is there as long as its stream of ListAndWatch is: one that ends it, or sends what cannot
// be read, or more than 20,000 devices, is gone until it registers again, and the log says
// why. It is listened to at most twenty times in a second. Each call to it ends in bounded
// time; see edged/devices.
//
// The label that a kubelet gives the folder under SELinux is not set.
package deviceplugin
