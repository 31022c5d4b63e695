// Package sinks has the sinks of pipelines that need no client library: cloud, twin, mqtt, http
// with CloudEvents, InfluxDB line protocol, and files of lines. NATS, Kafka, OTLP and Parquet
// are in the module bus/pipeline/extra.
//
//	runner, err := pipeline.New(pipeline.Config{Openers: pipeline.Openers{Sink: sinks.Open, ...}, ...})
//
// # Delivery
//
// Send returns nil when the other side has the events: the broker, the twin's store, the
// receiver's 2xx, the disk. It is tried again after any other error, with the same ids. MQTT
// messages have the event's id as the user property event_id; CloudEvents have their id; InfluxDB
// keeps one point of a measurement, its tags and its time. What does not answer within
// 30 seconds, for mqtt and twin to one event, is tried again.
//
// # What is refused
//
// Connections to link-local, unspecified and multicast addresses are refused after the name was
// resolved: the credentials of a cloud's machines are there. Redirects are not followed. URLs
// with a password, and headers with credentials, are refused: those belong into a Secret, which
// is never logged. MQTT topics that begin with $ are refused: the twin sink sets twins. Files lie
// below one folder, whatever links there are in it.
//
// # Concurrency
//
// One goroutine calls Send of a sink. Close may be called by any, and twice.
package sinks
