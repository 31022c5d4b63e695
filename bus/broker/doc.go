// Package broker is the MQTT broker inside the program: a bus.Transport that
// other clients reach over TCP, TLS, WebSocket and unix sockets with MQTT 3.1, 3.1.1 and
// 5, and the program itself without a socket.
//
//	b, err := broker.New(broker.Config{Address: "tcp://127.0.0.1:1884"})
//	...
//	err = b.Run(ctx)
//
// # Rooms
//
// Package bus/internal/session is the state of one session: pure, without sockets and
// clocks. bus/internal/topictree finds subscriptions and retained messages.
// bus/internal/journal has the records on the disk, bus/internal/wsframe the frames of
// WebSocket. This package joins them: listeners and limits, one lock over all sessions,
// delivery, wills, and the group commit. mochi-mqtt's package packets decodes everything
// but PUBLISH and its acknowledgements, and encodes what is rare. mochi's server and its
// listeners are not used: sessions, packet identifiers and slow subscribers cannot be
// mended from outside of the one, and the others end while their connections still begin.
//
// A connection has one goroutine that reads, and a second one while there is something to
// write. An idle client costs one goroutine, its session and a buffer of 256 bytes.
//
// # Sessions
//
// All sessions, subscriptions and retained messages change under one lock. A client that
// connects gets its session and takes it from an older connection in one step, so a
// SUBACK that was granted holds. The older connection ends (MQTT 5: reason 0x8E). A
// session belongs to the user who began it.
//
// The packet identifiers of the broker and of a client are two sets. A message for a
// session has a sequence number, and its packet identifier follows from that, so it keeps
// its identifier when it is sent again, also after a restart.
//
// # What the broker keeps
//
// With Config.Storage these survive a crash and a power cut: sessions that outlive their
// connection, with subscriptions and wills; the messages of QoS 1 and 2 that they have
// not acknowledged; the client's own QoS 2 identifiers; retained messages. A PUBACK,
// PUBREC, PUBREL, PUBCOMP, SUBACK or UNSUBACK that says so is sent after the commit. All
// that comes while a commit runs goes into the next one. Messages of QoS 1 for the
// program and for sessions that end with their connection are not written. A message that
// all have acknowledged before its commit is not written either. What Broker.Publish
// stores follows within half a second: the program has its own store. A commit that is too
// large for one write of the storage goes in parts, each with the packet identifiers of its
// messages, so that a power cut between two of them has no message of QoS 2 come twice.
// If the storage fails, the broker tries again and acknowledges nothing meanwhile. A record
// that it refuses three times while it takes others is left out, logged and counted
// (Stats.Rejected): the message is passed on and acknowledged, and does not survive a restart.
//
// Without Storage everything is in memory and ends with the program.
//
// # Order
//
// The messages of one client come to each subscriber in the order in which they were
// published, whatever their QoS, unless QoS 0 is dropped. A message of QoS 2 waits for its
// commit, and what follows it in the same session's queue waits with it. Messages of QoS 0
// do not stand in the queue and may overtake. After a reconnect all that was not
// acknowledged comes again in the old order, with DUP.
//
// The program gets a client's messages and its will in their order too, over connections and
// sessions, and each message after its acknowledgement is on its way. So a client that has the
// answer of the program never sends the request again.
//
// # An outside broker
//
// The Broker is a bus.Gateway: what goes to an outside broker stands in a session of its own,
// with the bounds, the order and the records of a client's. Its client identifier,
// "$edgekit/outside", is refused to clients. It ends when a Broker runs without Outgoing.
//
// # Revoked logins
//
// If Config.Access is a Revoker, a connection ends as soon as its login would be refused, with
// the reason 0x87; what its client has sent and the broker has not read yet is not handled.
//
// # Slow subscribers
//
// No client is disconnected for what it is sent, and none holds up another:
//
//   - QoS 1 and 2: up to the client's receive maximum and Config.MaxInflight are in
//     flight; the others wait in the session's queue. When that has Config.MaxQueue messages
//     or MaxQueueBytes, or all queues together MaxQueuedBytes, new messages are not queued
//     for that session. This is counted (Stats) and logged.
//   - QoS 0: is dropped and counted when Config.WriteBuffer bytes wait for the connection,
//     and when the client is away.
//   - Retained messages of a new subscription take their turn in the queue.
//   - A message that is larger than the client's maximum packet size is not sent to it.
//   - A publisher whose messages wait for the disk is read no further when it has
//     Config.MaxInflight of them.
//
// A subscription of the program is different: Bus gives it a queue, and when that is full
// the publisher waits. See package bus.
//
// # Bounds
//
// Before its login a connection costs what it has really sent, 32 KiB at most, for ten
// seconds; Config.MaxPending of them may be open. Config has the others: connections,
// connections of one address, sessions, subscriptions, queues, retained messages. Each is
// counted in Stats.Bounds and logged when it is reached for the first time.
//
// # Deviations from MQTT
//
// Enhanced authentication (AUTH) is refused with 0x8C. Not supported: server redirection (0x9C,
// 0x9D), response information in CONNACK, reason strings, more than 16 topic aliases. Wills of
// connected clients are published after a restart only if their session is stored. A retained
// message over the bound is passed on and not kept; MQTT 5 clients get 0x97 for it at QoS 1.
// Publishing to "$SYS/" and "$share/" is refused; there are no $SYS topics. MQTT 3 has no reason
// codes: what is refused there is acknowledged and goes nowhere.
package broker
