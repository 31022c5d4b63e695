// Package devicesync joins package twin to the Device and DeviceModel objects that
// the cloud has put on the node, and reports what devices are back to it as
// DeviceStatus objects.
//
//	s, err := devicesync.New(devicesync.Config{Engine: engine, Store: store, Reporter: manager})
//	...
//	err = s.Run(ctx)
//
// # Down
//
// Each Device in the store's Down area becomes a device of the engine: its
// properties become twins, typed by its DeviceModel, and its desired values
// wishes with the Device's generation as version. A changed model reaches all
// its devices at once. A Device whose model is not on the node waits for it
// and delays no other. Only devices that this syncer has added are removed
// when their Device goes.
//
// # Up
//
// A property with reportToCloud is reported when its value has changed, at
// most once per reportCycle; a device at most once per Config.Interval, the
// first change at once. While the link is down, which Syncer.Connected tells, it
// is once per Config.Offline: each report is a write to the node's disk, and
// only the newest will be sent. The report goes to the outbox, so it survives a
// restart and waits for the link; the newest value wins. The state is reported
// unless the Device's stateReport says otherwise.
//
// Both directions compare what is with what should be, at start and on each
// change, so nothing depends on having seen every change. When a Device goes,
// its report is taken out of the outbox; the DeviceStatus goes with its owner
// in the cloud.
package devicesync
