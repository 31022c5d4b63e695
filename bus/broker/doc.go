// Package broker is the MQTT broker inside the program: a bus.Transport that
// other clients reach over TCP or TLS with MQTT 3.1.1 and 5, and the program
// itself without a socket. It wraps mochi-mqtt and is its only importer.
//
//	b, err := broker.New(broker.Config{Address: "tcp://127.0.0.1:1884"})
//	...
//	err = b.Run(ctx)
//
// # What the broker keeps
//
// Everything is in memory. Retained messages and sessions are gone when the
// program ends, so whoever owns a retained message publishes it again at its
// start, and whoever owns a fact keeps it in the store. The broker is a view.
//
// # Slow subscribers
//
// A subscriber that is slow never loses a message of QoS 1 or 2 silently, and
// never holds up the others for long:
//
//   - What is written to a connection goes through a buffer of its own
//     (Config.WriteBuffer). If the client does not read and the buffer is full,
//     the connection is closed.
//   - A client may have Config.MaxInflight messages unacknowledged. One that
//     is at the limit delays those who publish to it, for at most one second;
//     then its connection is closed.
//   - A closed connection is what the client sees, so it knows that it has to
//     catch up. If it asked for a session that outlives the connection, the
//     unacknowledged messages are kept, up to MaxInflight, and sent again in
//     their order when it returns. Beyond that the newest are dropped, counted
//     (Stats) and logged.
//   - QoS 0 is dropped for an absent client, as MQTT has it.
//
// # Deviations
//
// A client's own Receive Maximum (MQTT 5, 3.1.2.11.3) is not observed, since
// mochi-mqtt 2.7.9 stops sending to a client that has once reached it: the
// messages that it parks take their share of the quota and never give it back.
// Clients acknowledge as they read, so TCP's window does that job.
// Messages published by an MQTT client are acknowledged when the broker has
// them, not when a subscriber has dealt with them.
package broker
