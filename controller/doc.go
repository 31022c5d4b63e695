// Package controller is the cloud's side of edgekit. It reads from the API
// server what each edge node must hold, and writes there what each node reports,
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
//	g.Go(func() error { return c.Run(ctx, server) })
//	<-c.Ready()
//	g.Go(func() error { return server.Run(ctx) })
//
// examples/own-cloudcore is such a program, with joining and a WebSocket link.
//
// Its parts are packages below it:
//
//   - controller/edge: pods, the objects that they refer to, and nodes, both ways
//   - controller/devices: devices, models and their status, both ways
//   - controller/nodelifecycle: leases, the condition EdgeConnected and the taint
//   - controller/kubeletproxy: kubectl logs, exec and metrics, carried to the node
//   - controller/nodeapi: what the Kubernetes API on a node needs of the cloud
//   - controller/rules: messages between MQTT and HTTP on nodes and HTTP in the cloud
//   - controller/groups: groups of nodes, and applications with a copy for each of them
//   - controller/sites: objects of any resource, such as custom resources, that nodes hold
//   - controller/nodeidentity: join tokens, name claims and the CA, in the API server
//   - controller/install: what must be in a cluster before a cloudcore runs
//
// # Delivery and order
//
// Down: a change in the API server reaches a connected node after the watch has
// it; the newest version wins and versions in between may be skipped. A
// cloudcore whose caches are behind what a node has seen never sends an older
// version and never concludes from absence that an object is gone: it asks the
// API server. Up: a report is acknowledged after the API server has it. Reports
// about one object are written in their order, a node's own before all others.
// A report that is repeated has the effect of one.
//
// # Identity
//
// A node's name is that of its certificate (hub.Hello.Node). Every call on a
// node's behalf impersonates system:node:<name> in group system:nodes, so that
// Kubernetes' node authorizer and NodeRestriction admission decide. cloudcore's
// own identity is used for what nodes may not do: watching all pods, the role
// label, the taint, and the device resources. For devices, which Kubernetes'
// node authorizer does not know, this package checks that the device is the
// node's.
//
// # Any number of cloudcores
//
// All state is in the API server. What two cloudcores would both write is
// written by the one that holds the node (see controller/nodelifecycle), or by one that all
// choose alike by the name of the work ([Controller.Mine]), or is the same from both. SCALE.md
// beside this file lists all work by who does it, and says what a fleet costs.
//
// # Concurrency and lifecycle
//
// Methods may be called by several goroutines at once. New makes no request; it
// reads the files that a rest.Config names. Each type with Run runs once: a
// second call returns ErrStarted. Run returns nil when its context ends, after
// everything that it started has ended.
//
// # Stability
//
// The names of labels, annotations and conditions are an interface to operators
// and do not change. The Go API may change until version 1.
package controller
