// Package devicesync syncs package twin with the cloud's objects. Device and
// DeviceModel objects on the node become devices of the twin engine. Their values
// and states are reported as DeviceStatus objects.
//
//	s, err := devicesync.New(devicesync.Config{Engine: engine, Store: store, Reporter: manager})
//	...
//	err = s.Run(ctx)
//
// # Down
//
// Each Device in the store's Down area becomes a device of the engine. Its
// properties become twins with the types of its DeviceModel. Its desired values
// have the Device's generation as version. A changed model reaches all its devices
// at once. A Device whose model is not on the node waits for it and delays no
// other. Only devices that this syncer has added are removed when their Device is
// deleted.
//
// # Up
//
// A property with reportToCloud is reported when its value has changed, at
// most once per reportCycle; a device at most once per Config.Interval, the
// first change at once. While the link is down (see Syncer.Connected), it
// is once per Config.Offline: each report is a write to the node's disk, and
// only the newest is sent. The report goes to the outbox, so it survives a
// restart and waits for the link; the newest value wins. The state is reported
// unless the Device's stateReport says otherwise.
//
// Both directions compare the present with the desired state, at start and on each
// change, so that a missed change does no harm. When a Device is deleted, its
// report is removed from the outbox. In the cloud the DeviceStatus is deleted with
// its owner.
package devicesync
