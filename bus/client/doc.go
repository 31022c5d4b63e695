// Package client connects to an MQTT broker outside of the program: a
// bus.Transport on MQTT 5 over TCP or TLS that reconnects to its broker. It wraps paho's
// autopaho and is its only importer.
//
//	c, err := client.New(client.Config{URL: "tcp://127.0.0.1:1883", ClientID: "edge-7"})
//	...
//	err = c.Run(ctx)
//
// # While the broker is disconnected
//
// Run tries again, after 100 ms to 15 s with random jitter. Messages that are
// published meanwhile wait in a queue of Config.Queue messages. When it is full,
// the oldest is dropped, counted (Stats) and logged: the edge publishes the newest
// value of something that it keeps elsewhere. While the broker is connected and
// the queue is full, Publish blocks instead.
//
// Messages of QoS 1 and 2 that were sent and not acknowledged are sent again
// after a reconnect, also to a broker that has lost the session. All of this is in
// memory and ends with the program; bus.Config.Outbox and mode Both keep messages on the
// disk until PublishConfirm says that the broker has them.
//
// A broker that leaves a SUBSCRIBE unanswered for ten seconds, or a message unacknowledged for
// a minute, while the connection is there, is connected again; so is one for which the user
// calls Reconnect. Status says whether there is a connection, and why not.
//
// With Config.SessionExpiry and a fixed ClientID the broker keeps what others publish
// while the program is away, and sends it when the program is back; make the
// subscriptions before Run. SUBSCRIBE is sent again at each connection.
//
// # Messages of QoS 2
//
// A message of QoS 2 that the broker sends again is delivered once, over connections, and with
// Config.Received also when the program is killed: its packet identifier is on the disk before
// PUBREC is sent, and off the disk before PUBCOMP. One moment is left: a program that is killed
// after a receiver has acted on a message, and before the identifier is on the disk, gets the
// message again. That is the time of one synced write. Only a receiver that stores the
// identifier together with what it does could close it. Two synced writes for each message,
// one after the other, are the price: 570 to 1,230 messages a second on a busy disk, and 9,900
// to 13,600 without Received. QoS 0 and 1 cost nothing more.
//
// # Duplicates
//
// MQTT 5 (3.3.4) leaves it to the broker whether a client with overlapping
// filters gets a message once, as from bus/broker, or once for each filter, as
// from mosquitto 2. In the second case each subscription that matches gets it
// as often. The filters of twin/mqtt and device/mqtt do not overlap. Retained
// messages come again with every reconnect.
package client
