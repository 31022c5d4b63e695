// Package manager is MetaManager: it stands between the link (hub) and the
// node's store (meta), so that everything else on the node talks to the store
// and never to the network.
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
// What the cloud wants to be on the node comes as hub's state class instead:
// [Manager.Down] is the Sink that puts it into the store's Down area.
//
// An answer to a query says how stale it is, in Stored and Confirmed.
//
// # The outbox
//
// What a node reports is of two kinds, and both are durable when the call
// returns, bounded, and counted in [Manager.Stats].
//
// State is what is: the Up area of the store, and [Manager.StateOutbox] its face for the
// link. It is kept by key: a newer value replaces an older one that was not sent
// yet, so that the outbox holds at most one object for each key. What was
// acknowledged stays, marked, so that a report that repeats it is dropped; the
// report about an object, or a part of it ("pods/status"), goes when it is
// acknowledged and the object itself has left the Down area. Deletions are
// forgotten when they are acknowledged. A report about one object more than
// Config.MaxState is refused with ErrOutboxFull: state that is dropped would be
// a lie for ever.
//
// Events are what happened: [Manager.Append] adds one, [Manager.EventOutbox] is their
// face for the link. None replaces another, and they arrive in their order. One
// more than Config.MaxEvents drops the oldest: a node that is offline for long
// remembers the end of the story.
//
// Versions on the link are the store's revisions in decimal. They order two
// values of one key, across restarts as well.
//
// While the store's disk takes nothing all reports fail and the link stands: what
// comes down is not acknowledged and tried again. [Manager.UpdateInMemory] is the
// one way to tell the cloud then; its versions are "7+1", after the revision 7.
//
// # With no cloud
//
// Nothing here waits for the cloud. Before the link has ever stood, and after
// it went, reports pile up by the rules above and queries are answered from
// the store, or fail with [ErrOffline].
//
// # Concurrency
//
// All methods may be called by several goroutines at once, before Run, during
// it and after it; without Run the link is not told of new reports.
package manager
