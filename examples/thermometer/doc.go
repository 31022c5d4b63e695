// Command thermometer shows the device SDK: a simulated room with a thermometer
// and a heater, and their driver.
//
//	go run ./examples/thermometer
//
// shows in a few seconds, with no cluster and no set-up, what a twin is: a
// twin engine, an embedded MQTT broker and the driver in one process, and an
// MQTT client beside them that asks for a warmer room.
//
//	go run ./examples/thermometer -broker tcp://127.0.0.1:1884 -node edge-7
//
// runs the same driver as a mapper beside edgecore: it drives every Device of that
// node whose protocolName is "thermometer", until it is stopped. Broker and
// edgecore may restart meanwhile.
//
// driver.go is the example of a device.Driver; standalone.go and
// mapper.go are the two ways to run it.
package main
