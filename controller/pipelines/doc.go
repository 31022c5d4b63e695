// Package pipelines is the cloud's half of pipelines (group pipelines.edgekit.io): it brings
// Pipelines to the nodes that they name or select, sends their events to URLs, and writes what
// became of them into their status. bus/pipeline/host is a node's half, bus/pipeline/v1alpha1
// has the resource.
//
//	c, err := pipelines.New(pipelines.Config{Cloud: client, Dynamic: dynamic, Nodes: nodes, ID: "cloudcore-1"})
//	// hub.Node: Down has c.Source(node), Up has c.Writers(), Inbox is c.Inbox(node, others);
//	// c.Connected is called when a node comes or goes
//	err = c.Run(ctx)
//
// controller.Controller does that; its Config.Pipelines sets it up.
//
// # What a node gets
//
// The Pipelines that name the node, or select it by its labels, as state: also one that was
// away when a Pipeline was made or removed. With them it gets the ConfigMaps that their tables
// name and the Secrets that their sinks name, of the Pipeline's namespace, and no others.
//
// cloudcore may read these only where an administrator allows it, for a namespace or for all:
//
//	kubectl create rolebinding edgekit-pipelines --clusterrole=edgekit:cloudcore-pipelines \
//	  --serviceaccount=edgekit-system:cloudcore -n NAMESPACE
//
// Who names a Secret in a Pipeline must be able to read it: an admission policy sees to that. Without
// the right the condition InputsAvailable says what to do.
//
// # Events
//
// A sink of kind cloud sends batches of CloudEvents to its URL: each batch as one POST, as
// application/cloudevents-batch+json, or application/cloudevents+json for one event. Batches
// of one sink of one node go one at a time in their order. One that is not taken with a 2xx
// status is sent again with back-off for as long as retry.for, and is then dropped and
// counted. The URL is the Pipeline's, whatever the node says. A batch that the URL refuses is sent
// in parts until the events are found that it refuses; when a part must be sent again, those
// before it are not. A batch comes twice only when cloudcore is killed, or the node goes to
// another cloudcore, between its arrival and the acknowledgement: the ids of the CloudEvents
// are the same then. Redirects are not followed, and addresses of this machine and link-local
// ones are not called unless Config.LocalTargets allows it.
//
// # Status
//
// It is written at most every Config.StatusEvery, with server-side apply, by each cloudcore for
// the nodes whose sessions it has: running and failed are the sums. A node without a link counts
// as neither. What nodes report is bounded: at most 3 failures of one node and 10 in all are
// kept, and texts are cut and cleaned.
//
// # Concurrency
//
// All methods may be called by several goroutines at once.
package pipelines
