// Package inprocess is the device.Link of a mapper that runs in the same
// program as the twin engine: a gateway that needs no broker between the two.
//
//	link, err := inprocess.New(inprocess.Config{Engine: engine})
//	...
//	err = device.Run(ctx, device.Config{Protocol: "modbus", New: newDriver, Link: link})
//
// [github.com/edgekit/edgekit/twin/devicespec] makes the request that declares a
// device to the engine.
package inprocess
