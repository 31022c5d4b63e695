// Package mappers holds mappers of real protocols to copy: modbus, opcua, mqtt, http and
// snmp. Each folder is a program with one driver (driver.go), the simulator of its protocol
// in its tests, a DeviceModel and a Device. mapperkit has the part of a main function that
// is the same in all of them. The folders are a Go module of their own, so that nobody who
// imports edgekit pays for the libraries of protocols.
package mappers
