// Package simulate runs many light nodes in one program against a real cloudcore and a real API
// server: for benchmarks, for fault tests, and for an operator who wants to know what a cluster
// carries before the machines are bought ("edgectl simulate").
//
//	f, err := simulate.New(simulate.Config{REST: cfg, Servers: []string{"cloud:10000"}, Nodes: 1000, Pods: 10})
//	...
//	err = f.Run(ctx) // until ctx ends
//	fmt.Println(f.Stats())
//
// # What is real and what is not
//
// A light node has a real identity: a certificate of its own, and the claim of its name. It gets
// them as a machine does, by a join token and a request to cloudcore, or, much sooner, from the
// cluster's own authority ([IdentityCA]). It has a real link: a hub.Client over TLS, with
// WebSocket or QUIC, keepalives, delivery and acknowledgements. It registers its Node, holds what
// cloudcore sends it, and reports.
//
// No container runs and nothing is stored: a pod becomes Running and Ready some time after it has
// come, and ends when it is deleted. Its log is one line. A device's values are counters. What a node holds is lost
// with the program, as with a machine whose disk was replaced.
//
// # What is measured
//
// Connect: from the first dial to the session, so a cloudcore that asks nodes to come later
// counts. Reconnect: from the loss of a session to the next one. Pod arrival: from the creation of a
// pod at the API server to the node. Pod status: from the node's report to cloudcore's
// acknowledgement, which it sends after the API server has answered the write. Twin: from the
// node's report to a watcher of DeviceStatuses at the API server; cloudcore bounds these writes
// (--device-status-every, --device-writes-per-second), so with many devices this is the time that
// a device waits for its turn.
//
// # Memory
//
// Stats are histograms of a fixed size. A node takes the memory of its link, and for each pod a
// few strings: about 100 KiB in all, see controller/SCALE.md.
//
// # Concurrency
//
// Methods of a Fleet may be called by several goroutines at once. Run runs once, and joins all
// that it has started.
package simulate
