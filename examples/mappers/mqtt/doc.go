// Command mqtt is a mapper for devices that speak MQTT themselves, for example those of
// zigbee2mqtt or Tasmota.
//
//	mqtt --node=edge-7 --broker=tcp://127.0.0.1:1884
//
// The broker of the flags is the node's; each Device names the broker that it is at, which may
// be the same. driver.go is the device.Driver, settings.go what a Device says, and session.go
// the connection. README.md has the settings of a Device.
package main
