// Package rules is the cloud's half of rules: Rules and RuleEndpoints of the group
// rules.kubeedge.io. bus/rules is a node's half, bus/rules/v1 has the resources.
//
//	c, err := rules.New(rules.Config{Cloud: client, Dynamic: dynamicClient})
//	// hub.Node: Down has c.Source(node), Inbox is c.Inbox(node, others), Outbox is c.Outbox(node),
//	// Connected calls c.Connected; c.Handle(mux)
//	err = c.Run(ctx, server.OpenStream)
//
// controller.Controller does that; its Config.Rules sets it up.
//
// # The four pairs
//
//	source      target      in the cloud
//	rest        eventbus    the entry takes a request; the node stores and publishes its body
//	rest        servicebus  the entry takes a request and carries it to a program on the node
//	eventbus    rest        an event of the node is sent to a URL, until it is taken
//	servicebus  rest        a stream of the node is one request to a URL
//
// # The entry
//
// Config.Entry turns on the port for callers: /NODE/NAMESPACE/PATH, where PATH begins with
// the path of a Rule whose source is rest. Paths are compared part by part from their
// beginning. {name} in a Rule's path is one part. Of several Rules the one with the longest
// literal beginning answers; a Rule whose path is another's is refused by its condition
// Resolved. Callers need a token or client certificate of the cluster and the right to
// create rules/proxy of the Rule's name, unless the RuleEndpoint has the annotation
// edgekit.io/anonymous: "true".
//
// Each request is one call, whose status, headers and body pass unchanged. Answers of the
// entry itself have the header edgekit-error and a problem document (RFC 9457).
//
// # From nodes
//
// Each Rule's messages are sent one at a time in their order. One that the URL does not take
// with a 2xx status is sent again with back-off, for as long as the Rule's ttl; then it is a
// dead letter in the status. Until then it stays in the node's store, and messages of other
// Rules go on. A message comes twice only when cloudcore is killed, or the node goes to
// another cloudcore, between its arrival and the acknowledgement: each try has the same
// header edgekit-event-id. Redirects are not followed, and addresses of this machine and
// link-local ones are not called unless Config.LocalTargets allows it.
//
// # Nodes that are away
//
// Callers of eventbus targets may ask that a message waits (Prefer: respond-async). It is
// then a RuleMessage in the API server, in every cloudcore's reach, until the node has it
// or its time is over. A request for a node at another cloudcore is passed on to that one's
// entry.
//
// # Status
//
// Counts, the last error and dead letters are written at most every Config.StatusEvery, with
// server-side apply, by the cloudcore that has the node's session.
//
// # Concurrency
//
// All methods may be called by several goroutines at once.
package rules
