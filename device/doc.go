// Package device is the SDK for drivers, which KubeEdge calls mappers. The package
// device/v1beta1/schema has the types of a device's spec and model.
//
// A driver is a type with four methods. Run makes one each time that it opens a device:
//
//	type Driver interface {
//		Open(ctx context.Context, dev Instance) error
//		Read(ctx context.Context, property string) (string, error)
//		Write(ctx context.Context, property, value string) error
//		Close() error
//	}
//
// Run drives all devices of one protocol with it:
//
//	err := device.Run(ctx, device.Config{
//		Protocol: "modbus",
//		New:      func() device.Driver { return &modbus{} },
//		Link:     link,
//	})
//
// The Link says where devices come from and where their values go. The same
// driver runs in the gateway's own process (device/inprocess) or beside
// edgecore over MQTT (device/mqtt). In what order the parts start, restart and
// reconnect never matters.
//
// # What Run does
//
// Each device has a goroutine of its own, so one that hangs delays no other.
// It opens the device, and opens it again with back-off when that fails or
// when nothing can be read any more; reads each property of the device's spec
// every CollectCycle and reports the values; writes each desired value of a
// property that the model declares ReadWrite, reads it back and reports it. A
// value that the device already has is not written. A write that fails is tried
// again with back-off until it succeeds or the value changes. A value that cannot be reported
// is kept, newest only, and reported later.
//
// A mapper reports actual values and the device's state. It never changes a
// desired value.
//
// # Concurrency
//
// The methods of one Driver value are called by one goroutine at a time, but
// for Subscribe, which runs beside them.
//
// An Instance is a value: nobody changes its spec and model.
package device
