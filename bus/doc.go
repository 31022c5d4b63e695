// Package bus is MQTT on the node: one Bus that publishes to and subscribes at
// an embedded broker, an outside broker, or both.
//
// A Bus joins one or two Transports. Package bus/broker is the embedded
// broker, bus/client connects to an outside one, and bus/bustest has a
// Transport in memory for tests with the suite that every Transport passes.
// Package bus itself needs only the standard library and knows nothing of
// twins or Kubernetes. Package bus/topics has the topics and payloads of KubeEdge.
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
// Publish returns when every transport has accepted the message: the embedded
// broker has passed it to its sessions, the client has queued it. In mode Both a
// failure at one transport does not keep the message from the other, and nobody waits for
// the outside broker: its messages go through a queue. When that is full, the newest are
// dropped for the outside broker alone, counted (Stats) and reported as ErrBacklog. After that
// the rules of MQTT for the message's QoS hold. A broker does not keep data
// safely: the owner of a value keeps it in the store and publishes it again on
// request.
//
// A message that the Bus publishes itself comes back to each of its own
// matching subscriptions, once from each transport; the client's Config.NoLocal leaves
// out those of the outside broker. Messages do not pass from one transport to the other.
//
// # Shared subscriptions, requests
//
// The filter $share/NAME/FILTER is a shared subscription: each message goes to one of the
// subscribers with the name and filter, in the program or outside of it. Request publishes
// a message and waits for its answer; Reply answers one. They carry response topic and
// correlation data as MQTT 5 says (4.10), so the other side may be any MQTT 5 client.
//
// # Queues
//
// Each subscription has a queue of Config.Queue messages. When it is full, the
// transport blocks until the handler has read one, which slows the connection of
// the publishing client. Nothing is dropped. A handler must not wait for a message
// of its own subscription.
//
// # Concurrency
//
// All methods of Bus may be called from several goroutines at once, handlers
// included. Run owns the goroutines of all subscriptions and waits for them.
package bus
