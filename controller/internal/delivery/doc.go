// Package delivery sends what nodes report as events to URLs, until it is taken: messages of
// rules (controller/rules) and events of pipelines (controller/pipelines).
//
//	q, err := delivery.New(delivery.Config{Resources: []string{resources.RuleEvents}, Try: try})
//	inbox := q.Inbox(node, next) // for hub.Node.Inbox
//	err = q.Run(ctx)
//
// # Order and acknowledgement
//
// The events of one source of a node are tried one at a time in their order, and those of
// different sources do not wait for each other. An event is acknowledged, and removed from the
// node's store, when Config.Try is done with it. One that is not taken is tried again with
// back-off. A try under way is finished even when the node's session ends, so that its event
// is not sent twice by this cloudcore; a kill of cloudcore between the taking and the
// acknowledgement sends it twice.
//
// # Bounds
//
// 20,000 sources are tried at once, 256 of one node; the events of others wait on their nodes.
// Targets has the bounds of requests.
//
// # Concurrency
//
// All methods may be called by several goroutines at once.
package delivery
