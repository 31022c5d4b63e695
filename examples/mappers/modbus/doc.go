// Command modbus is a mapper for Modbus devices over TCP, a serial line (RTU), or RTU frames
// in TCP, as serial gateways speak it.
//
//	modbus --node=edge-7 --broker=tcp://127.0.0.1:1884
//
// driver.go is the device.Driver. points.go plans its requests, value.go has the form of
// values in registers, and line.go is the connection that all devices on one line share.
// README.md has the settings of a Device.
package main
