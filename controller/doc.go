// Package controller is the cloud's side of edgekit: what each edge node
// should hold, read from the API server, and what each reported, written there
// as that node.
//
// A Controller is the hub.Directory of a cloudcore. With a hub.Server it is a
// whole cloud side:
//
//	c, err := controller.New(controller.Config{REST: restConfig, ID: hostname})
//	...
//	var mux hub.Mux
//	c.Handle(&mux)
//	server, err := hub.NewServer(hub.ServerConfig{Directory: c, Mux: &mux, ...})
//	...
//	g.Go(func() error { return c.Run(ctx) })
//	<-c.Ready()
//	g.Go(func() error { return server.Run(ctx) })
//
// It is made of parts that can be used by themselves:
//
//   - controller/edge: pods, what they refer to, and nodes, both ways
//   - controller/devices: devices, models and their status, both ways
//   - controller/nodeapi: what the Kubernetes API on a node needs
//   - controller/nodelifecycle: leases, the condition EdgeConnected and the taint
//   - controller/nodeidentity: join tokens, name claims and the CA, in the API server
//   - controller/install: what must be in a cluster before a cloudcore runs
//   - controller/kubeletproxy: kubectl logs, exec and metrics, carried to the node
//
// # Identity
//
// A node is who its certificate says, and hub tells it here as hub.Hello.Node.
// Whatever is read or written on the node's behalf is read or written
// impersonating system:node:<name> in group system:nodes, so that Kubernetes'
// own node authorizer and NodeRestriction admission decide. cloudcore's own
// identity is used for what nodes may not do: watching all pods, the role label,
// the taint, and the device resources, where this package checks itself that a
// device is the node's.
//
// # Any number of cloudcores
//
// All state is in the API server. What two cloudcores would both write is
// written by the one that holds the node's Lease (see controller/nodelifecycle), or
// is the same from both.
//
// # Stability
//
// The names of labels, annotations and conditions are an interface to operators
// and do not change. The Go API may change until version 1.
package controller
