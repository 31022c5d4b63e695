// Command opcua is a mapper for OPC UA servers.
//
//	opcua --node=edge-7 --broker=tcp://127.0.0.1:1884
//
// driver.go is the device.Driver, settings.go and value.go are what a Device says of it and
// the form of its values. README.md has the settings of a Device.
package main
