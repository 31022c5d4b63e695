// Package manager is MetaManager. It stands between the link (hub) and the node's
// store (meta): all other modules of the node use the store and never the network.
//
//	m, err := manager.New(manager.Config{Store: store, Caller: client, Node: "gate-7"})
//	// link: hub.Endpoints{Down: m.Down(), Up: m.StateOutbox(), Outbox: m.EventOutbox()};
//	// its hub.Info goes to m.NodeConnection
//	err = m.Run(ctx)
//
// # The seven operations
//
// Each operation is a method or a part of one; all are in TestOperations.
//
//	operation       who sends it                      what happens                                  further test
//	Insert          meta/kube: mirrors of static      the report is durable in the outbox of state  TestStateIsBounded
//	                pods
//	Update          meta/kube: the Node, pod status;  the same; a newer value replaces an older     TestLink
//	                twin/devicesync: device status
//	Delete          meta/kube: pods that have ended   the same, for a deletion                      TestLink
//	Query           meta/kube: references, tokens;    the store answers what came down or is kept   TestStaleness
//	                meta/apiserver: writes            and fresh, else the cloud does
//	Response        the cloud, to Query               Query keeps the answer, also that an object   TestAbsent
//	                                                  does not exist
//	NodeConnection  the link, by                      stored, and passed on by Connections          TestConnection
//	                hub.Endpoints.Connected
//	MetaSync        NodeConnection, when another      all reports are sent again                    TestOthersReported
//	                program had the node's session
//
// Objects that the cloud wants on the node do not come as operations. They come as
// hub's state class: [Manager.Down] is the Sink that puts them into the Down area.
//
// The fields Stored and Confirmed of an answer say how old it is.
//
// # The outbox
//
// A node reports state and events. Both are durable when the call returns, both are
// bounded, and [Manager.Stats] counts both.
//
// State is kept by key in the Up area; [Manager.StateOutbox] is the Source that the
// link reads it from. A newer report replaces an older one that was not sent, so the
// outbox holds at most one object for each key. An acknowledged report stays, and is
// marked: a report that repeats it is dropped. The report about an object, or about
// a part of it ("pods/status"), is removed when it is acknowledged and the object is
// no longer in the Down area. A deletion is removed when it is acknowledged. When the
// outbox holds Config.MaxState objects, a report about another one fails with
// ErrOutboxFull: dropping one silently would leave the cloud wrong for ever.
//
// Events are appended by [Manager.Append]; [Manager.EventOutbox] is the Outbox that
// the link reads them from. No event replaces another, and they arrive in order. When
// there are more than Config.MaxEvents, the oldest is dropped: after a long time
// offline the newest events are the useful ones.
//
// [EventQueues] are further sources of events, for what may wait long for its receiver:
// messages of rules. [Outboxes] joins them with EventOutbox to the one Outbox of the link.
//
// Versions on the link are the store's revisions in decimal. They order the values
// of one key, also across restarts.
//
// While the store's disk cannot be written, all reports fail but the link stays
// connected. The node does not acknowledge what it receives, so the cloud sends it
// again. Only [Manager.UpdateInMemory] can report to the cloud then. Its versions are
// like "7+1", which comes after revision 7.
//
// # Without the cloud
//
// No method waits for the cloud. Before the first connection and while the node is
// offline, reports collect in the outbox, and queries are answered from the store or
// fail with [ErrOffline].
//
// # Concurrency
//
// Several goroutines may call all methods at once: before, during and after Run. While
// Run does not run, the link gets no notice of new reports.
package manager
