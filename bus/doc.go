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
// broker has passed it to its sessions, the client has queued it. After that
// the rules of MQTT for the message's QoS hold. A broker does not keep data
// safely: the owner of a value keeps it in the store and publishes it again on
// request.
//
// In mode Both nobody waits for the outside broker, and a failure there does not keep the
// message from the embedded one. That one is a Gateway: it keeps what is for the outside broker
// as it keeps the messages of a client that is away, with its bounds and, with a storage,
// over a restart, until the outside broker has acknowledged it. Messages of QoS 1 and 2 wait in
// their order; beyond the bound the newest are dropped for the outside broker alone and
// counted. A message of QoS 1 or 2 that was under way when the connection or the program
// ended may come twice; those that only waited come once. What the program publishes is on the
// disk half a second later, what clients publish before they have their acknowledgement. In
// mode External Config.Outbox does the same. With other transports in mode Both there is a queue
// in memory; when it is full, ErrBacklog says so. For what comes from the outside broker with
// QoS 2 see bus/client: with Config.Received there, a killed program gets none twice.
//
// # Bridge
//
// Config.Bridge says which messages of clients pass between the brokers in mode Both; none do
// without it. What came from the outside broker does not go back, and what went there does not
// return (no local, MQTT 5, 3.8.3.1), so two filters that are alike make no loop. A message
// that comes in is acknowledged outside when the sessions inside have it on the disk. The
// connection to the outside broker is made when the embedded one takes messages.
//
// A retained message passes with its flag; retained messages of the outside broker come in with
// a new session there, not with each connection, so that an old value does not replace a newer
// one. If a filter of Bridge.In overlaps one of the program's own subscriptions, a broker that
// sends a copy for each subscription, as mosquitto does, gives the program two.
//
// A message that the Bus publishes itself comes back to each of its own
// matching subscriptions, once from each transport; the client's Config.NoLocal leaves
// out those of the outside broker.
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
