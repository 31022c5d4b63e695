// Package mqtt is the device.Link of a mapper that runs beside edgecore and
// talks to it over MQTT, on the topics that package twin/mqtt serves.
//
//	outside, err := client.New(client.Config{URL: "tcp://127.0.0.1:1884"})
//	...
//	b, err := bus.New(bus.Config{Mode: bus.External, External: outside})
//	...
//	link, err := mqtt.New(mqtt.Config{Bus: b, Node: "edge-7", Protocol: "modbus"})
//
// Run the bus and device.Run side by side, in any order.
//
// # Delivery
//
// The Link requests the list of the node's devices (membership/detail) when it starts,
// whenever the broker has come back, when it has missed a change, and every
// Config.Resync; in between it follows the changes that are published. A desired value is adopted by its
// timestamp, so messages may overtake each other. Report and State return when
// the answer has come that the twin engine made them durable.
//
// The connection may be there and the subscriptions lost. So when three calls in a row, or three
// claims (see below), over 30 s or more, had no answer, the Link has the Bus connect and subscribe
// again. While there is still no answer, it does so again after twice the time, at most every 10
// minutes.
//
// # Several mappers
//
// With Config.Protocol, one of the mappers of a protocol on a node drives its devices. Each claims
// them (membership/protocol/PROTOCOL/claim) when it starts and every 10 s, and edgecore answers
// who has them: the first that has claimed, until it ends or was silent for 45 s. Then it is the one
// that has waited longest, of those that still claim. A mapper that waits has an empty list of
// devices, and opens none. So a new version of a mapper may start before the old one ends. A mapper
// that claims under the Config.Name of the one that has the devices gets them at once: it is that
// one after a restart.
// When two run beside each other for more than a minute, each device has the condition
// SingleMapper with status False.
//
// While edgecore is away, the mapper that has the devices drives them on. If others wait, it stops
// after 30 s without an answer: edgecore may have given them to another. A mapper whose list of
// devices comes without an answer to its claim drives them after 10 to 20 s: edgecore is of an
// earlier version, or an outside broker has rules that do not let the claim through. edgecore claims
// for the mappers that speak DMI, as one mapper with a name like DMI/boilers. Mappers over MQTT without
// this package make no claims.
//
// # Conditions, methods, proposals
//
// Conditions go to the device's topic state/conditions and are answered like states. An app
// calls a method by a message to method/call of a device; the mapper that drives the device
// answers on method/call/result, by event_id. At most 64 calls run at once, further ones are
// dropped: their callers time out. Devices that were found are retained on the node's topic
// proposed/PROTOCOL.
package mqtt
