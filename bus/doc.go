// Package bus is MQTT on the node: one Bus that publishes to and subscribes at
// an embedded broker, an outside broker, or both.
//
// A Bus joins one or two Transports. Package bus/broker is the embedded
// broker, bus/client connects to an outside one, and bus/bustest has a
// Transport in memory for tests with the suite that every Transport passes.
// Package bus itself needs only the standard library and knows nothing of
// twins or Kubernetes.
//
//	b, err := broker.New(broker.Config{})
//	...
//	mqtt, err := bus.New(bus.Config{Mode: bus.Internal, Internal: b})
//	...
//	stop, err := mqtt.Subscribe("sensors/+/temperature", func(ctx context.Context, m bus.Message) {
//		fmt.Printf("%s %s\n", m.Topic, m.Payload)
//	})
//	...
//	err = mqtt.Run(ctx)
//
// # Order
//
// Messages that one client publishes at one transport reach a subscription's
// handler in the order in which they were published. A handler runs for one
// message at a time. There is no order between two subscriptions, between two
// publishing clients, or between two transports.
//
// # Delivery
//
// Publish returns when every transport has taken the message: the embedded
// broker has handed it to its sessions, the client has put it on its way. In
// mode Both a failure at one transport does not keep the message from the
// other. What happens after that is what MQTT promises for the message's QoS.
// A broker is never where data is safe: whoever owns a fact keeps it in the
// store and publishes it again when asked.
//
// A message that the Bus publishes itself comes back to each of its own
// matching subscriptions, once from each transport. Messages are not bridged
// from one transport to the other.
//
// # Queues
//
// Each subscription has a queue of Config.Queue messages. When it is full the
// transport blocks until the handler has taken one, which in the end slows the
// publishing client's connection; nothing is dropped. A handler therefore must
// not wait for a message that can only come through its own subscription.
//
// # Concurrency
//
// All methods of Bus may be called from several goroutines at once, handlers
// included. Run owns the goroutines of all subscriptions and waits for them.
package bus
