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
// Everything is in memory. Retained messages and sessions end with the program.
// The owner of a retained message keeps its value in the store and publishes it
// again at its start.
//
// # Slow subscribers
//
// A subscriber that is slow never loses a message of QoS 1 or 2 silently, and
// never holds up the others for long:
//
//   - Each connection has a write buffer of its own (Config.WriteBuffer). If the
//     client does not read and the buffer is full, the connection is closed.
//   - A client may have Config.MaxInflight messages unacknowledged. At the limit
//     it delays its publishers for at most one second; then its connection is
//     closed.
//   - The client sees the closed connection and knows that it has to catch up. If
//     its session outlives the connection, the unacknowledged messages are kept, up
//     to MaxInflight, and sent again in their order when it reconnects. Beyond that
//     the newest are dropped, counted (Stats) and logged.
//   - QoS 0 is dropped for a disconnected client, as MQTT says.
//
// # Deviations
//
// A client's own Receive Maximum (MQTT 5, 3.1.2.11.3) is not observed, since
// mochi-mqtt 2.7.9 stops sending to a client that has once reached it: the
// messages that it parks take their share of the quota and never give it back.
// Clients acknowledge as they read, so TCP's window limits them instead.
// A message of an MQTT client is acknowledged when the broker has it, not when a
// subscriber has handled it.
package broker
