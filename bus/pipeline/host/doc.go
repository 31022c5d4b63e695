// Package host is edgecore's side of pipelines: it keeps edgepipe, the program that runs
// them, for as long as the node has a Pipeline, gives it the Pipelines with what they name, and
// passes its reports and its events for the cloud on. Its other halves are controller/pipelines
// and cmd/edgepipe; bus/pipeline/wire is what they say to each other.
//
//	h, err := host.New(host.Config{Store: store, Reporter: mgr, Node: "edge-7", Folder: "/var/lib/edgekit/pipelines", Program: "/usr/bin/edgepipe"})
//	// hub.Endpoints{Outbox: manager.Outboxes(mgr.EventOutbox(), h.Outbox()), ...}
//	err = h.Run(ctx)
//
// # A program of its own
//
// Expressions, decoders and sinks need memory as soon as they are linked. A node without
// Pipelines has a watch of its store, and no program, no socket and no goroutine besides.
// Without the program, or while it crashes, the status of each Pipeline says so, and nothing
// else on the node suffers.
//
// An upgrade of edgecore by a job brings no edgepipe: the installed one is used, whatever its
// release. The log says so, and so does each failure of a Pipeline.
//
// When the last Pipeline goes, edgepipe ends and what it stored is removed. Its data stays when
// edgecore ends.
//
// # Events for the cloud
//
// They are durable in the node's store when edgepipe has its answer. Config.MaxBatches of each
// sink wait here at most, and Config.MaxBytes of all; then edgepipe keeps its events in the
// sink's own queue, which has the bounds that the Pipeline gives it.
//
// # MQTT sessions
//
// Each source of kind mqtt has a session of its own at the node's broker, which keeps its
// messages while edgepipe is away. Config.EndSession is called for sessions whose source is
// gone, also if it went while edgecore did not run.
//
// # Concurrency
//
// All methods may be called by several goroutines at once. Run may be called once.
package host
