// Package mapper is the device.Link of a driver that runs beside edgecore and talks with it over
// KubeEdge's device management interface (DMI): edgekit's edgecore, and any other that serves
// DMI. Link registers the mapper, serves DeviceMapperService on a unix socket of its own, and
// reports to edgecore's socket.
//
//	link, err := mapper.New(mapper.Config{Name: "boilers", Protocol: "modbus", Socket: "/run/boilers.sock"})
//	...
//	err = device.Run(ctx, device.Config{Protocol: "modbus", New: newDriver, Link: link})
//
// # Order
//
// Start order and restarts of either end do not matter. Link registers again whenever it has
// connected to edgecore, and takes the list of devices that it gets then for the whole truth.
//
// # Concurrency
//
// All methods of Link may be called by several goroutines at once; Watch is called once.
package mapper
