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
package mqtt
