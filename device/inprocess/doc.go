// Package inprocess is the device.Link of a mapper that runs in the same
// program as the twin engine: a gateway that needs no broker between the two.
//
//	link, err := inprocess.New(inprocess.Config{Engine: engine})
//	...
//	err = device.Run(ctx, device.Config{Protocol: "modbus", New: newDriver, Link: link})
//
// A Link also keeps conditions with the device, passes Call on to the mapper that drives a
// device, and has the devices that mappers have found (Proposals), which Config.Adopt or Adopt
// declares.
//
// [github.com/edgekit/edgekit/twin/devicespec] makes the request that declares a
// device to the engine.
package inprocess
