// Package mappers is the root of a Go module with mappers of real protocols: modbus, opcua,
// mqtt, http and snmp. Each folder is a program to copy. Its driver.go has the device.Driver,
// its tests have a simulator of the protocol, and model.yaml and device.yaml are a
// DeviceModel and a Device for it. internal/program is the part of a main function that they
// share. The libraries of the protocols are in this module only, so that nobody who imports
// edgekit pays for them.
package mappers
