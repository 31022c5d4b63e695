// Package mqtt bridges package twin and a bus: it answers mappers and apps on the
// MQTT topics under $hw/events/device and $hw/events/node, and publishes what
// changes. The package bus/topics has the topics and their payloads.
//
//	bridge, err := mqtt.New(mqtt.Config{Engine: engine, Bus: b, Node: "edge-7"})
//	...
//	err = bridge.Run(ctx)
//
// # Topics
//
// It subscribes to, with <id> standing for the device's namespace/name,
//
//	$hw/events/device/<id>/twin/update         answered on .../twin/update/result
//	$hw/events/device/<id>/twin/cloud_updated       answered on .../twin/update/result
//	$hw/events/device/<id>/twin/get            answered on .../twin/get/result
//	$hw/events/device/<id>/state/update        answered on .../state/update/result
//	$hw/events/device/<id>/state/get           answered on .../state/get/result
//	$hw/events/device/<id>/twin/history        answered on .../twin/history/result
//	$hw/events/node/<node>/membership/get      answered on .../membership/get/result
//	$hw/events/node/<node>/membership/detail   answered on .../membership/detail/result
//	$hw/events/node/<node>/membership/protocol/<p>/detail   answered on .../detail/result
//	$hw/events/node/<node>/membership/protocol/<p>/claim    answered on .../claim/result
//
// and publishes each change, whoever made it,
//
//	$hw/events/device/<id>/twin/update/document   each change of a value
//	$hw/events/device/<id>/twin/update/delta      while a desired value is not reported yet, and
//	                                              when the bridge or its broker connection starts
//	$hw/events/device/<id>/state/update/result    a silent device becomes unknown
//	$hw/events/node/<node>/membership/updated     a device is added, changed or removed
//	$hw/events/node/<node>/membership/detail/result  also without a request, see below
//	$hw/events/node/<node>/membership/protocol/<p>/updated  and detail/result: the same, of one protocol
//
// A request that is refused is answered with {"event_id", "timestamp", "code",
// "reason"} on the topic where its result would be. Only a topic that names no
// device has no answer; it is counted and logged.
//
// # For mappers
//
// membership/detail/result lists all devices of the node with their twins and,
// beyond what KubeEdge sends, "spec" and "model": all that a driver needs. It
// is published on request, and when the bridge or its broker connection starts. A long list
// comes in several messages of about 128 KiB with the same event_id; all but the last have
// "more": true. From then on membership/updated has each device that was added, changed or
// removed, in the same form. Its "revision" grows by one with each message: a mapper that
// sees a gap requests the list again.
//
// membership/protocol/<p>/detail, detail/result and updated are the same for the devices of one
// protocol, with a revision of their own: a mapper gets no messages, and needs no rights to
// the specs, of devices that are not its own. A device whose protocol changes is removed for
// the one and added for the other. <p> is the protocol's name, with characters that MQTT gives
// a meaning as in a URL (%2F).
//
// A mapper may claim the devices of a protocol (membership/protocol/<p>/claim), so that of
// several mappers one drives them:
//
//	{"event_id":"e-1","mapper":"modbus-1","instance":"<of this run>"}
//
// Each answer, {"holder":"<instance>","holder_name":"modbus-1","waiting":["modbus-2"]}, is for all
// mappers of the protocol. See package device/mqtt for when claims end. Claims are not stored:
// after a restart of edgecore, mappers say in "holder" and "holder_name" what they knew. At most
// 64 protocols are claimed, and 16 mappers of each are listed as waiting. While one waits for
// more than a minute, the devices have the condition SingleMapper with status False. Bridge.Claim
// claims for mappers that do not speak MQTT; their instance is "edgecore".
//
// # History
//
// Past values of the properties whose model asks for a history come on request:
//
//	{"event_id":"e-1","properties":["temperature"],"from":1760000000000,"to":1760003600000,"limit":1000}
//
// All fields may be left out. The answer has the oldest values first, in messages of about 128
// KiB, all but the last with "more": true:
//
//	{"event_id":"e-1","timestamp":…,"history":{"temperature":[{"value":"21","timestamp":1760000000000}]}}
//
// When a property has more values than the limit, "next" has a number for it; the same request
// with it in "after" gets the values that follow. Requests are answered one after the other,
// beside all other messages and in no order with them. While 16 wait, more get the code 503.
//
// # Quality
//
// The metadata of an actual value that is not good has "quality": "bad", with the limit of
// the model that it breaks as "fault", or "stale", if the device is offline or unknown, or has
// not reported the value for three of its cycles.
//
// A mapper may say when it read an actual value from the device: {"actual":{"value":"21",
// "metadata":{"measured":1760000000000}}}. Subscribers get it in the same field, and the age of the
// value counts from then on. The limits of what is believed are those of twin.MaxSkew. The
// "timestamp" of a request is not read; that of a value is when the node stored it.
//
// # Order and delivery
//
// Answers and changes are published in the order of the engine's commits, and
// for one commit as result, document, delta. They are sent with QoS 1, so the
// subscriber's own QoS decides. Each message carries its event_id also as an
// MQTT 5 user property. Between the engine and the bus there is a queue of
// 1024 commits; when it is full the engine waits.
//
// # Throughput
//
// An update is answered when it is on the disk. All that comes while the store writes goes into
// the next commit. Measured on two cores that the client shares ("make bench-twin" with
// TWINBENCH, a program that has 32 updates in flight). The machine was busy: other programs ran at
// a lower priority, and wrote to the same disk.
//
//	the store on the disk       10,000 to 14,100 updates/s, p99 4.5 to 8.4 ms
//	the store in memory (tmpfs)      16,900 to 21,900 updates/s, p99 2.6 to 11 ms
//	no store       21,000 updates/s, p99 2.2 ms
//	no twin: the broker and a handler that answers at once     19,600 to 22,400 updates/s, p99 1.9 to 2.3 ms
//	one at a time       1,300 to 1,500 updates/s; with the store in memory 3,750
//
// Without the disk the limit is the two cores. An update takes 93 µs of processor time then, 48 of
// them in the client; half of both are system calls of the connection. With the disk the engine
// waits for the store for 92 % of the time: a commit has 15 updates and takes 0.9 to 1.4 ms there
// (0.45 ms with one update in flight). Both sides sleep and wake more often, so an update takes 140
// µs, 83 of them in the client. No lock stands out in the profiles, and no allocation: there are
// 46 of 4 KB together for each update.
//
// These figures are from before meta/badgerstore had in memory the value log of badger, which badger syncs
// with each commit and the store never writes. On a quiet machine, without TWINBENCH, in two rounds:
//
//	                before                              after
//	32 in flight    17,359, 12,082/s, p99 3.6, 5.5 ms   17,725, 15,010/s, p99 3.5, 4.6 ms
//	one at a time   1,944, 1,695/s                      2,045, 1,805/s
//
// The same with a store that does not sync: 17,000 to 20,700/s and 6,660 to 7,440/s. What would help now
// is cores for the client alone.
package mqtt
