// Package dmi is edgecore's end of KubeEdge's device management interface (DMI): a mapper
// registers over gRPC on a unix socket, gets its devices, and reports their values, which go
// into package twin. Package device/dmi/mapper is the other end, for drivers of the SDK.
// Package device/dmi/v1beta1 has the messages.
//
//	m, err := dmi.New(dmi.Config{Engine: engine, Store: store, Socket: "/etc/kubeedge/dmi.sock"})
//	...
//	err = m.Run(ctx)
//
// # Devices
//
// A mapper gets the devices whose protocolName it has registered: when it registers, when it
// comes back, and each change. Nothing is lost when one end is away, and the order of starts
// does not matter: Manager keeps one connection to each mapper, connects again for ever, and
// then brings the mapper in line. It first calls CreateDeviceModel and RegisterDevice, which
// do nothing for what the mapper has already, and UpdateDevice for what has changed. What the
// mapper was given is kept in the store, so that a restart of edgecore need not update all.
//
// Several mappers may register one protocol over DMI. A new device goes to the one with the fewest
// devices, and stays there until that mapper was away for Config.Grace.
//
// # Mappers over MQTT
//
// With Config.Claims, mappers over DMI and mappers over MQTT do not drive the devices of one protocol at
// once (see package device/mqtt). All mappers over DMI are one claimant; it has the name of one of
// them, as "DMI/NAME". While a mapper over MQTT drives the devices, those over DMI stay registered
// without devices, and reports of these devices get FAILED_PRECONDITION with the name of that mapper.
// They get the devices a second after it has ended. The claim of the mappers over DMI ends when all
// of the protocol are away for Config.Grace. When two run beside each other for more than a minute, each
// device has the condition SingleMapper with status False.
//
// After a restart of edgecore, mappers that had devices go on with them. One that was registered and
// had none waits for 15 s, in which others repeat their claims. A mapper that registers for the first
// time in these seconds does not wait, so two may drive for up to 10 s then. While it is not decided
// who drives, mappers keep what they have and get nothing new. When claims have failed for 15 s,
// since the MQTT side does not work, mappers over DMI drive.
//
// # Reports
//
// ReportDeviceStatus stores the reported values, ReportDeviceStates the state; both return when
// that is durable. A report may lack values. One value that is refused does not stop the others
// of that report; the error names it. metadata may have the value's type, for a property that the
// model does not declare, and the time when the mapper read the value, as "timestamp" in milliseconds
// since 1970. That is kept as twin.Value.Measured, and the age of the value counts from it: a mapper
// that repeats an old value leaves it stale. The time is not kept, and counted in Stats.Untimed, if it
// is no whole number, is before the year 2000, or is more than twin.MaxSkew ahead of the node's clock; then the
// age counts from when the value was stored. twin.Value.Time is that time always: clients that watch
// twins go on from a time, and would miss a value whose time is before it. observedDesired says which desired value the mapper has
// seen. It never changes the desired value: a report that is on its way while the cloud sets
// another one would undo that.
//
// A mapper has at most Config.Reports calls in work. The next gets RESOURCE_EXHAUSTED, with the
// limit; a client with one connection does not see that, as gRPC's flow control has it wait.
//
// # Who may connect
//
// The socket has mode 0600, or 0660 with Config.Group. Manager calls only a mapper whose process
// has the user who registered it, or root. While that mapper is connected, no other user but root
// can register under its name. Who may open the socket may report the values of each device: give
// Config.Group only mappers that you trust with that. A mapper that panics, sends nonsense or hangs harms
// neither edgecore nor other mappers.
//
// # Concurrency
//
// All methods of Manager may be called by several goroutines at once.
package dmi
