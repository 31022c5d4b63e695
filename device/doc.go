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
// README.md beside this file is a tutorial: a whole mapper in less than 100 lines.
//
// # What Run does
//
// Each device has a goroutine of its own, so one that hangs delays no other.
// It opens the device, and opens it again with back-off when that fails or
// when nothing can be read any more; reads each property of the device's spec
// every CollectCycle, and reports it every ReportCycle, or each reading if that is 0; writes
// each desired value of a
// property that the model declares ReadWrite, reads it back and reports it. A
// value that the device already has is not written. A write that fails, or that the device
// does not take, is tried again with back-off until it succeeds or the value changes; so is one
// that the device loses later. A value that cannot be reported
// is kept, newest only, and reported later.
//
// The model's Transform lies between what a driver hands over and the property's value, both
// ways; see [Transform]. A value that is not of its type, or that the transform refuses, is not
// reported; one outside of the model's limits is, and the twin marks it.
//
// A mapper reports actual values, the device's state and its conditions. It never changes a
// desired value.
//
// What a Driver may do besides is an interface of its own: [Subscriber], [BatchReader],
// [RawDriver], [Caller], [Discoverer]. What a Link may carry besides likewise:
// [ConditionLink], [MethodLink], [ProposalLink].
//
// Pauses and cycles are measured by the monotonic clock: a clock that is set changes nothing.
//
// # Where is what
//
//	driver.go       Driver and what it may do besides, Instance, Link
//	mapper.go       Config, Mapper, the list of devices
//	worker.go       one device: open, wait, open again; session.go while it is open
//	collect.go      readings; apply.go desired values; report.go what goes to the Link
//	point.go        one property: cycles, dead band, limits
//	transform.go    values and what devices have; transformbytes.go as bytes
//	guard.go        calls of drivers that panic or do not return
//	connection.go   what devices share
//	method.go, discover.go, secrets.go, condition.go, stats.go
//
// # Concurrency
//
// The methods of one Driver value are called by one goroutine at a time, but
// for Subscribe, which runs beside them.
//
// An Instance is a value: nobody changes its spec and model.
package device
