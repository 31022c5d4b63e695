// Package session is the delivery state of one MQTT session, without sockets, clocks or
// locks: which messages wait, which are in flight to the client, and which packet
// identifiers the client has in flight to the server. The rules are those of MQTT 5,
// chapter 4, and MQTT 3.1.1, chapter 4, which agree on them.
//
// Messages to the client stand in one queue and have sequence numbers without gaps. The
// packet identifier of a message follows from its number, so a message keeps its
// identifier over reconnects and restarts without a record of its own. At most 65,535
// numbers are in flight at once, so no two of them have one identifier. The client's own
// identifiers are a set of their own: the two never meet (MQTT 5, 2.2.1).
//
// Step folds an event into the session and lists what the caller must then do, in
// order. Next gives the next message to send. A Session is not safe for use by several
// goroutines at once.
package session
