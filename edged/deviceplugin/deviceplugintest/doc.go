// Package deviceplugintest is a device plugin for tests: it speaks real gRPC on real
// sockets, by the generated package of Kubernetes.
//
//	p, err := deviceplugintest.New(deviceplugintest.Config{Resource: "vendor.example/widget", Dir: dir, Devices: []string{"a", "b"}})
//	// in one goroutine: err = p.Run(ctx)
//	...
//	calls := p.Calls() // "Allocate a", ...
//
// It registers at kubelet.sock in the folder, and again each time that the node makes that
// socket anew or removes its own, as plugins do which watch the folder. SetHealth and
// SetDevices change what it has, Fail and Hang spoil its calls, Send sends any bytes in
// the place of a list of devices, and the end of Run's context is its death.
//
// A Plugin may be used by several goroutines.
package deviceplugintest
