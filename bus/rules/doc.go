// Package rules is a node's half of rules: it carries messages between MQTT and HTTP on the
// node and the cloud, as the Rules of the node say (group rules.kubeedge.io). Its other
// half is controller/rules.
//
//	r, err := rules.New(rules.Config{Store: store, Bus: mqtt, Node: "edge-7", Open: link.OpenStream})
//	r.Handle(mux)
//	// hub.Endpoints{Outbox: manager.Outboxes(mgr.EventOutbox(), r.Outbox()), Inbox: r.Inbox(), Mux: mux, ...}
//	err = r.Run(ctx)
//
// # What it does
//
//	source      target      on the node
//	eventbus    rest        subscribes NAMESPACE/TOPIC; each message becomes an event for the cloud
//	servicebus  rest        serves Config.Listen, while there is such a rule; each request is a call of the cloud
//	rest        eventbus    stores a message that the cloud sends, answers, and publishes it
//	rest        servicebus  calls a program on the node, as the cloud asks
//
// The Rules of the first two lines come down as state and count as soon as they are in the
// store. The last two need nothing on the node: each call says where it goes.
//
// # Order, delivery and bounds
//
// Messages of one rule reach the cloud in the order in which the broker passed them on, and
// those of different rules do not wait for each other. They are durable a moment after the
// broker has acknowledged them to their publishers: a stop or kill of the program loses those of
// the last milliseconds. An outage of the link loses none until Config.MaxEvents of a rule or
// Config.MaxBytes of all wait; then the oldest of the rule is dropped and counted. While the
// store cannot be written, the publishers wait. A message with a payload over 3 MiB is dropped
// and counted. What a broker had retained before the subscription is not sent: it would come
// again after each restart.
//
// A message from the cloud is published in the order of arrival, at least once: a kill
// between publication and its record publishes it again.
//
// # What a Rule cannot do
//
// A service on another host than this one is called only if Config.AllowedHosts has it. A
// redirect is passed on and not followed. Nothing is published on topics that begin with $.
//
// # Concurrency
//
// All methods may be called by several goroutines at once. Without rules, Run is one
// goroutine that waits, and nothing listens.
package rules
