// Command http is a mapper for devices with an HTTP interface that speaks JSON.
//
//	http --node=edge-7 --broker=tcp://127.0.0.1:1884
//
// driver.go is the device.Driver. README.md has the settings of a Device.
package main
